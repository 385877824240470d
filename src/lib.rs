//! Skep keeps secrets for fleets of Linux machines.
//!
//! The modules stand in rings; a module imports only from rings below its own
//! (ARCHITECTURE.md draws them, `tests/tidy.rs` holds them).

#![forbid(unsafe_code)]

pub mod agent;
pub mod audit;
pub mod base;
pub mod ca;
pub mod cli;
pub mod consensus;
pub mod daemon;
pub mod domain;
pub mod host;
pub mod manager;
pub mod seal;
pub mod store;
pub mod transport;
pub mod wire;
