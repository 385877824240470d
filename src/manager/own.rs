//! This manager's own certificate: what it shows, until when, and its next one.
//!
//! A manager that is unlocked opens the issuing key, so it signs its own next certificate, for
//! the same key pair, if its own state lists it. The next chain lies in the key file before
//! anybody sees it, so that whatever ends this process finds one of the two there.

use std::io;

use parking_lot::RwLock;

use crate::manager::LEAF_MS;
use crate::manager::core::Core;
use skep_client::ca::{CaError, Issued, Leaf, PrivateKey, key_digest, verify_issued};
use skep_client::transport::Credentials;
use skep_core::base::{Fingerprint, SecretBytes, Stamp};
use skep_core::domain::NodeRole;

/// Writes a chain into the key file, in place of the one that stands there.
pub(in crate::manager) type Write = dyn Fn(&[Vec<u8>]) -> io::Result<()> + Send + Sync;

/// Why there is no next certificate.
#[derive(Debug, thiserror::Error)]
pub(in crate::manager) enum NotRenewed {
    /// Its own state doesn't list it with this key: another manager has to sign.
    #[error("this manager's state does not list it")]
    NotListed,
    /// The issuing key is not open here.
    #[error("{0}")]
    NoKey(String),
    /// The issuing CA signs nothing that is good now.
    #[error("the certificate {0}")]
    Ca(CaError),
    /// The key file was not written: the one before goes on.
    #[error("the key file was not written: {0}")]
    Disk(io::Error),
}

/// The certificate that this manager shows, and what it takes to show another one.
pub(in crate::manager) struct Own {
    shown: RwLock<Issued>,
    key: PrivateKey,
    fingerprint: Fingerprint,
    credentials: Credentials,
    write: Box<Write>,
    /// Held by whoever puts another certificate in its place.
    turn: tokio::sync::Mutex<()>,
}

impl std::fmt::Debug for Own {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Own")
    }
}

/// Chain and issuer as they are, whatever time it is: a certificate that has ended is this
/// manager's still.
///
/// # Errors
/// [`CaError`], never for the time.
pub(in crate::manager) fn read_chain(
    chain: &[Vec<u8>],
    fingerprint: Fingerprint,
) -> Result<Issued, CaError> {
    let leaf = chain.first().ok_or(CaError::Malformed("chain of three certificates"))?;
    let starts = skep_client::ca::read_leaf(leaf)?.starts;
    verify_issued(chain, fingerprint, starts)
}

impl Own {
    /// What an opened key file holds. `write` replaces the chain in it.
    ///
    /// # Errors
    /// [`CaError`].
    pub(in crate::manager) fn new(
        chain: &[Vec<u8>],
        tls_key: &SecretBytes,
        fingerprint: Fingerprint,
        write: Box<Write>,
    ) -> Result<Self, CaError> {
        let shown = RwLock::new(read_chain(chain, fingerprint)?);
        let credentials = Credentials::new(chain, tls_key)?;
        let key = PrivateKey::from_pkcs8(SecretBytes::copy_of(tls_key.expose()))?;
        let turn = tokio::sync::Mutex::new(());
        Ok(Self { shown, key, fingerprint, credentials, write, turn })
    }
    /// What the servers and clients of this manager show.
    pub(in crate::manager) fn credentials(&self) -> &Credentials {
        &self.credentials
    }
    /// What it says.
    pub(in crate::manager) fn leaf(&self) -> Leaf {
        self.shown.read().leaf.clone()
    }
    /// When the issuing CA begins that signed it.
    pub(in crate::manager) fn issuer(&self) -> Stamp {
        self.shown.read().issuer
    }
    /// The key that it is for.
    pub(in crate::manager) fn key(&self) -> &PrivateKey {
        &self.key
    }
    /// The root in which it ends.
    pub(in crate::manager) fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Signs the next one with the issuing key in this manager's own state.
    ///
    /// # Errors
    /// [`NotRenewed`].
    pub(in crate::manager) fn sign(
        &self,
        core: &Core,
        now: Stamp,
    ) -> Result<Vec<Vec<u8>>, NotRenewed> {
        core.open_key();
        let public = self.key.public();
        let digest = key_digest(&public);
        let cluster = core.consensus.read(|state| {
            let listed = state.nodes.get(&core.node);
            let listed = listed.filter(|node| node.role == NodeRole::Manager);
            listed.filter(|node| node.shows(&digest)).and(state.cluster.clone())
        });
        let cluster = cluster.ok_or(NotRenewed::NotListed)?;
        let issuer = core.keys.issuer(&cluster);
        let issuer = issuer.map_err(|error| NotRenewed::NoKey(error.to_string()))?;
        let ends = now.plus_ms(LEAF_MS).min(issuer.ends());
        let subject = self.leaf().subject;
        let leaf = issuer.sign_leaf(&public, &subject, now, ends).map_err(NotRenewed::Ca)?;
        Ok(vec![leaf, cluster.issuing.to_vec(), cluster.root.to_vec()])
    }

    /// Puts another certificate of the same member and key in its place: into the key file
    /// first, and then into what is shown.
    ///
    /// # Errors
    /// [`NotRenewed`]: what was shown is shown on.
    pub(in crate::manager) async fn replace(
        self: &std::sync::Arc<Self>,
        chain: Vec<Vec<u8>>,
    ) -> Result<(), NotRenewed> {
        let _turn = self.turn.lock().await;
        let next = read_chain(&chain, self.fingerprint).map_err(NotRenewed::Ca)?;
        let same = {
            let shown = self.shown.read();
            shown.leaf.subject == next.leaf.subject && shown.leaf.key == next.leaf.key
        };
        if !same {
            return Err(NotRenewed::Ca(CaError::Malformed("certificate of this manager")));
        }
        let own = self.clone();
        let writing = move || (own.write)(&chain).map(|()| chain);
        let written = tokio::task::spawn_blocking(writing).await;
        let chain = written.map_err(io::Error::other).flatten().map_err(NotRenewed::Disk)?;
        let key = SecretBytes::copy_of(self.key.expose());
        self.credentials.swap(&chain, &key).map_err(NotRenewed::Ca)?;
        tracing::info!(event = "certificate_renewed", ends = next.leaf.ends.0);
        *self.shown.write() = next;
        Ok(())
    }
}
