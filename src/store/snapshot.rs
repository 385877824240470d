//! Snapshots: one sealed file each, whole or damaged, never absent.

use std::fmt;
use std::path::PathBuf;

use bytes::Bytes;
use parking_lot::Mutex;

use super::cursor::wide;
use super::error::StoreError;
use super::header::{FileKind, HEADER, is_temporary};
use super::options::Options;
use super::record::{FRAME, seal_framed};
use super::segment::open_framed;
use skep_core::base::{Dice, DiskFile, limits};
use skep_core::seal::{RecordKey, TAG_AND_NONCE};

/// Bytes of content in a chunk.
const CHUNK: usize = 64 * 1024;
/// Chunks that are written at once.
const CHUNKS_A_WRITE: usize = 16;
/// Bytes of a snapshot that is read, and of one that is written: a state has a limit of 1 GiB,
/// beyond which only what takes something away makes it grow, and the file adds less than a
/// tenth of a percent.
const MOST_BYTES: u64 = 2 * limits::STATE_BYTES;

/// What a snapshot file holds.
#[derive(Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// What it is a snapshot of; at most 64 KiB.
    pub head: Vec<u8>,
    /// The state.
    pub state: Bytes,
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Snapshot({} bytes)", self.state.len())
    }
}

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

    /// Writes a snapshot; when this returns it is durable and older ones are gone.
    ///
    /// # Errors
    /// [`StoreError`]; the older one then stands.
    pub fn save(&self, snapshot: &Snapshot) -> Result<(), StoreError> {
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
        let mut sink = Sink { file: &mut *out, key: &key, dice: &mut *dice, offset: wide(HEADER) };
        sink.write(&file, snapshot)?;
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

    /// The error for a newest snapshot that opens and says nothing that makes sense.
    #[must_use]
    pub fn damaged(&self, why: String) -> StoreError {
        StoreError::damaged(&name(*self.newest.lock()), 0, why)
    }

    /// Reads the newest snapshot, if there is one.
    ///
    /// # Errors
    /// [`StoreError`]: one that does not open is never taken for absent.
    pub fn load(&self) -> Result<Option<Snapshot>, StoreError> {
        let number = *self.newest.lock();
        if number == 0 {
            return Ok(None);
        }
        let file = name(number);
        let bytes = self
            .options
            .disk
            .read(&self.folder.join(&file), MOST_BYTES)
            .map_err(StoreError::disk(format!("cannot read {file}")))?;
        let key = self.options.keys.open(FileKind::Snapshot, number, &file, &bytes)?;
        read(&file, &bytes, &key).map(Some)
    }
}

fn read(file: &str, bytes: &[u8], key: &RecordKey) -> Result<Snapshot, StoreError> {
    let mut head = None;
    let mut state = Vec::with_capacity(bytes.len());
    let mut offset = HEADER;
    for number in 0.. {
        let damaged = |why| Err(StoreError::record(file, u64::from(number), wide(offset), why));
        let Some((plain, _, end)) = open_framed(key, bytes, offset, number) else {
            return damaged("it does not open");
        };
        let Some((last, content)) = plain.split_first() else {
            return damaged("it is empty");
        };
        if head.is_none() {
            head = Some(content.to_vec());
        } else {
            state.extend_from_slice(content);
        }
        offset = end;
        if *last == 1 {
            break;
        }
    }
    if offset != bytes.len() {
        return Err(StoreError::damaged(file, wide(offset), "something follows the last chunk"));
    }
    Ok(Snapshot { head: head.unwrap_or_default(), state: state.into() })
}

/// Writes chunks.
struct Sink<'a> {
    file: &'a mut dyn DiskFile,
    key: &'a RecordKey,
    dice: &'a mut dyn Dice,
    offset: u64,
}

impl Sink<'_> {
    fn write(&mut self, file: &str, snapshot: &Snapshot) -> Result<(), StoreError> {
        let chunks = wide(snapshot.state.len()) / wide(CHUNK) + 2;
        let length = wide(HEADER) + chunks * wide(CHUNK + FRAME + TAG_AND_NONCE + 1);
        if snapshot.head.len() > CHUNK || length > MOST_BYTES {
            // It could be written, and would never be read again.
            let error = std::io::ErrorKind::FileTooLarge.into();
            return Err(StoreError::disk("a snapshot is too large")(error));
        }
        let chunks = std::iter::once(snapshot.head.as_slice()).chain(snapshot.state.chunks(CHUNK));
        let mut chunks = (0_u32..).zip(chunks).peekable();
        let mut buffer = Vec::with_capacity(CHUNKS_A_WRITE * (CHUNK + FRAME + TAG_AND_NONCE + 1));
        while let Some((number, content)) = chunks.next() {
            let start = buffer.len();
            buffer.resize(start + FRAME + TAG_AND_NONCE, 0);
            buffer.push(u8::from(chunks.peek().is_none()));
            buffer.extend_from_slice(content);
            let framed = buffer.get_mut(start..).unwrap_or_default();
            seal_framed(self.key, self.dice, number, framed)
                .map_err(|why| StoreError::damaged(file, self.offset, why.to_string()))?;
            if chunks.peek().is_none() || buffer.len() >= CHUNKS_A_WRITE * CHUNK {
                self.file
                    .write_at(self.offset, &buffer)
                    .map_err(StoreError::disk(format!("cannot write {file}")))?;
                self.offset += wide(buffer.len());
                buffer.clear();
            }
        }
        Ok(())
    }
}
