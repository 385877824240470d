//! Which volumes there are and which of them are mounted: told by the engine, written down
//! with each change, so that an agent that was killed knows its containers again.
//!
//! The engine counts: a mount may be asked for more than once under one id (`docker cp` does)
//! and is over when it was unmounted as often.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::plugin::ShownVolume;
use super::words;
use crate::agent::run::{Book, BookError, MountedVolume, Workloads};
use crate::agent::session::WorkloadId;
use crate::agent::workload::{Mounting, VOLUMES, VolumeList, VolumeMount};
use skep_core::base::{Disk, Name, ServiceId, Stamp};

/// The volumes of this node. Clones see the same.
#[derive(Clone, Debug)]
pub struct VolumeShelf(Arc<Shelved>);

#[derive(Debug)]
struct Shelved {
    book: Book,
    boot_id: String,
    state: Mutex<ShelfState>,
    /// The change that was written last; whoever has it writes.
    written: Mutex<u64>,
}

#[derive(Debug, Default)]
struct ShelfState {
    list: VolumeList,
    live: BTreeMap<VolumeMount, LiveMount>,
    changes: u64,
}

/// What is known of a mount as long as this agent runs.
#[derive(Debug)]
struct LiveMount {
    workload: WorkloadId,
    /// `None`: it was mounted before this agent started.
    at: Option<PathBuf>,
    /// When it was mounted last, or found.
    since: Instant,
}

/// A change that is to be written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) struct ShelfChange(u64);

impl VolumeShelf {
    /// What was written down.
    ///
    /// # Errors
    /// [`BookError`]: damaged is never taken for absent.
    pub fn open(disk: Arc<dyn Disk>, folder: &Path, boot_id: String) -> Result<Self, BookError> {
        let book = Book::new(disk, folder);
        let list = book.load_volumes(&boot_id)?;
        let state = Mutex::new(ShelfState { list, ..ShelfState::default() });
        Ok(Self(Arc::new(Shelved { book, boot_id, state, written: Mutex::new(0) })))
    }

    /// What containers had mounted when an earlier agent ended counts again. To be called
    /// once, before anybody mounts.
    #[must_use]
    pub fn adopt(&self, workloads: &Workloads) -> Vec<(WorkloadId, ServiceId)> {
        let mut state = self.0.state.lock();
        let ShelfState { list, live, .. } = &mut *state;
        let adopt = |(mount, mounting): (&VolumeMount, &Mounting)| {
            let workload = workloads.adopt_volume(mounting.service);
            let mounted = LiveMount { workload, at: None, since: Instant::now() };
            live.insert(mount.clone(), mounted);
            (workload, mounting.service)
        };
        list.mounts.iter().map(adopt).collect()
    }

    /// A volume is made, unless it is there.
    pub(super) fn create(&self, volume: &Name, now: Stamp) -> Result<Option<ShelfChange>, String> {
        let mut state = self.0.state.lock();
        if state.list.volumes.contains_key(volume) {
            return Ok(None);
        }
        if state.list.volumes.len() >= VOLUMES {
            return Err(words::too_many());
        }
        state.list.volumes.insert(volume.clone(), now);
        Ok(Some(state.changed()))
    }

    /// A volume is no more.
    pub(super) fn remove(&self, volume: &Name) -> Result<ShelfChange, String> {
        let mut state = self.0.state.lock();
        if state.list.mounts.keys().any(|mount| mount.volume == *volume) {
            return Err(words::mounted(volume));
        }
        match state.list.volumes.remove(volume) {
            Some(_) => Ok(state.changed()),
            None => Err(words::no_volume(volume)),
        }
    }

    /// The volume of this name; all of them where there is none.
    pub(super) fn shown(&self, volume: Option<&Name>) -> Vec<ShownVolume> {
        let state = self.0.state.lock();
        let wanted = |name: &&Name| volume.is_none_or(|volume| volume == *name);
        let names = state.list.volumes.iter().filter(|(name, _)| wanted(name));
        let show = |(name, created): (&Name, &Stamp)| {
            let mounts = || state.list.mounts.keys().filter(|mount| mount.volume == *name);
            let mut at = mounts().filter_map(|mount| state.live.get(mount)?.at.as_ref());
            let at = at.next().map(|at| at.display().to_string()).unwrap_or_default();
            ShownVolume { name: name.clone(), created: *created, at, mounts: mounts().count() }
        };
        names.map(show).collect()
    }

    /// Whether one more may be mounted.
    pub(super) fn has_room(&self) -> bool {
        self.0.state.lock().list.mounts.len() < VOLUMES
    }

    /// A volume may be mounted, made by that if it is not there. Says as what it counts no
    /// more: it is the same mount as before.
    pub(super) fn mounted(
        &self,
        mount: &VolumeMount,
        MountedVolume { workload, ready }: MountedVolume,
        now: Stamp,
    ) -> (ShelfChange, Option<WorkloadId>) {
        let mut state = self.0.state.lock();
        state.list.volumes.entry(mount.volume.clone()).or_insert(now);
        let service = ready.service;
        let mounting = state.list.mounts.entry(mount.clone());
        // Another service may have this name by now: then that one is mounted.
        let mounting = mounting.or_insert(Mounting { service, times: 0 });
        mounting.service = service;
        mounting.times = mounting.times.saturating_add(1);
        let live = LiveMount { workload, at: Some(ready.path), since: Instant::now() };
        let before = state.live.insert(mount.clone(), live).map(|before| before.workload);
        (state.changed(), before)
    }

    /// A mount is over, once for each time that it was made. Says what counts no more.
    pub(super) fn unmounted(&self, mount: &VolumeMount) -> (ShelfChange, Option<WorkloadId>) {
        let mut state = self.0.state.lock();
        if let Some(mounting) = state.list.mounts.get_mut(mount) {
            mounting.times = mounting.times.saturating_sub(1);
            if mounting.times == 0 {
                state.list.mounts.remove(mount);
            }
        }
        let over = !state.list.mounts.contains_key(mount);
        let gone = if over { state.live.remove(mount).map(|live| live.workload) } else { None };
        (state.changed(), gone)
    }

    /// The volumes that show this service in some container: their names differ in case.
    pub(super) fn volumes_of(&self, service: ServiceId) -> BTreeSet<Name> {
        let state = self.0.state.lock();
        let mounts = state.list.mounts.iter().filter(|(_, one)| one.service == service);
        mounts.map(|(mount, _)| mount.volume.clone()).collect()
    }

    /// The mounts that are at least so old.
    pub(super) fn older_than(&self, age: Duration) -> Vec<VolumeMount> {
        let state = self.0.state.lock();
        let old = |live: &LiveMount| live.since.elapsed() >= age;
        state.live.iter().filter(|(_, live)| old(live)).map(|(mount, _)| mount.clone()).collect()
    }

    /// A mount is over, however often it was made: no container has it.
    pub(super) fn dropped(&self, mount: &VolumeMount) -> (ShelfChange, Option<WorkloadId>) {
        let mut state = self.0.state.lock();
        state.list.mounts.remove(mount);
        let gone = state.live.remove(mount).map(|live| live.workload);
        (state.changed(), gone)
    }

    /// Writes down what is known, unless somebody has since. What goes wrong is logged: what
    /// is mounted counts all the same.
    pub(super) async fn write(&self, ShelfChange(change): ShelfChange) {
        let shelved = Arc::clone(&self.0);
        let written = tokio::task::spawn_blocking(move || {
            let mut last = shelved.written.lock();
            if *last < change {
                let (list, changes) = {
                    let state = shelved.state.lock();
                    (state.list.clone(), state.changes)
                };
                shelved.book.save_volumes(&list, &shelved.boot_id);
                *last = changes;
            }
        });
        if let Err(error) = written.await {
            tracing::error!(event = "state_not_written", %error);
        }
    }
}

impl ShelfState {
    fn changed(&mut self) -> ShelfChange {
        self.changes = self.changes.saturating_add(1);
        ShelfChange(self.changes)
    }
}
