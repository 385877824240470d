//! How signatures of ours look in certificates and requests.

use x509_parser::oid_registry::OID_SIG_ED25519;
use x509_parser::x509::AlgorithmIdentifier;

/// How what is signed goes on before the 64 bytes of its signature: algorithm
/// Ed25519 (RFC 8410), then a bit string of whole bytes.
const SIGNED: [u8; 10] = [0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x41, 0x00];
const SIGNATURE_BYTES: usize = 64;

/// Whether a certificate or request ends as ours do. These bytes are not
/// signed, and the parser takes other forms of them too.
pub(super) fn is_signed_as_ours(der: &[u8]) -> bool {
    let end = der.len().checked_sub(SIGNED.len() + SIGNATURE_BYTES);
    end.and_then(|end| der.get(end..)).is_some_and(|end| end.starts_with(&SIGNED))
}

pub(super) fn is_ed25519(algorithm: &AlgorithmIdentifier<'_>) -> bool {
    algorithm.algorithm == OID_SIG_ED25519 && algorithm.parameters.is_none()
}
