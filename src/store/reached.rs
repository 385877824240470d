//! How far the log is known to have reached: kept beside it, so that a log which was deleted,
//! put back from an earlier time or emptied from some place on is not taken for the whole one.
//!
//! One small file of three slots, written in place. Two of them are made durable in turn,
//! whenever a segment is begun or the log is closed, so that one of them is always whole. The
//! third is written after each batch and not waited for: it says nothing that wasn't durable
//! before it, so that whatever a power loss leaves of it is true, or doesn't open. A record of
//! it is sealed again and again under one key, each time with a random nonce.

use std::path::PathBuf;

use super::cursor::{narrow, wide};
use super::error::StoreError;
use super::header::{FileKind, HEADER};
use super::options::Options;
use super::record::{Reach, Record};
use super::segment::open_framed;
use skep_core::base::{Dice, DiskFile};
use skep_core::seal::RecordKey;

/// Its only number: there is one such file.
const NUMBER: u64 = 1;
/// Bytes of a slot: a sector, which a disk writes whole.
const SLOT: u64 = 512;
/// Slots that are made durable in turn.
const DURABLE: u32 = 2;
/// The slot that nobody waits for.
const LATEST: u32 = 2;
/// Bytes of the file.
const LENGTH: u64 = 4 * SLOT;
const MOST_BYTES: u64 = 64 * 1024;

fn path(options: &Options) -> PathBuf {
    options.folder.with_extension("reached")
}

fn name(options: &Options) -> String {
    path(options).file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

/// The first slot begins in the sector after the header's.
fn offset(slot: u32) -> u64 {
    (u64::from(slot) + 1) * SLOT
}

/// The file, open for the writer.
pub(super) struct Reached {
    file: Box<dyn DiskFile>,
    name: String,
    key: RecordKey,
    next: u32,
}

/// What the file says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    /// The furthest that any slot says.
    pub(super) reach: Reach,
    /// The slot in which something durable is written next.
    next: u32,
}

impl Known {
    /// Reads the file; `None` where there is none.
    pub(super) fn load(options: &Options) -> Result<Option<Self>, StoreError> {
        let name = name(options);
        let bytes = match options.disk.read(&path(options), MOST_BYTES) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StoreError::disk(format!("cannot read {name}"))(error)),
        };
        let key = options.keys.open(FileKind::Reached, NUMBER, &name, &bytes)?;
        if wide(bytes.len()) != LENGTH {
            return Err(StoreError::damaged(&name, wide(bytes.len()), "it has another length"));
        }
        let read = |slot: u32| -> Option<Reach> {
            let (plain, ..) = open_framed(&key, &bytes, narrow(offset(slot)), slot)?;
            match Record::parse(&plain) {
                Some((_, Record::Reached(reach))) => Some(reach),
                _ => None,
            }
        };
        let durable = (0..DURABLE).filter_map(|slot| Some((read(slot)?, slot)));
        let Some((newest, slot)) = durable.max() else {
            return Err(StoreError::damaged(&name, offset(0), "none of its records opens"));
        };
        let reach = read(LATEST).map_or(newest, |latest| latest.max(newest));
        Ok(Some(Self { reach, next: (slot + 1) % DURABLE }))
    }
}

/// The error for a log of which something is there, and the file is not.
pub(super) fn missing(options: &Options, why: &str) -> StoreError {
    StoreError::damaged(&name(options), 0, format!("it is missing, and {why}"))
}

/// Removes the file: the log is given up.
pub(super) fn erase(options: &Options) -> std::io::Result<()> {
    match options.disk.remove(&path(options)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    path(options).parent().map_or(Ok(()), |folder| options.disk.sync_folder(folder))
}

impl Reached {
    /// Opens the file, or makes it; from now on it says `reach` durably.
    pub(super) fn begin(
        options: &Options,
        dice: &mut dyn Dice,
        known: Option<Known>,
        reach: Reach,
    ) -> Result<Self, StoreError> {
        let (path, name) = (path(options), name(options));
        let failed = || StoreError::disk(format!("cannot write {name}"));
        let Some(known) = known else {
            let (header, key) = options.keys.begin(dice, FileKind::Reached, NUMBER);
            let mut bytes = header.to_vec();
            bytes.resize(narrow(offset(0)), 0);
            bytes.extend(sealed(&key, dice, &name, 0, reach)?);
            bytes.resize(narrow(LENGTH), 0);
            options.disk.replace(&path, &bytes).map_err(failed())?;
            let file = options.disk.open(&path).map_err(failed())?;
            return Ok(Self { file, name, key, next: 1 });
        };
        let header = options.disk.read_at(&path, 0, HEADER).map_err(failed())?;
        let key = options.keys.open(FileKind::Reached, NUMBER, &name, &header)?;
        let file = options.disk.open(&path).map_err(failed())?;
        let mut reached = Self { file, name: name.clone(), key, next: known.next };
        reached.durably(dice, reach)?;
        Ok(reached)
    }

    /// Says so durably.
    pub(super) fn durably(&mut self, dice: &mut dyn Dice, reach: Reach) -> Result<(), StoreError> {
        let slot = self.next;
        self.next = (slot + 1) % DURABLE;
        self.put(dice, slot, reach)?;
        self.file.sync().map_err(StoreError::disk(format!("cannot sync {}", self.name)))
    }

    /// Says so, without waiting for the disk. What it says must be durable.
    pub(super) fn latest(&mut self, dice: &mut dyn Dice, reach: Reach) -> Result<(), StoreError> {
        self.put(dice, LATEST, reach)
    }

    fn put(&mut self, dice: &mut dyn Dice, slot: u32, reach: Reach) -> Result<(), StoreError> {
        let bytes = sealed(&self.key, dice, &self.name, slot, reach)?;
        self.file
            .write_at(offset(slot), &bytes)
            .map_err(StoreError::disk(format!("cannot write {}", self.name)))
    }
}

fn sealed(
    key: &RecordKey,
    dice: &mut dyn Dice,
    name: &str,
    slot: u32,
    reach: Reach,
) -> Result<Vec<u8>, StoreError> {
    let mut bytes = Vec::new();
    Record::Reached(reach)
        .seal(key, dice, slot, 0, &mut bytes)
        .map_err(|why| StoreError::damaged(name, offset(slot), why.to_string()))?;
    debug_assert!(wide(bytes.len()) <= SLOT, "a record is shorter than a sector");
    Ok(bytes)
}
