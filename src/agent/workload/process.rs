//! One process, and the processes of one mount namespace.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::io::unix::AsyncFd;

use crate::agent::vault::Workload;
use crate::base::ServiceId;

/// Where a private namespace shows the secrets.
const SHOWN_AT: &str = "/run/secrets";
/// What of a service's mount it shows there.
const SHOWN: &str = "/live";

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

    fn is_gone(&self) -> io::Result<bool> {
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

/// A private mount namespace of `skep exec`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Enclosure {
    /// The namespace's inode.
    pub namespace: u64,
    /// The device of the service's mount that it shows.
    pub device: u64,
    /// Which service: services that the agent serves itself have one device.
    pub service: ServiceId,
}

impl Enclosure {
    /// Processes that live in it, or in a namespace that was copied from it.
    pub(in crate::agent) fn members(self) -> io::Result<Vec<Process>> {
        let mut known: HashMap<u64, bool> = HashMap::from([(self.namespace, true)]);
        let mut members = Vec::new();
        for entry in fs::read_dir("/proc")? {
            let name = entry?.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else {
                continue;
            };
            // A process that goes while it is looked at is none.
            let Ok(namespace) = namespace_of(&pid.to_string()) else { continue };
            let inside =
                *known.entry(namespace).or_insert_with(|| self.shown_to(pid).unwrap_or(false));
            if !inside {
                continue;
            }
            if let Ok(process) = Process::open(pid)
                && process.namespace().is_ok_and(|now| now == namespace)
            {
                members.push(process);
            }
        }
        Ok(members)
    }

    /// Whether its namespace still is what it was: inode numbers are used again.
    pub(in crate::agent) fn still_shows(self, pid: u32) -> bool {
        i32::try_from(pid).is_ok_and(|pid| self.shown_to(pid).unwrap_or(false))
    }

    /// Whether a process sees the service's mount where `skep exec` puts it.
    fn shown_to(self, pid: i32) -> io::Result<bool> {
        let (major, minor) = (rustix::fs::major(self.device), rustix::fs::minor(self.device));
        let wanted = format!("{major}:{minor}");
        let served = format!("/{}{SHOWN}", self.service);
        let table = fs::read_to_string(format!("/proc/{pid}/mountinfo"))?;
        Ok(table.lines().any(|line| {
            let mut fields = line.split(' ').skip(2);
            fields.next() == Some(&wanted)
                && fields.next().is_some_and(|root| root == SHOWN || root == served)
                && fields.next() == Some(SHOWN_AT)
        }))
    }
}

/// The inode of the mount namespace of `who`: a process id or `self`.
pub(in crate::agent) fn namespace_of(who: &str) -> io::Result<u64> {
    Ok(fs::metadata(format!("/proc/{who}/ns/mnt"))?.ino())
}

/// When a process started, in clock ticks since boot: field 22 of its `stat`.
fn started(pid: i32) -> io::Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The command's name stands in parentheses and may hold anything.
    let after = stat.rsplit_once(')').map(|(_, rest)| rest);
    let field = after.and_then(|rest| rest.split_whitespace().nth(19));
    field.and_then(|field| field.parse().ok()).ok_or_else(|| io::ErrorKind::InvalidData.into())
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
    fn the_own_namespace_has_members() {
        let own = namespace_of("self").expect("readable");
        let enclosure =
            Enclosure { namespace: own, device: u64::MAX, service: ServiceId::from_bytes([1; 16]) };
        let members = enclosure.members().expect("a list");
        assert!(members.iter().any(|process| process.id.pid == std::process::id()));
    }
}
