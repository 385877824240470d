//! What a connection and the managers' intake key agreed on (docs/keys.md, 5): drawn when the
//! first value is sealed for it, and anew from time to time.

use std::time::{Duration, Instant};

use skep_core::base::Dice;
use skep_core::seal::{IntakeAgreement, IntakePublic, SealError};

/// How long one serves: whoever reads this process's memory learns what was sealed within it.
const LIFE: Duration = Duration::from_secs(10);

/// The one in use, from when, and with which key.
#[derive(Debug, Default)]
pub(super) struct Agreed(Option<(IntakeAgreement, Instant, IntakePublic)>);

impl Agreed {
    /// The one in use; a new one where the key is another, or the last is old.
    ///
    /// # Errors
    /// [`SealError::LowOrder`].
    pub(super) fn with(
        &mut self,
        dice: &mut dyn Dice,
        intake: &IntakePublic,
    ) -> Result<&IntakeAgreement, SealError> {
        let in_use =
            self.0.take().filter(|(_, since, with)| with == intake && since.elapsed() < LIFE);
        let in_use = match in_use {
            Some(in_use) => in_use,
            None => (IntakeAgreement::draw(dice, intake)?, Instant::now(), *intake),
        };
        Ok(&self.0.insert(in_use).0)
    }
}
