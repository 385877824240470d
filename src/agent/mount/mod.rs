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
mod error;
mod files;
mod fuse;
mod record;
mod removal;
mod serve;
mod service;
mod system;
#[cfg(test)]
mod tests;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};

use backend::Backend;
pub use error::{MountError, MountWarning};
use fuse::Fuse;
pub use fuse::Needs;
use record::Record;
use service::Mounted;

use super::vault::{Held, ServiceFiles, Workload};
use crate::base::{BootTime, Name, SecretBytes, ServiceId, VersionId, limits};
use crate::domain::MountKind;

/// How mounts are made.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bytes that one service's mount may hold, all generations together.
    pub service_bytes: u64,
    /// Use ramfs even where tmpfs knows `noswap`.
    pub ramfs: bool,
    /// What it takes to serve files itself; none: FUSE is refused.
    pub fuse: Option<Needs>,
}

impl Default for Options {
    fn default() -> Self {
        Self { service_bytes: 3 * limits::SERVICE_BYTES, ramfs: false, fuse: None }
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
#[derive(Debug)]
pub struct Mounts {
    /// As the kernel's list writes it.
    root: PathBuf,
    options: Options,
    services: BTreeMap<ServiceId, Mounted>,
    /// Of services that have no mount (yet).
    waiting: BTreeMap<ServiceId, Vec<Workload>>,
    warnings: Vec<MountWarning>,
    said_ramfs: bool,
    /// Reads dropped when that was last said.
    said_dropped: u64,
    /// The mount through which this process serves files, while some service wants it.
    fuse: Option<Fuse>,
    /// Keeps a second agent away from the root.
    _lock: File,
}

/// How long a failed act of [`Mounts::tick`] waits for the next try.
const RETRY_MS: u64 = 1_000;

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
        let mut mounts = Self {
            root,
            options,
            services: BTreeMap::new(),
            waiting: BTreeMap::new(),
            warnings: Vec::new(),
            said_ramfs: false,
            said_dropped: 0,
            fuse: None,
            _lock: lock,
        };
        let adopted = mounts.adopt(now)?;
        Ok((mounts, adopted))
    }

    /// What is worth a word since the last call; each is said once.
    pub fn take_warnings(&mut self) -> Vec<MountWarning> {
        std::mem::take(&mut self.warnings)
    }

    /// Puts `set` in place, whole or not at all; what it takes away is gone in
    /// either case. `fresh` gives the values that came with it; all others are copied
    /// from what is here (this service's generations, then other services'). A set
    /// whose digest is that of the one in place is not rewritten.
    ///
    /// # Errors
    /// See [`MountError`]; the set in place before stays, less what was removed.
    pub fn apply(
        &mut self,
        set: &ServiceFiles,
        fresh: &mut dyn FnMut(VersionId) -> Option<SecretBytes>,
        now: BootTime,
    ) -> Result<(), MountError> {
        let _acting = self.act();
        let mut mounted = match self.services.remove(&set.service) {
            Some(mounted) => mounted,
            None => self.mount(set)?,
        };
        // It may have been mounted only now.
        let _acting = self.act();
        let services = &self.services;
        let namesake = services
            .values()
            .find(|other| other.record.name.key() == set.name.key() && !other.is_emptied());
        let done = if mounted.backend.kind() != set.mount {
            mounted.remove_others_than(&set.secrets()).and(Err(MountError::Kind))
        } else if let Some(other) = namesake {
            let in_use = MountError::NameInUse(other.record.service);
            mounted.remove_others_than(&set.secrets()).and(Err(in_use))
        } else {
            let mut source = |version| {
                fresh(version)
                    .or_else(|| services.values().find_map(|other| other.value(version)?.ok()))
            };
            mounted.apply(set, &mut source, now)
        };
        self.services.insert(set.service, mounted);
        done
    }

    /// Memory for a service that has none.
    fn mount(&mut self, set: &ServiceFiles) -> Result<Mounted, MountError> {
        let at = self.mounts_folder().join(set.service.to_string());
        if system::list()?.iter().any(|listed| listed.point == at) {
            return Err(MountError::InTheWay(at));
        }
        files::folder(&at, 0o700)?;
        let limit = self.options.service_bytes;
        let backend = match set.mount {
            MountKind::Tmpfs => {
                let bytes = limit.saturating_add(service::HEADROOM);
                system::mount_memory(&at, bytes, self.options.ramfs)?
            }
            MountKind::Fuse => self.serve_at(set.service, &at)?,
        };
        if matches!(backend, Backend::Ramfs) && !self.said_ramfs {
            self.said_ramfs = true;
            self.warnings.push(MountWarning::Ramfs);
        }
        let record = Record {
            service: set.service,
            name: set.name.clone(),
            owner: set.owner,
            offline: set.offline,
            offline_since: None,
            next: 1,
            generations: Vec::new(),
            workloads: self.waiting.remove(&set.service).unwrap_or_default(),
        };
        let mut mounted =
            Mounted { record, root: self.root.clone(), at, shown: None, backend, limit };
        let _acting = self.act();
        if let Err(error) = mounted.make_folders().and_then(|()| mounted.save()) {
            mounted.unmount()?;
            return Err(error);
        }
        Ok(mounted)
    }

    /// Empties and removes every file of `service`, in every generation; descriptors
    /// already open read end of file. The mount itself goes as soon as no workload
    /// is noted; until then it shows an empty set and a later one appears in it. Nothing
    /// held: nothing to do.
    ///
    /// # Errors
    /// When a file could not be emptied: then the wipe must not be confirmed.
    pub fn wipe(&mut self, service: ServiceId) -> Result<(), MountError> {
        let _acting = self.act();
        let Some(mounted) = self.services.get_mut(&service) else { return Ok(()) };
        mounted.wipe()?;
        if let Err(error) = mounted.hide() {
            tracing::warn!(%service, %error, "an empty directory stays");
        }
        self.unmount_if_idle(service);
        Ok(())
    }

    /// Takes an emptied mount away that nobody uses. It holds nothing: a failure is a word
    /// in the log and is tried again with the next tick.
    fn unmount_if_idle(&mut self, service: ServiceId) {
        let Some(mounted) = self.services.get_mut(&service) else { return };
        if !mounted.is_emptied() || !mounted.record.workloads.is_empty() {
            return;
        }
        match mounted.unmount() {
            Ok(()) => {
                self.services.remove(&service);
                self.stop_serving_if_idle();
            }
            Err(error) => tracing::warn!(%service, %error, "an empty mount stays"),
        }
    }

    /// Does what time asks for: generations move to `old/`, old ones go, services whose
    /// offline time is over are wiped.
    pub fn tick(&mut self, now: BootTime) -> Ticked {
        let served_again = self.serve_again();
        self.tell_dropped();
        let _acting = self.act();
        let mut ticked = Ticked { served_again, ..Ticked::default() };
        let mut due = |at: BootTime| {
            ticked.next = Some(ticked.next.map_or(at, |next| next.min(at)));
        };
        let retry = BootTime(now.0.saturating_add(RETRY_MS));
        for service in self.services.keys().copied().collect::<Vec<_>>() {
            let Some(mounted) = self.services.get_mut(&service) else { continue };
            match mounted.expires() {
                Some(end) if end <= now => match self.wipe(service) {
                    Ok(()) => ticked.expired.push(service),
                    Err(error) => {
                        tracing::warn!(%service, %error, "files past their offline time stay");
                        due(retry);
                    }
                },
                Some(end) => due(end),
                None => {}
            }
            let Some(mounted) = self.services.get_mut(&service) else { continue };
            match mounted.age(now) {
                Ok(next) => next.into_iter().for_each(&mut due),
                Err(error) => {
                    tracing::warn!(%service, %error, "an old generation stays");
                    due(retry);
                }
            }
            self.unmount_if_idle(service);
        }
        ticked
    }

    fn in_place(&self, service: ServiceId) -> Option<&Mounted> {
        self.services.get(&service).filter(|mounted| mounted.record.current().is_some())
    }

    /// The service's directory on the host, its owner's and 0750, if files are in place.
    pub fn path_of(&self, service: ServiceId) -> Option<PathBuf> {
        self.in_place(service)?.shown.clone()
    }

    /// What to bind into a workload, if the service's files are in place: read-only, its
    /// root open to all (the files' own modes decide). The owner can reach it, too.
    pub fn live_of(&self, service: ServiceId) -> Option<PathBuf> {
        Some(self.path_of(service)?.join(service::LIVE_VIEW))
    }

    /// What is here, for a leader: of each service the versions in place.
    pub fn held(&self) -> Vec<Held> {
        let held = self.services.values().filter(|mounted| !mounted.is_emptied());
        held.map(|mounted| {
            let current = mounted.record.current();
            Held {
                service: mounted.record.service,
                digest: current.and_then(|current| current.digest),
                versions: current
                    .map(|current| current.files.iter().map(|file| file.version).collect())
                    .unwrap_or_default(),
            }
        })
        .collect()
    }

    /// The services of which something is here.
    pub fn services(&self) -> BTreeSet<ServiceId> {
        let held = self.services.iter().filter(|(_, mounted)| !mounted.is_emptied());
        held.map(|(service, _)| *service).collect()
    }

    /// The digest of the whole set in place.
    pub fn digest_of(&self, service: ServiceId) -> Option<[u8; 32]> {
        self.in_place(service)?.record.current()?.digest
    }

    /// The generation in place; grows with each set, also across restarts.
    pub fn generation_of(&self, service: ServiceId) -> Option<u64> {
        Some(self.in_place(service)?.record.current()?.number)
    }

    /// How many files are in place.
    pub fn files_of(&self, service: ServiceId) -> usize {
        let current = self.in_place(service).and_then(|mounted| mounted.record.current());
        current.map_or(0, |current| current.files.len())
    }

    /// A value that some service has, to keep it across a wipe in the same push.
    pub fn value_of(&self, version: VersionId) -> Option<SecretBytes> {
        self.services.values().find_map(|mounted| mounted.value(version)?.ok())
    }

    /// Notes who uses a service's files, so that an agent that starts knows them. May come
    /// before the files. With none left, an emptied mount is taken away.
    ///
    /// # Errors
    /// When it can't be written down; it is remembered nevertheless.
    pub fn set_workloads(
        &mut self,
        service: ServiceId,
        workloads: Vec<Workload>,
    ) -> Result<(), MountError> {
        let Some(mounted) = self.services.get_mut(&service) else {
            if workloads.is_empty() {
                self.waiting.remove(&service);
            } else {
                self.waiting.insert(service, workloads);
            }
            return Ok(());
        };
        if mounted.record.workloads == workloads {
            return Ok(());
        }
        mounted.record.workloads = workloads;
        let saved = mounted.save();
        let _acting = self.act();
        self.unmount_if_idle(service);
        saved
    }

    /// Notes since when there is no session (`None`: there is one). An earlier time that is
    /// already noted for a service stays.
    ///
    /// # Errors
    /// The first that couldn't be written down; it is remembered nevertheless.
    pub fn set_offline(&mut self, since: Option<BootTime>) -> Result<(), MountError> {
        let mut failed = None;
        for mounted in self.services.values_mut() {
            let noted = mounted.record.offline_since;
            let next = since.map(|since| noted.map_or(since, |noted| noted.min(since)));
            if next != noted {
                mounted.record.offline_since = next;
                failed = failed.or(mounted.save().err());
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Wipes and unmounts everything of ours, workloads or not.
    ///
    /// # Errors
    /// The first thing that couldn't be removed; the rest was tried.
    pub fn remove_all(&mut self) -> Result<(), MountError> {
        let _acting = self.act();
        let mut failed = None;
        self.services.retain(|_, mounted| {
            let gone = mounted.wipe().and_then(|()| mounted.unmount());
            let stays = gone.is_err();
            failed = failed.take().or(gone.err());
            stays
        });
        self.stop_serving_if_idle();
        if !self.services.is_empty() {
            return failed.map_or(Ok(()), Err);
        }
        files::remove_folder(&self.mounts_folder())
    }

    fn mounts_folder(&self) -> PathBuf {
        self.root.join(adopt::MOUNTS)
    }
}
