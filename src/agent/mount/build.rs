//! A set of which some file can't be made: what can be shown is shown, and one file never
//! holds up the others.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use super::error::{Lacking, MountError};
use super::files;
use super::folder::Folder;
use super::service::{Mounted, Source};
use crate::agent::vault::{FileSpec, ServiceFiles};
use skep_core::base::{Target, VersionId};

/// What came of building a generation.
#[derive(Debug, Default)]
pub(super) struct Built {
    /// What lies in it, in the order of the targets.
    pub(super) files: Vec<FileSpec>,
    /// Where in `files` each version is first.
    pub(super) versions: BTreeMap<VersionId, usize>,
    /// Targets that show the same value as in the generation before.
    pub(super) same: BTreeSet<Target>,
    /// What is missing in it, or is a former version there.
    pub(super) lacking: Vec<Lacking>,
}

impl Built {
    fn add(&mut self, file: FileSpec, same: bool) {
        self.same.extend(same.then(|| file.target.clone()));
        self.versions.entry(file.version).or_insert(self.files.len());
        self.files.push(file);
    }

    /// A file that shows this version.
    pub(super) fn twin(&self, version: VersionId) -> Option<&FileSpec> {
        self.files.get(*self.versions.get(&version)?)
    }
}

/// In what a generation that is in place falls short of its set.
#[derive(Debug, Default)]
pub(super) struct Short {
    pub(super) lacking: Vec<Lacking>,
    /// A name of the service's that could not be made or shown.
    pub(super) names: Option<MountError>,
}

impl Short {
    pub(super) fn is_whole(&self) -> bool {
        self.lacking.is_empty() && self.names.is_none()
    }

    pub(super) fn into_error(self) -> Option<MountError> {
        let lacking = (!self.lacking.is_empty()).then_some(MountError::Files(self.lacking));
        self.names.or(lacking)
    }
}

impl Mounted {
    /// Of the room that is free, what is left for files that the set in place doesn't have:
    /// those that it has come first. `None`: these don't fit.
    pub(super) fn spare(&self, set: &ServiceFiles, free: u64) -> Option<u64> {
        let known = set.files.iter().filter(|file| self.in_place(file).is_some());
        free.checked_sub(known.map(|file| files::pages(file.size)).sum())
    }

    /// The file of the generation in place that `file` takes the place of.
    fn in_place(&self, file: &FileSpec) -> Option<&FileSpec> {
        let there = self.record.current()?.file(file.target.as_str())?;
        (there.secret == file.secret).then_some(there)
    }

    /// Fills the folder of a new generation. `spare` is the room for files that are new.
    pub(super) fn build(
        &self,
        number: u64,
        set: &ServiceFiles,
        source: &mut Source<'_>,
        mut spare: u64,
    ) -> Result<Built, MountError> {
        let path = self.live_folder(number);
        files::folder(&path, 0o700)?;
        let folder = Folder::made(&path)?;
        let mut built = Built::default();
        for file in &set.files {
            let needed = files::pages(file.size);
            let done = if self.in_place(file).is_some() {
                self.build_one((number, &folder), file, source, &built)
            } else if let Some(left) = spare.checked_sub(needed) {
                spare = left;
                self.build_one((number, &folder), file, source, &built)
            } else {
                Err(MountError::NoSpace { needed, free: spare })
            };
            match done {
                Ok(same) => built.add(file.clone(), same),
                Err(error) => self.do_without((number, &folder), file, error, &mut built)?,
            }
        }
        if built.files.is_empty() && !built.lacking.is_empty() {
            return Err(MountError::Files(built.lacking));
        }
        files::folder(&path, 0o755)?;
        Ok(built)
    }

    /// Goes on without a file; where its former version has the same owner and mode, that stays.
    ///
    /// # Errors
    /// What fails for want of room would fail for others, too: the set in place stays.
    fn do_without(
        &self,
        (number, folder): (u64, &Folder),
        file: &FileSpec,
        error: MountError,
        built: &mut Built,
    ) -> Result<(), MountError> {
        let former = self.in_place(file);
        if former.is_some() && is_short_of_room(&error) {
            return Err(error);
        }
        self.empty_file(number, &file.target)?;
        let alike = |there: &&FileSpec| {
            (there.uid, there.gid, there.mode) == (file.uid, file.gid, file.mode)
        };
        if let Some(former) = former.filter(alike).cloned() {
            match self.build_one((number, folder), &former, &mut |_| None, built) {
                Ok(same) => {
                    let is_it = former == *file;
                    built.add(former, same);
                    if is_it {
                        return Ok(());
                    }
                }
                Err(_as_well) => self.empty_file(number, &file.target)?,
            }
        }
        built.lacking.push(Lacking { target: file.target.clone(), error });
        Ok(())
    }

    /// Whether just these files, and no whole set, are in place: then nothing is to be flipped.
    pub(super) fn has_just(&self, wanted: &[FileSpec]) -> Result<bool, MountError> {
        let Some(current) = self.record.current() else { return Ok(false) };
        if current.digest.is_some() || *current.files != *wanted {
            return Ok(false);
        }
        let folder = self.live_folder(current.number);
        for file in wanted {
            let found = files::look_at(&folder.join(file.target.as_str()))?;
            if found.is_none_or(|found| found.len() != u64::from(file.size)) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Whether it may be the machine's room, of whatever kind, that is short.
fn is_short_of_room(error: &MountError) -> bool {
    use rustix::io::Errno;
    let room = [Errno::NOSPC, Errno::NOMEM, Errno::DQUOT, Errno::MFILE, Errno::NFILE];
    matches!(error, MountError::NoSpace { .. } | MountError::TooManyFiles)
        || room.into_iter().any(|errno| error.is_errno(errno))
}

/// Whether it was room in the mount.
pub(super) fn is_full(error: &MountError) -> bool {
    match error {
        MountError::NoSpace { .. } => true,
        MountError::Io { source, .. } => source.kind() == io::ErrorKind::StorageFull,
        MountError::Files(lacking) => lacking.iter().any(|one| is_full(&one.error)),
        _ => false,
    }
}
