//! Access tokens: ES256 with the signer's certificates in the header (docs/registry/keys.md, 5).

use data_encoding::{BASE32_NOPAD, BASE64};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::PublicKeyData as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::bearer::Verifier;
use crate::rules::scope::Scope;

/// Certificates of a chain: the leaf and what stands between it and the root.
const CHAIN: usize = 4;
/// Bytes of a token: what registries and proxies take in a header.
const TOKEN_BYTES: usize = 16 * 1024;

/// Why a signer's key and chain are not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSigner {
    /// The key.
    #[error("signer.key is no P-256 key (PKCS#8, PEM)")]
    Key,
    /// The chain.
    #[error("signer.crt is no chain of 1 to {CHAIN} certificates (PEM)")]
    Chain,
    /// They don't belong together.
    #[error("signer.key is not the key of signer.crt")]
    Pair,
    /// At this time.
    #[error("signer.crt is not good at this time")]
    Time,
    /// What is granted takes more than a token may have.
    #[error("more is granted than a token holds: ask for fewer scopes at once")]
    TooLarge,
    /// A bug, or a library's.
    #[error("signer.key does not sign")]
    Signs,
}

/// What signs.
pub struct Signer {
    key: EncodingKey,
    header: Header,
    /// Seconds since 1970 between which the leaf is good.
    from_s: u64,
    until_s: u64,
    verifier: Verifier,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer").field("until_s", &self.until_s).finish_non_exhaustive()
    }
}

/// What a token says.
#[derive(Debug)]
pub struct Claims<'c> {
    /// The issuer.
    pub issuer: &'c str,
    /// The account.
    pub subject: &'c str,
    /// The service.
    pub service: &'c str,
    /// Seconds since 1970: taken before anything was looked at.
    pub issued_s: u64,
    /// Seconds that it is to be good for.
    pub life_s: u64,
    /// A name of its own.
    pub jti: &'c str,
    /// The credential that was shown, if any.
    pub credential: Option<&'c str>,
    /// What was granted.
    pub granted: &'c [Scope],
}

/// A signed token, and how long it is good.
#[derive(Debug)]
pub struct Signed {
    /// The token.
    pub token: String,
    /// Seconds from its issue to its end.
    pub life_s: u64,
}

#[derive(Serialize)]
struct Body<'c> {
    iss: &'c str,
    sub: &'c str,
    aud: &'c str,
    exp: u64,
    nbf: u64,
    iat: u64,
    jti: &'c str,
    access: Vec<Access<'c>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cred: Option<&'c str>,
}

#[derive(Serialize)]
struct Access<'c> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    class: Option<&'static str>,
    name: &'c str,
    actions: Vec<&'static str>,
}

impl Signer {
    /// Reads `signer.key` and `signer.crt`, which must belong together.
    ///
    /// # Errors
    /// Where they don't, or one of them doesn't read.
    pub fn read(key: &[u8], chain: &[u8]) -> Result<Self, BadSigner> {
        let PrivateKeyDer::Pkcs8(key) =
            PrivateKeyDer::from_pem_slice(key).map_err(|_| BadSigner::Key)?
        else {
            return Err(BadSigner::Key);
        };
        let pair = rcgen::KeyPair::from_pkcs8_der_and_sign_algo(
            &PrivatePkcs8KeyDer::from(key.secret_pkcs8_der()),
            &rcgen::PKCS_ECDSA_P256_SHA256,
        );
        let public = pair.map_err(|_| BadSigner::Key)?.subject_public_key_info();
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain).collect();
        let chain = chain.map_err(|_| BadSigner::Chain)?;
        if chain.len() > CHAIN {
            return Err(BadSigner::Chain);
        }
        let read = |der| X509Certificate::from_der(der).map_err(|_| BadSigner::Chain);
        for certificate in &chain {
            if !read(certificate)?.0.is_empty() {
                return Err(BadSigner::Chain);
            }
        }
        let (_, leaf) = read(chain.first().ok_or(BadSigner::Chain)?)?;
        if leaf.tbs_certificate.subject_pki.raw != public {
            return Err(BadSigner::Pair);
        }
        let seconds = |time: x509_parser::time::ASN1Time| u64::try_from(time.timestamp());
        let validity = leaf.validity();
        let (from_s, until_s) = (seconds(validity.not_before), seconds(validity.not_after));
        let verifier = chain.first().and_then(|leaf| Verifier::of(leaf)).ok_or(BadSigner::Key)?;
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(key_id(&public));
        header.x5c = Some(chain.iter().map(|der| BASE64.encode(der)).collect());
        Ok(Self {
            key: EncodingKey::from_ec_der(key.secret_pkcs8_der()),
            header,
            from_s: from_s.unwrap_or(0),
            until_s: until_s.map_err(|_| BadSigner::Time)?,
            verifier,
        })
    }

    /// What verifies the tokens that this signs.
    #[must_use]
    pub fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    /// Signs. A token ends before the leaf does.
    ///
    /// # Errors
    /// Where the leaf is over, or not good yet.
    pub fn sign(&self, claims: &Claims<'_>) -> Result<Signed, BadSigner> {
        let iat = claims.issued_s;
        let exp = iat.saturating_add(claims.life_s).min(self.until_s.saturating_sub(1));
        if iat < self.from_s || exp <= iat {
            return Err(BadSigner::Time);
        }
        let access = claims.granted.iter().map(|scope| Access {
            kind: scope.kind().resource_type(),
            class: scope.kind().class(),
            name: scope.name(),
            actions: scope.asked().iter().map(crate::rules::Action::text).collect(),
        });
        let body = Body {
            iss: claims.issuer,
            sub: claims.subject,
            aud: claims.service,
            exp,
            nbf: iat,
            iat,
            jti: claims.jti,
            access: access.collect(),
            cred: claims.credential,
        };
        let token = jsonwebtoken::encode(&self.header, &body, &self.key);
        let token = token.map_err(|_| BadSigner::Signs)?;
        if token.len() > TOKEN_BYTES {
            return Err(BadSigner::TooLarge);
        }
        Ok(Signed { token, life_s: exp - iat })
    }
}

/// The libtrust id of a public key.
fn key_id(public: &[u8]) -> String {
    let digest = Sha256::digest(public);
    let text = BASE32_NOPAD.encode(digest.get(..30).unwrap_or_default());
    let groups = text.as_bytes().chunks(4).map(String::from_utf8_lossy);
    groups.collect::<Vec<_>>().join(":")
}

#[cfg(test)]
#[path = "token_tests.rs"]
mod tests;
