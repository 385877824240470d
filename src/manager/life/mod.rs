//! The life of one manager: from an empty folder over a closed key file to a running one,
//! and to its end.
//!
//! It deliberately serves nobody, and knows nothing of what a running manager does by itself.

pub(in crate::manager) mod enter;
pub(in crate::manager) mod folder;
pub(in crate::manager) mod init;
pub(in crate::manager) mod leave;
pub(in crate::manager) mod lifecycle;
pub(in crate::manager) mod phase;
pub(in crate::manager) mod repair;
pub(in crate::manager) mod unlock;
