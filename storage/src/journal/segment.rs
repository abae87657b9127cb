//! The files of a journal: one after the other, each with a head that says whose it is.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::FallocateFlags;
use uuid::Uuid;

/// Bytes in front of the first entry: 8 of a mark, 16 of the run, 8 of the number, 4 of their CRC-32, and room.
pub(super) const HEAD: u64 = HEAD_BYTES as u64;

const HEAD_BYTES: usize = 64;

const MARK: &[u8; 8] = b"AIHUBJ01";

/// Which file this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    /// The process that wrote it.
    pub(super) run: Uuid,
    /// Its place among the others.
    pub(super) number: u64,
}

impl Head {
    fn bytes(self) -> [u8; HEAD_BYTES] {
        let mut bytes = [0; HEAD_BYTES];
        bytes[..8].copy_from_slice(MARK);
        bytes[8..24].copy_from_slice(self.run.as_bytes());
        bytes[24..32].copy_from_slice(&self.number.to_le_bytes());
        let check = crc32fast::hash(&bytes[..32]);
        bytes[32..36].copy_from_slice(&check.to_le_bytes());
        bytes
    }

    /// `None` when the file does not begin as a segment does.
    fn read(file: &File) -> io::Result<Option<Self>> {
        let mut bytes = [0; HEAD_BYTES];
        if let Err(error) = file.read_exact_at(&mut bytes, 0) {
            return if error.kind() == io::ErrorKind::UnexpectedEof { Ok(None) } else { Err(error) };
        }
        let run = Uuid::from_slice(&bytes[8..24]).unwrap_or_default();
        let head = Self { run, number: u64::from_le_bytes(bytes[24..32].try_into().unwrap_or_default()) };
        Ok((head.bytes() == bytes).then_some(head))
    }
}

/// A segment that is there.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) path: PathBuf,
    pub(super) file: File,
    pub(super) head: Head,
}

/// The name of the segment of this number: sorted by name, they are in order.
pub(super) fn name(number: u64) -> String {
    format!("{number:016x}.journal")
}

/// The numbers of the segments in `folder`, in order.
pub(super) fn numbers(folder: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?.file_name();
        let number = entry.to_str().and_then(|name| name.strip_suffix(".journal"));
        numbers.extend(number.and_then(|number| u64::from_str_radix(number, 16).ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

impl Segment {
    /// Opens a segment to read it. `Ok(None)` when its head was never written whole: a process ended while it made it,
    /// and wrote nothing into it.
    pub(super) fn open(folder: &Path, number: u64) -> io::Result<Option<Self>> {
        let path = folder.join(name(number));
        let file = File::open(&path)?;
        let Some(head) = Head::read(&file)? else { return Ok(None) };
        if head.number != number {
            let message = format!("it calls itself {:016x}", head.number);
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        Ok(Some(Self { path, file, head }))
    }

    /// Makes a segment, with room for `bytes` that nobody else can take away, and its name on the disk.
    pub(super) fn create(folder: &Path, head: Head, bytes: u64) -> io::Result<Self> {
        let path = folder.join(name(head.number));
        let unfinished = path.with_extension("new");
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&unfinished)?;
        let made = reserve(&file, bytes)
            .and_then(|()| file.write_all_at(&head.bytes(), 0))
            .and_then(|()| file.sync_data())
            .and_then(|()| std::fs::rename(&unfinished, &path))
            .and_then(|()| File::open(folder)?.sync_all());
        if let Err(error) = made {
            // What could not be made takes no room from those that go on.
            drop(std::fs::remove_file(&unfinished));
            return Err(error);
        }
        Ok(Self { path, file, head })
    }
}

/// Takes the room without making the file longer: what follows the last entry is the end of the file. A file system
/// that cannot do that is used as it is.
fn reserve(file: &File, bytes: u64) -> io::Result<()> {
    match rustix::fs::fallocate(file, FallocateFlags::KEEP_SIZE, 0, bytes) {
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => Ok(()),
        taken => taken.map_err(io::Error::from),
    }
}
