//! One process, and the mount namespace in which it stands.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;

use procfs_core::{FromBufRead as _, FromRead as _};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::io::unix::AsyncFd;

/// Bytes of a process's `stat`: a name of 64 and some fifty numbers.
const STAT_BYTES: u64 = 4 * 1024;
/// Bytes of a thread's `status`: some sixty lines, and a number for each of 65,536 groups.
const STATUS_BYTES: u64 = 1024 * 1024;
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

    /// The child of this process with this number, which nobody has waited for: it may have
    /// ended already.
    pub(in crate::agent) fn open_ended(pid: i32) -> io::Result<Self> {
        let number = Pid::from_raw(pid).ok_or(io::ErrorKind::NotFound)?;
        let fd = pidfd_open(number, PidfdFlags::NONBLOCK)?;
        let started = started(pid)?;
        Ok(Self { id: Workload { pid: u32::try_from(pid).unwrap_or_default(), started }, fd })
    }

    /// Sends it a signal.
    pub(in crate::agent) fn signal(&self, signal: Signal) -> io::Result<()> {
        match pidfd_send_signal(&self.fd, signal) {
            // It has ended.
            Err(rustix::io::Errno::SRCH) => Ok(()),
            done => Ok(done?),
        }
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

/// When a process started, in clock ticks since boot.
fn started(pid: i32) -> io::Result<u64> {
    let stat = Stat::of(&pid.to_string())?;
    Ok(stat.started)
}

/// What the kernel says of a process in its `stat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    /// As in `ps`: `T` is stopped, `Z` is dead and not yet waited for.
    pub(crate) state: char,
    /// When it started, in clock ticks since boot.
    pub(crate) started: u64,
}

impl Stat {
    /// Of a process (its number, or `self`) as it is now.
    ///
    /// # Errors
    /// There is none, or what the system says.
    pub(crate) fn of(process: &str) -> io::Result<Self> {
        let mut stat = Vec::new();
        File::open(format!("/proc/{process}/stat"))?.take(STAT_BYTES).read_to_end(&mut stat)?;
        Self::parse(&stat).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// The command's name stands in parentheses and may hold anything, also what isn't text.
    fn parse(stat: &[u8]) -> Option<Self> {
        // The crate slices at these signs and takes for granted that they stand so.
        let opens = stat.iter().position(|byte| *byte == b'(')?;
        let closes = stat.iter().rposition(|byte| *byte == b')').filter(|at| *at > opens)?;
        let number = stat.get(..opens)?.strip_suffix(b" ")?;
        let state = stat.get(closes..)?.strip_prefix(b") ")?.first()?;
        if number.is_empty() || !number.iter().all(u8::is_ascii_digit) || !state.is_ascii_graphic()
        {
            return None;
        }
        let stat = procfs_core::process::Stat::from_read(stat).ok()?;
        Some(Self { state: stat.state, started: stat.starttime })
    }
}

/// What the kernel says of a thread in its `status`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::agent) struct Status {
    /// The process that it is a thread of.
    pub(in crate::agent) process: u32,
    /// The process that it is a child of; 0: of none that is seen here.
    pub(in crate::agent) parent: u32,
    /// Its groups beside the first one.
    pub(in crate::agent) groups: Vec<u32>,
}

impl Status {
    /// Of a thread as it is now; `None`: there is none, or it can't be told.
    pub(in crate::agent) fn of(thread: u32) -> Option<Self> {
        let mut status = Vec::new();
        let file = File::open(format!("/proc/{thread}/status")).ok()?;
        file.take(STATUS_BYTES).read_to_end(&mut status).ok()?;
        Self::parse(&status)
    }

    /// The first line is the command's name, which its process chooses: it need not be text,
    /// and a line's end in it is escaped.
    fn parse(status: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(status);
        let status = procfs_core::process::Status::from_buf_read(text.as_bytes()).ok()?;
        let groups = status.groups.into_iter().map(u32::try_from).collect::<Result<_, _>>();
        Some(Self {
            process: u32::try_from(status.tgid).ok()?,
            parent: u32::try_from(status.ppid).ok()?,
            groups: groups.ok()?,
        })
    }
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
        let numbers: Vec<String> = (4..=52).map(|field| (field * 10).to_string()).collect();
        for name in [&b"sh"[..], b"a) R 1 (b", b"\xff\xfe) \n", b"", b"(", b")"] {
            let stat = [b"7 (", name, b") T ", numbers.join(" ").as_bytes(), b"\n"].concat();
            assert_eq!(Stat::parse(&stat), Some(Stat { state: 'T', started: 220 }), "{name:?}");
            for end in 0..stat.len() {
                // None of its beginnings ends this program.
                let _parsed = Stat::parse(stat.get(..end).expect("a part"));
            }
        }
        for bad in [&b"7 (sh"[..], b"7 (sh) 1 2", b"7 (sh)", b"(sh) R 1", b")(", b"7 )x( R 1", b""]
        {
            assert_eq!(Stat::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_status_is_read_whatever_the_name() {
        let own = std::fs::read("/proc/thread-self/status").expect("readable");
        let rest = own.iter().position(|byte| *byte == b'\n').expect("lines");
        let rest = own.get(rest..).expect("lines");
        let plain = Status::parse(&own).expect("a status");
        for name in [&b"sh"[..], b"\xff\xfe", b"", b"PPid:\t0", b"a:b", b"\\nPPid:\t0"] {
            let status = [b"Name:\t", name, rest].concat();
            assert_eq!(Status::parse(&status), Some(plain.clone()), "{name:?}");
        }
        assert_eq!(Status::parse(b""), None);
        assert_eq!(Status::parse(b"\xff"), None);
        let parent = std::os::unix::process::parent_id();
        assert_eq!(Status::of(std::process::id()).map(|status| status.parent), Some(parent));
    }
}
