//! What a running manager does by itself, whether or not anybody calls.
//!
//! It deliberately answers nobody: what it finds out stands in the running manager.

pub(in crate::manager) mod certificate;
pub(in crate::manager) mod clocks;
pub(in crate::manager) mod consensus;
pub(in crate::manager) mod disk;
pub(in crate::manager) mod facts;
pub(in crate::manager) mod issuers;
