//! This machine: the real clock, dice and disk, and what hardens a process.

mod clock;
mod dice;
mod disk;
mod harden;

pub use clock::SystemClock;
pub use dice::{OsDice, os_dice};
pub use disk::RealDisk;
pub use harden::harden;
