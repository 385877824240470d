//! How an agent that starts takes over what a former one left mounted.
//!
//! A new mount at the old place would be another file system: containers and
//! private namespaces would go on showing the former one and never see a change
//! again. So what is there is taken over, after `..data` and the files themselves
//! were asked whether the manifest is right.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::backend::Backend;
use super::error::{At, MountError, MountWarning};
use super::record::Record;
use super::service::{DATA, HEADROOM, LIVE_VIEW, MANIFEST, Mounted};
use super::system::{self, Kind, Listed};
use super::{Adopted, Mounts, files, fuse};
use crate::base::{BootTime, ServiceId};
use crate::domain::{OfflinePolicy, Owner};

/// Where the mounts are, below the root.
pub(super) const MOUNTS: &str = ".mounts";
/// Write permission for anybody but the owner.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// Makes the root, checks it and keeps other agents out of it.
pub(super) fn take_root(root: &Path) -> Result<(PathBuf, File), MountError> {
    DirBuilder::new().recursive(true).mode(0o755).create(root).at("make the folder", root)?;
    let root = fs::canonicalize(root).at("look at", root)?;
    let found = fs::metadata(&root).at("look at", &root)?;
    if found.uid() != 0 || found.mode() & WRITABLE_BY_OTHERS != 0 {
        return Err(MountError::Root(root));
    }
    let mounts = root.join(MOUNTS);
    files::folder(&mounts, 0o700)?;
    let lock = File::open(&mounts).at("open", &mounts)?;
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Err(rustix::io::Errno::WOULDBLOCK) => Err(MountError::InUse(root)),
        locked => locked.at("lock", &mounts).map(|()| (root, lock)),
    }
}

impl Mounts {
    /// Takes over every mount that is ours. One that can't be taken over is left as it
    /// is and named in a warning.
    pub(super) fn adopt(&mut self, now: BootTime) -> Result<Vec<Adopted>, MountError> {
        let folder = self.mounts_folder();
        // Before anything is changed.
        of_this_format(&folder, &system::list()?)?;
        take_dead_away(&self.root)?;
        let listing = system::list()?;
        let mut adopted = Vec::new();
        // Of mounts on one point the last covers the others.
        let below = listing.iter().filter_map(|listed| {
            system::name_below(&folder, &listed.point).map(|name| (name, listed))
        });
        for (name, listed) in below.collect::<BTreeMap<_, _>>() {
            let (Some(_), Ok(service)) = (listed.ours, name.parse::<ServiceId>()) else {
                self.warnings.push(MountWarning::Stranger(listed.point.clone()));
                continue;
            };
            match self.take_over(service, listed, &listing, now) {
                Ok(found) => adopted.extend(found),
                Err(error) => self.warnings.push(MountWarning::NotAdopted {
                    path: listed.point.clone(),
                    why: error.to_string(),
                }),
            }
        }
        sweep(&folder, &listing)?;
        Ok(adopted)
    }

    fn take_over(
        &mut self,
        service: ServiceId,
        listed: &Listed,
        listing: &[Listed],
        now: BootTime,
    ) -> Result<Option<Adopted>, MountError> {
        let at = listed.point.clone();
        let backend = match listed.ours {
            Some(Kind::Tmpfs) => Backend::Tmpfs,
            Some(Kind::Ramfs) => Backend::Ramfs,
            Some(Kind::Fuse) | None => return Ok(None),
        };
        let record = read_record(&at)?.filter(|record| record.service == service);
        let sound = record.is_some();
        let mut mounted = Mounted {
            record: record.map_or_else(|| blank(service), Ok)?,
            root: self.root.clone(),
            at,
            shown: None,
            backend,
            limit: self.options.service_bytes,
        };
        mounted.make_folders()?;
        if !sound || !mounted.settle(now)? {
            self.warnings.push(MountWarning::Damaged(service));
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
        let found = mounted.record.current().map(|current| Adopted {
            service,
            name: mounted.record.name.clone(),
            generation: current.number,
            digest: current.digest,
            workloads: mounted.record.workloads.clone(),
            offline_since: mounted.record.offline_since,
        });
        self.services.insert(service, mounted);
        self.unmount_if_idle(service);
        Ok(found)
    }
}

impl Mounted {
    /// Makes the record say what is really there, and finishes what a former agent
    /// began. `false`: something is missing that the record promised.
    fn settle(&mut self, now: BootTime) -> Result<bool, MountError> {
        let link = fs::read_link(self.live().join(DATA)).ok();
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
        let sound = self.drop_missing_files();
        let kept: BTreeSet<_> = self
            .record
            .current()
            .map(|current| current.files.iter().map(|file| file.secret).collect())
            .unwrap_or_default();
        self.empty_others_than(&kept)?;
        Ok(sound)
    }

    /// Takes files out of the record that aren't there. Only in the generation in place
    /// they are missed.
    fn drop_missing_files(&mut self) -> bool {
        let mut sound = true;
        let mut generations = std::mem::take(&mut self.record.generations);
        for generation in &mut generations {
            let folder = self.folder_of(generation.number);
            let before = generation.files.len();
            generation
                .files
                .retain(|file| files::is_there(&folder.join(file.target.as_str()), file.size));
            if generation.files.len() < before && generation.replaced.is_none() {
                generation.digest = None;
                sound = false;
            }
        }
        self.record.generations = generations;
        sound
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
    let listing = system::list()?;
    let served: Vec<&Path> = listing
        .iter()
        .filter(|listed| listed.ours == Some(Kind::Fuse) && listed.point.starts_with(root))
        .map(|listed| listed.point.as_path())
        .collect();
    let mounts = root.join(MOUNTS);
    // A stopped agent's connection: whoever waits is let go.
    served.iter().filter(|point| **point == mounts.join(fuse::FOLDER)).for_each(|p| system::cut(p));
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
    files::remove_folder(&mounts.join(fuse::FOLDER))
}

/// Removes folders that a former agent had no time to remove: empty, and no mount.
fn sweep(folder: &Path, listing: &[Listed]) -> Result<(), MountError> {
    for name in files::entries(folder)? {
        let path = folder.join(&name);
        let mounted = listing.iter().any(|listed| listed.point == path);
        if mounted || name.parse::<ServiceId>().is_err() {
            continue;
        }
        if let Err(error) = files::remove_folder(&path) {
            tracing::warn!(%error, "a folder that is not of this agent's making stays");
        }
    }
    Ok(())
}

/// Refuses mounts whose manifests a build of another format wrote.
fn of_this_format(folder: &Path, listing: &[Listed]) -> Result<(), MountError> {
    let kept = |listed: &&Listed| {
        matches!(listed.ours, Some(Kind::Tmpfs | Kind::Ramfs))
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
    let path = at.join(MANIFEST);
    match fs::symlink_metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        found => {
            let found = found.at("look at", &path)?;
            if !found.is_file() || found.len() > HEADROOM {
                return Ok(None);
            }
        }
    }
    fs::read(&path).at("read", &path).map(Some)
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
        next: 1,
        generations: Vec::new(),
        workloads: Vec::new(),
    })
}
