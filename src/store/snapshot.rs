//! Snapshots: one sealed file each, whole or damaged, never absent.

use std::fmt;
use std::path::PathBuf;

use bytes::Bytes;
use parking_lot::Mutex;

use super::cursor::{narrow, wide};
use super::error::StoreError;
use super::header::{FileKind, HEADER, is_temporary};
use super::options::Options;
use super::record::{FRAME, seal_framed};
use super::segment::open_framed;
use skep_core::base::{Dice, DiskFile, DiskReader, limits};
use skep_core::seal::{RecordKey, TAG_AND_NONCE};

/// Bytes of content in a chunk.
const CHUNK: usize = 64 * 1024;
/// Bytes of a chunk in the file.
const FRAMED: usize = FRAME + TAG_AND_NONCE + 1 + CHUNK;
/// Chunks that are written, or read, at once.
const CHUNKS_AT_ONCE: usize = 16;
/// Bytes of a snapshot that is read, and of one that is written: a state has a limit of 1 GiB,
/// beyond which only what takes something away makes it grow, and the file adds less than a
/// tenth of a percent.
const MOST_BYTES: u64 = 2 * limits::STATE_BYTES;

/// The folder of snapshots.
pub struct Snapshots {
    options: Options,
    folder: PathBuf,
    /// The number of the newest one.
    newest: Mutex<u64>,
}

impl fmt::Debug for Snapshots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Snapshots({})", self.folder.display())
    }
}

fn name(number: u64) -> String {
    format!("{number:016}.snap")
}

fn numbers(names: &[String]) -> Vec<u64> {
    let number = |text: &String| {
        let number = text.strip_suffix(".snap")?.parse().ok()?;
        (name(number) == *text).then_some(number)
    };
    names.iter().filter_map(number).collect()
}

impl Snapshots {
    /// Opens the folder `options.folder` and removes what interrupted acts left.
    ///
    /// # Errors
    /// [`StoreError::Disk`].
    pub fn open(options: Options) -> Result<Self, StoreError> {
        let folder = options.folder.clone();
        let failed = || StoreError::disk(format!("cannot open {}", folder.display()));
        options.disk.create_folder(&folder).map_err(failed())?;
        let names = options.disk.list(&folder).map_err(failed())?;
        for name in names.iter().filter(|name| is_temporary(name)) {
            options.disk.remove(&folder.join(name)).map_err(failed())?;
        }
        let newest = numbers(&names).into_iter().max().unwrap_or(0);
        Ok(Self { options, folder, newest: Mutex::new(newest) })
    }

    /// Writes a snapshot of a state whose bytes come in pieces of any size, and `head`, at most
    /// 64 KiB, that says what it is of. When this returns it is durable and older ones are gone.
    ///
    /// # Errors
    /// [`StoreError`]; the older one then stands.
    pub fn save<P: AsRef<[u8]>>(
        &self,
        head: &[u8],
        state: impl Iterator<Item = P>,
    ) -> Result<(), StoreError> {
        let mut newest = self.newest.lock();
        let number = *newest + 1;
        let file = name(number);
        let failed = || StoreError::disk(format!("cannot write {file}"));
        let path = self.folder.join(&file);
        let temporary = self.folder.join(format!("{file}.tmp"));
        let mut dice = (self.options.dice)();
        let (header, key) = self.options.keys.begin(&mut *dice, FileKind::Snapshot, number);
        let disk = &self.options.disk;
        let mut out = disk.create(&temporary).map_err(failed())?;
        out.write_at(0, &header).map_err(failed())?;
        let mut sink = Sink {
            file: &mut *out,
            name: &file,
            key: &key,
            dice: &mut *dice,
            number: 0,
            offset: wide(HEADER),
            framed: Vec::with_capacity(CHUNKS_AT_ONCE * FRAMED),
        };
        sink.write(head, state)?;
        out.sync().map_err(failed())?;
        drop(out);
        disk.rename(&temporary, &path).map_err(failed())?;
        disk.sync_folder(&self.folder).map_err(failed())?;
        let older = std::mem::replace(&mut *newest, number);
        for old in numbers(&disk.list(&self.folder).map_err(failed())?) {
            if old <= older {
                disk.remove(&self.folder.join(name(old))).map_err(failed())?;
            }
        }
        Ok(())
    }

    /// Removes every snapshot: what they held is given up.
    ///
    /// # Errors
    /// [`StoreError::Disk`].
    pub fn erase(&self) -> Result<(), StoreError> {
        let failed = || StoreError::disk(format!("cannot empty {}", self.folder.display()));
        let disk = &self.options.disk;
        for number in numbers(&disk.list(&self.folder).map_err(failed())?) {
            disk.remove(&self.folder.join(name(number))).map_err(failed())?;
        }
        disk.sync_folder(&self.folder).map_err(failed())
    }

    /// The file of the newest snapshot; the folder's name where there is none.
    #[must_use]
    pub fn newest_file(&self) -> String {
        match *self.newest.lock() {
            0 => "snapshots".to_owned(),
            number => name(number),
        }
    }

    /// Opens the newest snapshot, if there is one.
    ///
    /// # Errors
    /// [`StoreError`]: one that does not open is never taken for absent.
    pub fn open_newest(&self) -> Result<Option<SnapshotReader>, StoreError> {
        let newest = self.newest.lock();
        if *newest == 0 {
            return Ok(None);
        }
        let name = name(*newest);
        let failed = || StoreError::disk(format!("cannot read {name}"));
        let file = self.options.disk.open_reader(&self.folder.join(&name)).map_err(failed())?;
        let length = file.length().map_err(failed())?;
        if length > MOST_BYTES {
            return Err(failed()(std::io::ErrorKind::FileTooLarge.into()));
        }
        let mut header = vec![0; narrow(length.min(wide(HEADER)))];
        file.read_at(0, &mut header).map_err(failed())?;
        let key = self.options.keys.open(FileKind::Snapshot, *newest, &name, &header)?;
        let mut reader = SnapshotReader {
            file,
            name,
            key,
            length,
            head: Bytes::new(),
            window: Vec::new(),
            at: 0,
            offset: wide(HEADER),
            number: 0,
            ended: false,
        };
        reader.head = reader.next_piece()?.unwrap_or_default();
        Ok(Some(reader))
    }
}

/// A snapshot's file that is read from its beginning to its end. A newer snapshot doesn't take
/// it away from whoever reads it.
pub struct SnapshotReader {
    file: Box<dyn DiskReader>,
    name: String,
    key: RecordKey,
    /// Bytes of the file.
    length: u64,
    head: Bytes,
    /// Bytes of the file that were read and not yet opened, from `at` on.
    window: Vec<u8>,
    at: usize,
    /// Where in the file the next chunk begins.
    offset: u64,
    /// Its number.
    number: u32,
    ended: bool,
}

impl fmt::Debug for SnapshotReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SnapshotReader({})", self.name)
    }
}

impl SnapshotReader {
    /// What it is a snapshot of.
    #[must_use]
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    /// The error for a snapshot that opens and says nothing that makes sense.
    #[must_use]
    pub fn damaged(&self, why: String) -> StoreError {
        StoreError::damaged(&self.name, 0, why)
    }

    /// The state's next bytes; none at its end. Blocks on the disk.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn next_piece(&mut self) -> Result<Option<Bytes>, StoreError> {
        if self.ended {
            return Ok(None);
        }
        self.fill()?;
        let damaged =
            |why| Err(StoreError::record(&self.name, u64::from(self.number), self.offset, why));
        let Some((plain, _, end)) = open_framed(&self.key, &self.window, self.at, self.number)
        else {
            return damaged("it does not open");
        };
        let Some(last) = plain.first().map(|flag| *flag == 1) else {
            return damaged("it is empty");
        };
        self.offset += wide(end - self.at);
        self.at = end;
        self.number += 1;
        self.ended = last;
        if last && self.offset != self.length {
            let why = "something follows the last chunk";
            return Err(StoreError::damaged(&self.name, self.offset, why));
        }
        Ok(Some(Bytes::from(plain).slice(1..)))
    }

    /// Reads on where the window may not have a whole chunk any more.
    fn fill(&mut self) -> Result<(), StoreError> {
        if self.window.len() - self.at >= FRAMED {
            return Ok(());
        }
        self.window.drain(..self.at);
        self.at = 0;
        let begun = self.window.len();
        let left = self.length - self.offset - wide(begun);
        let more = narrow(left).min(CHUNKS_AT_ONCE * FRAMED);
        self.window.resize(begun + more, 0);
        self.file
            .read_at(self.offset + wide(begun), self.window.get_mut(begun..).unwrap_or_default())
            .map_err(StoreError::disk(format!("cannot read {}", self.name)))
    }
}

/// Writes chunks.
struct Sink<'a> {
    file: &'a mut dyn DiskFile,
    name: &'a str,
    key: &'a RecordKey,
    dice: &'a mut dyn Dice,
    /// Of the next chunk.
    number: u32,
    /// Where the next write goes.
    offset: u64,
    /// Sealed chunks that are not written yet.
    framed: Vec<u8>,
}

impl Sink<'_> {
    fn write<P: AsRef<[u8]>>(
        &mut self,
        head: &[u8],
        state: impl Iterator<Item = P>,
    ) -> Result<(), StoreError> {
        if head.len() > CHUNK {
            return Err(too_large());
        }
        let mut chunk = head.to_vec();
        let mut room = 0;
        for piece in state {
            let mut piece = piece.as_ref();
            while !piece.is_empty() {
                if room == 0 {
                    self.seal(&chunk, false)?;
                    chunk.clear();
                    room = CHUNK;
                }
                let (taken, rest) = piece.split_at(piece.len().min(room));
                chunk.extend_from_slice(taken);
                room -= taken.len();
                piece = rest;
            }
        }
        self.seal(&chunk, true)?;
        self.flush()
    }

    fn seal(&mut self, content: &[u8], last: bool) -> Result<(), StoreError> {
        let start = self.framed.len();
        self.framed.resize(start + FRAME + TAG_AND_NONCE, 0);
        self.framed.push(u8::from(last));
        self.framed.extend_from_slice(content);
        let framed = self.framed.get_mut(start..).unwrap_or_default();
        seal_framed(self.key, self.dice, self.number, framed)
            .map_err(|why| StoreError::damaged(self.name, self.offset, why.to_string()))?;
        self.number += 1;
        if self.framed.len() >= CHUNKS_AT_ONCE * CHUNK { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        let end = self.offset + wide(self.framed.len());
        if end > MOST_BYTES {
            return Err(too_large());
        }
        self.file
            .write_at(self.offset, &self.framed)
            .map_err(StoreError::disk(format!("cannot write {}", self.name)))?;
        self.offset = end;
        self.framed.clear();
        Ok(())
    }
}

/// It could be written, and would never be read again.
fn too_large() -> StoreError {
    StoreError::disk("a snapshot is too large")(std::io::ErrorKind::FileTooLarge.into())
}
