//! What a locked manager went through: lines sealed to its box key, until it is unlocked.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::store::cursor::Cursor;
use crate::store::error::StoreError;
use skep_core::base::{ClusterId, Dice, Disk, NodeId};
use skep_core::seal::{BoxKey, open_line, seal_line};

/// Bytes of the file: what comes after that is not kept.
const MOST: usize = 256 * 1024;
/// Lines of it.
const LINES: u64 = 1_000;
const FILE: &str = "locked.box";

/// The lines of a manager while it is locked.
#[derive(Clone)]
pub struct LockedLines {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    cluster: ClusterId,
    node: NodeId,
}

impl std::fmt::Debug for LockedLines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LockedLines({})", self.path.display())
    }
}

impl LockedLines {
    /// In the folder of the audit log.
    #[must_use]
    pub fn new(disk: Arc<dyn Disk>, folder: &Path, cluster: ClusterId, node: NodeId) -> Self {
        Self { disk, path: folder.join(FILE), cluster, node }
    }

    fn bytes(&self) -> Result<Vec<u8>, StoreError> {
        match self.disk.read(&self.path, u64::try_from(2 * MOST).unwrap_or(u64::MAX)) {
            Ok(bytes) => Ok(bytes),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(StoreError::disk(format!("cannot read {FILE}"))(error)),
        }
    }

    /// Keeps one more line, sealed to `public`; `false`: there is no room. Blocks on the disk.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn keep(
        &self,
        dice: &mut dyn Dice,
        public: &[u8; 32],
        line: &[u8],
    ) -> Result<bool, StoreError> {
        let mut bytes = self.bytes()?;
        let number = u64::try_from(boxes(&bytes).count()).unwrap_or(u64::MAX);
        let place = (self.cluster, self.node, number);
        let sealed = seal_line(dice, public, place, line)
            .map_err(|why| StoreError::damaged(FILE, 0, why.to_string()))?;
        if number >= LINES || bytes.len() + 4 + sealed.len() > MOST {
            return Ok(false);
        }
        let length = u32::try_from(sealed.len()).unwrap_or(u32::MAX);
        bytes.extend(length.to_le_bytes());
        bytes.extend(sealed);
        let failed = StoreError::disk(format!("cannot write {FILE}"));
        if let Some(folder) = self.path.parent() {
            self.disk.create_folder(folder).map_err(StoreError::disk("cannot make the folder"))?;
        }
        self.disk.replace(&self.path, &bytes).map(|()| true).map_err(failed)
    }

    /// The lines that were kept, oldest first, with whether each opened. Blocks on the disk.
    ///
    /// # Errors
    /// [`StoreError::Disk`].
    pub fn open(&self, key: &BoxKey) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        let bytes = self.bytes()?;
        let opened = boxes(&bytes).zip(0..).map(|(sealed, number)| {
            let place = (self.cluster, self.node, number);
            open_line(key, place, sealed).ok().map(|line| line.expose().to_vec())
        });
        let mut lines: Vec<_> = opened.collect();
        let whole: usize = boxes(&bytes).map(|sealed| 4 + sealed.len()).sum();
        if whole < bytes.len() {
            lines.push(None);
        }
        Ok(lines)
    }

    /// They stand in the log now. Blocks on the disk.
    ///
    /// # Errors
    /// [`StoreError::Disk`].
    pub fn forget(&self) -> Result<(), StoreError> {
        match self.disk.remove(&self.path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(StoreError::disk(format!("cannot remove {FILE}"))(error))
            }
            _ => Ok(()),
        }
    }
}

fn boxes(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let mut from = Cursor(rest);
        let length = usize::try_from(from.u32()?).ok()?;
        let (sealed, after) = from.rest().split_at_checked(length)?;
        rest = after;
        Some(sealed)
    })
}
