//! What holds a service's files: the one seam at which the kinds of mount differ. Names,
//! folders and links are made in the same way on all of them.

use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::calls::run;
use super::error::MountError;
use super::folder::Folder;
use super::fuse::Share;
use super::{brute, files, system};
use crate::agent::vault::{FileSpec, layout};
use skep_core::base::SecretBytes;
use skep_core::domain::MountKind;

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

    /// Whether the memory of files is the kernel's, which gets zeros back.
    pub(super) const fn wants_zeros(&self) -> bool {
        matches!(self, Self::Tmpfs | Self::Ramfs)
    }

    /// Writes one value into a new file in `folder`, which nobody but root can open until it
    /// has its owner and mode. Answers the write access to it.
    pub(super) fn write(
        &self,
        folder: &Folder,
        spec: &FileSpec,
        value: &SecretBytes,
    ) -> Result<File, MountError> {
        let name = OsStr::new(spec.target.as_str());
        let path = &folder.path().join(name);
        let file = match self {
            Self::Tmpfs | Self::Ramfs => folder.make(name, value.expose())?,
            Self::Fuse { share, mounts } => {
                let within = within(mounts, path)?;
                let file = folder.make(name, &[])?;
                run("fill", path, || share.put(within, Some(spec), value))?;
                file
            }
        };
        files::give_away(&file, path, spec)?;
        Ok(file)
    }

    /// Writes what is no secret into a new file, which nobody but root can open until it has
    /// its mode. Opens of it are not written down.
    pub(super) fn write_open(&self, path: &Path, bytes: &[u8]) -> Result<File, MountError> {
        match self {
            Self::Tmpfs | Self::Ramfs => files::make(path, bytes),
            Self::Fuse { share, mounts } => {
                let within = within(mounts, path)?;
                let file = files::make(path, &[])?;
                run("fill", path, || share.put(within, None, &SecretBytes::copy_of(bytes)))?;
                Ok(file)
            }
        }
    }

    /// Another version of the same value is shown from here on: what is written down of opens
    /// names it.
    pub(super) fn rename_version(&self, path: &Path, spec: &FileSpec) -> Result<(), MountError> {
        if let Self::Fuse { share, mounts } = self {
            share.rename_version(within(mounts, path)?, spec);
        }
        Ok(())
    }

    /// Reads a value back, straight into its final place.
    pub(super) fn read(
        &self,
        path: &Path,
        held: Option<&File>,
        spec: &FileSpec,
    ) -> Result<SecretBytes, MountError> {
        match self {
            Self::Tmpfs | Self::Ramfs => files::read(path, held, spec),
            Self::Fuse { share, mounts } => share.value(within(mounts, path)?, spec),
        }
    }

    /// Takes a file's bytes away, then its name: descriptors that are open read end of
    /// file, and its memory holds zeros. A file that isn't there is empty already.
    pub(super) fn empty(&self, path: &Path, held: Option<&File>) -> Result<(), MountError> {
        if let Self::Fuse { share, mounts } = self {
            // At once, whatever the kernel says to the rest.
            share.clear(within(mounts, path)?);
        }
        files::empty_at(path, held, self.wants_zeros())
    }

    /// Empties every file below `path`, whoever made it, then removes the folder. Goes
    /// on after a failure and tells the first one.
    pub(super) fn empty_folder(&self, path: &Path) -> Result<(), MountError> {
        if let Self::Fuse { share, mounts } = self {
            share.clear_below(within(mounts, path)?);
        }
        brute::clear(path, self.wants_zeros())
    }

    /// Of `ours`, the bytes left of a service's limit, what the memory at `at` really has.
    pub(super) fn free(&self, at: &Path, ours: u64) -> Result<u64, MountError> {
        match self {
            Self::Ramfs | Self::Fuse { .. } => Ok(ours),
            Self::Tmpfs => {
                let system = run("look at the room of", at, || rustix::fs::statfs(at))?;
                let block = u64::try_from(system.f_bsize).unwrap_or(0);
                Ok(ours.min(system.f_bfree.saturating_mul(block)))
            }
        }
    }

    /// Takes the service's memory away from `at`; it must be empty of files.
    pub(super) fn unmount(&self, at: &Path) -> Result<(), MountError> {
        if let Self::Fuse { mounts, .. } = self {
            let own = mounts.join(layout::SERVED).join(within(mounts, at)?);
            brute::clear(&own, false)?;
        }
        system::detach(at)?;
        files::remove_folder(at)
    }
}

/// A path as the share knows it.
fn within<'p>(mounts: &Path, path: &'p Path) -> Result<&'p Path, MountError> {
    path.strip_prefix(mounts).map_err(|_| MountError::InTheWay(path.to_owned()))
}
