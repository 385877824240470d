//! What is to be done once another set is in place: each generation is handed out once.

use super::slot::Keeping;
use super::{MountError, Mounts};
use crate::agent::vault::HookDue;
use skep_core::base::ServiceId;

impl Mounts {
    /// What is to be done about the generation in place, the first time that it is asked for.
    /// Before it is handed out it is written down that it was: an agent that dies after that
    /// leaves nothing to be done again. A set that was the first one, with nobody who used
    /// the service, asks for nothing.
    ///
    /// # Errors
    /// It can't be written down; then it is handed out later.
    pub fn take_change(&self, service: ServiceId) -> Result<Option<HookDue>, MountError> {
        let Some(slot) = self.slot_of(service) else { return Ok(None) };
        let mut place = slot.place.lock();
        let Keeping::Mounted(mounted) = &mut place.keeping else { return Ok(None) };
        let Some(changed) = mounted.record.changed.take() else { return Ok(None) };
        if let Err(error) = mounted.save() {
            mounted.record.changed = Some(changed);
            return Err(error);
        }
        // One that was replaced, or wiped, before anybody asked is not in place any more.
        let in_place = mounted.record.current().is_some_and(|one| one.number == changed);
        Ok(in_place.then(|| HookDue {
            service,
            name: mounted.record.name.clone(),
            generation: changed,
            on_change: mounted.record.on_change.clone(),
            path: mounted.shown.clone(),
        }))
    }
}
