//! What Skep knows: its words, the cluster's state and how it may change, how bytes are
//! locked, and the shapes of messages and stored records.
//!
//! Everything here is pure: no task, file, socket, clock or random number. What needs one
//! takes a [`base::Clock`], [`base::Dice`] or [`base::Disk`]. `tests/tidy` of the main
//! crate holds that.

#![forbid(unsafe_code)]

#[cfg(all(feature = "testing", not(debug_assertions)))]
compile_error!("the feature `testing` is for debug builds alone");

pub mod audit;
pub mod base;
pub mod domain;
pub mod seal;
pub mod wire;
