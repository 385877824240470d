//! What the leader does when it is asked to change something.
//!
//! It deliberately knows no connection and no phase: whoever calls was admitted, and this
//! manager runs. Whether a change is allowed to its caller is asked here once more, for each
//! change, now that it is read.

pub(in crate::manager) mod apply;
pub(in crate::manager) mod issuer;
pub(in crate::manager) mod operators;
pub(in crate::manager) mod put;
pub(in crate::manager) mod resume;
pub(in crate::manager) mod rewrap;
pub(in crate::manager) mod time;
pub(in crate::manager) mod tokens;
