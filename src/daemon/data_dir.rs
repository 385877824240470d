//! A daemon's data directory: one process at a time has it.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use skep_core::base::{Disk, Exit, Failure};

/// A data directory that this process has to itself, until this is dropped.
#[derive(Debug)]
pub struct DataDir {
    _lock: File,
}

impl DataDir {
    /// Makes the folder with mode 0700 if it is not there, and locks it.
    ///
    /// # Errors
    /// [`Exit::InUse`] if another process has it; [`Exit::Configuration`] if
    /// others than its owner may enter it, or it cannot be made.
    pub fn open(disk: &dyn Disk, folder: &Path) -> Result<Self, Failure> {
        let shown = folder.display();
        disk.create_folder(folder).map_err(|error| {
            Failure::new(Exit::Configuration, format!("data directory {shown}: {error}"))
                .hint("name another one with --data-dir, or make it yourself with mode 0700")
        })?;
        let found = std::fs::metadata(folder).map_err(|error| {
            Failure::new(Exit::Configuration, format!("data directory {shown}: {error}"))
        })?;
        if found.mode() & 0o077 != 0 {
            return Err(Failure::new(
                Exit::Configuration,
                format!("data directory {shown}: others than its owner may enter it"),
            )
            .hint(format!("chmod 0700 {shown}")));
        }
        let path = folder.join("lock");
        let mut options = OpenOptions::new();
        let options = options.write(true).create(true).truncate(false).mode(0o600);
        let lock = options.open(&path).map_err(|error| {
            Failure::new(Exit::Configuration, format!("{}: {error}", path.display()))
                .hint("it is an empty file, which its owner must be able to write")
        })?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { _lock: lock }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(Failure::new(
                Exit::InUse,
                format!("data directory {shown} is in use by another process"),
            )
            .hint("stop that one first, or give this one another --data-dir")),
            Err(error) => Err(Failure::new(
                Exit::Configuration,
                format!("{}: cannot be locked: {error}", path.display()),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::host::RealDisk;

    #[test]
    fn a_folder_has_one_process() {
        let outer = tempfile::tempdir().expect("a folder");
        let folder = outer.path().join("data");
        let first = DataDir::open(&RealDisk, &folder).expect("opens");
        assert_eq!(std::fs::metadata(&folder).expect("there").mode() & 0o777, 0o700);
        let second = DataDir::open(&RealDisk, &folder).expect_err("locked");
        assert_eq!(second.exit, Exit::InUse);
        drop(first);
        DataDir::open(&RealDisk, &folder).expect("free again");
        std::fs::set_permissions(&folder, PermissionsExt::from_mode(0o755)).expect("changed");
        let open = DataDir::open(&RealDisk, &folder).expect_err("others may enter");
        assert_eq!(open.exit, Exit::Configuration);
    }
}
