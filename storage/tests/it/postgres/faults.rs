//! Servers that refuse, are gone, or say nothing.

use std::time::Duration;

use aihub_core::conformance::key_store::new_key;
use aihub_core::{AccountId, Clock, ErrorKind, KeyStore, ManualClock};
use aihub_storage::{Database, Migrate, PoolSettings, SqlKeys};

use super::{Schema, small};
use crate::servers;

async fn refused(url: &str) -> aihub_core::Error {
    let settings = PoolSettings { acquire: Duration::from_millis(500), ..small() };
    Database::postgres(url, settings, Migrate::Run).await.map(drop).expect_err(url)
}

/// The server's URL with another part in the place of one.
fn with(part: impl Fn(&mut url::Url)) -> String {
    let mut url: url::Url = servers::postgres().parse().unwrap();
    part(&mut url);
    url.into()
}

#[tokio::test]
async fn a_wrong_password_or_database_is_told_without_the_secret() {
    let wrong = with(|url| url.set_password(Some("s3cret-but-wrong")).unwrap());
    let error = refused(&wrong).await;
    assert!(error.message().contains("password authentication failed"), "{error}");
    assert!(!format!("{error} {error:?}").contains("s3cret"), "{error:?}");
    let error = refused(&with(|url| url.set_path("no_such_database"))).await;
    assert!(error.message().contains("no_such_database\" does not exist"), "{error}");
}

#[tokio::test]
async fn a_url_that_cannot_be_read_is_invalid_and_not_repeated() {
    for url in ["postgres://user:s3cret@:notaport/db", "postgres://user:s3cret@host/db?colour=s3cret", "postgres:///db"]
    {
        let error = refused(url).await;
        assert_eq!(error.kind(), ErrorKind::Invalid, "{url}");
        assert!(!format!("{error} {error:?}").contains("s3cret"), "{error:?}");
    }
}

#[tokio::test]
async fn nobody_at_the_address_is_told() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = refused(&format!("postgres://user:s3cret@{free}/db")).await;
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.message().contains("refused") && error.message().contains(&format!("{free}/db")), "{error}");
}

/// Accepts, reads, and never answers.
// failure: Postgres | silent | given up after `store.statement_timeout_ms`
#[tokio::test]
async fn a_server_that_says_nothing_is_not_waited_for() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    let _accepting = tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok(accepted) = silent.accept().await {
            kept.push(accepted);
        }
    });
    let error = refused(&format!("postgres://user:s3cret@{address}/db")).await;
    assert!(error.message().contains("has not answered"), "{error}");
}

// failure: Postgres | connections cut | made anew
#[tokio::test]
async fn connections_that_were_cut_are_made_anew() {
    let schema = Schema::new().await;
    let name = format!("cut_{}", uuid::Uuid::now_v7().simple());
    let url = schema.url_with(&format!("&application_name={name}"));
    let keys = SqlKeys::new(Database::postgres(&url, small(), Migrate::Run).await.unwrap());
    let new = new_key(AccountId::new(ManualClock::default().now()), 0);
    keys.insert(new.clone()).await.unwrap();
    for _ in 0..3 {
        schema
            .execute(&format!(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '{name}'"
            ))
            .await;
        // Each connection may fail one statement before its end is noticed, and none a second one.
        let mut found = keys.find(&new.hash).await;
        for _ in 0..small().connections {
            if found.is_err() {
                found = keys.find(&new.hash).await;
            }
        }
        assert_eq!(*found.unwrap().unwrap(), new.key);
    }
}

// failure: Postgres | no connection free | 503 after `store.acquire_timeout_ms`
#[tokio::test]
async fn a_pool_with_nothing_free_refuses_in_its_time() {
    let schema = Schema::new().await;
    let settings = PoolSettings { connections: 1, acquire: Duration::from_millis(200), ..small() };
    let keys = SqlKeys::new(Database::postgres(&schema.url(), settings, Migrate::Run).await.unwrap());
    let new = new_key(AccountId::new(ManualClock::default().now()), 0);
    keys.insert(new.clone()).await.unwrap();
    // Somebody else's transaction keeps the row, and the only connection waits for it.
    let (client, connection) = tokio_postgres::connect(&schema.url(), tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client.batch_execute("BEGIN; SELECT * FROM api_keys FOR UPDATE").await.unwrap();
    let waiting = {
        let (keys, key) = (keys.clone(), new.key.clone());
        tokio::spawn(async move { keys.revoke(key.account, key.id, key.created_at).await })
    };
    while client
        .query_one("SELECT count(*) FROM pg_locks WHERE NOT granted AND pid IN (SELECT pid FROM pg_stat_activity WHERE query LIKE 'UPDATE%api_keys%' AND pg_backend_pid() = ANY(pg_blocking_pids(pid)))", &[])
        .await
        .unwrap()
        .get::<_, i64>(0)
        == 0
    {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let error = keys.find(&new.hash).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    client.batch_execute("COMMIT").await.unwrap();
    waiting.await.unwrap().unwrap();
    assert!(keys.find(&new.hash).await.unwrap().unwrap().revoked_at.is_some());
}

// failure: Postgres | a lock held by others | ended by the server in time
#[tokio::test]
async fn a_statement_that_waits_too_long_is_ended_by_the_server() {
    let schema = Schema::new().await;
    let settings = PoolSettings { statement: Duration::from_millis(200), ..small() };
    let keys = SqlKeys::new(Database::postgres(&schema.url(), settings, Migrate::Run).await.unwrap());
    let new = new_key(AccountId::new(ManualClock::default().now()), 0);
    keys.insert(new.clone()).await.unwrap();
    let (client, connection) = tokio_postgres::connect(&schema.url(), tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client.batch_execute("BEGIN; SELECT * FROM api_keys FOR UPDATE").await.unwrap();
    let error = keys.revoke(new.key.account, new.key.id, new.key.created_at).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    client.batch_execute("COMMIT").await.unwrap();
    assert_eq!(keys.find(&new.hash).await.unwrap().unwrap().revoked_at, None, "nothing half done");
    keys.revoke(new.key.account, new.key.id, new.key.created_at).await.unwrap();
}
