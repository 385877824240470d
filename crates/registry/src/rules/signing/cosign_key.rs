//! Keys as cosign has them: ECDSA on P-256 over SHA-256, PKCS#8 and SPKI in PEM.

use std::fmt;

use data_encoding::{BASE64, HEXLOWER};
use p256::ecdsa::signature::{Signer as _, Verifier as _};
use p256::ecdsa::{Signature, SigningKey, VerifyingKey};
use p256::pkcs8::{DecodePrivateKey as _, DecodePublicKey as _};
use p256::pkcs8::{EncodePrivateKey as _, EncodePublicKey as _, LineEnding};
use sha2::{Digest as _, Sha256};
use skep_core::base::SecretBytes;

use super::bad_key::{BadKey, KEY_BYTES};

/// A private key. Its content is never shown, and is wiped when it is let go.
pub struct CosignKey(SigningKey);

impl CosignKey {
    /// Reads PKCS#8 in PEM.
    ///
    /// # Errors
    /// It is none, or that of another curve.
    pub fn read(text: &str) -> Result<Self, BadKey> {
        SigningKey::from_pkcs8_pem(text).map(Self).map_err(|_| BadKey::Pkcs8)
    }

    /// Reads PKCS#8 in DER.
    ///
    /// # Errors
    /// It is none, or that of another curve.
    pub fn read_der(bytes: &[u8]) -> Result<Self, BadKey> {
        SigningKey::from_pkcs8_der(bytes).map(Self).map_err(|_| BadKey::Pkcs8)
    }

    /// PKCS#8 in PEM.
    ///
    /// # Errors
    /// [`BadKey::Pkcs8`]: none in practice.
    pub fn text(&self) -> Result<SecretBytes, BadKey> {
        let text = self.0.to_pkcs8_pem(LineEnding::LF).map_err(|_| BadKey::Pkcs8)?;
        Ok(SecretBytes::copy_of(text.as_bytes()))
    }

    /// Its public half.
    #[must_use]
    pub fn public(&self) -> CosignPublic {
        CosignPublic(*self.0.verifying_key())
    }

    /// The signature over these bytes, ASN.1 in DER. It is drawn from key and bytes (RFC 6979):
    /// whoever has the key writes the same one each time.
    #[must_use]
    pub fn sign(&self, bytes: &[u8]) -> Vec<u8> {
        let signature: Signature = self.0.sign(bytes);
        signature.to_der().as_bytes().to_vec()
    }
}

impl fmt::Debug for CosignKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CosignKey").finish_non_exhaustive()
    }
}

/// A public key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CosignPublic(VerifyingKey);

impl CosignPublic {
    /// Reads SPKI in PEM.
    ///
    /// # Errors
    /// It is none, or that of another curve.
    pub fn read(text: &str) -> Result<Self, BadKey> {
        if text.len() > KEY_BYTES {
            return Err(BadKey::Size);
        }
        VerifyingKey::from_public_key_pem(text.trim_end()).map(Self).map_err(|_| BadKey::Spki)
    }

    /// SPKI in PEM.
    #[must_use]
    pub fn text(&self) -> String {
        self.0.to_public_key_pem(LineEnding::LF).unwrap_or_default()
    }

    /// What cosign 3 names it by: base64 of SHA-256 of its SPKI.
    #[must_use]
    pub fn hint(&self) -> String {
        BASE64.encode(&self.hash())
    }

    /// What people compare: SHA-256 of its SPKI, 64 digits.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        HEXLOWER.encode(&self.hash())
    }

    /// Whether this is its signature (ASN.1 in DER) over these bytes.
    #[must_use]
    pub fn verify(&self, bytes: &[u8], signature: &[u8]) -> bool {
        let read = Signature::from_der(signature);
        read.is_ok_and(|signature| self.0.verify(bytes, &signature).is_ok())
    }

    fn hash(&self) -> [u8; 32] {
        let der = self.0.to_public_key_der();
        let der = der.as_ref().map(p256::pkcs8::Document::as_bytes).unwrap_or_default();
        Sha256::digest(der).into()
    }
}

impl fmt::Debug for CosignPublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CosignPublic({})", self.fingerprint())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The key of RFC 6979, A.2.5, as PKCS#8.
    pub(crate) const RFC_6979: &str = "-----BEGIN PRIVATE KEY-----\n\
        MEECAQAwEwYHKoZIzj0CAQYIKoZIzj0DAQcEJzAlAgEBBCDJr6nYRbp1FmtcIVdn\n\
        sdaTTlDD2zbomxJ7imIrEg9nIQ==\n-----END PRIVATE KEY-----\n";

    pub(crate) fn key(seed: u8) -> CosignKey {
        let secret = p256::SecretKey::from_slice(&[seed; 32]).expect("a key");
        CosignKey(secret.into())
    }

    impl CosignKey {
        pub(crate) fn der(&self) -> Vec<u8> {
            self.0.to_pkcs8_der().expect("a key").as_bytes().to_vec()
        }
    }

    #[test]
    fn the_signature_is_that_of_the_standard() {
        let key = CosignKey::read(RFC_6979).expect("a key");
        let known = "3046022100efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716\
                     022100f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8";
        let signature = key.sign(b"sample");
        assert_eq!(HEXLOWER.encode(&signature), known);
        let written = key.text().expect("a text");
        let read = std::str::from_utf8(written.expose()).expect("text");
        assert_eq!(CosignKey::read(read).expect("a key").public(), key.public());
        let public = CosignPublic::read(&key.public().text()).expect("a public key");
        assert_eq!(public, key.public());
        assert!(public.verify(b"sample", &signature));
        assert!(!public.verify(b"Sample", &signature));
        for place in 0..signature.len() {
            let mut changed = signature.clone();
            changed[place] ^= 1;
            assert!(!public.verify(b"sample", &changed), "changed at {place}");
            assert!(!public.verify(b"sample", &signature[..place]), "cut at {place}");
        }
        assert!(!super::tests::key(7).public().verify(b"sample", &signature));
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let other = "-----BEGIN PRIVATE KEY-----\n\
            MC4CAQAwBQYDK2VwBCIEIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f\n\
            -----END PRIVATE KEY-----\n";
        for end in 0..RFC_6979.len() - 30 {
            assert!(CosignKey::read(RFC_6979.split_at(end).0).is_err(), "cut at {end}");
        }
        assert!(CosignKey::read(other).is_err(), "Ed25519");
        let public = key(1).public().text();
        for end in 0..public.len() - 30 {
            assert!(CosignPublic::read(public.split_at(end).0).is_err(), "cut at {end}");
        }
        assert!(CosignKey::read(&public).is_err() && CosignPublic::read(RFC_6979).is_err());
        let shown = format!("{:?}", key(1));
        assert_eq!(shown, "CosignKey { .. }");
    }
}
