//! Encrypted connections, against a server with a certificate of its own authority.

use aihub_storage::{Database, Migrate};
use tokio_postgres::NoTls;

use super::{Schema, small};
use crate::servers::variable;

/// Opens with these parameters, and says whether every connection was encrypted.
async fn opened(schema: &Schema, parameters: &str) -> Result<bool, aihub_core::Error> {
    let name = format!("tls_{}", uuid::Uuid::now_v7().simple());
    let url = schema.url_with(&format!("&application_name={name}{parameters}"));
    let database = Database::postgres(&url, small(), Migrate::Run).await?;
    // A connection is made when it is needed.
    let keys = aihub_storage::SqlKeys::new(database);
    aihub_core::KeyStore::touch(
        &keys,
        &[(aihub_core::KeyId::from_uuid(uuid::Uuid::nil()), aihub_core::Timestamp::UNIX_EPOCH)],
    )
    .await?;
    let (client, connection) = tokio_postgres::connect(&schema.url(), NoTls).await.unwrap();
    tokio::spawn(connection);
    let rows = client
        .query("SELECT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = $1", &[&name])
        .await
        .unwrap();
    assert!(!rows.is_empty(), "no connection is open");
    Ok(rows.iter().all(|row| row.get(0)))
}

#[tokio::test]
async fn the_mode_says_whether_it_is_encrypted() {
    let schema = Schema::new().await;
    let authority = variable("AIHUB_TEST_POSTGRES_CA");
    assert!(!opened(&schema, "").await.unwrap(), "a server on this machine");
    assert!(!opened(&schema, "&sslmode=disable").await.unwrap());
    for mode in ["prefer", "require"] {
        assert!(opened(&schema, &format!("&sslmode={mode}")).await.unwrap(), "{mode}");
    }
    for mode in ["require", "verify-full"] {
        assert!(opened(&schema, &format!("&sslmode={mode}&sslrootcert={authority}")).await.unwrap(), "{mode}");
    }
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_refused() {
    let schema = Schema::new().await;
    let error = opened(&schema, "&sslmode=verify-full").await.unwrap_err();
    assert!(error.message().contains("certificate"), "{error}");
}

#[tokio::test]
async fn wrong_parameters_are_named() {
    let schema = Schema::new().await;
    for (parameters, words) in [
        ("&sslmode=allow", "use disable, prefer, require or verify-full"),
        ("&sslmode=verify-full&sslrootcert=/no/such/file", "cannot be read"),
        ("&sslmode=require&sslrootcert=/dev/null", "holds no certificate"),
    ] {
        let error = opened(&schema, parameters).await.unwrap_err();
        assert!(error.message().contains(words), "{parameters}: {error}");
    }
}
