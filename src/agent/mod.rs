//! What a node does, in rooms with arrows one way: `machine` and `vault` know no other,
//! `mount`, `workload` and `hook` know these two, `session` knows `vault`, `member` none of them,
//! `run` knows all of these, `docker` serves a container engine by `run`, and `doors` know
//! `run`, `docker`, `session` and what is told of them: `problem`.
//!
//! It deliberately has no way to ask a manager for a secret by name.

pub mod docker;
pub mod doors;
pub mod hook;
pub mod machine;
pub mod member;
pub mod mount;
mod problem;
pub mod run;
pub mod session;
#[cfg(test)]
mod tests;
pub mod vault;
pub mod workload;
