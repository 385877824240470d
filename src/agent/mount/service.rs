//! One service's mount: how a set gets in, and how everything gets out.
//!
//! ```text
//! R/.mounts/<id>/            memory, 0700 root's
//!   manifest.json            see `record`
//!   live/                    what workloads see, 0755
//!     ..<generation>/        the files
//!     ..data -> ..<generation>
//!     ..fresh/at             when a leader last confirmed it, see `fresh`
//!     <target> -> ..data/<target>
//!   old/<generation>/        out of sight, for descriptors still open
//!   host/                    the directory on the host, the owner's, 0750
//!     ..live/                live/ is shown here
//!     ..data -> ..live/..data
//!     <target> -> ..data/<target>
//! R/<name>                   host/ is shown here, read-only
//! ```
//!
//! The host's directory is a folder of its own because two views of one folder have
//! one mode: inside a container the files' own modes decide, on the host the directory
//! keeps everybody but its owner out.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::backend::Backend;
use super::build::{Built, Short, is_full};
use super::error::MountError;
use super::folder::Folder;
use super::holds::{Holds, Which};
use super::kept::Kept;
use super::look::Found;
use super::record::{Generation, Record};
use super::{Applied, brute, files, notice, same};
use crate::agent::vault::layout::{
    DATA, DATA_NEW, HOST, LIVE, LIVE_VIEW, MANIFEST, MANIFEST_NEW, OLD,
};
use crate::agent::vault::{FileSpec, ServiceFiles};
use skep_core::base::{BootTime, SecretBytes, VersionId};

/// Room that values leave to the manifest: 4,096 files in every generation there
/// can be, written down at length, twice. Memory is taken as it is written.
pub(super) const HEADROOM: u64 = 128 * 1024 * 1024;

/// Where values that a set brings come from: the push, then other services.
pub(super) type Source<'s> = dyn FnMut(VersionId) -> Option<SecretBytes> + 's;

/// One service's mount.
#[derive(Debug)]
pub(super) struct Mounted {
    pub(super) record: Record,
    /// `R`.
    pub(super) root: PathBuf,
    /// `R/.mounts/<id>`.
    pub(super) at: PathBuf,
    /// `R/<name>`, while it is shown.
    pub(super) shown: Option<PathBuf>,
    pub(super) backend: Backend,
    /// Write access to its files.
    pub(super) holds: Holds,
    /// Bytes that all generations together may take.
    pub(super) limit: u64,
    /// The newest boot time that was told: numbers of generations begin there.
    pub(super) now: BootTime,
    /// The number that the next generation of any service gets at least.
    pub(super) numbers: Arc<AtomicU64>,
}

impl Mounted {
    /// The folder that workloads see.
    pub(super) fn live(&self) -> PathBuf {
        self.at.join(LIVE)
    }

    /// The folder that the host sees.
    pub(super) fn host(&self) -> PathBuf {
        self.at.join(HOST)
    }

    pub(super) fn old(&self) -> PathBuf {
        self.at.join(OLD)
    }

    pub(super) fn live_folder(&self, number: u64) -> PathBuf {
        self.live().join(format!("..{number}"))
    }

    pub(super) fn old_folder(&self, number: u64) -> PathBuf {
        self.old().join(number.to_string())
    }

    /// A number that no generation has had on this machine since it booted, whoever made
    /// it: a reader that remembers a folder's name never finds another one's files there.
    pub(super) fn draw_number(&mut self) -> u64 {
        let least = self.record.next.max(self.now.0);
        let after = |drawn: u64| Some(drawn.max(least).saturating_add(1));
        let drawn = self.numbers.fetch_update(Ordering::SeqCst, Ordering::SeqCst, after);
        let mut number = drawn.unwrap_or(least).max(least);
        while self.live_folder(number).exists() || self.old_folder(number).exists() {
            number = number.saturating_add(1);
        }
        self.record.next = number.saturating_add(1);
        number
    }

    /// Where a generation's files are now.
    pub(super) fn folder_of(&self, number: u64) -> PathBuf {
        if self.record.current().is_some_and(|current| current.number == number) {
            return self.live_folder(number);
        }
        let old = self.old_folder(number);
        if old.is_dir() { old } else { self.live_folder(number) }
    }

    /// The folders, in a mount that is new or that was left half made.
    pub(super) fn make_folders(&self) -> Result<(), MountError> {
        files::folder(&self.live(), 0o755)?;
        files::folder(&self.old(), 0o700)?;
        files::folder(&self.host(), 0o750)?;
        files::folder(&self.host().join(LIVE_VIEW), 0o755)
    }

    /// Writes the record down. The name changes hands at once: an agent that dies
    /// here leaves the old record or the new one.
    pub(super) fn save(&self) -> Result<(), MountError> {
        if !self.backend.outlives_the_agent() {
            return Ok(());
        }
        let (path, aside) = (self.at.join(MANIFEST), self.at.join(MANIFEST_NEW));
        brute::clear(&aside, true)?;
        let written = files::write_plain(&aside, &self.record.to_json());
        if let Err(error) = written {
            files::remove(&aside)?;
            return Err(error);
        }
        match files::rename("replace", &aside, &path) {
            // A folder stands where only this agent writes.
            Err(error) if error.is_errno(rustix::io::Errno::ISDIR) => {
                brute::clear(&path, true)?;
                files::rename("replace", &aside, &path)
            }
            done => done,
        }
    }

    /// Puts `set` in place; what it takes away is gone in any case. The answer says, too, what
    /// lies there then.
    pub(super) fn apply(
        &mut self,
        set: &ServiceFiles,
        source: &mut Source<'_>,
        now: BootTime,
    ) -> Result<(Applied, Found), MountError> {
        let kept = Kept::of_set(set);
        if self.record.current().is_some_and(|current| current.digest == Some(set.digest)) {
            // Nothing is rewritten; but what couldn't be done then is tried again.
            let emptied = self.empty_others_than(&kept);
            self.tidy();
            let found = emptied.and(self.finish_names()).and_then(|()| self.be_sure(set))?;
            return Ok((Applied::InPlace, found));
        }
        if self.takes_as_it_is(set, source)? {
            let emptied = self.empty_others_than(&kept);
            self.tidy();
            let found = emptied.and(self.mend_names()).and_then(|()| self.be_sure(set))?;
            return Ok((Applied::Unchanged, found));
        }
        let mut done = self.put(set, source, now);
        let mut taken = Ok(());
        if done.is_err() && self.has_others_than(&kept) {
            taken = self.remove_others_than(&kept);
            // What was taken away may be the room that was missing.
            if taken.is_ok() && done.as_ref().is_err_and(is_full) {
                done = self.put(set, source, now);
            }
        }
        // A secret without a file in place has none in former generations either.
        let short = done.as_ref().is_ok_and(|short| !short.is_whole());
        let kept = if short { Kept::in_place(&self.record) } else { kept };
        let emptied = self.empty_others_than(&kept);
        self.tidy();
        // A removal that failed is the graver news.
        match taken.and(emptied).and(done)?.into_error() {
            None => self.be_sure(set).map(|found| (Applied::InPlace, found)),
            Some(error) => self.hold_all().and(Err(error)),
        }
    }

    /// Looks whether what lies there is `set` and nothing else, and held.
    fn be_sure(&mut self, set: &ServiceFiles) -> Result<Found, MountError> {
        self.hold_all()?;
        let found = self.look()?;
        if let Some(path) = found.surplus {
            return Err(MountError::LeftOver(path));
        }
        if found.digest != Some(set.digest) {
            self.mark_partial();
            return Err(MountError::LeftOver(self.live().join(DATA)));
        }
        Ok(found)
    }

    /// What is worth doing and not worth failing for: an agent that starts does it again.
    fn tidy(&self) {
        for done in [self.without_mark(), self.empty_unknown(), self.save()] {
            if let Err(error) = done {
                tracing::warn!(event = "mount_untidy", service = %self.record.service, %error);
            }
        }
    }

    /// Builds a generation beside the one in place, then flips to it. Files that can't be made
    /// are left out, unless nothing else could be shown.
    fn put(
        &mut self,
        set: &ServiceFiles,
        source: &mut Source<'_>,
        now: BootTime,
    ) -> Result<Short, MountError> {
        let shown = self.show(&self.root.join(set.name.as_str()));
        let spare = self.make_room(set)?;
        self.now = self.now.max(now);
        let number = self.draw_number();
        let built = match self.build(number, set, source, spare) {
            Ok(built) => built,
            Err(error) => {
                self.empty_generation(number)?;
                return Err(error);
            }
        };
        let mut short = Short { lacking: built.lacking, names: shown.err() };
        if !short.is_whole() && self.has_just(&built.files)? {
            // As short as before: a workload that watches has nothing to see.
            self.empty_generation(number)?;
            short.names = short.names.or(self.finish_names().err());
            return Ok(short);
        }
        let before = self.record.clone();
        if let Some(replaced) = self.record.current_mut() {
            replaced.replaced = Some(now);
        }
        self.record.name = set.name.clone();
        self.record.owner = set.owner;
        self.record.offline = set.offline;
        self.record.offline_since = None;
        self.record.fresh = set.fresh;
        self.record.on_change = set.on_change.clone();
        if before.current().is_some() || !before.workloads.is_empty() {
            self.record.changed = Some(number);
        }
        self.record.generations.push(Generation {
            number,
            digest: short.is_whole().then_some(set.digest),
            replaced: None,
            files: built.files.into(),
        });
        // Written down before the flip: `..data` says which of the two is in place, so an
        // agent that dies here leaves nothing that the next one doesn't know.
        let flipped = self.save().and_then(|()| self.flip_to(number));
        if let Err(error) = flipped {
            self.record = before;
            self.record.next = number.saturating_add(1);
            // The link may point there all the same: then names are all that is left.
            self.empty_generation(number)?;
            return Err(error);
        }
        // Names follow: until they do, the set isn't whole.
        if let Err(error) = self.finish_names() {
            self.mark_partial();
            short.names.get_or_insert(error);
        }
        if let (Some(replaced), Some(current)) = (before.current(), self.record.current()) {
            self.tell_watchers(&notice::changed(replaced, current, &built.same));
        }
        Ok(short)
    }

    pub(super) fn mark_partial(&mut self) {
        if let Some(current) = self.record.current_mut() {
            current.digest = None;
        }
    }

    pub(super) fn flip_to(&self, number: u64) -> Result<(), MountError> {
        self.flip_link(&format!("..{number}"), &self.live().join(DATA))
    }

    fn flip_link(&self, to: &str, at: &Path) -> Result<(), MountError> {
        let aside = self.at.join(DATA_NEW);
        // Whatever stands there isn't in use, whoever made it.
        brute::clear(&aside, self.backend.wants_zeros())?;
        files::flip(&aside, to, at)
    }

    /// The targets' links, the host's directory, and the host's word that there was a flip.
    pub(super) fn finish_names(&self) -> Result<(), MountError> {
        let targets = || {
            let files = self.record.current().map(|current| &current.files[..]);
            files.unwrap_or_default().iter().map(|file| file.target.as_str())
        };
        let (live, host) = (self.live(), self.host());
        files::link_targets(&live, targets())?;
        // Who is inside a workload doesn't come by it.
        let owned = files::own(&host, self.record.owner.uid, self.record.owner.gid, 0o750);
        let to = format!("{LIVE_VIEW}/{DATA}");
        self.flip_link(&to, &host.join(DATA))?;
        files::link_targets(&host, targets()).and(owned)
    }

    /// The same where nothing new is shown: nobody hears of it, unless a former agent died
    /// before it was done.
    fn mend_names(&self) -> Result<(), MountError> {
        let host = self.host();
        let stands = files::look_at(&host)?.is_some_and(|found| {
            let owner = self.record.owner;
            (found.uid(), found.gid(), found.mode() & 0o7777) == (owner.uid, owner.gid, 0o750)
        });
        let leads = files::link_at(&host.join(DATA)) == Some(Path::new(LIVE_VIEW).join(DATA));
        if !(stands && leads) {
            return self.finish_names();
        }
        let targets = self.record.current().map(|current| &current.files[..]);
        let targets = || targets.unwrap_or_default().iter().map(|file| file.target.as_str());
        files::link_targets(&self.live(), targets())?;
        files::link_targets(&host, targets())
    }

    /// Makes one file of the generation `number`, of which `built` are made in `folder`; says
    /// whether its target shows the same value as before.
    pub(super) fn build_one(
        &self,
        (number, folder): (u64, &Folder),
        file: &FileSpec,
        source: &mut Source<'_>,
        built: &Built,
    ) -> Result<bool, MountError> {
        let value = match source(file.version) {
            Some(value) => value,
            None => self.value_for(file, number, built)?,
        };
        if u64::try_from(value.len()).ok() != Some(u64::from(file.size)) {
            return Err(MountError::Length {
                version: file.version,
                expected: file.size,
                found: u64::try_from(value.len()).unwrap_or(u64::MAX),
            });
        }
        let access = self.backend.write(folder, file, &value)?;
        let path = folder.path().join(file.target.as_str());
        let since = self.shown_since(file, &value);
        if let Some(since) = since {
            same::keep_time(&access, &path, since)?;
        }
        self.holds.keep((number, file.target.clone()), access, &path)?;
        Ok(since.is_some())
    }

    /// A value that was not sent: from the generation being built (a secret may have
    /// two targets), else from one that is here.
    fn value_for(
        &self,
        file: &FileSpec,
        building: u64,
        built: &Built,
    ) -> Result<SecretBytes, MountError> {
        if let Some(twin) = built.twin(file.version) {
            return self.read(building, twin);
        }
        // Mostly it is what this name shows already.
        let current = self.record.current();
        let same = current.and_then(|one| Some((one.number, one.file(file.target.as_str())?)));
        if let Some((number, there)) = same.filter(|(_, there)| there.version == file.version) {
            return self.read(number, there);
        }
        self.value(file.version).unwrap_or(Err(MountError::Missing(file.version)))
    }

    /// A value that some generation has, the newest first.
    pub(super) fn value(&self, version: VersionId) -> Option<Result<SecretBytes, MountError>> {
        self.record.generations.iter().rev().find_map(|generation| {
            let file = generation.files.iter().find(|file| file.version == version)?;
            Some(self.read(generation.number, file))
        })
    }

    pub(super) fn read(&self, number: u64, file: &FileSpec) -> Result<SecretBytes, MountError> {
        let held = self.holds.file(number, &file.target);
        let path = self.folder_of(number).join(file.target.as_str());
        self.backend.read(&path, held.as_deref(), file)
    }

    /// Takes write access to every file that isn't held yet: those of a former agent, and
    /// those of a connection that was cut.
    ///
    /// # Errors
    /// [`MountError::Leased`], and what the system says, the first of each.
    pub(super) fn hold_all(&self) -> Result<(), MountError> {
        let mut failed = None;
        for generation in &self.record.generations {
            let number = generation.number;
            let targets = generation.files.iter().map(|file| &file.target);
            let lacking = self.holds.lacking(number, targets);
            if lacking.is_empty() {
                continue;
            }
            let folder = self.folder_of(number);
            for target in lacking {
                let which: Which = (number, target.clone());
                failed = failed.or(self.holds.take(&which, &folder.join(target.as_str())).err());
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Makes sure that `set` fits, in number and in bytes, at the cost of generations out of sight.
    /// The answer is the room for files that are new, where that is short.
    fn make_room(&mut self, set: &ServiceFiles) -> Result<u64, MountError> {
        self.forget_surplus()?;
        let needed = set.files.iter().map(|file| files::pages(file.size)).sum();
        loop {
            let free = self.free()?;
            if needed <= free {
                return Ok(free);
            }
            let oldest = self.record.generations.iter().map(|generation| generation.number);
            let Some(oldest) = oldest.into_iter().find(|n| self.old_folder(*n).is_dir()) else {
                let spare = self.spare(set, free);
                return spare.ok_or(MountError::NoSpace { needed, free });
            };
            self.forget(oldest)?;
        }
    }

    fn free(&self) -> Result<u64, MountError> {
        let all = self.record.generations.iter().flat_map(|generation| &generation.files);
        let used: u64 = all.map(|file| files::pages(file.size)).sum();
        self.backend.free(&self.at, self.limit.saturating_sub(used))
    }

    /// Whether nothing is here and nothing was put here on purpose.
    pub(super) fn is_emptied(&self) -> bool {
        self.record.generations.is_empty()
    }

    /// When the offline time is over.
    pub(super) fn expires(&self) -> Option<BootTime> {
        match (self.record.offline, self.record.offline_since) {
            (skep_core::domain::OfflinePolicy::MaxAge(seconds), Some(since))
                if !self.is_emptied() =>
            {
                Some(BootTime(since.0.saturating_add(seconds.saturating_mul(1000))))
            }
            _ => None,
        }
    }
}
