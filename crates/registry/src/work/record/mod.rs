//! Every decision that was authenticated, written before it is told; what was not, counted.
//!
//! One thread writes, so that decisions that come at once share a write and a sync. It
//! deliberately reads nothing back but the last line at its start.

mod counts;
mod file;
mod reach;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use skep_core::base::{Clock, Stamp};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::{mpsc, oneshot};

use counts::Counts;
pub(super) use counts::Uncounted;
pub use file::BadRecord;
use file::RecordFile;
pub use reach::Reached;

use crate::rules::record::Event;

/// Decisions that wait to be written, and those that are written at once.
const WAITING: usize = 4_096;
const AT_ONCE: usize = 512;
/// How long anybody waits for that.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often what was written is synced, if there is any.
const SYNC: Duration = Duration::from_millis(100);

/// It could not be written.
#[derive(Debug)]
pub(super) struct Unwritten;

enum Work {
    Write(Box<Job>),
    /// Everything is to be on the disk.
    Settle(oneshot::Sender<()>),
}

struct Job {
    event: Event,
    /// Whether it counts as lost where it can't be written.
    goes_on: bool,
    written: oneshot::Sender<bool>,
}

/// Where decisions are written.
pub struct Record {
    jobs: Option<mpsc::Sender<Work>>,
    counts: Arc<Counts>,
    reached: Reached,
}

impl std::fmt::Debug for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Record")
    }
}

impl Record {
    /// Takes up these files; with none, nothing is recorded.
    ///
    /// # Errors
    /// One of them can't be written, is another process's, or is damaged.
    pub fn open(
        paths: &[PathBuf],
        name: &str,
        clock: Arc<dyn Clock + Send + Sync>,
    ) -> Result<Self, BadRecord> {
        let counts = Arc::new(Counts::default());
        let reached = Reached::of(paths);
        if paths.is_empty() {
            return Ok(Self { jobs: None, counts, reached });
        }
        let now = clock.now();
        let files = paths.iter().map(|path| RecordFile::open(path, name, &written(now)));
        let files = files.collect::<Result<Vec<_>, _>>()?;
        let (jobs, queue) = mpsc::channel(WAITING);
        reached.set(files.iter().map(RecordFile::reached));
        let mut writer = Writer {
            files,
            clock,
            counts: Arc::clone(&counts),
            reached: reached.clone(),
            lost: 0,
            said: false,
        };
        std::thread::Builder::new()
            .name("record".into())
            .spawn(move || writer.run(queue))
            .map_err(BadRecord::Io)?;
        Ok(Self { jobs: Some(jobs), counts, reached })
    }

    /// How far its files reach, now and later.
    #[must_use]
    pub fn reached(&self) -> Reached {
        self.reached.clone()
    }

    /// Writes one. When this returns it is in the file, if not yet on the disk.
    pub(super) async fn write(&self, event: Event, goes_on: bool) -> Result<(), Unwritten> {
        let Some(jobs) = &self.jobs else { return Ok(()) };
        let (written, answer) = oneshot::channel();
        let wait = async {
            jobs.send(Work::Write(Box::new(Job { event, goes_on, written }))).await.ok()?;
            answer.await.ok()
        };
        match tokio::time::timeout(PATIENCE, wait).await {
            Ok(Some(true)) => Ok(()),
            _ => Err(Unwritten),
        }
    }

    /// Waits until all is on the disk.
    pub(super) async fn close(&self) {
        let Some(jobs) = &self.jobs else { return };
        let (settled, done) = oneshot::channel();
        let wait = async {
            jobs.send(Work::Settle(settled)).await.ok()?;
            done.await.ok()
        };
        if tokio::time::timeout(PATIENCE, wait).await.is_err() {
            tracing::error!(event = "record_not_synced");
        }
    }

    /// Counts one that was not authenticated.
    pub(super) fn count(&self, address: std::net::IpAddr, outcome: Uncounted) {
        if self.jobs.is_some() {
            self.counts.add(address, outcome);
        }
    }
}

/// A time as it is written.
fn written(now: Stamp) -> String {
    let seconds = i64::try_from(now.0 / 1_000).ok();
    let time = seconds.and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
    let text = time.and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_default();
    // Always three digits, so that times sort as texts.
    format!("{}.{:03}Z", text.trim_end_matches('Z'), now.0 % 1_000)
}

struct Writer {
    files: Vec<RecordFile>,
    clock: Arc<dyn Clock + Send + Sync>,
    counts: Arc<Counts>,
    reached: Reached,
    lost: u64,
    said: bool,
}

impl Writer {
    fn run(&mut self, mut queue: mpsc::Receiver<Work>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let Ok(runtime) = runtime else { return };
        loop {
            let first = runtime.block_on(async { tokio::time::timeout(SYNC, queue.recv()).await });
            match first {
                Ok(Some(first)) => {
                    let (mut jobs, mut settle) = (Vec::new(), None);
                    let mut next = Some(first);
                    while let Some(work) = next {
                        match work {
                            Work::Write(job) => jobs.push(*job),
                            Work::Settle(done) => settle = Some(done),
                        }
                        next = if jobs.len() < AT_ONCE { queue.try_recv().ok() } else { None };
                    }
                    self.write(jobs);
                    if let Some(done) = settle {
                        self.settle(true);
                        let _gone = done.send(());
                    }
                }
                Ok(None) => break,
                Err(_) => {}
            }
            self.settle(false);
        }
        self.settle(true);
    }

    /// What is due: a sync, and the counts of a minute that is over.
    fn settle(&mut self, end: bool) {
        let now = self.clock.boot();
        for file in &mut self.files {
            if file.sync(now, end).is_err() {
                tracing::error!(event = "record_not_synced");
            }
        }
        self.reached.set(self.files.iter().map(RecordFile::reached));
        let minute = self.clock.now().0 / 60_000;
        let lines = self.counts.take_before(minute, end);
        if !lines.is_empty() {
            for file in &self.files {
                file.append_counts(&lines);
            }
        }
    }

    fn write(&mut self, jobs: Vec<Job>) {
        if jobs.is_empty() {
            return;
        }
        let at = written(self.clock.now());
        let lost = (self.lost > 0).then_some(Event::Lost { count: self.lost });
        let told = jobs.iter().map(|job| job.event.clone());
        let events: Vec<Event> = lost.into_iter().chain(told).collect();
        let marks: Vec<_> = self.files.iter().map(RecordFile::mark).collect();
        let failed = self.files.iter_mut().find_map(|file| file.append(&at, &events).err());
        if let Some(error) = &failed {
            for (file, mark) in self.files.iter_mut().zip(marks) {
                file.back_to(mark);
            }
            if !self.said {
                tracing::error!(event = "record_not_written", %error);
            }
        } else {
            self.lost = 0;
        }
        self.said = failed.is_some();
        for job in jobs {
            if failed.is_some() && job.goes_on {
                self.lost = self.lost.saturating_add(1);
            }
            // Who asked may have gone.
            let _gone = job.written.send(failed.is_none());
        }
    }
}
