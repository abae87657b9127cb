//! The tables of a Postgres database.

use aihub_core::Result;
use diesel_async::async_connection_wrapper::AsyncConnectionWrapper;
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection as _};
use diesel_migrations::{EmbeddedMigrations, embed_migrations};

use super::{Migrate, Refused, unusable, update};
use crate::sql::postgres::Server;

const CHANGES: EmbeddedMigrations = embed_migrations!("migrations/postgres");

/// Whoever holds this lock looks at the tables of this schema and changes them; the others wait, a minute at
/// most. It belongs to the connection: a process that is killed gives it back.
const ALONE: &str = "SET statement_timeout = 0; SET lock_timeout = '60s'; \
    SELECT pg_advisory_lock(hashtext('aihub_migrations'), hashtext(current_schema()));";

/// Brings the tables up to date, on a connection of its own, closed afterwards.
pub(in crate::sql) async fn postgres(server: &Server, migrate: Migrate) -> Result<()> {
    let shown = format!("The Postgres database at {server}");
    let mut conn = server.connect().await.map_err(|error| unusable(&shown, &error.to_string()).with_source(error))?;
    conn.batch_execute(ALONE).await.map_err(|error| unusable(&shown, &error.to_string()).with_source(error))?;
    // In a thread that may block: diesel's own way waits on the thread of the runtime, which works on
    // multi-threaded ones only, and a library cannot ask for one.
    let done = tokio::task::spawn_blocking(move || {
        update(&mut AsyncConnectionWrapper::<AsyncPgConnection>::from(conn), CHANGES, migrate)
    });
    match done.await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(refused)) => Err(unusable(&shown, &words(&refused)).with_source(refused)),
        Err(error) => Err(unusable(&shown, "the update did not end").with_source(error)),
    }
}

fn words(refused: &Refused) -> String {
    let words = refused.to_string();
    if words.contains("no schema has been selected") {
        return "the schema of its search path is not there: make it with `CREATE SCHEMA`".to_owned();
    }
    words
}
