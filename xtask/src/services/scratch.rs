//! A temporary folder of the servers, and who they run as.

use std::ffi::OsString;
use std::fs::{DirBuilder, File};
use std::io::Read;
use std::os::unix::fs::{DirBuilderExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::process::{Program, Running};
use crate::{Result, setup};

const PATIENCE: Duration = Duration::from_mins(1);

/// Removes the folder `$1` when the pipe that it reads closes, so that no way in which we end leaves it behind.
///
/// It does so in a session of its own, which the leash does not end half way, and over and over, because a server that
/// is still stopping may write once more. It ignores the leash's polite signal, which comes at the same moment.
const KEEPER: &str = r#"
trap '' TERM
while read -r _; do :; done
setsid --wait sh -c 'i=0; while ! rm -rf "$1" && [ $i -lt 100 ]; do i=$((i+1)); sleep 0.1; done' keeper "$1"
"#;

/// Answers nothing for a plain user; for root the ids of the user and the group that the servers run as.
const OWNER: &str = r#"
[ "$(id -u)" = 0 ] || exit 0
for user in postgres nobody; do id -u $user && id -g $user && exit 0; done 2>/dev/null
exit 1
"#;

/// Somebody who is not root: Postgres refuses to be started by root.
#[derive(Clone, Copy, Debug)]
struct Owner {
    user: u32,
    group: u32,
}

impl Owner {
    /// `None` when we are a plain user ourselves.
    fn find() -> Result<Option<Self>> {
        let said = Program::shell(OWNER)
            .read(PATIENCE, false)
            .map_err(|_| "there is no user `postgres` or `nobody` for the servers to run as, and root cannot be one")?;
        Self::parse(&said)
    }

    fn parse(said: &str) -> Result<Option<Self>> {
        let ids = said.lines().map(str::parse).collect::<std::result::Result<Vec<u32>, _>>()?;
        match ids[..] {
            [] => Ok(None),
            [user, group] if user != 0 => Ok(Some(Self { user, group })),
            _ => Err(format!("`id` printed `{said}`, not a user and a group").into()),
        }
    }
}

/// A folder that nobody but its owner (and root) can look into; it goes when this guard does.
#[derive(Debug)]
pub(super) struct Scratch {
    folder: PathBuf,
    owner: Option<Owner>,
    _keeper: Running,
}

impl Scratch {
    /// Makes a folder outside of the build folder: that one may be below a folder that only root can enter.
    pub(super) fn make(name: &str) -> Result<Self> {
        let owner = Owner::find()?;
        if owner.is_some() {
            setup::tool("setpriv", "util-linux")?;
        }
        let folder = std::env::temp_dir().join(format!("aihub-{name}-{}", &secret()?[..8]));
        let keeper = Program::shell(KEEPER).arg("keeper").arg(&folder).start()?;
        DirBuilder::new()
            .mode(0o700)
            .create(&folder)
            .map_err(|error| format!("{} cannot be made: {error}", folder.display()))?;
        if let Some(Owner { user, group }) = owner {
            chown(&folder, Some(user), Some(group))?;
        }
        Ok(Self { folder, owner, _keeper: keeper })
    }

    pub(super) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.join(name)
    }

    /// Writes a file that the owner of the folder can read; others do not come past the folder.
    pub(super) fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.path(name);
        std::fs::write(&path, text)?;
        Ok(path)
    }

    /// A program to be run in the folder, by its owner.
    pub(super) fn program(&self, program: impl Into<OsString>) -> Program {
        let program = Program::new(program);
        let program = match self.owner {
            Some(Owner { user, group }) => program.by_user(user, group),
            None => program,
        };
        program.folder(&self.folder)
    }
}

/// A password that nobody can guess and that needs no escaping in a URL.
pub(super) fn secret() -> Result<String> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(format!("{:032x}", u128::from_ne_bytes(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_is_somebody_else_than_root() {
        assert!(Owner::parse("").unwrap().is_none());
        let owner = Owner::parse("101\n104\n").unwrap().unwrap();
        assert_eq!((owner.user, owner.group), (101, 104));
        assert!(Owner::parse("0\n0\n").is_err());
        assert!(Owner::parse("101\n").is_err());
        assert!(Owner::parse("nobody\n").is_err());
    }

    #[test]
    fn secrets_differ_and_are_plain() {
        let (one, two) = (secret().unwrap(), secret().unwrap());
        assert_ne!(one, two);
        assert!(one.len() == 32 && one.chars().all(|letter| letter.is_ascii_alphanumeric()), "{one}");
    }

    #[test]
    fn the_folder_is_its_owners_and_goes_with_the_guard() {
        let scratch = Scratch::make("scratch-test").unwrap();
        let file = scratch.write("greeting", "hello\n").unwrap();
        let said = scratch.program("sh").args(["-c", "id -u; cat greeting; echo more >more"]).read(PATIENCE, false);
        let said = said.unwrap();
        assert!(said.ends_with("\nhello\n") && !said.starts_with("0\n"), "{said}");
        assert!(scratch.path("more").is_file());
        drop(scratch);
        assert!(!file.exists());
    }
}
