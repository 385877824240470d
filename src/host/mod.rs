//! This machine: the real disk, and what hardens a process. The real clock and dice, which
//! clients need too, are `skep_client::machine`.

mod disk;
mod harden;
mod open_files;

pub use disk::RealDisk;
pub use harden::harden;
pub use open_files::{give_back_open_files, lower_open_files, raise_open_files};
