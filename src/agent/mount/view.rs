//! The service's directory on the host: shown, taken away, and the mount with it.

use std::path::Path;

use super::error::MountError;
use super::service::Mounted;
use super::{files, system};
use crate::agent::vault::layout::LIVE_VIEW;

impl Mounted {
    /// Shows the host's directory at `path`. Done before files come, so that there is no
    /// moment at which a file could be opened for writing through it.
    pub(super) fn show(&mut self, path: &Path) -> Result<(), MountError> {
        if self.shown.as_deref() == Some(path) {
            return Ok(());
        }
        self.hide()?;
        let in_the_way = || MountError::InTheWay(path.to_owned());
        match files::look_at(path)? {
            None => files::folder(path, 0o755)?,
            Some(found) => {
                let is_folder = found.is_dir();
                let listing =
                    if is_folder { files::entries(path)? } else { return Err(in_the_way()) };
                let mounted = system::list(path)?.iter().any(|listed| listed.point == path);
                if mounted || !listing.is_empty() {
                    return Err(in_the_way());
                }
            }
        }
        system::bind_read_only(&self.host(), path)?;
        self.shown = Some(path.to_owned());
        let view = system::bind_read_only(&self.live(), &path.join(LIVE_VIEW));
        if view.is_err() {
            self.hide()?;
        }
        view
    }

    /// Takes the host's directory away.
    pub(super) fn hide(&mut self) -> Result<(), MountError> {
        let Some(path) = self.shown.clone() else { return Ok(()) };
        system::detach(&path)?;
        self.shown = None;
        files::remove_folder(&path)
    }

    /// Takes the whole mount away; it must be empty of files.
    pub(super) fn unmount(&mut self) -> Result<(), MountError> {
        self.hide()?;
        self.backend.unmount(&self.at)
    }
}
