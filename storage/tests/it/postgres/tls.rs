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

/// Signed by the right authority, for another host: what checking the authority alone would let pass.
#[tokio::test]
async fn a_certificate_for_another_host_is_refused() {
    let mut url: url::Url = crate::servers::postgres().parse().unwrap();
    url.set_host(Some("elsewhere.example")).unwrap();
    let authority = variable("AIHUB_TEST_POSTGRES_CA");
    let url = format!("{url}?hostaddr=127.0.0.1&sslmode=verify-full&sslrootcert={authority}");
    let error = Database::postgres(&url, small(), Migrate::Check).await.unwrap_err();
    assert!(error.message().contains("certificate"), "{error}");
}

/// `localhost` by name, but another machine by address: nothing is sent there in the open.
#[tokio::test]
async fn an_address_elsewhere_is_not_here_whatever_its_name_is() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut first = [0; 8];
        tokio::io::AsyncReadExt::read_exact(&mut socket, &mut first).await.unwrap();
        first
    });
    // An address of this machine that is not its loopback network would do as well; that one needs no network.
    let url = format!("postgres://aihub:s3cret@elsewhere.example:{port}/db?hostaddr=127.0.0.1");
    drop(Database::postgres(&url, small(), Migrate::Check).await.unwrap_err());
    // The request for TLS, which holds no name and no secret.
    assert_eq!(asked.await.unwrap(), [0, 0, 0, 8, 4, 210, 22, 47]);
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
