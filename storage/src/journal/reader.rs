//! Reading entries in the order in which they were written, while others are.

use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use aihub_core::journal::Position;

use super::entry::{self, Entry, Flaw};
use super::segment::{self, HEAD, Segment};

/// Bytes that are read at once.
const BLOCK: usize = 1 << 18;

/// Reads a journal from a position on. Old segments are whole: opening the journal has seen to that.
#[derive(Debug)]
pub struct Reader {
    folder: PathBuf,
    position: Position,
    segment: Option<Segment>,
    buffer: Vec<u8>,
    at: usize,
}

impl Reader {
    pub(super) const fn new(folder: PathBuf, position: Position) -> Self {
        Self { folder, position, segment: None, buffer: Vec::new(), at: 0 }
    }

    /// Where the next entry begins.
    pub const fn position(&self) -> Position {
        self.position
    }

    /// The process that wrote what was read last.
    pub(super) fn run(&self) -> Option<uuid::Uuid> {
        self.segment.as_ref().map(|segment| segment.head.run)
    }

    /// The next entry before `end`, if there is one.
    ///
    /// # Errors
    ///
    /// Those of the disk, and [`InvalidData`](io::ErrorKind::InvalidData) for what is no entry.
    pub fn next(&mut self, end: Position) -> io::Result<Option<Entry>> {
        loop {
            if self.position >= end {
                return Ok(None);
            }
            match entry::read(&self.buffer[self.at..]) {
                Ok((entry, length)) => {
                    self.at += length;
                    self.position.offset += length as u64;
                    return Ok(Some(entry));
                }
                Err(Flaw::Short) => {
                    if !self.fill(end)? {
                        return Ok(None);
                    }
                }
                Err(Flaw::Damaged | Flaw::Unknown(_)) => {
                    let message = format!("the journal cannot be read at {}", self.position);
                    return Err(io::Error::new(io::ErrorKind::InvalidData, message));
                }
            }
        }
    }

    /// Reads on; `false` when there is nothing to be read.
    fn fill(&mut self, end: Position) -> io::Result<bool> {
        let missing = self.segment.as_ref().is_none_or(|open| open.head.number != self.position.segment);
        if missing && !self.open()? {
            return Ok(false);
        }
        let Some(segment) = &self.segment else { return Ok(false) };
        let last = segment.head.number == end.segment;
        let length = if last { end.offset } else { segment.file.metadata()?.len() };
        self.buffer.drain(..self.at);
        self.at = 0;
        let from = self.position.offset + self.buffer.len() as u64;
        let left = usize::try_from(length.saturating_sub(from)).unwrap_or(usize::MAX).min(BLOCK);
        if left == 0 {
            if last {
                return Ok(false);
            }
            if !self.buffer.is_empty() {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("half an entry ends {}", self.position),
                ));
            }
            self.skip();
            return Ok(true);
        }
        let had = self.buffer.len();
        self.buffer.resize(had + left, 0);
        segment.file.read_exact_at(&mut self.buffer[had..], from)?;
        Ok(true)
    }

    /// Opens the segment of the position, or the one after it if it is gone.
    fn open(&mut self) -> io::Result<bool> {
        let numbers = segment::numbers(&self.folder)?;
        let Some(number) = numbers.into_iter().find(|number| *number >= self.position.segment) else {
            return Ok(false);
        };
        if number > self.position.segment {
            self.position = Position { segment: number, offset: HEAD };
        }
        self.position.offset = self.position.offset.max(HEAD);
        (self.buffer, self.at) = (Vec::new(), 0);
        if let Some(open) = Segment::open(&self.folder, number)? {
            self.segment = Some(open);
        } else {
            // It was never begun.
            self.skip();
        }
        Ok(true)
    }

    fn skip(&mut self) {
        self.position = Position { segment: self.position.segment + 1, offset: HEAD };
        self.segment = None;
    }
}
