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
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, utimensat};

use super::calls::run;
use super::error::MountError;
use super::files;
use super::record::Generation;
use super::service::Mounted;
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
        for folder in [self.live(), self.host()] {
            for target in changed {
                note(tell_link(&folder.join(target.as_str())));
            }
        }
        let replaced = self.record.generations.iter().filter(|one| one.replaced.is_some());
        for (age, generation) in replaced.rev().enumerate() {
            let folder = self.folder_of(generation.number);
            for file in &generation.files {
                let is_changed = changed.contains(&file.target);
                // Of older ones only those are news that changed again.
                if is_changed || age == 0 {
                    note(tell_file(&folder.join(file.target.as_str()), is_changed));
                }
            }
            note(tell_file(&folder, true));
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
    let differs = |file: &&crate::agent::vault::FileSpec| {
        let other = now.file(file.target.as_str());
        !other.is_some_and(|other| {
            same.contains(&file.target)
                && (other.uid, other.gid, other.mode) == (file.uid, file.gid, file.mode)
        })
    };
    before.files.iter().filter(differs).map(|file| file.target.clone()).collect()
}

/// A link is told of in its folder: by its time, which says since when it shows what it does.
fn tell_link(path: &Path) -> Result<(), MountError> {
    if files::look_at(path)?.is_none() {
        // It went with what it showed, which was heard.
        return Ok(());
    }
    set_times(path, AS_IT_IS, NOW)?;
    tell_file(path, false)
}

/// Sets the times to what they are: both together are heard as ATTRIB, the second alone as
/// MODIFY.
fn tell_file(path: &Path, modified: bool) -> Result<(), MountError> {
    use std::os::unix::fs::MetadataExt as _;
    let Some(found) = files::look_at(path)? else { return Ok(()) };
    let accessed = Timespec { tv_sec: found.atime(), tv_nsec: found.atime_nsec() };
    let changed = Timespec { tv_sec: found.mtime(), tv_nsec: found.mtime_nsec() };
    if modified {
        set_times(path, AS_IT_IS, changed)?;
    }
    set_times(path, accessed, changed)
}

fn set_times(path: &Path, accessed: Timespec, modified: Timespec) -> Result<(), MountError> {
    let times = Timestamps { last_access: accessed, last_modification: modified };
    run("set the times of", path, || utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW))
}
