//! This machine: its processes, what is mounted, and a command's own mount namespace.
//!
//! Everything that is read of a process is hostile: it is bytes, and bounded. It
//! deliberately knows nothing of leaders, sets or values.

mod cgroup;
pub(crate) mod mounts;
mod namespace;
mod process;

pub use cgroup::UnitGroup;
pub use namespace::{NamespaceError, User, enter, show_again};
pub(crate) use process::Stat;
pub(super) use process::{NO_NAMESPACE, Status, namespace_of};
pub use process::{Process, Workload, boot_id};
