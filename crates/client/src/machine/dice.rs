//! The system's random source.

use skep_core::base::Dice;

/// `getrandom(2)`.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsDice;

impl Dice for OsDice {
    fn fill(&mut self, into: &mut [u8]) {
        // A machine without randomness can keep no secret: there is no way on.
        if getrandom::fill(into).is_err() {
            std::process::abort();
        }
    }
}

/// Dice for a thread of its own.
#[must_use]
pub fn os_dice() -> Box<dyn Dice> {
    Box::new(OsDice)
}
