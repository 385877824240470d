//! What the serving threads and the agent's own thread share.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use fuser::{Errno, ReplyData};
use parking_lot::{Mutex, RwLock};

use super::Needs;
use super::content::{self, Content};
use super::gate::{self, Caller};
use super::tree::{NodeKind, ROOT, Tree};
use crate::agent::mount::error::MountError;
use crate::agent::vault::{FileSpec, layout};
use skep_core::base::{SecretBytes, ServiceId, Stamp};
use skep_core::domain::{Opened, Owner, Reader};
use skep_core::seal::ShelfKey;

/// Everything that is shown, whoever asks for it.
pub(in crate::agent::mount) struct Share {
    pub(super) tree: RwLock<Tree>,
    key: ShelfKey,
    needs: Needs,
    /// The threads that may change things now; one of them may be in it twice.
    writers: RwLock<Vec<u32>>,
    /// The kernel's mount has ended.
    pub(super) ended: AtomicBool,
    /// Buffers that no read is using: as many as threads serve, at most.
    buffers: Mutex<Vec<SecretBytes>>,
    host: Vec<u64>,
}

impl std::fmt::Debug for Share {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Share")
    }
}

impl Share {
    pub(super) fn new(needs: Needs) -> Self {
        Self {
            tree: RwLock::new(Tree::new(needs.clock.now())),
            key: ShelfKey::draw((needs.dice)().as_mut()),
            needs,
            writers: RwLock::default(),
            ended: AtomicBool::new(false),
            buffers: Mutex::default(),
            host: gate::host_namespaces(),
        }
    }

    pub(super) fn now(&self) -> Stamp {
        self.needs.clock.now()
    }

    /// Lets the calling thread change what is shown.
    pub(in crate::agent::mount) fn act(self: &Arc<Self>) -> Acting {
        let own = u32::try_from(rustix::thread::gettid().as_raw_nonzero().get()).unwrap_or(0);
        self.writers.write().push(own);
        Acting { share: Arc::clone(self), own }
    }

    pub(super) fn is_agent(&self, thread: u32) -> bool {
        thread != 0 && self.writers.read().contains(&thread)
    }

    /// The file at `path` below the mount's own folder.
    fn file_at(&self, path: &Path) -> Option<Arc<Content>> {
        let names: Option<Vec<&str>> = path.iter().map(|name| name.to_str()).collect();
        let tree = self.tree.read();
        let number = tree.at(names?.into_iter()).ok()?;
        match &tree.get(number).ok()?.kind {
            NodeKind::File(content) => Some(Arc::clone(content)),
            NodeKind::Folder(_) | NodeKind::Link(_) => None,
        }
    }

    /// Fills the file at `path`, which is there and empty. The kernel doesn't carry the value.
    /// Opens of what is `of` nothing are not written down.
    pub(in crate::agent::mount) fn put(
        &self,
        path: &Path,
        of: Option<&FileSpec>,
        value: &SecretBytes,
    ) -> io::Result<()> {
        let content = self.file_at(path).ok_or(io::ErrorKind::NotFound)?;
        content.put(&self.key, (self.needs.dice)().as_mut(), of, value).map_err(io::Error::other)
    }

    /// The file at `path` is of another version with the same value from here on.
    pub(in crate::agent::mount) fn rename_version(&self, path: &Path, of: &FileSpec) {
        if let Some(content) = self.file_at(path) {
            content.rename_version(of);
        }
    }

    /// The value of the file at `path`.
    pub(in crate::agent::mount) fn value(
        &self,
        path: &Path,
        of: &FileSpec,
    ) -> Result<SecretBytes, MountError> {
        let missing = MountError::Missing(of.version);
        let Some(content) = self.file_at(path) else { return Err(missing) };
        let found = content.size();
        if u32::try_from(found) != Ok(of.size) {
            return Err(MountError::Length {
                version: of.version,
                expected: of.size,
                found: u64::try_from(found).unwrap_or(u64::MAX),
            });
        }
        self.with_buffer(|buffer| content.value(&self.key, buffer)).map_err(|_| missing)
    }

    /// Empties the file at `path`, whatever the kernel is doing. None there: nothing to do.
    pub(in crate::agent::mount) fn clear(&self, path: &Path) {
        if let Some(content) = self.file_at(path) {
            content.clear();
        }
    }

    /// Empties every file below `path`. None there: nothing to do.
    pub(in crate::agent::mount) fn clear_below(&self, path: &Path) {
        let Some(names) = path.iter().map(|name| name.to_str()).collect::<Option<Vec<_>>>() else {
            return;
        };
        let tree = self.tree.read();
        let mut rest: Vec<u64> = tree.at(names.into_iter()).into_iter().collect();
        while let Some(number) = rest.pop() {
            match tree.get(number).map(|node| &node.kind) {
                Ok(NodeKind::File(content)) => content.clear(),
                Ok(NodeKind::Folder(entries)) => rest.extend(entries.values()),
                Ok(NodeKind::Link(_)) | Err(_) => {}
            }
        }
    }

    /// A buffer for the time of one call. It comes back zeroed.
    fn with_buffer<T>(&self, work: impl FnOnce(&mut SecretBytes) -> T) -> T {
        let spare = self.buffers.lock().pop();
        let mut buffer = spare.unwrap_or_else(content::buffer);
        let done = work(&mut buffer);
        self.buffers.lock().push(buffer);
        done
    }

    /// Answers a read.
    pub(super) fn give(&self, content: &Content, at: (u64, usize), reply: ReplyData) {
        let mut reply = Some(reply);
        let given = self.with_buffer(|buffer| {
            content.read(&self.key, buffer, at, |bytes| {
                if let Some(reply) = reply.take() {
                    reply.data(bytes);
                }
            })
        });
        if let Some(reply) = reply {
            if let Err(error) = given {
                tracing::error!(event = "read_failed", %error);
            }
            reply.error(Errno::EIO);
        }
    }

    /// Decides about an open and writes it down.
    pub(super) fn admits(&self, caller: Caller, service: ServiceId, content: &Content) -> bool {
        let owner = self.owner_of(service);
        let reader = self
            .needs
            .guests
            .of(service, |party| gate::decide(caller, party, owner, &self.host, &gate::Proc));
        let admitted = reader != Reader::Stranger;
        let executable = gate::executable(caller.thread);
        if !admitted {
            tracing::warn!(
                event = "open_refused",
                %service, uid = caller.uid, pid = caller.thread, executable
            );
        }
        // What was emptied has nothing that could be read.
        if let Some(of) = content.of() {
            self.needs.reads.note(Opened {
                at: self.now(),
                service,
                secret: of.secret,
                version: of.version,
                number: of.number,
                reader,
                uid: caller.uid,
                pid: caller.thread,
                executable,
            });
        }
        admitted
    }

    /// Who owns the service's directory on the host.
    fn owner_of(&self, service: ServiceId) -> Owner {
        let tree = self.tree.read();
        let host = tree.child(ROOT, &service.to_string());
        let host =
            host.and_then(|top| tree.child(top, layout::HOST)).and_then(|host| tree.get(host));
        host.map_or_else(|_| Owner::default(), |node| Owner { uid: node.uid, gid: node.gid })
    }
}

/// While it lives, the thread that made it may change what is shown. It must not go to
/// another thread.
#[derive(Debug)]
pub(in crate::agent::mount) struct Acting {
    share: Arc<Share>,
    own: u32,
}

impl Drop for Acting {
    fn drop(&mut self) {
        let mut writers = self.share.writers.write();
        if let Some(at) = writers.iter().rposition(|thread| *thread == self.own) {
            writers.swap_remove(at);
        }
    }
}
