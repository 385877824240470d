//! Reading the log back: every record, in order, or a named reason why not.

use std::sync::Arc;

use super::cursor::wide;
use super::error::StoreError;
use super::header::{FileKind, HEADER, is_temporary, segment_name};
use super::index::{Index, Place};
use super::log_id::LogId;
use super::manifest::Manifest;
use super::options::{Covered, Options};
use super::reached::{self, Known};
use super::record::{Head, Reach, Record};
use super::segment::{End, Found, Segment, is_unfinished};
use super::writer::{Resume, Written};
use skep_core::seal::RecordKey;

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

/// Reads the log of `options`, and compares it with everything that says how far it reached.
pub(super) fn recover(
    options: &Options,
    covered: Option<&Covered>,
) -> Result<Recovered, StoreError> {
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
    let known = Known::load(options)?;
    let reach = known.map(|known| known.reach);
    let read = replay(options, &numbers, &manifest, reach)?;
    read.reaches(options, &manifest, reach)?;
    if let Some(short) = &read.short {
        return Err(short.clone());
    }
    if let Some(covered) = covered {
        read.fits(covered)?;
    }
    // Only now: of a log that is refused everything stays as it was found.
    if let Some(number) = read.unfinished {
        let failed = || StoreError::disk("cannot remove an unfinished segment");
        disk.remove(&folder.join(segment_name(number))).map_err(failed())?;
        disk.sync_folder(folder).map_err(failed())?;
    }
    let Read { replay: Replay { mut index, mut written, .. }, last, .. } = read;
    // A Head may name what became durable only after it.
    index.committed = written.committed.min(index.last());
    written.committed = index.committed;
    let oldest = numbers.first().copied().unwrap_or(manifest.first);
    Ok(Recovered { index, resume: Resume { written, manifest, last, oldest, known } })
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
    let key = match options.keys.open(FileKind::Log, number, &file, &bytes) {
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

/// What the segments come to, and where they end.
struct Read {
    replay: Replay,
    last: Option<(u64, End)>,
    /// The last one is shorter than it was made.
    short: Option<StoreError>,
    /// The making of this last segment was interrupted.
    unfinished: Option<u64>,
}

fn replay(
    options: &Options,
    numbers: &[u64],
    manifest: &Manifest,
    reach: Option<Reach>,
) -> Result<Read, StoreError> {
    let mut replay = Replay {
        index: Index::new(options.cache_bytes),
        written: Written::default(),
        floor: manifest.purged,
        reach,
        reached: false,
        heads_only: true,
    };
    let (mut before, mut unfinished): (Option<Loaded>, Option<u64>) = (None, None);
    for (position, number) in numbers.iter().enumerate() {
        let Some(next) = load(options, *number, manifest)? else {
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
    let mut short = None;
    let last = match &before {
        None => None,
        Some(last) => {
            let end = replay.segment(last, None)?;
            if wide(last.bytes.len()) < last.head.length {
                let why = "the file is shorter than it was made, or the next one is missing";
                short = Some(StoreError::damaged(&last.file, wide(last.bytes.len()), why));
            }
            Some((last.number, end))
        }
    };
    Ok(Read { replay, last, short, unfinished })
}

impl Read {
    /// Whether the log has all that was known to be durable.
    fn reaches(
        &self,
        options: &Options,
        manifest: &Manifest,
        reach: Option<Reach>,
    ) -> Result<(), StoreError> {
        let Some(reach) = reach else {
            // It is made before anything is written behind the Head of a first segment.
            let begun = self.replay.heads_only && manifest.number == 0;
            let why = "the log has been written to";
            return if begun { Ok(()) } else { Err(reached::missing(options, why)) };
        };
        if self.replay.reached || reach.segment < manifest.first {
            return Ok(());
        }
        let why = if self.unfinished == Some(reach.segment) {
            "it is empty, and it was written to"
        } else {
            "it is missing, and it was written to"
        };
        Err(StoreError::damaged(&segment_name(reach.segment), 0, why))
    }

    /// Whether the log and the newest snapshot are of one history.
    fn fits(&self, covered: &Covered) -> Result<(), StoreError> {
        let index = |id: Option<LogId>| id.map(|id| id.index);
        let (purged, last) = (index(self.replay.index.purged), index(self.replay.index.last()));
        if purged.is_some() && purged > index(covered.last) {
            let why = "the log was purged, and the snapshot that it was purged for is missing";
            return Err(StoreError::damaged(&covered.file, 0, why));
        }
        if covered.alone && last < index(covered.last) {
            let (file, offset) = self.last.map_or_else(
                || (segment_name(1), 0),
                |(last, end)| (segment_name(last), end.offset),
            );
            let why = format!("the log ends here, and {} proves that it went on", covered.file);
            return Err(StoreError::damaged(&file, offset, why));
        }
        Ok(())
    }
}

/// What the records read so far come to.
struct Replay {
    index: Index,
    written: Written,
    /// Entries up to here are of no use, also where a Purge that says so comes later.
    floor: Option<LogId>,
    /// How far the log is known to have reached.
    reach: Option<Reach>,
    /// It reaches so far.
    reached: bool,
    /// Nothing was found in any segment but its Head.
    heads_only: bool,
}

impl Replay {
    fn segment(&mut self, from: &Loaded, next: Option<&Head>) -> Result<End, StoreError> {
        self.index.keys.insert(from.number, Arc::clone(&from.key));
        let segment = Segment { file: &from.file, bytes: &from.bytes, key: &from.key };
        let end = segment.read(next, |found| self.record(from, found))?;
        self.heads_only &= end.records <= 1;
        if let Some(reach) = self.reach.filter(|reach| reach.segment == from.number) {
            if segment.head_tag() != Some(reach.head) {
                let why = "it is another segment than the one that was written under its number";
                return Err(StoreError::damaged(&from.file, 0, why));
            }
            if end.records < reach.records {
                let (number, why) =
                    (u64::from(end.records), "it does not open, and it was durable");
                return Err(StoreError::record(&from.file, number, end.offset, why));
            }
            self.reached = true;
        }
        Ok(end)
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
            Record::Manifest { .. } | Record::Reached(_) => {
                let why = "it is no record of a log";
                return Err(StoreError::record(&from.file, u64::from(number), offset, why));
            }
        }
        self.written.note(&record, from.number);
        Ok(())
    }
}
