//! All services' mounts below one root: what is told of them, and what is noted.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use super::error::{MountError, MountWarning};
use super::holds::Room;
use super::look::Found;
use super::serve::Serving;
use super::slot::{Keeping, Place, Slot};
use super::{Adopted, Options, adopt};
use crate::agent::machine::Workload;
use crate::agent::vault::{Held, Shelf, layout};
use skep_core::base::{BootTime, ServiceId};

/// All services' mounts below one root. Dropping it unmounts nothing, but what it served
/// itself is answered no more.
///
/// Each service's files have a lock of their own, so that a call that hangs for one of them
/// keeps nobody else waiting; a caller has one thread for each service at a time. What is
/// told of a service ([`Mounts::held`] and the like) is what was found when it was last
/// worked on, and never waits.
#[derive(Debug)]
pub struct Mounts {
    /// As the kernel's list writes it.
    pub(super) root: PathBuf,
    pub(super) options: Options,
    pub(super) room: Room,
    pub(super) slots: Mutex<BTreeMap<ServiceId, Arc<Slot>>>,
    pub(super) warnings: Mutex<Vec<MountWarning>>,
    pub(super) said_ramfs: AtomicBool,
    /// Reads dropped when that was last said.
    pub(super) said_dropped: AtomicU64,
    /// The mount through which this process serves files, while some service wants it.
    pub(super) serving: Mutex<Serving>,
    /// The newest boot time that was told, in milliseconds.
    pub(super) now: AtomicU64,
    /// The number that the next generation of any service gets at least.
    pub(super) numbers: Arc<AtomicU64>,
    /// Keeps a second agent away from the root.
    _lock: File,
}

impl Mounts {
    /// Takes over what a former agent left below `root` and makes the folder.
    ///
    /// # Errors
    /// When the root can't be made or the machine's mounts can't be read.
    pub fn open(
        root: &Path,
        options: Options,
        now: BootTime,
    ) -> Result<(Self, Vec<Adopted>), MountError> {
        let (root, lock) = adopt::take_root(root)?;
        let mounts = Self {
            root,
            room: Room::new(options.descriptors),
            options,
            slots: Mutex::default(),
            warnings: Mutex::default(),
            said_ramfs: AtomicBool::new(false),
            said_dropped: AtomicU64::new(0),
            serving: Mutex::default(),
            now: AtomicU64::new(now.0),
            numbers: Arc::default(),
            _lock: lock,
        };
        let adopted = mounts.adopt(now)?;
        Ok((mounts, adopted))
    }

    /// What is worth a word since the last call; each is said once.
    pub fn take_warnings(&self) -> Vec<MountWarning> {
        std::mem::take(&mut self.warnings.lock())
    }

    pub(super) fn warn(&self, warning: MountWarning) {
        self.warnings.lock().push(warning);
    }

    pub(super) fn tell_time(&self, now: BootTime) -> BootTime {
        BootTime(self.now.fetch_max(now.0, Ordering::SeqCst).max(now.0))
    }

    /// The place of a service, made where there is none.
    pub(super) fn slot(&self, service: ServiceId) -> Arc<Slot> {
        let mut slots = self.slots.lock();
        let slot = slots.entry(service).or_insert_with(|| Arc::new(Slot::new(service, &self.room)));
        Arc::clone(slot)
    }

    pub(super) fn slot_of(&self, service: ServiceId) -> Option<Arc<Slot>> {
        self.slots.lock().get(&service).cloned()
    }

    pub(super) fn all(&self) -> Vec<Arc<Slot>> {
        self.slots.lock().values().cloned().collect()
    }

    /// Writes down what is to be told of a service, and forgets one of which nothing is here.
    pub(super) fn publish(&self, slot: &Slot, place: &Place) {
        self.publish_seen(slot, place, None);
    }

    /// The same where it was just seen, whole and held, what lies there.
    pub(super) fn publish_seen(&self, slot: &Slot, place: &Place, seen: Option<Found>) {
        let _acting = self.act();
        slot.publish(place, seen);
        if place.is_free() {
            self.slots.lock().remove(&slot.service);
        }
    }

    /// Says that a service is about to be worked on: until that is done, what it has is
    /// told as not known.
    pub fn begin(&self, service: ServiceId) {
        self.slot(service).begin();
    }

    /// Cuts a service's files to nothing without waiting for whoever is working on them. Not
    /// more than a help: [`Mounts::wipe`] has to follow.
    pub fn empty_now(&self, service: ServiceId) {
        if let Some(slot) = self.slot_of(service) {
            slot.holds.empty_all(&self.mounts_folder().join(service.to_string()), true);
        }
    }

    /// What is here.
    pub fn held(&self) -> Shelf {
        let held = self.all().into_iter();
        held.filter_map(|slot| Some((slot.service, slot.held()?))).collect()
    }

    /// The same of one service; `None`: nothing is here.
    pub fn held_of(&self, service: ServiceId) -> Option<Held> {
        self.slot_of(service)?.held()
    }

    /// What to bind into a workload: see [`Held::live`].
    pub fn live_of(&self, service: ServiceId) -> Option<PathBuf> {
        self.held_of(service)?.live
    }

    /// The services that have a place here: a mount that may be empty, or workloads.
    pub fn known(&self) -> Vec<ServiceId> {
        self.slots.lock().keys().copied().collect()
    }

    /// Notes who uses a service's files, so that an agent that starts knows them. May come
    /// before the files. With none left, an emptied mount is taken away.
    ///
    /// # Errors
    /// When it can't be written down; it is remembered nevertheless.
    pub fn set_workloads(
        &self,
        service: ServiceId,
        workloads: Vec<Workload>,
    ) -> Result<(), MountError> {
        let slot = self.slot(service);
        let mut place = slot.place.lock();
        let mut saved = Ok(());
        match &mut place.keeping {
            Keeping::Mounted(mounted) => {
                if mounted.record.workloads == workloads {
                    return Ok(());
                }
                mounted.record.workloads = workloads;
                saved = mounted.save();
                let _acting = self.act();
                self.unmount_if_idle(&mut place);
            }
            Keeping::Nothing | Keeping::Strange(_) => place.waiting = workloads,
        }
        if matches!(place.keeping, Keeping::Nothing) {
            self.publish(&slot, &place);
        }
        saved
    }

    /// Notes since when there is no session (`None`: there is one). An earlier time that is
    /// already noted for a service stays.
    ///
    /// # Errors
    /// The first that couldn't be written down; it is remembered nevertheless.
    pub fn set_offline(&self, since: Option<BootTime>) -> Result<(), MountError> {
        let each = self.all().into_iter().map(|slot| self.set_offline_of(slot.service, since));
        each.filter_map(Result::err).collect::<Vec<_>>().into_iter().next().map_or(Ok(()), Err)
    }

    /// The same for one service.
    ///
    /// # Errors
    /// It couldn't be written down; it is remembered nevertheless.
    pub fn set_offline_of(
        &self,
        service: ServiceId,
        since: Option<BootTime>,
    ) -> Result<(), MountError> {
        let Some(slot) = self.slot_of(service) else { return Ok(()) };
        let mut place = slot.place.lock();
        let Keeping::Mounted(mounted) = &mut place.keeping else { return Ok(()) };
        let noted = mounted.record.offline_since;
        let next = since.map(|since| noted.map_or(since, |noted| noted.min(since)));
        if next == noted {
            return Ok(());
        }
        mounted.record.offline_since = next;
        let saved = mounted.save();
        slot.publish_due(&place);
        saved
    }

    /// Where the services' own mounts are.
    pub(super) fn mounts_folder(&self) -> PathBuf {
        self.root.join(layout::MOUNTS)
    }
}
