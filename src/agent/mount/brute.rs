//! Emptying what lies in a mount without asking what it is: where there is no record, or
//! more lies there than the record says.
//!
//! Nothing behind a link and nothing of another file system is touched: what somebody has
//! mounted within is taken out of sight first.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::error::MountError;
use super::{files, system};

/// Folders within folders: this agent makes three.
const DEEP: usize = 32;

/// Whatever stands at `path` goes: files, folders with everything in them, links and pipes.
/// Goes on after a failure and tells the first one. `zeros`: see [`files::empty_open`].
pub(super) fn clear(path: &Path, zeros: bool) -> Result<(), MountError> {
    let around = path.parent().map(files::look_at).transpose()?.flatten();
    let Some(around) = around else { return Ok(()) };
    clear_within(path, around.dev(), zeros, DEEP)
}

/// Empties and removes everything that lies in the mount at `point`, where it is mounted
/// over or was made read-only, too. The mount itself stays.
pub(super) fn empty_mount(point: &Path, zeros: bool) -> Result<(), MountError> {
    // What is mounted within hides what lies below it.
    let mut within: Vec<PathBuf> = system::list(point)?
        .into_iter()
        .filter(|listed| listed.point != point && listed.point.starts_with(point))
        .map(|listed| listed.point)
        .collect();
    while let Some(inner) = within.pop() {
        system::detach(&inner)?;
    }
    let Some(found) = files::look_at(point)? else { return Ok(()) };
    match empty_inside(point, found.dev(), zeros, DEEP) {
        Err(error) if error.is_errno(Errno::ROFS) => {
            system::make_writable(point)?;
            empty_inside(point, found.dev(), zeros, DEEP)
        }
        done => done,
    }
}

fn empty_inside(folder: &Path, device: u64, zeros: bool, deep: usize) -> Result<(), MountError> {
    let Some(deep) = deep.checked_sub(1) else {
        return Err(MountError::TooDeep(folder.to_owned()));
    };
    let mut failed = None;
    for name in files::entries(folder)? {
        failed = failed.or(clear_within(&folder.join(name), device, zeros, deep).err());
    }
    failed.map_or(Ok(()), Err)
}

fn clear_within(path: &Path, device: u64, zeros: bool, deep: usize) -> Result<(), MountError> {
    let mut found = files::look_at(path)?;
    if found.as_ref().is_some_and(|found| found.dev() != device) {
        system::detach(path)?;
        found = files::look_at(path)?;
    }
    match found {
        None => Ok(()),
        Some(found) if found.dev() != device => Err(MountError::InTheWay(path.to_owned())),
        Some(found) if found.is_dir() => {
            empty_inside(path, device, zeros, deep)?;
            files::remove_folder(path)
        }
        Some(_) => files::empty_at(path, None, zeros),
    }
}
