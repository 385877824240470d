//! The private mount namespace of a workload.

use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::agent::machine::{Process, mounts, namespace_of};
use crate::agent::vault::layout::{LIVE, SECRETS};
use skep_core::base::ServiceId;

/// Mounts above each other at one place that are looked at: `skep exec` makes two.
const STACKED: usize = 256;

/// A private mount namespace of `skep exec`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Enclosure {
    /// The namespace's inode.
    pub namespace: u64,
    /// The device of the service's mount that it shows.
    pub device: u64,
    /// The device of the file system that marks it and its copies.
    pub mark: Option<u64>,
    /// Which service: services that the agent serves itself have one device.
    pub service: ServiceId,
}

impl Enclosure {
    /// The namespace in which a process stands, held: as long as it is, no other one gets
    /// its number.
    ///
    /// # Errors
    /// It is the agent's own or the first process's, or what the system says.
    pub(in crate::agent) fn of(
        process: &Process,
        device: u64,
        service: ServiceId,
    ) -> io::Result<(Self, File)> {
        let held = process.hold_namespace()?;
        let namespace = held.metadata()?.ino();
        // The first process's may be closed to an agent that runs in a container.
        let first = namespace_of("1").ok();
        if namespace == namespace_of("self")? || Some(namespace) == first {
            return Err(io::Error::other("it has no mount namespace of its own"));
        }
        let shown = shown(&process.id.pid.to_string(), device, service)?;
        // What others have mounted too is no mark: everybody would count.
        let mark = shown.and_then(|shown| shown.mark).filter(|mark| {
            !["self", "1"].iter().any(|who| mounts::has(who, *mark).unwrap_or(*who == "self"))
        });
        if process.is_gone()? {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok((Self { namespace, device, mark, service }, held))
    }

    /// Whether its namespace still is what it was: inode numbers are used again.
    pub(in crate::agent) fn still_shows(self, pid: u32) -> bool {
        let shown = shown(&pid.to_string(), self.device, self.service);
        shown.is_ok_and(|shown| shown.is_some_and(|shown| shown.mark == self.mark))
    }
}

/// How a process shows a service's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shown {
    /// The file system below them, which marks the namespace and its copies.
    mark: Option<u64>,
}

/// Whether a process shows the service's mount where `skep exec` puts it.
fn shown(process: &str, device: u64, service: ServiceId) -> io::Result<Option<Shown>> {
    let own = format!("/{LIVE}");
    let served = format!("/{service}/{LIVE}");
    let mut stack: Vec<(i32, u64)> = Vec::new();
    let mut below = None;
    mounts::each(process, |mount| {
        if mount.point == Path::new(SECRETS) {
            if mount.device == device
                && (mount.root == Path::new(&own) || mount.root == Path::new(&served))
            {
                below = Some(mount.parent);
            }
            if stack.len() < STACKED {
                stack.push((mount.id, mount.device));
            }
        }
        ControlFlow::Continue(())
    })?;
    Ok(below.map(|below| {
        let mark = stack.into_iter().find(|(id, _)| *id == below).map(|(_, device)| device);
        Shown { mark }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_show_a_service_shows_none() {
        let service = ServiceId::from_bytes([1; 16]);
        assert_eq!(shown("self", u64::MAX, service).expect("readable"), None);
    }
}
