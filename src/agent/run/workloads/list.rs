//! Who is followed, by workload, process and mark.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::path::PathBuf;

use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::agent::hook::Aim;
use crate::agent::machine::{NO_NAMESPACE, UnitGroup, Workload};
use crate::agent::session::WorkloadId;
use crate::agent::vault::{Member, Told};
use crate::agent::workload::{Enclosure, Record};
use skep_client::transport::Share;
use skep_core::base::ServiceId;
use skep_core::domain::UnitName;

/// All that are followed.
#[derive(Debug, Default)]
pub(super) struct List {
    pub(super) next: u64,
    pub(super) entries: BTreeMap<WorkloadId, Followed>,
    pub(super) processes: HashMap<Workload, WorkloadId>,
    /// Which workload each mark is of.
    pub(super) marks: HashMap<u64, WorkloadId>,
    pub(super) manual: BTreeSet<ServiceId>,
    /// Workloads that are a container's mount of a volume.
    pub(super) volumes: BTreeMap<WorkloadId, Volume>,
    /// Workloads that are units of systemd.
    pub(super) units: BTreeMap<WorkloadId, FollowedUnit>,
}

/// A container's mount of a volume: no process is known of it.
#[derive(Debug, Default)]
pub(super) struct Volume {
    /// What it got.
    pub(super) service: Option<ServiceId>,
    /// Somebody else says when it ends.
    pub(super) kept: bool,
}

/// A unit of systemd, of one service, until nobody is left in its control group.
#[derive(Debug)]
pub(super) struct FollowedUnit {
    pub(super) name: UnitName,
    pub(super) group: UnitGroup,
    /// What it got.
    pub(super) service: Option<ServiceId>,
    pub(super) task: AbortHandle,
    pub(super) _share: Option<Share>,
}

impl Drop for FollowedUnit {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One that is followed.
#[derive(Debug)]
pub(super) struct Followed {
    pub(super) main: Workload,
    pub(super) uid: u32,
    pub(super) service: Option<ServiceId>,
    pub(super) enclosure: watch::Sender<Option<Enclosure>>,
    /// The namespace of the enclosure, or a copy of it: their numbers and their mark are
    /// nobody else's meanwhile.
    pub(super) held: Option<File>,
    /// How it wants to be told of changes.
    pub(super) wish: Option<Told>,
    /// What it is to show.
    pub(super) live: Option<PathBuf>,
    /// Who is left of it, once the main process is gone.
    pub(super) left: Vec<Workload>,
    /// Claims of it that are not answered yet.
    pub(super) claims: usize,
    pub(super) task: Option<AbortHandle>,
    pub(super) _share: Option<Share>,
}

impl Followed {
    pub(super) fn member(&self) -> Member {
        // Numbers that aren't held may be a stranger's by now.
        let held = self.held.as_ref().and(*self.enclosure.borrow());
        let namespace = held.map(|one| one.namespace).filter(|number| *number != NO_NAMESPACE);
        let mark = held.and_then(|one| one.mark);
        Member { main: self.main, left: self.left.clone(), namespace, mark }
    }

    pub(super) fn record(&self) -> Option<Record> {
        let enclosure = *self.enclosure.borrow();
        let (service, main, wish) = (self.service?, self.main, self.wish);
        Some(Record { service, main, uid: self.uid, enclosure, wish })
    }

    /// Where it is told of changes, once it stands where it will.
    pub(super) fn aim(&self) -> Option<Aim> {
        (*self.enclosure.borrow())?;
        Some(Aim::Processes { processes: self.left.clone(), wish: self.wish })
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl List {
    pub(super) fn remove(&mut self, workload: WorkloadId) -> Option<Followed> {
        let entry = self.entries.remove(&workload)?;
        if self.processes.get(&entry.main) == Some(&workload) {
            self.processes.remove(&entry.main);
        }
        if let Some(enclosure) = *entry.enclosure.borrow() {
            self.unmark(workload, enclosure);
        }
        Some(entry)
    }

    pub(super) fn unmark(&mut self, workload: WorkloadId, enclosure: Enclosure) {
        if let Some(mark) = enclosure.mark.filter(|mark| self.marks.get(mark) == Some(&workload)) {
            self.marks.remove(&mark);
        }
    }

    /// A mark is one workload's: another one that shows it was made by a process of it.
    pub(super) fn mark(&mut self, workload: WorkloadId, enclosure: &mut Enclosure) {
        let free = |mark: &u64| *self.marks.entry(*mark).or_insert(workload) == workload;
        enclosure.mark = enclosure.mark.filter(free);
    }
}
