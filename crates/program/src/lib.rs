//! What the programs beside `skep` share: the flags that lead to managers, where answers go,
//! how a usage error is told, and a process that keeps secrets. `skep` itself has its manual
//! pages from here.
//!
//! It knows nothing of what a program is for.

#![forbid(unsafe_code)]

mod pages;
mod process;
mod screen;
mod usage;
mod way;

pub use pages::{completion, man, man_pages};
pub use process::{harden, until_ended};
pub use screen::Screen;
pub use usage::{Program, ended, run};
pub use way::{HostArgs, WaitArgs, Way, WayArgs};
