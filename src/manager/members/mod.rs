//! Who belongs to the cluster: joining, voting, removal, and whether this manager still
//! belongs itself, and whose certificates are renewed.
//!
//! It deliberately knows no phase and no RPC: all of it is asked of a manager that runs.

pub(in crate::manager) mod anchors;
pub(in crate::manager) mod belonging;
pub(in crate::manager) mod issuers;
pub(in crate::manager) mod join;
pub(in crate::manager) mod moves;
pub(in crate::manager) mod others;
pub(in crate::manager) mod recognise;
pub(in crate::manager) mod removal;
pub(in crate::manager) mod renew;
pub(in crate::manager) mod sign;
pub(in crate::manager) mod standing;
pub(in crate::manager) mod voters;
