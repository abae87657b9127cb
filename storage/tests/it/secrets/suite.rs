//! The suite of the port.

mod memory {
    use std::sync::Arc;

    use aihub_core::{SecretStore, conformance};
    use aihub_storage::{KeyRing, MemorySecrets};

    conformance::secret_store!(async { Arc::new(MemorySecrets::new(KeyRing::random())) as Arc<dyn SecretStore> });
}

#[cfg(feature = "sqlite")]
mod sqlite {
    use std::sync::Arc;

    use aihub_core::conformance::Fixture;
    use aihub_core::{SecretStore, conformance};
    use aihub_storage::{KeyRing, SqlSecrets};
    use tempfile::TempDir;

    conformance::secret_store!(async {
        let folder = TempDir::new().unwrap();
        let secrets = SqlSecrets::new(crate::sqlite::database(&folder).await, KeyRing::random());
        Fixture::from(Arc::new(secrets) as Arc<dyn SecretStore>).keeping(folder)
    });
}

#[cfg(feature = "postgres")]
mod postgres {
    use std::sync::Arc;

    use aihub_core::conformance::Fixture;
    use aihub_core::{SecretStore, conformance};
    use aihub_storage::{KeyRing, SqlSecrets};

    use crate::postgres::Schema;

    conformance::secret_store!(async {
        let schema = Schema::new().await;
        let secrets = SqlSecrets::new(schema.open().await, KeyRing::random());
        Fixture::from(Arc::new(secrets) as Arc<dyn SecretStore>).keeping(schema)
    });
}
