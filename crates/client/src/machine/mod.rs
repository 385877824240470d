//! The real clock and the real dice of this machine.

mod clock;
mod dice;

pub use clock::SystemClock;
pub use dice::{OsDice, os_dice};
