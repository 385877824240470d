//! The thread that writes: batch, sync, call back.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};

use super::ahead::Ahead;
use super::cursor::wide;
use super::error::StoreError;
use super::header::{FileKind, HEADER, segment_name};
use super::index::{Index, Place};
use super::log_id::LogId;
use super::manifest::Manifest;
use super::memory::{Incarnation, Memory};
use super::options::{Done, Options};
use super::reached::{Known, Reached};
use super::record::{Head, Reach, Record, Vote};
use super::segment::End;
use skep_core::base::{Dice, DiskFile, is_out_of_files};
use skep_core::seal::RecordKey;

/// Bytes after which a batch is closed, so that the first in it does not wait long.
const BATCH: usize = 8 * 1024 * 1024;

/// Records that become durable together, and whom to tell.
pub(super) struct Job {
    /// With the serials of entries.
    pub(super) records: Vec<(Record, u64)>,
    pub(super) done: Done,
}

/// What the writer is asked for.
pub(super) enum Work {
    Write(Job),
    Commit(Option<LogId>),
    Close(oneshot::Sender<()>),
}

/// What the records written so far come to: what replaying them would give.
#[derive(Debug, Default)]
pub(super) struct Written {
    pub(super) vote: Option<Vote>,
    pub(super) committed: Option<LogId>,
    pub(super) purged: Option<LogId>,
    incarnation: Option<Incarnation>,
    remembered: Vec<Memory>,
    first: u64,
    /// The segment of each entry from `first` on.
    segments: VecDeque<u64>,
}

impl Written {
    /// Follows one more record in `segment`.
    pub(super) fn note(&mut self, record: &Record, segment: u64) {
        match record {
            Record::Entry(entry) => {
                if self.segments.is_empty() {
                    self.first = entry.id.index;
                }
                self.segments.push_back(segment);
            }
            Record::Vote(vote) => self.vote = Some(*vote),
            Record::Truncate(after) => {
                let keep = after.map_or(0, |id| (id.index + 1).saturating_sub(self.first));
                self.segments.truncate(usize::try_from(keep).unwrap_or(usize::MAX));
            }
            Record::Purge(upto) => {
                while !self.segments.is_empty() && self.first <= upto.index {
                    self.segments.pop_front();
                    self.first += 1;
                }
                self.purged = self.purged.max(Some(*upto));
            }
            Record::Mark(committed) => self.committed = *committed,
            Record::Incarnation(incarnation) => self.incarnation = Some(*incarnation),
            Record::Remembered(memories) => self.remembered.clone_from(memories),
            Record::Head(_) | Record::Manifest { .. } | Record::Reached(_) => {}
        }
    }

    /// What each segment repeats, so that the segments before it can go.
    fn carried(&self) -> Vec<Record> {
        let remembered = Some(self.remembered.clone()).filter(|memories| !memories.is_empty());
        let incarnation = self.incarnation.map(Record::Incarnation);
        incarnation.into_iter().chain(remembered.map(Record::Remembered)).collect()
    }
}

/// Where the writer goes on.
pub(super) struct Resume {
    pub(super) written: Written,
    pub(super) manifest: Manifest,
    /// The last segment and its end; `None` for a new log.
    pub(super) last: Option<(u64, End)>,
    /// The oldest segment there.
    pub(super) oldest: u64,
    /// How far it is known to have reached.
    pub(super) known: Option<Known>,
}

/// What the writer shares with the handles.
pub(super) struct LogParts {
    pub(super) options: Options,
    pub(super) index: Mutex<Index>,
    pub(super) failed: watch::Sender<Option<StoreError>>,
}

/// The segment being written.
struct OpenSegment {
    number: u64,
    file: Box<dyn DiskFile>,
    key: Arc<RecordKey>,
    length: u64,
    end: End,
    synced: u32,
    /// The tag of its Head.
    head: [u8; 16],
    /// Whether it repeats what each segment must.
    carries: bool,
}

/// Owns the log's files.
pub(super) struct Writer {
    shared: Arc<LogParts>,
    dice: Box<dyn Dice>,
    written: Written,
    manifest: Manifest,
    oldest: u64,
    open: OpenSegment,
    ahead: Ahead,
    reached: Reached,
    /// The Mark that nothing follows yet: its segment, the records up to it, what it says.
    marked: Option<(u64, u32, Option<LogId>)>,
}

fn mark_length() -> u64 {
    wide(Record::Mark(None).framed_length())
}

impl OpenSegment {
    /// Makes segment `number`, durable with its header and Head.
    fn begin(
        shared: &LogParts,
        ahead: &mut Ahead,
        dice: &mut dyn Dice,
        number: u64,
        mut head: Head,
        room: u64,
    ) -> Result<Self, StoreError> {
        let options = &shared.options;
        let name = segment_name(number);
        let (mut bytes, key) = {
            let (header, key) = options.keys.begin(dice, FileKind::Log, number);
            (header.to_vec(), key)
        };
        let fixed = wide(HEADER + Record::Head(head.clone()).framed_length());
        head.length = options.segment_bytes.max(fixed + room + mark_length());
        let length = head.length;
        let tag = Record::Head(head)
            .seal(&key, dice, 0, 0, &mut bytes)
            .map_err(|why| StoreError::damaged(&name, 0, why.to_string()))?;
        let file = ahead.take(options, &name, length, &bytes)?;
        let key = Arc::new(key);
        shared.index.lock().keys.insert(number, Arc::clone(&key));
        let end = End { records: 1, tag, offset: wide(bytes.len()) };
        Ok(Self { number, file, key, length, end, synced: 1, head: tag, carries: false })
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        self.file
            .sync()
            .map_err(StoreError::disk(format!("cannot sync {}", segment_name(self.number))))?;
        self.synced = self.end.records;
        Ok(())
    }

    /// How far the log is durable.
    fn reach(&self) -> Reach {
        Reach { segment: self.number, records: self.synced, head: self.head }
    }
}

impl Writer {
    /// Begins a new segment after what was recovered.
    pub(super) fn start(shared: Arc<LogParts>, resume: Resume) -> Result<Self, StoreError> {
        let mut dice = (shared.options.dice)();
        let Resume { written, manifest, last, oldest, known } = resume;
        let (previous, end) = last.map_or((0, None), |(number, end)| (number, Some(end)));
        let number = previous.max(manifest.first - 1) + 1;
        let head = head_after(previous, end, &written, &manifest);
        let mut ahead = Ahead::begin(&shared.options)?;
        let open = OpenSegment::begin(&shared, &mut ahead, &mut *dice, number, head, 0)?;
        let reached = Reached::begin(&shared.options, &mut *dice, known, open.reach())?;
        if let Some(end) = end {
            trim(&shared.options, previous, end)?;
        }
        ahead.prepare(&shared.options)?;
        let marked = None;
        Ok(Self { shared, dice, written, manifest, oldest, open, ahead, reached, marked })
    }

    /// Works until the last handle is gone, or the log is closed or fails.
    pub(super) fn run(mut self, mut queue: mpsc::Receiver<Work>) {
        let mut close = None;
        while close.is_none() {
            let Some(first) = queue.blocking_recv() else { break };
            let mut jobs = Vec::new();
            let mut bytes = 0;
            let mut next = Some(first);
            while let Some(work) = next {
                match work {
                    Work::Write(job) => {
                        bytes += job.records.iter().map(|(r, _)| r.framed_length()).sum::<usize>();
                        jobs.push(job);
                    }
                    Work::Commit(committed) => self.written.committed = committed,
                    Work::Close(done) => close = Some(done),
                }
                let more = close.is_none() && bytes < BATCH;
                next = if more { queue.try_recv().ok() } else { None };
            }
            if let Err(error) = self.act(jobs) {
                fail(&self.shared, &mut queue, &error);
                return;
            }
        }
        // A clean stop leaves nothing that could be taken for a torn write.
        match self.finish() {
            Ok(()) => {}
            Err(error) => {
                self.shared.failed.send_replace(Some(error));
            }
        }
        if let Some(done) = close {
            done.send(()).ok();
        }
    }

    /// Everything is durable, and known to be.
    fn finish(&mut self) -> Result<(), StoreError> {
        self.mark()?;
        self.open.sync()?;
        self.reached.durably(&mut *self.dice, self.open.reach())?;
        self.ahead.end(&self.shared.options)
    }

    /// Writes one batch and tells everybody.
    fn act(&mut self, jobs: Vec<Job>) -> Result<(), StoreError> {
        // The Mark is there before anybody is told: what was acknowledged is followed
        // by a record that proves it, also if this process is killed right now.
        let written = self.batch(&jobs).and_then(|places| {
            self.reached.latest(&mut *self.dice, self.open.reach())?;
            self.mark().map(|()| places)
        });
        let settled = match &written {
            Ok(places) => {
                let mut index = self.shared.index.lock();
                for (position, serial, place) in places {
                    index.settle(*position, *serial, *place);
                }
                index.evict();
                Ok(())
            }
            Err(error) => {
                self.shared.failed.send_replace(Some(error.clone()));
                Err(error.clone())
            }
        };
        for job in jobs {
            (job.done)(settled.clone());
        }
        settled?;
        self.ahead.prepare(&self.shared.options)?;
        match self.drop_segments() {
            // They go after the next batch: whatever was done of it is done again.
            Err(StoreError::Disk { source, .. }) if is_out_of_files(&source) => Ok(()),
            done => done,
        }
    }

    /// Writes the records of `jobs`, makes them durable and answers where entries are.
    fn batch(&mut self, jobs: &[Job]) -> Result<Vec<(u64, u64, Place)>, StoreError> {
        let mut places = Vec::new();
        let mut buffer = Vec::new();
        for (record, serial) in jobs.iter().flat_map(|job| &job.records) {
            let length = record.framed_length();
            let carried = self.carried_length();
            let room = wide(buffer.len() + carried + length) + mark_length();
            if self.open.end.offset + room > self.open.length {
                self.flush(&mut buffer)?;
                self.rotate(wide(length))?;
            }
            self.carry(&mut buffer)?;
            let number = self.open.end.records;
            let offset = self.open.end.offset + wide(buffer.len());
            self.seal(record, &mut buffer)?;
            if let Record::Entry(entry) = record {
                let place = Place { segment: self.open.number, offset, number, length };
                places.push((entry.id.index, *serial, place));
            }
            self.written.note(record, self.open.number);
        }
        self.flush(&mut buffer)?;
        Ok(places)
    }

    /// Bytes of what the open segment still has to repeat.
    fn carried_length(&self) -> usize {
        if self.open.carries {
            return 0;
        }
        self.written.carried().iter().map(Record::framed_length).sum()
    }

    /// Repeats in a new segment, before anything else, what every one must hold.
    /// Until that is durable the segments before it stay.
    fn carry(&mut self, buffer: &mut Vec<u8>) -> Result<(), StoreError> {
        if !self.open.carries {
            for record in self.written.carried() {
                self.seal(&record, buffer)?;
            }
            self.open.carries = true;
        }
        Ok(())
    }

    fn seal(&mut self, record: &Record, buffer: &mut Vec<u8>) -> Result<(), StoreError> {
        let open = &mut self.open;
        open.end.tag = record
            .seal(&open.key, &mut *self.dice, open.end.records, open.synced, buffer)
            .map_err(|why| {
                StoreError::damaged(&segment_name(open.number), open.end.offset, why.to_string())
            })?;
        open.end.records += 1;
        Ok(())
    }

    fn put(&mut self, buffer: &mut Vec<u8>) -> Result<(), StoreError> {
        let open = &mut self.open;
        open.file
            .write_at(open.end.offset, buffer)
            .map_err(StoreError::disk(format!("cannot write {}", segment_name(open.number))))?;
        open.end.offset += wide(buffer.len());
        buffer.clear();
        Ok(())
    }

    fn flush(&mut self, buffer: &mut Vec<u8>) -> Result<(), StoreError> {
        if buffer.is_empty() {
            return Ok(());
        }
        self.put(buffer)?;
        self.open.sync()
    }

    /// Says, without waiting for the disk, that everything before is durable, and
    /// what is committed, unless the last record says just that.
    fn mark(&mut self) -> Result<(), StoreError> {
        let says = Some((self.open.number, self.open.end.records, self.written.committed));
        if self.marked == says || self.open.end.offset + mark_length() > self.open.length {
            return Ok(());
        }
        let mut buffer = Vec::new();
        self.seal(&Record::Mark(self.written.committed), &mut buffer)?;
        self.marked = Some((self.open.number, self.open.end.records, self.written.committed));
        self.put(&mut buffer)
    }

    /// Begins the next segment, with room for a record of `room` bytes.
    fn rotate(&mut self, room: u64) -> Result<(), StoreError> {
        let carried = self.written.carried().iter().map(Record::framed_length).sum::<usize>();
        let room = room + wide(carried);
        // A Mark may be there that nobody has synced.
        self.open.sync()?;
        let (number, end) = (self.open.number, self.open.end);
        let head = head_after(number, Some(end), &self.written, &self.manifest);
        let next = OpenSegment::begin(
            &self.shared,
            &mut self.ahead,
            &mut *self.dice,
            number + 1,
            head,
            room,
        )?;
        let mut full = std::mem::replace(&mut self.open, next);
        self.reached.durably(&mut *self.dice, self.open.reach())?;
        // Gives back what was preallocated and not used: its successor knows the end.
        let trimmed = full.file.set_len(end.offset);
        trimmed.map_err(StoreError::disk(format!("cannot trim {}", segment_name(number))))
    }

    /// Removes the segments in which nothing counts any more.
    fn drop_segments(&mut self) -> Result<(), StoreError> {
        let first = self.written.segments.front().copied().unwrap_or(self.open.number);
        let Some(purged) = self.written.purged else { return Ok(()) };
        if first <= self.manifest.first || !self.open.carries {
            return Ok(());
        }
        let options = self.shared.options.clone();
        self.manifest.advance(&options, &mut *self.dice, first, purged)?;
        for number in self.oldest..first {
            let name = segment_name(number);
            options
                .disk
                .remove(&options.folder.join(&name))
                .map_err(StoreError::disk(format!("cannot remove {name}")))?;
            self.shared.index.lock().keys.remove(&number);
        }
        self.oldest = first;
        Ok(())
    }
}

/// Gives back what was preallocated and not used, once a successor knows the end.
fn trim(options: &Options, number: u64, end: End) -> Result<(), StoreError> {
    let name = segment_name(number);
    let path = options.folder.join(&name);
    let disk = || StoreError::disk(format!("cannot trim {name}"));
    if options.disk.len(&path).map_err(disk())? > end.offset {
        let mut file = options.disk.open(&path).map_err(disk())?;
        file.set_len(end.offset).map_err(disk())?;
    }
    Ok(())
}

fn head_after(previous: u64, end: Option<End>, written: &Written, manifest: &Manifest) -> Head {
    Head {
        previous,
        previous_records: end.map_or(0, |end| end.records),
        previous_tag: end.map_or([0; 16], |end| end.tag),
        manifest: manifest.number,
        length: 0,
        vote: written.vote,
        committed: written.committed,
        purged: written.purged,
    }
}

/// The log has ended: everybody who waits or comes is told why.
fn fail(shared: &LogParts, queue: &mut mpsc::Receiver<Work>, error: &StoreError) {
    shared.failed.send_replace(Some(error.clone()));
    queue.close();
    while let Some(work) = queue.blocking_recv() {
        match work {
            Work::Write(job) => (job.done)(Err(error.clone())),
            Work::Commit(_) => {}
            Work::Close(done) => {
                done.send(()).ok();
            }
        }
    }
}
