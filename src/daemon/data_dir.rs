//! A daemon's data directory and socket: one process at a time has them.

use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use tokio::net::UnixListener;

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

/// Listens on a socket with these permissions, in the place of one that nobody
/// listens on any more. Call it inside the runtime.
///
/// # Errors
/// [`Exit::InUse`] if somebody listens there, [`Exit::Configuration`] else.
pub fn bind(path: &Path, mode: u32) -> Result<UnixListener, Failure> {
    let shown = path.display();
    let failed = |error: std::io::Error| {
        Failure::new(Exit::Configuration, format!("socket {shown}: {error}"))
            .hint("name another one with --socket")
    };
    if let Some(folder) = path.parent() {
        std::fs::DirBuilder::new().recursive(true).mode(0o755).create(folder).map_err(failed)?;
    }
    match UnixStream::connect(path) {
        Ok(_) => {
            return Err(Failure::new(Exit::InUse, format!("socket {shown} is in use"))
                .hint("another process serves it: stop that one, or name another with --socket"));
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            // Anything else than a socket refuses connections too, and may be dear to somebody.
            if !std::fs::symlink_metadata(path).map_err(failed)?.file_type().is_socket() {
                return Err(failed(std::io::Error::other(
                    "something stands there that is no socket",
                )));
            }
            std::fs::remove_file(path).map_err(failed)?;
        }
        Err(error) => return Err(failed(error)),
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).map_err(failed)?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
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

    #[tokio::test]
    async fn a_dead_socket_is_replaced_and_a_live_one_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("run/a.sock");
        let listener = bind(&path, 0o600).expect("binds");
        assert_eq!(std::fs::metadata(&path).expect("there").mode() & 0o777, 0o600);
        assert_eq!(bind(&path, 0o600).expect_err("in use").exit, Exit::InUse);
        drop(listener);
        bind(&path, 0o600).expect("replaced");
        let file = folder.path().join("file");
        drop(File::create(&file).expect("a file"));
        assert_eq!(bind(&file, 0o600).expect_err("no socket").exit, Exit::Configuration);
        assert!(file.exists(), "what is no socket stays");
    }
}
