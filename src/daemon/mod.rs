//! Configuration, the roles in a process, drain.

pub mod agent;
pub mod config;
mod data_dir;
pub mod dev;
pub mod exec;
pub mod guard;
pub mod logging;
pub mod manager;
pub mod recover;
mod signals;
mod stay;

pub use data_dir::DataDir;
pub use signals::{Shutdown, Terminator};

use skep_core::base::{Exit, Failure, TooFewDescriptors};

/// The machine gives this process too few descriptors.
fn too_few_descriptors(error: TooFewDescriptors) -> Failure {
    Failure::new(Exit::MachineLimit, error)
        .hint("raise the hard limit: LimitNOFILE= in the systemd unit, or ulimit -Hn")
}
