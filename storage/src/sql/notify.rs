//! Telling other processes of a change, where the database carries such news.
//!
//! Only changes that people make, a few a second at most: a notification costs every commit that has one a
//! lock which they all share. It is a hint. Whoever misses it finds out by asking again within a second.

use aihub_core::KeyId;
use diesel::QueryResult;

/// What a change is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Channel {
    /// API keys; the news is the id.
    Keys,
}

impl Channel {
    #[cfg(feature = "postgres")]
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Keys => "aihub_keys",
        }
    }
}

/// Sends news with the transaction that it is of: when that commits, and only then.
pub(super) trait Notify {
    fn notify(&mut self, channel: Channel, id: KeyId) -> impl Future<Output = QueryResult<()>> + Send;
}

#[cfg(feature = "postgres")]
impl Notify for super::connection::Postgres {
    async fn notify(&mut self, channel: Channel, id: KeyId) -> QueryResult<()> {
        use diesel::sql_types::Text;
        use diesel_async::RunQueryDsl as _;

        let news = diesel::sql_query("SELECT pg_notify($1, $2)");
        let news = news.bind::<Text, _>(channel.name()).bind::<Text, _>(id.to_string());
        news.execute(self).await.map(drop)
    }
}

/// A file carries no news: other processes see a change when they look.
#[cfg(feature = "sqlite")]
impl Notify for super::connection::Sqlite {
    async fn notify(&mut self, _: Channel, _: KeyId) -> QueryResult<()> {
        Ok(())
    }
}
