//! Opaque bytes that only `seal` can open, so that the rings between can carry
//! them without knowing how they are made.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// A value sealed under its version's data key. Cloning shares the bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedValue(pub Arc<[u8]>);

/// A version's data key, wrapped under the wrap key of cluster key `number`.
#[derive(Clone, PartialEq, Eq)]
pub struct WrappedKey {
    /// Which cluster key.
    pub number: u64,
    /// Key id, commitment, nonce, tag and ciphertext, as docs/keys.md says.
    pub bytes: Vec<u8>,
}

/// A version's data key as a client sends it: under what its half and the intake key of
/// cluster key `number` agree on.
#[derive(Clone, PartialEq, Eq)]
pub struct SentKey {
    /// Which cluster key.
    pub number: u64,
    /// The client's half (X25519, public).
    pub half: [u8; 32],
    /// Commitment, nonce, tag and ciphertext, as docs/keys.md says.
    pub bytes: Vec<u8>,
}

impl fmt::Debug for SealedValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealedValue({} bytes)", self.0.len())
    }
}

impl fmt::Debug for WrappedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WrappedKey(number {})", self.number)
    }
}

impl fmt::Debug for SentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SentKey(number {})", self.number)
    }
}

/// The BLAKE3 hash of the cluster's root certificate (DER): the one thing a
/// person compares. Written as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    /// The fingerprint of this root certificate.
    #[must_use]
    pub fn of_root(der: &[u8]) -> Self {
        Self(*blake3::hash(der).as_bytes())
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

impl FromStr for Fingerprint {
    type Err = super::BadId;

    fn from_str(text: &str) -> Result<Self, super::BadId> {
        let bytes = data_encoding::HEXLOWER.decode(text.as_bytes()).ok().ok_or(super::BadId)?;
        bytes.try_into().map(Self).ok().ok_or(super::BadId)
    }
}
