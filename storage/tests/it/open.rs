//! Opening stores by URL.

use std::path::Path;
use std::sync::Arc;

use aihub_core::conformance::key_store::new_key;
use aihub_core::{AccountId, Clock, Error, ErrorKind, ManualClock};
use aihub_storage::{OpenSettings, Stores, open};
use tempfile::TempDir;

async fn opened(url: &str) -> Result<Stores, Error> {
    open(url, OpenSettings::default(), Arc::new(ManualClock::default())).await
}

async fn refused(url: &str) -> Error {
    opened(url).await.map(|_| ()).expect_err(url)
}

fn url(file: &Path) -> String {
    format!("sqlite://{}", file.display())
}

#[tokio::test]
async fn memory_and_files_open() {
    opened("memory:").await.unwrap();
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("a b ü.db");
    let new = new_key(AccountId::new(ManualClock::default().now()), 0);
    opened(&url(&file)).await.unwrap().keys.insert(new.clone()).await.unwrap();
    assert!(file.exists());
    assert!(opened(&url(&file)).await.unwrap().keys.find(&new.hash).await.unwrap().is_some());
}

/// Built without it, or with nobody at the address: an error, and no file in its place.
#[tokio::test]
async fn nothing_takes_the_place_of_a_postgres_that_cannot_be_had() {
    let folder = TempDir::new().unwrap();
    for scheme in ["postgres", "postgresql"] {
        let error = refused(&format!("{scheme}://user:s3cret@127.0.0.1:1/{}", folder.path().display())).await;
        let kind = if cfg!(feature = "postgres") { ErrorKind::Unavailable } else { ErrorKind::Invalid };
        assert_eq!(error.kind(), kind);
        assert!(error.message().contains("Postgres"), "{error}");
        assert!(!format!("{error} {error:?}").contains("s3cret"), "{error:?}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}

#[tokio::test]
async fn wrong_urls_say_what_is_known_and_no_secret() {
    let cases = [
        ("mysql://user:s3cret@host/db", "no kind of store named `mysql`"),
        ("", "memory:"),
        ("hub.db", "memory:"),
        ("s3cret@host:5432/db", "memory:"),
        ("S3CRET:x", "memory:"),
        ("memory:thing", "write `memory:`"),
        ("sqlite:", "the file is missing"),
        ("sqlite://", "the file is missing"),
        ("sqlite::memory:", "`memory:`"),
        ("sqlite://:memory:", "`memory:`"),
        ("sqlite://hub.db?mode=ro", "no options"),
        ("sqlite://user:s3cret@host/db", "without host"),
    ];
    for (url, words) in cases {
        let error = refused(url).await;
        assert_eq!(error.kind(), ErrorKind::Invalid, "{url}");
        assert!(error.message().contains(words), "{url}: {error}");
        let all = format!("{error} {error:?}").to_lowercase();
        assert!(!all.contains("s3cret"), "{url}: {all}");
    }
}

#[tokio::test]
async fn a_file_that_is_no_database_is_named_and_left_alone() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("notes.txt");
    let text = "Not a database, but somebody's notes. ".repeat(200);
    std::fs::write(&file, &text).unwrap();
    let error = refused(&url(&file)).await;
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.message().contains("notes.txt") && error.message().contains("not a database"), "{error}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_an_error() {
    let folder = TempDir::new().unwrap();
    for file in [folder.path().join("missing/hub.db"), folder.path().to_owned()] {
        let error = refused(&url(&file)).await;
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.message().contains("cannot be used"), "{error}");
    }
}

#[tokio::test]
async fn a_file_of_a_newer_program_is_refused() {
    use diesel::connection::SimpleConnection as _;
    use diesel::{Connection as _, SqliteConnection};

    let folder = TempDir::new().unwrap();
    let file = folder.path().join("hub.db");
    opened(&url(&file)).await.unwrap();
    let mut conn = SqliteConnection::establish(file.to_str().unwrap()).unwrap();
    conn.batch_execute("INSERT INTO __diesel_schema_migrations (version) VALUES ('29991231000000');").unwrap();
    let error = refused(&url(&file)).await;
    assert!(error.message().contains("newer version") && error.message().contains("29991231000000"), "{error}");
}

#[tokio::test]
async fn a_migration_can_be_taken_back() {
    use diesel::{Connection as _, SqliteConnection};
    use diesel_migrations::{FileBasedMigrations, MigrationHarness as _};

    let folder = TempDir::new().unwrap();
    let file = folder.path().join("hub.db");
    opened(&url(&file)).await.unwrap();
    let mut conn = SqliteConnection::establish(file.to_str().unwrap()).unwrap();
    let source = FileBasedMigrations::from_path(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/sqlite")).unwrap();
    conn.revert_all_migrations(source).unwrap();
    opened(&url(&file)).await.unwrap();
}
