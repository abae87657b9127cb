//! Tables of a new, an older and a newer version.

use aihub_core::conformance::key_store::new_key;
use aihub_core::{AccountId, Clock, ErrorKind, KeyStore, ManualClock};
use aihub_storage::{Database, Migrate, SqlKeys};

use super::{Schema, small};

#[tokio::test]
async fn many_may_open_an_empty_database_at_once() {
    let schema = std::sync::Arc::new(Schema::new().await);
    let openings: Vec<_> = (0..10)
        .map(|age| {
            let schema = schema.clone();
            tokio::spawn(async move {
                let keys = SqlKeys::new(schema.open().await);
                keys.insert(new_key(AccountId::new(ManualClock::default().now()), age)).await
            })
        })
        .collect();
    for opening in openings {
        opening.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn tables_of_a_newer_program_are_refused() {
    let schema = Schema::new().await;
    schema.open().await;
    schema.execute("INSERT INTO __diesel_schema_migrations (version) VALUES ('29991231000000')").await;
    let error = Database::postgres(&schema.url(), small(), Migrate::Run).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.message().contains("newer version") && error.message().contains("29991231000000"), "{error}");
}

#[tokio::test]
async fn older_tables_are_left_alone_where_that_is_asked_for() {
    let schema = Schema::new().await;
    let error = Database::postgres(&schema.url(), small(), Migrate::Check).await.unwrap_err();
    assert!(error.message().contains("aihub migrate"), "{error}");
    schema.open().await;
    Database::postgres(&schema.url(), small(), Migrate::Check).await.unwrap();
}

#[tokio::test]
async fn a_schema_that_is_not_there_is_named_as_the_reason() {
    let schema = Schema::new().await;
    schema.execute(&format!("DROP SCHEMA {}", schema.name)).await;
    let error = Database::postgres(&schema.url(), small(), Migrate::Run).await.unwrap_err();
    assert!(error.message().contains("CREATE SCHEMA"), "{error}");
}

#[tokio::test]
async fn every_change_can_be_taken_back_and_made_again() {
    use diesel_async::AsyncConnection as _;
    use diesel_async::async_connection_wrapper::AsyncConnectionWrapper;
    use diesel_migrations::{FileBasedMigrations, MigrationHarness as _};

    let schema = Schema::new().await;
    schema.open().await;
    let conn = diesel_async::AsyncPgConnection::establish(&schema.url()).await.unwrap();
    let source = FileBasedMigrations::from_path(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/postgres")).unwrap();
    tokio::task::spawn_blocking(move || {
        let mut conn = AsyncConnectionWrapper::<diesel_async::AsyncPgConnection>::from(conn);
        conn.revert_all_migrations(source).unwrap();
    })
    .await
    .unwrap();
    schema.open().await;
}
