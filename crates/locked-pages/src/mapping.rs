//! A file kept open without a descriptor.

use std::ffi::c_void;
use std::io;
use std::os::fd::AsFd;

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// Bytes that are mapped: one page, of the smallest size there is.
const BYTES: usize = 4096;

/// Keeps the open file that a descriptor stands for, with the access that it has, after
/// the descriptor is closed. Nothing can be read or written through it.
#[derive(Debug)]
pub struct WriteMapping(*mut c_void);

// SAFETY: the address is only ever given back to the kernel, which any thread may do.
#[allow(unsafe_code, reason = "an address that is never read through may go to another thread")]
unsafe impl Send for WriteMapping {}
// SAFETY: nothing can be done through a shared reference.
#[allow(unsafe_code, reason = "nothing can be done through a shared reference")]
unsafe impl Sync for WriteMapping {}

impl WriteMapping {
    /// Maps the file, which must be open for reading and writing.
    ///
    /// # Errors
    /// What the system says: `ENOMEM` where the process has as many mappings as it may.
    #[allow(unsafe_code, reason = "rustix leaves mappings to its caller")]
    pub fn of(file: impl AsFd) -> io::Result<Self> {
        let (access, flags) = (ProtFlags::empty(), MapFlags::PRIVATE);
        // SAFETY: the kernel chooses an address where nothing is, and nothing there can be read,
        // written or executed: no reference to it is ever made, whatever becomes of the file.
        let at = unsafe { mmap(std::ptr::null_mut(), BYTES, access, flags, file, 0) }?;
        Ok(Self(at))
    }
}

impl Drop for WriteMapping {
    #[allow(unsafe_code, reason = "rustix leaves mappings to its caller")]
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own, of this length, and nothing refers to it.
        unsafe { munmap(self.0, BYTES) }.ok();
    }
}
