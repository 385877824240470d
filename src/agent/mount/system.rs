//! The mount calls, and which mounts of the kernel's list are ours.

use std::ffi::CString;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_change,
    mount_remount, unmount,
};

use super::calls::{run, run_io};
use super::error::MountError;
use crate::agent::machine::mounts::{self, Mount};

/// The source that our mounts carry in the kernel's list: the first half of
/// what makes a mount ours (the second is its manifest).
const SOURCE: &str = "skep-agent";
/// Inodes of one mount: 4,096 files in every generation there can be, their links, and
/// room to spare.
const INODES: u32 = 262_144;
/// Nothing below is a device, a program or a way to more rights.
const INERT: MountFlags = MountFlags::NODEV.union(MountFlags::NOSUID).union(MountFlags::NOEXEC);

/// Which file system a mount of ours is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileSystem {
    Tmpfs,
    Ramfs,
    Fuse,
}

/// One line of the kernel's list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    /// Where it is mounted.
    pub(super) point: PathBuf,
    /// Which file system it shows.
    pub(super) device: u64,
    /// Which folder of that file system.
    pub(super) root: PathBuf,
    /// Of what kind, if it is one of ours.
    pub(super) ours: Option<FileSystem>,
}

/// Mounts memory at `point`, 0700 root's, and says of which kind. Falls back to ramfs where
/// the kernel doesn't know `noswap`.
pub(super) fn mount_memory(
    point: &Path,
    bytes: u64,
    ramfs: bool,
) -> Result<FileSystem, MountError> {
    let data = |text: String| CString::new(text).unwrap_or_default();
    if !ramfs {
        let options = data(format!("noswap,mode=0700,size={bytes},nr_inodes={INODES}"));
        let mounted = run_io("mount memory at", point, || {
            mount(SOURCE, point, "tmpfs", INERT, options.as_c_str())
        });
        match mounted {
            Ok(()) => return keep_private(point).map(|()| FileSystem::Tmpfs),
            // An option that this kernel, or this user namespace, doesn't take.
            Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => {}
            Err(source) => {
                let path = point.to_owned();
                return Err(MountError::Io { what: "mount memory at", path, source });
            }
        }
    }
    run("mount memory at", point, || mount(SOURCE, point, "ramfs", INERT, c"mode=0700"))?;
    keep_private(point).map(|()| FileSystem::Ramfs)
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
    run("list the mounts below", point, || {
        let mut listed = Vec::new();
        mounts::each("self", |mount| {
            listed.push(Listed::from(mount));
            ControlFlow::Continue(())
        })?;
        Ok::<_, std::io::Error>(listed)
    })
}

impl From<Mount> for Listed {
    fn from(mount: Mount) -> Self {
        let ours = match mount.kind.as_str() {
            _ if mount.source.as_deref() != Some(SOURCE) => None,
            "tmpfs" => Some(FileSystem::Tmpfs),
            "ramfs" => Some(FileSystem::Ramfs),
            "fuse" => Some(FileSystem::Fuse),
            _ => None,
        };
        Self { point: mount.point, device: mount.device, root: mount.root, ours }
    }
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
    fn a_mount_is_ours_by_its_source() {
        let mount = |kind: &str, source: Option<&str>| Mount {
            id: 36,
            parent: 35,
            device: 7,
            root: "/host".into(),
            point: "/x".into(),
            kind: kind.to_owned(),
            source: source.map(str::to_owned),
        };
        let ours = |kind, source| Listed::from(mount(kind, source)).ours;
        assert_eq!(ours("tmpfs", Some(SOURCE)), Some(FileSystem::Tmpfs));
        assert_eq!(ours("ramfs", Some(SOURCE)), Some(FileSystem::Ramfs));
        assert_eq!(ours("fuse", Some(SOURCE)), Some(FileSystem::Fuse));
        assert_eq!(ours("ext4", Some(SOURCE)), None);
        assert_eq!(ours("tmpfs", Some("tmpfs")), None);
        assert_eq!(ours("tmpfs", None), None);
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
