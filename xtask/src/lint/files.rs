//! Names and sizes of files, and what must not be written into them.

use std::path::Path;
use std::time::Duration;

use crate::Result;
use crate::process::Program;

/// A Rust file past this is two rooms.
const MOST_LINES: usize = 500;

/// Names that say nothing of what is inside.
const EMPTY_NAMES: [&str; 8] = ["util", "utils", "common", "helper", "helpers", "misc", "types", "traits"];

/// Starts of absolute paths that exist on one machine only. Written in two parts, so that this file passes its own check.
const HOMES: [(&str, &str); 4] = [("/ro", "ot/"), ("/wo", "rk/"), ("/Us", "ers/"), ("/ho", "me/")];

/// Checks every file that is committed or about to be.
pub(crate) fn check(root: &Path) -> Result {
    let names = Program::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .folder(root)
        .read(Duration::from_mins(1), false)?;
    let mut found = Vec::new();
    for name in names.lines() {
        found.extend(bad_name(name));
        // A file that was deleted and not yet committed, or is no text, has nothing to read.
        if let Ok(text) = std::fs::read_to_string(root.join(name)) {
            found.extend(bad_text(name, &text));
        }
    }
    if found.is_empty() {
        println!("files: {} looked at.", names.lines().count());
        return Ok(());
    }
    Err(found.join("\n").into())
}

fn bad_name(name: &str) -> Option<String> {
    let stem = |part: &str| part.split('.').next().unwrap_or(part).to_owned();
    let rust = Path::new(name).extension().is_some_and(|extension| extension == "rs");
    let empty = name.split('/').map(stem).find(|part| EMPTY_NAMES.contains(&part.as_str()));
    empty.filter(|_| rust).map(|part| format!("{name}: `{part}` says nothing of what is inside; name the subject"))
}

fn bad_text(name: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let lines = text.lines().count();
    if Path::new(name).extension().is_some_and(|extension| extension == "rs") && lines > MOST_LINES {
        found.push(format!("{name}: {lines} lines; more than {MOST_LINES} are two rooms"));
    }
    for (number, line) in text.lines().enumerate() {
        if let Some(path) = HOMES.iter().map(|(one, two)| format!("{one}{two}")).find(|path| begins_a_path(line, path))
        {
            found.push(format!("{name}:{}: `{path}` is a path of one machine", number + 1));
        }
    }
    found
}

/// Whether `path` stands where a path begins, not inside an address or a relative path.
fn begins_a_path(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        before.is_none_or(|before| !before.is_alphanumeric() && !"./-_~*}".contains(before))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_say_nothing_are_refused() {
        assert!(bad_name("core/src/utils.rs").is_some());
        assert!(bad_name("storage/tests/it/common/mod.rs").is_some());
        assert!(bad_name("core/src/invoice.rs").is_none());
        assert!(bad_name("examples/server/tests/sdk/node/types.d.ts").is_none());
    }

    #[test]
    fn long_rust_files_are_refused() {
        let text = "x\n".repeat(MOST_LINES + 1);
        assert_eq!(bad_text("a.rs", &text).len(), 1);
        assert!(bad_text("a.json", &text).is_empty());
        assert!(bad_text("a.rs", &"x\n".repeat(MOST_LINES)).is_empty());
    }

    #[test]
    fn paths_of_one_machine_are_found_and_addresses_are_not() {
        let home = format!("{}{}", HOMES[0].0, HOMES[0].1);
        assert_eq!(bad_text("a.md", &format!("see {home}x and more")).len(), 1);
        assert_eq!(bad_text("a.toml", &format!("path = \"{home}x\"")).len(), 1);
        assert!(bad_text("a.md", &format!("http://host.example{home}x")).is_empty());
        assert!(bad_text("a.md", &format!("..{home}x")).is_empty());
    }
}
