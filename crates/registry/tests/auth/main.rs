//! The token server as a process, over folders like those that the agent makes.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "helpers of a test fail it by panicking"
)]

mod accounts;
mod client;
mod commands;
mod damage;
mod explain;
mod memory;
mod record;
mod registry;
mod requests;
mod revoked;
mod server;
mod site;
