//! What `skep exec` does to itself before it becomes the command: a private
//! mount namespace in which the service's files stand read-only, then the
//! user's rights.
//!
//! The namespace is a slave of the host's: what the host mounts later shows up in
//! it, what it mounts doesn't show up on the host. Resource limits stay as they are
//! (with a core limit of 0 from `host::harden`, which is right for a process that is
//! given secrets), and `no_new_privs` is not set: a command may be set-uid.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::CWD;
use rustix::mount::{
    MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount,
    mount_change, mount_remount, move_mount, open_tree, unmount,
};
use rustix::process::{DumpableBehavior, Gid, Uid, getegid, geteuid, set_dumpable_behavior};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use super::mounts::{self, Mount};

/// As whom the command runs, in numbers: who has which name is not this room's to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
}

/// Steps on the agent's files, which stand where the agent says.
const VIEW: &str = "take a view of";
const LOOK: &str = "look at";

/// Why the command's surroundings couldn't be made.
#[derive(Debug, thiserror::Error)]
pub enum NamespaceError {
    /// The system refused a step.
    #[error("cannot {what} {}: {source}", path.display())]
    Step {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Only root can become somebody else.
    #[error("only root can run a command as another user")]
    NotRoot,
}

impl NamespaceError {
    /// What to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Step { source, what: VIEW | LOOK, .. }
                if source.kind() == io::ErrorKind::NotFound =>
            {
                Some(
                    "the agent's files don't show here: this process, or the agent, has mounts of \
                     its own (a container, a unit with PrivateMounts); run both among the host's",
                )
            }
            Self::Step { source, path, .. } if source.kind() == io::ErrorKind::NotFound => {
                let map = path.starts_with("/proc");
                (!map)
                    .then_some("the directory is made by root: `mkdir -p` it, or run as root once")
            }
            Self::Step { .. } => Some(
                "without root this needs user namespaces; and the service's --owner must be you",
            ),
            Self::NotRoot => Some("leave --user out, or run it as root"),
        }
    }
}

/// Says what was tried on which path.
fn step<T, E: Into<io::Error>>(
    done: Result<T, E>,
    what: &'static str,
    path: &Path,
) -> Result<T, NamespaceError> {
    done.map_err(|source| NamespaceError::Step {
        what,
        path: path.to_owned(),
        source: source.into(),
    })
}

/// Gives the calling thread a mount namespace of its own with `files` read-only at
/// `at`, then `user`'s rights. The caller executes the command
/// next, from the same thread. A caller that isn't root must have one thread only, and
/// keeps its user; `at` must exist then.
///
/// # Errors
/// See [`NamespaceError`]; the process must not go on with the command.
pub fn enter(files: &Path, at: &Path, user: Option<&User>) -> Result<(), NamespaceError> {
    let here = Path::new("/");
    let (uid, gid) = (geteuid(), getegid());
    if uid.is_root() {
        step(locked_pages::unshare_mounts(), "make a mount namespace at", here)?;
    } else {
        let own = |user: &User| user.uid == uid.as_raw() && user.gid == gid.as_raw();
        if !user.is_none_or(own) {
            return Err(NamespaceError::NotRoot);
        }
        step(locked_pages::unshare_user_and_mounts(), "make a user namespace at", here)?;
        map_self(uid, gid)?;
    }
    let slave = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    step(mount_change(here, slave), "change the propagation of", here)?;
    if uid.is_root() {
        let made = DirBuilder::new().recursive(true).mode(0o755).create(at);
        step(made, "make the folder", at)?;
    }
    // The mark hides what lies at `at`, where an agent's own root may be.
    let tree = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let view = step(open_tree(CWD, files, tree), VIEW, files)?;
    mark(at)?;
    show(&view, at)?;
    match user {
        Some(user) if uid.is_root() => become_user(user),
        _ => Ok(()),
    }
}

/// Shows the files again to a process that [`enter`]ed, where whoever answered for them is
/// gone: in its mount namespace, in the place of the dead view. Says whether that was so.
///
/// # Errors
/// [`NamespaceError`]; the view then stays dead.
pub fn show_again(files: &Path, at: &Path, process: u32) -> Result<bool, NamespaceError> {
    let proc = PathBuf::from(format!("/proc/{process}"));
    let device = step(std::fs::metadata(files), LOOK, files)?.dev();
    let list = proc.join("mountinfo");
    let mut stack = Stack::default();
    let looked = mounts::each(&process.to_string(), |mount| stack.take(mount, at));
    if !step(looked.and_then(|()| serves_another(&stack, device)), "read", &list)? {
        return Ok(false);
    }
    let namespace = proc.join("ns/mnt");
    let inside = step(File::open(&namespace), "open", &namespace)?;
    let tree = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let view = step(open_tree(CWD, files, tree), VIEW, files)?;
    let there = at.to_owned();
    // A thread that has gone into another namespace is of no use for anything else.
    let gone = std::thread::Builder::new().name("view".to_owned()).spawn(move || {
        step(locked_pages::unshare_folders(), "leave", Path::new("/"))?;
        let mounts = Some(LinkNameSpaceType::Mount);
        step(move_into_link_name_space(inside.as_fd(), mounts), "enter", &namespace)?;
        step(unmount(&there, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW), "unmount", &there)?;
        show(&view, &there)
    });
    let done = step(gone, "start a thread for", at)?.join();
    done.unwrap_or_else(|_| step(Err(io::Error::other("the thread panicked")), "show", at))?;
    Ok(true)
}

/// Mounts at one place that are looked at: the mark, a view, and what a workload puts there.
const STACKED: usize = 64;

/// Whether what stands at `at` is served by a process, and not on this device: read from the
/// kernel's list, for nobody else's server is to be waited for. Its order says nothing: what
/// stands on top is the one that is below no other.
fn serves_another(list: &Stack, device: u64) -> io::Result<bool> {
    if list.overflows {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let covered = |id: i32| list.mounts.iter().any(|other| other.parent == id);
    let dead = |mount: &Mount| mount.kind.starts_with("fuse") && mount.device != device;
    Ok(list.mounts.iter().any(|mount| dead(mount) && !covered(mount.id)))
}

/// The mounts at one place.
#[derive(Debug, Default)]
struct Stack {
    mounts: Vec<Mount>,
    /// There are more than [`STACKED`].
    overflows: bool,
}

impl Stack {
    fn take(&mut self, mount: Mount, at: &Path) -> ControlFlow<()> {
        if mount.point != at {
            return ControlFlow::Continue(());
        }
        if self.mounts.len() == STACKED {
            self.overflows = true;
            return ControlFlow::Break(());
        }
        self.mounts.push(mount);
        ControlFlow::Continue(())
    }
}

/// Marks the namespace, and every copy that a process in it makes: by an empty file system
/// of its own below the files. The agent knows the workload's processes by it.
fn mark(at: &Path) -> Result<(), NamespaceError> {
    let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    let options = c"size=4k,nr_inodes=2,mode=0555";
    step(mount("skep-exec", at, "tmpfs", flags, options), "mark the namespace at", at)
}

/// Puts a view in place and makes it read-only for everybody, root too.
fn show(view: &OwnedFd, at: &Path) -> Result<(), NamespaceError> {
    let whole = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    step(move_mount(view, "", CWD, at, whole), "show the files at", at)?;
    read_only(at)
}

fn read_only(at: &Path) -> Result<(), NamespaceError> {
    let flags = MountFlags::BIND
        | MountFlags::RDONLY
        | MountFlags::NOSUID
        | MountFlags::NODEV
        | MountFlags::NOEXEC;
    step(mount_remount(at, flags, c""), "make read-only", at)
}

/// Maps the caller's user and group to themselves in its new user namespace.
fn map_self(uid: Uid, gid: Gid) -> Result<(), NamespaceError> {
    // Of a process that isn't dumpable these files are root's.
    let process = Path::new("/proc/self");
    step(set_dumpable_behavior(DumpableBehavior::Dumpable), "open up", process)?;
    let (uid, gid) = (uid.as_raw(), gid.as_raw());
    for (file, text) in [
        ("setgroups", "deny".to_owned()),
        ("uid_map", format!("{uid} {uid} 1")),
        ("gid_map", format!("{gid} {gid} 1")),
    ] {
        let path = process.join(file);
        let written = OpenOptions::new()
            .write(true)
            .open(&path)
            .and_then(|mut map| map.write_all(text.as_bytes()));
        step(written, "write", &path)?;
    }
    step(set_dumpable_behavior(DumpableBehavior::NotDumpable), "close", process)
}

/// Groups first: after the user is another, they can't be changed any more.
fn become_user(user: &User) -> Result<(), NamespaceError> {
    let process = Path::new("/proc/self");
    let groups: Vec<Gid> = user.groups.iter().copied().map(Gid::from_raw).collect();
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    step(set_thread_groups(&groups), "set the groups of", process)?;
    step(set_thread_res_gid(gid, gid, gid), "set the group of", process)?;
    step(set_thread_res_uid(uid, uid, uid), "set the user of", process)
}

#[cfg(test)]
mod tests;
