//! Memory for secret bytes: locked against swap, left out of core dumps, zeroed
//! when it is given back. Keys stand where nobody but this process reads.
//!
//! Small pieces share slabs, since the machine rounds what it locks up to whole
//! pages and lets a user lock few of them; a large piece has a mapping of its own.

use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::{Mutex, PoisonError};

use zeroize::Zeroize;

use crate::maps::Mapped;

/// Bytes of a slab.
const SLAB: usize = 64 * 1024;
/// Bytes of the smallest and of the largest piece of a slab; between them powers of two.
const SMALLEST: usize = 32;
const LARGEST: usize = 4096;
/// Sizes of pieces: 32, 64, … 4096.
const CLASSES: usize = 8;
const _: () = assert!(SMALLEST << (CLASSES - 1) == LARGEST, "a class for each size");

/// The start of a piece of memory that nobody else has.
struct Piece(NonNull<u8>);

// SAFETY: a piece is plain memory that belongs to whoever holds this value.
#[allow(unsafe_code, reason = "a pointer that is owned may move to another thread")]
unsafe impl Send for Piece {}
// SAFETY: through a shared reference nothing is written.
#[allow(unsafe_code, reason = "shared references only read")]
unsafe impl Sync for Piece {}

/// Where pieces come from, and go back to.
struct Arena {
    map: fn(usize) -> Mapped,
    /// Free pieces of each size. Slabs are kept: their number follows the most that was used
    /// at once.
    free: Mutex<[Vec<Piece>; CLASSES]>,
}

/// For what the kernel must read too, on its way to a file or to who reads a mount.
static VALUES: Arena = Arena::of(Mapped::locked);
static KEYS: Arena = Arena::of(Mapped::secret);

/// Zero bytes at first, of a length that never changes; zeroed again when dropped.
pub struct LockedBytes {
    start: Piece,
    length: usize,
    from: &'static Arena,
}

/// The number of the size of which pieces hold `length` bytes, if slabs have them.
fn class(length: usize) -> Option<usize> {
    let size = length.max(SMALLEST).checked_next_power_of_two()?;
    usize::try_from(size.ilog2() - SMALLEST.ilog2()).ok().filter(|class| *class < CLASSES)
}

impl Arena {
    const fn of(map: fn(usize) -> Mapped) -> Self {
        Self { map, free: Mutex::new([const { Vec::new() }; CLASSES]) }
    }

    /// A mapping for one piece.
    fn map(&self, length: usize) -> Piece {
        Piece((self.map)(length).0)
    }

    /// A piece of the size with this number, from a slab.
    fn take(&self, class: usize) -> Piece {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let size = SMALLEST << class;
        let Some(pieces) = free.get_mut(class) else { return self.map(size) };
        if let Some(piece) = pieces.pop() {
            return piece;
        }
        let slab = self.map(SLAB).0;
        for offset in (size..SLAB).step_by(size) {
            // SAFETY: `offset` is inside the slab, which is `SLAB` bytes long.
            #[allow(unsafe_code, reason = "the places of a slab's pieces")]
            pieces.push(Piece(unsafe { slab.add(offset) }));
        }
        Piece(slab)
    }

    fn zeroed(&'static self, length: usize) -> LockedBytes {
        let start = class(length).map_or_else(|| self.map(length), |class| self.take(class));
        LockedBytes { start, length, from: self }
    }
}

impl LockedBytes {
    /// `length` zero bytes.
    #[must_use]
    pub fn zeroed(length: usize) -> Self {
        VALUES.zeroed(length)
    }
}

impl Deref for LockedBytes {
    type Target = [u8];

    #[allow(unsafe_code, reason = "the bytes behind the pointer")]
    fn deref(&self) -> &[u8] {
        // SAFETY: `start` is `length` initialised bytes that belong to this value alone.
        unsafe { std::slice::from_raw_parts(self.start.0.as_ptr(), self.length) }
    }
}

impl DerefMut for LockedBytes {
    #[allow(unsafe_code, reason = "the bytes behind the pointer")]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as for `deref`, and `self` is borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.start.0.as_ptr(), self.length) }
    }
}

/// The bytes of a key, whose length the type says: where the kernel can keep them from everybody
/// else, it does. No system call writes them from there.
#[derive(Debug)]
pub struct LockedArray<const N: usize>(LockedBytes);

impl<const N: usize> LockedArray<N> {
    /// `N` zero bytes.
    #[must_use]
    pub fn zeroed() -> Self {
        Self(KEYS.zeroed(N))
    }
}

impl<const N: usize> Deref for LockedArray<N> {
    type Target = [u8; N];

    #[allow(unsafe_code, reason = "the bytes behind the pointer")]
    fn deref(&self) -> &[u8; N] {
        // SAFETY: the piece was made `N` bytes long, and an array of bytes has no alignment.
        unsafe { &*self.0.as_ptr().cast() }
    }
}

impl<const N: usize> DerefMut for LockedArray<N> {
    #[allow(unsafe_code, reason = "the bytes behind the pointer")]
    fn deref_mut(&mut self) -> &mut [u8; N] {
        // SAFETY: as for `deref`, and `self` is borrowed exclusively.
        unsafe { &mut *self.0.as_mut_ptr().cast() }
    }
}

impl Drop for LockedBytes {
    fn drop(&mut self) {
        self.zeroize();
        if let Some(class) = class(self.length) {
            let mut free = self.from.free.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(pieces) = free.get_mut(class) {
                pieces.push(Piece(self.start.0));
            }
            return;
        }
        // SAFETY: a piece without a class has the mapping of this length for itself, and
        // nobody can reach it after this.
        #[allow(unsafe_code, reason = "giving a mapping back")]
        unsafe {
            Mapped(self.start.0).unmap(self.length);
        }
    }
}

/// Says what it is and never what it holds.
impl std::fmt::Debug for LockedBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LockedBytes")
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;

    use super::*;
    use crate::{unlocked_bytes, without_memfd_secret};

    #[test]
    fn pieces_are_zero_at_first_and_after_they_were_given_back() {
        for length in [0, 1, 31, 32, 33, 4096, 4097, 511_999] {
            let mut bytes = LockedBytes::zeroed(length);
            assert_eq!(bytes.len(), length);
            assert!(bytes.iter().all(|byte| *byte == 0));
            bytes.fill(0xa5);
            drop(bytes);
            assert!(LockedBytes::zeroed(length).iter().all(|byte| *byte == 0), "{length}");
        }
    }

    #[test]
    fn pieces_never_overlap() {
        let mut pieces: Vec<LockedBytes> =
            (0..5_000_usize).map(|n| LockedBytes::zeroed(n % 300)).collect();
        for (n, piece) in pieces.iter_mut().enumerate() {
            piece.fill(u8::try_from(n % 251).unwrap());
        }
        for (n, piece) in pieces.iter().enumerate() {
            assert!(piece.iter().all(|byte| usize::from(*byte) == n % 251), "{n}");
        }
    }

    #[test]
    fn threads_share_the_slabs() {
        std::thread::scope(|scope| {
            for mark in 0..4_u8 {
                scope.spawn(move || {
                    for length in 0..2_000 {
                        let mut bytes = LockedBytes::zeroed(length % 200);
                        bytes.fill(mark);
                        assert!(bytes.iter().all(|byte| *byte == mark));
                    }
                });
            }
        });
    }

    /// Bytes of this process that are locked and that are left out of dumps, as the
    /// kernel says of the mapping at `address`.
    fn flags(address: usize) -> String {
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut here = false;
        for line in maps.lines() {
            let range = line.split(' ').next().and_then(|range| range.split_once('-'));
            if let Some((from, to)) = range
                && let (Ok(from), Ok(to)) =
                    (usize::from_str_radix(from, 16), usize::from_str_radix(to, 16))
            {
                here = (from..to).contains(&address);
            } else if here && let Some(flags) = line.strip_prefix("VmFlags:") {
                return flags.to_owned();
            }
        }
        String::new()
    }

    #[cfg_attr(miri, ignore)]
    #[test]
    fn pages_are_locked_and_never_dumped() {
        for length in [32, 500_000] {
            let bytes = LockedBytes::zeroed(length);
            let flags = flags(bytes.as_ptr().addr());
            assert!(flags.split(' ').any(|flag| flag == "dd"), "dumped: {flags}");
            if unlocked_bytes() == 0 {
                assert!(flags.split(' ').any(|flag| flag == "lo"), "not locked: {flags}");
            }
        }
    }

    /// Whether the kernel reads there on somebody's behalf, as a debugger would have it.
    fn others_read(bytes: &[u8]) -> bool {
        let memory = std::fs::File::open("/proc/self/mem").unwrap();
        let mut read = vec![0; bytes.len()];
        let at = u64::try_from(bytes.as_ptr().addr()).unwrap();
        memory.read_exact_at(&mut read, at).is_ok_and(|()| read == bytes)
    }

    #[cfg_attr(miri, ignore)]
    #[test]
    fn nobody_else_reads_a_key_where_the_kernel_sees_to_that() {
        let mut key = LockedArray::<32>::zeroed();
        key.fill(7);
        let mut value = LockedBytes::zeroed(32);
        value.fill(8);
        assert!(others_read(&value), "what the kernel writes to a file");
        let enabled = std::fs::read("/sys/module/secretmem/parameters/enable");
        let enabled = enabled.is_ok_and(|word| word.starts_with(b"Y"));
        assert_ne!(others_read(&*key), enabled, "where it isn't, keys stand where values do");
        without_memfd_secret();
        // Of another size, and so of a new slab.
        let mut key = LockedArray::<64>::zeroed();
        key.fill(9);
        assert!(others_read(&*key));
        assert_eq!(*key, [9; 64]);
    }
}
