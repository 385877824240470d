//! This machine: the real clock, dice and disk, and what hardens a process.

mod clock;
mod dice;
mod disk;
mod harden;
mod open_files;

pub use clock::SystemClock;
pub use dice::{OsDice, os_dice};
pub use disk::RealDisk;
pub use harden::harden;
pub use open_files::{give_back_open_files, lower_open_files, raise_open_files};
