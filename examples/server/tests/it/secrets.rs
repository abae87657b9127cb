//! `aihub secrets`, as an operator uses it.

use std::io::Write as _;
use std::path::Path;
use std::process::{Output, Stdio};

use aihub_core::secret::ExposeSecret as _;
use aihub_core::{AccountId, Clock as _, SecretOwner, SecretStore as _, SystemClock};
use aihub_storage::{Database, KeyRing, Migrate, PoolSettings, SqlSecrets};
use tempfile::TempDir;

use crate::hub::{aihub, last_line};

const KEY_1: &str = "1:MTExMTExMTExMTExMTExMTExMTExMTExMTExMTExMTE=";
const KEY_2: &str = "2:MjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjI=";
const PLAIN: &str = "whsec_hunter2hunter2hunter2";

/// Runs `aihub secrets` with this ring, if any, and gives it `input`.
fn secrets(folder: &TempDir, keys: Option<&str>, arguments: &[&str], input: &[u8]) -> Output {
    let mut command = aihub(folder.path(), &[&["secrets"], arguments].concat());
    if let Some(keys) = keys {
        command.env("AIHUB_SECRETS__KEYS", keys);
    }
    let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A command that is refused does not wait for what is said to it.
    drop(process.stdin.take().unwrap().write_all(input));
    let output = process.wait_with_output().unwrap();
    let all = [&output.stdout[..], &output.stderr[..]].concat();
    assert!(!String::from_utf8_lossy(&all).contains("hunter2"), "the secret is shown");
    output
}

fn said(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The one line of a command that is refused, without any key.
fn refused(output: &Output, code: i32) -> String {
    let said = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(code), "{said}");
    let lines: Vec<_> =
        said.lines().filter(|line| line.starts_with("aihub:") || line.starts_with("  because")).collect();
    assert_eq!(lines.len(), 1, "{said}");
    assert!(!said.contains("MTEx") && !said.contains("MjIy"), "a key is shown: {said}");
    said
}

fn account() -> String {
    AccountId::new(SystemClock::new().now()).to_string()
}

/// What the server would read.
fn read(folder: &Path, keys: &str, owner: SecretOwner, name: &str) -> Vec<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let database =
            Database::sqlite(&folder.join("aihub.db"), PoolSettings::default(), Migrate::Check).await.unwrap();
        let secrets = SqlSecrets::new(database, KeyRing::parse(keys).unwrap());
        secrets.get(owner, &name.parse().unwrap()).await.unwrap().unwrap().expose_secret().to_vec()
    })
}

#[test]
fn secrets_are_set_listed_and_removed() {
    let folder = TempDir::new().unwrap();
    let (mine, other) = (account(), account());
    let run = |arguments: &[&str], input: &[u8]| secrets(&folder, None, arguments, input);
    said(&run(&["set", "--account", &mine, "webhook/b"], PLAIN.as_bytes()));
    said(&run(&["set", "--account", &mine, "webhook/a"], format!("{PLAIN}\r\n").as_bytes()));
    said(&run(&["set", "--house", "--exact", "vendor"], b"\x00line\n"));
    assert_eq!(said(&run(&["list", "--account", &mine], b"")), "webhook/a\nwebhook/b\n");
    assert_eq!(said(&run(&["list", "--account", &other], b"")), "");
    assert_eq!(said(&run(&["list", "--house"], b"")), "vendor\n");
    let keys = std::fs::read_to_string(folder.path().join("aihub.db.secrets")).unwrap();
    let owner = SecretOwner::Account(mine.parse().unwrap());
    assert_eq!(read(folder.path(), &keys, owner, "webhook/a"), PLAIN.as_bytes(), "without the end of the line");
    assert_eq!(read(folder.path(), &keys, SecretOwner::House, "vendor"), b"\x00line\n");
    for file in ["aihub.db", "aihub.db-wal"] {
        let bytes = std::fs::read(folder.path().join(file)).unwrap_or_default();
        assert!(!bytes.windows(7).any(|window| window == b"hunter2"), "{file} holds the secret");
    }
    said(&run(&["remove", "--account", &mine, "webhook/a"], b""));
    assert!(refused(&run(&["remove", "--account", &mine, "webhook/a"], b""), 1).contains("no secret webhook/a"));
    refused(&run(&["remove", "--account", &other, "webhook/b"], b""), 1);
    assert_eq!(said(&run(&["list", "--account", &mine], b"")), "webhook/b\n");
}

#[test]
#[cfg(unix)]
fn the_file_of_master_keys_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;

    let folder = TempDir::new().unwrap();
    said(&secrets(&folder, None, &["set", "--house", "vendor"], b"x"));
    let mode = std::fs::metadata(folder.path().join("aihub.db.secrets")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_master_key_is_replaced() {
    let folder = TempDir::new().unwrap();
    let both = format!("{KEY_2},{KEY_1}");
    let run = |keys: &str, arguments: &[&str]| secrets(&folder, Some(keys), arguments, PLAIN.as_bytes());
    for name in ["a", "b", "c"] {
        said(&run(KEY_1, &["set", "--house", name]));
    }
    said(&run(&both, &["set", "--house", "d"]));
    let without_the_old = refused(&run(KEY_2, &["rotate"]), 1);
    assert!(
        without_the_old.contains("not every secret is under master key 2: 3 under master key 1 still;"),
        "{without_the_old}"
    );
    assert_eq!(said(&run(&both, &["rotate"])), "rewrapped  3\nkept       1\nleft       0\n");
    assert_eq!(said(&run(KEY_2, &["rotate"])), "rewrapped  0\nkept       4\nleft       0\n");
    assert_eq!(read(folder.path(), KEY_2, SecretOwner::House, "a"), PLAIN.as_bytes());
    assert!(!folder.path().join("aihub.db.secrets").exists(), "the environment goes before the file");
}

#[test]
fn a_new_key_is_a_further_line_of_the_file() {
    let folder = TempDir::new().unwrap();
    let run = |arguments: &[&str]| secrets(&folder, None, arguments, b"x");
    let file = folder.path().join("aihub.db.secrets");
    assert!(said(&run(&["new-key"])).starts_with("1:"));
    assert!(!file.exists(), "printing a key keeps none");
    said(&run(&["set", "--house", "vendor"]));
    let line = last_line(&run(&["new-key"]));
    assert!(line.starts_with("2:") && line.len() == 46, "a version and 44 characters");
    let old = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{old}{line}\n")).unwrap();
    assert_eq!(said(&run(&["rotate"])), "rewrapped  1\nkept       0\nleft       0\n");
    std::fs::write(&file, format!("{line}\n")).unwrap();
    assert_eq!(read(folder.path(), &line, SecretOwner::House, "vendor"), b"x");
    assert!(said(&run(&["new-key"])).starts_with("3:"));
    assert!(said(&secrets(&folder, Some(KEY_1), &["new-key"], b"")).starts_with("2:"), "after the newest that is set");
}

#[test]
fn wrong_master_keys_are_told_in_one_line_without_them() {
    let folder = TempDir::new().unwrap();
    let twice = format!("{KEY_1},{KEY_1}");
    for (keys, words) in [
        (&KEY_1[2..], "entry 1"),
        ("1:MTEx", "3 bytes"),
        (&*twice, "second key of version 1"),
        (",", "no master key"),
        ("12345", "secrets.keys"),
    ] {
        for arguments in [&["set", "--house", "vendor"][..], &["rotate"], &["new-key"]] {
            let said = refused(&secrets(&folder, Some(keys), arguments, PLAIN.as_bytes()), 64);
            assert!(said.contains(words) && said.contains("AIHUB_SECRETS__KEYS"), "{said}");
        }
    }
    let check = aihub(folder.path(), &["check"]).env("AIHUB_SECRETS__KEYS", "1:MTEx").output().unwrap();
    refused(&check, 64);
    std::fs::write(folder.path().join("ring"), "1:MTEx\n").unwrap();
    for (file, words) in [("ring", "3 bytes"), ("nowhere", "no such file")] {
        let mut command = aihub(folder.path(), &["secrets", "rotate"]);
        let said = refused(&command.env("AIHUB_SECRETS__KEYS_FILE", file).output().unwrap(), 64);
        assert!(said.contains(file) && said.contains(words), "{said}");
    }
    assert!(!folder.path().join("nowhere").exists(), "only the file beside the database is made");
}

/// A first key made for secrets that are there already would hide that theirs is lost.
#[test]
fn a_lost_file_is_not_made_anew() {
    let folder = TempDir::new().unwrap();
    said(&secrets(&folder, None, &["set", "--house", "vendor"], b"x"));
    let file = folder.path().join("aihub.db.secrets");
    std::fs::remove_file(&file).unwrap();
    for arguments in [&["set", "--house", "vendor"][..], &["rotate"]] {
        let said = refused(&secrets(&folder, None, arguments, b"x"), 64);
        assert!(
            said.contains("secrets are kept (1)") && said.contains("aihub.db.secrets") && said.contains("put it back"),
            "{said}"
        );
    }
    assert!(!file.exists());
    assert_eq!(said(&secrets(&folder, None, &["list", "--house"], b"")), "vendor\n");
    said(&secrets(&folder, None, &["remove", "--house", "vendor"], b""));
    said(&secrets(&folder, None, &["set", "--house", "vendor"], b"x"));
}

#[test]
fn what_is_no_secret_is_refused() {
    let folder = TempDir::new().unwrap();
    let run = |arguments: &[&str], input: &[u8]| secrets(&folder, None, arguments, input);
    assert!(refused(&run(&["set", "--house", "vendor"], b"\n"), 64).contains("standard input"));
    assert!(refused(&run(&["set", "--house", "vendor"], &vec![7; 65_537]), 1).contains("65536 bytes"));
    said(&run(&["set", "--house", "vendor"], &vec![7; 65_536]));
    let owner = account();
    for arguments in [
        &["set", "vendor"][..],
        &["set", "--house", "--account", &owner, "vendor"],
        &["set", "--house", "two words"],
        &["set", "--house", "vendor", "value"],
        &["list", "--account", "key_1"],
    ] {
        assert_eq!(run(arguments, b"x").status.code(), Some(64), "{arguments:?}");
    }
    let mut memory = aihub(folder.path(), &["secrets", "list", "--house"]);
    assert_eq!(memory.env("DATABASE_URL", "memory:").output().unwrap().status.code(), Some(64));
}
