//! Files and folders of one mount: written once, read back, emptied.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, chown, symlink};
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use super::super::vault::FileSpec;
use super::error::{At, MountError};
use crate::base::SecretBytes;

/// Memory is given out in pages.
const PAGE: u64 = 4096;
/// Zeros that one call writes over a file.
static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// The memory that a value of `size` bytes takes.
pub(super) fn pages(size: u32) -> u64 {
    u64::from(size).div_ceil(PAGE) * PAGE
}

/// Makes a folder with exactly this mode; it may exist.
pub(super) fn folder(path: &Path, mode: u32) -> Result<(), MountError> {
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(error).at("make the folder", path);
        }
        Ok(()) | Err(_) => {}
    }
    fs::set_permissions(path, Permissions::from_mode(mode)).at("set the mode of", path)
}

/// Gives a file or folder its owner and mode.
pub(super) fn own(path: &Path, uid: u32, gid: u32, mode: u32) -> Result<(), MountError> {
    chown(path, Some(uid), Some(gid)).at("set the owner of", path)?;
    fs::set_permissions(path, Permissions::from_mode(mode)).at("set the mode of", path)
}

/// Makes a file that nobody but root can open yet, with `value` in it.
pub(super) fn make(path: &Path, value: &[u8]) -> Result<(), MountError> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o000)
        .open(path)
        .at("make the file", path)?;
    file.write_all(value).at("write", path)
}

/// Gives a file its owner and mode: from here on others may open it.
pub(super) fn give_away(path: &Path, spec: &FileSpec) -> Result<(), MountError> {
    own(path, spec.uid, spec.gid, spec.mode)
}

/// Writes a file of root's own that holds no value.
pub(super) fn write_plain(path: &Path, bytes: &[u8]) -> Result<(), MountError> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .at("make the file", path)?;
    file.write_all(bytes).at("write", path)
}

/// Reads a value back, straight into its final place.
pub(super) fn read(path: &Path, spec: &FileSpec) -> Result<SecretBytes, MountError> {
    let mut file = open(path, OFlags::RDONLY).at("open", path)?;
    let found = file.metadata().at("look at", path)?.len();
    if found != u64::from(spec.size) {
        let (version, expected) = (spec.version, spec.size);
        return Err(MountError::Length { version, expected, found });
    }
    let length = usize::try_from(spec.size).unwrap_or(usize::MAX);
    let mut value = SecretBytes::zeroed(length);
    file.read_exact(value.expose_mut()).at("read", path)?;
    Ok(value)
}

/// Whether a file of this size is there.
pub(super) fn is_there(path: &Path, size: u32) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.is_file() && found.len() == u64::from(size))
}

fn open(path: &Path, flags: OFlags) -> io::Result<File> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::open(path, flags, Mode::empty())?))
}

/// Writes zeros over a file. One that isn't there needs none.
pub(super) fn overwrite(path: &Path) -> Result<(), MountError> {
    let mut file = match open(path, OFlags::WRONLY) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened.at("open", path)?,
    };
    let mut left = file.metadata().at("look at", path)?.len();
    while left > 0 {
        let step = usize::try_from(left).unwrap_or(usize::MAX).min(ZEROS.len());
        let zeros = ZEROS.get(..step).unwrap_or(&ZEROS);
        file.write_all(zeros).at("overwrite", path)?;
        left = left.saturating_sub(u64::try_from(step).unwrap_or(left));
    }
    Ok(())
}

/// Cuts a file to nothing, for descriptors and mappings that are open, too, and removes its
/// name. A file that isn't there is empty already.
pub(super) fn cut(path: &Path) -> Result<(), MountError> {
    match open(path, OFlags::WRONLY) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened.at("open", path)?.set_len(0).at("empty", path)?,
    }
    remove(path)
}

/// Removes a name; none there: nothing to do.
pub(super) fn remove(path: &Path) -> Result<(), MountError> {
    unless_missing(fs::remove_file(path)).at("remove", path)
}

/// Removes an empty folder; none there: nothing to do.
pub(super) fn remove_folder(path: &Path) -> Result<(), MountError> {
    unless_missing(fs::remove_dir(path)).at("remove the folder", path)
}

fn unless_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// The names in a folder; none if it isn't there. A name that isn't UTF-8 is not
/// of our making and is left out.
pub(super) fn entries(path: &Path) -> Result<Vec<String>, MountError> {
    let mut names = Vec::new();
    let listing = match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(names),
        listing => listing.at("list", path)?,
    };
    for entry in listing {
        names.extend(entry.at("list", path)?.file_name().into_string());
    }
    Ok(names)
}

/// Puts a link at `at` by a rename from `aside`, which lies in another folder of the
/// same mount: a watcher of `at`'s folder sees one `MOVED_TO`.
pub(super) fn flip(aside: &Path, to: &str, at: &Path) -> Result<(), MountError> {
    remove(aside)?;
    symlink(to, aside).at("link", aside)?;
    fs::rename(aside, at).at("flip", at)
}

/// Makes `folder` have one link per target, each through `..data`, and no other
/// name that a target could have.
pub(super) fn link_targets<'t>(
    folder: &Path,
    targets: impl Iterator<Item = &'t str>,
) -> Result<(), MountError> {
    let mut stale: BTreeSet<String> = entries(folder)?.into_iter().collect();
    stale.retain(|name| !name.starts_with(".."));
    for target in targets {
        let at = folder.join(target);
        if !stale.remove(target) {
            symlink(format!("..data/{target}"), &at).at("link", &at)?;
        }
    }
    stale.iter().try_for_each(|name| remove(&folder.join(name)))
}
