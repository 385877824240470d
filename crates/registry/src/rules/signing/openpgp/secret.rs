//! A private key of OpenPGP: read, drawn, and signing.

use std::fmt;

use p256::elliptic_curve::rand_core::{CryptoRng, Error, RngCore};
use pgp::composed::{
    ArmorOptions, Deserializable as _, KeyType, SignedKeyDetails, SignedPublicKey, SignedSecretKey,
};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{
    KeyFlags, OnePassSignature, PacketTrait as _, PubKeyInner, PublicKey, SecretKey,
    SignatureConfig, SignatureType, Subpacket, SubpacketData, UserId,
};
use pgp::types::{
    KeyDetails as _, KeyVersion, PacketHeaderVersion, Password, SecretParams, SignedUser, Tag,
    Timestamp,
};
use skep_core::base::{Dice, SecretBytes};

use super::standing::{Standing, latest};
use crate::rules::signing::bad_key::{BadKey, KEY_BYTES};

/// Bytes of a user id.
const USER_ID: std::ops::RangeInclusive<usize> = 1..=256;
/// Behind it stands a message's text, in the new form of packets.
const LITERAL: u8 = 0xcb;

/// A key without a passphrase whose primary key signs. Its content is never shown.
pub struct OpenPgpKey {
    key: SignedSecretKey,
    standing: Standing,
    fingerprint: String,
    public: String,
}

impl OpenPgpKey {
    /// Reads a private key, as ASCII armour or as it is.
    ///
    /// # Errors
    /// It is damaged, or none that signs here.
    pub fn read(bytes: &[u8]) -> Result<Self, BadKey> {
        if bytes.len() > KEY_BYTES {
            return Err(BadKey::Size);
        }
        let is_packet = bytes.first().is_some_and(|first| first & 0x80 != 0);
        let mut found = if is_packet {
            SignedSecretKey::from_bytes_many(bytes)
        } else {
            SignedSecretKey::from_armor_many_buf(bytes).map(|(found, _)| found)
        }
        .map_err(|_| BadKey::OpenPgp)?;
        let key = found.next().ok_or(BadKey::OpenPgp)?.map_err(|_| BadKey::OpenPgp)?;
        match found.next() {
            None => Self::of(key),
            Some(Ok(_)) => Err(BadKey::Several),
            Some(Err(_)) => Err(BadKey::OpenPgp),
        }
    }

    /// Draws an Ed25519 key of version 4 without an end, for this user id, made at this second
    /// since 1970: the form that GnuPG 2.1 and newer know.
    ///
    /// # Errors
    /// The user id or the time is none.
    pub fn draw(user_id: &str, at_s: u64, dice: &mut dyn Dice) -> Result<Self, BadKey> {
        if !USER_ID.contains(&user_id.len()) || user_id.contains(char::is_control) {
            return Err(BadKey::UserId);
        }
        let at = timestamp(at_s)?;
        Self::of(drawn(user_id, at, Drawn(dice)).map_err(|_| BadKey::OpenPgp)?)
    }

    fn of(key: SignedSecretKey) -> Result<Self, BadKey> {
        let primary = &key.primary_key;
        if !matches!(primary.secret_params(), SecretParams::Plain(_)) {
            return Err(BadKey::Passphrase);
        }
        let standing = Standing::of(primary.public_key(), &key.details)?;
        let fingerprint = format!("{:X}", primary.fingerprint());
        let public = public_of(&key).ok_or(BadKey::OpenPgp)?;
        let key = Self { key, standing, fingerprint, public };
        // Halves of different keys would sign, and nobody would know the signature.
        let certificate = super::Ring::read(key.public.as_bytes())?;
        let at = u64::from(key.key.primary_key.created_at().as_secs());
        let trial = key.message(b"", timestamp(at)?).ok_or(BadKey::OpenPgp)?;
        certificate.opens(&trial).then_some(key).ok_or(BadKey::OpenPgp)
    }

    /// The primary key's, 40 upper-case digits.
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Its public half, as ASCII armour: the primary key and one user id.
    #[must_use]
    pub fn public_text(&self) -> &str {
        &self.public
    }

    /// The private key, as ASCII armour.
    ///
    /// # Errors
    /// [`BadKey::OpenPgp`]: none in practice.
    pub fn text(&self) -> Result<SecretBytes, BadKey> {
        let bytes = self.key.to_armored_bytes(ArmorOptions::default());
        bytes.map(SecretBytes::take).map_err(|_| BadKey::OpenPgp)
    }

    /// A message that carries these bytes and the signature over them, said to be made at this
    /// second since 1970. The same key, bytes and second make the same message.
    ///
    /// # Errors
    /// The key has ended by then, or the time is none.
    pub fn sign(&self, bytes: &[u8], at_s: u64) -> Result<Vec<u8>, BadKey> {
        let at = timestamp(at_s)?;
        if self.standing.has_ended(at_s) {
            return Err(BadKey::Ended);
        }
        self.message(bytes, at).ok_or(BadKey::OpenPgp)
    }

    /// One-pass signature, literal data, signature (RFC 9580, 10.3).
    fn message(&self, bytes: &[u8], at: Timestamp) -> Option<Vec<u8>> {
        let key = &self.key.primary_key;
        let hash = HashAlgorithm::Sha256;
        let binary = SignatureType::Binary;
        let mut config = SignatureConfig::v4(binary, key.algorithm(), hash);
        config.hashed_subpackets = vec![
            Subpacket::regular(SubpacketData::IssuerFingerprint(key.fingerprint())).ok()?,
            Subpacket::regular(SubpacketData::SignatureCreationTime(at)).ok()?,
        ];
        config.unhashed_subpackets =
            vec![Subpacket::regular(SubpacketData::IssuerKeyId(key.legacy_key_id())).ok()?];
        let signature = config.sign(key, &Password::empty(), bytes).ok()?;
        let before = OnePassSignature::v3(binary, hash, key.algorithm(), key.legacy_key_id());
        let mut out = Vec::new();
        before.to_writer_with_header(&mut out).ok()?;
        out.push(LITERAL);
        let length = u32::try_from(bytes.len() + 6).ok()?;
        out.push(0xff);
        out.extend(length.to_be_bytes());
        out.extend(b"b\0"); // bytes, of no file
        out.extend(at.as_secs().to_be_bytes());
        out.extend(bytes);
        signature.to_writer_with_header(&mut out).ok()?;
        Some(out)
    }
}

impl fmt::Debug for OpenPgpKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OpenPgpKey({})", self.fingerprint)
    }
}

/// The primary key, its first user id that holds, and what it says by it.
fn public_of(key: &SignedSecretKey) -> Option<String> {
    let primary = key.primary_key.public_key();
    let mut users = key.details.users.iter();
    let user = users.find_map(|user| Some((user, latest(primary, user)?)));
    let users = user.map(|(user, last)| SignedUser::new(user.id.clone(), vec![last.clone()]));
    let directs = key.details.direct_signatures.clone();
    let users = users.into_iter().collect();
    let details = SignedKeyDetails::new(Vec::new(), directs, users, Vec::new());
    let public = SignedPublicKey::new(primary.clone(), details, Vec::new());
    public.to_armored_string(ArmorOptions::default()).ok()
}

fn drawn(user_id: &str, at: Timestamp, dice: Drawn<'_>) -> pgp::errors::Result<SignedSecretKey> {
    let kind = KeyType::Ed25519Legacy;
    let (public, secret) = kind.generate(dice)?;
    let public = PubKeyInner::new(KeyVersion::V4, kind.to_alg(), at, None, public)?;
    let key = SecretKey::new(PublicKey::from_inner(public)?, secret)?;
    let mut flags = KeyFlags::default();
    flags.set_certify(true);
    flags.set_sign(true);
    let positive = SignatureType::CertPositive;
    let mut config = SignatureConfig::v4(positive, key.algorithm(), HashAlgorithm::Sha256);
    config.hashed_subpackets = vec![
        Subpacket::regular(SubpacketData::IssuerFingerprint(key.fingerprint()))?,
        Subpacket::regular(SubpacketData::SignatureCreationTime(at))?,
        Subpacket::regular(SubpacketData::KeyFlags(flags))?,
    ];
    config.unhashed_subpackets =
        vec![Subpacket::regular(SubpacketData::IssuerKeyId(key.legacy_key_id()))?];
    let user = UserId::from_str(PacketHeaderVersion::New, user_id)?;
    let (public, none) = (key.public_key(), Password::empty());
    let signature = config.sign_certification(&key, public, &none, Tag::UserId, &user)?;
    let users = vec![user.into_signed(signature)];
    let details = SignedKeyDetails::new(Vec::new(), Vec::new(), users, Vec::new());
    Ok(SignedSecretKey::new(key, details, Vec::new(), Vec::new()))
}

fn timestamp(at_s: u64) -> Result<Timestamp, BadKey> {
    u32::try_from(at_s).map(Timestamp::from_secs).map_err(|_| BadKey::Time)
}

/// Our dice, as the library takes them.
struct Drawn<'d>(&'d mut dyn Dice);

impl RngCore for Drawn<'_> {
    fn next_u32(&mut self) -> u32 {
        let mut bytes = [0; 4];
        self.0.fill(&mut bytes);
        u32::from_le_bytes(bytes)
    }

    fn next_u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        self.0.fill(bytes);
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Error> {
        self.0.fill(bytes);
        Ok(())
    }
}

impl CryptoRng for Drawn<'_> {}

#[cfg(test)]
#[path = "secret_tests.rs"]
mod tests;
