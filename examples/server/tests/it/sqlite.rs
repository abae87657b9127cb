//! The embedded default under hard treatment: killed, full, damaged, copied while in use.

use std::io::{BufRead as _, BufReader, Seek as _, SeekFrom, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use crate::hub::{Hub, aihub, last_line};

const ACCOUNT: &str = "acc_01m7z39crpe09tjk0d5bf9p81t";
const CREATE: [&str; 6] = ["keys", "create", "--name", "test", "--account", ACCOUNT];

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn listed(folder: &Path) -> String {
    let listed = aihub(folder, &["keys", "list", "--account", ACCOUNT]).output().unwrap();
    assert!(listed.status.success(), "{}", told(&listed));
    String::from_utf8(listed.stdout).unwrap()
}

/// Processes that are killed at any moment of their work: what they said was done, is.
// failure: process | killed while it writes SQLite | what was answered is there; the file is whole
#[test]
fn what_was_answered_survives_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    last_line(&aihub(folder.path(), &CREATE).output().unwrap());
    let mut killed = 0;
    let mut answered = Vec::new();
    for round in 0..30 {
        let mut process = aihub(folder.path(), &CREATE).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut said = Vec::new();
        if round % 2 == 0 {
            // A moment later in every other round, from before the file is open.
            std::thread::sleep(Duration::from_millis(round));
        } else {
            // At the very moment of the answer: the secret is shown only once the key is kept.
            said.extend(lines.by_ref().map(Result::unwrap).take_while(|line| !line.starts_with("Keep it")));
        }
        drop(process.kill());
        said.extend(lines.map_while(Result::ok));
        killed += u32::from(process.wait().unwrap().signal() == Some(9));
        if round % 2 == 1 || said.iter().any(|line| line.starts_with("ahub_live_")) {
            answered.push(said[0].split_whitespace().nth(1).unwrap().to_owned());
        }
    }
    let listed = listed(folder.path());
    for id in &answered {
        assert!(listed.contains(id), "{id} was answered and is gone");
    }
    println!("{killed} of 30 killed midway, {} answered", answered.len());
    assert!(killed > 0, "none was killed before it ended");
    assert!(answered.len() >= 15, "half of them were let answer");
    let checked = aihub(folder.path(), &["check"]).output().unwrap();
    assert!(checked.status.success(), "{}", told(&checked));
}

/// A server that is killed while it answers serves again on the same file.
// failure: process | killed | serves again on the same files
#[tokio::test]
async fn a_server_that_was_killed_serves_again() {
    let hub = Hub::start();
    let key = hub.key("pro");
    let folder = hub.folder.path().to_owned();
    let kept = tempfile::tempdir().unwrap();
    hub.kill();
    let copied = Command::new("cp").arg("-r").arg(folder.join(".")).arg(kept.path()).status().unwrap();
    assert!(copied.success());
    drop(hub);
    let again = Hub::start_in(kept);
    let response = again.send(again.request("GET", "/v1/models", &key), "").await;
    assert_eq!(response.status(), http::StatusCode::OK);
}

// failure: SQLite | disk full | one clear error, nothing half done
#[test]
fn a_full_disk_is_one_clear_error_and_nothing_half_done() {
    let folder = tempfile::tempdir().unwrap();
    last_line(&aihub(folder.path(), &CREATE).output().unwrap());
    let before = listed(folder.path());
    // No file may grow beyond a size that the journal has reached: what a full disk looks like from here.
    let mut full = Command::new("sh");
    let limited = format!("ulimit -f 8; exec {} {}", env!("CARGO_BIN_EXE_aihub"), CREATE.join(" "));
    let refused = full.arg("-c").arg(format!("trap '' XFSZ; {limited}")).current_dir(folder.path()).output().unwrap();
    assert!(!refused.status.success());
    let text = told(&refused);
    assert!(text.contains("aihub.db") && text.contains("disk I/O error") && !text.contains("panicked"), "{text}");
    assert_eq!(listed(folder.path()), before);
}

// failure: SQLite | damaged file | `aihub check` names it
#[test]
fn a_damaged_file_is_found_by_check_and_named() {
    let folder = tempfile::tempdir().unwrap();
    for _ in 0..30 {
        last_line(&aihub(folder.path(), &CREATE).output().unwrap());
    }
    let file = folder.path().join("aihub.db");
    let size = std::fs::metadata(&file).unwrap().len();
    let mut open = std::fs::OpenOptions::new().write(true).open(&file).unwrap();
    for page in 1..size / 4_096 {
        open.seek(SeekFrom::Start(page * 4_096 + 64)).unwrap();
        open.write_all(&[0xff; 512]).unwrap();
    }
    drop(open);
    let refused = aihub(folder.path(), &["check"]).output().unwrap();
    assert!(!refused.status.success());
    let text = told(&refused);
    assert!(text.contains("aihub.db") && text.contains("backup"), "{text}");
}

#[tokio::test]
async fn a_backup_is_made_while_the_server_runs() {
    let hub = Hub::start();
    let key = hub.key("pro");
    last_line(&hub.run(&CREATE));
    let copy = hub.folder.path().join("copy.db");
    let made = hub.run(&["backup", "copy.db"]);
    assert!(made.status.success(), "{}", told(&made));
    let again = hub.run(&["backup", "copy.db"]);
    assert!(!again.status.success() && told(&again).contains("already"), "{}", told(&again));
    let elsewhere = tempfile::tempdir().unwrap();
    std::fs::copy(&copy, elsewhere.path().join("aihub.db")).unwrap();
    std::fs::copy(hub.folder.path().join("aihub.db.pepper"), elsewhere.path().join("aihub.db.pepper")).unwrap();
    assert!(listed(elsewhere.path()).contains("key_"));
    let restored = Hub::start_in(elsewhere);
    let response = restored.send(restored.request("GET", "/v1/models", &key), "").await;
    assert_eq!(response.status(), http::StatusCode::OK);
}
