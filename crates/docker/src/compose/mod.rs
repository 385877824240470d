//! A Compose file's `secrets:` sections: which secrets, services and grants they come to, and
//! the lines that take their place. PURE.

mod file;
mod lines;
mod plan;

pub(crate) use lines::lines;
pub(crate) use plan::{Plan, SecretPlan, Source, plan};

/// Bytes of a Compose file.
pub(crate) const FILE_BYTES: usize = 1024 * 1024;
