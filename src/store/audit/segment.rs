//! One file of an audit chain: where it begins, then lines, many in a sealed record.

use std::sync::Arc;

use super::types::Place;
use crate::store::cursor::{Cursor, narrow, wide};
use crate::store::error::StoreError;
use crate::store::header::{FileKind, HEADER};
use crate::store::options::Options;
use crate::store::record::{FRAME, seal_framed};
use crate::store::segment::open_framed;
use skep_core::audit::{Chain, LINE_BYTES};
use skep_core::base::{Dice, DiskFile, Stamp};
use skep_core::seal::{RecordKey, TAG_AND_NONCE};

/// Bytes of lines that one record holds, but for a last one that is longer.
pub(super) const RECORD: usize = 128 * 1024;
/// The most that a file is read of: its lines, and a last record beyond.
pub(super) const MOST: u64 = 64 * 1024 * 1024;

/// Bytes of a base.
const BASE_BYTES: usize = 8 + 32 + 1 + 8;

/// Why a file does not go on where the one before it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begins {
    /// It does: the one before was full, or the manager was started anew.
    GoesOn,
    /// The manager got the state as a snapshot from another one.
    Snapshot,
    /// Lines are missing that could not be written, or are there no more.
    Gap,
}

impl Begins {
    fn number(self) -> u8 {
        match self {
            Self::GoesOn => 1,
            Self::Snapshot => 2,
            Self::Gap => 3,
        }
    }

    fn read(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::GoesOn),
            2 => Some(Self::Snapshot),
            3 => Some(Self::Gap),
            _ => None,
        }
    }
}

/// The first record of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Base {
    /// The line after which it goes on.
    pub after: Place,
    /// Whether that is where the one before ended.
    pub begins: Begins,
    /// When it was begun, by the manager's clock.
    pub at: Stamp,
}

impl Base {
    fn put(&self) -> Vec<u8> {
        let mut bytes = self.after.number.to_le_bytes().to_vec();
        bytes.extend(self.after.head);
        bytes.push(self.begins.number());
        bytes.extend(self.at.0.to_le_bytes());
        bytes
    }

    fn take(bytes: &[u8]) -> Option<Self> {
        let mut from = Cursor(bytes);
        let (number, head) = (from.u64()?, from.array()?);
        let (begins, at) = (Begins::read(from.u8()?)?, Stamp(from.u64()?));
        from.end(Self { after: Place { number, head }, begins, at })
    }
}

/// A chain's kind of file.
pub(super) fn kind(chain: Chain) -> FileKind {
    match chain {
        Chain::Commands => FileKind::Commands,
        Chain::Acts => FileKind::Acts,
    }
}

/// A file's name.
pub(super) fn name(number: u64) -> String {
    format!("{number:016}.aud")
}

/// The numbers of the files in a folder, sorted.
pub(super) fn numbers(options: &Options) -> Result<Vec<u64>, StoreError> {
    let failed = StoreError::disk(format!("cannot read {}", options.folder.display()));
    let names = options.disk.list(&options.folder).map_err(failed)?;
    let number = |text: &String| {
        let number = text.strip_suffix(".aud")?.parse().ok()?;
        (name(number) == *text).then_some(number)
    };
    Ok(names.iter().filter_map(number).collect())
}

/// A file that is written.
pub(super) struct Writing {
    pub(super) number: u64,
    file: Box<dyn DiskFile>,
    key: RecordKey,
    records: u32,
    pub(super) offset: u64,
    length: u64,
    /// Whether anything was written since the last sync.
    pub(super) dirty: bool,
}

impl Writing {
    /// Begins file `number` of a chain, all of its room taken at once.
    pub(super) fn begin(
        options: &Options,
        chain: Chain,
        number: u64,
        base: &Base,
        dice: &mut dyn Dice,
    ) -> Result<Self, StoreError> {
        let name = name(number);
        let failed = || StoreError::disk(format!("cannot write {name}"));
        let (header, key) = options.keys.begin(dice, kind(chain), number);
        let path = options.folder.join(&name);
        // What an earlier attempt left unfinished.
        match options.disk.remove(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(failed()(error));
            }
            _ => {}
        }
        let mut file = options.disk.create(&path).map_err(failed())?;
        let length = options.segment_bytes;
        let made = file.allocate(length).and_then(|()| file.write_at(0, &header));
        if let Err(error) = made {
            drop(file);
            options.disk.remove(&path).ok();
            return Err(failed()(error));
        }
        let (offset, dirty) = (wide(HEADER), true);
        let mut writing = Self { number, file, key, records: 0, offset, length, dirty };
        writing.put(&base.put(), dice)?;
        writing.sync()?;
        options.disk.sync_folder(&options.folder).map_err(failed())?;
        Ok(writing)
    }

    /// Whether so many more bytes of lines have room.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        self.offset + wide(bytes + FRAME + TAG_AND_NONCE) <= self.length
    }

    /// Seals these bytes as the next record. After an error nothing of them counts, and the next
    /// record is written over them.
    pub(super) fn put(&mut self, plain: &[u8], dice: &mut dyn Dice) -> Result<(), StoreError> {
        let mut framed = vec![0; FRAME + TAG_AND_NONCE];
        framed.extend_from_slice(plain);
        let name = name(self.number);
        seal_framed(&self.key, dice, self.records, &mut framed)
            .map_err(|why| StoreError::damaged(&name, self.offset, why.to_string()))?;
        self.file
            .write_at(self.offset, &framed)
            .map_err(StoreError::disk(format!("cannot write {name}")))?;
        self.records += 1;
        self.offset += wide(framed.len());
        self.dirty = true;
        Ok(())
    }

    /// Makes it last.
    pub(super) fn sync(&mut self) -> Result<(), StoreError> {
        if self.dirty {
            let failed = StoreError::disk(format!("cannot sync {}", name(self.number)));
            self.file.sync().map_err(failed)?;
            self.dirty = false;
        }
        Ok(())
    }

    /// Gives back the room that was not used.
    pub(super) fn close(mut self) -> Result<(), StoreError> {
        self.sync()?;
        let failed = StoreError::disk(format!("cannot trim {}", name(self.number)));
        self.file.set_len(self.offset).map_err(failed)
    }
}

/// A file that is read.
pub(super) struct Reading {
    bytes: Vec<u8>,
    key: RecordKey,
    /// How far it goes; the rest is room that was not used yet.
    end: usize,
}

/// Where a record stands in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spot {
    pub(super) record: u32,
    pub(super) offset: u64,
}

impl Spot {
    /// The first record.
    pub(super) const BASE: Self = Self { record: 0, offset: 128 };
}

/// What stands at a place of a file.
pub(super) enum Found {
    /// A record, and where the next begins.
    Record(Vec<u8>, Spot),
    /// Nothing was written there.
    End,
    /// Something that does not open.
    Bad,
}

impl Reading {
    /// Reads a file, up to `end` where it is being written.
    pub(super) fn open(
        options: &Options,
        chain: Chain,
        number: u64,
        end: Option<u64>,
    ) -> Result<Self, StoreError> {
        let name = name(number);
        let failed = StoreError::disk(format!("cannot read {name}"));
        let bytes = options.disk.read(&options.folder.join(&name), MOST).map_err(failed)?;
        let key = options.keys.open(kind(chain), number, &name, &bytes)?;
        let end = end.map_or(bytes.len(), narrow).min(bytes.len());
        Ok(Self { bytes, key, end })
    }

    /// Its header and its base alone.
    pub(super) fn beginning(
        options: &Options,
        chain: Chain,
        number: u64,
    ) -> Result<Self, StoreError> {
        let name = name(number);
        let failed = StoreError::disk(format!("cannot read {name}"));
        let length = HEADER + FRAME + TAG_AND_NONCE + BASE_BYTES;
        let path = options.folder.join(&name);
        let bytes = options.disk.read_at(&path, 0, length).map_err(failed)?;
        let key = options.keys.open(kind(chain), number, &name, &bytes)?;
        Ok(Self { end: bytes.len(), bytes, key })
    }

    /// What stands there.
    pub(super) fn at(&self, spot: Spot) -> Found {
        let offset = narrow(spot.offset);
        let within = self.bytes.get(..self.end).unwrap_or_default();
        if let Some((plain, _, end)) = open_framed(&self.key, within, offset, spot.record) {
            let next = Spot { record: spot.record.saturating_add(1), offset: wide(end) };
            return Found::Record(plain, next);
        }
        let rest = within.get(offset..).unwrap_or_default();
        if rest.iter().all(|byte| *byte == 0) { Found::End } else { Found::Bad }
    }

    /// Its base, and where the lines begin.
    pub(super) fn base(&self) -> Option<(Base, Spot)> {
        match self.at(Spot::BASE) {
            Found::Record(plain, next) => Some((Base::take(&plain)?, next)),
            Found::End | Found::Bad => None,
        }
    }
}

/// The lines of a record.
pub(super) fn lines(plain: &[u8]) -> impl Iterator<Item = &[u8]> {
    plain.split(|byte| *byte == b'\n').filter(|line| !line.is_empty())
}

/// Gives back what a file that is written no more did not use.
pub(super) fn trim(options: &Arc<Options>, chain: Chain, number: u64) -> Result<(), StoreError> {
    let reading = Reading::open(options, chain, number, None)?;
    let mut spot = Spot::BASE;
    loop {
        match reading.at(spot) {
            Found::Record(_, next) => spot = next,
            Found::Bad => return Ok(()),
            Found::End => break,
        }
    }
    if wide(reading.bytes.len()) > spot.offset {
        let name = name(number);
        let failed = || StoreError::disk(format!("cannot trim {name}"));
        let mut file = options.disk.open(&options.folder.join(&name)).map_err(failed())?;
        file.set_len(spot.offset).map_err(failed())?;
    }
    Ok(())
}

const _: () = assert!(LINE_BYTES < RECORD, "a line has room in a record");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_is_read_as_written() {
        for begins in [Begins::GoesOn, Begins::Snapshot, Begins::Gap] {
            let after = Place { number: 7, head: [8; 32] };
            let base = Base { after, begins, at: Stamp(9) };
            assert_eq!(Base::take(&base.put()), Some(base));
            assert_eq!(Base::take(&base.put()[1..]), None);
        }
    }
}
