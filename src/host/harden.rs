//! What every Skep process does first: no core dumps, not traceable (P1, P5), and memory
//! goes back when it is freed (P11).

use std::env::var_os;

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// Of machines that hibernate, which the pages would forbid; and of tests.
const NO_MEMFD_SECRET: &str = "SKEP_NO_MEMFD_SECRET";

/// Sets the core limit to 0 and the process not dumpable. Keys get pages that nobody else
/// reads, unless the environment forbids those. Large allocations go back when they are freed.
///
/// # Errors
/// What the system says: the process must not go on then.
pub fn harden() -> std::io::Result<()> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    if var_os(NO_MEMFD_SECRET).is_some() {
        locked_pages::without_memfd_secret();
    }
    locked_pages::give_back_large_allocations();
    Ok(())
}
