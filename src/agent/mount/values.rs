//! A value of the set in place, for whoever is given bytes and not files.

use std::time::Duration;

use super::slot::Keeping;
use super::{MountError, Mounts};
use skep_core::base::{SecretBytes, ServiceId, Target};
use skep_core::domain::MountKind;

/// How long somebody who works on the files is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why there is no value.
#[derive(Debug, thiserror::Error)]
pub enum NoValue {
    /// Somebody works on the files, and goes on doing so.
    #[error("its files are being worked on")]
    Busy,
    /// Nothing is in place.
    #[error("its set is not in place")]
    NotHere,
    /// Each read is to be decided on, and whoever has bytes is asked no more.
    #[error(
        "it is served by FUSE, which knows each reader: use files, or make it without --mount fuse"
    )]
    Served,
    /// There is none of these files.
    #[error("it has no file {0}")]
    NoFile(Target),
    /// What the system says.
    #[error(transparent)]
    Mount(#[from] MountError),
}

impl Mounts {
    /// The value of the first of these files that the set in place has.
    ///
    /// # Errors
    /// [`NoValue`].
    pub fn value_of(&self, service: ServiceId, targets: &[Target]) -> Result<SecretBytes, NoValue> {
        let slot = self.slot_of(service).ok_or(NoValue::NotHere)?;
        let place = slot.place.try_lock_for(PATIENCE).ok_or(NoValue::Busy)?;
        let Keeping::Mounted(mounted) = &place.keeping else { return Err(NoValue::NotHere) };
        if mounted.backend.kind() == MountKind::Fuse {
            return Err(NoValue::Served);
        }
        let current = mounted.record.current().ok_or(NoValue::NotHere)?;
        let mut files = targets.iter().filter_map(|target| current.file(target.as_str()));
        match (files.next(), targets.first()) {
            (Some(file), _) => Ok(mounted.read(current.number, file)?),
            (None, Some(target)) => Err(NoValue::NoFile(target.clone())),
            (None, None) => Err(NoValue::NotHere),
        }
    }
}
