//! Whether an opened key file is this manager's own, and of the cluster that it should be of.

use skep_client::ca::{
    CaError, CertificateRole, Leaf, PrivateKey, key_digest, read_leaf, verify_chain,
};
use skep_client::transport::Problem;
use skep_core::base::{Exit, Fingerprint, SecretBytes, Stamp};
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
    let damaged = |text: String| {
        let hint = "its key file is not whole or not its own: put it back from a copy";
        NotOurs::Refused(Problem::fatal(Exit::Damaged, text).hint(hint))
    };
    let leaf = match verify_chain(&body.chain, fingerprint, now) {
        Ok(leaf) => leaf,
        Err(CaError::OtherCluster { .. }) => {
            let text = "this manager's key file is of another cluster than the unlock key";
            return Err(NotOurs::Refused(
                Problem::wrong_key(text).hint("do not trust this disk: it may have been planted"),
            ));
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
