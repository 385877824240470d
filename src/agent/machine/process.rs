//! One process, and the mount namespace in which it stands.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::io::unix::AsyncFd;

/// Bytes of a process's `stat`: a name of 64 and some fifty numbers.
const STAT_BYTES: u64 = 4 * 1024;
/// In the place of a namespace's number where it is not held: no namespace has it.
pub(in crate::agent) const NO_NAMESPACE: u64 = 0;

/// A process that uses a service's files: two processes with the same number
/// never start at the same tick.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct Workload {
    /// Its process id, as the agent sees it.
    pub pid: u32,
    /// When it started: field 22 of `/proc/PID/stat`, in clock ticks since boot.
    pub started: u64,
}

/// A process that cannot be mistaken for a later one with its number.
#[derive(Debug)]
pub struct Process {
    /// Number and start.
    pub id: Workload,
    fd: OwnedFd,
}

impl Process {
    /// The process with this number now.
    ///
    /// # Errors
    /// There is none, or what the system says.
    pub fn open(pid: i32) -> io::Result<Self> {
        let number = Pid::from_raw(pid).ok_or(io::ErrorKind::NotFound)?;
        // The descriptor first: what is read of /proc after it is this process's
        // as long as the descriptor does not say that it is gone.
        let fd = pidfd_open(number, PidfdFlags::NONBLOCK)?;
        let started = started(pid)?;
        let process =
            Self { id: Workload { pid: u32::try_from(pid).unwrap_or_default(), started }, fd };
        if process.is_gone()? { Err(io::ErrorKind::NotFound.into()) } else { Ok(process) }
    }

    /// The process that was noted, if it still runs.
    pub(in crate::agent) fn again(id: Workload) -> Option<Self> {
        let process = Self::open(i32::try_from(id.pid).ok()?).ok()?;
        (process.id == id).then_some(process)
    }

    /// Whether it is gone.
    pub(in crate::agent) fn is_gone(&self) -> io::Result<bool> {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let mut fds = [PollFd::new(&self.fd, PollFlags::IN)];
        Ok(poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))? > 0)
    }

    /// The inode of its mount namespace.
    pub(in crate::agent) fn namespace(&self) -> io::Result<u64> {
        let inode = namespace_of(&self.id.pid.to_string())?;
        if self.is_gone()? { Err(io::ErrorKind::NotFound.into()) } else { Ok(inode) }
    }

    /// Its mount namespace: as long as it is held, no other one gets its inode.
    pub(in crate::agent) fn hold_namespace(&self) -> io::Result<File> {
        let held = File::open(format!("/proc/{}/ns/mnt", self.id.pid))?;
        if self.is_gone()? { Err(io::ErrorKind::NotFound.into()) } else { Ok(held) }
    }

    /// Waits until it is gone.
    pub(in crate::agent) async fn gone(self) -> io::Result<()> {
        #[allow(
            deprecated,
            reason = "its danger is a descriptor that changes; an OwnedFd's does not"
        )]
        let fd = AsyncFd::with_interest(self.fd, tokio::io::Interest::READABLE)?;
        fd.readable().await?.retain_ready();
        Ok(())
    }
}

/// The inode of the mount namespace of `who`: a process id or `self`.
pub(in crate::agent) fn namespace_of(who: &str) -> io::Result<u64> {
    Ok(fs::metadata(format!("/proc/{who}/ns/mnt"))?.ino())
}

/// When a process started, in clock ticks since boot: field 22 of its `stat`.
fn started(pid: i32) -> io::Result<u64> {
    let mut stat = Vec::new();
    File::open(format!("/proc/{pid}/stat"))?.take(STAT_BYTES).read_to_end(&mut stat)?;
    start_in(&stat).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// The command's name stands in parentheses and may hold anything, also what isn't text.
fn start_in(stat: &[u8]) -> Option<u64> {
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(stat.get(end.checked_add(1)?..)?).ok()?;
    rest.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// Names this boot of the machine: process numbers of another mean nothing.
///
/// # Errors
/// What the system says.
pub fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_again_and_a_dead_one_is_not() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("starts");
        let pid = i32::try_from(child.id()).expect("a pid");
        let process = Process::open(pid).expect("runs");
        assert!(Process::again(process.id).is_some());
        let other = Workload { started: process.id.started + 1, ..process.id };
        assert!(Process::again(other).is_none());
        child.kill().expect("killed");
        child.wait().expect("reaped");
        assert!(Process::again(process.id).is_none());
        assert!(process.namespace().is_err());
        assert!(Process::open(0).is_err());
    }

    #[test]
    fn a_name_that_is_no_text_hides_no_process() {
        let numbers: Vec<String> = (3..=52).map(|field| (field * 10).to_string()).collect();
        for name in [&b"sh"[..], b"a) R 1 (b", b"\xff\xfe) \n", b""] {
            let stat = [b"7 (", name, b") ", numbers.join(" ").as_bytes(), b"\n"].concat();
            assert_eq!(start_in(&stat), Some(220), "{name:?}");
        }
        assert_eq!(start_in(b"7 (sh"), None);
        assert_eq!(start_in(b"7 (sh) 1 2"), None);
    }
}
