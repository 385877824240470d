//! Skep keeps secrets for fleets of Linux machines.
//!
//! The modules stand in rings, above those of `skep-core` and `skep-client`; a module
//! imports only from rings below its own (ARCHITECTURE.md draws them, `tests/tidy`
//! holds them).

#![forbid(unsafe_code)]

pub mod agent;
pub mod cli;
pub mod consensus;
pub mod daemon;
pub mod host;
pub mod manager;
pub mod store;
