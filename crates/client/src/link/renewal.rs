//! An operator's certificate, renewed with the key that it is for.
//!
//! Where managers say that another issuing CA is in use, or that nothing else is open to this
//! certificate. Copies of the identity stay good: the key is the same.

use tokio::time::timeout;

use super::{CONNECT, Link};
use crate::ca::{CaError, Identity, Leaf, PrivateKey, read_leaf};
use crate::machine::SystemClock;
use crate::renew::{NotRenewed, ask};
use crate::transport::{Credentials, Expect, connect};
use skep_core::base::{Clock as _, Fingerprint, SecretBytes, Stamp};

/// Managers that are asked: one that follows names the leader.
const ASKED: usize = 8;

/// What a link shows, and by what it gets another certificate.
#[derive(Debug)]
pub(super) struct Own {
    credentials: Credentials,
    key: PrivateKey,
    leaf: Leaf,
    fingerprint: Fingerprint,
    /// When its issuing CA begins.
    pub(super) issuer: Stamp,
    /// It was tried once: whoever refuses it once does so again.
    tried: bool,
}

impl Own {
    pub(super) fn new(identity: &Identity, credentials: Credentials) -> Result<Self, CaError> {
        let [leaf, issuing, _] = identity.chain.as_slice() else {
            return Err(CaError::Malformed("chain of three certificates"));
        };
        Ok(Self {
            credentials,
            key: PrivateKey::from_pkcs8(SecretBytes::copy_of(identity.key.expose()))?,
            leaf: read_leaf(leaf)?,
            fingerprint: identity.fingerprint,
            issuer: crate::ca::issuer_begins(issuing)?,
            tried: false,
        })
    }
}

impl Link {
    /// Whether a newer issuing CA than this identity's is in use, and it was not renewed yet.
    pub(super) fn is_replaced(&self) -> bool {
        let newest = self.managers.issuer().max(self.known_issuer);
        self.own.as_ref().is_some_and(|own| !own.tried && own.issuer < newest)
    }

    /// Whether it was not tried to renew the certificate.
    pub(super) fn may_renew(&self) -> bool {
        self.own.as_ref().is_some_and(|own| !own.tried)
    }

    /// Asks the managers for another certificate, and shows it from then on. Whether it was
    /// renewed: what fails is tried again by the next command.
    pub(super) async fn renew(&mut self) -> bool {
        let Some(own) = self.own.as_mut() else { return false };
        own.tried = true;
        let mut addresses = self.leader.clone();
        addresses.extend(self.managers.addresses());
        addresses.extend(self.route.addresses().iter().cloned());
        let Some(tls) = &self.tls else { return false };
        for _ in 0..ASKED {
            if addresses.is_empty() {
                break;
            }
            let address = addresses.remove(0);
            let connected = timeout(CONNECT, connect(&address, tls, Expect::AnyManager, CONNECT));
            let Ok(Ok((channel, peer))) = connected.await else { continue };
            let now = SystemClock.now();
            let next = match ask(channel, &own.leaf, &own.key, own.fingerprint, now).await {
                Ok(next) => next,
                Err(NotRenewed::Said(problem)) if problem.is_elsewhere() => {
                    addresses.splice(0..0, problem.leader_addresses);
                    continue;
                }
                Err(why) => {
                    tracing::debug!(event = "certificate_not_renewed", %address, %why);
                    continue;
                }
            };
            let key = SecretBytes::copy_of(own.key.expose());
            let issuer = next.chain.get(1).and_then(|der| crate::ca::issuer_begins(der).ok());
            if own.credentials.swap(&next.chain, &key).is_err() {
                return false;
            }
            own.leaf = next.leaf;
            own.issuer = issuer.unwrap_or_default();
            self.known_issuer = self.known_issuer.max(own.issuer).max(peer.issuer());
            self.managers.renewed(next.chain);
            // The next call shows it.
            self.channel = None;
            return true;
        }
        false
    }
}
