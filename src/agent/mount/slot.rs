//! One service's place among the mounts: what is kept there, what is still to be taken
//! away, and what is told of it meanwhile.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

use super::error::MountError;
use super::holds::{Holds, Room};
use super::kept::Kept;
use super::look::Found;
use super::service::Mounted;
use super::{brute, files, system};
use crate::agent::machine::Workload;
use crate::agent::vault::Held;
use crate::agent::vault::layout::LIVE_VIEW;
use skep_core::base::{BootTime, Name, ServiceId, limits};

/// How long a failed act of [`Mounts::tick`] waits for the next try, at first.
pub(super) const RETRY_MS: u64 = 1_000;
/// How long it waits at most: it is doubled each time.
const RETRY_MOST_MS: u64 = 30_000;
/// Mounts on one point that are taken away at most: nobody of ours makes two.
const STACKED: usize = 16;

/// A service's place.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) service: ServiceId,
    /// Locked by whoever works on the files.
    pub(super) place: Mutex<Place>,
    /// Locked for moments: what was found when they were last worked on.
    pub(super) shown: Mutex<Shown>,
    /// Those of whatever is mounted here.
    pub(super) holds: Holds,
}

/// What is here.
#[derive(Debug, Default)]
pub(super) struct Place {
    pub(super) keeping: Keeping,
    /// Who will use what is not mounted yet.
    pub(super) waiting: Vec<Workload>,
    /// What could not be taken away.
    pub(super) owes: Option<Owes>,
    /// When a generation is due to move or go.
    pub(super) ages: Option<BootTime>,
}

/// How a service's files are kept.
#[derive(Debug, Default)]
pub(super) enum Keeping {
    /// They aren't.
    #[default]
    Nothing,
    /// In a mount that is known.
    Mounted(Box<Mounted>),
    /// In a mount that could not be taken over.
    Strange(Strange),
}

/// A mount of ours about which nothing is known but that it may hold files.
#[derive(Clone, Debug)]
pub(super) struct Strange {
    /// Where it is.
    pub(super) at: PathBuf,
    /// Which file systems lie there, one over the other.
    pub(super) devices: BTreeSet<u64>,
}

/// What is still to be taken away, and when that is tried again.
#[derive(Clone, Debug)]
pub(super) struct Owes {
    /// These files may stay; `None`: nothing may.
    pub(super) kept: Option<Kept>,
    /// Not before.
    pub(super) at: BootTime,
    /// How often it was tried.
    pub(super) times: u32,
}

/// What is told of a service.
#[derive(Clone, Debug, Default)]
pub(super) struct Shown {
    /// What of it is, or may be, here; `None`: nothing.
    pub(super) held: Option<Held>,
    pub(super) name: Option<Name>,
    pub(super) due: Option<BootTime>,
}

impl Owes {
    pub(super) fn first(kept: Option<Kept>, now: BootTime) -> Self {
        let at = if now.0 == 0 { now } else { BootTime(now.0.saturating_add(RETRY_MS)) };
        Self { kept, at, times: 1 }
    }

    /// It failed once more.
    pub(super) fn again(self, now: BootTime) -> Self {
        let wait = RETRY_MS.saturating_mul(1 << self.times.min(10)).min(RETRY_MOST_MS);
        let at = BootTime(now.0.saturating_add(wait));
        Self { at, times: self.times.saturating_add(1), ..self }
    }
}

impl Place {
    /// What was put in place `now` may have replaced a generation, which is to go out of sight.
    pub(super) fn replaced_at(&mut self, now: BootTime) {
        if let Keeping::Mounted(mounted) = &self.keeping
            && mounted.record.generations.len() > 1
        {
            let moves = BootTime(now.0.saturating_add(limits::FLIP_GRACE_MS));
            self.ages = Some(self.ages.map_or(moves, |ages| ages.min(moves)));
        }
    }

    /// Nothing is here and nothing is awaited.
    pub(super) fn is_free(&self) -> bool {
        matches!(self.keeping, Keeping::Nothing) && self.waiting.is_empty() && self.owes.is_none()
    }
}

impl Slot {
    pub(super) fn new(service: ServiceId, room: &Room) -> Self {
        Self { service, place: Mutex::default(), shown: Mutex::default(), holds: Holds::new(room) }
    }

    /// Whether the set in place is told as whole, with nothing beside it.
    pub(super) fn is_whole(&self) -> bool {
        self.shown.lock().held.as_ref().is_some_and(|held| held.digest.is_some())
    }

    /// Whether another service's directory on the host has this name.
    pub(super) fn is_shown_as(&self, name: &Name) -> bool {
        let shown = self.shown.lock();
        shown.held.is_some() && shown.name.as_ref().is_some_and(|own| own.key() == name.key())
    }

    /// What is here.
    pub(super) fn held(&self) -> Option<Held> {
        self.shown.lock().held.clone()
    }

    /// Until it is published again, what is here is not known.
    pub(super) fn begin(&self) {
        self.shown.lock().held.get_or_insert_default().digest = None;
    }

    /// Looks at what is here, unless it was `seen` just now, whole and held, and writes down
    /// what is told of it.
    pub(super) fn publish(&self, place: &Place, seen: Option<Found>) {
        let mut shown = match &place.keeping {
            Keeping::Nothing => Shown::default(),
            Keeping::Strange(_) => Shown { held: Some(Held::default()), ..Shown::default() },
            Keeping::Mounted(mounted) => of_mounted(mounted, seen),
        };
        shown.due = due(place);
        *self.shown.lock() = shown;
    }

    /// Writes down when there is something to do next.
    pub(super) fn publish_due(&self, place: &Place) {
        self.shown.lock().due = due(place);
    }
}

fn due(place: &Place) -> Option<BootTime> {
    let expires = match &place.keeping {
        Keeping::Mounted(mounted) => mounted.expires(),
        Keeping::Nothing | Keeping::Strange(_) => None,
    };
    let owes = place.owes.as_ref().map(|owes| owes.at);
    // What is past its time and couldn't be wiped is tried again when that is due.
    let expires = if owes.is_some() { None } else { expires };
    [expires, owes, place.ages].into_iter().flatten().min()
}

fn of_mounted(mounted: &Mounted, seen: Option<Found>) -> Shown {
    let current = mounted.record.current();
    let is_held = seen.is_some() || mounted.hold_all().is_ok();
    let (known, found) = match seen.map_or_else(|| mounted.look(), Ok) {
        Ok(found) => (true, found),
        Err(error) => {
            let service = mounted.record.service;
            tracing::warn!(event = "mount_not_seen", %service, %error);
            (false, Found::default())
        }
    };
    let path = current.and(mounted.shown.clone());
    let is_here = !known || !found.empty || !mounted.is_emptied();
    let held = is_here.then(|| Held {
        digest: found.digest.filter(|_| is_held),
        versions: found.versions,
        generation: current.map(|current| current.number).unwrap_or_default(),
        files: u32::try_from(current.map_or(0, |current| current.files.len())).unwrap_or(u32::MAX),
        fresh: mounted.record.fresh,
        live: path.as_ref().map(|path| path.join(LIVE_VIEW)),
        path,
    });
    Shown { held, name: Some(mounted.record.name.clone()), due: None }
}

impl Strange {
    /// Empties whatever lies there by brute force, and takes it out of sight.
    ///
    /// # Errors
    /// When something may be left; it can be tried again.
    pub(super) fn wipe(&self, root: &Path) -> Result<(), MountError> {
        // A folder in which something is mounted can't be removed.
        self.hide(root)?;
        for _ in 0..STACKED {
            let listing = system::list(&self.at)?;
            let Some(top) = listing.iter().rfind(|listed| listed.point == self.at) else {
                return files::remove_folder(&self.at);
            };
            // Somebody else's hides ours, and is only taken out of sight.
            if top.ours.is_some() {
                brute::empty_mount(&self.at, true)?;
                if let Some(left) = files::entries(&self.at)?.into_iter().next() {
                    return Err(MountError::LeftOver(self.at.join(left)));
                }
            }
            system::detach(&self.at)?;
        }
        Err(MountError::InTheWay(self.at.clone()))
    }

    /// Takes away the views of what is there.
    fn hide(&self, root: &Path) -> Result<(), MountError> {
        for view in system::list(root)?.iter().rev() {
            let is_view = self.devices.contains(&view.device) && view.point != self.at;
            if is_view && view.ours.is_some() && view.point.starts_with(root) {
                system::detach(&view.point)?;
                if system::name_below(root, &view.point).is_some() {
                    files::remove_folder(&view.point)?;
                }
            }
        }
        Ok(())
    }
}
