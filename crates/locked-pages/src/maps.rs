//! Mappings for secret bytes: where the kernel lends such, pages that it keeps even from
//! itself; else pages that it doesn't swap; neither kind is ever in a core dump.

use std::alloc::{Layout, handle_alloc_error};
use std::ffi::c_void;
use std::io;
use std::os::fd::{AsFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustix::fs::ftruncate;
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mlock, mmap, mmap_anonymous, munmap};

/// Bytes that the system would not lock.
static UNLOCKED: AtomicUsize = AtomicUsize::new(0);
/// Whether `memfd_secret` is worth another try.
static SECRET: AtomicBool = AtomicBool::new(true);

const READ_WRITE: ProtFlags = ProtFlags::READ.union(ProtFlags::WRITE);

/// Bytes that stand in memory which the system refused to lock (`RLIMIT_MEMLOCK`):
/// they may reach swap.
#[must_use]
pub fn unlocked_bytes() -> usize {
    UNLOCKED.load(Ordering::Relaxed)
}

/// From now on keys too get pages that are locked, and no more: while a process has pages of
/// `memfd_secret` its machine can't hibernate.
pub fn without_memfd_secret() {
    SECRET.store(false, Ordering::Relaxed);
}

/// The start of `length` bytes that were mapped.
#[derive(Debug)]
pub(crate) struct Mapped(pub(crate) NonNull<u8>);

impl Mapped {
    /// Zeroed pages that only this process reads: neither a debugger nor root does, nor the
    /// kernel on another's behalf (`memfd_secret(2)`, Linux 5.14). [`Self::locked`] where the
    /// kernel lends none.
    pub(crate) fn secret(length: usize) -> Self {
        if !SECRET.load(Ordering::Relaxed) {
            return Self::locked(length);
        }
        Self::of_memfd_secret(length).unwrap_or_else(|_| {
            without_memfd_secret();
            Self::locked(length)
        })
    }

    #[allow(unsafe_code, reason = "a system call without a wrapper, and mapping memory")]
    fn of_memfd_secret(length: usize) -> io::Result<Self> {
        // SAFETY: the call takes one number and touches no memory of ours.
        let made = unsafe { libc::syscall(libc::SYS_memfd_secret, libc::O_CLOEXEC) };
        let made = RawFd::try_from(made).ok().filter(|made| *made >= 0);
        let made = made.ok_or_else(io::Error::last_os_error)?;
        // SAFETY: the system has just made this descriptor for us; nobody else knows it.
        let memory = unsafe { OwnedFd::from_raw_fd(made) };
        ftruncate(&memory, u64::try_from(length).unwrap_or(u64::MAX))?;
        // Present at once: later there might be no page left, which is a signal, not an error.
        let flags = MapFlags::SHARED | MapFlags::POPULATE;
        // SAFETY: a mapping at an address of the system's choosing touches nothing that is
        // there, and nobody else has the descriptor, so that nobody shortens it.
        let start =
            unsafe { mmap(std::ptr::null_mut(), length, READ_WRITE, flags, memory.as_fd(), 0) }?;
        NonNull::new(start.cast()).map(Self).ok_or_else(|| io::ErrorKind::OutOfMemory.into())
    }

    /// Zeroed pages, locked where the system allows it.
    #[allow(unsafe_code, reason = "mapping memory and advising on it")]
    pub(crate) fn locked(length: usize) -> Self {
        // SAFETY: an anonymous mapping at an address of the system's choosing touches nothing
        // that is there.
        let mapped =
            unsafe { mmap_anonymous(std::ptr::null_mut(), length, READ_WRITE, MapFlags::PRIVATE) };
        let Some(start) = mapped.ok().and_then(|start| NonNull::new(start.cast::<u8>())) else {
            handle_alloc_error(Layout::from_size_align(length, 1).unwrap_or(Layout::new::<u8>()));
        };
        let address: *mut c_void = start.as_ptr().cast();
        // SAFETY: the range is exactly the mapping made above; neither call changes its content.
        let locked = unsafe {
            // Without it a core dump, which is off anyway, would hold the pages.
            madvise(address, length, Advice::LinuxDontDump).ok();
            mlock(address, length)
        };
        if locked.is_err() {
            UNLOCKED.fetch_add(length, Ordering::Relaxed);
        }
        Self(start)
    }

    /// Gives the pages back.
    ///
    /// # Safety
    /// They were mapped with this `length`, and nobody reaches them any more.
    #[allow(unsafe_code, reason = "giving a mapping back")]
    pub(crate) unsafe fn unmap(self, length: usize) {
        // SAFETY: as the caller promises. An error is one of an address that is none.
        unsafe { munmap(self.0.as_ptr().cast(), length) }.ok();
    }
}
