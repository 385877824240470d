//! The kernel's list of what a process has mounted. The process decides what stands in it
//! and how long it is: it is read as bytes, piece by piece, up to a bound.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read};
use std::ops::ControlFlow;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use procfs_core::process::MountInfo;

/// Bytes of one list that are looked at: the 100,000 mounts that the kernel allows in one
/// namespace, with paths of several hundred bytes.
const LIST_BYTES: u64 = 64 * 1024 * 1024;
/// Bytes of one line that are looked at: the kernel's escapes make four bytes of one, and
/// two paths of 4 KiB stand in a line.
const LINE_BYTES: u64 = 64 * 1024;

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mount {
    /// Its number in the list.
    pub(crate) id: i32,
    /// The number of the mount below it.
    pub(crate) parent: i32,
    /// Which file system it shows.
    pub(crate) device: u64,
    /// Which folder of that file system.
    pub(crate) root: PathBuf,
    /// Where.
    pub(crate) point: PathBuf,
    /// The kind of file system, as in `tmpfs`.
    pub(crate) kind: String,
    /// What was named as its source; `None`: nothing.
    pub(crate) source: Option<String>,
}

impl Mount {
    fn parse(line: &[u8]) -> Option<Self> {
        let found = MountInfo::from_line(&escape(line)).ok()?;
        let (major, minor) = found.majmin.split_once(':')?;
        Some(Self {
            id: found.mnt_id,
            parent: found.pid,
            device: rustix::fs::makedev(major.parse().ok()?, minor.parse().ok()?),
            root: unescape(Path::new(&found.root)),
            point: unescape(&found.mount_point),
            kind: found.fs_type,
            source: found.mount_source,
        })
    }
}

/// The line as text: the crate reads no other, and a path may be any bytes. Those beyond
/// ASCII are written as the kernel writes blanks, in three octal digits.
fn escape(line: &[u8]) -> String {
    let mut text = String::with_capacity(line.len());
    for byte in line.strip_suffix(b"\n").unwrap_or(line) {
        if byte.is_ascii() {
            text.push(char::from(*byte));
        } else {
            text.push('\\');
            let digits = [byte >> 6, (byte >> 3) & 7, byte & 7];
            text.extend(digits.map(|digit| char::from(b'0' + digit)));
        }
    }
    text
}

/// Blank, tab, newline and backslash are written as three octal digits.
fn unescape(path: &Path) -> PathBuf {
    let field = path.as_os_str().as_bytes();
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, after)) = rest.split_first() {
        let digits = after.get(..3).filter(|_| byte == b'\\');
        let octal = digits
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        plain.push(octal.unwrap_or(byte));
        rest = if octal.is_some() { after.get(3..).unwrap_or_default() } else { after };
    }
    PathBuf::from(OsString::from_vec(plain))
}

/// Looks at what a process (its number, or `self`) has mounted, one by one, until it has
/// seen enough. A line that can't be read hides none of the others.
///
/// # Errors
/// What the system says; `FileTooLarge`: there are more than are looked at.
pub(crate) fn each(
    process: &str,
    mut look: impl FnMut(Mount) -> ControlFlow<()>,
) -> io::Result<()> {
    let file = File::open(format!("/proc/{process}/mountinfo"))?;
    walk(file.take(LIST_BYTES), &mut look)
}

/// Looks through a list that was opened, as [`each`] does.
pub(super) fn walk(
    list: io::Take<impl Read>,
    look: &mut dyn FnMut(Mount) -> ControlFlow<()>,
) -> io::Result<()> {
    let mut list = BufReader::with_capacity(32 * 1024, list);
    let mut line = Vec::new();
    loop {
        line.clear();
        (&mut list).take(LINE_BYTES).read_until(b'\n', &mut line)?;
        if line.last() != Some(&b'\n') {
            let end = line.is_empty() && list.get_ref().limit() > 0;
            return if end { Ok(()) } else { Err(io::ErrorKind::FileTooLarge.into()) };
        }
        if Mount::parse(&line).is_some_and(|mount| look(mount).is_break()) {
            return Ok(());
        }
    }
}

/// Whether a process has this file system mounted anywhere.
pub(in crate::agent) fn has(process: &str, device: u64) -> io::Result<bool> {
    let mut found = false;
    each(process, |mount| {
        found = mount.device == device;
        if found { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mounts(list: &[u8], most: u64) -> (Vec<Mount>, io::Result<()>) {
        let mut seen = Vec::new();
        let done = walk(list.take(most), &mut |mount| {
            seen.push(mount);
            ControlFlow::Continue(())
        });
        (seen, done)
    }

    #[test]
    fn the_kernels_list_is_read() {
        let line = b"36 35 98:0 /host /a\\040b\\134c rw,noatime shared:1 - tmpfs skep-agent rw\n";
        let expected = Mount {
            id: 36,
            parent: 35,
            device: rustix::fs::makedev(98, 0),
            root: "/host".into(),
            point: "/a b\\c".into(),
            kind: "tmpfs".to_owned(),
            source: Some("skep-agent".to_owned()),
        };
        assert_eq!(mounts(line, 1 << 20).0, [expected]);
    }

    #[test]
    fn lines_are_bytes_and_no_line_hides_another() {
        let long = vec![b'a'; 20_000];
        let mut list = b"1 0 0:5 / /a\xff\xfe rw - tmpfs x rw\n".to_vec();
        list.extend_from_slice(
            b"\n\xff\n2 1 what / /b rw - tmpfs x rw\n2 1 0:4 / /c rw\n\
              2 1 0:4 / /c rw shared:x - tmpfs x rw\n99999999999 1 0:4 / /c rw - tmpfs x rw\n\
              3 1 0:6 / /run/sec\\012rets rw - tmpfs x rw\n4 1 0:7 / ",
        );
        list.extend_from_slice(&long);
        list.extend_from_slice(b" rw - tmpfs x rw\n5 1 0:8 / /z rw - tmpfs  rw\n");
        let (seen, done) = mounts(&list, 1 << 20);
        assert!(done.is_ok());
        let devices: Vec<_> = seen.iter().map(|mount| rustix::fs::minor(mount.device)).collect();
        assert_eq!(devices, [5, 6, 7, 8]);
        let points: Vec<_> = seen.iter().map(|mount| mount.point.as_os_str().as_bytes()).collect();
        assert_eq!(points, [b"/a\xff\xfe", &b"/run/sec\nrets"[..], &long, b"/z"]);
        assert!(mounts(&list, 200).1.is_err(), "a bound, and not an end");
    }

    #[test]
    fn the_own_list_is_read() {
        let root = std::os::unix::fs::MetadataExt::dev(&std::fs::metadata("/proc").expect("proc"));
        assert!(has("self", root).expect("readable"));
        assert!(!has("self", u64::MAX).expect("readable"));
        assert!(has("0", root).is_err());
    }
}
