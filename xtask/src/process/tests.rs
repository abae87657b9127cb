use std::time::Duration;

use super::{Program, now};

const SOON: Duration = Duration::from_secs(10);

fn alive(pid: &str) -> bool {
    // A zombie is dead: nobody may be there to reap it.
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

fn gone(pid: &str) -> bool {
    let deadline = now() + SOON;
    while alive(pid) {
        if now() > deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    true
}

#[test]
fn a_dropped_guard_ends_grandchildren_that_ignore_the_polite_signal() {
    let line = "trap '' TERM; sleep 600 & echo $!; wait";
    let mut running = Program::shell(line).start_reading().unwrap();
    let grandchild = running.first_line(SOON).unwrap();
    assert!(alive(&grandchild));
    drop(running);
    assert!(gone(&grandchild), "grandchild {grandchild} survived");
}

#[test]
fn a_program_past_its_time_is_an_error() {
    let error = Program::shell("exec sleep 600").run(Duration::from_millis(200)).unwrap_err();
    assert!(error.to_string().contains("did not end"), "{error}");
}

#[test]
fn failure_and_output_are_told() {
    assert!(Program::shell("exit 3").run(SOON).unwrap_err().to_string().contains("exit status: 3"));
    assert_eq!(Program::shell("echo one; echo two").read(SOON, false).unwrap(), "one\ntwo\n");
}

#[test]
fn a_program_in_the_background_keeps_its_input_open_and_others_find_it_empty() {
    let mut held = Program::shell("cat >/dev/null; echo closed").start_reading().unwrap();
    assert!(held.first_line(Duration::from_millis(300)).is_err());
    assert_eq!(Program::shell("cat; echo closed").read(SOON, false).unwrap(), "closed\n");
}

#[test]
fn the_first_line_is_awaited_only_so_long() {
    let mut silent = Program::shell("sleep 600").start_reading().unwrap();
    let error = silent.first_line(Duration::from_millis(100)).unwrap_err();
    assert!(error.to_string().contains("printed nothing"), "{error}");
}

#[test]
fn a_program_is_asked_to_stop_by_its_own_signal() {
    let folder = crate::place::fresh("stopped-by").unwrap();
    let line = "trap 'echo asked >said; exit' QUIT; trap '' TERM; sleep 600 & echo ready; wait";
    let program = Program::shell(line).folder(&folder).stopped_by("QUIT");
    let mut running = program.start_reading().unwrap();
    running.first_line(SOON).unwrap();
    drop(running);
    assert_eq!(std::fs::read_to_string(folder.join("said")).unwrap(), "asked\n");
}
