//! What `skep agent run` starts beside itself while it serves files (FUSE): a process that
//! lets go whoever waits for an agent that was stopped.
//!
//! A stopped process answers nothing and closes nothing, so a reader would wait for ever,
//! and so would `df`. This one looks whether the agent is stopped (by a signal or a
//! debugger); if it stays so it ends the connection, and who waits gets an error.
//! It holds no secret and decides nothing else; when the agent ends, it ends.

use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::mount::{UnmountFlags, unmount};
use rustix::process::getppid;

use crate::agent::machine::Stat;
use crate::host::lower_open_files;
use skep_core::base::{Exit, Failure};

/// Between two looks.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 500_000_000 };
/// Open files that this process may have: standard streams and what it looks at.
const OPEN_FILES: u64 = 64;
/// Looks in a row that find the agent stopped, before the connection is ended.
const LOOKS: u32 = 6;

/// Guards the mount at `point` for the process that started this one, until its end of
/// stdin is closed.
///
/// # Errors
/// There is no such process.
pub fn run(point: &Path) -> Result<(), Failure> {
    // The agent's own limit was raised: this process needs few.
    if let Err(error) = lower_open_files(OPEN_FILES) {
        tracing::debug!(event = "limit_not_lowered", %error);
    }
    // Handlers stay as long as the process, also without the runtime that set them.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outlives =
        runtime.and_then(|runtime| runtime.block_on(async { super::signals::outlive() }));
    if let Err(error) = outlives {
        tracing::debug!(event = "signals_not_handled", %error);
    }
    let none = || Failure::new(Exit::Usage, "there is no agent to look after");
    let agent = getppid().ok_or_else(none)?.as_raw_nonzero().get();
    let input = rustix::stdio::stdin();
    let mut stopped = 0;
    loop {
        let mut fds = [PollFd::new(&input, PollFlags::IN)];
        match poll(&mut fds, Some(&LOOK)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            // The agent never writes: its end was closed.
            Ok(_) | Err(_) => return Ok(()),
        }
        stopped = if is_stopped(agent) { stopped + 1 } else { 0 };
        if stopped == LOOKS {
            tracing::warn!(event = "agent_stopped", agent, "ending its FUSE connection");
            // Whether or not the mount can go, the connection ends.
            unmount(point, UnmountFlags::FORCE | UnmountFlags::NOFOLLOW).ok();
        }
    }
}

/// Whether a process is stopped, by a signal (T) or a debugger (t).
fn is_stopped(pid: i32) -> bool {
    Stat::of(&pid.to_string()).is_ok_and(|stat| matches!(stat.state, 'T' | 't'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stopped_process_is_seen() {
        assert!(!is_stopped(0));
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let number = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(number, rustix::process::Signal::STOP).unwrap();
        rustix::process::waitpid(Some(number), rustix::process::WaitOptions::UNTRACED).unwrap();
        assert!(is_stopped(pid));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
