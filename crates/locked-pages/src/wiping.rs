//! An allocator that leaves nothing behind in what it gives back.

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;

/// The system's allocator, with every byte zeroed before it is given back, so that what
/// libraries copied of a password (a header, a buffer of TLS) ends with the allocation. A
/// growing buffer is moved by hand: the system would leave a copy where it was.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wiping;

// SAFETY: every call is handed on to the system's allocator with the layout that it came with,
// and `realloc` is the trait's own, made of the other three. What `dealloc` writes lies within
// the allocation: its size is the layout's, and until it is given back nobody else has it.
#[allow(unsafe_code, reason = "an allocator is made of nothing else")]
unsafe impl GlobalAlloc for Wiping {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise, that the layout is not empty, is the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is that `memory` was allocated here with this layout.
        unsafe {
            memory.write_bytes(0, layout.size());
            // Without somebody who could look, the compiler would leave the line above out.
            System.dealloc(black_box(memory), layout);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(unsafe_code, reason = "what was given back is looked at, through the list of maps")]
    fn what_is_given_back_is_zero() {
        let layout = Layout::from_size_align(512, 8).unwrap();
        // SAFETY: the layout is not empty; the memory is written within its size, and given
        // back once. It is read again through the kernel, whoever has it then.
        let place = unsafe {
            let memory = Wiping.alloc(layout);
            memory.write_bytes(0xa5, layout.size());
            let place = u64::try_from(memory.addr()).unwrap();
            Wiping.dealloc(memory, layout);
            place
        };
        let mut left = vec![0; layout.size()];
        let own = std::fs::File::open("/proc/self/mem").unwrap();
        std::os::unix::fs::FileExt::read_exact_at(&own, &mut left, place).unwrap();
        // The allocator may have written something of its own there.
        assert!(left.iter().filter(|byte| **byte == 0xa5).nth(16).is_none());
    }
}
