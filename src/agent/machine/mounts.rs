//! The kernel's list of what a process has mounted. The process decides what stands in it
//! and how long it is: it is read as bytes, piece by piece, up to a bound.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::ops::ControlFlow;

/// Bytes of one list that are looked at: the 100,000 mounts that the kernel allows in one
/// namespace, with paths of several hundred bytes.
const LIST_BYTES: u64 = 64 * 1024 * 1024;
/// Bytes of one line that are looked at: the kernel's escapes make four bytes of one, and
/// two paths of 4 KiB stand in a line.
const LINE_BYTES: u64 = 64 * 1024;

/// One mount.
#[derive(Debug)]
pub(in crate::agent) struct Line<'l> {
    pub(in crate::agent) id: &'l [u8],
    pub(in crate::agent) parent: &'l [u8],
    /// `major:minor`.
    device: &'l [u8],
    pub(in crate::agent) root: &'l [u8],
    pub(in crate::agent) point: &'l [u8],
}

impl<'l> Line<'l> {
    fn parse(line: &'l [u8]) -> Option<Self> {
        let mut fields = line.split(|byte| *byte == b' ');
        let mut next = || fields.next().filter(|field| !field.is_empty());
        let (id, parent, device) = (next()?, next()?, next()?);
        Some(Self { id, parent, device, root: next()?, point: next()? })
    }

    /// Which file system it shows.
    pub(in crate::agent) fn device(&self) -> Option<u64> {
        let text = std::str::from_utf8(self.device).ok()?;
        let (major, minor) = text.split_once(':')?;
        Some(rustix::fs::makedev(major.parse().ok()?, minor.parse().ok()?))
    }
}

/// Looks at what a process has mounted, one by one, until it has seen enough.
///
/// # Errors
/// What the system says; `FileTooLarge`: there are more than are looked at.
pub(in crate::agent) fn each(
    process: &str,
    mut look: impl FnMut(&Line<'_>) -> ControlFlow<()>,
) -> io::Result<()> {
    let file = File::open(format!("/proc/{process}/mountinfo"))?;
    walk(BufReader::with_capacity(32 * 1024, file.take(LIST_BYTES)), &mut look)
}

fn walk(
    mut list: BufReader<io::Take<impl io::Read>>,
    look: &mut dyn FnMut(&Line<'_>) -> ControlFlow<()>,
) -> io::Result<()> {
    let mut line = Vec::new();
    loop {
        line.clear();
        (&mut list).take(LINE_BYTES).read_until(b'\n', &mut line)?;
        if line.last() != Some(&b'\n') {
            let end = line.is_empty() && list.get_ref().limit() > 0;
            return if end { Ok(()) } else { Err(io::ErrorKind::FileTooLarge.into()) };
        }
        if Line::parse(&line).is_some_and(|line| look(&line).is_break()) {
            return Ok(());
        }
    }
}

/// Whether a process has this file system mounted anywhere.
pub(in crate::agent) fn has(process: &str, device: u64) -> io::Result<bool> {
    let mut found = false;
    each(process, |line| {
        found = line.device() == Some(device);
        if found { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn devices(list: &[u8], most: u64) -> (Vec<Option<u64>>, io::Result<()>) {
        let mut seen = Vec::new();
        let done = walk(BufReader::new(list.take(most)), &mut |line| {
            seen.push(line.device());
            ControlFlow::Continue(())
        });
        (seen, done)
    }

    #[test]
    fn lines_are_bytes_and_no_line_hides_another() {
        let (long, dev) = (vec![b'a'; 20_000], |minor| Some(rustix::fs::makedev(0, minor)));
        let mut list = b"1 0 0:5 / /a\xff\xfe rw - tmpfs x rw\n".to_vec();
        list.extend_from_slice(
            b"\n\xff\n2 1 what / /b rw\n3 1 0:6 / /run/sec\\012rets rw\n4 1 0:7 / ",
        );
        list.extend_from_slice(&long);
        list.extend_from_slice(b" rw - tmpfs x rw\n5 1 0:8 / /z rw\n");
        let (seen, done) = devices(&list, 1 << 20);
        assert_eq!(seen, [dev(5), None, dev(6), dev(7), dev(8)]);
        assert!(done.is_ok());
        assert!(devices(&list, 200).1.is_err(), "a bound, and not an end");
    }

    #[test]
    fn the_own_list_is_read() {
        let root = std::os::unix::fs::MetadataExt::dev(&std::fs::metadata("/proc").expect("proc"));
        assert!(has("self", root).expect("readable"));
        assert!(!has("self", u64::MAX).expect("readable"));
        assert!(has("0", root).is_err());
    }
}
