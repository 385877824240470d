//! Certificates are read and checked here, strictly: what this cluster's own CA
//! does not make is refused, also where X.509 would allow it.

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer;
use x509_parser::x509::X509Version;

use super::key::is_public_key;
use super::signature::{is_ed25519, is_signed_as_ours};
use super::{CaError, CertificateRole, Subject, key_digest, subject};
use skep_core::base::{ClusterId, Fingerprint, Stamp};

/// A root's common name.
pub(super) const ROOT: &str = "Skep root CA";
/// An issuing CA's common name.
pub(super) const ISSUING: &str = "Skep issuing CA";
/// Bytes of a certificate that are read; ours have about 600.
const CERTIFICATE_BYTES: usize = 4096;
/// How long before its start a certificate is accepted: the clock of the
/// manager that signed it may be this far ahead (a manager further off doesn't sign).
pub const START_TOLERANCE_MS: u64 = 5 * 60 * 1000;

/// Bits of a key usage, as x509-parser numbers them.
const DIGITAL_SIGNATURE: u16 = 1;
const CERT_AND_CRL_SIGN: u16 = 1 << 5 | 1 << 6;

/// What a leaf says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// Whom it names.
    pub subject: Subject,
    /// BLAKE3 of its public key.
    pub key: [u8; 32],
    /// From when.
    pub starts: Stamp,
    /// Until when.
    pub ends: Stamp,
}

/// What a verified chain says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issued {
    /// What the leaf says.
    pub leaf: Leaf,
    /// When the issuing CA that signed it begins: what tells it from others of its cluster.
    pub issuer: Stamp,
}

/// What a root or issuing CA says.
pub(super) struct Authority {
    pub(super) cluster: ClusterId,
    pub(super) spki: Vec<u8>,
    pub(super) starts: Stamp,
    pub(super) ends: Stamp,
}

/// Reads a leaf without verifying it.
///
/// # Errors
/// [`CaError::Malformed`].
pub fn read_leaf(der: &[u8]) -> Result<Leaf, CaError> {
    let certificate = parse(der)?;
    leaf_of(&certificate).ok_or(CaError::Malformed("leaf certificate"))
}

/// When an issuing CA's certificate (DER) begins: what tells it from others of its cluster.
///
/// # Errors
/// [`CaError::Malformed`].
pub fn issuer_begins(der: &[u8]) -> Result<Stamp, CaError> {
    read_authority(der, ISSUING).map(|read| read.starts)
}

/// From when to when a root or issuing CA's certificate (DER) lasts; `None` where it is none.
#[must_use]
pub fn authority_lasts(der: &[u8]) -> Option<(Stamp, Stamp)> {
    times(&parse(der).ok()?)
}

/// When a certificate (DER) of any kind ends; `None` where it is none.
#[must_use]
pub fn certificate_ends(der: &[u8]) -> Option<Stamp> {
    let certificate = parse(der).ok()?;
    let seconds = u64::try_from(certificate.validity().not_after.timestamp()).ok()?;
    Some(Stamp(seconds.saturating_mul(1000)))
}

/// Reads a root or issuing CA (`common` says which) without verifying it.
pub(super) fn read_authority(der: &[u8], common: &str) -> Result<Authority, CaError> {
    let certificate = parse(der)?;
    authority_of(&certificate, common).ok_or(CaError::Malformed("certificate authority"))
}

/// Verifies leaf, issuing CA and root (DER, in this order) at `now`; the root
/// must have this fingerprint.
///
/// # Errors
/// Every kind of [`CaError`]; `Expired` only where all else is right.
pub fn verify_chain(
    chain: &[Vec<u8>],
    fingerprint: Fingerprint,
    now: Stamp,
) -> Result<Leaf, CaError> {
    verify_issued(chain, fingerprint, now).map(|issued| issued.leaf)
}

/// The same for who wants to know by which issuing CA the leaf was signed.
///
/// # Errors
/// As [`verify_chain`].
pub fn verify_issued(
    chain: &[Vec<u8>],
    fingerprint: Fingerprint,
    now: Stamp,
) -> Result<Issued, CaError> {
    let [leaf, issuing, root] = chain else {
        return Err(CaError::Malformed("chain of three certificates"));
    };
    verify(leaf, issuing, root, fingerprint, now)
}

/// [`verify_issued`] without its list.
fn verify(
    leaf: &[u8],
    issuing: &[u8],
    root: &[u8],
    fingerprint: Fingerprint,
    now: Stamp,
) -> Result<Issued, CaError> {
    if Fingerprint::of_root(root) != fingerprint {
        return Err(CaError::OtherCluster { expected: fingerprint });
    }
    let (leaf, issuing, root) = (parse(leaf)?, parse(issuing)?, parse(root)?);
    // The root is known by its hash: its own signature would add nothing.
    signed_by(&issuing, &root)?;
    signed_by(&leaf, &issuing)?;

    let authority = CaError::Malformed("certificate authority");
    let root = authority_of(&root, ROOT).ok_or(authority.clone())?;
    let issuing = authority_of(&issuing, ISSUING).ok_or(authority)?;
    let leaf = leaf_of(&leaf).ok_or(CaError::Malformed("leaf certificate"))?;
    let nested = root.starts <= issuing.starts
        && issuing.starts <= leaf.starts
        && leaf.ends <= issuing.ends
        && issuing.ends <= root.ends;
    let one_cluster = root.cluster == issuing.cluster && issuing.cluster == leaf.subject.cluster;
    if !nested || !one_cluster {
        return Err(CaError::NotSigned);
    }
    // The times of the chain are nested, so that the leaf's say it all.
    if now >= leaf.ends || now.plus_ms(START_TOLERANCE_MS) < leaf.starts {
        return Err(CaError::Expired);
    }
    Ok(Issued { leaf, issuer: issuing.starts })
}

fn parse(der: &[u8]) -> Result<X509Certificate<'_>, CaError> {
    const WHAT: CaError = CaError::Malformed("certificate");
    if der.len() > CERTIFICATE_BYTES {
        return Err(WHAT);
    }
    let (rest, certificate) = X509Certificate::from_der(der).map_err(|_| WHAT)?;
    let sound = rest.is_empty()
        && certificate.version() == X509Version::V3
        && is_public_key(certificate.public_key().raw)
        && is_signed_as_ours(der)
        && is_ed25519(&certificate.signature_algorithm)
        && is_ed25519(&certificate.tbs_certificate.signature)
        && certificate.tbs_certificate.issuer_uid.is_none()
        && certificate.tbs_certificate.subject_uid.is_none();
    if sound { Ok(certificate) } else { Err(WHAT) }
}

fn signed_by(child: &X509Certificate<'_>, parent: &X509Certificate<'_>) -> Result<(), CaError> {
    if child.issuer().as_raw() != parent.subject().as_raw() {
        return Err(CaError::NotSigned);
    }
    child.verify_signature(Some(parent.public_key())).map_err(|_| CaError::NotSigned)
}

/// The extensions that are ours, each at most once.
#[derive(Default)]
struct Extensions<'a> {
    /// CA flag and path length.
    constraints: Option<(bool, Option<u32>)>,
    key_usage: Option<u16>,
    /// For clients, for servers; nothing else.
    purposes: Option<(bool, bool)>,
    dns_name: Option<&'a str>,
}

impl<'a> Extensions<'a> {
    /// None for a critical extension that is not ours, one given twice, or one
    /// whose content we never write.
    fn read(certificate: &'a X509Certificate<'a>) -> Option<Self> {
        let mut read = Self::default();
        certificate.extensions_map().ok()?;
        for extension in certificate.extensions() {
            match extension.parsed_extension() {
                ParsedExtension::BasicConstraints(found) => {
                    read.constraints = Some((found.ca, found.path_len_constraint));
                }
                ParsedExtension::KeyUsage(found) => read.key_usage = Some(found.flags),
                ParsedExtension::ExtendedKeyUsage(found) => {
                    let foreign = found.any
                        || found.code_signing
                        || found.email_protection
                        || found.time_stamping
                        || found.ocsp_signing
                        || !found.other.is_empty();
                    if foreign {
                        return None;
                    }
                    read.purposes = Some((found.client_auth, found.server_auth));
                }
                ParsedExtension::SubjectAlternativeName(found) => {
                    let [GeneralName::DNSName(name)] = found.general_names.as_slice() else {
                        return None;
                    };
                    read.dns_name = Some(name);
                }
                _ if extension.critical => return None,
                _ => {}
            }
        }
        Some(read)
    }
}

fn authority_of(certificate: &X509Certificate<'_>, common: &str) -> Option<Authority> {
    let extensions = Extensions::read(certificate)?;
    let below = u32::from(common == ROOT);
    let sound = extensions.constraints == Some((true, Some(below)))
        && extensions.key_usage == Some(CERT_AND_CRL_SIGN)
        && extensions.purposes.is_none()
        && extensions.dns_name.is_none();
    if !sound {
        return None;
    }
    let (starts, ends) = times(certificate)?;
    Some(Authority {
        cluster: subject::read_authority(certificate.subject(), common)?,
        spki: certificate.public_key().raw.to_vec(),
        starts,
        ends,
    })
}

fn leaf_of(certificate: &X509Certificate<'_>) -> Option<Leaf> {
    let extensions = Extensions::read(certificate)?;
    let subject = Subject::read(certificate.subject())?;
    let serves = matches!(subject.role, CertificateRole::Manager(_));
    let sound = extensions.constraints == Some((false, None))
        && extensions.key_usage == Some(DIGITAL_SIGNATURE)
        && extensions.purposes == Some((true, serves))
        && extensions.dns_name == Some(subject.role.dns_name().as_str());
    if !sound {
        return None;
    }
    let (starts, ends) = times(certificate)?;
    Some(Leaf { subject, key: key_digest(certificate.public_key().raw), starts, ends })
}

fn times(certificate: &X509Certificate<'_>) -> Option<(Stamp, Stamp)> {
    let validity = certificate.validity();
    let stamp = |seconds: i64| u64::try_from(seconds).ok()?.checked_mul(1000).map(Stamp);
    Some((stamp(validity.not_before.timestamp())?, stamp(validity.not_after.timestamp())?))
}
