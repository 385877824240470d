//! What every Skep process does first: no core dumps, not traceable (P1, P5).

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// Sets the core limit to 0 and the process not dumpable.
///
/// # Errors
/// What the system says: the process must not go on then.
pub fn harden() -> std::io::Result<()> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(())
}
