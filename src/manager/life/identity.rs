//! Whether an opened key file is this manager's own, and of the cluster that it should be of.

use crate::manager::problem;
use skep_client::ca::{
    CaError, CertificateRole, Leaf, PrivateKey, key_digest, read_leaf, verify_chain,
};
use skep_client::transport::Problem;
use skep_core::base::{Fingerprint, SecretBytes, Stamp};
use skep_core::seal::{KeyFileBody, KeyFileHeader};

/// Why an opened key file is not taken.
#[derive(Debug)]
pub(in crate::manager) enum NotOurs {
    /// All right but past its end.
    Expired(Box<Leaf>),
    /// For this reason.
    Refused(Problem),
}

/// The chain must end in the fingerprint that the unlock key names and be this
/// manager's: a planted disk is refused.
///
/// # Errors
/// [`NotOurs`].
pub(in crate::manager) fn identity(
    header: &KeyFileHeader,
    body: &KeyFileBody,
    fingerprint: Fingerprint,
    now: Stamp,
) -> Result<Leaf, NotOurs> {
    let damaged = |text: String| NotOurs::Refused(problem::life::not_own(text));
    let leaf = match verify_chain(&body.chain, fingerprint, now) {
        Ok(leaf) => leaf,
        Err(CaError::OtherCluster { .. }) => {
            return Err(NotOurs::Refused(problem::life::planted()));
        }
        Err(error @ CaError::Expired) => {
            let leaf = body.chain.first().and_then(|leaf| read_leaf(leaf).ok());
            return Err(leaf.map_or_else(
                || damaged(format!("this manager's certificate: {error}")),
                |leaf| NotOurs::Expired(Box::new(leaf)),
            ));
        }
        Err(error) => return Err(damaged(format!("this manager's certificate {error}"))),
    };
    let key = PrivateKey::from_pkcs8(SecretBytes::copy_of(body.tls_key.expose()))
        .map_err(|error| damaged(format!("this manager's key {error}")))?;
    let own = leaf.subject.cluster == header.cluster
        && leaf.subject.role == CertificateRole::Manager(header.node)
        && leaf.key == key_digest(&key.public());
    if own { Ok(leaf) } else { Err(damaged("the key file's certificate is not its own".into())) }
}
