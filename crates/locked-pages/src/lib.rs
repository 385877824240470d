//! The few system calls that the compiler cannot check, each behind a function
//! that is safe to call. The rest of Skep forbids `unsafe`.

mod descriptors;
mod heap;
mod mapping;
mod maps;
mod pages;
mod peer;
mod wiping;

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

pub use descriptors::{own_descriptors, take_passed_descriptors};
pub use heap::{FreeMemory, give_back_large_allocations};
pub use mapping::WriteMapping;
pub use maps::{unlocked_bytes, without_memfd_secret};
pub use pages::{LockedArray, LockedBytes};
pub use peer::peer_groups;
use rustix::process::{Signal, getpid, getppid, set_parent_process_death_signal};
use rustix::thread::UnshareFlags;
pub use wiping::Wiping;

/// Gives the calling thread a mount namespace of its own (and with it a working
/// directory, root and umask of its own). Other threads keep theirs. Root only.
///
/// # Errors
/// What the system says; `EPERM` without `CAP_SYS_ADMIN`.
pub fn unshare_mounts() -> io::Result<()> {
    unshare(UnshareFlags::NEWNS)
}

/// Gives the calling thread a working directory, root and umask of its own, which a
/// thread must have that goes into another mount namespace.
///
/// # Errors
/// What the system says.
pub fn unshare_folders() -> io::Result<()> {
    unshare(UnshareFlags::FS)
}

/// Gives the process a user namespace in which it has all capabilities, and a
/// mount namespace below it. Needs no privilege.
///
/// # Errors
/// What the system says: `EINVAL` if the process has more than one thread,
/// `EPERM` or `ENOSPC` where user namespaces are not allowed.
pub fn unshare_user_and_mounts() -> io::Result<()> {
    unshare(UnshareFlags::NEWUSER | UnshareFlags::NEWNS)
}

#[allow(unsafe_code, reason = "rustix leaves the descriptor table's sharing to its caller")]
fn unshare(flags: UnshareFlags) -> io::Result<()> {
    // SAFETY: the call is unsafe for `FILES` alone, which would leave other threads with
    // descriptors that this one no longer has. The callers above pass constants without it,
    // and FS, NEWNS and NEWUSER share nothing that memory safety rests on.
    unsafe { rustix::thread::unshare_unsafe(flags) }.map_err(io::Error::from)
}

/// Lets the kernel send `signal` to the command's process once the **thread** that
/// spawned it has ended, be it by `kill -9`: spawn it from a thread that lives as
/// long as the process should. It is kept across `exec` (but not of a set-user-id
/// program), and not passed on to children.
#[allow(unsafe_code, reason = "what runs between fork and exec is the caller's care")]
pub fn end_with_parent(command: &mut Command, signal: Signal) {
    let parent = getpid();
    let ask = move || {
        set_parent_process_death_signal(Some(signal))?;
        // Whoever ended before the line above is not noticed by it.
        if getppid() == Some(parent) { Ok(()) } else { Err(io::ErrorKind::BrokenPipe.into()) }
    };
    // SAFETY: between fork and exec only async-signal-safe calls are allowed. These are two
    // system calls and the making of an error that allocates nothing; nothing is locked,
    // and all that is captured was copied before the fork.
    unsafe { command.pre_exec(ask) };
}

#[cfg(test)]
mod tests {
    use std::fs::read_link;
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    #[test]
    fn only_the_calling_thread_gets_other_mounts() {
        let ours = || read_link("/proc/thread-self/ns/mnt").unwrap();
        let before = ours();
        let other = std::thread::spawn(move || unshare_mounts().map(|()| ours())).join().unwrap();
        match other {
            Ok(other) => assert_ne!(other, before),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::PermissionDenied),
        }
        assert_eq!(ours(), before);
    }

    #[test]
    fn a_user_namespace_is_refused_to_one_thread_of_many() {
        // The test's own thread is one of at least two here.
        let (stop, wait) = std::sync::mpsc::channel::<()>();
        let second = std::thread::spawn(move || wait.recv().is_err());
        let error = unshare_user_and_mounts().unwrap_err();
        assert_eq!(error.raw_os_error(), Some(22));
        drop(stop);
        assert!(second.join().unwrap());
    }

    #[test]
    fn a_process_ends_with_the_thread_that_spawned_it() {
        let spawn = || {
            let mut command = Command::new("sleep");
            end_with_parent(command.arg("20"), Signal::TERM);
            command.spawn().unwrap()
        };
        let mut orphan = std::thread::spawn(spawn).join().unwrap();
        let mut child = spawn();
        assert_eq!(orphan.wait().unwrap().signal(), Some(Signal::TERM.as_raw()));
        assert!(child.try_wait().unwrap().is_none(), "its thread lives");
        child.kill().unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(Signal::KILL.as_raw()));
    }
}
