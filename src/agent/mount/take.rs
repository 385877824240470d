//! What takes files away: a wipe, a removal, and what time asks for.

use std::sync::atomic::Ordering;

use super::error::MountError;
use super::slot::{Keeping, Owes, Place, RETRY_MS};
use super::{Mounts, Ticked, files};
use skep_core::base::{BootTime, ServiceId};

impl Mounts {
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

    pub(super) fn wipe_in(&self, place: &mut Place) -> Result<(), MountError> {
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
    pub(super) fn unmount_if_idle(&self, place: &mut Place) {
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
            // Of a whole set nothing else is told because a former generation went.
            if let Keeping::Mounted(mounted) = &place.keeping {
                changed |= mounted.record.generations.len() != count && !slot.is_whole();
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
}
