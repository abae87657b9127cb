//! Reading a segment that nobody writes any more: what is whole, and what a process that was killed left half done.

use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use super::entry::{self, Entry, Flaw};
use super::segment::{HEAD, Segment};

/// A segment cannot be trusted.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// The disk does not give it back.
    #[error("{path} cannot be read: {error}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// There are entries behind bytes that are none.
    #[error(
        "{path} is damaged at byte {offset}: {behind} more entries stand behind it, so it was not cut short by a crash. \
         Nothing of it was taken over. Restore the file from a copy; or, to lose what cannot be read, move it away"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where reading ends.
        offset: u64,
        /// How many entries can be read behind it.
        behind: usize,
    },
    /// It was written by a later version.
    #[error(
        "{path} has an entry of the kind {kind} at byte {offset}, which this version does not know: start a newer one"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Where it stands.
        offset: u64,
        /// Its kind.
        kind: u8,
    },
}

/// Every entry of `segment` with the place where it ends, and where the last one ends.
///
/// What follows the last whole entry is a torn tail where no entry can be found behind it; `last` says whether a tail
/// may be torn at all: a segment with a successor of the same process was left whole.
pub(super) fn scan(segment: &Segment, last: bool, mut each: impl FnMut(Entry, u64)) -> Result<u64, Broken> {
    let unreadable = |error| Broken::Unreadable { path: segment.path.clone(), error };
    let length = segment.file.metadata().map_err(unreadable)?.len();
    let mut bytes = vec![0; usize::try_from(length.saturating_sub(HEAD)).unwrap_or(usize::MAX)];
    segment.file.read_exact_at(&mut bytes, HEAD).map_err(unreadable)?;
    let mut at = 0;
    while at < bytes.len() {
        let offset = HEAD + at as u64;
        match entry::read(&bytes[at..]) {
            Ok((entry, length)) => {
                at += length;
                each(entry, HEAD + at as u64);
            }
            Err(Flaw::Unknown(kind)) => return Err(Broken::Newer { path: segment.path.clone(), offset, kind }),
            Err(Flaw::Short | Flaw::Damaged) => {
                let behind = behind(&bytes[at + 1..]);
                if behind > 0 || !last {
                    return Err(Broken::Damaged { path: segment.path.clone(), offset, behind });
                }
                return Ok(offset);
            }
        }
    }
    Ok(HEAD + at as u64)
}

/// How many entries can be found in `bytes`, wherever they begin.
fn behind(bytes: &[u8]) -> usize {
    let (mut at, mut found) = (0, 0);
    while at < bytes.len() {
        // An empty body is no entry, and zeros would look like one.
        match entry::unframe(&bytes[at..]) {
            Ok((kind, body)) if kind != 0 && !body.is_empty() => {
                found += 1;
                at += entry::FRAME + body.len();
            }
            _ => at += 1,
        }
    }
    found
}
