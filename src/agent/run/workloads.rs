//! Every workload of this machine, each followed by a task of its own.
//!
//! A process is one workload, however often it claims. What is held for one (a descriptor
//! of its main process, or of one that is left of it, and its mount namespace) is counted
//! as its user's, and given back when it ends. A change costs what it changes: it is told
//! to `guests`, to the worker (one note a service, however many wait) and to `notes`.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use self::again::again;
use self::list::{Followed, List};
use self::looks::Looks;
use super::notes::Notes;
use super::worker::Worker;
use crate::agent::machine::{Process, Workload};
use crate::agent::mount::Adopted;
use crate::agent::session::WorkloadId;
use crate::agent::vault::{Guests, Told, is_by_hand};
use crate::agent::workload::{Census, Enclosure, Record};
use skep_client::transport::{Most, Share, Shares};
use skep_core::base::ServiceId;

mod again;
mod aims;
mod list;
mod looks;
mod units;
mod volumes;

/// Workloads of one user but root, where there are places for more: more than a service
/// has processes on one machine.
const PER_USER: usize = 2_048;
/// Looks that must find nobody before a namespace counts as empty: one look is
/// not a single instant.
const LOOKS: u32 = 2;
/// Wait before looking again where looking failed.
const AGAIN: Duration = Duration::from_secs(1);
/// Threads that look at callers at a time, of root and of all others: a caller decides how
/// long its list of mounts is.
const LOOKING: usize = 2;

/// All workloads. Clones see the same.
#[derive(Clone, Debug)]
pub struct Workloads(Arc<Followers>);

#[derive(Debug)]
struct Followers {
    worker: Worker,
    notes: Notes,
    ended: mpsc::UnboundedSender<WorkloadId>,
    /// Who may open where the agent is asked.
    guests: Guests,
    shares: Shares,
    looks: Looks,
    roots: Semaphore,
    others: Semaphore,
    list: Mutex<List>,
}

/// A workload that claims, for as long as it is not answered: one that gets nothing is
/// followed no more.
#[derive(Debug)]
pub struct Claimed {
    of: Arc<Followers>,
    id: WorkloadId,
}

impl Claimed {
    /// Which one.
    #[must_use]
    pub fn id(&self) -> WorkloadId {
        self.id
    }

    /// It got what it claimed. Resolves once that is written down.
    #[must_use]
    pub fn assign(&self, service: ServiceId, live: &Path) -> oneshot::Receiver<()> {
        let mut list = self.of.list.lock();
        if let Some(volume) = list.volumes.get_mut(&self.id) {
            volume.service = Some(service);
            self.of.note_volume(self.id, service, true);
            // It is written down by whoever keeps it.
            return oneshot::channel().1;
        }
        if self.of.assign_unit(&mut list, self.id, service) {
            // It is found again by its control group.
            return oneshot::channel().1;
        }
        if let Some(entry) = list.entries.get_mut(&self.id) {
            entry.service = Some(service);
            entry.live = Some(live.to_owned());
        }
        self.of.note(&list, self.id, service)
    }
}

impl Drop for Claimed {
    fn drop(&mut self) {
        let mut list = self.of.list.lock();
        if list.volumes.get(&self.id).is_some_and(|volume| !volume.kept) {
            self.of.end_volume(&mut list, self.id);
            return;
        }
        if list.units.get(&self.id).is_some_and(|unit| unit.service.is_none()) {
            list.units.remove(&self.id);
        }
        let Some(entry) = list.entries.get_mut(&self.id) else { return };
        entry.claims = entry.claims.saturating_sub(1);
        if entry.claims == 0 && entry.service.is_none() {
            list.remove(self.id);
        }
    }
}

/// Why a process is not followed.
#[derive(Debug, thiserror::Error)]
pub enum NotFollowed {
    /// It can't be looked at.
    #[error(transparent)]
    Unseen(#[from] io::Error),
    /// There are too many of this user's, or in all.
    #[error("user {0} has as many processes with secrets as it may have here")]
    TooMany(u32),
}

impl NotFollowed {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Unseen(_) => "is it in another pid namespace than the agent?",
            Self::TooMany(_) => "end some, or raise the agent's limit of open files",
        }
    }
}

impl Workloads {
    /// None yet, and never more than `most`. What ends is told to `ended`, who they are to
    /// `guests` and `notes`.
    #[must_use]
    pub fn new(
        worker: Worker,
        notes: Notes,
        guests: Guests,
        most: usize,
        ended: mpsc::UnboundedSender<WorkloadId>,
    ) -> Self {
        Self(Arc::new(Followers {
            worker,
            notes,
            ended,
            guests,
            shares: Shares::new(Most::of(most, PER_USER)),
            looks: Looks::default(),
            roots: Semaphore::new(LOOKING),
            others: Semaphore::new(LOOKING),
            list: Mutex::default(),
        }))
    }

    /// A process claims; it is followed from here on.
    ///
    /// # Errors
    /// It is gone, or there are too many.
    pub async fn claim(&self, uid: u32, pid: i32) -> Result<Claimed, NotFollowed> {
        let process = self.0.aside(uid, move || Process::open(pid)).await?;
        let mut list = self.0.list.lock();
        if let Some(known) = list.processes.get(&process.id).copied()
            && let Some(entry) = list.entries.get_mut(&known)
        {
            entry.claims = entry.claims.saturating_add(1);
            return Ok(Claimed { of: Arc::clone(&self.0), id: known });
        }
        let share = self.0.shares.take(uid, 1).ok_or(NotFollowed::TooMany(uid))?;
        let follow = Follow {
            main: process.id,
            left: vec![process.id],
            uid,
            service: None,
            enclosure: None,
            wish: None,
            held: None,
            share: Some(share),
        };
        let id = self.follow(&mut list, follow, Some(process));
        if let Some(entry) = list.entries.get_mut(&id) {
            entry.claims = 1;
        }
        Ok(Claimed { of: Arc::clone(&self.0), id })
    }

    /// A process that was granted a service says that it stands in its private
    /// mount namespace, where it is going to show what it was granted.
    ///
    /// # Errors
    /// It was not granted anything, or its namespace is not private.
    pub async fn enclose(
        &self,
        uid: u32,
        pid: i32,
        wish: Option<Told>,
    ) -> io::Result<oneshot::Receiver<()>> {
        let shared = Arc::clone(&self.0);
        let looked = self.0.aside(uid, move || {
            let process = Process::open(pid)?;
            let (service, live) = shared.granted(process.id)?;
            let device = std::fs::metadata(live)?.dev();
            Ok((process.id, Enclosure::of(&process, device, service)?))
        });
        let (main, (mut enclosure, held)) = looked.await?;
        let mut list = self.0.list.lock();
        let gone = || io::Error::from(io::ErrorKind::NotFound);
        let id = list.processes.get(&main).copied().ok_or_else(gone)?;
        let before = list.entries.get(&id).and_then(|entry| *entry.enclosure.borrow());
        if let Some(before) = before {
            list.unmark(id, before);
        }
        list.mark(id, &mut enclosure);
        let entry = list.entries.get_mut(&id).ok_or_else(gone)?;
        entry.held = Some(held);
        entry.wish = wish;
        entry.enclosure.send_replace(Some(enclosure));
        Ok(self.0.note(&list, id, enclosure.service))
    }

    /// Which services are up by hand: noted with the workloads.
    pub fn set_manual(&self, manual: &BTreeSet<ServiceId>) {
        let mut list = self.0.list.lock();
        if list.manual == *manual {
            return;
        }
        for service in list.manual.symmetric_difference(manual) {
            self.0.guests.change(*service, |party| party.by_hand = manual.contains(service));
            self.0.worker.note(*service, &self.0.guests);
        }
        list.manual.clone_from(manual);
    }

    /// Looks again at what an earlier agent wrote down: those that live are followed.
    #[must_use]
    pub fn adopt(
        &self,
        mut records: Vec<Record>,
        mounts: &[Adopted],
    ) -> Vec<(WorkloadId, ServiceId)> {
        // What only the mounts know: the list was lost, or is older.
        let known: BTreeSet<Workload> = records.iter().map(|record| record.main).collect();
        let listed = records.len();
        for adopted in mounts {
            let unknown = |main: &&Workload| !is_by_hand(**main) && !known.contains(main);
            for main in adopted.workloads.iter().filter(unknown) {
                let (service, main) = (adopted.service, *main);
                records.push(Record { service, main, uid: 0, enclosure: None, wish: None });
            }
        }
        let enclosures: Vec<Enclosure> = records.iter().filter_map(|one| one.enclosure).collect();
        let census = Census::look(&enclosures).unwrap_or_else(|error| {
            tracing::error!(event = "workload_not_followed", %error);
            Census::default()
        });
        let mut list = self.0.list.lock();
        let (mut alive, mut inside) = (Vec::new(), BTreeSet::new());
        for (number, record) in records.into_iter().enumerate() {
            if number >= listed && inside.contains(&record.main) {
                // It counts with the workload in whose namespace it lives.
                continue;
            }
            let main = Process::again(record.main);
            let (enclosure, held, others) = again(&record, main.as_ref(), &census);
            if main.is_none() && enclosure.is_none() {
                continue;
            }
            inside.extend(others.iter().copied());
            // Whoever is left of it sees a dead view from the first moment on.
            let left = if main.is_some() { vec![record.main] } else { others };
            let follow = Follow {
                main: record.main,
                left,
                uid: record.uid,
                service: Some(record.service),
                enclosure,
                wish: record.wish,
                held,
                // Whoever lives is followed, also beyond its user's share.
                share: self.0.shares.take(record.uid, 1),
            };
            let workload = self.follow(&mut list, follow, main);
            drop(self.0.note(&list, workload, record.service));
            alive.push((workload, record.service));
        }
        drop(list);
        for adopted in mounts {
            self.0.worker.note(adopted.service, &self.0.guests);
        }
        self.0.notes.open();
        alive
    }

    /// Writes down what waits, for the next agent; nothing is written any more after it.
    pub async fn close(&self) {
        self.0.notes.close().await;
    }

    fn follow(&self, list: &mut List, follow: Follow, main: Option<Process>) -> WorkloadId {
        let Follow { main: id, left, uid, service, mut enclosure, wish, held, share } = follow;
        list.next = list.next.saturating_add(1);
        let workload = WorkloadId(list.next);
        if let Some(enclosure) = &mut enclosure {
            list.mark(workload, enclosure);
        }
        let (sender, enclosed) = watch::channel(enclosure);
        let task = tokio::spawn(Followers::watch(self.0.clone(), workload, main, enclosed));
        let entry = Followed {
            main: id,
            uid,
            service,
            enclosure: sender,
            wish,
            held,
            live: None,
            left,
            claims: 0,
            task: Some(task.abort_handle()),
            _share: share,
        };
        list.entries.insert(workload, entry);
        list.processes.insert(id, workload);
        workload
    }
}

/// A workload that is to be followed.
#[derive(Debug)]
struct Follow {
    main: Workload,
    left: Vec<Workload>,
    uid: u32,
    service: Option<ServiceId>,
    enclosure: Option<Enclosure>,
    wish: Option<Told>,
    held: Option<File>,
    share: Option<Share>,
}

impl Followers {
    /// Looks at a process in a thread that may take its time. Root doesn't wait for others.
    async fn aside<T: Send + 'static>(
        &self,
        uid: u32,
        look: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let threads = if uid == 0 { &self.roots } else { &self.others };
        let _turn = threads.acquire().await.map_err(io::Error::other)?;
        tokio::task::spawn_blocking(look).await.map_err(io::Error::other)?
    }

    /// A container's mount is gone.
    fn end_volume(&self, list: &mut List, workload: WorkloadId) {
        let Some(volume) = list.volumes.remove(&workload) else { return };
        let Some(service) = volume.service else { return };
        self.note_volume(workload, service, false);
        // Nobody listens once the agent ends.
        self.ended.send(workload).ok();
    }

    fn note_volume(&self, workload: WorkloadId, service: ServiceId, there: bool) {
        self.guests.change(service, |party| {
            if there { party.mount(workload.0) } else { party.unmount(workload.0) }
        });
        self.worker.note(service, &self.guests);
    }

    fn granted(&self, main: Workload) -> io::Result<(ServiceId, PathBuf)> {
        let list = self.list.lock();
        let entry = list.processes.get(&main).and_then(|id| list.entries.get(id));
        let granted = entry.and_then(|entry| Some((entry.service?, entry.live.clone()?)));
        granted.ok_or_else(|| io::Error::other("it was not granted a service"))
    }

    async fn watch(
        self: Arc<Self>,
        workload: WorkloadId,
        main: Option<Process>,
        enclosed: watch::Receiver<Option<Enclosure>>,
    ) {
        if let Some(main) = main
            && let Err(error) = main.gone().await
        {
            tracing::error!(event = "workload_not_followed", %error);
        }
        let enclosure = *enclosed.borrow();
        if let Some(enclosure) = enclosure {
            self.wait_for_others(workload, enclosure).await;
        }
        self.end(workload);
    }

    /// Waits for the last process of a namespace whose first one is gone. One of them is
    /// held at a time, however many there are.
    async fn wait_for_others(&self, workload: WorkloadId, enclosure: Enclosure) {
        let _wanted = self.looks.want(enclosure);
        let mut nobody = 0;
        while nobody < LOOKS {
            let (left, one) = match self.looks.members(enclosure).await {
                Ok(found) => found,
                Err(error) => {
                    tracing::error!(event = "workload_not_followed", %error);
                    tokio::time::sleep(AGAIN).await;
                    continue;
                }
            };
            let Some(one) = one else {
                nobody += 1;
                continue;
            };
            nobody = 0;
            self.only_left(workload, left);
            if let Err(error) = one.gone().await {
                tracing::error!(event = "workload_not_followed", %error);
                tokio::time::sleep(AGAIN).await;
            }
        }
    }

    fn only_left(&self, workload: WorkloadId, left: Vec<Workload>) {
        let mut list = self.list.lock();
        let Some(entry) = list.entries.get_mut(&workload) else { return };
        if entry.left == left {
            return;
        }
        entry.left = left;
        if let Some(service) = entry.service {
            drop(self.note(&list, workload, service));
        }
    }

    fn end(&self, workload: WorkloadId) {
        let mut list = self.list.lock();
        let Some(mut entry) = list.remove(workload) else { return };
        // This task itself is about to end: it is not to be aborted before it has told.
        entry.task = None;
        if let Some(service) = entry.service {
            drop(self.note(&list, workload, service));
        }
        drop(list);
        drop(entry);
        // Nobody listens once the agent ends.
        self.ended.send(workload).ok();
    }

    /// Tells whoever keeps lists how it is with a workload, within the lock, so that it
    /// arrives in the order in which it came about.
    fn note(&self, list: &List, workload: WorkloadId, service: ServiceId) -> oneshot::Receiver<()> {
        let entry = list.entries.get(&workload);
        self.guests.change(service, |party| match entry {
            Some(entry) => party.put(workload.0, entry.member()),
            None => party.take(workload.0),
        });
        self.worker.note(service, &self.guests);
        self.notes.note(workload.0, entry.and_then(Followed::record))
    }
}
