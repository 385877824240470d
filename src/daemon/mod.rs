//! Configuration, the roles in a process, drain.

pub mod agent;
pub mod config;
mod data_dir;
pub mod dev;
pub mod exec;
mod exit;
pub mod guard;
pub mod logging;
pub mod manager;
mod signals;

pub use data_dir::{DataDir, bind};
pub use exit::{Exit, Failure};
pub use signals::{Shutdown, Terminator};
