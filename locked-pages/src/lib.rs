//! The few system calls that the compiler cannot check, each behind a function
//! that is safe to call. The rest of Skep forbids `unsafe`.

mod descriptors;
mod pages;

pub use descriptors::own_descriptors;
pub use pages::Pages;

use std::io;

use rustix::thread::UnshareFlags;

/// Gives the calling thread a mount namespace of its own (and with it a working
/// directory, root and umask of its own). Other threads keep theirs. Root only.
///
/// # Errors
/// What the system says; `EPERM` without `CAP_SYS_ADMIN`.
pub fn unshare_mounts() -> io::Result<()> {
    unshare(UnshareFlags::NEWNS)
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
    // descriptors that this one no longer has. Both callers above pass constants without it,
    // and NEWNS and NEWUSER share nothing that memory safety rests on.
    unsafe { rustix::thread::unshare_unsafe(flags) }.map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use std::fs::read_link;

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
}
