//! Where a manager's audit log lies, and how it is opened.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::manager::audit::Audit;
use crate::store::{AuditLog, AuditOptions, Keys, LockedLines, Retention, StoreError};
use skep_core::base::{Clock, ClusterId, Dice, Disk, NodeId};
use skep_core::seal::{BoxKey, Dek};

/// Whose log it is, and by what it is kept.
pub(in crate::manager) struct Place<'a> {
    /// The manager's data folder.
    pub data: &'a Path,
    /// Its cluster.
    pub cluster: ClusterId,
    /// Itself.
    pub node: NodeId,
    /// The disk.
    pub disk: &'a Arc<dyn Disk>,
    /// The clock.
    pub clock: &'a Arc<dyn Clock>,
    /// Makes dice.
    pub dice: fn() -> Box<dyn Dice>,
}

impl Place<'_> {
    fn folder(&self) -> PathBuf {
        self.data.join("audit")
    }

    /// Opens the log with its own key.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(in crate::manager) async fn open(
        &self,
        key: Dek,
        retention: Retention,
    ) -> Result<AuditLog, StoreError> {
        let keys = Keys::new(self.cluster, self.node, vec![key]).ok_or(StoreError::Closed)?;
        let options = AuditOptions {
            disk: Arc::clone(self.disk),
            folder: self.folder(),
            manager: self.node,
            keys: Arc::new(keys),
            dice: self.dice,
            clock: Arc::clone(self.clock),
            retention,
            file_bytes: AuditOptions::FILE_BYTES,
        };
        let opened = tokio::task::spawn_blocking(move || AuditLog::open(&options)).await;
        opened.map_err(|_| StoreError::Closed)?
    }

    /// The lines of the manager while it is locked.
    pub(in crate::manager) fn locked_lines(&self) -> LockedLines {
        LockedLines::new(Arc::clone(self.disk), &self.folder(), self.cluster, self.node)
    }

    /// What it went through while it was locked stands in its log from now on.
    pub(in crate::manager) async fn take_up(&self, key: &BoxKey, audit: &Audit) {
        let lines = self.locked_lines();
        let kept = match lines.open(key) {
            Ok(kept) if kept.is_empty() => return,
            Ok(kept) => kept,
            Err(why) => {
                tracing::error!(event = "locked_lines_not_read", %why);
                return;
            }
        };
        audit.take_up(kept).await;
        if let Err(why) = lines.forget() {
            tracing::error!(event = "locked_lines_stay", %why);
        }
    }
}
