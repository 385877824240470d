//! A manager's data folder: `manager.key`, `log/`, `log.reached`, `snapshots/`, `node`,
//! `lock`, three marks, and `recovered/` while a recovery is carried out.
//!
//! The order in which they appear and go is what keeps a half-made manager from
//! being taken for a whole one: `init-unfinished` stands from before the key
//! file until the first command is applied.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::manager::reserve;
use skep_client::ca::certificate_ends;
use skep_core::base::{Disk, FORMAT, Name, NodeId, OtherFormat, Stamp};

/// Bytes of a key file: 16 recipients, a chain and keys need less than a tenth.
const KEY_FILE_BYTES: u64 = 256 * 1024;
/// Bytes of the `node` file.
const NODE_FILE_BYTES: u64 = 4 * 1024;

const KEY_FILE: &str = "manager.key";
const NODE_FILE: &str = "node";
/// What `store` keeps beside the log.
const REACHED: &str = "log.reached";
const UNFINISHED: &str = "init-unfinished";
/// What this manager told the cluster of where it is.
const TOLD: &str = "advertised";
/// Bytes of it: the most addresses there may be.
const TOLD_BYTES: u64 = 16 * 1024;
const STAY_LOCKED: &str = "stay-locked";
const REMOVED: &str = "removed";
/// When the oldest issuing CA begins whose certificates are accepted, in milliseconds.
const FLOOR: &str = "oldest-issuer";
/// Bytes of it: the digits of the largest number, and a line's end.
const FLOOR_BYTES: u64 = 21;
/// What a recovery is writing: of no use until it has its other name.
const RECOVERING: &str = "recovered.tmp";
/// What a recovery has written, whole: it takes the place of what is beside it.
const RECOVERED: &str = "recovered";
/// What of it does, each after what it needs.
const REPLACED: [&str; 3] = ["snapshots", "log", REACHED];

/// Why a data folder can't be used. Says the daemon's exit status.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// Another process has it: status 22.
    #[error("{0} is in use by another process")]
    InUse(PathBuf),
    /// Not ours alone: status 23.
    #[error("{0} {1}")]
    Permissions(PathBuf, &'static str),
    /// The log is there and the key file is not: status 20.
    #[error("{0} holds a log, and its manager.key is missing")]
    KeyMissing(PathBuf),
    /// The `node` file is of another format: status 23 or 25.
    #[error("{0} was {1}")]
    Format(PathBuf, OtherFormat),
    /// What it says of issuing CAs is not what is written there: status 20.
    #[error("{0} is damaged")]
    Floor(PathBuf),
    /// It can't be made or entered: status 23.
    #[error("{0}: {1}")]
    Unusable(PathBuf, io::Error),
    /// What the system says: status 21.
    #[error("{0}: {1}")]
    Disk(PathBuf, io::Error),
}

/// For display while locked; nothing trusts it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::manager) struct NodeFile {
    /// The format's number; before there was one, it was not written.
    #[serde(default)]
    version: u32,
    /// The manager's id, as text.
    pub node: String,
    /// Its name.
    pub name: String,
    /// The cluster's name.
    pub cluster: String,
    /// When its certificate ends, in milliseconds since 1970; 0: it is not known.
    #[serde(default)]
    pub ends: u64,
}

impl NodeFile {
    /// Of this manager.
    pub(in crate::manager) fn of(node: NodeId, name: &Name, cluster: &str) -> Self {
        Self {
            version: FORMAT,
            node: node.to_string(),
            name: name.to_string(),
            cluster: cluster.to_owned(),
            ends: 0,
        }
    }
    /// The same with the end of this certificate (DER).
    #[must_use]
    pub(in crate::manager) fn until(self, leaf: Option<&Vec<u8>>) -> Self {
        let ends = leaf.and_then(|leaf| certificate_ends(leaf)).map_or(0, |ends| ends.0);
        Self { ends, ..self }
    }
}

/// A data folder that this process alone uses, as long as this lives.
#[derive(Debug)]
pub(in crate::manager) struct Folder {
    path: PathBuf,
    disk: Disks,
    _lock: File,
}

struct Disks(Arc<dyn Disk>);

impl std::fmt::Debug for Disks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Disk")
    }
}

impl Folder {
    /// Makes the folder (0700) if it is not there, checks that it is the user's
    /// own, and locks it.
    ///
    /// # Errors
    /// [`FolderError`].
    pub(in crate::manager) fn open(
        path: &Path,
        uid: u32,
        disk: Arc<dyn Disk>,
    ) -> Result<Self, FolderError> {
        let unusable = |error| FolderError::Unusable(path.to_owned(), error);
        let failed = |error| FolderError::Disk(path.to_owned(), error);
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(unusable)?;
        let found = std::fs::metadata(path).map_err(unusable)?;
        if found.uid() != uid {
            let why = "belongs to another user than the one that runs the manager";
            return Err(FolderError::Permissions(path.to_owned(), why));
        }
        if found.mode() & 0o077 != 0 {
            let why = "is open to other users; its mode must be 0700";
            return Err(FolderError::Permissions(path.to_owned(), why));
        }
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path.join("lock"))
            .map_err(|error| FolderError::Unusable(path.join("lock"), error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(FolderError::InUse(path.to_owned())),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let folder = Self { path: path.to_owned(), disk: Disks(disk), _lock: lock };
        folder.carry_out().map_err(failed)?;
        folder.node_format().map_err(|format| FolderError::Format(path.join(NODE_FILE), format))?;
        let no_key = folder.key_file().map_err(|error| folder.no_key_file(error))?.is_none();
        let log = |error| FolderError::Disk(path.join("log"), error);
        if no_key && folder.has_log().map_err(log)? {
            return Err(FolderError::KeyMissing(path.to_owned()));
        }
        Ok(folder)
    }
    /// Begins a recovery: where its log and snapshots are to be written.
    ///
    /// # Errors
    /// What the system says.
    pub(in crate::manager) fn begin_recovery(&self) -> io::Result<PathBuf> {
        let into = self.path.join(RECOVERING);
        absent(std::fs::remove_dir_all(&into))?;
        self.disk.0.create_folder(&into)?;
        Ok(into)
    }
    /// Decides a recovery whose log and snapshots are durable, and carries it out. Where that is
    /// cut short, whoever opens the folder next goes on with it.
    ///
    /// # Errors
    /// What the system says.
    pub(in crate::manager) fn decide_recovery(&self) -> io::Result<()> {
        self.disk.0.sync_folder(&self.path.join(RECOVERING))?;
        self.disk.0.sync_folder(&self.path)?;
        self.disk.0.rename(&self.path.join(RECOVERING), &self.path.join(RECOVERED))?;
        self.disk.0.sync_folder(&self.path)?;
        self.carry_out()
    }
    /// Puts what a recovery has written in the place of what was there, and removes what one
    /// left that was not decided.
    fn carry_out(&self) -> io::Result<()> {
        absent(std::fs::remove_dir_all(self.path.join(RECOVERING)))?;
        let from = self.path.join(RECOVERED);
        if absent(std::fs::symlink_metadata(&from))?.is_none() {
            return Ok(());
        }
        for name in REPLACED {
            let (new, old) = (from.join(name), self.path.join(name));
            if absent(std::fs::symlink_metadata(&new))?.is_none() {
                continue;
            }
            if old.is_dir() {
                std::fs::remove_dir_all(&old)?;
            }
            self.disk.0.rename(&new, &old)?;
            self.disk.0.sync_folder(&self.path)?;
            self.disk.0.sync_folder(&from)?;
        }
        self.remove_mark(REMOVED)?;
        std::fs::remove_dir_all(&from)?;
        self.disk.0.sync_folder(&self.path)
    }
    /// Where it is.
    #[must_use]
    pub(in crate::manager) fn path(&self) -> &Path {
        &self.path
    }
    fn has_log(&self) -> io::Result<bool> {
        Ok(absent(self.disk.0.list(&self.path.join("log")))?.is_some_and(|found| !found.is_empty()))
    }
    /// The key file's bytes; `None` on a manager that is `new`.
    ///
    /// # Errors
    /// What the system says.
    pub(in crate::manager) fn key_file(&self) -> io::Result<Option<Vec<u8>>> {
        absent(self.disk.0.read(&self.path.join(KEY_FILE), KEY_FILE_BYTES))
    }
    /// What a failure of [`Self::key_file`] is told as.
    #[must_use]
    pub(in crate::manager) fn no_key_file(&self, error: io::Error) -> FolderError {
        FolderError::Disk(self.path.join(KEY_FILE), error)
    }
    /// Marks that an `init` begins: until [`Self::finish_init`] what is here is no whole
    /// manager.
    ///
    /// # Errors
    /// What the system says.
    pub(in crate::manager) fn begin_init(&self) -> io::Result<()> {
        self.disk.0.replace(&self.path.join(UNFINISHED), b"")
    }
    /// Writes the key file, and the `node` file before it: with the key file the manager is
    /// there.
    ///
    /// # Errors
    /// What the system says.
    pub(in crate::manager) fn write_identity(
        &self,
        key_file: &[u8],
        node: &NodeFile,
    ) -> io::Result<()> {
        self.write_node(node)?;
        self.replace_key_file(key_file)
    }
    /// Replaces the key file, whole and durably.
    ///
    /// # Errors
    /// What the system says: the one before stands, or this one.
    pub(in crate::manager) fn replace_key_file(&self, key_file: &[u8]) -> io::Result<()> {
        self.disk.0.replace(&self.path.join(KEY_FILE), key_file)
    }
    /// Writes the `node` file.
    ///
    /// # Errors
    /// What the system says.
    pub(in crate::manager) fn write_node(&self, node: &NodeFile) -> io::Result<()> {
        let text = toml::to_string(node).map_err(io::Error::other)?;
        self.disk.0.replace(&self.path.join(NODE_FILE), text.as_bytes())
    }
    /// The first command is applied: the manager is whole.
    ///
    /// # Errors
    /// What the system says.
    pub(in crate::manager) fn finish_init(&self) -> io::Result<()> {
        self.remove_mark(UNFINISHED)
    }
    /// Whether an `init` did not come to its end here.
    #[must_use]
    pub(in crate::manager) fn init_unfinished(&self) -> bool {
        self.has_mark(UNFINISHED)
    }
    /// Takes back all that a failed `init` left, so that the manager is `new`. The
    /// mark goes last.
    ///
    /// # Errors
    /// What the system says.
    pub(in crate::manager) fn forget_init(&self) -> io::Result<()> {
        for below in ["log", "snapshots"] {
            absent(std::fs::remove_dir_all(self.path.join(below)))?;
        }
        for file in [REACHED, TOLD, NODE_FILE, FLOOR, KEY_FILE] {
            absent(self.disk.0.remove(&self.path.join(file)))?;
        }
        self.disk.0.sync_folder(&self.path)?;
        self.remove_mark(UNFINISHED)
    }
    /// Removes the key file: what else is here can't be opened from then on.
    ///
    /// # Errors
    /// What the system says.
    pub(in crate::manager) fn erase_key(&self) -> io::Result<()> {
        absent(self.disk.0.remove(&self.path.join(KEY_FILE)))?;
        self.disk.0.sync_folder(&self.path)
    }
    /// Removes all that a manager keeps here, the key file first. The lock stays.
    ///
    /// # Errors
    /// What the system says.
    pub(in crate::manager) fn erase(&self) -> io::Result<()> {
        self.erase_key()?;
        for below in ["log", "snapshots", RECOVERING, RECOVERED] {
            absent(std::fs::remove_dir_all(self.path.join(below)))?;
        }
        for file in
            [REACHED, TOLD, NODE_FILE, STAY_LOCKED, REMOVED, FLOOR, UNFINISHED, reserve::NAME]
        {
            absent(self.disk.0.remove(&self.path.join(file)))?;
        }
        self.disk.0.sync_folder(&self.path)
    }
    /// What the `node` file says; empty where it is not there or not readable.
    #[must_use]
    pub(in crate::manager) fn node_file(&self) -> NodeFile {
        self.read_node_file().unwrap_or_default()
    }
    fn read_node_file(&self) -> Option<NodeFile> {
        let bytes = self.disk.0.read(&self.path.join(NODE_FILE), NODE_FILE_BYTES).ok()?;
        toml::from_str(str::from_utf8(&bytes).ok()?).ok()
    }
    fn node_format(&self) -> Result<(), OtherFormat> {
        match self.read_node_file() {
            // The first builds wrote no number.
            Some(file) => OtherFormat::check(file.version.max(1)),
            None => Ok(()),
        }
    }
    /// Whether these addresses are what this manager told the cluster last. A file that can't be
    /// read says no: then it is told once more.
    pub(in crate::manager) fn has_told(&self, addresses: &[String]) -> bool {
        let told = self.disk.0.read(&self.path.join(TOLD), TOLD_BYTES);
        told.is_ok_and(|told| told == lines(addresses))
    }
    /// The cluster knows these addresses from this manager.
    ///
    /// # Errors
    /// What the system says.
    pub(in crate::manager) fn tells(&self, addresses: &[String]) -> io::Result<()> {
        self.disk.0.replace(&self.path.join(TOLD), &lines(addresses))
    }
    /// An operator locked it: an unlock key on this machine doesn't open it again.
    ///
    /// # Errors
    /// What the system says.
    pub(in crate::manager) fn stay_locked(&self) -> io::Result<()> {
        self.disk.0.replace(&self.path.join(STAY_LOCKED), b"")
    }
    /// Whether an operator locked it.
    #[must_use]
    pub(in crate::manager) fn stays_locked(&self) -> bool {
        self.has_mark(STAY_LOCKED)
    }
    /// An operator unlocked it.
    ///
    /// # Errors
    /// What the system says.
    pub(in crate::manager) fn may_unlock(&self) -> io::Result<()> {
        self.remove_mark(STAY_LOCKED)
    }
    /// A majority of the others said that this manager was removed: started again it opens
    /// nothing, so that what is here can be erased.
    ///
    /// # Errors
    /// What the system says.
    pub(in crate::manager) fn mark_removed(&self) -> io::Result<()> {
        self.disk.0.replace(&self.path.join(REMOVED), b"")
    }
    /// Whether it was removed.
    #[must_use]
    pub(in crate::manager) fn was_removed(&self) -> bool {
        self.has_mark(REMOVED)
    }
    /// The oldest issuing CA whose certificates are accepted, as far as was written down;
    /// damaged is never taken for absent.
    ///
    /// # Errors
    /// [`FolderError`].
    pub(in crate::manager) fn floor(&self) -> Result<Stamp, FolderError> {
        let path = self.path.join(FLOOR);
        let found = absent(self.disk.0.read(&path, FLOOR_BYTES));
        let Some(bytes) = found.map_err(|error| FolderError::Disk(path.clone(), error))? else {
            return Ok(Stamp(0));
        };
        let read = str::from_utf8(&bytes).ok().and_then(|text| text.strip_suffix('\n'));
        let read = read.and_then(|digits| digits.parse().ok()).map(Stamp);
        read.ok_or(FolderError::Floor(path))
    }
    /// Writes it down. It only rises: whoever calls has seen to that.
    ///
    /// # Errors
    /// What the system says.
    pub(in crate::manager) fn keep_floor(&self, oldest: Stamp) -> io::Result<()> {
        self.disk.0.replace(&self.path.join(FLOOR), format!("{}\n", oldest.0).as_bytes())
    }
    fn has_mark(&self, mark: &str) -> bool {
        self.disk.0.len(&self.path.join(mark)).is_ok()
    }
    fn remove_mark(&self, mark: &str) -> io::Result<()> {
        if absent(self.disk.0.remove(&self.path.join(mark)))?.is_some() {
            self.disk.0.sync_folder(&self.path)?;
        }
        Ok(())
    }
    /// Bytes free where it lies, for this user; 0 where the system doesn't say.
    #[must_use]
    pub(in crate::manager) fn free_bytes(&self) -> u64 {
        rustix::fs::statvfs(&self.path)
            .map_or(0, |found| found.f_bavail.saturating_mul(found.f_frsize))
    }
}

/// One address a line.
fn lines(addresses: &[String]) -> Vec<u8> {
    addresses.iter().flat_map(|address| [address.as_bytes(), b"\n"].concat()).collect()
}

/// Nothing there is an answer; every other failure is one.
fn absent<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::RealDisk;

    fn put(path: &Path, text: &str) {
        let mut file = File::create(path).expect("a file");
        io::Write::write_all(&mut file, text.as_bytes()).expect("written");
    }

    /// What a recovery replaces, below `folder`.
    fn make(folder: &Path, text: &str) {
        for below in ["snapshots", "log"] {
            std::fs::create_dir_all(folder.join(below)).expect("a folder");
            put(&folder.join(below).join("file"), text);
        }
        put(&folder.join(REACHED), text);
    }

    fn found(folder: &Path) -> Vec<String> {
        let read = |path: PathBuf| std::fs::read_to_string(path).expect("a file");
        ["snapshots/file", "log/file", REACHED].map(|file| read(folder.join(file))).to_vec()
    }

    #[test]
    fn a_recovery_that_was_decided_goes_on_wherever_it_was_cut_short() {
        for done in 0..=REPLACED.len() {
            let folder = tempfile::tempdir().expect("a folder");
            let data = folder.path().join("data");
            let open = || {
                let uid = rustix::process::geteuid().as_raw();
                Folder::open(&data, uid, Arc::new(RealDisk)).expect("open")
            };
            drop(open());
            put(&data.join(KEY_FILE), "key");
            put(&data.join(REMOVED), "");
            make(&data, "old");
            make(&data.join(RECOVERING), "half");
            drop(open());
            assert_eq!(found(&data), ["old", "old", "old"], "it was not decided");
            assert!(!data.join(RECOVERING).exists());

            make(&data.join(RECOVERED), "new");
            for name in REPLACED.iter().take(done) {
                let old = data.join(name);
                if old.is_dir() {
                    std::fs::remove_dir_all(&old).expect("gone");
                }
                std::fs::rename(data.join(RECOVERED).join(name), old).expect("moved");
            }
            let folder = open();
            assert_eq!(found(&data), ["new", "new", "new"], "after {done}");
            assert!(!data.join(RECOVERED).exists() && !folder.was_removed());
        }
    }
}
