//! A member's identity as it lies in the data directory.

use std::io::{self, ErrorKind};
use std::path::Path;

use skep_client::ca::{CaError, Identity, IdentityError, Leaf, read_leaf, verify_chain};
use skep_core::base::{Disk, Stamp};

/// Bytes of an identity file.
pub(super) const IDENTITY_BYTES: u64 = 64 * 1024;
/// The file's name in the data directory.
pub(super) const IDENTITY: &str = "identity";
/// Bytes of a private key's file.
pub(super) const KEY_BYTES: u64 = 1024;

/// The next key: PKCS#8 DER.
pub(super) const RENEWING: &str = "renewing";
/// The identity before this one.
pub(super) const PREVIOUS: &str = "previous";

/// An identity on disk that is of no use.
#[derive(Debug, thiserror::Error)]
pub enum BadIdentity {
    /// The system says.
    #[error("cannot be read: {0}")]
    Unreadable(#[from] std::io::Error),
    /// Not an identity.
    #[error("{0}")]
    Text(#[from] IdentityError),
    /// Its certificate.
    #[error("its certificate {0}")]
    Chain(CaError),
    /// Not an agent's.
    #[error("is not an agent's")]
    Role,
}

/// What the certificate of an identity says, whatever time it is: one that has ended may be
/// renewed, and where it has not begun, the clock of this machine is wrong, for now.
///
/// # Errors
/// [`BadIdentity`].
pub(super) fn leaf_of(identity: &Identity, now: Stamp) -> Result<Leaf, BadIdentity> {
    match verify_chain(&identity.chain, identity.fingerprint, now) {
        Ok(leaf) => Ok(leaf),
        // All else is right.
        Err(CaError::Expired) => {
            let leaf = identity.chain.first().ok_or(CaError::Malformed("certificate"));
            leaf.and_then(|der| read_leaf(der)).map_err(BadIdentity::Chain)
        }
        Err(error) => Err(BadIdentity::Chain(error)),
    }
}

/// Removes what a renewal left.
pub(super) fn forget(disk: &dyn Disk, folder: &Path) -> io::Result<()> {
    // The key first: while `previous` is there, all of this is done again.
    for name in [RENEWING, PREVIOUS] {
        match disk.remove(&folder.join(name)) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    disk.sync_folder(folder)
}
