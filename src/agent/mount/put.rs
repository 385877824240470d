//! A set goes in: memory for a service that has none, values that others have.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::backend::Backend;
use super::error::{MountError, MountWarning};
use super::kept::Kept;
use super::look::Found;
use super::record::Record;
use super::service::{self, Mounted};
use super::slot::{Keeping, Owes, Place, Slot};
use super::{Applied, Mounts, files, system};
use crate::agent::vault::ServiceFiles;
use skep_core::base::{BootTime, SecretBytes, VersionId};
use skep_core::domain::MountKind;

/// How long a value is waited for that another service has and is working on.
pub(super) const BORROW: Duration = Duration::from_secs(2);

impl Mounts {
    /// Puts `set` in place; what it takes away is gone in any case. A file that can't be made
    /// doesn't keep the others; nothing changes for want of room, or where no file can be made. `fresh` gives the values that came with it; all others are copied
    /// from what is here (this service's generations, then other services'). A set
    /// whose digest is that of the one in place, or that shows what that one shows, is not
    /// rewritten.
    ///
    /// # Errors
    /// See [`MountError`]; the set in place before stays, less what was removed. What could
    /// not be removed is tried again by [`Mounts::tick`], until it is gone.
    pub fn apply(
        &self,
        set: &ServiceFiles,
        fresh: &mut dyn FnMut(VersionId) -> Option<SecretBytes>,
        now: BootTime,
    ) -> Result<Applied, MountError> {
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
        place.owes = done.is_err().then(|| Owes::first(Some(Kept::of_set(set)), now));
        place.replaced_at(now);
        let (applied, seen) = match done {
            Ok((applied, seen)) => (Ok(applied), seen),
            Err(error) => (Err(error), None),
        };
        self.publish_seen(&slot, &place, seen);
        applied
    }

    fn apply_in(
        &self,
        slot: &Slot,
        place: &mut Place,
        set: &ServiceFiles,
        source: &mut service::Source<'_>,
        now: BootTime,
    ) -> Result<(Applied, Option<Found>), MountError> {
        if matches!(place.keeping, Keeping::Strange(_)) {
            self.wipe_in(place)?;
        }
        if matches!(place.keeping, Keeping::Nothing) {
            self.mount(slot, place, set)?;
        }
        let Keeping::Mounted(mounted) = &mut place.keeping else {
            return Ok((Applied::InPlace, None));
        };
        let _acting = self.act();
        let mut slots = self.all().into_iter().filter(|other| other.service != set.service);
        let namesake = slots.find(|other| other.is_shown_as(&set.name));
        if mounted.backend.kind() != set.mount {
            mounted.remove_others_than(&Kept::of_set(set))?;
            Err(MountError::Kind)
        } else if let Some(other) = namesake {
            mounted.remove_others_than(&Kept::of_set(set))?;
            Err(MountError::NameInUse(other.service))
        } else {
            let (applied, seen) = mounted.apply(set, source, now)?;
            Ok((applied, Some(seen)))
        }
    }

    /// The versions that are here of a set's service, where nothing else is: no file of another
    /// secret in whatever generation, and none in place under a name that the set doesn't give
    /// it. `None`: something else is, or that can't be seen.
    pub fn nothing_but(&self, set: &ServiceFiles) -> Option<BTreeSet<VersionId>> {
        let Some(slot) = self.slot_of(set.service) else { return Some(BTreeSet::new()) };
        let place = slot.place.lock();
        let _acting = self.act();
        match &place.keeping {
            Keeping::Nothing => Some(BTreeSet::new()),
            Keeping::Strange(_) => None,
            Keeping::Mounted(mounted) => {
                let found = mounted.look().ok()?;
                let others = mounted.has_others_than(&Kept::of_set(set));
                let only = found.surplus.is_none() && !others;
                only.then_some(found.versions)
            }
        }
    }

    /// The values of a set that this service hasn't and others have. No two services' locks
    /// are held at once.
    fn borrow(&self, set: &ServiceFiles, slot: &Slot) -> BTreeMap<VersionId, SecretBytes> {
        let mut lacking: BTreeMap<VersionId, u32> =
            set.files.iter().map(|file| (file.version, file.size)).collect();
        if let Keeping::Mounted(mounted) = &slot.place.lock().keeping {
            // Mostly the newest one has them all.
            for generation in mounted.record.generations.iter().rev() {
                if lacking.is_empty() {
                    break;
                }
                for file in &generation.files {
                    lacking.remove(&file.version);
                }
            }
        }
        let mut borrowed = BTreeMap::new();
        if lacking.is_empty() {
            return borrowed;
        }
        for other in self.all().into_iter().filter(|other| other.service != slot.service) {
            let has = other.held().is_some_and(|held| {
                held.versions.iter().any(|version| lacking.contains_key(version))
            });
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
                    system::FileSystem::Ramfs => Backend::Ramfs,
                    system::FileSystem::Tmpfs | system::FileSystem::Fuse => Backend::Tmpfs,
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
            fresh: set.fresh,
            on_change: set.on_change.clone(),
            changed: None,
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
    pub(super) fn unmount(&self, mounted: &mut Mounted) -> Result<(), MountError> {
        mounted.unmount()?;
        if !mounted.backend.outlives_the_agent() {
            self.serve_one_less();
        }
        Ok(())
    }
}
