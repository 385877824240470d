//! The token CA of a registry, and the keys that sign tokens below it.
//!
//! No TLS certificate comes from this CA: a registry takes each certificate below it for that
//! of a token server.

use rcgen::PublicKeyData as _;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256,
};
use skep_client::machine::SystemClock;
use skep_core::base::{Clock as _, Exit, Failure, Name};
use time::{Duration, OffsetDateTime};
use x509_parser::pem::parse_x509_pem;
use zeroize::Zeroizing;

/// Days of the token CA, and of a signing certificate.
const ROOT_DAYS: i64 = 3_650;
const LEAF_DAYS: i64 = 30;
/// Days before its end from which a signing certificate is warned about: a third of its life.
pub(super) const LEAF_WARNING_DAYS: u64 = 10;
/// Clocks of registries may be so far behind.
const BEFORE: Duration = Duration::hours(1);

/// A token CA with its first leaf, in PEM.
pub(super) struct Keys {
    pub(super) ca_key: Zeroizing<String>,
    pub(super) root: String,
    /// Seconds since 1970.
    pub(super) root_ends_s: u64,
    pub(super) signer: Signer,
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
    pub(super) fn draw(name: &Name, now: OffsetDateTime) -> Result<Self, rcgen::Error> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut ca = params(&format!("{name} tokens, root"), now, ROOT_DAYS);
        ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let root = ca.self_signed(&key)?.pem();
        let root_ends_s = seconds(ca.not_after);
        let ca_key = Zeroizing::new(key.serialize_pem());
        let signer = Signer::draw(name, now, &Issuer::from_params(&ca, &key))?;
        Ok(Self { ca_key, root, root_ends_s, signer })
    }
}

impl Signer {
    fn draw(
        name: &Name,
        now: OffsetDateTime,
        issuer: &Issuer<'_, impl rcgen::SigningKey>,
    ) -> Result<Self, rcgen::Error> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut leaf = params(&format!("{name} tokens"), now, LEAF_DAYS);
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
        now: OffsetDateTime,
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
        let drawn = issuer.and_then(|issuer| Self::draw(name, now, &issuer));
        drawn.map_err(|error| error.to_string())
    }
}

/// Seconds since 1970; nothing here ends before.
fn seconds(moment: OffsetDateTime) -> u64 {
    u64::try_from(moment.unix_timestamp()).unwrap_or_default()
}

fn params(called: &str, now: OffsetDateTime, days: i64) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, called);
    params.not_before = now - BEFORE;
    params.not_after = params.not_before + Duration::days(days);
    params
}
