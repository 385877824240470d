//! Writes down which workloads there are, for the next agent: a thread of its own, so
//! that nobody waits for a disk but those who asked to be told.
//!
//! Each change is a line at the end of a file; what waits while a line is written becomes
//! one write. Once most lines are about workloads that are gone, the file is written anew,
//! under another name first. Nothing is synced: the list means something within one boot
//! of the machine only, and what a process wrote outlives it until then.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use crate::agent::workload::{Record, roster};
use skep_core::base::{Disk, DiskFile};

/// Lines about workloads that are gone, beside as many as there are workloads, before the
/// file is written anew.
const SPARE_LINES: usize = 1_024;
/// After a write failed it is tried again so much later, if no change comes before.
const AGAIN: Duration = Duration::from_secs(10);

/// Where changes are left to be written down. Clones see the same.
#[derive(Clone, Debug)]
pub struct Notes(Arc<Desk>);

#[derive(Debug, Default)]
struct Desk {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    /// By number: what is known of a workload last; `None`: it is gone. No more than there
    /// are workloads, and those that went since the last write.
    changes: BTreeMap<u64, Option<Record>>,
    told: Vec<oneshot::Sender<()>>,
    /// What an earlier agent wrote was taken over: it may be replaced.
    open: bool,
    /// It was not replaced yet.
    fresh: bool,
    closed: Option<Vec<oneshot::Sender<()>>>,
}

impl Notes {
    /// Starts the thread. The file at `path` stays as it is until [`Self::open`].
    ///
    /// # Errors
    /// The system has no thread to give.
    pub(super) fn start(disk: Arc<dyn Disk>, path: PathBuf, boot_id: String) -> io::Result<Self> {
        let desk = Arc::new(Desk::default());
        let mut file = Roster::new(disk, path, boot_id);
        let orders = Arc::clone(&desk);
        let work = move || {
            while let Some((changes, told)) = orders.next(file.failed) {
                file.take(changes);
                for told in told {
                    // Whoever waited may have gone.
                    told.send(()).ok();
                }
            }
        };
        std::thread::Builder::new().name("notes".to_owned()).spawn(work)?;
        Ok(Self(desk))
    }

    /// What is to be kept of the list before is noted by now: from here on it is written.
    pub(super) fn open(&self) {
        let mut waiting = self.0.waiting.lock();
        (waiting.open, waiting.fresh) = (true, true);
        drop(waiting);
        self.0.changed.notify_one();
    }

    /// Notes what is known of a workload (`None`: it is gone). Resolves once it is written
    /// down, or could not be.
    pub(super) fn note(&self, number: u64, record: Option<Record>) -> oneshot::Receiver<()> {
        let (told, written) = oneshot::channel();
        let mut waiting = self.0.waiting.lock();
        // A writer that has ended drops the sender: the receiver then fails.
        if waiting.closed.is_none() {
            waiting.changes.insert(number, record);
            waiting.told.push(told);
            // Most don't wait to be told.
            if waiting.told.len() > waiting.changes.len().saturating_mul(2).saturating_add(64) {
                waiting.told.retain(|told| !told.is_closed());
            }
        }
        drop(waiting);
        self.0.changed.notify_one();
        written
    }

    /// Writes what waits; nothing is written any more once this resolves.
    pub(super) async fn close(&self) {
        let (told, closed) = oneshot::channel();
        self.0.waiting.lock().closed.get_or_insert_default().push(told);
        self.0.changed.notify_one();
        // Dropped is as good as sent.
        closed.await.ok();
    }
}

type Changes = BTreeMap<u64, Option<Record>>;

impl Desk {
    /// What to write next, with those who are to be told; `None`: nothing any more.
    fn next(&self, again: bool) -> Option<(Changes, Vec<oneshot::Sender<()>>)> {
        let mut waiting = self.waiting.lock();
        loop {
            let fresh = std::mem::take(&mut waiting.fresh);
            if waiting.open && (fresh || !waiting.changes.is_empty()) {
                let changes = std::mem::take(&mut waiting.changes);
                return Some((changes, std::mem::take(&mut waiting.told)));
            }
            if let Some(closed) = &mut waiting.closed {
                // The thread ends: dropping the senders tells.
                closed.clear();
                waiting.told.clear();
                return None;
            }
            if !again {
                self.changed.wait(&mut waiting);
            } else if self.changed.wait_for(&mut waiting, AGAIN).timed_out() {
                return Some((Changes::new(), Vec::new()));
            }
        }
    }
}

/// The file.
struct Roster {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    boot_id: String,
    live: BTreeMap<u64, Record>,
    file: Option<Box<dyn DiskFile>>,
    length: u64,
    lines: usize,
    failed: bool,
}

impl Roster {
    fn new(disk: Arc<dyn Disk>, path: PathBuf, boot_id: String) -> Self {
        let live = BTreeMap::new();
        Self { disk, path, boot_id, live, file: None, length: 0, lines: 0, failed: false }
    }

    fn take(&mut self, changes: Changes) {
        let mut text = String::new();
        let lines = changes.len();
        for (number, record) in changes {
            roster::line(&mut text, number, record.as_ref());
            match record {
                Some(record) => self.live.insert(number, record),
                None => self.live.remove(&number),
            };
        }
        let most = self.live.len().saturating_mul(2).saturating_add(SPARE_LINES);
        let full = self.lines.saturating_add(lines) > most;
        let done = match &mut self.file {
            Some(file) if !full => file.write_at(self.length, text.as_bytes()).map(|()| {
                self.length = self.length.saturating_add(len(&text));
                self.lines = self.lines.saturating_add(lines);
            }),
            _ => self.write_anew(),
        };
        match done {
            Ok(()) => self.failed = false,
            Err(error) => {
                // Half a line may stand there: the next write begins anew.
                self.file = None;
                if !std::mem::replace(&mut self.failed, true) {
                    let path = self.path.display();
                    tracing::error!(event = "state_not_written", %path, %error);
                }
            }
        }
    }

    fn write_anew(&mut self) -> io::Result<()> {
        let mut text = roster::head(&self.boot_id);
        for (number, record) in &self.live {
            roster::line(&mut text, *number, Some(record));
        }
        let mut temporary = self.path.as_os_str().to_owned();
        temporary.push(".tmp");
        let temporary = Path::new(&temporary);
        match self.disk.remove(temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = self.disk.create(temporary)?;
        file.write_at(0, text.as_bytes())?;
        self.disk.rename(temporary, &self.path)?;
        self.file = Some(file);
        self.length = len(&text);
        self.lines = self.live.len();
        Ok(())
    }
}

fn len(text: &str) -> u64 {
    u64::try_from(text.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::machine::Workload;
    use crate::host::RealDisk;
    use skep_core::base::ServiceId;

    const BOOT: &str = "11111111-2222-3333-4444-555555555555";

    fn record(pid: u32) -> Record {
        let service = ServiceId::from_bytes([3; 16]);
        Record { service, main: Workload { pid, started: 5 }, uid: 0, enclosure: None, wish: None }
    }

    fn read(path: &Path) -> Vec<Record> {
        roster::read(&std::fs::read(path).expect("a file"), BOOT).expect("a list")
    }

    #[tokio::test]
    async fn what_waits_is_one_write_and_the_list_before_stays_until_it_is_taken_over() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("workloads");
        RealDisk.replace(&path, b"before").expect("written");
        let start = || Notes::start(Arc::new(RealDisk), path.clone(), BOOT.to_owned());
        let notes = start().expect("a thread");
        let mut told = Vec::new();
        for pid in 0..500 {
            told.push(notes.note(u64::from(pid), Some(record(pid))));
        }
        assert_eq!(std::fs::read(&path).expect("a file"), b"before");
        notes.open();
        for told in told {
            told.await.expect("written");
        }
        assert_eq!(read(&path).len(), 500);
        drop(notes.note(7, None));
        notes.close().await;
        assert_eq!(read(&path).len(), 499);
        assert!(notes.note(8, None).await.is_err(), "nothing is written any more");
    }

    #[tokio::test]
    async fn a_file_does_not_grow_with_those_who_have_gone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("workloads");
        let notes =
            Notes::start(Arc::new(RealDisk), path.clone(), BOOT.to_owned()).expect("starts");
        notes.open();
        for number in 0..2_000 {
            notes.note(number, Some(record(1))).await.expect("written");
            notes.note(number, None).await.expect("written");
        }
        let length = std::fs::metadata(&path).expect("a file").len();
        assert!(length < 100_000, "{length}");
        assert_eq!(read(&path), Vec::new());
    }

    #[tokio::test]
    async fn what_could_not_be_written_is_written_later() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("sub/workloads");
        let notes =
            Notes::start(Arc::new(RealDisk), path.clone(), BOOT.to_owned()).expect("starts");
        notes.open();
        notes.note(1, Some(record(1))).await.expect("told all the same");
        std::fs::create_dir(folder.path().join("sub")).expect("a folder");
        notes.note(2, Some(record(2))).await.expect("told");
        assert_eq!(read(&path).len(), 2);
    }
}
