//! An identity file follows the managers: what they say of where they are is written into it.
//!
//! It is a convenience, and the file is somebody's only key: where anything about it is not
//! plain, nothing is done. A file that is replaced is whole at every moment, keeps its owner
//! and mode, and one process at a time does it.

use std::fs::{File, Metadata, OpenOptions, Permissions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::ca::{ADDRESSES, Identity, is_address};
use crate::machine::read_all;

/// Bytes of an identity file: a few certificates.
pub(super) const IDENTITY_BYTES: usize = 256 * 1024;
/// What a name of an extended attribute begins with that a new file gets by itself.
const BY_ITSELF: &str = "security.";
/// Bytes of names of extended attributes.
const ATTRIBUTES: usize = 4096;

/// What an identity's addresses become where managers are at `managers`: these first, then
/// what else was known, for one may be reached where it doesn't know of. `None`: they are
/// known.
pub(super) fn merged(known: &[String], managers: &[String]) -> Option<Vec<String>> {
    let managers = || managers.iter().filter(|address| is_address(address));
    if managers().all(|address| known.contains(address)) {
        return None;
    }
    let mut all: Vec<String> = Vec::new();
    for address in managers().chain(known) {
        if all.len() < ADDRESSES && !all.contains(address) {
            all.push(address.clone());
        }
    }
    Some(all)
}

/// Writes where managers are into the identity file, if it doesn't say so and may be written.
/// Whether it was replaced.
///
/// # Errors
/// What the system says: the file is as it was.
pub(super) fn refresh(path: &Path, managers: &[String]) -> io::Result<bool> {
    // Of a symbolic link the file that it names is replaced.
    let path = path.canonicalize()?;
    let found = std::fs::symlink_metadata(&path)?;
    // What its owner may not write is not to be changed, whoever asks.
    if !found.is_file() || found.nlink() != 1 || found.mode() & 0o200 == 0 {
        return Ok(false);
    }
    let file = OpenOptions::new().read(true).write(true).open(&path)?;
    match file.try_lock() {
        Ok(()) => {}
        // Another command is at it.
        Err(TryLockError::WouldBlock) => return Ok(false),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    let held = file.metadata()?;
    if !same(&held, &path)? || has_attributes(&file)? {
        return Ok(false);
    }
    let text = read_all(&file, IDENTITY_BYTES)?;
    let Ok(mut identity) = Identity::parse(text.expose()) else { return Ok(false) };
    let Some(addresses) = merged(&identity.addresses, managers) else { return Ok(false) };
    identity.addresses = addresses;
    let new = beside(&path);
    let replaced = replace(&identity, &held, &new, &path);
    if replaced.is_err() {
        // It may not be there.
        std::fs::remove_file(&new).ok();
    }
    replaced.map(|()| true)
}

fn replace(identity: &Identity, held: &Metadata, new: &Path, path: &Path) -> io::Result<()> {
    // Whoever left one held the lock, and does no more.
    match std::fs::remove_file(new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(new)?;
    let made = file.metadata()?;
    if (made.uid(), made.gid()) != (held.uid(), held.gid()) {
        std::os::unix::fs::fchown(&file, Some(held.uid()), Some(held.gid()))?;
    }
    file.set_permissions(Permissions::from_mode(held.mode() & 0o777))?;
    file.write_all(identity.to_text().expose())?;
    file.sync_all()?;
    if !same(held, path)? {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    std::fs::rename(new, path)?;
    let folder = path.parent().unwrap_or(Path::new("/"));
    File::open(folder)?.sync_all()
}

/// Whether this file is still what the path names.
fn same(held: &Metadata, path: &Path) -> io::Result<bool> {
    let now = std::fs::symlink_metadata(path)?;
    Ok((now.dev(), now.ino()) == (held.dev(), held.ino()))
}

/// Whether it has access lists or the like, which a new file would not have.
fn has_attributes(file: &File) -> io::Result<bool> {
    let mut names = [0_u8; ATTRIBUTES];
    match rustix::fs::flistxattr(file, &mut names) {
        Ok(length) => {
            let names = names.get(..length).unwrap_or_default().split(|byte| *byte == 0);
            Ok(names
                .into_iter()
                .any(|name| !name.is_empty() && !name.starts_with(BY_ITSELF.as_bytes())))
        }
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.new"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(addresses: &[&str]) -> Vec<String> {
        addresses.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_managers_say_comes_first_and_nothing_is_forgotten() {
        let merge = |known: &[&str], managers: &[&str]| merged(&list(known), &list(managers));
        assert_eq!(merge(&["a:1"], &["a:1", "b:1"]), Some(list(&["a:1", "b:1"])));
        assert_eq!(merge(&["nat:9"], &["a:1", "b:1"]), Some(list(&["a:1", "b:1", "nat:9"])));
        assert_eq!(merge(&["b:1", "a:1", "c:1"], &["a:1", "b:1"]), None, "all known");
        assert_eq!(merge(&["a:1"], &["\" ]\n:1"]), None, "no address");
        assert_eq!(merge(&["a:1"], &[]), None);
        let many: Vec<String> = (1..=ADDRESSES).map(|n| format!("m:{n}")).collect();
        let full = merged(&many, &list(&["new:1"])).expect("another");
        assert_eq!((full.len(), full[0].as_str()), (ADDRESSES, "new:1"));
    }
}
