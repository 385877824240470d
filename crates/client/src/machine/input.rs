//! Secret input. `read(2)` goes straight into a buffer of its final place, so that no
//! growing buffer leaves copies behind.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use skep_core::base::SecretBytes;

/// Reads to the end into one buffer.
///
/// # Errors
/// What the system says; `FileTooLarge` where there are more than `most` bytes.
pub fn read_all(from: impl AsFd, most: usize) -> io::Result<SecretBytes> {
    let mut buffer = SecretBytes::zeroed(most + 1);
    let mut filled = 0;
    while let Some(free) = buffer.expose_mut().get_mut(filled..)
        && !free.is_empty()
    {
        match rustix::io::read(&from, &mut *free) {
            Ok(0) => return Ok(buffer.truncated(filled)),
            Ok(count) => filled += count,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(io::ErrorKind::FileTooLarge.into())
}

/// Reads a file of at most `most` bytes.
///
/// # Errors
/// What the system says; `FileTooLarge` where there are more.
pub fn read_file(path: &Path, most: usize) -> io::Result<SecretBytes> {
    read_all(File::open(path)?, most)
}

/// Reads standard input to its end, for one thing alone: what comes second would find nothing.
///
/// # Errors
/// As [`read_all`]; and where it was read for something else.
pub fn stdin_once(most: usize) -> io::Result<SecretBytes> {
    static READ: AtomicBool = AtomicBool::new(false);
    if READ.swap(true, Ordering::Relaxed) {
        return Err(io::Error::other("it was read already, for something else"));
    }
    read_all(io::stdin(), most)
}

/// Without one line end at the end.
#[must_use]
pub fn without_line_end(value: SecretBytes) -> SecretBytes {
    let bytes = value.expose();
    let rest = bytes.strip_suffix(b"\r\n").or_else(|| bytes.strip_suffix(b"\n"));
    match rest.map(<[u8]>::len) {
        Some(length) => value.truncated(length),
        None => value,
    }
}
