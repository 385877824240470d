//! Whether an opened key file is this manager's own, and of the cluster that it should be of.
//!
//! What time it is plays no part: a manager renews a certificate that has ended.

use crate::manager::own::read_chain;
use crate::manager::problem;
use skep_client::ca::{CaError, CertificateRole, PrivateKey, key_digest};
use skep_client::transport::Problem;
use skep_core::base::{Fingerprint, SecretBytes};
use skep_core::seal::{KeyFileBody, KeyFileHeader};

/// The chain must end in the fingerprint that the unlock key names and be this
/// manager's: a planted disk is refused.
///
/// # Errors
/// Why it is not taken.
pub(in crate::manager) fn identity(
    header: &KeyFileHeader,
    body: &KeyFileBody,
    fingerprint: Fingerprint,
) -> Result<(), Problem> {
    let damaged = problem::life::not_own;
    let leaf = match read_chain(&body.chain, fingerprint) {
        Ok(issued) => issued.leaf,
        Err(CaError::OtherCluster { .. }) => return Err(problem::life::planted()),
        Err(error) => return Err(damaged(format!("this manager's certificate {error}"))),
    };
    let key = PrivateKey::from_pkcs8(SecretBytes::copy_of(body.tls_key.expose()))
        .map_err(|error| damaged(format!("this manager's key {error}")))?;
    let own = leaf.subject.cluster == header.cluster
        && leaf.subject.role == CertificateRole::Manager(header.node)
        && leaf.key == key_digest(&key.public());
    if own { Ok(()) } else { Err(damaged("the key file's certificate is not its own".to_owned())) }
}
