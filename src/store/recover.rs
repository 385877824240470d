//! Reading the log back: every record, in order, or a named reason why not.

use std::sync::Arc;

use super::cursor::wide;
use super::error::StoreError;
use super::header::{HEADER, Kind, is_temporary};
use super::index::{Index, Place};
use super::log::Options;
use super::manifest::Manifest;
use super::record::{Head, LogId, Record};
use super::segment::{End, Found, Segment, is_unfinished};
use super::writer::{Resume, Written, segment_name};
use crate::seal::RecordKey;

/// No segment is longer: a larger file is not one.
const MOST_BYTES: u64 = 256 * 1024 * 1024;

/// What was found.
pub(super) struct Recovered {
    pub(super) index: Index,
    pub(super) resume: Resume,
}

/// A segment's bytes and key.
struct Loaded {
    number: u64,
    file: String,
    bytes: Vec<u8>,
    key: Arc<RecordKey>,
    head: Head,
}

fn segments(names: &[String]) -> Vec<u64> {
    let number = |text: &String| {
        let number = text.strip_suffix(".seg")?.parse().ok()?;
        (segment_name(number) == *text).then_some(number)
    };
    names.iter().filter_map(number).collect()
}

/// Reads the log of `options`.
pub(super) fn recover(options: &Options) -> Result<Recovered, StoreError> {
    let (disk, folder) = (&options.disk, &options.folder);
    let failed = || StoreError::disk(format!("cannot open {}", folder.display()));
    disk.create_folder(folder).map_err(failed())?;
    if let Some(above) = folder.parent() {
        disk.sync_folder(above).map_err(failed())?;
    }
    let names = disk.list(folder).map_err(failed())?;
    for name in names.iter().filter(|name| is_temporary(name)) {
        disk.remove(&folder.join(name)).map_err(failed())?;
    }
    let manifest = Manifest::load(&**disk, folder, &names, &options.keys)?;
    let mut numbers = segments(&names);
    numbers.sort_unstable();
    for old in numbers.iter().filter(|number| **number < manifest.first) {
        disk.remove(&folder.join(segment_name(*old))).map_err(failed())?;
    }
    numbers.retain(|number| *number >= manifest.first);
    check_numbers(&numbers, &manifest)?;
    replay(options, &numbers, manifest)
}

/// There must be no gap from the first live segment on.
fn check_numbers(numbers: &[u64], manifest: &Manifest) -> Result<(), StoreError> {
    if numbers.is_empty() && manifest.number == 0 {
        return Ok(());
    }
    let missing = |number| StoreError::damaged(&segment_name(number), 0, "it is missing");
    if numbers.is_empty() {
        return Err(missing(manifest.first));
    }
    for (number, expected) in numbers.iter().zip(manifest.first..) {
        if *number != expected {
            return Err(missing(expected));
        }
    }
    Ok(())
}

/// Loads a segment; `None` if its making was interrupted.
fn load(options: &Options, number: u64, manifest: &Manifest) -> Result<Option<Loaded>, StoreError> {
    let file = segment_name(number);
    let bytes = options
        .disk
        .read(&options.folder.join(&file), MOST_BYTES)
        .map_err(StoreError::disk(format!("cannot read {file}")))?;
    let key = match options.keys.open(Kind::Log, number, &file, &bytes) {
        Ok(key) => Arc::new(key),
        Err(error @ StoreError::Format { .. }) => return Err(error),
        Err(_) if is_unfinished(&bytes) => return Ok(None),
        Err(error) => return Err(error),
    };
    let head = Segment { file: &file, bytes: &bytes, key: &key }.head();
    let refused = |why: &str| Err(StoreError::record(&file, 0, wide(HEADER), why));
    match head {
        None if is_unfinished(&bytes) => Ok(None),
        None => refused("it does not open"),
        Some(head) if head.manifest > manifest.number => {
            refused("a newer manifest was in force when the segment was begun")
        }
        Some(head) if head.previous.checked_add(1) != Some(number) => {
            refused("it follows another segment")
        }
        Some(head) => Ok(Some(Loaded { number, file, bytes, key, head })),
    }
}

fn replay(options: &Options, numbers: &[u64], manifest: Manifest) -> Result<Recovered, StoreError> {
    let mut replay = Replay {
        index: Index::new(options.cache_bytes),
        written: Written::default(),
        floor: manifest.purged,
    };
    let (mut before, mut unfinished): (Option<Loaded>, Option<u64>) = (None, None);
    for (position, number) in numbers.iter().enumerate() {
        let Some(next) = load(options, *number, &manifest)? else {
            // The manifest was written after something stood in its first segment.
            let needed = manifest.number > 0 && *number == manifest.first;
            if position + 1 < numbers.len() || needed {
                let why = "its header or first record is damaged";
                return Err(StoreError::damaged(&segment_name(*number), 0, why));
            }
            unfinished = Some(*number);
            break;
        };
        if let Some(done) = &before {
            replay.segment(done, Some(&next.head))?;
        }
        before = Some(next);
    }
    let last = match &before {
        None => None,
        Some(last) => {
            let end = replay.segment(last, None)?;
            if wide(last.bytes.len()) < last.head.length {
                let why = "the file is shorter than it was made, or the next one is missing";
                return Err(StoreError::damaged(&last.file, wide(last.bytes.len()), why));
            }
            Some((last.number, end))
        }
    };
    // Only now: of a log that is refused everything stays as it was found.
    if let Some(number) = unfinished {
        let failed = || StoreError::disk("cannot remove an unfinished segment");
        options.disk.remove(&options.folder.join(segment_name(number))).map_err(failed())?;
        options.disk.sync_folder(&options.folder).map_err(failed())?;
    }
    let Replay { mut index, mut written, .. } = replay;
    // A Head may name what became durable only after it.
    index.committed = written.committed.min(index.last());
    written.committed = index.committed;
    let oldest = numbers.first().copied().unwrap_or(manifest.first);
    Ok(Recovered { index, resume: Resume { written, manifest, last, oldest } })
}

/// What the records read so far come to.
struct Replay {
    index: Index,
    written: Written,
    /// Entries up to here are of no use, also where a Purge that says so comes later.
    floor: Option<LogId>,
}

impl Replay {
    fn segment(&mut self, from: &Loaded, next: Option<&Head>) -> Result<End, StoreError> {
        self.index.keys.insert(from.number, Arc::clone(&from.key));
        let segment = Segment { file: &from.file, bytes: &from.bytes, key: &from.key };
        segment.read(next, |found| self.record(from, found))
    }

    fn record(&mut self, from: &Loaded, found: Found) -> Result<(), StoreError> {
        let Found { number, offset, record } = found;
        match &record {
            Record::Head(head) => {
                self.index.vote = head.vote;
                self.written.vote = head.vote;
                self.written.committed = head.committed;
                if let Some(purged) = head.purged.max(self.floor) {
                    self.index.purge(purged);
                    self.written.note(&Record::Purge(purged), from.number);
                }
            }
            Record::Entry(entry) => {
                if self.index.purged.is_some_and(|purged| entry.id.index <= purged.index) {
                    return Ok(());
                }
                if !self.index.takes(entry.id.index) {
                    let why = "it leaves a hole in the log";
                    return Err(StoreError::record(&from.file, u64::from(number), offset, why));
                }
                let length = record.framed_length();
                let place = Place { segment: from.number, offset, number, length };
                self.index.push(entry, Some(place));
            }
            Record::Vote(vote) => self.index.vote = Some(*vote),
            Record::Truncate(after) => self.index.truncate(*after),
            Record::Purge(upto) => self.index.purge(*upto),
            Record::Mark(_) => {}
            Record::Incarnation(incarnation) => self.index.incarnation = Some(*incarnation),
            Record::Remembered(memories) => self.index.remembered.clone_from(memories),
            Record::Manifest { .. } => {
                let why = "it is no record of a log";
                return Err(StoreError::record(&from.file, u64::from(number), offset, why));
            }
        }
        self.written.note(&record, from.number);
        Ok(())
    }
}
