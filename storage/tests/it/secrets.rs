//! Secrets, encrypted, on every store that keeps them.

use aihub_core::secret::{ExposeSecret as _, SecretSlice};
use aihub_core::{AccountId, Clock, ManualClock, SecretName, SecretOwner, SecretStore};
use aihub_storage::secret::{KeyRing, Place};

/// Makes a test on every kind of rows of each check `name`, which is called with an empty one.
macro_rules! on_every_rows {
    ($($name:ident)*) => {
        mod memory {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    super::$name(aihub_storage::memory::MemoryRows::default()).await;
                }
            )*
        }

        #[cfg(feature = "sqlite")]
        mod sqlite {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    let folder = tempfile::TempDir::new().unwrap();
                    super::$name(aihub_storage::sql::SqlRows::new(crate::sqlite::database(&folder).await)).await;
                }
            )*
        }

        #[cfg(feature = "postgres")]
        mod postgres {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    let schema = crate::postgres::Schema::new().await;
                    super::$name(aihub_storage::sql::SqlRows::new(schema.open().await)).await;
                }
            )*
        }
    };
}

mod rotation;
mod rows;
mod suite;

const HOUSE: SecretOwner = SecretOwner::House;

fn account() -> SecretOwner {
    AccountId::new(ManualClock::default().now()).into()
}

fn name(text: &str) -> SecretName {
    text.parse().unwrap()
}

fn place(owner: SecretOwner, called: &str) -> Place {
    Place { owner, name: name(called) }
}

fn value(text: &str) -> SecretSlice<u8> {
    text.as_bytes().to_vec().into()
}

async fn got(store: &impl SecretStore, owner: SecretOwner, called: &str) -> String {
    let plain = store.get(owner, &name(called)).await.unwrap().unwrap();
    String::from_utf8(plain.expose_secret().to_vec()).unwrap()
}

/// A ring of these versions, always of the same keys: 32 times the digit.
fn ring(versions: &[char]) -> KeyRing {
    let key = |version: &char| match version {
        '1' => "1:MTExMTExMTExMTExMTExMTExMTExMTExMTExMTExMTE=",
        '2' => "2:MjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjI=",
        _ => "3:MzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzM=",
    };
    KeyRing::parse(&versions.iter().map(key).collect::<Vec<_>>().join(",")).unwrap()
}
