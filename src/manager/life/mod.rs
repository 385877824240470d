//! The life of one manager: from an empty folder over a closed key file to a running one,
//! and to its end.
//!
//! It deliberately serves nobody, and doesn't know how a running manager is brought to serve:
//! that it is told when it is opened (`lifecycle::Serve`).

pub(in crate::manager) mod audit;
pub(in crate::manager) mod begin;
pub(in crate::manager) mod enter;
pub(in crate::manager) mod folder;
pub(in crate::manager) mod identity;
pub(in crate::manager) mod init;
pub(in crate::manager) mod key_file;
pub(in crate::manager) mod leave;
pub(in crate::manager) mod lifecycle;
pub(in crate::manager) mod phase;
pub(in crate::manager) mod prepared;
pub(in crate::manager) mod recover;
pub(in crate::manager) mod renewal;
pub(in crate::manager) mod repair;
pub(in crate::manager) mod unlock;
