//! This node's certificate, replaced under whatever uses it.
//!
//! In the data directory stand, beside `identity`: `renewing`, the next key, from before it is
//! asked for until the leader has seen this node with it; and `previous`, the identity before
//! this one, for as long. So a node that ends at any moment has the key that is listed: the
//! leader lists both until it has seen the next one.

use std::fmt;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::identity::{
    BadIdentity, IDENTITY, IDENTITY_BYTES, KEY_BYTES, PREVIOUS, RENEWING, forget, leaf_of,
};
use skep_client::ca::{CaError, Identity, Leaf, PrivateKey, issuer_begins};
use skep_client::renew::{Next, due};
use skep_client::transport::{ClientTls, Credentials};
use skep_core::base::{Clock, Dice, Disk, Fingerprint, SecretBytes, Stamp, draw};
use skep_core::seal::HelloKey;

/// Why an identity could not be kept, or the next key not made.
#[derive(Debug, thiserror::Error)]
pub enum NotKept {
    /// What the disk says of one of the files.
    #[error("{0}")]
    Disk(#[from] io::Error),
    /// A key or certificate that is none.
    #[error("the next certificate or its key {0}")]
    Key(#[from] CaError),
}

/// This node's identity: on disk, and in every connection that is made from now on. Clones are
/// the same.
#[derive(Clone)]
pub struct Own(Arc<Inner>);

struct Inner {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    clock: Arc<dyn Clock>,
    dice: fn() -> Box<dyn Dice>,
    tls: ClientTls,
    credentials: Credentials,
    now: Mutex<Now>,
    /// Held by whoever replaces the identity on the disk.
    writing: Mutex<()>,
}

struct Now {
    identity: Identity,
    leaf: Leaf,
    due: Stamp,
    /// A manager said that it is to be renewed before anything else.
    wanted: bool,
    /// The leader has not been seen to know the newest key.
    unseen: bool,
}

impl Now {
    fn of(identity: Identity, leaf: Leaf, dice: &mut dyn Dice) -> Self {
        let due = due(leaf.starts, leaf.ends, u16::from_be_bytes(draw(dice)));
        Self { identity, leaf, due, wanted: false, unseen: false }
    }
}

impl fmt::Debug for Own {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Own({})", self.leaf().subject.role.id_text())
    }
}

impl Own {
    /// The identity that was found in this folder, and what a renewal may have left beside it.
    ///
    /// # Errors
    /// [`BadIdentity`].
    pub fn new(
        disk: Arc<dyn Disk>,
        folder: &Path,
        identity: Identity,
        clock: Arc<dyn Clock>,
        dice: fn() -> Box<dyn Dice>,
    ) -> Result<Self, BadIdentity> {
        let leaf = leaf_of(&identity, clock.now())?;
        let made = ClientTls::renewable(&identity, Arc::clone(&clock), dice);
        let (tls, credentials) = made.map_err(BadIdentity::Chain)?;
        let previous = read_previous(disk.as_ref(), folder)?;
        let mut now = Now::of(identity, leaf, dice().as_mut());
        // One that is the same was written just before the identity was to be replaced.
        now.unseen = previous.is_some_and(|previous| previous.chain != now.identity.chain);
        let folder = folder.to_owned();
        let now = Mutex::new(now);
        Ok(Self(Arc::new(Inner {
            disk,
            folder,
            clock,
            dice,
            tls,
            credentials,
            now,
            writing: Mutex::new(()),
        })))
    }

    /// What connections are made with.
    #[must_use]
    pub fn tls(&self) -> &ClientTls {
        &self.0.tls
    }

    /// The cluster's fingerprint.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.0.now.lock().identity.fingerprint
    }

    /// What the certificate says.
    #[must_use]
    pub fn leaf(&self) -> Leaf {
        self.0.now.lock().leaf.clone()
    }

    /// What time it is for certificates.
    #[must_use]
    pub fn clock(&self) -> Stamp {
        self.0.clock.now()
    }

    /// Whether it is good for nothing but its renewal.
    #[must_use]
    pub fn comes_first(&self) -> bool {
        let now = self.0.now.lock();
        now.wanted || now.leaf.ends <= self.0.clock.now()
    }

    /// A manager said that it is.
    pub fn want(&self) {
        self.0.now.lock().wanted = true;
    }

    /// Whether it is time to renew it.
    #[must_use]
    pub fn is_due(&self) -> bool {
        self.0.now.lock().due <= self.0.clock.now()
    }

    /// Whether the leader has not been seen to know its key.
    #[must_use]
    pub fn is_unseen(&self) -> bool {
        self.0.now.lock().unseen
    }

    /// The next key: that of a renewal whose answer was not heard, or a new one. It is durable.
    ///
    /// # Errors
    /// [`NotKept`].
    pub fn next_key(&self) -> Result<PrivateKey, NotKept> {
        let path = self.0.folder.join(RENEWING);
        match self.0.disk.read(&path, KEY_BYTES) {
            Ok(der) => match PrivateKey::from_pkcs8(SecretBytes::take(der)) {
                Ok(key) => return Ok(key),
                // Nothing depends on a key that no certificate is in use for.
                Err(error) => tracing::warn!(event = "next_key_damaged", why = %error),
            },
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
        let key = PrivateKey::generate()?;
        self.0.disk.replace(&path, key.expose())?;
        Ok(key)
    }

    /// Takes the next certificate into use, once it is durable.
    ///
    /// # Errors
    /// [`NotKept`]; the one before is in use then.
    pub fn adopt(&self, next: Next, key: PrivateKey) -> Result<(), NotKept> {
        let _writing = self.0.writing.lock();
        let (before, identity) = {
            let now = self.0.now.lock();
            let mut addresses = next.addresses;
            addresses.extend(now.identity.addresses.iter().cloned());
            let mut seen = std::collections::BTreeSet::new();
            addresses.retain(|address| seen.insert(address.clone()));
            let hello = HelloKey::parse(&now.identity.hello.to_bytes());
            let identity = Identity {
                cluster: now.identity.cluster.clone(),
                fingerprint: now.identity.fingerprint,
                addresses,
                oldest_issuer: next.oldest_issuer.max(now.identity.oldest_issuer),
                chain: next.chain,
                key,
                hello: hello.map_err(|_| CaError::Malformed("hello key"))?,
                sealed: None,
            };
            (now.identity.to_text(), identity)
        };
        self.0.disk.replace(&self.0.folder.join(PREVIOUS), before.expose())?;
        self.0.disk.replace(&self.0.folder.join(IDENTITY), identity.to_text().expose())?;
        self.0.credentials.swap(&identity.chain, &copy(&identity.key))?;
        self.0.tls.floor().raise(identity.oldest_issuer);
        let mut now = Now::of(identity, next.leaf, (self.0.dice)().as_mut());
        now.unseen = true;
        *self.0.now.lock() = now;
        Ok(())
    }

    /// Issuing CAs that begin before `oldest` are in use no more, says a manager whose own
    /// certificate is of the one that begins at `shown`: servers with older ones are refused
    /// from now on, also after a restart. No floor above what a verified chain has shown is
    /// believed. Whether it rose.
    ///
    /// # Errors
    /// The disk: it holds as long as this agent runs.
    pub fn refuse_before(&self, oldest: Stamp, shown: Stamp) -> io::Result<bool> {
        let _writing = self.0.writing.lock();
        let text = {
            let mut now = self.0.now.lock();
            let own = now.identity.chain.get(1).and_then(|der| issuer_begins(der).ok());
            if oldest > shown.max(own.unwrap_or_default()) || oldest <= now.identity.oldest_issuer {
                return Ok(false);
            }
            now.identity.oldest_issuer = oldest;
            now.identity.to_text()
        };
        self.0.tls.floor().raise(oldest);
        self.0.disk.replace(&self.0.folder.join(IDENTITY), text.expose()).map(|()| true)
    }

    /// The leader knows its key: what was kept for the case that it does not goes.
    ///
    /// # Errors
    /// What the disk says.
    pub fn settled(&self) -> io::Result<()> {
        forget(self.0.disk.as_ref(), &self.0.folder)?;
        self.0.now.lock().unseen = false;
        Ok(())
    }

    /// The leader lists this key not at all: back to the one before. False: there is none.
    ///
    /// # Errors
    /// [`BadIdentity`].
    pub fn go_back(&self) -> Result<bool, BadIdentity> {
        let _writing = self.0.writing.lock();
        let Some(previous) = read_previous(self.0.disk.as_ref(), &self.0.folder)? else {
            return Ok(false);
        };
        let leaf = leaf_of(&previous, self.0.clock.now())?;
        self.0.disk.replace(&self.0.folder.join(IDENTITY), previous.to_text().expose())?;
        self.0
            .credentials
            .swap(&previous.chain, &copy(&previous.key))
            .map_err(BadIdentity::Chain)?;
        *self.0.now.lock() = Now::of(previous, leaf, (self.0.dice)().as_mut());
        Ok(true)
    }
}

fn copy(key: &PrivateKey) -> SecretBytes {
    SecretBytes::copy_of(key.expose())
}

fn read_previous(disk: &dyn Disk, folder: &Path) -> Result<Option<Identity>, BadIdentity> {
    match disk.read(&folder.join(PREVIOUS), IDENTITY_BYTES) {
        Ok(text) => Ok(Some(Identity::parse(&zeroize::Zeroizing::new(text))?)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}
