//! Public keys of OpenPGP, and whether a signed message is one of theirs.

use std::fmt;
use std::io::Read as _;

use pgp::composed::{ArmorOptions, Deserializable as _, SignedPublicKey};
use pgp::packet::{Packet, PacketParser, Signature, SignatureType};
use pgp::ser::Serialize as _;
use pgp::types::KeyDetails as _;

use super::standing::{Standing, is_strong};
use crate::rules::signing::bad_key::{BadKey, KEY_BYTES};
use crate::rules::signing::payload::PAYLOAD_BYTES;

/// Bytes of a message.
pub const MESSAGE_BYTES: usize = 2 * PAYLOAD_BYTES;
/// Keys of a ring.
const KEYS: usize = 64;
/// Seconds that a signature may be ahead of the clock.
const AHEAD_S: u64 = 300;
const ARMOUR: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----";
const ARMOUR_END: &str = "-----END PGP PUBLIC KEY BLOCK-----";

/// Why a message is not taken. It holds nothing of the message but a fingerprint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadMessage {
    /// Too much.
    #[error("the signature is larger than {MESSAGE_BYTES} bytes")]
    Size,
    /// Not one text with one signature.
    #[error("the signature is no signed message of OpenPGP with one signature")]
    Shape,
    /// Over another kind of hash, or of another kind.
    #[error("the signature is over no SHA-2 of the bytes as they are")]
    Weak,
    /// By none of the keys.
    #[error("the signature is by none of the keys, or is not over this text")]
    Key,
    /// By one of them, at a time when it may not sign.
    #[error("the signature is by {0}, which had ended, or is of another time")]
    Time(String),
}

/// A public key, and what it says of itself.
#[derive(Clone)]
pub struct Certificate {
    key: SignedPublicKey,
    standing: Standing,
    fingerprint: String,
}

impl Certificate {
    fn of(key: SignedPublicKey) -> Result<Self, BadKey> {
        let standing = Standing::of(&key.primary_key, &key.details)?;
        let fingerprint = format!("{:X}", key.primary_key.fingerprint());
        Ok(Self { key, standing, fingerprint })
    }

    /// 40 upper-case digits.
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// The first name that it has for itself.
    #[must_use]
    pub fn user_id(&self) -> Option<&str> {
        self.key.details.users.first()?.id.as_str()
    }

    /// When it ends, in seconds since 1970.
    #[must_use]
    pub fn ends_s(&self) -> Option<u64> {
        self.standing.ends_s
    }

    /// As it is: several behind each other are a ring.
    ///
    /// # Errors
    /// [`BadKey::OpenPgp`]: none in practice.
    pub fn bytes(&self) -> Result<Vec<u8>, BadKey> {
        self.key.to_bytes().map_err(|_| BadKey::OpenPgp)
    }

    /// As ASCII armour.
    ///
    /// # Errors
    /// [`BadKey::OpenPgp`]: none in practice.
    pub fn text(&self) -> Result<String, BadKey> {
        self.key.to_armored_string(ArmorOptions::default()).map_err(|_| BadKey::OpenPgp)
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({})", self.fingerprint)
    }
}

/// What a message carries, by whose signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The text.
    pub payload: Vec<u8>,
    /// The key's fingerprint.
    pub fingerprint: String,
    /// When it says that it was signed, in seconds since 1970.
    pub at_s: u64,
}

/// Keys that are believed.
#[derive(Clone, Debug, Default)]
pub struct Ring {
    /// Each of them.
    pub certificates: Vec<Certificate>,
}

impl Ring {
    /// Reads keys behind each other, as they are or each as ASCII armour. Keys that don't sign
    /// here are none of the ring's.
    ///
    /// # Errors
    /// Something is damaged, or no key is left; then why the last one is none.
    pub fn read(bytes: &[u8]) -> Result<Self, BadKey> {
        if bytes.len() > KEY_BYTES * 4 {
            return Err(BadKey::Size);
        }
        let mut ring = Self::default();
        let mut why = BadKey::OpenPgp;
        let mut take = |key: Result<SignedPublicKey, _>| {
            let key = key.map_err(|_: pgp::errors::Error| BadKey::OpenPgp)?;
            match Certificate::of(key) {
                Ok(_) if ring.certificates.len() >= KEYS => return Err(BadKey::Size),
                Ok(certificate) => ring.certificates.push(certificate),
                Err(error) => why = error,
            }
            Ok(())
        };
        if bytes.first().is_some_and(|first| first & 0x80 != 0) {
            let found = SignedPublicKey::from_bytes_many(bytes).map_err(|_| BadKey::OpenPgp)?;
            found.into_iter().try_for_each(&mut take)?;
        } else {
            let text = std::str::from_utf8(bytes).map_err(|_| BadKey::OpenPgp)?;
            for block in blocks(text)? {
                let (found, _) = SignedPublicKey::from_armor_many_buf(block.as_bytes())
                    .map_err(|_| BadKey::OpenPgp)?;
                found.into_iter().try_for_each(&mut take)?;
            }
        }
        if ring.certificates.is_empty() { Err(why) } else { Ok(ring) }
    }

    /// What this message carries, where it is signed by one of the keys that may sign now.
    ///
    /// # Errors
    /// [`BadMessage`].
    pub fn verify(&self, message: &[u8], now_s: u64) -> Result<Verified, BadMessage> {
        let (signature, payload) = parts(message)?;
        if signature.typ() != Some(SignatureType::Binary) || !is_strong(&signature) {
            return Err(BadMessage::Weak);
        }
        let mut keys = self.certificates.iter();
        let by = keys.find(|by| by.has_signed(&signature, &payload)).ok_or(BadMessage::Key)?;
        let since_s = u64::from(by.key.primary_key.created_at().as_secs());
        let fingerprint = by.fingerprint.clone();
        let at_s = signature.created().map(|at| u64::from(at.as_secs()));
        let ends_s = signature.signature_expiration_time().map(|life| u64::from(life.as_secs()));
        match at_s {
            Some(at_s)
                if (since_s..=now_s.saturating_add(AHEAD_S)).contains(&at_s)
                    && !by.standing.has_ended(now_s)
                    && ends_s.is_none_or(|life| life == 0 || now_s < at_s + life) =>
            {
                Ok(Verified { payload, fingerprint, at_s })
            }
            _ => Err(BadMessage::Time(fingerprint)),
        }
    }

    /// Whether one of the keys made this message, whenever that was.
    pub(super) fn opens(&self, message: &[u8]) -> bool {
        let Ok((signature, payload)) = parts(message) else { return false };
        self.certificates.iter().any(|by| by.has_signed(&signature, &payload))
    }
}

impl Certificate {
    fn has_signed(&self, signature: &Signature, payload: &[u8]) -> bool {
        signature.verify(&self.key.primary_key, payload).is_ok()
    }
}

/// Each block of ASCII armour; what stands between them is passed over, as GnuPG does.
fn blocks(text: &str) -> Result<Vec<&str>, BadKey> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(ARMOUR) {
        let (_, from) = rest.split_at(at);
        let end = from.find(ARMOUR_END).ok_or(BadKey::OpenPgp)? + ARMOUR_END.len();
        let (block, after) = from.split_at(end);
        found.push(block);
        rest = after;
    }
    Ok(found)
}

/// The signature of a message, and its text: a one-pass signature before the text and the
/// signature behind it, or the signature before it; compressed once, as GnuPG does it, or not.
fn parts(message: &[u8]) -> Result<(Signature, Vec<u8>), BadMessage> {
    if message.len() > MESSAGE_BYTES {
        return Err(BadMessage::Size);
    }
    let mut packets = packets(message)?;
    if let [Packet::CompressedData(inner)] = packets.as_slice() {
        let within = inner.decompress().map_err(|_| BadMessage::Shape)?;
        let mut bytes = Vec::new();
        let most = u64::try_from(MESSAGE_BYTES).unwrap_or(u64::MAX).saturating_add(1);
        within.take(most).read_to_end(&mut bytes).map_err(|_| BadMessage::Shape)?;
        if bytes.len() > MESSAGE_BYTES {
            return Err(BadMessage::Size);
        }
        packets = self::packets(&bytes)?;
    }
    let last = packets.pop();
    let middle = packets.pop();
    let first = packets.pop();
    match (packets.is_empty(), first, middle, last) {
        (
            true,
            Some(Packet::OnePassSignature(_)),
            Some(Packet::LiteralData(text)),
            Some(Packet::Signature(signature)),
        )
        | (true, None, Some(Packet::Signature(signature)), Some(Packet::LiteralData(text))) => {
            Ok((signature, text.data().to_vec()))
        }
        _ => Err(BadMessage::Shape),
    }
}

/// At most four packets: one more than a message may have.
fn packets(bytes: &[u8]) -> Result<Vec<Packet>, BadMessage> {
    let found: Result<Vec<Packet>, _> = PacketParser::new(bytes).take(4).collect();
    found.map_err(|_| BadMessage::Shape)
}
