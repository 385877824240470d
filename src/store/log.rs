//! The log as `consensus` uses it.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};

use super::error::StoreError;
use super::header::segment_name;
use super::index::{Index, Wanted};
use super::log_id::LogId;
use super::memory::{Incarnation, Memory, PEERS};
use super::options::{Covered, Done, Options};
use super::record::{LogEntry, MOST_SEALED, Record, Vote};
use super::recover::recover;
use super::segment::open_framed;
use super::writer::{Job, LogParts, Work, Writer};

/// Jobs that wait for the writer; more wait outside.
const QUEUE: usize = 1024;

/// An open log. Cheap to clone; the writer ends with the last one.
#[derive(Clone)]
pub struct Log {
    shared: Arc<LogParts>,
    queue: mpsc::Sender<Work>,
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Log({})", self.shared.options.folder.display())
    }
}

impl Log {
    /// Reads what is there, begins a new segment and starts the writer's thread.
    /// Blocks on the disk.
    ///
    /// # Errors
    /// [`StoreError`]: nothing was changed then but leftovers of interrupted acts.
    pub fn open(options: Options) -> Result<Self, StoreError> {
        Self::open_under(options, None)
    }

    /// The same for a log that must fit the newest snapshot.
    ///
    /// # Errors
    /// [`StoreError`]: nothing was changed then but leftovers of interrupted acts.
    pub fn open_under(options: Options, covered: Option<&Covered>) -> Result<Self, StoreError> {
        let recovered = recover(&options, covered)?;
        let (failed, _) = watch::channel(None);
        let index = Mutex::new(recovered.index);
        let shared = Arc::new(LogParts { options, index, failed });
        let writer = Writer::start(Arc::clone(&shared), recovered.resume)?;
        let (queue, work) = mpsc::channel(QUEUE);
        std::thread::Builder::new()
            .name("skep-log".to_owned())
            .spawn(move || writer.run(work))
            .map_err(StoreError::disk("cannot start the log's thread"))?;
        Ok(Self { shared, queue })
    }

    /// The last entry purged, and the last entry.
    pub fn ends(&self) -> (Option<LogId>, Option<LogId>) {
        let index = self.shared.index.lock();
        (index.purged, index.last())
    }

    /// The vote saved last.
    pub fn vote(&self) -> Option<Vote> {
        self.shared.index.lock().vote
    }

    /// The newest entry known to be committed; it may be older than what was said
    /// before a power loss.
    pub fn committed(&self) -> Option<LogId> {
        self.shared.index.lock().committed
    }

    /// The last entry and the vote, as they stood at one moment.
    pub fn position(&self) -> (Option<LogId>, Option<Vote>) {
        let index = self.shared.index.lock();
        (index.last(), index.vote)
    }

    /// This manager's latest start that was noted here.
    pub fn incarnation(&self) -> Option<Incarnation> {
        self.shared.index.lock().incarnation
    }

    /// What was remembered of peers when it was noted last.
    pub fn remembered(&self) -> Vec<Memory> {
        self.shared.index.lock().remembered.clone()
    }

    /// Notes a start.
    ///
    /// # Errors
    /// [`StoreError`]; `done` is not called then.
    pub async fn note_start(&self, start: Incarnation, done: Done) -> Result<(), StoreError> {
        self.submit(done, |index| {
            index.incarnation = Some(start);
            Ok(vec![(Record::Incarnation(start), 0)])
        })
        .await
    }

    /// Notes what is remembered of peers: all of it, in place of what was noted before.
    ///
    /// # Errors
    /// [`StoreError`]; more than [`PEERS`] are refused. `done` is not called then.
    pub async fn note_peers(&self, memories: Vec<Memory>, done: Done) -> Result<(), StoreError> {
        if memories.len() > PEERS {
            let error = std::io::ErrorKind::InvalidInput.into();
            return Err(StoreError::disk("too many peers to remember")(error));
        }
        self.submit(done, |index| {
            index.remembered.clone_from(&memories);
            Ok(vec![(Record::Remembered(memories), 0)])
        })
        .await
    }

    /// Why the log has ended, once it has.
    #[must_use]
    pub fn failure(&self) -> watch::Receiver<Option<StoreError>> {
        self.shared.failed.subscribe()
    }

    /// Appends entries: they can be read when this returns, and are durable when
    /// `done` is called.
    ///
    /// # Errors
    /// [`StoreError`]; `done` is not called then.
    pub async fn append(&self, entries: Vec<LogEntry>, done: Done) -> Result<(), StoreError> {
        if entries.iter().any(|entry| entry.payload.len() > MOST_SEALED / 2) {
            let error = std::io::ErrorKind::FileTooLarge.into();
            return Err(StoreError::disk("an entry is too large")(error));
        }
        self.submit(done, |index| {
            let mut records = Vec::with_capacity(entries.len());
            for entry in entries {
                if !index.takes(entry.id.index) {
                    let error = std::io::ErrorKind::InvalidInput.into();
                    return Err(StoreError::disk("an entry would leave a hole")(error));
                }
                let serial = index.push(&entry, None);
                records.push((Record::Entry(entry), serial));
            }
            Ok(records)
        })
        .await
    }

    /// Saves the vote.
    ///
    /// # Errors
    /// [`StoreError`]; `done` is not called then.
    pub async fn save_vote(&self, vote: Vote, done: Done) -> Result<(), StoreError> {
        self.submit(done, |index| {
            index.vote = Some(vote);
            Ok(vec![(Record::Vote(vote), 0)])
        })
        .await
    }

    /// Drops the entries that follow `after`; all of them, if there is none.
    ///
    /// # Errors
    /// [`StoreError`]; `done` is not called then.
    pub async fn truncate(&self, after: Option<LogId>, done: Done) -> Result<(), StoreError> {
        self.submit(done, |index| {
            index.truncate(after);
            Ok(vec![(Record::Truncate(after), 0)])
        })
        .await
    }

    /// Drops the entries up to `upto`: the state has them, in a durable snapshot.
    ///
    /// # Errors
    /// [`StoreError`]; `done` is not called then.
    pub async fn purge(&self, upto: LogId, done: Done) -> Result<(), StoreError> {
        self.submit(done, |index| {
            index.purge(upto);
            Ok(vec![(Record::Purge(upto), 0)])
        })
        .await
    }

    /// Notes what is committed. A hint: it becomes durable with what follows.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn commit(&self, committed: Option<LogId>) -> Result<(), StoreError> {
        self.healthy()?;
        let permit = self.queue.reserve().await.ok();
        let permit = permit.ok_or(StoreError::Closed)?;
        let mut index = self.shared.index.lock();
        index.committed = committed;
        permit.send(Work::Commit(committed));
        Ok(())
    }

    /// The entries from `from` up to but not `to` that the log holds, at most `most`
    /// bytes of payload but at least one. May block on the disk.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn read(&self, from: u64, to: u64, most: u64) -> Result<Vec<LogEntry>, StoreError> {
        let mut from = from;
        loop {
            let wanted = self.shared.index.lock().want(from, to, most);
            let found = wanted.into_iter().map(|wanted| match wanted {
                Wanted::Here(entry) => Ok(entry),
                Wanted::There(id, place, key) => self.fetch(id, place, &key),
            });
            let error = match found.collect() {
                Ok(entries) => return Ok(entries),
                Err(error) => error,
            };
            // A purge may have taken the file away meanwhile: what it left is asked again.
            let purged = self.shared.index.lock().purged;
            let first = purged.map_or(0, |id| id.index.saturating_add(1));
            if first <= from {
                return Err(error);
            }
            from = first;
        }
    }

    fn fetch(
        &self,
        id: LogId,
        place: super::index::Place,
        key: &skep_core::seal::RecordKey,
    ) -> Result<LogEntry, StoreError> {
        let options = &self.shared.options;
        let file = segment_name(place.segment);
        let bytes = options
            .disk
            .read_at(&options.folder.join(&file), place.offset, place.length)
            .map_err(StoreError::disk(format!("cannot read {file}")))?;
        let opened = open_framed(key, &bytes, 0, place.number);
        match opened.and_then(|(plain, _, _)| Record::parse(&plain)) {
            Some((_, Record::Entry(entry))) if entry.id == id => Ok(entry),
            _ => {
                let number = u64::from(place.number);
                Err(StoreError::record(&file, number, place.offset, "it does not open any more"))
            }
        }
    }

    /// Writes and syncs everything, and ends the writer.
    pub async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if self.queue.send(Work::Close(done)).await.is_ok() {
            // An error means that the writer has ended already.
            closed.await.ok();
        }
    }

    fn healthy(&self) -> Result<(), StoreError> {
        self.shared.failed.borrow().clone().map_or(Ok(()), Err)
    }

    /// Changes the index and queues the records that say so, as one step.
    async fn submit(
        &self,
        done: Done,
        change: impl FnOnce(&mut Index) -> Result<Vec<(Record, u64)>, StoreError>,
    ) -> Result<(), StoreError> {
        self.healthy()?;
        let permit = self.queue.reserve().await.ok();
        let permit = permit.ok_or(StoreError::Closed)?;
        let mut index = self.shared.index.lock();
        let records = change(&mut index)?;
        permit.send(Work::Write(Job { records, done }));
        Ok(())
    }
}
