//! Every workload of this machine, each followed by a task of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::AbortHandle;

use crate::agent::mount::Adopted;
use crate::agent::session::WorkloadId;
use crate::agent::vault::{Guests, Member, Party, Workload};
use crate::agent::worker::Worker;
use crate::agent::workload::{Enclosure, Process, Record, namespace_of, roster};
use crate::base::ServiceId;

/// Looks that must find nobody before a namespace counts as empty: one look is
/// not a single instant.
const LOOKS: u32 = 2;
/// Wait before looking again where looking failed.
const AGAIN: Duration = Duration::from_secs(1);
/// Stands for what is up by hand: the first process, which never ends.
const FIRST: Workload = Workload { pid: 1, started: 0 };

/// All workloads. Clones see the same.
#[derive(Clone, Debug)]
pub struct Workloads(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    worker: Worker,
    ended: mpsc::UnboundedSender<WorkloadId>,
    boot_id: String,
    /// Who may open where the agent is asked.
    guests: Guests,
    /// Workloads at once: each holds two descriptors.
    most: usize,
    list: Mutex<List>,
}

#[derive(Debug, Default)]
struct List {
    next: u64,
    entries: BTreeMap<WorkloadId, Entry>,
    manual: BTreeSet<ServiceId>,
}

#[derive(Debug)]
struct Entry {
    main: Workload,
    service: Option<ServiceId>,
    enclosure: watch::Sender<Option<Enclosure>>,
    /// The namespace of the enclosure: its number is nobody else's meanwhile.
    held: Option<File>,
    /// What it is to show.
    live: Option<PathBuf>,
    /// Who is left of it, once the main process is gone.
    left: Vec<Workload>,
    task: Option<AbortHandle>,
}

impl Entry {
    fn member(&self) -> Member {
        // A number that isn't held may be a stranger's by now.
        let held = self.held.as_ref().and(*self.enclosure.borrow());
        let namespace = held.map(|enclosure| enclosure.namespace);
        Member { main: self.main, left: self.left.clone(), namespace }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl Workloads {
    /// None yet, and never more than `most`. What ends is told to `ended`, who they are to
    /// `guests`.
    #[must_use]
    pub fn new(
        worker: Worker,
        boot_id: String,
        guests: Guests,
        most: usize,
        ended: mpsc::UnboundedSender<WorkloadId>,
    ) -> Self {
        Self(Arc::new(Shared { worker, ended, boot_id, guests, most, list: Mutex::default() }))
    }

    /// A process claims; it is followed from here on.
    ///
    /// # Errors
    /// It is gone, or there are too many.
    pub fn claim(&self, pid: i32) -> io::Result<WorkloadId> {
        let process = Process::open(pid)?;
        self.follow(Some(process), None, None, None)
            .ok_or_else(|| io::ErrorKind::QuotaExceeded.into())
    }

    /// It got what it claimed. Resolves once that is written down.
    #[must_use]
    pub fn assign(
        &self,
        workload: WorkloadId,
        service: ServiceId,
        live: &Path,
    ) -> oneshot::Receiver<()> {
        if let Some(entry) = self.0.list.lock().entries.get_mut(&workload) {
            entry.service = Some(service);
            entry.live = Some(live.to_owned());
        }
        self.0.note(service)
    }

    /// It did not: nobody follows it any more.
    pub fn forget(&self, workload: WorkloadId) {
        self.0.list.lock().entries.remove(&workload);
    }

    /// A process that was granted a service says that it stands in its private
    /// mount namespace, where it is going to show what it was granted.
    ///
    /// # Errors
    /// It was not granted anything, or its namespace is not private.
    pub fn enclose(&self, pid: i32) -> io::Result<oneshot::Receiver<()>> {
        let process = Process::open(pid)?;
        let held = process.hold_namespace()?;
        let namespace = held.metadata()?.ino();
        // The first process's may be closed to an agent that runs in a container.
        let first = namespace_of("1").ok();
        if namespace == namespace_of("self")? || Some(namespace) == first {
            return Err(io::Error::other("it has no mount namespace of its own"));
        }
        let (service, live) = {
            let list = self.0.list.lock();
            let entry = list.entries.values().find(|entry| entry.main == process.id);
            let granted = entry.and_then(|entry| Some((entry.service?, entry.live.clone()?)));
            granted.ok_or_else(|| io::Error::other("it was not granted a service"))?
        };
        let device = std::fs::metadata(live)?.dev();
        let enclosure = Enclosure { namespace, device, service };
        {
            let mut list = self.0.list.lock();
            for entry in list.entries.values_mut().filter(|entry| entry.main == process.id) {
                entry.held = Some(held.try_clone()?);
                entry.enclosure.send_replace(Some(enclosure));
            }
        }
        Ok(self.0.note(service))
    }

    /// Which services are up by hand: written down with the workloads.
    pub fn set_manual(&self, manual: &BTreeSet<ServiceId>) {
        let changed: Vec<ServiceId> = {
            let mut list = self.0.list.lock();
            let changed = list.manual.symmetric_difference(manual).copied().collect();
            list.manual.clone_from(manual);
            changed
        };
        for service in changed {
            drop(self.0.note(service));
        }
    }

    /// Looks again at what an earlier agent wrote down: those that live are followed.
    #[must_use]
    pub fn adopt(&self, roster: &str, mounts: &[Adopted]) -> Vec<(WorkloadId, ServiceId)> {
        let mut records = roster::read(roster, &self.0.boot_id);
        // What only the mounts know: the list was lost, or is older.
        for adopted in mounts {
            for main in adopted.workloads.iter().filter(|main| main.pid != FIRST.pid) {
                if !records.iter().any(|record| record.main == *main) {
                    records.push(Record { service: adopted.service, main: *main, enclosure: None });
                }
            }
        }
        let mut alive = Vec::new();
        for record in records {
            let main = Process::again(record.main);
            // With the main process gone, only others vouch for the namespace's number.
            let mut others = Vec::new();
            let enclosure = record.enclosure.filter(|enclosure| {
                if main.is_none() {
                    others = enclosure.members().unwrap_or_default();
                    others.retain(|member| enclosure.still_shows(member.id.pid));
                }
                main.is_some() || !others.is_empty()
            });
            let held = enclosure.and_then(|enclosure| {
                let held = main.iter().chain(&others).filter_map(|one| one.hold_namespace().ok());
                held.into_iter().find(|held| {
                    held.metadata().is_ok_and(|about| about.ino() == enclosure.namespace)
                })
            });
            if main.is_none() && enclosure.is_none() {
                continue;
            }
            if let Some(workload) = self.follow(main, Some(&record), enclosure, held) {
                alive.push((workload, record.service));
            }
        }
        let services: BTreeSet<ServiceId> = alive.iter().map(|(_, service)| *service).collect();
        for service in services.into_iter().chain(mounts.iter().map(|adopted| adopted.service)) {
            drop(self.0.note(service));
        }
        alive
    }

    fn follow(
        &self,
        main: Option<Process>,
        record: Option<&Record>,
        enclosure: Option<Enclosure>,
        held: Option<File>,
    ) -> Option<WorkloadId> {
        let id = main.as_ref().map(|main| main.id).or(record.map(|record| record.main))?;
        let (sender, enclosed) = watch::channel(enclosure);
        let entry = Entry {
            main: id,
            service: record.map(|record| record.service),
            enclosure: sender,
            held,
            live: None,
            left: vec![id],
            task: None,
        };
        let workload = {
            let mut list = self.0.list.lock();
            if list.entries.len() >= self.0.most {
                return None;
            }
            list.next = list.next.saturating_add(1);
            let workload = WorkloadId(list.next);
            list.entries.insert(workload, entry);
            workload
        };
        let task = tokio::spawn(Shared::watch(self.0.clone(), workload, main, enclosed));
        if let Some(entry) = self.0.list.lock().entries.get_mut(&workload) {
            entry.task = Some(task.abort_handle());
        }
        Some(workload)
    }
}

impl Shared {
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

    /// Waits for the last process of a namespace whose first one is gone.
    async fn wait_for_others(&self, workload: WorkloadId, enclosure: Enclosure) {
        let mut nobody = 0;
        while nobody < LOOKS {
            let looked = tokio::task::spawn_blocking(move || enclosure.members()).await;
            let members = match looked {
                Ok(Ok(members)) => members,
                Ok(Err(error)) => {
                    tracing::error!(event = "workload_not_followed", %error);
                    tokio::time::sleep(AGAIN).await;
                    continue;
                }
                // The runtime is going down.
                Err(_) => return,
            };
            if members.is_empty() {
                nobody += 1;
                continue;
            }
            nobody = 0;
            self.only_left(workload, members.iter().map(|member| member.id).collect());
            for member in members {
                if let Err(error) = member.gone().await {
                    tracing::error!(event = "workload_not_followed", %error);
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
    }

    fn only_left(&self, workload: WorkloadId, left: Vec<Workload>) {
        let service = {
            let mut list = self.list.lock();
            let entry = list.entries.get_mut(&workload);
            entry.and_then(|entry| {
                entry.left = left;
                entry.service
            })
        };
        if let Some(service) = service {
            drop(self.note(service));
        }
    }

    fn end(&self, workload: WorkloadId) {
        let entry = self.list.lock().entries.remove(&workload);
        let Some(mut entry) = entry else { return };
        // This task itself is about to end: it is not to be aborted before it has told.
        entry.task = None;
        if let Some(service) = entry.service {
            drop(self.note(service));
        }
        // Nobody listens once the agent ends.
        self.ended.send(workload).ok();
    }

    fn note(&self, service: ServiceId) -> oneshot::Receiver<()> {
        let list = self.list.lock();
        let of_service = list.entries.values().filter(|entry| entry.service == Some(service));
        let party = Party {
            by_hand: list.manual.contains(&service),
            members: of_service.map(Entry::member).collect(),
        };
        let left = party.members.iter().flat_map(|member| member.left.iter().copied());
        let mut using: Vec<Workload> = left.collect();
        if party.by_hand {
            using.push(FIRST);
        }
        self.guests.set(service, party);
        let records: Vec<Record> = list
            .entries
            .values()
            .filter_map(|entry| {
                let enclosure = *entry.enclosure.borrow();
                Some(Record { service: entry.service?, main: entry.main, enclosure })
            })
            .collect();
        // Within the lock, so that notes arrive in the order of what they say.
        self.worker.note(service, using, roster::write(&self.boot_id, &records))
    }
}
