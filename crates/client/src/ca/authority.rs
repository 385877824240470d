//! Certificates are made here: the root, the issuing CA, leaves.

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, ExtendedKeyUsagePurpose, IsCa,
    KeyIdMethod, KeyUsagePurpose, SerialNumber, SubjectPublicKeyInfo,
};
use time::OffsetDateTime;

use super::chain::{self, ISSUING, ROOT};
use super::key::is_public_key;
use super::subject::{authority_name, root_name};
use super::{CaError, CertificateRole, PrivateKey, Subject};
use skep_core::base::{ClusterId, Name, Stamp};

/// What certificates count in.
const SECOND_MS: u64 = 1000;
const DAY_MS: u64 = 24 * 60 * 60 * 1000;
/// How long a root lives: longer than the machines.
const ROOT_MS: u64 = 20 * 365 * DAY_MS;
/// How long an issuing CA lives.
const ISSUING_MS: u64 = 5 * 365 * DAY_MS;
/// How long before `now` a CA starts: the clock of the machine that made it
/// may be ahead of those that use it.
const AUTHORITY_BEFORE_MS: u64 = 60 * 60 * 1000;
/// How long before `now` a leaf starts.
const LEAF_BEFORE_MS: u64 = 60 * 1000;

/// A root: made by the CLI at `init`, 20 years.
#[derive(Debug)]
pub struct Root {
    /// The certificate, DER.
    pub certificate: Vec<u8>,
    /// Its private key: never leaves the CLI unsealed.
    pub key: PrivateKey,
}

impl Root {
    /// Makes one.
    ///
    /// # Errors
    /// None in practice.
    pub fn generate(cluster: ClusterId, name: &Name, now: Stamp) -> Result<Self, CaError> {
        let key = PrivateKey::generate()?;
        let validity = Validity::authority(now, ROOT_MS, Stamp(u64::MAX))?;
        let params = authority(root_name(cluster, ROOT, name), 1, &key.public(), validity)?;
        let pair = key.pair()?;
        let certificate =
            params.self_signed(&*pair).map_err(|_| CaError::Malformed("root's key"))?;
        Ok(Self { certificate: certificate.der().to_vec(), key })
    }

    /// The root with this certificate (DER) and key.
    ///
    /// # Errors
    /// [`CaError::Malformed`] where they do not belong together.
    pub fn new(certificate: Vec<u8>, key: PrivateKey) -> Result<Self, CaError> {
        if chain::read_authority(&certificate, ROOT)?.spki != key.public() {
            return Err(CaError::Malformed("key of this root certificate"));
        }
        Ok(Self { certificate, key })
    }

    /// Signs the first issuing CA for this public key, 5 years, path length 0.
    ///
    /// # Errors
    /// [`CaError::Malformed`] for a bad public key or another cluster than the
    /// root's, [`CaError::Expired`] where the root has ended.
    pub fn sign_issuing(
        &self,
        issuing_spki: &[u8],
        cluster: ClusterId,
        now: Stamp,
    ) -> Result<Vec<u8>, CaError> {
        self.sign_issuing_from(issuing_spki, cluster, now, Stamp(0))
    }

    /// Signs the issuing CA that takes the place of the one that begins at `after`: it begins
    /// later, for that tells them apart.
    ///
    /// # Errors
    /// As [`Self::sign_issuing`]; [`CaError::Expired`] too where it would begin more than a
    /// clock can be ahead after `now`.
    pub fn sign_issuing_after(
        &self,
        issuing_spki: &[u8],
        cluster: ClusterId,
        now: Stamp,
        after: Stamp,
    ) -> Result<Vec<u8>, CaError> {
        let earliest = after.plus_ms(SECOND_MS);
        if now.plus_ms(chain::START_TOLERANCE_MS) < earliest {
            return Err(CaError::Expired);
        }
        self.sign_issuing_from(issuing_spki, cluster, now, earliest)
    }

    fn sign_issuing_from(
        &self,
        issuing_spki: &[u8],
        cluster: ClusterId,
        now: Stamp,
        earliest: Stamp,
    ) -> Result<Vec<u8>, CaError> {
        let root = chain::read_authority(&self.certificate, ROOT)?;
        if root.cluster != cluster {
            return Err(CaError::Malformed("root of that cluster"));
        }
        let mut validity = Validity::authority(now, ISSUING_MS, root.ends)?;
        validity.starts = validity.starts.max(root.starts).max(earliest);
        let params = authority(authority_name(cluster, ISSUING), 0, issuing_spki, validity)?;
        sign(&self.certificate, &self.key, &params, issuing_spki)
    }
}

/// The issuing CA, opened: signs leaves.
#[derive(Debug)]
pub struct Issuer {
    certificate: Vec<u8>,
    key: PrivateKey,
    cluster: ClusterId,
    starts: Stamp,
    ends: Stamp,
}

impl Issuer {
    /// The issuer with this certificate (DER) and key.
    ///
    /// # Errors
    /// [`CaError::Malformed`] where they do not belong together.
    pub fn new(certificate: Vec<u8>, key: PrivateKey) -> Result<Self, CaError> {
        let read = chain::read_authority(&certificate, ISSUING)?;
        if read.spki != key.public() {
            return Err(CaError::Malformed("key of this issuing certificate"));
        }
        let (cluster, starts, ends) = (read.cluster, read.starts, read.ends);
        Ok(Self { certificate, key, cluster, starts, ends })
    }

    /// When the issuing certificate begins: what tells it from others of its cluster.
    #[must_use]
    pub fn begins(&self) -> Stamp {
        self.starts
    }

    /// When the issuing certificate ends: no leaf outlives it.
    #[must_use]
    pub fn ends(&self) -> Stamp {
        self.ends
    }

    /// Signs a leaf for this public key, from a minute before `now` to `ends`,
    /// or to the issuing CA's own end where that is earlier.
    /// Nothing but the public key is taken from the requester.
    ///
    /// # Errors
    /// [`CaError::Malformed`] for a bad public key or another cluster than the
    /// issuer's, [`CaError::Expired`] where nothing is left of the time.
    pub fn sign_leaf(
        &self,
        spki: &[u8],
        subject: &Subject,
        now: Stamp,
        ends: Stamp,
    ) -> Result<Vec<u8>, CaError> {
        if subject.cluster != self.cluster {
            return Err(CaError::Malformed("subject of this cluster"));
        }
        let starts = Stamp(now.0.saturating_sub(LEAF_BEFORE_MS)).max(self.starts);
        let validity = Validity { starts, ends: ends.min(self.ends) }.checked(now)?;
        let mut params = plain(subject.distinguished_name(), spki, validity)?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.subject_alt_names = vec![subject.alternative_name()?];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = match subject.role {
            CertificateRole::Manager(_) => {
                vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth]
            }
            CertificateRole::Worker(_) | CertificateRole::Operator(_) => {
                vec![ExtendedKeyUsagePurpose::ClientAuth]
            }
        };
        sign(&self.certificate, &self.key, &params, spki)
    }
}

#[derive(Clone, Copy)]
struct Validity {
    starts: Stamp,
    ends: Stamp,
}

impl Validity {
    fn authority(now: Stamp, lives_ms: u64, latest: Stamp) -> Result<Self, CaError> {
        let starts = Stamp(now.0.saturating_sub(AUTHORITY_BEFORE_MS));
        Self { starts, ends: now.plus_ms(lives_ms).min(latest) }.checked(now)
    }

    fn checked(self, now: Stamp) -> Result<Self, CaError> {
        if self.starts < self.ends && now < self.ends { Ok(self) } else { Err(CaError::Expired) }
    }
}

/// What every certificate has: fresh parameters, none of a requester's.
fn plain(
    name: DistinguishedName,
    spki: &[u8],
    validity: Validity,
) -> Result<CertificateParams, CaError> {
    if !is_public_key(spki) {
        return Err(CaError::Malformed("public key"));
    }
    let mut params = CertificateParams::default();
    params.serial_number = Some(serial(&name, spki, validity));
    params.distinguished_name = name;
    params.not_before = time_of(validity.starts)?;
    params.not_after = time_of(validity.ends)?;
    params.use_authority_key_identifier_extension = true;
    params.key_identifier_method = KeyIdMethod::Sha256;
    Ok(params)
}

fn authority(
    name: DistinguishedName,
    below: u8,
    spki: &[u8],
    validity: Validity,
) -> Result<CertificateParams, CaError> {
    let mut params = plain(name, spki, validity)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(below));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

/// A hash of what the certificate says, so that two that differ have two
/// numbers and no random source is needed. 127 bits, never zero.
fn serial(name: &DistinguishedName, spki: &[u8], validity: Validity) -> SerialNumber {
    let mut hasher = blake3::Hasher::new();
    hasher.update(spki);
    hasher.update(&validity.starts.0.to_be_bytes());
    hasher.update(&validity.ends.0.to_be_bytes());
    for (_, value) in name.iter() {
        if let rcgen::DnValue::Utf8String(text) = value {
            hasher.update(text.as_bytes());
            hasher.update(&[0]);
        }
    }
    let mut bytes = [0; 16];
    hasher.finalize_xof().fill(&mut bytes);
    let [first, ..] = &mut bytes;
    *first = *first & 0x7f | 0x40;
    SerialNumber::from_slice(&bytes)
}

fn time_of(stamp: Stamp) -> Result<OffsetDateTime, CaError> {
    i64::try_from(stamp.0 / 1000)
        .ok()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .ok_or(CaError::Malformed("time"))
}

fn sign(
    certificate: &[u8],
    key: &PrivateKey,
    params: &CertificateParams,
    spki: &[u8],
) -> Result<Vec<u8>, CaError> {
    let public =
        SubjectPublicKeyInfo::from_der(spki).map_err(|_| CaError::Malformed("public key"))?;
    let pair = key.pair()?;
    let issuer = rcgen::Issuer::from_ca_cert_der(&certificate.into(), &*pair)
        .map_err(|_| CaError::Malformed("certificate authority"))?;
    let signed = params.signed_by(&public, &issuer).map_err(|_| CaError::Malformed("subject"))?;
    Ok(signed.der().to_vec())
}
