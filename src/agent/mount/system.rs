//! The mount calls, and the kernel's list of mounts.

use std::ffi::{CString, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_change,
    mount_remount, unmount,
};

use super::calls::{run, run_io};
use super::error::MountError;

/// The source that our mounts carry in the kernel's list: the first half of
/// what makes a mount ours (the second is its manifest).
const SOURCE: &str = "skep-agent";
/// The kernel's list.
const MOUNTINFO: &str = "/proc/self/mountinfo";
/// Inodes of one mount: 500 files and as many links, in every generation there
/// can be, and room to spare.
const INODES: u32 = 32_768;
/// Nothing below is a device, a program or a way to more rights.
const INERT: MountFlags = MountFlags::NODEV.union(MountFlags::NOSUID).union(MountFlags::NOEXEC);

/// Which file system a mount of ours is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Tmpfs,
    Ramfs,
    Fuse,
}

/// One line of the kernel's list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    /// Where it is mounted.
    pub(super) point: PathBuf,
    /// `major:minor`: which file system it shows.
    pub(super) device: String,
    /// Which folder of that file system.
    pub(super) root: PathBuf,
    /// Of what kind, if it is one of ours.
    pub(super) ours: Option<Kind>,
}

/// Mounts memory at `point`, 0700 root's, and says of which kind. Falls back to ramfs where
/// the kernel doesn't know `noswap`.
pub(super) fn mount_memory(point: &Path, bytes: u64, ramfs: bool) -> Result<Kind, MountError> {
    let data = |text: String| CString::new(text).unwrap_or_default();
    if !ramfs {
        let options = data(format!("noswap,mode=0700,size={bytes},nr_inodes={INODES}"));
        let mounted = run_io("mount memory at", point, || {
            mount(SOURCE, point, "tmpfs", INERT, options.as_c_str())
        });
        match mounted {
            Ok(()) => return keep_private(point).map(|()| Kind::Tmpfs),
            // An option that this kernel, or this user namespace, doesn't take.
            Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => {}
            Err(source) => {
                let path = point.to_owned();
                return Err(MountError::Io { what: "mount memory at", path, source });
            }
        }
    }
    run("mount memory at", point, || mount(SOURCE, point, "ramfs", INERT, c"mode=0700"))?;
    keep_private(point).map(|()| Kind::Ramfs)
}

/// Mounts what is answered through the descriptor `device`, for all users, their rights
/// checked by the kernel. A read asks for `most` bytes at a time. The caller has nobody to
/// answer yet: no path below `point` may be touched before it serves.
pub(super) fn mount_fuse(point: &Path, device: i32, most: usize) -> std::io::Result<()> {
    let options = format!(
        "fd={device},rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions,\
         max_read={most}"
    );
    let options = CString::new(options).unwrap_or_default();
    Ok(mount(SOURCE, point, "fuse", INERT, options.as_c_str())?)
}

/// Lets a mount of ours be written again that somebody made read-only.
pub(super) fn make_writable(point: &Path) -> Result<(), MountError> {
    run("make writable", point, || mount_remount(point, INERT | MountFlags::BIND, c""))?;
    run("make writable", point, || mount_remount(point, INERT, c""))
}

/// Ends a FUSE connection: whoever waits for an answer gets an error.
pub(super) fn cut(point: &Path) {
    // Without a mount there is no connection; one that is busy is ended all the same.
    unmount(point, UnmountFlags::FORCE | UnmountFlags::NOFOLLOW).ok();
}

/// Shows the folder `from` at `at` as it is.
pub(super) fn bind(from: &Path, at: &Path) -> Result<(), MountError> {
    run("bind the files at", at, || mount_bind(from, at))?;
    run("make inert", at, || mount_remount(at, INERT | MountFlags::BIND, c""))?;
    keep_private(at)
}

/// Without this, where the root's mount is shared, a view bound from here would be this
/// mount's peer, and what is mounted in the view would appear here again.
pub(super) fn keep_private(point: &Path) -> Result<(), MountError> {
    run("change the propagation of", point, || mount_change(point, MountPropagationFlags::PRIVATE))
}

/// Shows the folder `from` at `at`, read-only for everybody.
pub(super) fn bind_read_only(from: &Path, at: &Path) -> Result<(), MountError> {
    run("bind the files at", at, || mount_bind(from, at))?;
    let read_only = INERT | MountFlags::BIND | MountFlags::RDONLY;
    run("make read-only", at, || mount_remount(at, read_only, c"")).inspect_err(|_| {
        // Better no view than one that can be written.
        if let Err(error) = detach(at) {
            tracing::warn!(event = "view_stays", %error, "a view that could not be made read-only stays");
        }
    })
}

/// Takes a mount and those below it out of sight; it ends with its last user.
/// Nothing mounted: nothing to do.
pub(super) fn detach(point: &Path) -> Result<(), MountError> {
    run("unmount", point, || match unmount(point, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
        Ok(()) | Err(Errno::INVAL | Errno::NOENT) => Ok(()),
        Err(error) => Err(error),
    })
}

/// All mounts that this process sees, for a caller who looks for those at or below `point`.
pub(super) fn list(point: &Path) -> Result<Vec<Listed>, MountError> {
    let text = run("list the mounts below", point, || fs::read(MOUNTINFO))?;
    Ok(text.split(|byte| *byte == b'\n').filter_map(parse).collect())
}

/// proc(5): `id parent major:minor root point options [fields] - type source ...`
fn parse(line: &[u8]) -> Option<Listed> {
    let mut fields = line.split(|byte| *byte == b' ');
    let device = fields.nth(2)?;
    let root = unescape(fields.next()?);
    let point = unescape(fields.next()?);
    let mut fields = fields.skip_while(|field| *field != b"-").skip(1);
    let (kind, source) = (fields.next()?, fields.next()?);
    let ours = match kind {
        _ if source != SOURCE.as_bytes() => None,
        b"tmpfs" => Some(Kind::Tmpfs),
        b"ramfs" => Some(Kind::Ramfs),
        b"fuse" => Some(Kind::Fuse),
        _ => None,
    };
    Some(Listed { point, device: String::from_utf8_lossy(device).into_owned(), root, ours })
}

/// Blank, tab, newline and backslash are written as three octal digits.
fn unescape(field: &[u8]) -> PathBuf {
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

/// The one name that `path` has below `folder`, if it lies directly in it.
pub(super) fn name_below<'p>(folder: &Path, path: &'p Path) -> Option<&'p str> {
    let name = path.strip_prefix(folder).ok()?;
    let mut parts = name.components();
    parts.next()?;
    if parts.next().is_some() {
        return None;
    }
    std::str::from_utf8(name.as_os_str().as_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_list_is_read() {
        let line = b"36 35 98:0 /host /a\\040b\\134c rw,noatime shared:1 - tmpfs skep-agent rw";
        let listed = parse(line).unwrap();
        assert_eq!(listed.point, Path::new("/a b\\c"));
        assert_eq!((listed.device.as_str(), listed.root.as_path()), ("98:0", Path::new("/host")));
        assert_eq!(listed.ours, Some(Kind::Tmpfs));
        let other = b"36 35 98:0 / /x rw - tmpfs tmpfs rw";
        assert_eq!(parse(other).unwrap().ours, None);
        assert_eq!(parse(b""), None);
        assert_eq!(parse(b"36 35 98:0 / /x rw"), None);
    }

    #[test]
    fn a_name_lies_directly_below() {
        let below = |path| name_below(Path::new("/r"), Path::new(path));
        assert_eq!(below("/r/web"), Some("web"));
        assert_eq!(below("/r/web/..live"), None);
        assert_eq!(below("/r"), None);
        assert_eq!(below("/other/web"), None);
    }
}
