//! Private keys, and the requests that prove possession of one.

use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ED25519, PublicKeyData};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;
use zeroize::Zeroizing;

use super::CaError;
use super::signature::{is_ed25519, is_signed_as_ours};
use skep_core::base::SecretBytes;

/// An Ed25519 public key as SPKI DER is these bytes, then the key's 32 (RFC 8410).
const SPKI_HEAD: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0];
/// Bytes of an Ed25519 public key as SPKI DER.
const SPKI_BYTES: usize = SPKI_HEAD.len() + 32;
/// Bytes of a private key that are read; ours have 83.
const KEY_BYTES: usize = 256;
/// Bytes of a request that are read; ours have about 150.
const REQUEST_BYTES: usize = 4096;

/// A private key, PKCS#8 DER, Ed25519.
#[derive(Debug)]
pub struct PrivateKey {
    pkcs8: SecretBytes,
    public: Vec<u8>,
}

impl PrivateKey {
    /// Makes a new key pair (from the system's random source).
    ///
    /// # Errors
    /// None in practice.
    pub fn generate() -> Result<Self, CaError> {
        let pair = KeyPair::generate_for(&PKCS_ED25519).map_err(|_| CaError::Malformed("key"))?;
        let pair = Zeroizing::new(pair);
        let pkcs8 = SecretBytes::copy_of(pair.serialized_der());
        Ok(Self { pkcs8, public: pair.subject_public_key_info() })
    }

    /// Reads PKCS#8 DER.
    ///
    /// # Errors
    /// [`CaError::Malformed`].
    pub fn from_pkcs8(der: SecretBytes) -> Result<Self, CaError> {
        let public = pair(&der)?.subject_public_key_info();
        Ok(Self { pkcs8: der, public })
    }

    /// PKCS#8 DER.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        self.pkcs8.expose()
    }

    /// The public key, SPKI DER.
    #[must_use]
    pub fn public(&self) -> Vec<u8> {
        self.public.clone()
    }

    pub(super) fn pair(&self) -> Result<Zeroizing<KeyPair>, CaError> {
        pair(&self.pkcs8)
    }
}

fn pair(pkcs8: &SecretBytes) -> Result<Zeroizing<KeyPair>, CaError> {
    if pkcs8.len() > KEY_BYTES {
        return Err(CaError::Malformed("private key"));
    }
    KeyPair::from_pkcs8_der_and_sign_algo(&pkcs8.expose().into(), &PKCS_ED25519)
        .map(Zeroizing::new)
        .map_err(|_| CaError::Malformed("private key"))
}

/// BLAKE3 of a public key (SPKI DER): how the state names a key.
#[must_use]
pub fn key_digest(spki: &[u8]) -> [u8; 32] {
    *blake3::hash(spki).as_bytes()
}

/// Whether this is an Ed25519 public key in the one encoding that it has.
pub(super) fn is_public_key(spki: &[u8]) -> bool {
    spki.len() == SPKI_BYTES && spki.starts_with(&SPKI_HEAD)
}

/// A PKCS#10 request: proves possession of the key, says nothing else.
///
/// # Errors
/// None in practice.
pub fn certificate_request(key: &PrivateKey) -> Result<Vec<u8>, CaError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    let pair = key.pair()?;
    let request = params.serialize_request(&*pair).map_err(|_| CaError::Malformed("key"))?;
    Ok(request.der().to_vec())
}

/// Verifies a request's own signature and answers its public key (SPKI DER).
/// Names, usages and flags that it asks for are not even read.
///
/// # Errors
/// [`CaError::Malformed`], [`CaError::NotSigned`].
pub fn public_key_of_request(request: &[u8]) -> Result<Vec<u8>, CaError> {
    const WHAT: CaError = CaError::Malformed("certificate request");
    if request.len() > REQUEST_BYTES {
        return Err(WHAT);
    }
    let (rest, parsed) = X509CertificationRequest::from_der(request).map_err(|_| WHAT)?;
    let spki = &parsed.certification_request_info.subject_pki;
    let sound = rest.is_empty()
        && is_public_key(spki.raw)
        && is_signed_as_ours(request)
        && is_ed25519(&parsed.signature_algorithm);
    if !sound {
        return Err(WHAT);
    }
    parsed.verify_signature().map_err(|_| CaError::NotSigned)?;
    Ok(spki.raw.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_back() {
        let key = PrivateKey::generate().expect("a key");
        let again = PrivateKey::from_pkcs8(SecretBytes::copy_of(key.expose())).expect("the key");
        assert_eq!(key.public(), again.public());
        assert!(is_public_key(&key.public()));
        for bad in [&b""[..], b"key", &[0; 100], &[0x30; 300]] {
            let read = PrivateKey::from_pkcs8(SecretBytes::copy_of(bad));
            assert_eq!(read.err(), Some(CaError::Malformed("private key")));
        }
    }

    #[test]
    fn a_request_proves_possession_only() {
        let key = PrivateKey::generate().expect("a key");
        let request = certificate_request(&key).expect("a request");
        assert_eq!(public_key_of_request(&request), Ok(key.public()));
        for at in 0..request.len() {
            let mut broken = request.clone();
            broken[at] ^= 1;
            assert!(public_key_of_request(&broken).is_err(), "byte {at}");
            assert!(public_key_of_request(&request[..at]).is_err(), "cut at {at}");
        }
        let mut longer = request.clone();
        longer.push(0);
        assert!(public_key_of_request(&longer).is_err());
        assert!(public_key_of_request(&vec![0x30; 1 << 20]).is_err());
    }

    #[test]
    fn other_kinds_of_key_are_refused() {
        let pair = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a P-256 key");
        let params = CertificateParams::default();
        let request = params.serialize_request(&pair).expect("a request");
        let read = public_key_of_request(request.der());
        assert_eq!(read, Err(CaError::Malformed("certificate request")));
        let read = PrivateKey::from_pkcs8(SecretBytes::copy_of(pair.serialized_der()));
        assert_eq!(read.err(), Some(CaError::Malformed("private key")));
    }
}
