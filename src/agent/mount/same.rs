//! What a new set shows as the one before it did: a whole set is then not put in place again,
//! and a file keeps its time. Values are compared in constant time.

use std::collections::BTreeMap;
use std::path::Path;

use rustix::fs::{Timespec, Timestamps, UTIME_OMIT, futimens};
use subtle::ConstantTimeEq as _;

use super::calls::run;
use super::error::MountError;
use super::files;
use super::record::Generation;
use super::service::{Mounted, Source};
use crate::agent::vault::{FileSpec, ServiceFiles};
use skep_core::base::{SecretBytes, Target};

impl Mounted {
    /// Takes a set whose files are those in place, but for the numbers of their versions: they
    /// are noted, nothing is written anew. False: something would be shown that isn't.
    ///
    /// # Errors
    /// The record can't be written; it is as before then.
    pub(super) fn takes_as_it_is(
        &mut self,
        set: &ServiceFiles,
        source: &mut Source<'_>,
    ) -> Result<bool, MountError> {
        let record = &self.record;
        let as_before = record.name == set.name
            && (record.owner, record.offline) == (set.owner, set.offline)
            && record.offline_since.is_none();
        let whole = record.current().filter(|current| current.digest.is_some() && as_before);
        let Some(current) = whole else { return Ok(false) };
        if current.files.len() != set.files.len() {
            return Ok(false);
        }
        let shown: BTreeMap<&Target, &FileSpec> =
            current.files.iter().map(|file| (&file.target, file)).collect();
        for file in &set.files {
            let Some(before) = shown.get(&file.target) else { return Ok(false) };
            let looks = |file: &FileSpec| (file.secret, file.uid, file.gid, file.mode, file.size);
            if looks(before) != looks(file) {
                return Ok(false);
            }
            if before.version == file.version {
                continue;
            }
            // What doesn't come is missed by whoever builds the set.
            let Some(value) = source(file.version) else { return Ok(false) };
            if !self.is_shown(current, before, &value) {
                return Ok(false);
            }
        }
        let number = current.number;
        let before = self.record.clone();
        if let Some(current) = self.record.current_mut() {
            current.files = set.files.clone().into();
            current.digest = Some(set.digest);
        }
        self.record.fresh = set.fresh;
        self.record.on_change = set.on_change.clone();
        if let Err(error) = self.save() {
            self.record = before;
            return Err(error);
        }
        for file in &set.files {
            let path = self.folder_of(number).join(file.target.as_str());
            self.backend.rename_version(&path, file)?;
        }
        Ok(true)
    }

    /// Whether a file shows this value. One that can't be read doesn't.
    fn is_shown(&self, of: &Generation, file: &FileSpec, value: &SecretBytes) -> bool {
        let shown = self.read(of.number, file);
        shown.is_ok_and(|shown| shown.expose().ct_eq(value.expose()).into())
    }

    /// When a target of the set in place came to show this value; `None`: it shows another.
    pub(super) fn shown_since(&self, file: &FileSpec, value: &SecretBytes) -> Option<Timespec> {
        use std::os::unix::fs::MetadataExt as _;
        let current = self.record.current()?;
        let before = current.file(file.target.as_str())?;
        let same = before.secret == file.secret
            && before.size == file.size
            && (before.version == file.version || self.is_shown(current, before, value));
        if !same {
            return None;
        }
        let found = if let Some(held) = self.holds.file(current.number, &file.target) {
            held.metadata().ok()?
        } else {
            let path = self.folder_of(current.number).join(file.target.as_str());
            files::look_at(&path).ok().flatten()?
        };
        Some(Timespec { tv_sec: found.mtime(), tv_nsec: found.mtime_nsec() })
    }
}

/// Gives a new file the time at which its value was first shown.
pub(super) fn keep_time(
    file: &std::fs::File,
    path: &Path,
    since: Timespec,
) -> Result<(), MountError> {
    let as_it_is = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    let times = Timestamps { last_access: as_it_is, last_modification: since };
    run("set the time of", path, || futimens(file, &times))
}
