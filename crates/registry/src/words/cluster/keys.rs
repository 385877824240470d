//! The token CA of a registry, and the keys that sign tokens below it.
//!
//! No TLS certificate comes from this CA: a registry takes each certificate below it for that
//! of a token server.

use std::ops::RangeInclusive;
use std::time::Duration;

use rcgen::PublicKeyData as _;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256,
};
use skep_client::machine::SystemClock;
use skep_client::settings::duration;
use skep_core::base::{Clock as _, Exit, Failure, Name};
use time::OffsetDateTime;
use x509_parser::pem::parse_x509_pem;
use zeroize::Zeroizing;

const DAY_S: u64 = 24 * 3_600;
/// The token CA's life.
const ROOT_S: u64 = 3_650 * DAY_S;
/// A signing certificate's life, unless said; and what may be said.
pub(super) const LEAF_S: u64 = 30 * DAY_S;
const LEAVES_S: RangeInclusive<u64> = DAY_S..=90 * DAY_S;
/// Clocks of registries may be so far behind: certificates begin before they are made.
pub(super) const BEFORE_S: u64 = 3_600;

/// The life of a signing certificate, as it was typed: in seconds.
pub(super) fn leaf_life(text: &str) -> Result<u64, String> {
    let life_s = duration(text)?.as_secs();
    if LEAVES_S.contains(&life_s) { Ok(life_s) } else { Err("is not between 24h and 90d".into()) }
}

/// A token CA with its first leaf, in PEM.
pub(super) struct Keys {
    pub(super) root: Root,
    pub(super) signer: Signer,
}

/// A token CA, in PEM.
pub(super) struct Root {
    pub(super) key: Zeroizing<String>,
    pub(super) certificate: String,
    /// Seconds since 1970.
    pub(super) ends_s: u64,
}

/// A key that signs tokens, and its certificate, in PEM.
pub(super) struct Signer {
    pub(super) key: Zeroizing<String>,
    pub(super) leaf: String,
    /// Seconds since 1970.
    pub(super) ends_s: u64,
}

/// This machine's time.
pub(super) fn now() -> Result<OffsetDateTime, Failure> {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(SystemClock.now().0) * 1_000_000)
        .map_err(|error| Failure::new(Exit::Configuration, format!("the clock: {error}")))
}

impl Keys {
    /// Draws both.
    pub(super) fn draw(name: &Name, now: OffsetDateTime, leaf_s: u64) -> Result<Self, String> {
        let root = Root::draw(name, now).map_err(|error| error.to_string())?;
        let signer = Signer::next(name, (now, leaf_s), &root.key, &root.certificate)?;
        Ok(Self { root, signer })
    }
}

impl Root {
    /// Draws one.
    pub(super) fn draw(name: &Name, now: OffsetDateTime) -> Result<Self, rcgen::Error> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut ca = params(&format!("{name} tokens, root"), now, ROOT_S);
        ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = ca.self_signed(&key)?.pem();
        let (ends_s, key) = (seconds(ca.not_after), Zeroizing::new(key.serialize_pem()));
        Ok(Self { key, certificate, ends_s })
    }
}

impl Signer {
    fn draw(
        name: &Name,
        (now, leaf_s): (OffsetDateTime, u64),
        issuer: &Issuer<'_, impl rcgen::SigningKey>,
    ) -> Result<Self, rcgen::Error> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut leaf = params(&format!("{name} tokens"), now, leaf_s);
        leaf.is_ca = IsCa::ExplicitNoCa;
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let ends_s = seconds(leaf.not_after);
        let leaf = leaf.signed_by(&key, issuer)?.pem();
        Ok(Self { key: Zeroizing::new(key.serialize_pem()), leaf, ends_s })
    }

    /// Draws the next one below a CA that is there.
    ///
    /// # Errors
    /// What is wrong with the CA's key or certificate, in words.
    pub(super) fn next(
        name: &Name,
        (now, leaf_s): (OffsetDateTime, u64),
        ca_key: &str,
        root: &str,
    ) -> Result<Self, String> {
        let key = KeyPair::from_pem(ca_key).map_err(|error| format!("ca.key: {error}"))?;
        let unread = "root.crt is no certificate";
        let (_, pem) = parse_x509_pem(root.as_bytes()).map_err(|_| unread)?;
        let of_root = pem.parse_x509().map_err(|_| unread)?.public_key().raw.to_vec();
        if of_root != key.subject_public_key_info() {
            return Err("ca.key is not the key of root.crt".to_owned());
        }
        let issuer = Issuer::from_ca_cert_pem(root, key);
        let drawn = issuer.and_then(|issuer| Self::draw(name, (now, leaf_s), &issuer));
        drawn.map_err(|error| error.to_string())
    }
}

/// Whether a third of a certificate's life is over.
///
/// # Errors
/// It is none, in words.
pub(super) fn is_due(leaf: &str, now: OffsetDateTime) -> Result<bool, String> {
    let unread = "signer.crt is no certificate";
    let (_, pem) = parse_x509_pem(leaf.as_bytes()).map_err(|_| unread)?;
    let certificate = pem.parse_x509().map_err(|_| unread)?;
    let validity = certificate.validity();
    let (begin, end) = (validity.not_before.timestamp(), validity.not_after.timestamp());
    let third = end.saturating_sub(begin) / 3;
    Ok(now.unix_timestamp() >= begin.saturating_add(third))
}

/// Seconds since 1970; nothing here ends before.
fn seconds(moment: OffsetDateTime) -> u64 {
    u64::try_from(moment.unix_timestamp()).unwrap_or_default()
}

fn params(called: &str, now: OffsetDateTime, life_s: u64) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, called);
    params.not_before = now - Duration::from_secs(BEFORE_S);
    params.not_after = params.not_before + Duration::from_secs(life_s);
    params
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_due_after_a_third_of_its_life() {
        let now = OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap();
        let name = "web".parse().unwrap();
        for (text, life_s) in [("24h", DAY_S), ("30d", LEAF_S), ("90d", 90 * DAY_S)] {
            assert_eq!(leaf_life(text), Ok(life_s));
            let keys = Keys::draw(&name, now, life_s).unwrap();
            assert_eq!(keys.signer.ends_s, 1_800_000_000 - BEFORE_S + life_s);
            let next =
                Signer::next(&name, (now, life_s), &keys.root.key, &keys.root.certificate).unwrap();
            let due =
                |after_s: u64| is_due(&next.leaf, now + Duration::from_secs(after_s)).unwrap();
            let third = life_s / 3 - BEFORE_S;
            assert!(!due(0) && !due(third - 1) && due(third) && due(life_s * 2), "{text}");
        }
        for bad in ["", "x", "23h", "91d", "-1d"] {
            assert!(leaf_life(bad).is_err(), "{bad}");
        }
        assert!(is_due("x", now).is_err());
    }
}
