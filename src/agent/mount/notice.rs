//! How programs that watch learn of a rotation, whatever they watch.
//!
//! A watch on a path follows the links to what lay there when it began: the file or folder of
//! a generation. The flip itself is seen by whoever watches the directory; all others are
//! told here, by times that are set to what they are: nothing changes, and the kernel
//! tells. It works on every kind of mount, as the agent's changes of its own FUSE mount go
//! through the kernel, too.
//!
//! ```text
//! what is watched          what it gets
//! the directory            MOVED_TO ..data; ATTRIB and MODIFY of each link whose file changed
//! ..data, or its folder    ATTRIB and MODIFY of itself and of each file in it that changed
//! a file that changed      ATTRIB and MODIFY, also for those who watch an older generation's
//! a file that didn't       ATTRIB, as it has been replaced by another one with the same bytes
//! ```

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::Path;

use rustix::fs::{Timespec, UTIME_NOW, UTIME_OMIT};

use super::error::MountError;
use super::folder::Folder;
use super::record::Generation;
use super::service::Mounted;
use crate::agent::vault::FileSpec;
use skep_core::base::Target;

/// A time that stays as it is, unheard.
const AS_IT_IS: Timespec = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
const NOW: Timespec = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };

impl Mounted {
    /// Tells whoever watches files that were replaced. `changed`: the targets behind which
    /// there is something else now. A failure is nobody's: it is a word in the log.
    pub(super) fn tell_watchers(&self, changed: &BTreeSet<Target>) {
        let mut failed = None;
        let mut note = |done: Result<(), MountError>| failed = failed.take().or(done.err());
        for path in [self.live(), self.host()] {
            note(tell_links(&path, changed));
        }
        let replaced = self.record.generations.iter().filter(|one| one.replaced.is_some());
        for (age, generation) in replaced.rev().enumerate() {
            let path = self.folder_of(generation.number);
            // Of older ones only those are news that changed again.
            let news = |file: &&FileSpec| age == 0 || changed.contains(&file.target);
            let news = generation.files.iter().filter(news);
            note(tell_files(&path, news.map(|file| &file.target), changed));
        }
        if let Some(error) = failed {
            let service = &self.record.service;
            tracing::warn!(event = "watchers_not_told", %service, %error);
        }
    }
}

/// The targets of one set behind which the other one shows something else, or nothing.
pub(super) fn changed(
    before: &Generation,
    now: &Generation,
    same: &BTreeSet<Target>,
) -> BTreeSet<Target> {
    let differs = |file: &&FileSpec| {
        let other = now.file(file.target.as_str());
        !other.is_some_and(|other| {
            same.contains(&file.target)
                && (other.uid, other.gid, other.mode) == (file.uid, file.gid, file.mode)
        })
    };
    before.files.iter().filter(differs).map(|file| file.target.clone()).collect()
}

/// Tells who watches a folder that those of its links lead elsewhere now.
fn tell_links(path: &Path, changed: &BTreeSet<Target>) -> Result<(), MountError> {
    let Some(folder) = Folder::open(path)? else { return Ok(()) };
    let told = changed.iter().map(|target| tell_link(&folder, OsStr::new(target.as_str())));
    first_failure(told)
}

/// Tells who watches files in a folder, and who watches the folder.
fn tell_files<'t>(
    path: &Path,
    targets: impl Iterator<Item = &'t Target>,
    changed: &BTreeSet<Target>,
) -> Result<(), MountError> {
    let Some(folder) = Folder::open(path)? else { return Ok(()) };
    let told = targets
        .map(|target| tell_file(&folder, OsStr::new(target.as_str()), changed.contains(target)));
    first_failure(told).and(tell_file(&folder, OsStr::new("."), true))
}

/// Goes on after a failure.
fn first_failure(done: impl Iterator<Item = Result<(), MountError>>) -> Result<(), MountError> {
    done.fold(Ok(()), Result::and)
}

/// A link is told of in its folder: by its time, which says since when it shows what it does.
fn tell_link(folder: &Folder, name: &OsStr) -> Result<(), MountError> {
    if folder.look_at(name)?.is_none() {
        // It went with what it showed, which was heard.
        return Ok(());
    }
    folder.set_times(name, AS_IT_IS, NOW)?;
    tell_file(folder, name, false)
}

/// Sets the times to what they are: both together are heard as ATTRIB, the second alone as
/// MODIFY.
fn tell_file(folder: &Folder, name: &OsStr, modified: bool) -> Result<(), MountError> {
    let Some(found) = folder.look_at(name)? else { return Ok(()) };
    let time = |seconds, nanoseconds: u64| Timespec {
        tv_sec: seconds,
        tv_nsec: i64::try_from(nanoseconds).unwrap_or(0),
    };
    let accessed = time(found.st_atime, found.st_atime_nsec);
    let changed = time(found.st_mtime, found.st_mtime_nsec);
    if modified {
        folder.set_times(name, AS_IT_IS, changed)?;
    }
    folder.set_times(name, accessed, changed)
}
