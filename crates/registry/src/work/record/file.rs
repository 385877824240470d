//! One file of a record: taken up at its last whole line, appended to, synced, and rotated.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use skep_core::base::BootTime;

use crate::rules::record::{BadLine, Chain, Event};

/// Bytes of a file, after which another is begun; and those that are kept beside it.
const FILE_BYTES: u64 = 128 * 1024 * 1024;
const KEPT: u32 = 8;
/// Bytes of a file of counts, of which one is kept beside it.
const COUNTS_BYTES: u64 = 16 * 1024 * 1024;
/// Bytes in which a last line must end.
const TAIL: u64 = 1024 * 1024;
/// Milliseconds between two syncs.
const SYNC_MS: u64 = 100;

/// Why a file can't be taken up.
#[derive(Debug, thiserror::Error)]
pub enum BadRecord {
    /// What the system says.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// Another process has it.
    #[error("another process writes it")]
    InUse,
    /// Its last line is none.
    #[error("its last line {0}")]
    Damaged(BadLine),
}

/// Where a file stood before a write.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    length: u64,
    chain: Chain,
}

#[derive(Debug)]
pub(super) struct RecordFile {
    path: PathBuf,
    file: File,
    length: u64,
    chain: Chain,
    /// Since when there is something to sync.
    unsynced: bool,
    synced: BootTime,
    broken: bool,
    /// Bytes after which another file is begun.
    most: u64,
    /// How far it is on the disk.
    reached: Chain,
}

impl RecordFile {
    /// Takes a file up, or begins it. An unfinished last line is cut, which the next one notes.
    pub(super) fn open(path: &Path, name: &str, at: &str) -> Result<Self, BadRecord> {
        let mut file = append(path)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|_| BadRecord::InUse)?;
        let length = file.metadata()?.len();
        let begin = length.saturating_sub(TAIL);
        file.seek(SeekFrom::Start(begin))?;
        let mut tail = Vec::new();
        Read::by_ref(&mut file).take(TAIL).read_to_end(&mut tail)?;
        let whole = tail.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let torn = u64::try_from(tail.len() - whole).unwrap_or(u64::MAX);
        let lines = tail.get(..whole).unwrap_or_default().split(|byte| *byte == b'\n');
        let last = lines.rev().nth(1);
        let chain = match last {
            Some(last) => Some(Chain::after(last).map_err(BadRecord::Damaged)?),
            None if begin > 0 => return Err(BadRecord::Damaged(BadLine::Shape)),
            None => None,
        };
        let length = length - torn;
        file.set_len(length)?;
        let mut own = Self {
            path: path.to_owned(),
            file,
            length,
            chain: Chain::default(),
            unsynced: false,
            synced: BootTime(0),
            broken: false,
            most: FILE_BYTES,
            reached: Chain::default(),
        };
        match chain {
            Some(chain) => own.chain = chain,
            None => own.begin([0; 32], at)?,
        }
        own.append(at, &[Event::Start { name: name.to_owned(), torn }])?;
        own.file.sync_data()?;
        own.reached = own.chain;
        Ok(own)
    }

    fn begin(&mut self, after: [u8; 32], at: &str) -> io::Result<()> {
        let (chain, line) = Chain::begin(after, at);
        self.put(line.as_bytes())?;
        self.chain = chain;
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.length += u64::try_from(bytes.len()).unwrap_or(0);
        self.unsynced = true;
        Ok(())
    }

    /// The last line that is surely on the disk.
    pub(super) fn reached(&self) -> Chain {
        self.reached
    }

    /// Where it stands.
    pub(super) fn mark(&self) -> Mark {
        Mark { length: self.length, chain: self.chain }
    }

    /// Writes these, all or none.
    pub(super) fn append(&mut self, at: &str, events: &[Event]) -> io::Result<()> {
        if self.broken {
            return Err(io::Error::other("an earlier write was lost"));
        }
        let mark = self.mark();
        let mut text = String::new();
        for event in events {
            text.push_str(&self.chain.add(at, event.clone()));
        }
        self.put(text.as_bytes()).inspect_err(|_| self.back_to(mark))?;
        if self.length >= self.most
            && let Err(error) = self.rotate(at)
        {
            tracing::error!(event = "record_not_rotated", %error);
        }
        Ok(())
    }

    /// Takes back what was written since.
    pub(super) fn back_to(&mut self, mark: Mark) {
        // A file that was rotated since holds it whole.
        if mark.length <= self.length {
            self.broken |= self.file.set_len(mark.length).is_err();
            (self.length, self.chain) = (mark.length, mark.chain);
        }
    }

    /// Syncs, if it is time and there is anything to sync. What was lost by a sync that failed
    /// can't be told from what was not: nothing more is written then.
    pub(super) fn sync(&mut self, now: BootTime, end: bool) -> io::Result<()> {
        let due = now.0.saturating_sub(self.synced.0) >= SYNC_MS;
        if !self.unsynced || !(due || end) {
            return Ok(());
        }
        self.synced = now;
        self.unsynced = false;
        self.file.sync_data().inspect_err(|_| self.broken = true)?;
        self.reached = self.chain;
        Ok(())
    }

    fn rotate(&mut self, at: &str) -> io::Result<()> {
        self.file.sync_data()?;
        for number in (1..KEPT).rev() {
            let (from, to) = (numbered(&self.path, number), numbered(&self.path, number + 1));
            if from.exists() {
                fs::rename(from, to)?;
            }
        }
        fs::rename(&self.path, numbered(&self.path, 1))?;
        let file = append(&self.path)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        let after = self.chain.head;
        (self.file, self.length, self.chain) = (file, 0, Chain::default());
        self.begin(after, at)
    }

    /// Writes counts beside it; where that fails they are gone.
    pub(super) fn append_counts(&self, lines: &str) {
        let path = with_end(&self.path, "counts");
        let written = append(&path).and_then(|mut file| {
            if file.metadata()?.len() >= COUNTS_BYTES {
                fs::rename(&path, with_end(&self.path, "counts.1"))?;
                file = append(&path)?;
            }
            file.write_all(lines.as_bytes())
        });
        if let Err(error) = written {
            tracing::warn!(event = "counts_not_written", %error);
        }
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    with_end(path, &number.to_string())
}

fn with_end(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(end);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: &str = "2026-11-29T00:00:00Z";

    #[test]
    fn a_file_that_is_full_goes_on_in_another() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let mut file = RecordFile::open(&path, "web", AT).unwrap();
        file.most = 2_000;
        for count in 0..200 {
            file.append(AT, &[Event::Lost { count }]).unwrap();
        }
        let mut head: Option<[u8; 32]> = None;
        let mut files = 0;
        for number in (0..=KEPT + 1).rev() {
            let path = if number == 0 { path.clone() } else { numbered(&path, number) };
            let Ok(text) = fs::read_to_string(&path) else { continue };
            files += 1;
            let mut chain = Chain::default();
            for (place, line) in text.lines().enumerate() {
                let line = chain.follow(line.as_bytes()).unwrap();
                if let (0, Some(head), Event::Begin { after }) = (place, head, line.event) {
                    assert_eq!(after, data_encoding::HEXLOWER.encode(&head), "{number}");
                }
            }
            head = Some(chain.head);
        }
        assert_eq!(files, KEPT + 1, "some are gone, the others follow one another");
        assert!(matches!(RecordFile::open(&path, "web", AT), Err(BadRecord::InUse)));
    }

    #[test]
    fn what_is_taken_back_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let mut file = RecordFile::open(&path, "web", AT).unwrap();
        let (mark, before) = (file.mark(), fs::read(&path).unwrap());
        file.append(AT, &[Event::Lost { count: 1 }]).unwrap();
        file.back_to(mark);
        assert_eq!(fs::read(&path).unwrap(), before);
        file.append(AT, &[Event::Lost { count: 2 }]).unwrap();
        drop(file);
        assert!(RecordFile::open(&path, "web", AT).is_ok());
    }
}
