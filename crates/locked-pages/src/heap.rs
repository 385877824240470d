//! How the allocator gives memory back.

/// Bytes from which on an allocation has a mapping of its own, which goes back to the system
/// when it is freed: what a value, a message or a state takes at once is smaller or rare.
const OWN_MAPPING: i32 = 1024 * 1024;

/// Lets the allocator give large allocations back to the system, always.
///
/// glibc raises that border by itself, up to 32 MiB, whenever such an allocation is freed. From
/// then on the next ones stand in a heap of the thread that asked, are zeroed there, which
/// makes all their pages real, and stay when they are freed: three buffers of 16 MiB, of
/// which a few pages were ever used, took 48 MiB for good. Other allocators have no such border.
#[allow(unsafe_code, reason = "a call of the C library")]
pub fn give_back_large_allocations() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: the call sets a number of the allocator's under the allocator's own lock.
        unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, OWN_MAPPING) };
    }
}

/// Gives free memory back to the system, from time to time.
///
/// glibc gives back the end of a heap by itself, and nothing from its middle: many values that
/// came and went, with something small behind each, would stay for good.
#[derive(Debug, Default)]
pub struct FreeMemory {
    /// Bytes that were free when they were given back last, or less since: the allocator goes on
    /// counting them.
    given: usize,
}

impl FreeMemory {
    /// Gives it back where more than `most` bytes have become free since the last time. Answers
    /// whether it was so much.
    #[allow(unsafe_code, reason = "two calls of the C library")]
    pub fn give_back(&mut self, most: usize) -> bool {
        #[cfg(target_env = "gnu")]
        {
            // SAFETY: the call reads the allocator's own counts, under its own locks.
            let free = unsafe { libc::mallinfo2() }.fordblks;
            self.given = self.given.min(free);
            if free - self.given > most {
                // SAFETY: the call gives back pages that nothing allocated lies on, under the
                // allocator's own locks.
                unsafe { libc::malloc_trim(0) };
                self.given = free;
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
#[cfg(target_env = "gnu")]
mod tests {
    use super::*;

    fn own_memory() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    #[test]
    fn what_is_free_between_things_that_stay_goes_back() {
        const EACH: usize = 100_000;
        let pairs: Vec<_> = (0..500).map(|_| (vec![1_u8; EACH], Box::new([2_u8; 64]))).collect();
        let (large, small): (Vec<_>, Vec<_>) = std::hint::black_box(pairs).into_iter().unzip();
        let full = own_memory();
        drop(large);
        let mut free = FreeMemory::default();
        assert!(free.give_back(16 << 20));
        let left = own_memory();
        assert!(left + 30 * 1024 < full, "{full} KiB, then {left} KiB");
        assert!(!free.give_back(16 << 20), "once");
        assert_eq!(small.len(), 500);
    }

    /// Freed once, such a buffer raises the border that glibc sets by itself; the second one
    /// stands in the heap, and stays there; the third one gets its place, which is zeroed.
    #[test]
    fn a_large_buffer_takes_no_page_that_is_not_used_however_often_it_was_there() {
        give_back_large_allocations();
        let before = own_memory();
        drop(std::hint::black_box(vec![0_u8; 16 << 20]));
        drop(std::hint::black_box(vec![0_u8; 16 << 20]));
        let third = std::hint::black_box(vec![0_u8; 16 << 20]);
        let after = own_memory();
        assert_eq!(third.first(), Some(&0));
        assert!(after < before + 8 * 1024, "{before} KiB, then {after} KiB");
    }
}
