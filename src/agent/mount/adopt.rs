//! How an agent that starts takes over what a former one left mounted.
//!
//! A new mount at the old place would be another file system: containers and
//! private namespaces would go on showing the former one and never see a change
//! again. So what is there is taken over, after `..data` and the files themselves
//! were asked whether the manifest is right.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FlockOperation, flock};

use super::backend::Backend;
use super::calls::{run, run_io};
use super::error::{MountError, MountWarning};
use super::kept::Kept;
use super::record::Record;
use super::service::{HEADROOM, Mounted};
use super::slot::{Keeping, Owes, Place, Slot, Strange};
use super::system::{self, FileSystem, Listed};
use super::{Adopted, Mounts, brute, files};
use crate::agent::vault::layout::{DATA, LIVE_VIEW, MANIFEST, MOUNTS, SERVED};
use skep_core::base::{BootTime, ServiceId};
use skep_core::domain::{OfflinePolicy, OnChange, Owner};

/// Write permission for anybody but the owner.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// Makes the root, checks it and keeps other agents out of it.
pub(super) fn take_root(root: &Path) -> Result<(PathBuf, File), MountError> {
    run("make the folder", root, || DirBuilder::new().recursive(true).mode(0o755).create(root))?;
    let root = run("look at", root, || fs::canonicalize(root))?;
    let found = run("look at", &root, || fs::metadata(&root))?;
    if found.uid() != 0 || found.mode() & WRITABLE_BY_OTHERS != 0 {
        return Err(MountError::Root(root));
    }
    let mounts = root.join(MOUNTS);
    files::folder(&mounts, 0o700)?;
    let lock = run("open", &mounts, || File::open(&mounts))?;
    let locked = run_io("lock", &mounts, || flock(&lock, FlockOperation::NonBlockingLockExclusive));
    match locked {
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
            Err(MountError::InUse(root))
        }
        Err(source) => Err(MountError::Io { what: "lock", path: mounts, source }),
        Ok(()) => Ok((root, lock)),
    }
}

impl Mounts {
    /// Takes over every mount that is ours. One that can't be taken over counts as held by
    /// its service, with nothing known of it, and is named in a warning.
    pub(super) fn adopt(&self, now: BootTime) -> Result<Vec<Adopted>, MountError> {
        let folder = self.mounts_folder();
        // Before anything is changed.
        of_this_format(&folder, &system::list(&self.root)?)?;
        take_dead_away(&self.root)?;
        let listing = system::list(&self.root)?;
        let mut adopted = Vec::new();
        // Of mounts on one point the last covers the others.
        let mut points: BTreeMap<&str, Vec<&Listed>> = BTreeMap::new();
        for listed in &listing {
            if let Some(name) = system::name_below(&folder, &listed.point) {
                points.entry(name).or_default().push(listed);
            }
        }
        for (name, stack) in points {
            let Some(top) = stack.last() else { continue };
            let has_ours = stack.iter().any(|listed| listed.ours.is_some());
            let (true, Ok(service)) = (has_ours, name.parse::<ServiceId>()) else {
                self.warn(MountWarning::Stranger(top.point.clone()));
                continue;
            };
            let slot = self.slot(service);
            let mut place = Place::default();
            match self.take_over(&slot, &mut place, &stack, &listing, now) {
                Ok(found) => adopted.extend(found),
                Err(error) => {
                    self.warn(MountWarning::NotAdopted {
                        path: top.point.clone(),
                        why: error.to_string(),
                    });
                    slot.holds.clear();
                    let devices = stack.iter().map(|listed| listed.device).collect();
                    let strange = Strange { at: top.point.clone(), devices };
                    place.keeping = Keeping::Strange(strange);
                }
            }
            self.unmount_if_idle(&mut place);
            self.publish(&slot, &place);
            *slot.place.lock() = place;
        }
        self.wipe_orphans()?;
        sweep(&folder, &listing)?;
        Ok(adopted)
    }

    fn take_over(
        &self,
        slot: &Slot,
        place: &mut Place,
        stack: &[&Listed],
        listing: &[Listed],
        now: BootTime,
    ) -> Result<Option<Adopted>, MountError> {
        let [listed] = stack else {
            let at = stack.first().map(|listed| listed.point.clone()).unwrap_or_default();
            return Err(MountError::InTheWay(at));
        };
        let (service, at) = (slot.service, listed.point.clone());
        let backend = match listed.ours {
            Some(FileSystem::Tmpfs) => Backend::Tmpfs,
            Some(FileSystem::Ramfs) => Backend::Ramfs,
            Some(FileSystem::Fuse) | None => return Err(MountError::InTheWay(at)),
        };
        let record = read_record(&at)?.filter(|record| record.service == service);
        let sound = record.is_some();
        let mut mounted = Box::new(Mounted {
            record: record.map_or_else(|| blank(service), Ok)?,
            root: self.root.clone(),
            at,
            shown: None,
            backend,
            holds: slot.holds.clone(),
            limit: self.options.service_bytes,
            now,
            numbers: Arc::clone(&self.numbers),
        });
        mounted.make_folders()?;
        if !sound || !mounted.settle(now)? {
            self.warn(MountWarning::Damaged(service));
        }
        let views = listing.iter().filter(|other| other.device == listed.device);
        let views: Vec<&Path> = views.map(|view| view.point.as_path()).collect();
        if mounted.is_emptied() {
            mounted.wipe()?;
        } else {
            mounted.empty_unknown()?;
            mounted.finish_names()?;
            mounted.save()?;
        }
        mounted.show_again(&views)?;
        if let Err(error) = mounted.hold_all() {
            // Its files stay; until they are held, what is here is not told.
            tracing::warn!(event = "not_held_yet", %service, %error);
            place.owes = Some(Owes::first(Some(Kept::in_place(&mounted.record)), now));
        }
        let found = mounted.record.current().map(|current| Adopted {
            service,
            name: mounted.record.name.clone(),
            generation: current.number,
            digest: current.digest,
            workloads: mounted.record.workloads.clone(),
            offline_since: mounted.record.offline_since,
        });
        place.keeping = Keeping::Mounted(mounted);
        Ok(found)
    }

    /// Empties what is shown below the root though its own mount is gone: nobody knows any
    /// more whose it is.
    fn wipe_orphans(&self) -> Result<(), MountError> {
        let folder = self.mounts_folder();
        let listing = system::list(&self.root)?;
        let mut orphans: BTreeMap<u64, Vec<PathBuf>> = BTreeMap::new();
        for view in listing.iter().filter(|listed| listed.point.starts_with(&self.root)) {
            let has_its_own = listing.iter().any(|own| {
                let name = system::name_below(&folder, &own.point);
                own.device == view.device
                    && name.is_some_and(|name| name.parse::<ServiceId>().is_ok())
            });
            if matches!(view.ours, Some(FileSystem::Tmpfs | FileSystem::Ramfs)) && !has_its_own {
                orphans.entry(view.device).or_default().push(view.point.clone());
            }
        }
        for views in orphans.into_values() {
            if let Err(error) = self.wipe_orphan(&views) {
                tracing::error!(event = "orphan_stays", %error);
            }
        }
        Ok(())
    }

    fn wipe_orphan(&self, views: &[PathBuf]) -> Result<(), MountError> {
        let aside = |number: usize| self.mounts_folder().join(format!("orphan-{number}"));
        for (number, view) in views.iter().enumerate() {
            files::folder(&aside(number), 0o700)?;
            system::bind(view, &aside(number))?;
        }
        // A folder in which something is mounted can't be removed.
        for view in views.iter().rev() {
            system::detach(view)?;
            if system::name_below(&self.root, view).is_some() {
                files::remove_folder(view)?;
            }
        }
        let mut failed = None;
        for number in 0..views.len() {
            let point = aside(number);
            match brute::empty_mount(&point, true) {
                Ok(()) => {
                    system::detach(&point)?;
                    files::remove_folder(&point)?;
                }
                // It stays in reach of the next start.
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        tracing::warn!(event = "orphan_wiped", views = views.len());
        failed.map_or(Ok(()), Err)
    }
}

impl Mounted {
    /// Makes the record say what is really there, and finishes what a former agent
    /// began. `false`: something is missing that the record promised.
    fn settle(&mut self, now: BootTime) -> Result<bool, MountError> {
        let link = files::link_at(&self.live().join(DATA));
        let number = link
            .as_deref()
            .and_then(Path::to_str)
            .and_then(|name| name.strip_prefix(".."))
            .and_then(|number| number.parse::<u64>().ok());
        let generations = &mut self.record.generations;
        let Some(place) = generations.iter().position(|one| Some(one.number) == number) else {
            // Nothing is in place that anybody knows: an unfinished wipe leaves no generations
            // in the record, a first set that was never flipped to leaves no link.
            let expected = generations.is_empty() || (link.is_none() && generations.len() == 1);
            generations.clear();
            return Ok(expected);
        };
        generations.truncate(place.saturating_add(1));
        for (index, generation) in generations.iter_mut().enumerate() {
            generation.replaced =
                (index < place).then_some(generation.replaced.unwrap_or(now).min(now));
        }
        self.record.next = self.record.next.max(number.unwrap_or(0).saturating_add(1));
        let sound = self.drop_missing_files()?;
        let kept = Kept::in_place(&self.record);
        self.empty_others_than(&kept)?;
        Ok(sound)
    }

    /// Takes files out of the record that aren't there, and takes write access to those that
    /// are. Only in the generation in place they are missed.
    fn drop_missing_files(&mut self) -> Result<bool, MountError> {
        let mut sound = true;
        let mut generations = std::mem::take(&mut self.record.generations);
        for generation in &mut generations {
            let folder = self.folder_of(generation.number);
            let before = generation.files.len();
            let mut there = Vec::with_capacity(before);
            for file in generation.files.iter().cloned() {
                let path = folder.join(file.target.as_str());
                let found = files::look_at(&path)?;
                let is_it =
                    |found: &fs::Metadata| found.is_file() && found.len() == u64::from(file.size);
                if !found.as_ref().is_some_and(is_it) {
                    continue;
                }
                // A lease on it is waited for elsewhere.
                self.holds.take(&(generation.number, file.target.clone()), &path).ok();
                there.push(file);
            }
            generation.files = there.into();
            if generation.files.len() < before && generation.replaced.is_none() {
                generation.digest = None;
                sound = false;
            }
        }
        self.record.generations = generations;
        Ok(sound)
    }

    /// Keeps the views that a former agent made if they are what they should be, else makes
    /// them anew. `views` are all points that show this mount's memory.
    fn show_again(&mut self, views: &[&Path]) -> Result<(), MountError> {
        let wanted = self.root.join(self.record.name.as_str());
        let inner = wanted.join(LIVE_VIEW);
        let whole = views.contains(&wanted.as_path()) && views.contains(&inner.as_path());
        for view in views {
            let is_host = system::name_below(&self.root, view).is_some();
            if is_host && (self.is_emptied() || !whole || *view != wanted) {
                self.shown = Some(view.to_path_buf());
                self.hide()?;
            }
        }
        if self.is_emptied() {
            return Ok(());
        }
        if whole {
            self.shown = Some(wanted);
            return Ok(());
        }
        self.show(&wanted)
    }
}

/// Takes away what a former agent served itself: nobody answers there, nobody can take it
/// over, and a path below it must not be touched.
fn take_dead_away(root: &Path) -> Result<(), MountError> {
    let listing = system::list(root)?;
    let served: Vec<&Path> = listing
        .iter()
        .filter(|listed| listed.ours == Some(FileSystem::Fuse) && listed.point.starts_with(root))
        .map(|listed| listed.point.as_path())
        .collect();
    let mounts = root.join(MOUNTS);
    // A stopped agent's connection: whoever waits is let go.
    served.iter().filter(|point| **point == mounts.join(SERVED)).for_each(|p| system::cut(p));
    for point in served.iter().rev() {
        // What is mounted below another one goes with it; the way there may end in an error.
        if served.iter().any(|outer| outer != point && point.starts_with(outer)) {
            continue;
        }
        system::detach(point)?;
        let ours = system::name_below(root, point).or(system::name_below(&mounts, point));
        if ours.is_some() {
            files::remove_folder(point)?;
        }
    }
    // A mount that nobody looked through went when it was cut.
    files::remove_folder(&mounts.join(SERVED))
}

/// Removes folders that a former agent had no time to remove: empty, and no mount.
fn sweep(folder: &Path, listing: &[Listed]) -> Result<(), MountError> {
    for name in files::entries(folder)? {
        let path = folder.join(&name);
        let mounted = listing.iter().any(|listed| listed.point == path);
        let is_ours = name.to_str().is_some_and(|name| name.parse::<ServiceId>().is_ok());
        if mounted || !is_ours {
            continue;
        }
        if let Err(error) = files::remove_folder(&path) {
            tracing::warn!(event = "folder_stays", %error);
        }
    }
    Ok(())
}

/// Refuses mounts whose manifests a build of another format wrote.
fn of_this_format(folder: &Path, listing: &[Listed]) -> Result<(), MountError> {
    let kept = |listed: &&Listed| {
        matches!(listed.ours, Some(FileSystem::Tmpfs | FileSystem::Ramfs))
            && system::name_below(folder, &listed.point).is_some()
    };
    for listed in listing.iter().filter(kept) {
        // What can't be read is told where it is taken over.
        let Ok(Some(json)) = read_manifest(&listed.point) else { continue };
        let path = || listed.point.clone();
        Record::format(&json).map_err(|format| MountError::Format { path: path(), format })?;
    }
    Ok(())
}

/// The manifest's record; `None`: there is none, or it isn't one.
fn read_record(at: &Path) -> Result<Option<Record>, MountError> {
    Ok(read_manifest(at)?.and_then(|json| Record::from_json(&json)))
}

fn read_manifest(at: &Path) -> Result<Option<Vec<u8>>, MountError> {
    files::read_plain(&at.join(MANIFEST), HEADROOM)
}

/// A record for a mount of ours whose own can't be read: with it the mount is emptied. An
/// id is a sound name.
fn blank(service: ServiceId) -> Result<Record, MountError> {
    let name = service.to_string().parse();
    let name = name.map_err(|_| MountError::InTheWay(PathBuf::from(service.to_string())))?;
    Ok(Record {
        service,
        name,
        owner: Owner::default(),
        offline: OfflinePolicy::Keep,
        offline_since: None,
        fresh: false,
        on_change: OnChange::Nothing,
        changed: None,
        next: 1,
        generations: Vec::new(),
        workloads: Vec::new(),
    })
}
