//! The limit of open files: raised at start, given back to what is started.

use std::io;
use std::sync::OnceLock;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use skep_core::base::Descriptors;

/// What the limit was before it was raised.
static BEFORE: OnceLock<Rlimit> = OnceLock::new();

/// Raises the soft limit of open files to the hard one, and says what it is now. To be
/// called before anything opens many.
///
/// # Errors
/// What the system says.
pub fn raise_open_files() -> io::Result<Descriptors> {
    let before = getrlimit(Resource::Nofile);
    let before = BEFORE.get_or_init(|| before);
    let raised = Rlimit { current: before.maximum, maximum: before.maximum };
    setrlimit(Resource::Nofile, raised)?;
    // None: as many as there are.
    let most = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    Ok(Descriptors::new(usize::try_from(most).unwrap_or(usize::MAX)))
}

/// Gives the limit back its old value, for the program that this one becomes: programs
/// that use `select` break where descriptors have numbers beyond 1,023.
///
/// # Errors
/// What the system says.
pub fn give_back_open_files() -> io::Result<()> {
    BEFORE.get().map_or(Ok(()), |before| Ok(setrlimit(Resource::Nofile, *before)?))
}

/// Lowers the soft limit of open files to `most`, for a process that needs few.
///
/// # Errors
/// What the system says.
pub fn lower_open_files(most: u64) -> io::Result<()> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let current = Some(current.map_or(most, |current| current.min(most)));
    Ok(setrlimit(Resource::Nofile, Rlimit { current, maximum })?)
}
