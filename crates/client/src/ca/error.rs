//! Why a certificate or key was not made or not accepted.

use skep_core::base::Fingerprint;

/// Why a certificate or key was not made or not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CaError {
    /// Bytes that are not a key, request or certificate of ours.
    #[error("is not a {0}")]
    Malformed(&'static str),
    /// The chain does not end in the root with the expected fingerprint.
    #[error("does not belong to the cluster with fingerprint {expected}")]
    OtherCluster {
        /// What was expected.
        expected: Fingerprint,
    },
    /// The chain does not verify.
    #[error("is not signed by this cluster's certificate authority")]
    NotSigned,
    /// Past its end, or before its start.
    #[error("certificate has expired or is not valid yet")]
    Expired,
}
