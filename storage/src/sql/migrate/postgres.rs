//! The tables of a Postgres database.

use std::time::Duration;

use aihub_core::Result;
use diesel::pg::Pg;
use diesel::sql_query;
use diesel::sql_types::Bool;
use diesel_async::async_connection_wrapper::AsyncConnectionWrapper;
use diesel_async::{RunQueryDsl as _, SimpleAsyncConnection as _};
use diesel_migrations::{EmbeddedMigrations, embed_migrations};

use super::{DONE, Done, Migrate, Refused, look, unusable, update};
use crate::sql::connection::Postgres;
use crate::sql::postgres::Server;

const CHANGES: EmbeddedMigrations = embed_migrations!("migrations/postgres");

/// Whoever holds this lock looks at the tables of this schema and changes them; the others try again. It belongs to the
/// connection: a process that is killed gives it back.
const LOCK: &str = "SELECT pg_try_advisory_lock(hashtext('aihub_migrations'), hashtext(current_schema())) AS held";

/// How long others are waited for.
const PATIENCE: Duration = Duration::from_mins(1);

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(50);

/// Brings the tables up to date, on a connection of its own, closed afterwards.
pub(in crate::sql) async fn postgres(server: &Server, migrate: Migrate) -> Result<()> {
    let shown = format!("The Postgres database at {server}");
    let unreached = |error: diesel::ConnectionError| unusable(&shown, &error.to_string()).with_source(error);
    let mut conn = server.connect().await.map_err(unreached)?;
    let done = match migrate {
        Migrate::Check => server.answers(check(&mut conn)).await,
        Migrate::Run => match server.answers(schema_is_there(&mut conn)).await {
            Ok(()) => run(server, conn).await,
            refused => refused,
        },
    };
    done.map_err(|refused| unusable(&shown, &refused.to_string()).with_source(refused))
}

#[derive(diesel::QueryableByName)]
struct Answer {
    #[diesel(sql_type = Bool)]
    held: bool,
}

async fn schema_is_there(conn: &mut Postgres) -> std::result::Result<(), Refused> {
    let there: Answer = sql_query("SELECT current_schema() IS NOT NULL AS held").get_result(conn).await?;
    if there.held {
        return Ok(());
    }
    Err(Refused::Failed("the schema of its search path is not there: make it with `CREATE SCHEMA`".into()))
}

async fn check(conn: &mut Postgres) -> std::result::Result<(), Refused> {
    schema_is_there(conn).await?;
    let table = "SELECT to_regclass('__diesel_schema_migrations') IS NOT NULL AS held";
    let there: Answer = sql_query(table).get_result(conn).await?;
    let done: Vec<Done> = if there.held { sql_query(DONE).load(conn).await? } else { Vec::new() };
    look::<Pg>(&CHANGES, &done.into_iter().map(|done| done.version).collect::<Vec<_>>())
}

async fn run(server: &Server, mut conn: Postgres) -> std::result::Result<(), Refused> {
    // Tried, and not waited for in the server: its words for a wait that was too long are in its own language.
    let locking = async {
        while !server.answers(sql_query(LOCK).get_result::<Answer>(&mut conn)).await?.held {
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    };
    tokio::time::timeout(PATIENCE, locking).await.unwrap_or(Err(Refused::Busy(PATIENCE)))?;
    // A change may take as long as it takes.
    conn.batch_execute("SET statement_timeout = 0; SET lock_timeout = 0;").await?;
    // In a thread that may block: diesel's own way waits on the thread of the runtime, which works on
    // multi-threaded ones only, and a library cannot ask for one.
    let done =
        tokio::task::spawn_blocking(move || update(&mut AsyncConnectionWrapper::<Postgres>::from(conn), CHANGES));
    done.await.map_err(|error| Refused::Failed(error.into()))?
}
