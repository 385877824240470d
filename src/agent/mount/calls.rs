//! The one way from the mounts to the system: each call says what it is about to do and
//! on which path, so that one that hangs can be named, and so that tests can make any of
//! them fail or hang.

use std::cell::RefCell;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::error::MountError;

/// Which system call a thread is in, for whoever watches that thread.
#[derive(Clone, Debug, Default)]
pub struct Whereabouts(Arc<Mutex<Now>>);

#[derive(Debug, Default)]
struct Now {
    /// `None`: it is in no call.
    what: Option<&'static str>,
    /// Its memory is used again: there are thousands of calls in one change.
    path: PathBuf,
}

thread_local! {
    static HERE: RefCell<Option<Whereabouts>> = const { RefCell::new(None) };
}

impl Whereabouts {
    /// Follows the calling thread from here on.
    pub fn follow(&self) {
        HERE.with(|here| here.replace(Some(self.clone())));
    }

    /// What the thread is doing, as in *open /run/x*; `None`: it is in no call.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        let now = self.0.lock();
        now.what.map(|what| format!("{what} {}", now.path.display()))
    }

    fn set(&self, now: Option<(&'static str, &Path)>) {
        let mut own = self.0.lock();
        own.what = now.map(|(what, _)| what);
        if let Some((_, path)) = now {
            let own = own.path.as_mut_os_string();
            own.clear();
            own.push(path);
        }
    }
}

fn say(now: Option<(&'static str, &Path)>) {
    HERE.with(|here| {
        if let Some(here) = here.borrow().as_ref() {
            here.set(now);
        }
    });
}

/// Makes one system call, or a few that belong together, on `path`.
///
/// # Errors
/// What the system says, with what was tried.
pub(super) fn run<T, E: Into<io::Error>>(
    what: &'static str,
    path: &Path,
    call: impl FnOnce() -> Result<T, E>,
) -> Result<T, MountError> {
    run_io(what, path, call).map_err(|source| MountError::Io {
        what,
        path: path.to_owned(),
        source,
    })
}

/// The same, for a caller that looks at the error itself.
///
/// # Errors
/// What the system says.
pub(super) fn run_io<T, E: Into<io::Error>>(
    what: &'static str,
    path: &Path,
    call: impl FnOnce() -> Result<T, E>,
) -> io::Result<T> {
    say(Some((what, path)));
    #[cfg(test)]
    let done = faults::meet(path).and_then(|()| call().map_err(Into::into));
    #[cfg(not(test))]
    let done = call().map_err(Into::into);
    say(None);
    done
}

/// Calls that fail or hang, as a test has planned them.
#[cfg(test)]
pub(super) mod faults {
    use std::io;
    use std::path::{Path, PathBuf};
    use std::sync::Arc;

    use parking_lot::{Condvar, Mutex};

    static PLANS: Mutex<Vec<(PathBuf, Arc<Plan>)>> = Mutex::new(Vec::new());

    /// What happens to the calls below one folder, while it is kept.
    #[derive(Debug)]
    pub(in crate::agent::mount) struct Plan {
        state: Mutex<State>,
        freed: Condvar,
    }

    #[derive(Debug)]
    struct State {
        seen: usize,
        /// From this call on, counted from 0.
        from: usize,
        /// So many calls.
        count: usize,
        what: What,
        hanging: usize,
    }

    /// What happens to a call.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(in crate::agent::mount) enum What {
        /// It fails with this error number, without having been made.
        Fails(i32),
        /// It waits until the plan is dropped, and is made then.
        Hangs,
    }

    /// Ends the plan when it is dropped: hanging calls go on.
    #[derive(Debug)]
    pub(in crate::agent::mount) struct Planned(Arc<Plan>);

    /// Plans for the calls on paths below `folder`: `count` of them, from number `from` on.
    pub(in crate::agent::mount) fn plan(
        folder: &Path,
        from: usize,
        count: usize,
        what: What,
    ) -> Planned {
        let state = State { seen: 0, from, count, what, hanging: 0 };
        let plan = Arc::new(Plan { state: Mutex::new(state), freed: Condvar::new() });
        PLANS.lock().push((folder.to_owned(), Arc::clone(&plan)));
        Planned(plan)
    }

    impl Planned {
        /// How many calls were made so far.
        pub(in crate::agent::mount) fn seen(&self) -> usize {
            self.0.state.lock().seen
        }

        /// How many calls wait now.
        pub(in crate::agent::mount) fn hanging(&self) -> usize {
            self.0.state.lock().hanging
        }
    }

    impl Drop for Planned {
        fn drop(&mut self) {
            PLANS.lock().retain(|(_, plan)| !Arc::ptr_eq(plan, &self.0));
            self.0.state.lock().count = 0;
            self.0.freed.notify_all();
        }
    }

    pub(super) fn meet(path: &Path) -> io::Result<()> {
        let plan = {
            let plans = PLANS.lock();
            let found = plans.iter().find(|(folder, _)| path.starts_with(folder));
            let Some((_, plan)) = found else { return Ok(()) };
            Arc::clone(plan)
        };
        let mut state = plan.state.lock();
        let number = state.seen;
        state.seen += 1;
        if number < state.from || number - state.from >= state.count {
            return Ok(());
        }
        match state.what {
            What::Fails(error) => Err(io::Error::from_raw_os_error(error)),
            What::Hangs => {
                state.hanging += 1;
                while state.count > 0 {
                    plan.freed.wait(&mut state);
                }
                state.hanging -= 1;
                Ok(())
            }
        }
    }
}
