//! What consensus is given to start with.

use std::path::PathBuf;
use std::sync::Arc;

use crate::store::AuditLog;
use skep_core::base::{ClusterId, Disk, NodeId};
use skep_core::seal::Dek;

/// What consensus needs to start on an unlocked manager.
pub struct Start {
    /// The cluster.
    pub cluster: ClusterId,
    /// This manager.
    pub node: NodeId,
    /// Where it listens.
    pub addresses: Vec<String>,
    /// Below it: `log/`, `snapshots/`.
    pub data: PathBuf,
    /// The data-encryption keys of the key file, oldest first.
    pub deks: Vec<Dek>,
    /// The disk.
    pub disk: Arc<dyn Disk>,
    /// Makes dice for the threads that seal.
    pub dice: fn() -> Box<dyn skep_core::base::Dice>,
    /// How to reach peers (`None` for a test of one voter).
    pub tls: Option<skep_client::transport::ClientTls>,
    /// Where what is applied is recorded.
    pub audit: Option<AuditLog>,
}

impl std::fmt::Debug for Start {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Start({})", self.node)
    }
}
