//! What a key says of itself by its own signatures, as far as they hold: whether the primary key
//! may sign, until when, and whether it was taken back.

use pgp::composed::SignedKeyDetails;
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{PublicKey, Signature, SignatureType};
use pgp::ser::Serialize as _;
use pgp::types::{
    EddsaLegacyPublicParams, KeyDetails as _, KeyVersion, PublicParams, RsaPublicParams,
    SignedUser, Tag,
};

use crate::rules::signing::bad_key::BadKey;

/// Bits of an RSA key.
const RSA_BITS: std::ops::RangeInclusive<u16> = 2048..=8192;

/// What holds of a key that may sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    /// Seconds since 1970; none: it has no end.
    pub(super) ends_s: Option<u64>,
}

impl Standing {
    /// Of this primary key.
    ///
    /// # Errors
    /// It is of another version or algorithm, may not sign, or was taken back.
    pub(super) fn of(key: &PublicKey, details: &SignedKeyDetails) -> Result<Self, BadKey> {
        let is_sound = match key.public_params() {
            PublicParams::EdDSALegacy(EddsaLegacyPublicParams::Ed25519 { .. })
            | PublicParams::Ed25519(_) => true,
            PublicParams::RSA(params) => RSA_BITS.contains(&bits(params)),
            _ => false,
        };
        if !is_sound || key.version() != KeyVersion::V4 {
            return Err(BadKey::Algorithm);
        }
        if details.revocation_signatures.iter().any(|sig| sig.verify_key(key).is_ok()) {
            return Err(BadKey::Revoked);
        }
        let directs = details.direct_signatures.iter();
        let directs = directs.filter(|sig| is_strong(sig) && sig.verify_key(key).is_ok());
        let users = details.users.iter().filter_map(|user| latest(key, user));
        let newest = directs.chain(users).max_by_key(|sig| sig.created());
        let newest = newest.filter(|sig| sig.key_flags().sign()).ok_or(BadKey::MayNotSign)?;
        let life = newest.key_expiration_time().map(|life| u64::from(life.as_secs()));
        let since = u64::from(key.created_at().as_secs());
        Ok(Self { ends_s: life.filter(|life| *life > 0).map(|life| since + life) })
    }

    /// Whether the end is past.
    pub(super) fn has_ended(self, now_s: u64) -> bool {
        self.ends_s.is_some_and(|ends_s| now_s >= ends_s)
    }
}

/// The last that a key said of itself with this name, unless it took the name back.
pub(super) fn latest<'u>(key: &PublicKey, user: &'u SignedUser) -> Option<&'u Signature> {
    let own = user.signatures.iter().filter(|sig| {
        is_strong(sig) && sig.verify_certification(key, Tag::UserId, &user.id).is_ok()
    });
    let last = own.max_by_key(|sig| (sig.created(), is_revocation(sig)))?;
    (!is_revocation(last)).then_some(last)
}

fn is_revocation(signature: &Signature) -> bool {
    signature.typ() == Some(SignatureType::CertRevocation)
}

/// Whether it is over a hash that nobody finds a second text for.
pub(super) fn is_strong(signature: &Signature) -> bool {
    let strong = [HashAlgorithm::Sha256, HashAlgorithm::Sha384, HashAlgorithm::Sha512];
    signature.hash_alg().is_some_and(|hash| strong.contains(&hash))
}

/// How long the modulus is: it is written behind its length in bits.
fn bits(params: &RsaPublicParams) -> u16 {
    let bytes = params.to_bytes().unwrap_or_default();
    bytes.first_chunk().copied().map(u16::from_be_bytes).unwrap_or_default()
}
