//! What an account has used: summed over time, call by call, and how its limits stand.
//!
//! These are reports. What somebody is charged is never computed from them: that is the ledger's.

mod grid;
mod series;

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::stream::{self, BoxStream, StreamExt as _, TryStreamExt as _};

use crate::billing::UsageRecord;
use crate::error::Result;
use crate::id::{AccountId, CallId, KeyId};
use crate::page::{Page, PageRequest};
use crate::time::Timestamp;

pub use grid::{Grid, Read, Width};
pub use series::{Bucket, Dimension, Group, Series, SeriesBucket, SeriesQuery, SeriesRow, Sums};

/// Which calls are looked at: those that match all that is named.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of this key.
    pub key: Option<KeyId>,
    /// Of this model, by the name under which it was asked for.
    pub model: Option<Arc<str>>,
    /// Of this operation, such as `chat`.
    pub operation: Option<Arc<str>>,
    /// Answered with this HTTP status.
    pub status: Option<u16>,
}

/// The same, and when they were admitted: from `from` on, and before `to`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CallFilter {
    /// What they have in common.
    pub of: Filter,
    /// The first instant that counts.
    pub from: Option<Timestamp>,
    /// The first instant that no longer does.
    pub to: Option<Timestamp>,
}

impl Filter {
    /// Whether this record is one of them.
    pub fn matches(&self, record: &UsageRecord) -> bool {
        self.key.is_none_or(|key| key == record.key)
            && self.model.as_deref().is_none_or(|model| model == &*record.model)
            && self.operation.as_deref().is_none_or(|operation| operation == record.operation)
            && self.status.is_none_or(|status| status == record.status)
    }
}

impl CallFilter {
    /// Whether this record is one of them.
    pub fn matches(&self, record: &UsageRecord) -> bool {
        self.of.matches(record)
            && self.from.is_none_or(|from| from <= record.at)
            && self.to.is_none_or(|to| record.at < to)
    }
}

/// Answers questions about usage. Every one is about one account, and no answer has anything of another.
///
/// All of them change nothing, so they may be dropped and repeated.
#[async_trait]
pub trait UsageQuery: Debug + Send + Sync + 'static {
    /// Sums over time.
    ///
    /// Promise: what it says of calls that are booked is exact. Every bucket of the range is there, also one in which
    /// nothing was used.
    ///
    /// Errors: [`Invalid`](crate::ErrorKind::Invalid) where the question is too large to be answered at once, with what to
    /// ask instead; [`Unavailable`](crate::ErrorKind::Unavailable) when the store does not answer.
    async fn series(&self, query: &SeriesQuery) -> Result<Series>;

    /// The calls of `account`, newest first. A page takes as long at any depth.
    ///
    /// Errors: [`Invalid`](crate::ErrorKind::Invalid) when the account has no call `page.after`: an empty page would look
    /// like the end of the list. Others as above.
    async fn calls(
        &self,
        account: AccountId,
        filter: &CallFilter,
        page: PageRequest<CallId>,
    ) -> Result<Page<UsageRecord, CallId>>;

    /// One call of `account`; `None` for one that is not there, or is another account's: nobody learns which.
    async fn call(&self, account: AccountId, call: CallId) -> Result<Option<UsageRecord>>;
}

const _: fn(&dyn UsageQuery) = |_| {};

/// All calls of `account` that match, newest first, in batches: at no time are there more of them than one page has, however
/// slowly they are taken. Calls that are booked meanwhile are in it or not, by their place; none is in it twice.
pub fn export(
    usage: Arc<dyn UsageQuery>,
    account: AccountId,
    filter: CallFilter,
) -> BoxStream<'static, Result<Vec<UsageRecord>>> {
    let first = PageRequest::first(PageRequest::<CallId>::MOST);
    let pages = stream::try_unfold(Some(first), move |page| {
        let (usage, filter) = (Arc::clone(&usage), filter.clone());
        async move {
            let Some(page) = page else { return Ok(None) };
            let found = usage.calls(account, &filter, page).await?;
            let next = found.next.map(|after| PageRequest { after: Some(after), ..page });
            Ok(Some((found.rows, next)))
        }
    });
    pages.try_filter(|rows| std::future::ready(!rows.is_empty())).boxed()
}
