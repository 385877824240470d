//! Files and folders of one mount: written once, read back, emptied.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt, chown, fchown, symlink};
use std::path::Path;

use rustix::fs::{IFlags, Mode, OFlags, ioctl_getflags, ioctl_setflags};

use super::calls::{run, run_io};
use super::error::MountError;
use super::folder::Folder;
use crate::agent::vault::FileSpec;
use skep_core::base::SecretBytes;

/// Memory is given out in pages.
const PAGE: u64 = 4096;
/// Zeros that one call writes over a file.
static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];
/// With these a file or folder can't be changed by root either.
const STUBBORN: IFlags = IFlags::IMMUTABLE.union(IFlags::APPEND);

/// The memory that a value of `size` bytes takes.
pub(super) fn pages(size: u32) -> u64 {
    u64::from(size).div_ceil(PAGE) * PAGE
}

/// Makes a folder with exactly this mode; it may exist.
pub(super) fn folder(path: &Path, mode: u32) -> Result<(), MountError> {
    let made = run_io("make the folder", path, || fs::create_dir(path));
    match made {
        Err(source) if source.kind() != io::ErrorKind::AlreadyExists => {
            return Err(MountError::Io { what: "make the folder", path: path.to_owned(), source });
        }
        Ok(()) => {}
        // What is there may be a link to elsewhere.
        Err(_) if look_at(path)?.is_some_and(|found| found.is_dir()) => {}
        Err(_) => return Err(MountError::InTheWay(path.to_owned())),
    }
    run("set the mode of", path, || fs::set_permissions(path, Permissions::from_mode(mode)))
}

/// Gives a folder its owner and mode.
pub(super) fn own(path: &Path, uid: u32, gid: u32, mode: u32) -> Result<(), MountError> {
    run("set the owner of", path, || chown(path, Some(uid), Some(gid)))?;
    run("set the mode of", path, || fs::set_permissions(path, Permissions::from_mode(mode)))
}

/// Makes a file that nobody but root can open yet, with `value` in it. What is answered
/// holds write access from the file's first moment on: while it is kept, nobody gets a
/// lease on the file (fcntl(2), `F_SETLEASE`) that could delay its wipe.
pub(super) fn make(path: &Path, value: &[u8]) -> Result<File, MountError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true).mode(0o000);
    let mut file = run("make the file", path, || options.open(path))?;
    run("write", path, || file.write_all(value))?;
    Ok(file)
}

/// Gives a file its owner and mode: from here on others may open it.
pub(super) fn give_away(file: &File, path: &Path, spec: &FileSpec) -> Result<(), MountError> {
    run("set the owner of", path, || fchown(file, Some(spec.uid), Some(spec.gid)))?;
    run("set the mode of", path, || file.set_permissions(Permissions::from_mode(spec.mode)))
}

/// Writes a file of root's own that holds no value.
pub(super) fn write_plain(path: &Path, bytes: &[u8]) -> Result<(), MountError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let mut file = run("make the file", path, || options.open(path))?;
    run("write", path, || file.write_all(bytes))
}

/// Reads a value back, straight into its final place. Without `held` the file is opened,
/// which never waits for a lease.
pub(super) fn read(
    path: &Path,
    held: Option<&File>,
    spec: &FileSpec,
) -> Result<SecretBytes, MountError> {
    let opened;
    let file = if let Some(held) = held {
        held
    } else {
        opened = run("open", path, || open(path, OFlags::RDONLY))?;
        &opened
    };
    let found = run("look at", path, || file.metadata())?.len();
    if found != u64::from(spec.size) {
        let (version, expected) = (spec.version, spec.size);
        return Err(MountError::Length { version, expected, found });
    }
    let length = usize::try_from(spec.size).unwrap_or(usize::MAX);
    let mut value = SecretBytes::zeroed(length);
    run("read", path, || file.read_exact_at(value.expose_mut(), 0))?;
    Ok(value)
}

/// Reads a file of root's own, of `most` bytes at most; `None`: it isn't there, or it is
/// no such file.
pub(super) fn read_plain(path: &Path, most: u64) -> Result<Option<Vec<u8>>, MountError> {
    let file = match run_io("open", path, || open(path, OFlags::RDONLY)) {
        // ELOOP: a link.
        Err(error) if error.kind() == io::ErrorKind::NotFound || is_loop(&error) => {
            return Ok(None);
        }
        Err(source) => {
            return Err(MountError::Io { what: "open", path: path.to_owned(), source });
        }
        Ok(file) => file,
    };
    let found = run("look at", path, || file.metadata())?;
    if !found.is_file() || found.len() > most {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    run("read", path, || file.take(most).read_to_end(&mut bytes))?;
    Ok(Some(bytes))
}

fn is_loop(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error())
}

/// What stands at `path` itself; `None`: nothing does.
pub(super) fn look_at(path: &Path) -> Result<Option<Metadata>, MountError> {
    match run_io("look at", path, || fs::symlink_metadata(path)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(MountError::Io { what: "look at", path: path.to_owned(), source }),
        Ok(found) => Ok(Some(found)),
    }
}

/// Where a link points; `None`: there is none.
pub(super) fn link_at(path: &Path) -> Option<std::path::PathBuf> {
    run_io("read the link", path, || fs::read_link(path)).ok()
}

/// Never waits: neither for a lease nor for the other end of a pipe.
fn open(path: &Path, flags: OFlags) -> io::Result<File> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    Ok(File::from(rustix::fs::open(path, flags, Mode::empty())?))
}

/// Takes write access to a file that is there, without waiting.
///
/// # Errors
/// [`MountError::Leased`] where a process holds a lease on it.
pub(super) fn take_access(path: &Path) -> Result<File, MountError> {
    match run_io("open", path, || open(path, OFlags::RDWR)) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Err(MountError::Leased(path.to_owned()))
        }
        Err(source) => Err(MountError::Io { what: "open", path: path.to_owned(), source }),
        Ok(file) => Ok(file),
    }
}

/// The same, waiting until every lease is broken: new ones are refused meanwhile, so
/// that takes `/proc/sys/fs/lease-break-time` (45 s) at most.
pub(super) fn wait_for_access(path: &Path) -> Result<File, MountError> {
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    run("wait for write access to", path, || {
        rustix::fs::open(path, flags, Mode::empty()).map(File::from)
    })
}

/// Writes zeros over a file, then cuts it to nothing, for descriptors and mappings that are
/// open, too. `zeros`: whether its memory is the kernel's, which gets zeros back.
pub(super) fn empty_open(file: &File, path: &Path, zeros: bool) -> Result<(), MountError> {
    if zeros {
        let length = run("look at", path, || file.metadata())?.len();
        let mut at = 0;
        while at < length {
            let step = usize::try_from(length - at).unwrap_or(usize::MAX).min(ZEROS.len());
            let part = ZEROS.get(..step).unwrap_or(&ZEROS);
            let written = run("overwrite", path, || file.write_at(part, at))?;
            if written == 0 {
                break;
            }
            at = at.saturating_add(u64::try_from(written).unwrap_or(length));
        }
    }
    run("empty", path, || file.set_len(0))
}

/// Empties what is held of the file at `path`, or what stands there, whatever its flags say,
/// and removes its name. Nothing there: nothing to do.
pub(super) fn empty_at(path: &Path, held: Option<&File>, zeros: bool) -> Result<(), MountError> {
    if let Some(held) = held {
        // What was put away under another name is emptied all the same.
        empty_open(held, path, zeros)?;
        return remove(path);
    }
    let Some(found) = look_at(path)? else { return Ok(()) };
    if found.is_file() && found.len() > 0 {
        let file = match take_access(path) {
            Err(error) if error.is_stubborn() => {
                make_pliable(path)?;
                take_access(path)?
            }
            opened => opened?,
        };
        empty_open(&file, path, zeros)?;
    }
    remove(path)
}

/// Removes a name; none there: nothing to do.
pub(super) fn remove(path: &Path) -> Result<(), MountError> {
    despite_flags(path, || unless_missing(fs::remove_file(path)), "remove")
}

/// Removes an empty folder; none there: nothing to do.
pub(super) fn remove_folder(path: &Path) -> Result<(), MountError> {
    despite_flags(path, || unless_missing(fs::remove_dir(path)), "remove the folder")
}

/// Tries again without the flags that forbid it, the folder's around it included.
fn despite_flags(
    path: &Path,
    act: impl Fn() -> io::Result<()>,
    what: &'static str,
) -> Result<(), MountError> {
    match run(what, path, &act) {
        Err(error) if error.is_stubborn() => {
            // Pipes and links have none, and what is missing is missed below.
            make_pliable(path).ok();
            if let Some(around) = path.parent() {
                make_pliable(around)?;
            }
            run(what, path, &act)
        }
        done => done,
    }
}

/// Takes away the flags of a file or folder that keep root from changing it.
fn make_pliable(path: &Path) -> Result<(), MountError> {
    let file = run("open", path, || open(path, OFlags::RDONLY))?;
    let flags = run("read the flags of", path, || ioctl_getflags(&file))?;
    if flags.intersects(STUBBORN) {
        run("change the flags of", path, || ioctl_setflags(&file, flags - STUBBORN))?;
    }
    Ok(())
}

fn unless_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// The names in a folder, whatever their bytes; none if it isn't there. A link to a folder
/// is none: what lies behind it is not ours.
pub(super) fn entries(path: &Path) -> Result<Vec<OsString>, MountError> {
    Ok(Folder::list_at(path)?.into_iter().map(|entry| entry.name).collect())
}

/// Gives what stands at `from` another name in the same mount.
pub(super) fn rename(what: &'static str, from: &Path, to: &Path) -> Result<(), MountError> {
    run(what, from, || fs::rename(from, to))
}

/// Puts a link at `at` by a rename from `aside`, which lies in another folder of the
/// same mount and must be free: a watcher of `at`'s folder sees one `MOVED_TO`.
pub(super) fn flip(aside: &Path, to: &str, at: &Path) -> Result<(), MountError> {
    run("link", aside, || symlink(to, aside))?;
    rename("flip", aside, at)
}

/// Makes `folder` have one link per target, each through `..data`, and no other
/// name that a target could have.
pub(super) fn link_targets<'t>(
    folder: &Path,
    targets: impl Iterator<Item = &'t str>,
) -> Result<(), MountError> {
    let mut stale: BTreeSet<OsString> = entries(folder)?.into_iter().collect();
    stale.retain(|name| !name.as_encoded_bytes().starts_with(b".."));
    for target in targets {
        let at = folder.join(target);
        if !stale.remove(std::ffi::OsStr::new(target)) {
            run("link", &at, || symlink(format!("..data/{target}"), &at))?;
        }
    }
    stale.iter().try_for_each(|name| remove(&folder.join(name)))
}
