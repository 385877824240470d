//! The operator's identity file (`*.skepid`, 0600): all that a client needs.
//!
//! The text is a TOML head and PEM blocks, and has exactly one form: what
//! is read is written again and compared, so that nothing in a file is ever
//! passed over. The head's `checksum` covers all that comes after its line
//! but the last line's end (the first 16 bytes of BLAKE3, in base 32).
//!
//! Its two keys stand in blocks of their own, or sealed under a passphrase in one. What stands
//! around them is in clear in both forms.

use std::sync::Arc;

use data_encoding::BASE32_NOPAD;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::{CaError, Leaf, PrivateKey, key_digest, pem, read_leaf, verify_chain};
use skep_core::base::{Dice, FORMAT, Fingerprint, Name, OtherFormat, SecretBytes, Stamp};
use skep_core::seal::{HelloKey, PassphraseLock, PassphraseSpec, SealError};

/// Bytes of a file that are read: three certificates, a key and
/// [`ADDRESSES`] take about 10 KiB.
const TEXT_BYTES: usize = 64 * 1024;
/// Addresses in a file; a cluster has seven managers, each may have a few.
pub(crate) const ADDRESSES: usize = 32;
/// Bytes of an address: a DNS name, a colon, a port.
const ADDRESS_BYTES: usize = 255 + 6;
const CHECKSUM_BYTES: usize = 16;
const CERTIFICATE: &str = "CERTIFICATE";
const KEY: &str = "PRIVATE KEY";
const HELLO: &str = "SKEP HELLO KEY";
const SEALED: &str = "SKEP ENCRYPTED KEYS";
/// Bytes of a hello key.
const HELLO_BYTES: usize = 64;

/// Text that is no identity file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// It is none.
    #[error("is not an identity file: {0}")]
    Not(&'static str),
    /// Of another format than this build reads.
    #[error("the identity file was {0}")]
    Format(OtherFormat),
    /// Its keys are sealed under a passphrase, and there is none.
    #[error("the identity file is encrypted with a passphrase")]
    Encrypted,
    /// They are sealed under another one.
    #[error("wrong passphrase")]
    WrongPassphrase,
}

const DAMAGED: IdentityError =
    IdentityError::Not("its checksum does not fit: it was edited or damaged");

/// A client's identity.
#[derive(Debug)]
pub struct Identity {
    /// The cluster's name, for people.
    pub cluster: Name,
    /// The cluster's fingerprint.
    pub fingerprint: Fingerprint,
    /// Managers (`host:port`).
    pub addresses: Vec<String>,
    /// The oldest issuing CA (by when it begins) that a manager's certificate may be of.
    pub oldest_issuer: Stamp,
    /// Leaf, issuing CA, root, DER.
    pub chain: Vec<Vec<u8>>,
    /// The private key.
    pub key: PrivateKey,
    /// By which managers tell its connections from strangers'.
    pub hello: HelloKey,
    /// Its keys are sealed under a passphrase where it is written.
    pub sealed: Option<SealedKeys>,
}

/// An identity's keys as a passphrase opens them.
#[derive(Debug)]
pub struct SealedKeys {
    lock: Arc<PassphraseLock>,
    bytes: Vec<u8>,
}

impl SealedKeys {
    /// What opened them, and opens them again.
    #[must_use]
    pub fn lock(&self) -> &Arc<PassphraseLock> {
        &self.lock
    }
}

/// An identity file as anybody reads it: its keys may still be sealed.
#[derive(Debug)]
pub struct IdentityText {
    /// The cluster's name, for people.
    pub cluster: Name,
    /// The certificate.
    pub leaf: Leaf,
    fingerprint: Fingerprint,
    addresses: Vec<String>,
    oldest_issuer: Stamp,
    chain: Vec<Vec<u8>>,
    keys: Keys,
}

#[derive(Debug)]
enum Keys {
    Open(PrivateKey, HelloKey),
    Sealed(PassphraseSpec, Vec<u8>),
}

/// The same of what is written.
enum KeysOf<'a> {
    Open(&'a PrivateKey, &'a HelloKey),
    Sealed(PassphraseSpec, &'a [u8]),
}

/// What is written.
struct Written<'a> {
    cluster: &'a Name,
    fingerprint: Fingerprint,
    addresses: &'a [String],
    oldest_issuer: Stamp,
    chain: &'a [Vec<u8>],
    keys: KeysOf<'a>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    version: u32,
    checksum: String,
    cluster: String,
    fingerprint: String,
    oldest_issuer: u64,
    passphrase: Option<String>,
    addresses: Vec<String>,
}

impl Identity {
    /// The file's text: a TOML head (version, checksum, cluster, fingerprint,
    /// the oldest issuing CA, addresses) and PEM blocks. Of the addresses the first 32 that can be
    /// one (`host:port`) are written.
    #[must_use]
    pub fn to_text(&self) -> SecretBytes {
        let keys = match &self.sealed {
            Some(sealed) => KeysOf::Sealed(sealed.lock.spec(), &sealed.bytes),
            None => KeysOf::Open(&self.key, &self.hello),
        };
        let Self { cluster, fingerprint, addresses, oldest_issuer, chain, .. } = self;
        let (fingerprint, oldest_issuer) = (*fingerprint, *oldest_issuer);
        Written { cluster, fingerprint, addresses, oldest_issuer, chain, keys }.text()
    }

    /// Reads a text whose keys are not sealed. The chain must verify (but for the time) and the key be
    /// the leaf's. White space around the text is ignored.
    ///
    /// # Errors
    /// [`IdentityError`], which never quotes the text.
    pub fn parse(text: &[u8]) -> Result<Self, IdentityError> {
        IdentityText::parse(text)?.open()
    }

    /// Has the keys sealed under a passphrase, or no longer, where the identity is written.
    ///
    /// # Errors
    /// None that a caller could cause.
    pub fn seal(
        &mut self,
        dice: &mut dyn Dice,
        lock: Option<Arc<PassphraseLock>>,
    ) -> Result<(), SealError> {
        self.sealed = match lock {
            Some(lock) => {
                let keys = self.keys();
                let public = key_digest(&self.key.public());
                let bytes = lock.seal(dice, (&self.fingerprint.0, &public), &keys)?;
                Some(SealedKeys { lock, bytes })
            }
            None => None,
        };
        Ok(())
    }

    /// Takes another key in place of its own; sealed keys are sealed anew.
    ///
    /// # Errors
    /// None that a caller could cause.
    pub fn take_key(&mut self, dice: &mut dyn Dice, key: PrivateKey) -> Result<(), SealError> {
        self.key = key;
        let lock = self.sealed.as_ref().map(|sealed| Arc::clone(&sealed.lock));
        self.seal(dice, lock)
    }

    /// Hello key and private key, one after the other.
    fn keys(&self) -> SecretBytes {
        let (hello, key) = (self.hello.to_bytes(), self.key.expose());
        let mut keys = SecretBytes::zeroed(HELLO_BYTES + key.len());
        let (first, rest) = keys.expose_mut().split_at_mut(HELLO_BYTES);
        first.copy_from_slice(hello.expose());
        rest.copy_from_slice(key);
        keys
    }
}

impl Written<'_> {
    fn text(&self) -> SecretBytes {
        // Sized up front: a buffer that grows leaves copies of the key behind.
        let blocks: usize = self.chain.iter().map(|der| pem::size(CERTIFICATE, der.len())).sum();
        let keys = match &self.keys {
            KeysOf::Open(key, _) => {
                pem::size(KEY, key.expose().len()) + pem::size(HELLO, HELLO_BYTES)
            }
            KeysOf::Sealed(_, bytes) => pem::size(SEALED, bytes.len()),
        };
        let size = 1024 + ADDRESSES * (ADDRESS_BYTES + 8) + blocks + keys;
        let mut rest = Zeroizing::new(String::with_capacity(size));
        self.push_rest(&mut rest);
        let mut text = Zeroizing::new(String::with_capacity(size + 64));
        text.push_str("version = ");
        text.push_str(&FORMAT.to_string());
        text.push_str("\nchecksum = \"");
        text.push_str(&checksum(&rest));
        text.push_str("\"\n");
        text.push_str(&rest);
        text.push('\n');
        SecretBytes::copy_of(text.as_bytes())
    }

    fn push_rest(&self, text: &mut String) {
        let fingerprint = self.fingerprint.to_string();
        let head = ["cluster = \"", self.cluster.as_str(), "\"\nfingerprint = \"", &fingerprint];
        text.extend(head);
        text.push_str("\"\noldest_issuer = ");
        text.push_str(&self.oldest_issuer.0.to_string());
        if let KeysOf::Sealed(spec, _) = &self.keys {
            text.push_str("\npassphrase = \"");
            text.push_str(&spec.to_string());
            text.push('"');
        }
        text.push_str("\naddresses = [\n");
        for address in self.addresses.iter().filter(|text| is_address(text)).take(ADDRESSES) {
            text.push_str("    \"");
            text.push_str(address);
            text.push_str("\",\n");
        }
        text.push_str("]\n\n");
        for certificate in self.chain {
            pem::push(text, CERTIFICATE, certificate);
        }
        match &self.keys {
            KeysOf::Open(key, hello) => {
                pem::push(text, KEY, key.expose());
                pem::push(text, HELLO, hello.to_bytes().expose());
            }
            KeysOf::Sealed(_, bytes) => pem::push(text, SEALED, bytes),
        }
        text.truncate(text.trim_ascii_end().len()); // the checksum leaves out the last line's end
    }
}

impl IdentityText {
    /// Reads the text, as far as it goes without a passphrase. The chain must verify (but for the
    /// time), and a key that is not sealed must be the leaf's. White space around the text is
    /// ignored.
    ///
    /// # Errors
    /// [`IdentityError`], which never quotes the text.
    pub fn parse(text: &[u8]) -> Result<Self, IdentityError> {
        if text.len() > TEXT_BYTES {
            return Err(IdentityError::Not("it is longer than 64 KiB"));
        }
        let text =
            str::from_utf8(text).map_err(|_| IdentityError::Not("it is not text"))?.trim_ascii();
        let read = Self::read(text)?;
        let again = read.written().text();
        if again.expose().trim_ascii() == text.as_bytes() { Ok(read) } else { Err(DAMAGED) }
    }

    fn read(text: &str) -> Result<Self, IdentityError> {
        let (head, blocks) = text.split_once("\n\n").ok_or(IdentityError::Not("it has no head"))?;
        let Head {
            checksum: found,
            cluster,
            fingerprint,
            oldest_issuer,
            passphrase,
            addresses,
            ..
        } = read_head(head)?;
        let oldest_issuer = Stamp(oldest_issuer);
        let cluster = cluster.parse().map_err(|_| DAMAGED)?;
        let fingerprint = fingerprint.parse().map_err(|_| DAMAGED)?;
        let rest = text.splitn(3, '\n').nth(2).ok_or(DAMAGED)?;
        if checksum(rest) != found {
            return Err(DAMAGED);
        }
        let mut lines = blocks.split('\n');
        let mut chain = Vec::with_capacity(3);
        for _ in 0..3 {
            let der = pem::take(&mut lines, CERTIFICATE)
                .ok_or(IdentityError::Not("a certificate is missing or damaged"))?;
            chain.push(der.expose().to_vec());
        }
        let keys = if let Some(spec) = passphrase {
            let spec = spec.parse().map_err(|_| {
                IdentityError::Not("how its passphrase is used is none of the ways known here")
            })?;
            let bytes = pem::take(&mut lines, SEALED)
                .ok_or(IdentityError::Not("the encrypted keys are missing or damaged"))?;
            Keys::Sealed(spec, bytes.expose().to_vec())
        } else {
            let key = pem::take(&mut lines, KEY)
                .and_then(|der| PrivateKey::from_pkcs8(der).ok())
                .ok_or(IdentityError::Not("the private key is missing or damaged"))?;
            let hello = pem::take(&mut lines, HELLO)
                .and_then(|bytes| HelloKey::parse(&bytes).ok())
                .ok_or(IdentityError::Not("the hello key is missing or damaged"))?;
            Keys::Open(key, hello)
        };
        if lines.next().is_some() {
            return Err(IdentityError::Not("something follows its last key"));
        }
        let leaf = check(&chain, fingerprint)?;
        if let Keys::Open(key, _) = &keys {
            is_of(key, &leaf)?;
        }
        Ok(Self { cluster, leaf, fingerprint, addresses, oldest_issuer, chain, keys })
    }

    fn written(&self) -> Written<'_> {
        let Self { cluster, addresses, chain, .. } = self;
        let (fingerprint, oldest_issuer) = (self.fingerprint, self.oldest_issuer);
        let keys = match &self.keys {
            Keys::Open(key, hello) => KeysOf::Open(key, hello),
            Keys::Sealed(spec, bytes) => KeysOf::Sealed(*spec, bytes),
        };
        Written { cluster, fingerprint, addresses, oldest_issuer, chain, keys }
    }

    /// How the key is made that its keys are sealed under; none: they are not.
    #[must_use]
    pub fn sealed_under(&self) -> Option<PassphraseSpec> {
        match &self.keys {
            Keys::Open(..) => None,
            Keys::Sealed(spec, _) => Some(*spec),
        }
    }

    /// The identity, where its keys are not sealed.
    ///
    /// # Errors
    /// [`IdentityError::Encrypted`].
    pub fn open(self) -> Result<Identity, IdentityError> {
        self.open_with(None)
    }

    /// The identity. Keys that are not sealed take no lock.
    ///
    /// # Errors
    /// [`IdentityError::Encrypted`] without one; [`IdentityError::WrongPassphrase`] with another.
    pub fn open_with(self, lock: Option<&Arc<PassphraseLock>>) -> Result<Identity, IdentityError> {
        let Self { cluster, fingerprint, addresses, oldest_issuer, chain, leaf, keys } = self;
        let (key, hello, sealed) = match keys {
            Keys::Open(key, hello) => (key, hello, None),
            Keys::Sealed(spec, bytes) => {
                let lock = lock.ok_or(IdentityError::Encrypted)?;
                if lock.spec() != spec {
                    return Err(IdentityError::WrongPassphrase);
                }
                let keys = lock
                    .open((&fingerprint.0, &leaf.key), &bytes)
                    .map_err(|_| IdentityError::WrongPassphrase)?;
                let (key, hello) = apart(&keys)?;
                is_of(&key, &leaf)?;
                (key, hello, Some(SealedKeys { lock: Arc::clone(lock), bytes }))
            }
        };
        Ok(Identity { cluster, fingerprint, addresses, oldest_issuer, chain, key, hello, sealed })
    }
}

/// Private key and hello key of what [`Identity::keys`] put together.
fn apart(keys: &SecretBytes) -> Result<(PrivateKey, HelloKey), IdentityError> {
    let none = IdentityError::Not("the encrypted keys are none");
    let (hello, key) = keys.expose().split_at_checked(HELLO_BYTES).ok_or(none)?;
    let key = PrivateKey::from_pkcs8(SecretBytes::copy_of(key)).map_err(|_| none)?;
    let hello = HelloKey::parse(&SecretBytes::copy_of(hello)).map_err(|_| none)?;
    Ok((key, hello))
}

/// Whether chain and fingerprint belong together. The time is left to
/// whatever uses the identity: an expired one is still an identity file.
fn check(chain: &[Vec<u8>], fingerprint: Fingerprint) -> Result<Leaf, IdentityError> {
    let leaf = chain.first().and_then(|der| read_leaf(der).ok());
    let leaf = leaf.ok_or(IdentityError::Not("a certificate is missing or damaged"))?;
    verify_chain(chain, fingerprint, leaf.starts).map_err(|error| match error {
        CaError::OtherCluster { .. } => {
            IdentityError::Not("its certificates belong to another cluster than its fingerprint")
        }
        _ => IdentityError::Not("its certificates do not form a chain"),
    })
}

fn is_of(key: &PrivateKey, leaf: &Leaf) -> Result<(), IdentityError> {
    if leaf.key == key_digest(&key.public()) {
        Ok(())
    } else {
        Err(IdentityError::Not("the private key is not its certificate's"))
    }
}

fn read_head(text: &str) -> Result<Head, IdentityError> {
    let head: Head = toml::from_str(text).map_err(|_| IdentityError::Not("its head is damaged"))?;
    if head.version == 0 {
        return Err(IdentityError::Not("its head is damaged"));
    }
    OtherFormat::check(head.version).map_err(IdentityError::Format)?;
    let sound = head.addresses.len() <= ADDRESSES && head.addresses.iter().all(|a| is_address(a));
    if sound { Ok(head) } else { Err(IdentityError::Not("its addresses are not host:port")) }
}

/// `host:port`: a name, an IPv4 address or an IPv6 address in brackets.
pub(crate) fn is_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let sound = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:[]%".contains(&byte);
    text.len() <= ADDRESS_BYTES
        && !host.is_empty()
        && host.bytes().all(sound)
        && port.parse::<u16>().is_ok_and(|port| port > 0)
}

pub(super) fn checksum(rest: &str) -> String {
    let mut bytes = [0; CHECKSUM_BYTES];
    blake3::Hasher::new().update(rest.as_bytes()).finalize_xof().fill(&mut bytes);
    BASE32_NOPAD.encode(&bytes).to_ascii_lowercase()
}

#[cfg(test)]
mod tests;
