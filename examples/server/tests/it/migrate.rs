//! `aihub migrate`, and starts that may not.

use std::process::Output;

use crate::hub::aihub;
use crate::replicas::{Database, PEPPER};

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test]
async fn ten_processes_migrate_an_empty_database_at_once() {
    let (database, folder) = (Database::new().await, tempfile::tempdir().unwrap());
    let url = database.url();
    let processes: Vec<_> = (0..10)
        .map(|_| aihub(folder.path(), &["migrate"]).env("DATABASE_URL", &url).env(PEPPER.0, PEPPER.1).spawn().unwrap())
        .collect();
    for mut process in processes {
        assert!(process.wait().unwrap().success());
    }
    let checked = aihub(folder.path(), &["check"])
        .env("DATABASE_URL", &url)
        .env(PEPPER.0, PEPPER.1)
        .env("AIHUB_STORE__MIGRATE", "false")
        .output()
        .unwrap();
    assert!(checked.status.success(), "{}", told(&checked));
    let said = String::from_utf8(checked.stdout).unwrap();
    let password = url.split(':').nth(2).unwrap().split('@').next().unwrap();
    assert!(!password.is_empty() && !said.contains(password), "{said}");
}

#[tokio::test]
async fn a_start_that_may_not_migrate_says_what_to_do() {
    let (database, folder) = (Database::new().await, tempfile::tempdir().unwrap());
    for url in [database.url(), "sqlite://new.db".to_owned()] {
        let refused = aihub(folder.path(), &["check"])
            .env("DATABASE_URL", &url)
            .env(PEPPER.0, PEPPER.1)
            .env("AIHUB_STORE__MIGRATE", "false")
            .output()
            .unwrap();
        assert_eq!(refused.status.code(), Some(64));
        assert!(told(&refused).contains("run `aihub migrate`"), "{}", told(&refused));
    }
    assert!(!folder.path().join("new.db").exists());
}

#[tokio::test]
async fn postgres_without_a_pepper_is_refused() {
    let (database, folder) = (Database::new().await, tempfile::tempdir().unwrap());
    let refused = aihub(folder.path(), &["check"]).env("DATABASE_URL", database.url()).output().unwrap();
    assert_eq!(refused.status.code(), Some(64));
    assert!(told(&refused).contains("AIHUB_KEYS__PEPPER"), "{}", told(&refused));
}
