//! What holds a service's files: the one seam at which the kinds of mount differ. Names,
//! folders and links are made in the same way on all of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::vault::FileSpec;
use super::error::{At, MountError};
use super::fuse::Share;
use super::{files, system};
use crate::base::SecretBytes;
use crate::domain::MountKind;

/// Which file system holds a service's files.
#[derive(Clone, Debug)]
pub(super) enum Backend {
    /// tmpfs with `noswap`: the kernel keeps the limit.
    Tmpfs,
    /// ramfs: never swapped, without a limit of its own.
    Ramfs,
    /// This process.
    Fuse {
        /// What is shown.
        share: Arc<Share>,
        /// Below this folder the service's mount shows the mount's own folders.
        mounts: PathBuf,
    },
}

impl Backend {
    /// The kind that a service asks for.
    pub(super) const fn kind(&self) -> MountKind {
        match self {
            Self::Tmpfs | Self::Ramfs => MountKind::Tmpfs,
            Self::Fuse { .. } => MountKind::Fuse,
        }
    }

    /// Whether the files are there again when the agent starts again.
    pub(super) const fn outlives_the_agent(&self) -> bool {
        matches!(self, Self::Tmpfs | Self::Ramfs)
    }

    /// Writes one value into a new file, which nobody but root can open until it has its
    /// owner and mode.
    pub(super) fn write(
        &self,
        path: &Path,
        spec: &FileSpec,
        value: &SecretBytes,
    ) -> Result<(), MountError> {
        match self {
            Self::Tmpfs | Self::Ramfs => {
                files::make(path, value.expose())?;
                files::give_away(path, spec)
            }
            Self::Fuse { share, mounts } => {
                let within = within(mounts, path)?;
                files::make(path, &[])?;
                share.put(within, spec, value).at("fill", path)?;
                files::give_away(path, spec)
            }
        }
    }

    /// Reads a value back, straight into its final place.
    pub(super) fn read(&self, path: &Path, spec: &FileSpec) -> Result<SecretBytes, MountError> {
        match self {
            Self::Tmpfs | Self::Ramfs => files::read(path, spec),
            Self::Fuse { share, mounts } => share.value(within(mounts, path)?, spec),
        }
    }

    /// Takes a file's bytes away, then its name: descriptors that are open read end of
    /// file, and its memory holds zeros. A file that isn't there is empty already.
    pub(super) fn empty(&self, path: &Path) -> Result<(), MountError> {
        match self {
            // The kernel gets zeros back.
            Self::Tmpfs | Self::Ramfs => files::overwrite(path)?,
            // At once, whatever the kernel says to the rest.
            Self::Fuse { share, mounts } => share.clear(within(mounts, path)?),
        }
        files::cut(path)
    }

    /// Empties every file below `path`, links removed, then removes the folder. Goes
    /// on after a failure and tells the first one.
    pub(super) fn empty_folder(&self, path: &Path) -> Result<(), MountError> {
        let mut failed = None;
        for entry in files::entries(path)? {
            let inner = path.join(&entry);
            let kind = match fs::symlink_metadata(&inner) {
                Ok(found) => found.file_type(),
                Err(error) => {
                    failed = failed.or(Err::<(), _>(error).at("look at", &inner).err());
                    continue;
                }
            };
            let done = if kind.is_dir() {
                self.empty_folder(&inner)
            } else if kind.is_file() {
                self.empty(&inner)
            } else {
                files::remove(&inner)
            };
            failed = failed.or(done.err());
        }
        match failed {
            None => files::remove_folder(path),
            Some(error) => Err(error),
        }
    }

    /// Of `ours`, the bytes left of a service's limit, what the memory at `at` really has.
    pub(super) fn free(&self, at: &Path, ours: u64) -> Result<u64, MountError> {
        match self {
            Self::Ramfs | Self::Fuse { .. } => Ok(ours),
            Self::Tmpfs => {
                let system = rustix::fs::statfs(at).at("look at the room of", at)?;
                let block = u64::try_from(system.f_bsize).unwrap_or(0);
                Ok(ours.min(system.f_bfree.saturating_mul(block)))
            }
        }
    }

    /// Takes the service's memory away from `at`; it must be empty of files.
    pub(super) fn unmount(&self, at: &Path) -> Result<(), MountError> {
        if let Self::Fuse { mounts, .. } = self {
            let own = mounts.join(super::fuse::FOLDER).join(within(mounts, at)?);
            match fs::remove_dir_all(&own) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error).at("remove the folder", &own);
                }
                Ok(()) | Err(_) => {}
            }
        }
        system::detach(at)?;
        files::remove_folder(at)
    }
}

/// A path as the share knows it.
fn within<'p>(mounts: &Path, path: &'p Path) -> Result<&'p Path, MountError> {
    path.strip_prefix(mounts).map_err(|_| MountError::InTheWay(path.to_owned()))
}
