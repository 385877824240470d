//! A signing key, read from the bytes of a secret: cosign's or OpenPGP's.

use skep_core::base::SecretBytes;

pub use super::bad_key::{BadKey, KEY_BYTES};
use super::cosign_key::{CosignKey, CosignPublic};
use super::openpgp::OpenPgpKey;

/// A private key. Its content is never shown, and is wiped when it is let go.
#[derive(Debug)]
pub enum SigningKey {
    /// cosign's.
    Cosign(CosignKey),
    /// OpenPGP's.
    OpenPgp(Box<OpenPgpKey>),
}

impl SigningKey {
    /// Reads what `secret create --generate cosign` or `openpgp` draws, or what was imported.
    ///
    /// # Errors
    /// [`BadKey`].
    pub fn read(bytes: &[u8]) -> Result<Self, BadKey> {
        if bytes.len() > KEY_BYTES {
            return Err(BadKey::Size);
        }
        let begins = |text: &str| bytes.trim_ascii_start().starts_with(text.as_bytes());
        if begins("-----BEGIN ENCRYPTED ") {
            return Err(BadKey::Sealed);
        }
        if begins("-----BEGIN PRIVATE KEY-----") {
            let text = std::str::from_utf8(bytes).map_err(|_| BadKey::Pkcs8)?;
            return CosignKey::read(text.trim()).map(Self::Cosign);
        }
        let is_packet = bytes.first().is_some_and(|first| first & 0x80 != 0);
        if is_packet || begins("-----BEGIN PGP PRIVATE KEY BLOCK-----") {
            return OpenPgpKey::read(bytes).map(|key| Self::OpenPgp(Box::new(key)));
        }
        Err(BadKey::Unknown)
    }

    /// As it lies in a secret.
    ///
    /// # Errors
    /// None in practice.
    pub fn text(&self) -> Result<SecretBytes, BadKey> {
        match self {
            Self::Cosign(key) => key.text(),
            Self::OpenPgp(key) => key.text(),
        }
    }

    /// Which kind it is.
    #[must_use]
    pub fn kind(&self) -> KeyKind {
        match self {
            Self::Cosign(_) => KeyKind::Cosign,
            Self::OpenPgp(_) => KeyKind::OpenPgp,
        }
    }

    /// What people compare.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        match self {
            Self::Cosign(key) => key.public().fingerprint(),
            Self::OpenPgp(key) => key.fingerprint().to_owned(),
        }
    }

    /// Its public half, as it stands beside the version of a secret: PEM, or ASCII armour.
    #[must_use]
    pub fn public_text(&self) -> String {
        match self {
            Self::Cosign(key) => key.public().text(),
            Self::OpenPgp(key) => key.public_text().to_owned(),
        }
    }
}

/// Which kind a key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyKind {
    /// cosign's.
    Cosign,
    /// OpenPGP's.
    OpenPgp,
}

impl KeyKind {
    /// As it is typed.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Cosign => "cosign",
            Self::OpenPgp => "openpgp",
        }
    }
}

/// A public half, as it stands beside the version of a secret.
#[derive(Clone, Debug)]
pub enum PublicKey {
    /// cosign's.
    Cosign(CosignPublic),
    /// OpenPGP's.
    OpenPgp(Box<super::openpgp::Certificate>),
}

impl PublicKey {
    /// Reads PEM or ASCII armour.
    ///
    /// # Errors
    /// [`BadKey`].
    pub fn read(text: &str) -> Result<Self, BadKey> {
        if text.trim_start().starts_with("-----BEGIN PGP PUBLIC KEY BLOCK-----") {
            let mut ring = super::openpgp::Ring::read(text.as_bytes())?;
            let first = ring.certificates.pop().ok_or(BadKey::OpenPgp)?;
            if !ring.certificates.is_empty() {
                return Err(BadKey::Several);
            }
            return Ok(Self::OpenPgp(Box::new(first)));
        }
        CosignPublic::read(text.trim()).map(Self::Cosign)
    }

    /// Which kind it is.
    #[must_use]
    pub fn kind(&self) -> KeyKind {
        match self {
            Self::Cosign(_) => KeyKind::Cosign,
            Self::OpenPgp(_) => KeyKind::OpenPgp,
        }
    }

    /// What people compare.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        match self {
            Self::Cosign(key) => key.fingerprint(),
            Self::OpenPgp(key) => key.fingerprint().to_owned(),
        }
    }

    /// When it ends, in seconds since 1970. cosign's say nothing of that.
    #[must_use]
    pub fn ends_s(&self) -> Option<u64> {
        match self {
            Self::Cosign(_) => None,
            Self::OpenPgp(key) => key.ends_s(),
        }
    }
}
