//! What a node does: session, vault, mounts, workloads.
//!
//! `session` decides, `driver` waits and acts, `worker` gives out work on the mounts, in
//! `lanes`, to `hands` that open values and keep them, `workload` knows processes and
//! `workloads` follows them, `notes` writes down for the next agent which there are, `local`
//! answers this machine.
//! It deliberately has no way to ask a manager for a secret by name.

mod book;
mod driver;
mod hands;
pub mod join;
mod lanes;
mod link;
pub mod local;
pub mod mount;
pub mod namespace;
mod notes;
pub mod session;
#[cfg(test)]
mod tests;
pub mod vault;
mod worker;
pub mod workload;
mod workloads;

pub use book::{Book, BookError};
pub use driver::{Broken, Driver, Granted, Handle};
pub use link::{Link, LinkEvent, Links, Machine};
pub use notes::Notes;
pub use worker::{Report, Worker, shelf_of};
pub use workloads::Workloads;
