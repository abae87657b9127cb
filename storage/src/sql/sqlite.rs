//! SQLite: a file of this machine, and nothing to install.

use std::path::Path;
use std::time::Duration;

use aihub_core::{Error, ErrorKind, Result};
use diesel::{Connection as _, ConnectionError, SqliteConnection};
use diesel_async::SimpleAsyncConnection as _;

use super::connection::{Connections, Database, PoolSettings, Sqlite, pool};
use super::migrate::{self, Migrate};

/// SQLite writes one at a time. Its own waiting is by trying again, which is not fair: here all who write
/// queue for one connection, and only another process is waited for in its way.
const WRITERS: usize = 1;

/// Reads go on beside each other and beside the writer; more than this only queue on the disk.
const READERS: usize = 4;

impl Database {
    /// Opens a SQLite file, made if it is not there.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](aihub_core::ErrorKind::Unavailable) when the file cannot be opened or written, is
    /// damaged or no database, was written by a newer version of this program, or by an older one and
    /// `migrate` says to leave it.
    pub async fn sqlite(file: &Path, settings: PoolSettings, migrate: Migrate) -> Result<Self> {
        let path = migrate::sqlite(file, migrate).await?;
        // A revocation must survive the machine's power, and keys change rarely: FULL, not NORMAL.
        // The log is carried over every 16 MiB instead of every 4, which made batches of usage records a fifth
        // faster: each changes pages all over the indexes, and the same ones again and again.
        let write = connections(
            &path,
            WRITERS,
            settings,
            "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA wal_autocheckpoint = 4000;",
        );
        let read = connections(&path, READERS, settings, "PRAGMA query_only = ON;");
        Ok(Self {
            read,
            write,
            shown: file.display().to_string().into(),
            #[cfg(feature = "postgres")]
            server: None,
        })
    }
}

/// Reads every page of the database in `file`, and says whether it is sound. Takes as long as reading the file does.
///
/// # Errors
///
/// [`Unavailable`](ErrorKind::Unavailable) when it cannot be read or is damaged, with what is wrong first.
pub async fn verify(file: &Path) -> Result<()> {
    let shown = file.display().to_string();
    let damaged = |why: String| {
        let message = format!("The database file {shown} is damaged: {why}. Restore it from a backup");
        Error::new(ErrorKind::Unavailable, message).with_code("database_damaged").with_alert()
    };
    let file = file.to_owned();
    match tokio::task::spawn_blocking(move || look(&file)).await {
        Ok(done) => done.map_err(damaged),
        Err(error) => Err(damaged("the reading did not end".to_owned()).with_source(error)),
    }
}

fn look(file: &Path) -> Result<(), String> {
    use diesel::RunQueryDsl as _;

    #[derive(diesel::QueryableByName)]
    struct Line {
        #[diesel(sql_type = diesel::sql_types::Text)]
        integrity_check: String,
    }
    let mut conn = SqliteConnection::establish(&absolute(file)?).map_err(|error| error.to_string())?;
    let line: Line =
        diesel::sql_query("PRAGMA integrity_check(1)").get_result(&mut conn).map_err(|error| error.to_string())?;
    if line.integrity_check == "ok" { Ok(()) } else { Err(line.integrity_check.replace('\n', " ")) }
}

/// The name of a file that cannot be taken for one of SQLite's own.
fn absolute(path: &Path) -> Result<String, String> {
    let path = std::path::absolute(path).map_err(|error| error.to_string())?;
    path.to_str().map(str::to_owned).ok_or_else(|| "a file's name is not UTF-8".to_owned())
}

/// Copies the database in file `from` into the new file `to`, as it is at one instant, while it is in use: writers
/// go on beside it. What is there has reached the disk when this returns.
///
/// # Errors
///
/// [`Conflict`](ErrorKind::Conflict) when `to` is there already, [`Unavailable`](ErrorKind::Unavailable) when `from`
/// cannot be read or `to` not written, with the reason; half a copy is removed.
pub async fn backup(from: &Path, to: &Path) -> Result<()> {
    let shown = to.display().to_string();
    let failed = |why: String| {
        Error::new(ErrorKind::Unavailable, format!("The backup {shown} could not be made: {why}"))
            .with_code("backup_failed")
    };
    if to.exists() {
        let message = format!("The backup {shown} could not be made: there is such a file already");
        return Err(Error::new(ErrorKind::Conflict, message).with_code("backup_failed"));
    }
    if !from.exists() {
        return Err(failed(format!("there is no database file {}", from.display())));
    }
    let (from, to) = (from.to_owned(), to.to_owned());
    match tokio::task::spawn_blocking(move || copy(&from, &to)).await {
        Ok(done) => done.map_err(failed),
        Err(error) => Err(failed("the copying did not end".to_owned()).with_source(error)),
    }
}

/// Under a name of its own first, which becomes `to` in one step: of two copies of the same name one fails, and takes
/// nothing of the other's away.
fn copy(from: &Path, to: &Path) -> Result<(), String> {
    let mut draft = to.as_os_str().to_owned();
    draft.push(format!(".{}", uuid::Uuid::now_v7().simple()));
    let draft = Path::new(&draft);
    let copied = vacuum(from, draft).and_then(|()| {
        let done = std::fs::File::open(draft)
            .and_then(|file| file.sync_all())
            .and_then(|()| std::fs::hard_link(draft, to))
            .and_then(|()| std::fs::File::open(folder(to))?.sync_all());
        done.map_err(|error| error.to_string())
    });
    drop(std::fs::remove_file(draft));
    copied
}

fn vacuum(from: &Path, to: &Path) -> Result<(), String> {
    use diesel::RunQueryDsl as _;

    let mut conn = SqliteConnection::establish(&absolute(from)?).map_err(|error| error.to_string())?;
    let copy = diesel::sql_query("VACUUM INTO ?").bind::<diesel::sql_types::Text, _>(absolute(to)?);
    copy.execute(&mut conn).map(drop).map_err(|error| error.to_string())
}

fn folder(file: &Path) -> &Path {
    file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Opened lazily, one by one, when they are needed.
fn connections(path: &str, size: usize, settings: PoolSettings, pragmas: &'static str) -> Connections {
    let PoolSettings { acquire, statement, .. } = settings;
    Connections::Sqlite(pool(
        path,
        size,
        acquire,
        Box::new(move |path| {
            let path = path.to_owned();
            Box::pin(async move { connect(path, statement, pragmas).await })
        }),
    ))
}

async fn connect(path: String, statement: Duration, pragmas: &str) -> diesel::ConnectionResult<Sqlite> {
    let sync = tokio::task::spawn_blocking(move || SqliteConnection::establish(&path)).await;
    let sync = sync.map_err(|error| ConnectionError::BadConnection(error.to_string()))??;
    let mut conn = Sqlite::new(sync);
    let setup = format!("PRAGMA busy_timeout = {}; {pragmas}", statement.as_millis());
    conn.batch_execute(&setup).await.map_err(ConnectionError::CouldntSetupConfiguration)?;
    Ok(conn)
}
