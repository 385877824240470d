//! What the set in place is made of, for whoever writes the next one.

use std::time::Duration;

use super::Mounts;
use super::slot::Keeping;
use skep_core::base::{Name, SecretId, ServiceId, Target};

/// How long somebody who works on the files is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// Some files of the set that is in place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InPlace {
    /// Whose service it is.
    pub owner_uid: u32,
    /// What `..data` names.
    pub generation: String,
    /// Of each file: which secret, and the number of its version.
    pub files: Vec<(SecretId, u32)>,
}

/// Why nothing is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotTold {
    /// Somebody works on the files, and goes on doing so.
    Busy,
    /// No set is in place.
    Nothing,
    /// The set has no file of this name.
    NoFile(Target),
}

impl Mounts {
    /// The service of that name of which something is here.
    pub fn named(&self, name: &Name) -> Option<ServiceId> {
        let all = self.all().into_iter();
        all.filter(|slot| slot.is_shown_as(name)).map(|slot| slot.service).next()
    }

    /// Files of the set that is in place, in the order in which they are asked for.
    ///
    /// # Errors
    /// [`NotTold`].
    pub fn in_place(&self, service: ServiceId, targets: &[Target]) -> Result<InPlace, NotTold> {
        let slot = self.slot_of(service).ok_or(NotTold::Nothing)?;
        let place = slot.place.try_lock_for(PATIENCE).ok_or(NotTold::Busy)?;
        let Keeping::Mounted(mounted) = &place.keeping else { return Err(NotTold::Nothing) };
        let current = mounted.record.current().ok_or(NotTold::Nothing)?;
        let file = |target: &Target| {
            let found = current.file(target.as_str());
            let found = found.ok_or_else(|| NotTold::NoFile(target.clone()))?;
            Ok((found.secret, found.number))
        };
        Ok(InPlace {
            owner_uid: mounted.record.owner.uid,
            generation: format!("..{}", current.number),
            files: targets.iter().map(file).collect::<Result<_, _>>()?,
        })
    }
}
