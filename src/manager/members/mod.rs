//! Who belongs to the cluster: joining, voting, removal, and whether this manager still
//! belongs itself.
//!
//! It deliberately knows no phase: all of it is asked of a manager that runs.

pub(in crate::manager) mod belonging;
pub(in crate::manager) mod join;
pub(in crate::manager) mod removal;
pub(in crate::manager) mod voters;
