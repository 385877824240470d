//! Access tokens as others show them: verified by the one leaf that a service was granted, never
//! by what stands in the token (docs/registry/keys.md, 5).

use axum::http::{HeaderMap, header};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde::Deserialize;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// Bytes of a token.
const TOKEN_BYTES: usize = 16 * 1024;
/// Seconds by which clocks may differ, as registries have it.
const LEEWAY_S: u64 = 60;
/// Bytes of an uncompressed point on P-256.
const POINT: usize = 65;

/// Why a token is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadBearer {
    /// No header, or another scheme.
    #[error("no token is shown")]
    Absent,
    /// It doesn't read, another key signed it, or it is for somebody else.
    #[error("the token is not from this registry's token server, or not for this service")]
    Invalid,
    /// It ended, or begins later.
    #[error("the token is not good at this time")]
    Time,
}

/// The public key of a leaf that signs tokens.
pub struct Verifier {
    key: DecodingKey,
    /// Seconds since 1970 between which the leaf is good.
    from_s: u64,
    until_s: u64,
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verifier").field("until_s", &self.until_s).finish_non_exhaustive()
    }
}

/// For whom a token is to be.
#[derive(Clone, Copy, Debug)]
pub struct Audience<'a> {
    /// Who gave it.
    pub issuer: &'a str,
    /// For which services.
    pub services: &'a [String],
    /// Seconds since 1970.
    pub now_s: u64,
}

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Access {
    /// The account.
    #[serde(rename = "sub")]
    pub account: String,
    /// The token's name.
    pub jti: String,
    /// Id and generation of the credential; nobody without a name has one.
    pub cred: Option<String>,
    exp: u64,
    nbf: u64,
    #[serde(rename = "access")]
    granted: Vec<Granted>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct Granted {
    #[serde(rename = "type")]
    kind: String,
    class: Option<String>,
    name: String,
    actions: Vec<String>,
}

impl Access {
    /// Whether it gives this action in that repository.
    #[must_use]
    pub fn allows(&self, repository: &str, action: &str) -> bool {
        self.granted.iter().any(|granted| {
            granted.kind == "repository"
                && granted.class.is_none()
                && granted.name == repository
                && granted.actions.iter().any(|given| given == action)
        })
    }
}

impl Verifier {
    /// Reads `signer.crt`, of which the first certificate counts.
    #[must_use]
    pub fn read(chain: &[u8]) -> Option<Self> {
        Self::of(&CertificateDer::from_pem_slice(chain).ok()?)
    }

    /// Reads a leaf in DER.
    #[must_use]
    pub fn of(leaf: &[u8]) -> Option<Self> {
        let (_, leaf) = X509Certificate::from_der(leaf).ok()?;
        let point = leaf.public_key().subject_public_key.data.as_ref();
        let seconds = |time: x509_parser::time::ASN1Time| u64::try_from(time.timestamp());
        let validity = leaf.validity();
        (point.len() == POINT).then_some(())?;
        Some(Self {
            key: DecodingKey::from_ec_der(point),
            from_s: seconds(validity.not_before).unwrap_or(0),
            until_s: seconds(validity.not_after).ok()?,
        })
    }

    /// Reads the token of a request's head.
    ///
    /// # Errors
    /// [`BadBearer`].
    pub fn verify(&self, headers: &HeaderMap, to: Audience<'_>) -> Result<Access, BadBearer> {
        let token = shown(headers)?;
        let mut validation = Validation::new(Algorithm::ES256);
        validation.set_audience(to.services);
        validation.set_issuer(&[to.issuer]);
        validation.set_required_spec_claims(&["exp", "nbf", "aud", "iss", "sub"]);
        // Times are looked at here, by a clock that is given.
        (validation.validate_exp, validation.validate_nbf) = (false, false);
        let read = jsonwebtoken::decode::<Access>(token, &self.key, &validation);
        let access = read.map_err(|_| BadBearer::Invalid)?.claims;
        let good = access.nbf <= to.now_s.saturating_add(LEEWAY_S)
            && to.now_s < access.exp.saturating_add(LEEWAY_S)
            && (self.from_s..=self.until_s).contains(&to.now_s);
        if good { Ok(access) } else { Err(BadBearer::Time) }
    }
}

/// The text behind `Bearer`, of the one header that there may be.
///
/// # Errors
/// There is none.
pub fn shown(headers: &HeaderMap) -> Result<&str, BadBearer> {
    let mut lines = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else { return Err(BadBearer::Absent) };
    let line = line.to_str().map_err(|_| BadBearer::Absent)?;
    let (scheme, token) = line.split_once(' ').ok_or(BadBearer::Absent)?;
    let fits = scheme.eq_ignore_ascii_case("bearer") && (1..=TOKEN_BYTES).contains(&token.len());
    if fits { Ok(token) } else { Err(BadBearer::Absent) }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use rcgen::{CertificateParams, KeyPair};
    use time::OffsetDateTime;

    use super::*;
    use crate::proto::token::{Claims, Signer};
    use crate::rules::Scope;

    fn pair() -> (String, String) {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.not_before = OffsetDateTime::from_unix_timestamp(1_000).unwrap();
        params.not_after = OffsetDateTime::from_unix_timestamp(10_000).unwrap();
        (key.serialize_pem(), params.self_signed(&key).unwrap().pem())
    }

    fn headers(line: &str) -> HeaderMap {
        let value = HeaderValue::from_str(line).unwrap();
        HeaderMap::from_iter([(header::AUTHORIZATION, value)])
    }

    #[test]
    fn a_token_counts_where_its_leaf_is_known_and_it_is_for_this_service() {
        let (key, chain) = pair();
        let signer = Signer::read(key.as_bytes(), chain.as_bytes()).unwrap();
        let granted = ["repository:a/b:pull,sign", "repository(plugin):c:sign"]
            .map(|text| Scope::parse(text).unwrap());
        let claims = Claims {
            issuer: "i",
            subject: "ci",
            service: "web.sign",
            issued_s: 2_000,
            life_s: 300,
            jti: "00",
            credential: Some("a.b"),
            granted: &granted,
        };
        let token = signer.sign(&claims).unwrap().token;
        let (services, others) = (["web.sign".to_owned()], ["web".to_owned()]);
        let to = Audience { issuer: "i", services: &services, now_s: 2_100 };
        let verifier = Verifier::read(chain.as_bytes()).unwrap();
        let line = format!("Bearer {token}");
        let access = verifier.verify(&headers(&line), to).unwrap();
        assert_eq!((access.account.as_str(), access.cred.as_deref()), ("ci", Some("a.b")));
        assert!(access.allows("a/b", "sign") && access.allows("a/b", "pull"));
        for (repository, action) in [("a/b", "push"), ("a", "sign"), ("c", "sign"), ("", "sign")] {
            assert!(!access.allows(repository, action), "{repository} {action}");
        }
        for (to, bad) in [
            (Audience { issuer: "j", ..to }, BadBearer::Invalid),
            (Audience { services: &others, ..to }, BadBearer::Invalid),
            (Audience { now_s: 2_360, ..to }, BadBearer::Time),
            (Audience { now_s: 1_900, ..to }, BadBearer::Time),
        ] {
            assert_eq!(verifier.verify(&headers(&line), to), Err(bad), "{to:?}");
        }
        let other = Verifier::read(pair().1.as_bytes()).unwrap();
        assert_eq!(other.verify(&headers(&line), to), Err(BadBearer::Invalid));
        for line in ["Basic eDp4", "Bearer", "Bearer ", "x"] {
            assert_eq!(verifier.verify(&headers(line), to), Err(BadBearer::Absent), "{line}");
        }
        let mut tampered = line.clone().into_bytes();
        if let Some(last) = tampered.last_mut() {
            *last ^= 1;
        }
        let tampered = String::from_utf8(tampered).unwrap();
        assert_eq!(verifier.verify(&headers(&tampered), to), Err(BadBearer::Invalid));
        let mut twice = headers(&line);
        twice.append(header::AUTHORIZATION, HeaderValue::from_str(&line).unwrap());
        assert_eq!(verifier.verify(&twice, to), Err(BadBearer::Absent));
    }
}
