//! What lies ready between the two steps of `init`.

use skep_client::ca::PrivateKey;
use skep_core::base::NodeId;

/// What `PrepareInit` made and `CommitInit` uses: in memory alone.
#[derive(Debug)]
pub(in crate::manager) struct Prepared {
    /// The cluster's issuing key.
    pub issuing: PrivateKey,
    /// This manager's TLS key.
    pub tls: PrivateKey,
    /// This manager.
    pub node: NodeId,
}
