//! The kernel's questions, answered from memory. Nothing here waits for a network, a disk,
//! a manager or another thread's work.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, InitFlags, IoctlFlags, KernelConfig, LockOwner, OpenAccMode, OpenFlags, PollEvents,
    PollFlags, PollNotifier, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyEmpty, ReplyEntry, ReplyIoctl, ReplyLseek, ReplyOpen, ReplyPoll, ReplyXattr, Request,
    TimeOrNow,
};

use super::content::{Content, READ_MOST};
use super::gate::Caller;
use super::share::Share;
use super::tree::{Begin, Node, NodeKind, Tree, TreeError};
use skep_core::base::Stamp;

/// How long the kernel may remember names and attributes. Whatever changes them goes
/// through the kernel, so they are never out of date.
const KEEP: Duration = Duration::from_hours(24);
/// Names and numbers are never used again.
const GENERATION: Generation = Generation(0);

/// One kernel mount's answers.
#[derive(Debug)]
pub(super) struct Server(pub(super) Arc<Share>);

fn errno(error: TreeError) -> Errno {
    match error {
        TreeError::NotFound => Errno::ENOENT,
        TreeError::NotAFolder => Errno::ENOTDIR,
        TreeError::IsAFolder => Errno::EISDIR,
        TreeError::Exists => Errno::EEXIST,
        TreeError::NotEmpty => Errno::ENOTEMPTY,
        TreeError::BadName => Errno::EINVAL,
    }
}

/// Names of our making are text.
fn text(name: &OsStr) -> Result<&str, Errno> {
    name.to_str().ok_or(Errno::ENOENT)
}

const fn kind(kind: &NodeKind) -> FileType {
    match kind {
        NodeKind::Folder(_) => FileType::Directory,
        NodeKind::Link(_) => FileType::Symlink,
        NodeKind::File(_) => FileType::RegularFile,
    }
}

/// Times are kept in milliseconds; before 1970 there was none of ours.
fn stamp(time: SystemTime) -> Stamp {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    Stamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

fn attributes(number: u64, node: &Node) -> FileAttr {
    let size = match &node.kind {
        NodeKind::Folder(_) => 0,
        NodeKind::Link(to) => to.len(),
        NodeKind::File(content) => content.size(),
    };
    let size = u64::try_from(size).unwrap_or(u64::MAX);
    let time = |stamp: Stamp| UNIX_EPOCH + Duration::from_millis(stamp.0);
    let (modified, changed) = (time(node.modified), time(node.changed));
    FileAttr {
        ino: INodeNo(number),
        size,
        blocks: size.div_ceil(512),
        atime: modified,
        mtime: modified,
        ctime: changed,
        crtime: modified,
        kind: kind(&node.kind),
        perm: u16::try_from(node.mode).unwrap_or(0),
        // Of a folder 1 means: not counted.
        nlink: u32::from(node.linked),
        uid: node.uid,
        gid: node.gid,
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

impl Server {
    /// Refuses everybody but the agent itself, root too.
    fn agent_only(&self, request: &Request) -> Result<(), Errno> {
        if self.0.is_agent(request.pid()) { Ok(()) } else { Err(Errno::EROFS) }
    }

    /// Changes the tree; the answer is the node that the kernel is to know now.
    fn change(
        &self,
        request: &Request,
        act: impl FnOnce(&mut Tree, Begin) -> Result<u64, TreeError>,
    ) -> Result<FileAttr, Errno> {
        self.agent_only(request)?;
        let begin = Begin { uid: request.uid(), gid: request.gid(), mode: 0, now: self.0.now() };
        let mut tree = self.0.tree.write();
        let number = act(&mut tree, begin).map_err(errno)?;
        tree.tell(number).map(|node| attributes(number, node)).map_err(errno)
    }

    fn remove(
        &self,
        request: &Request,
        name: &OsStr,
        act: impl FnOnce(&mut Tree, &str, Stamp) -> Result<(), TreeError>,
        reply: ReplyEmpty,
    ) {
        let done = self.agent_only(request).and_then(|()| {
            let name = text(name)?;
            act(&mut self.0.tree.write(), name, self.0.now()).map_err(errno)
        });
        answer(reply, done);
    }

    fn content(&self, number: u64) -> Result<Arc<Content>, Errno> {
        match &self.0.tree.read().get(number).map_err(errno)?.kind {
            NodeKind::File(content) => Ok(Arc::clone(content)),
            NodeKind::Folder(_) => Err(Errno::EISDIR),
            NodeKind::Link(_) => Err(Errno::EINVAL),
        }
    }
}

fn answer(reply: ReplyEmpty, done: Result<(), Errno>) {
    match done {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error),
    }
}

fn answer_entry(reply: ReplyEntry, made: Result<FileAttr, Errno>) {
    match made {
        Ok(attributes) => reply.entry(&KEEP, &attributes, GENERATION),
        Err(error) => reply.error(error),
    }
}

impl Filesystem for Server {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // A kernel that can't is asked more often, that is all.
        config.add_capabilities(InitFlags::FUSE_CACHE_SYMLINKS).ok();
        // From 6.6 on. An older one refuses mappings that are shared.
        config.add_capabilities(InitFlags::FUSE_DIRECT_IO_ALLOW_MMAP).ok();
        let most = u32::try_from(READ_MOST).unwrap_or(u32::MAX);
        // It bounds the pages of a request, reads included.
        config.set_max_write(most).map_err(|_| io::ErrorKind::InvalidInput)?;
        // A smaller one is as good.
        config.set_max_readahead(most).ok();
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let found = text(name).and_then(|name| {
            let tree = self.0.tree.read();
            let number = tree.child(parent.0, name).map_err(errno)?;
            tree.tell(number).map(|node| attributes(number, node)).map_err(errno)
        });
        answer_entry(reply, found);
    }

    fn forget(&self, _: &Request, number: INodeNo, count: u64) {
        self.0.tree.write().forget(number.0, count);
    }

    fn getattr(&self, _: &Request, number: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.0.tree.read().get(number.0) {
            Ok(node) => reply.attr(&KEEP, &attributes(number.0, node)),
            Err(error) => reply.error(errno(error)),
        }
    }

    fn setattr(
        &self,
        request: &Request,
        number: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        modified: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let changed = self.agent_only(request).and_then(|()| {
            match size {
                None => {}
                // The kernel then drops the pages that mappings have of it.
                Some(0) => self.content(number.0)?.clear(),
                Some(_) => return Err(Errno::EPERM),
            }
            let now = self.0.now();
            let modified = match modified {
                Some(TimeOrNow::SpecificTime(time)) => Some(stamp(time)),
                Some(TimeOrNow::Now) => Some(now),
                None => size.map(|_| now),
            };
            let mut tree = self.0.tree.write();
            tree.change(number.0, (mode, uid, gid), modified, now).map_err(errno)?;
            tree.get(number.0).map(|node| attributes(number.0, node)).map_err(errno)
        });
        match changed {
            Ok(attributes) => reply.attr(&KEEP, &attributes),
            Err(error) => reply.error(error),
        }
    }

    fn readlink(&self, _: &Request, number: INodeNo, reply: ReplyData) {
        match self.0.tree.read().get(number.0).map(|node| &node.kind) {
            Ok(NodeKind::Link(to)) => reply.data(to.as_bytes()),
            Ok(NodeKind::Folder(_) | NodeKind::File(_)) => reply.error(Errno::EINVAL),
            Err(error) => reply.error(errno(error)),
        }
    }

    fn mkdir(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _: u32,
        reply: ReplyEntry,
    ) {
        let made = text(name).and_then(|name| {
            self.change(request, |tree, begin| {
                tree.make(parent.0, name, NodeKind::folder(), Begin { mode, ..begin })
            })
        });
        answer_entry(reply, made);
    }

    fn symlink(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        to: &Path,
        reply: ReplyEntry,
    ) {
        let made = text(name).and_then(|name| {
            let to = NodeKind::Link(text(to.as_os_str())?.to_owned());
            self.change(request, |tree, begin| {
                tree.make(parent.0, name, to, Begin { mode: 0o777, ..begin })
            })
        });
        answer_entry(reply, made);
    }

    fn unlink(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.remove(request, name, |tree, name, now| tree.unlink(parent.0, name, now), reply);
    }

    fn rmdir(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let act = |tree: &mut Tree, name: &str, now| tree.remove_folder(parent.0, name, now);
        self.remove(request, name, act, reply);
    }

    fn rename(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        to_parent: INodeNo,
        to_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let now = self.0.now();
        let done = text(name).and_then(|name| {
            let to_name = text(to_name)?;
            self.agent_only(request)?;
            if !flags.is_empty() {
                return Err(Errno::EINVAL);
            }
            let mut tree = self.0.tree.write();
            tree.rename((parent.0, name), (to_parent.0, to_name), now).map_err(errno)
        });
        answer(reply, done);
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _: u32,
        _: i32,
        reply: ReplyCreate,
    ) {
        let made = text(name).and_then(|name| {
            self.change(request, |tree, begin| {
                let file = NodeKind::File(Arc::new(Content::new(tree.next())));
                tree.make(parent.0, name, file, Begin { mode, ..begin })
            })
        });
        let direct = FopenFlags::FOPEN_DIRECT_IO | FopenFlags::FOPEN_NOFLUSH;
        match made {
            Ok(attributes) => {
                reply.created(&KEEP, &attributes, GENERATION, FileHandle(0), direct);
            }
            Err(error) => reply.error(error),
        }
    }

    /// The decision. What is opened is a version's bytes, which never change: the snapshot
    /// that a reader gets.
    fn open(&self, request: &Request, number: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let direct = FopenFlags::FOPEN_DIRECT_IO | FopenFlags::FOPEN_NOFLUSH;
        if self.0.is_agent(request.pid()) {
            return reply.opened(FileHandle(0), direct);
        }
        if flags.acc_mode() != OpenAccMode::O_RDONLY {
            return reply.error(Errno::EROFS);
        }
        let found = self.content(number.0).and_then(|content| {
            let service = self.0.tree.read().get(number.0).map_err(errno)?.service;
            Ok((content, service.ok_or(Errno::EACCES)?))
        });
        let caller = Caller { thread: request.pid(), uid: request.uid(), gid: request.gid() };
        match found {
            Ok((content, service)) if self.0.admits(caller, service, &content) => {
                reply.opened(FileHandle(0), direct);
            }
            Ok(_) => reply.error(Errno::EACCES),
            Err(error) => reply.error(error),
        }
    }

    fn read(
        &self,
        _: &Request,
        number: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let size = usize::try_from(size).unwrap_or(READ_MOST);
        match self.content(number.0) {
            Ok(content) => self.0.give(&content, (offset, size), reply),
            Err(error) => reply.error(error),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        reply.ok();
    }

    // What follows isn't offered. The kernel asks once and remembers.

    fn getxattr(&self, _: &Request, _: INodeNo, _: &OsStr, _: u32, reply: ReplyXattr) {
        reply.error(Errno::ENOSYS);
    }

    fn listxattr(&self, _: &Request, _: INodeNo, _: u32, reply: ReplyXattr) {
        reply.error(Errno::ENOSYS);
    }

    fn lseek(&self, _: &Request, _: INodeNo, _: FileHandle, _: i64, _: i32, reply: ReplyLseek) {
        reply.error(Errno::ENOSYS);
    }

    fn poll(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: PollNotifier,
        _: PollEvents,
        _: PollFlags,
        reply: ReplyPoll,
    ) {
        reply.error(Errno::ENOSYS);
    }

    fn ioctl(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: IoctlFlags,
        _: u32,
        _: &[u8],
        _: u32,
        reply: ReplyIoctl,
    ) {
        reply.error(Errno::ENOTTY);
    }

    fn mknod(&self, _: &Request, _: INodeNo, _: &OsStr, _: u32, _: u32, _: u32, reply: ReplyEntry) {
        reply.error(Errno::EROFS);
    }

    fn link(&self, _: &Request, _: INodeNo, _: INodeNo, _: &OsStr, reply: ReplyEntry) {
        reply.error(Errno::EROFS);
    }

    fn setxattr(
        &self,
        _: &Request,
        _: INodeNo,
        _: &OsStr,
        _: &[u8],
        _: i32,
        _: u32,
        reply: ReplyEmpty,
    ) {
        reply.error(Errno::EROFS);
    }

    fn removexattr(&self, _: &Request, _: INodeNo, _: &OsStr, reply: ReplyEmpty) {
        reply.error(Errno::EROFS);
    }

    fn readdir(
        &self,
        _: &Request,
        number: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let tree = self.0.tree.read();
        let all = match tree.list(number.0) {
            Ok(all) => all,
            Err(error) => return reply.error(errno(error)),
        };
        let skipped = usize::try_from(offset).unwrap_or(usize::MAX);
        for (next, (name, child, of)) in (1_u64..).zip(all).skip(skipped) {
            if reply.add(INodeNo(child), next, kind(of), name) {
                break;
            }
        }
        reply.ok();
    }
}
