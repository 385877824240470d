//! Memory that is not swapped, not dumped, and zeroed when it is let go.

use std::io;
use std::ptr::NonNull;

use rustix::mm::{Advice, MapFlags, ProtFlags};

/// Pages of the process's own, of a size fixed when they were made. Whether they are
/// locked is told: a machine may allow few locked bytes, and unlocked memory is
/// better than none.
pub struct Pages {
    start: NonNull<u8>,
    length: usize,
    mapped: usize,
    locked: bool,
}

#[allow(unsafe_code, reason = "the pointer is this value's own")]
// SAFETY: the mapping belongs to this value alone, like a box's; nothing in it is tied to a thread.
unsafe impl Send for Pages {}
#[allow(unsafe_code, reason = "the pointer is this value's own")]
// SAFETY: through a shared reference the bytes are only read.
unsafe impl Sync for Pages {}

impl Pages {
    /// `length` zero bytes, at least one page of them.
    ///
    /// # Errors
    /// The system has no memory to give.
    #[allow(unsafe_code, reason = "memory calls have raw pointers")]
    pub fn zeroed(length: usize) -> io::Result<Self> {
        let page = rustix::param::page_size();
        let mapped = length.max(1).div_ceil(page).saturating_mul(page);
        // SAFETY: a new anonymous private mapping, at a place the kernel chooses, aliases nothing.
        let start = unsafe {
            rustix::mm::mmap_anonymous(
                std::ptr::null_mut(),
                mapped,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE,
            )
        }?;
        let Some(start) = NonNull::new(start.cast::<u8>()) else {
            return Err(io::ErrorKind::OutOfMemory.into());
        };
        // SAFETY: the range is the mapping made above; neither call changes its content.
        let locked = unsafe {
            let spared = rustix::mm::madvise(start.as_ptr().cast(), mapped, Advice::LinuxDontDump);
            let locked = rustix::mm::mlock(start.as_ptr().cast(), mapped);
            spared.is_ok() && locked.is_ok()
        };
        Ok(Self { start, length, mapped, locked })
    }

    /// Whether the system keeps these pages out of swap and dumps.
    #[must_use]
    pub const fn is_locked(&self) -> bool {
        self.locked
    }

    /// The bytes.
    #[must_use]
    #[allow(unsafe_code, reason = "a slice of the mapping")]
    pub fn expose(&self) -> &[u8] {
        // SAFETY: `length` bytes from `start` are mapped, initialised (the kernel gives zeros)
        // and live as long as `self`.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }

    /// The bytes, to be written.
    #[allow(unsafe_code, reason = "a slice of the mapping")]
    pub fn expose_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `expose`; `&mut self` makes this the only reference.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.length) }
    }
}

impl std::fmt::Debug for Pages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pages({} bytes)", self.length)
    }
}

impl Drop for Pages {
    #[allow(unsafe_code, reason = "memory calls have raw pointers")]
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(self.expose_mut());
        // SAFETY: the range is this value's own mapping, and nothing refers to it any more. A
        // mapping that cannot be taken back stays, zeroed.
        unsafe { rustix::mm::munmap(self.start.as_ptr().cast(), self.mapped) }.ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_hold_what_is_written() {
        let mut pages = Pages::zeroed(5000).unwrap();
        assert_eq!(pages.expose(), [0; 5000]);
        pages.expose_mut().fill(7);
        assert_eq!(pages.expose(), [7; 5000]);
        assert!(Pages::zeroed(0).unwrap().expose().is_empty());
    }

    #[test]
    fn the_kernel_says_that_they_are_locked_and_not_dumped() {
        let pages = Pages::zeroed(4096).unwrap();
        if !pages.is_locked() {
            return; // this machine allows none: the caller is told
        }
        let start = format!("{:x}-", pages.expose().as_ptr().addr());
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        // Neighbours of equal kind are shown as one: find the one that holds the address.
        let of = |line: &str| {
            let (from, to) = line.split_once(' ')?.0.split_once('-')?;
            Some((usize::from_str_radix(from, 16).ok()?, usize::from_str_radix(to, 16).ok()?))
        };
        let address = pages.expose().as_ptr().addr();
        let mut inside = false;
        let mut flags = String::new();
        for line in maps.lines() {
            if let Some((from, to)) = of(line) {
                inside = (from..to).contains(&address);
            } else if inside && line.starts_with("VmFlags:") {
                line.clone_into(&mut flags);
            }
        }
        assert!(flags.contains(" lo") && flags.contains(" dd"), "{start} {flags}");
    }
}
