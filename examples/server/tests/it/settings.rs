//! Wrong settings stop the start with exit code 64 and one line that says what to do.

use std::process::Output;

use crate::hub::{aihub, last_line};

fn refused(environment: &[(&str, &str)]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let output = aihub(folder.path(), &["check"]).envs(environment.iter().copied()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(64), "{said}");
    assert_eq!(said.trim_end().lines().count(), 1, "more than one line: {said}");
    said
}

fn config(text: &str) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("aihub.toml");
    std::fs::write(&file, text).unwrap();
    aihub(folder.path(), &["--config", file.to_str().unwrap(), "check"]).output().unwrap()
}

#[test]
fn an_unknown_setting_is_named_with_its_value_and_the_nearest_name() {
    let said = refused(&[("AIHUB_SERVER__LISTN", "127.0.0.1:1")]);
    for part in ["server.listn", "127.0.0.1:1", "AIHUB_", "`server.listen`"] {
        assert!(said.contains(part), "{part} is missing: {said}");
    }
    assert!(refused(&[("AIHUB_SERVER__LISTN", "1")]).contains("`server.listn` = 1 "), "a number is shown as one");
    let output = config("[upstream]\nretrys = 3\n");
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(64));
    assert!(
        said.contains("upstream.retrys") && said.contains("`upstream.retries`") && said.contains("aihub.toml"),
        "{said}"
    );
}

#[test]
fn a_wrong_value_is_named() {
    let said = refused(&[("AIHUB_SERVER__LISTEN", "everywhere")]);
    assert!(said.contains("server.listen") && said.contains("everywhere"), "{said}");
    let said = refused(&[("AIHUB_KEYS__DEFAULT_PLAN", "gold")]);
    assert!(said.contains("gold") && said.contains("free, pro"), "{said}");
}

#[test]
fn a_store_that_cannot_be_opened_is_never_replaced_by_another() {
    let said = refused(&[("DATABASE_URL", "postgres://user:hunter2@db/aihub")]);
    assert!(said.contains("DATABASE_URL") && !said.contains("hunter2"), "{said}");
    refused(&[("DATABASE_URL", "mysql://x")]);
    refused(&[("REDIS_URL", "redis://localhost")]);
}

#[test]
fn an_address_without_a_key_has_no_effect_and_is_refused() {
    let said = refused(&[("AIHUB_PROVIDERS__OPENROUTER__BASE_URL", "http://127.0.0.1:9/api/v1")]);
    assert!(said.contains("providers.openrouter"), "{said}");
}

#[test]
fn secrets_are_not_shown() {
    let said = refused(&[("AIHUB_KEYS__PEPPER", "too-short-secret")]);
    assert!(!said.contains("too-short-secret"), "{said}");
}

#[test]
fn keys_in_memory_would_be_gone() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = aihub(folder.path(), &["keys", "create", "--name", "x"]);
    let output = command.env("DATABASE_URL", "memory:").output().unwrap();
    assert_eq!(output.status.code(), Some(64));
}

#[test]
fn commands_print_what_they_say() {
    let folder = tempfile::tempdir().unwrap();
    let document = aihub(folder.path(), &["openapi"]).output().unwrap();
    let document: serde_json::Value = serde_json::from_slice(&document.stdout).unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    assert!(document["paths"]["/v1/chat/completions"]["post"].is_object());
    assert_eq!(last_line(&aihub(folder.path(), &["check"]).output().unwrap()), "ok");
    let key = last_line(&aihub(folder.path(), &["keys", "create", "--name", "x"]).output().unwrap());
    assert!(key.starts_with("ahub_live_") && !key.contains(' '), "{key}");
    let settings = aihub(folder.path(), &["settings"]).output().unwrap();
    assert!(String::from_utf8(settings.stdout).unwrap().contains("[server]"));
    assert_eq!(aihub(folder.path(), &["serv"]).output().unwrap().status.code(), Some(64));
}
