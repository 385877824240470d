//! Files for workloads: a tmpfs per service, or the agent itself as a file system (FUSE),
//! changed as one set.
//!
//! A set goes in whole or not at all, what it takes away goes in either case, and
//! nothing of it is ever on a disk or in swap. [`Mounts`] knows files, modes,
//! generations and time; it deliberately knows nothing of leaders, sessions, keys or
//! of how a workload is watched. Every call blocks (milliseconds; more for large sets):
//! an async caller puts it on a thread of its own. Time is an argument.

mod adopt;
mod backend;
mod brute;
mod calls;
mod error;
mod files;
mod fuse;
mod holds;
mod look;
mod record;
mod removal;
mod serve;
mod service;
mod slot;
mod system;
#[cfg(test)]
mod tests;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use backend::Backend;
pub use calls::Whereabouts;
pub use error::{MountError, MountWarning};
pub use fuse::Needs;
use holds::Room;
use record::Record;
use serve::Serving;
use service::Mounted;
use slot::{Keeping, Owes, Place, Slot};

use crate::agent::machine::Workload;
use crate::agent::vault::{Held, ServiceFiles};
use skep_core::base::{BootTime, Name, SecretBytes, ServiceId, VersionId, limits};
use skep_core::domain::MountKind;

/// How mounts are made.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bytes that one service's mount may hold, all generations together.
    pub service_bytes: u64,
    /// Use ramfs even where tmpfs knows `noswap`.
    pub ramfs: bool,
    /// What it takes to serve files itself; none: FUSE is refused.
    pub fuse: Option<Needs>,
    /// Descriptors that may be used to hold files; beyond them mappings are.
    pub descriptors: usize,
}

/// Descriptors for files where nobody says how many there are: a quarter of the usual
/// limit of 1,024.
const DESCRIPTORS: usize = 256;

impl Default for Options {
    fn default() -> Self {
        Self {
            service_bytes: 3 * limits::SERVICE_BYTES,
            ramfs: false,
            fuse: None,
            descriptors: DESCRIPTORS,
        }
    }
}

/// A service whose files were already here when the agent started.
#[derive(Clone, Debug)]
pub struct Adopted {
    /// Which service.
    pub service: ServiceId,
    /// Its name.
    pub name: Name,
    /// The generation in place.
    pub generation: u64,
    /// Of the set in place; `None`: what is in place is not a whole set.
    pub digest: Option<[u8; 32]>,
    /// The processes that used it when it was last written down. Some may be gone.
    pub workloads: Vec<Workload>,
    /// Since when there has been no session, if that was written down.
    pub offline_since: Option<BootTime>,
}

/// What [`Mounts::tick`] did and when it wants to be called next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ticked {
    /// When something is due next.
    pub next: Option<BootTime>,
    /// Services whose offline time is over: wiped.
    pub expired: Vec<ServiceId>,
    /// Services that are served again: former views of them are dead.
    pub served_again: Vec<ServiceId>,
}

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
    root: PathBuf,
    options: Options,
    room: Room,
    slots: Mutex<BTreeMap<ServiceId, Arc<Slot>>>,
    warnings: Mutex<Vec<MountWarning>>,
    said_ramfs: AtomicBool,
    /// Reads dropped when that was last said.
    said_dropped: AtomicU64,
    /// The mount through which this process serves files, while some service wants it.
    serving: Mutex<Serving>,
    /// The newest boot time that was told, in milliseconds.
    now: AtomicU64,
    /// The number that the next generation of any service gets at least.
    numbers: Arc<AtomicU64>,
    /// Keeps a second agent away from the root.
    _lock: File,
}

/// How long a failed act of [`Mounts::tick`] waits for the next try, at first.
const RETRY_MS: u64 = 1_000;
/// How long it waits at most: it is doubled each time.
const RETRY_MOST_MS: u64 = 30_000;
/// How long a value is waited for that another service has and is working on.
const BORROW: Duration = Duration::from_secs(2);

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

    fn warn(&self, warning: MountWarning) {
        self.warnings.lock().push(warning);
    }

    fn tell_time(&self, now: BootTime) -> BootTime {
        BootTime(self.now.fetch_max(now.0, Ordering::SeqCst).max(now.0))
    }

    /// The place of a service, made where there is none.
    fn slot(&self, service: ServiceId) -> Arc<Slot> {
        let mut slots = self.slots.lock();
        let slot = slots.entry(service).or_insert_with(|| Arc::new(Slot::new(service, &self.room)));
        Arc::clone(slot)
    }

    fn slot_of(&self, service: ServiceId) -> Option<Arc<Slot>> {
        self.slots.lock().get(&service).cloned()
    }

    fn all(&self) -> Vec<Arc<Slot>> {
        self.slots.lock().values().cloned().collect()
    }

    /// Writes down what is to be told of a service, and forgets one of which nothing is here.
    fn publish(&self, slot: &Slot, place: &Place) {
        let _acting = self.act();
        slot.publish(place);
        if place.is_free() {
            self.slots.lock().remove(&slot.service);
        }
    }

    /// Puts `set` in place, whole or not at all; what it takes away is gone in
    /// either case. `fresh` gives the values that came with it; all others are copied
    /// from what is here (this service's generations, then other services'). A set
    /// whose digest is that of the one in place is not rewritten.
    ///
    /// # Errors
    /// See [`MountError`]; the set in place before stays, less what was removed. What could
    /// not be removed is tried again by [`Mounts::tick`], until it is gone.
    pub fn apply(
        &self,
        set: &ServiceFiles,
        fresh: &mut dyn FnMut(VersionId) -> Option<SecretBytes>,
        now: BootTime,
    ) -> Result<(), MountError> {
        self.tell_time(now);
        let slot = self.slot(set.service);
        let mut borrowed = self.borrow(set, &slot);
        let mut source = |version| {
            let lent: Option<&SecretBytes> = borrowed.get(&version);
            let lent = lent.map(|lent| SecretBytes::copy_of(lent.expose()));
            lent.or_else(|| fresh(version))
        };
        let mut place = slot.place.lock();
        let done = self.apply_in(&slot, &mut place, set, &mut source, now);
        borrowed.clear();
        place.owes = done.is_err().then(|| Owes::first(Some(set.secrets()), now));
        self.publish(&slot, &place);
        done
    }

    fn apply_in(
        &self,
        slot: &Slot,
        place: &mut Place,
        set: &ServiceFiles,
        source: &mut service::Source<'_>,
        now: BootTime,
    ) -> Result<(), MountError> {
        if matches!(place.keeping, Keeping::Strange(_)) {
            self.wipe_in(place)?;
        }
        if matches!(place.keeping, Keeping::Nothing) {
            self.mount(slot, place, set)?;
        }
        let Keeping::Mounted(mounted) = &mut place.keeping else { return Ok(()) };
        let _acting = self.act();
        let mut slots = self.all().into_iter().filter(|other| other.service != set.service);
        let namesake = slots.find(|other| other.is_shown_as(&set.name));
        if mounted.backend.kind() != set.mount {
            mounted.remove_others_than(&set.secrets()).and(Err(MountError::Kind))
        } else if let Some(other) = namesake {
            let in_use = MountError::NameInUse(other.service);
            mounted.remove_others_than(&set.secrets()).and(Err(in_use))
        } else {
            mounted.apply(set, source, now)
        }
    }

    /// The values of a set that this service hasn't and others have. No two services' locks
    /// are held at once.
    fn borrow(&self, set: &ServiceFiles, slot: &Slot) -> BTreeMap<VersionId, SecretBytes> {
        let mut lacking: BTreeMap<VersionId, u32> =
            set.files.iter().map(|file| (file.version, file.size)).collect();
        if let Keeping::Mounted(mounted) = &slot.place.lock().keeping {
            for generation in &mounted.record.generations {
                for file in &generation.files {
                    lacking.remove(&file.version);
                }
            }
        }
        let mut borrowed = BTreeMap::new();
        for other in self.all().into_iter().filter(|other| other.service != slot.service) {
            let has =
                other.shown.lock().versions.iter().any(|version| lacking.contains_key(version));
            if !has {
                continue;
            }
            let Some(place) = other.place.try_lock_for(BORROW) else { continue };
            let Keeping::Mounted(mounted) = &place.keeping else { continue };
            lacking.retain(|version, size| match mounted.value(*version) {
                Some(Ok(value)) if u32::try_from(value.len()) == Ok(*size) => {
                    borrowed.insert(*version, value);
                    false
                }
                Some(_) | None => true,
            });
        }
        borrowed
    }

    /// Memory for a service that has none.
    fn mount(&self, slot: &Slot, place: &mut Place, set: &ServiceFiles) -> Result<(), MountError> {
        let at = self.mounts_folder().join(set.service.to_string());
        if system::list(&at)?.iter().any(|listed| listed.point == at) {
            return Err(MountError::InTheWay(at));
        }
        files::folder(&at, 0o700)?;
        let limit = self.options.service_bytes;
        let backend = match set.mount {
            MountKind::Tmpfs => {
                let bytes = limit.saturating_add(service::HEADROOM);
                match system::mount_memory(&at, bytes, self.options.ramfs)? {
                    system::Kind::Ramfs => Backend::Ramfs,
                    system::Kind::Tmpfs | system::Kind::Fuse => Backend::Tmpfs,
                }
            }
            MountKind::Fuse => self.serve_at(set.service, &at)?,
        };
        if matches!(backend, Backend::Ramfs) && !self.said_ramfs.swap(true, Ordering::SeqCst) {
            self.warn(MountWarning::Ramfs);
        }
        let record = Record {
            service: set.service,
            name: set.name.clone(),
            owner: set.owner,
            offline: set.offline,
            offline_since: None,
            next: 1,
            generations: Vec::new(),
            workloads: std::mem::take(&mut place.waiting),
        };
        let mut mounted = Box::new(Mounted {
            record,
            root: self.root.clone(),
            at,
            shown: None,
            backend,
            holds: slot.holds.clone(),
            limit,
            now: BootTime(self.now.load(Ordering::SeqCst)),
            numbers: Arc::clone(&self.numbers),
        });
        let _acting = self.act();
        let made = mounted.make_folders().and_then(|()| mounted.save());
        if made.is_err() {
            place.waiting.clone_from(&mounted.record.workloads);
            self.unmount(&mut mounted)?;
        }
        made.map(|()| place.keeping = Keeping::Mounted(mounted))
    }

    /// Takes the whole mount away; it must be empty of files.
    fn unmount(&self, mounted: &mut Mounted) -> Result<(), MountError> {
        mounted.unmount()?;
        if !mounted.backend.outlives_the_agent() {
            self.serve_one_less();
        }
        Ok(())
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

    /// Empties and removes every file of `service`, in every generation; descriptors
    /// already open read end of file. The mount itself goes as soon as no workload
    /// is noted; until then it shows an empty set and a later one appears in it. Nothing
    /// held: nothing to do.
    ///
    /// # Errors
    /// When a file could not be emptied: then the wipe must not be confirmed. It is tried
    /// again by [`Mounts::tick`], until it is done.
    pub fn wipe(&self, service: ServiceId) -> Result<(), MountError> {
        let slot = self.slot(service);
        let mut place = slot.place.lock();
        let done = self.wipe_in(&mut place);
        let now = BootTime(self.now.load(Ordering::SeqCst));
        place.owes = done.is_err().then(|| Owes::first(None, now));
        self.publish(&slot, &place);
        done
    }

    fn wipe_in(&self, place: &mut Place) -> Result<(), MountError> {
        let _acting = self.act();
        match &mut place.keeping {
            Keeping::Nothing => return Ok(()),
            Keeping::Strange(strange) => {
                strange.wipe(&self.root)?;
                place.keeping = Keeping::Nothing;
                return Ok(());
            }
            Keeping::Mounted(mounted) => {
                mounted.now = mounted.now.max(BootTime(self.now.load(Ordering::SeqCst)));
                mounted.wipe()?;
                if let Err(error) = mounted.hide() {
                    let service = mounted.record.service;
                    tracing::warn!(event = "empty_directory_stays", %service, %error);
                }
            }
        }
        self.unmount_if_idle(place);
        Ok(())
    }

    /// Takes an emptied mount away that nobody uses. It holds nothing: a failure is a word
    /// in the log and is tried again with the next tick.
    fn unmount_if_idle(&self, place: &mut Place) {
        let Keeping::Mounted(mounted) = &mut place.keeping else { return };
        if !mounted.is_emptied() || !mounted.record.workloads.is_empty() {
            return;
        }
        match self.unmount(mounted) {
            Ok(()) => place.keeping = Keeping::Nothing,
            Err(error) => {
                let service = mounted.record.service;
                tracing::warn!(event = "empty_mount_stays", %service, %error);
            }
        }
    }

    /// Does what time asks for, of every service: generations move to `old/`, old ones go,
    /// services whose offline time is over are wiped, what failed is tried again.
    pub fn tick(&self, now: BootTime) -> Ticked {
        let mut ticked = Ticked { served_again: self.look_after(now), ..Ticked::default() };
        for slot in self.all() {
            if self.tick_one(slot.service, now) {
                ticked.expired.push(slot.service);
            }
        }
        ticked.next = self.next_due().map(|(_, at)| at).min();
        ticked
    }

    /// What time asks for beside the services: see [`Ticked::served_again`].
    pub fn look_after(&self, now: BootTime) -> Vec<ServiceId> {
        self.tell_time(now);
        self.tell_dropped();
        self.serve_again()
    }

    /// When which service is to be looked at by [`Mounts::tick_one`].
    pub fn next_due(&self) -> impl Iterator<Item = (ServiceId, BootTime)> {
        self.all().into_iter().filter_map(|slot| Some((slot.service, slot.shown.lock().due?)))
    }

    /// Does what time asks for of one service. Says whether its offline time is over, and
    /// all of it was wiped.
    pub fn tick_one(&self, service: ServiceId, now: BootTime) -> bool {
        let now = self.tell_time(now);
        let Some(slot) = self.slot_of(service) else { return false };
        let mut place = slot.place.lock();
        let _acting = self.act();
        let mut changed = false;
        let due = match &place.keeping {
            Keeping::Mounted(mounted) => mounted.expires().filter(|end| *end <= now),
            Keeping::Nothing | Keeping::Strange(_) => None,
        };
        let mut expired = false;
        if due.is_some() && place.owes.is_none() {
            changed = true;
            place.owes = Some(Owes::first(None, BootTime(0)));
            expired = true;
        }
        if let Some(owes) = place.owes.take_if(|owes| owes.at <= now) {
            changed = true;
            if let Err(error) = self.pay(&mut place, &owes) {
                let times = owes.times;
                tracing::warn!(event = "not_wiped", %service, %error, times);
                place.owes = Some(owes.again(now));
                expired = false;
            }
        }
        if let Keeping::Mounted(mounted) = &mut place.keeping {
            let count = mounted.record.generations.len();
            match mounted.age(now) {
                Ok(next) => place.ages = next,
                Err(error) => {
                    tracing::warn!(event = "old_generation_stays", %service, %error);
                    place.ages = Some(BootTime(now.0.saturating_add(RETRY_MS)));
                    changed = true;
                }
            }
            if let Keeping::Mounted(mounted) = &place.keeping {
                changed |= mounted.record.generations.len() != count;
            }
        }
        self.unmount_if_idle(&mut place);
        if changed || matches!(place.keeping, Keeping::Nothing) {
            self.publish(&slot, &place);
        } else {
            slot.publish_due(&place);
        }
        expired
    }

    /// Tries again what failed.
    fn pay(&self, place: &mut Place, owes: &Owes) -> Result<(), MountError> {
        let Some(kept) = &owes.kept else { return self.wipe_in(place) };
        let Keeping::Mounted(mounted) = &mut place.keeping else { return Ok(()) };
        mounted.remove_others_than(kept)?;
        mounted.empty_unknown()?;
        mounted.hold_all()
    }

    /// The service's directory on the host, its owner's and 0750, if files are in place.
    pub fn path_of(&self, service: ServiceId) -> Option<PathBuf> {
        self.slot_of(service)?.shown.lock().path.clone()
    }

    /// What to bind into a workload, if the service's files are in place: read-only, its
    /// root open to all (the files' own modes decide). The owner can reach it, too.
    pub fn live_of(&self, service: ServiceId) -> Option<PathBuf> {
        Some(self.path_of(service)?.join(service::LIVE_VIEW))
    }

    /// What is here, for a leader: of each service the versions in place.
    pub fn held(&self) -> Vec<Held> {
        self.all().into_iter().filter_map(|slot| slot.held()).collect()
    }

    /// The same of one service; `None`: nothing is here.
    pub fn held_of(&self, service: ServiceId) -> Option<Held> {
        self.slot_of(service)?.held()
    }

    /// The services of which something is here.
    pub fn services(&self) -> BTreeSet<ServiceId> {
        let held = self.all().into_iter().filter(|slot| slot.shown.lock().held);
        held.map(|slot| slot.service).collect()
    }

    /// The services that have a place here: a mount that may be empty, or workloads.
    pub fn known(&self) -> Vec<ServiceId> {
        self.slots.lock().keys().copied().collect()
    }

    /// The digest of the whole set in place.
    pub fn digest_of(&self, service: ServiceId) -> Option<[u8; 32]> {
        self.slot_of(service)?.shown.lock().digest
    }

    /// The generation in place; grows with each set, also across restarts.
    pub fn generation_of(&self, service: ServiceId) -> Option<u64> {
        self.slot_of(service)?.shown.lock().generation
    }

    /// How many files are in place.
    pub fn files_of(&self, service: ServiceId) -> usize {
        self.slot_of(service).map_or(0, |slot| slot.shown.lock().files)
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

    /// Wipes and unmounts everything of ours, workloads or not.
    ///
    /// # Errors
    /// The first thing that couldn't be removed; the rest was tried.
    pub fn remove_all(&self) -> Result<(), MountError> {
        let mut failed = None;
        for slot in self.all() {
            failed = failed.or(self.remove(slot.service).err());
        }
        failed.map_or_else(|| self.remove_folder(), Err)
    }

    /// Wipes and unmounts one service, workloads or not.
    ///
    /// # Errors
    /// When a file could not be emptied, or the mount stays.
    pub fn remove(&self, service: ServiceId) -> Result<(), MountError> {
        if let Some(slot) = self.slot_of(service)
            && let Keeping::Mounted(mounted) = &mut slot.place.lock().keeping
        {
            mounted.record.workloads.clear();
        }
        self.wipe(service)?;
        let Some(slot) = self.slot_of(service) else { return Ok(()) };
        let mut place = slot.place.lock();
        let _acting = self.act();
        if let Keeping::Mounted(mounted) = &mut place.keeping {
            self.unmount(mounted)?;
            place.keeping = Keeping::Nothing;
        }
        place.waiting.clear();
        self.publish(&slot, &place);
        Ok(())
    }

    /// Takes the folder of the mounts away, where nothing is left in it.
    ///
    /// # Errors
    /// Something is.
    pub fn remove_folder(&self) -> Result<(), MountError> {
        files::remove_folder(&self.mounts_folder())
    }

    fn mounts_folder(&self) -> PathBuf {
        self.root.join(adopt::MOUNTS)
    }
}
