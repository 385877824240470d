//! What a signer is asked and what it answers, in JSON (docs/registry/signing.md).

use std::collections::BTreeMap;

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::rules::image::{Digest, is_of_digest, is_tag};
use crate::rules::scope::is_repository;

/// Annotations of one request, and bytes of a value.
const ANNOTATIONS: usize = 16;
const VALUE_BYTES: usize = 256;
/// Bytes of a key's name and a form's in an answer: those of a file's name.
const WORD_BYTES: usize = 255;

/// What is to be signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignAsked {
    /// The repository.
    pub repository: String,
    /// The tag.
    pub tag: String,
    /// What the tag must be at.
    pub digest: Digest,
    /// What is to be said beside.
    pub annotations: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Shape {
    repository: String,
    tag: String,
    digest: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
}

impl SignAsked {
    /// Reads a request's body.
    ///
    /// # Errors
    /// `Invalid`, with what is wrong.
    pub fn read(body: &[u8]) -> Result<Self, SignRefused> {
        let invalid = |text: &str| SignRefused::Invalid(text.to_owned());
        let shape: Shape = serde_json::from_slice(body).map_err(|error| {
            let at = format!("line {}, column {}", error.line(), error.column());
            SignRefused::Invalid(format!("the body is no request to sign: {at}"))
        })?;
        if !is_repository(&shape.repository) {
            return Err(invalid("the repository is none, for example team/app"));
        }
        // Signatures are kept below these tags: one that is signed itself would be taken for one.
        if !is_tag(&shape.tag) || is_of_digest(&shape.tag) {
            return Err(invalid("the tag is none that can be signed"));
        }
        let digest = shape.digest.parse().map_err(|_| invalid("the digest is no sha256:HEX"))?;
        annotations(&shape.annotations).map_err(invalid)?;
        let Shape { repository, tag, annotations, .. } = shape;
        Ok(Self { repository, tag, digest, annotations })
    }

    /// The body of a request.
    #[must_use]
    pub fn body(&self) -> Vec<u8> {
        let shape = Shape {
            repository: self.repository.clone(),
            tag: self.tag.clone(),
            digest: self.digest.to_string(),
            annotations: self.annotations.clone(),
        };
        serde_json::to_vec(&shape).unwrap_or_default()
    }

    /// The scope that a token must give.
    #[must_use]
    pub fn scope(&self) -> String {
        format!("repository:{}:sign", self.repository)
    }
}

/// Whether annotations can be said.
///
/// # Errors
/// What is wrong with them.
pub fn annotations(all: &BTreeMap<String, String>) -> Result<(), &'static str> {
    let value = |text: &String| text.len() <= VALUE_BYTES && !text.contains(char::is_control);
    if all.len() > ANNOTATIONS {
        return Err("there are more than 16 annotations");
    }
    if all.values().all(value) {
        Ok(())
    } else {
        Err("an annotation is one line of at most 256 bytes")
    }
}

/// One signature that stands in the registry now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Made {
    /// Which key made it.
    pub key: String,
    /// Where it is: `cosign`, `bundle` or `openpgp`.
    pub form: String,
    /// Of what.
    pub digest: String,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignAnswer {
    /// What was signed, as signatures name it: HOST/REPOSITORY:TAG.
    pub reference: String,
    /// Its digest.
    pub digest: String,
    /// The signatures.
    pub signatures: Vec<Made>,
}

impl SignAnswer {
    /// Reads an answer's body, of which nothing is believed: what is no name of a key, a form or
    /// a digest is no answer.
    #[must_use]
    pub fn read(body: &[u8]) -> Option<Self> {
        let read: Self = serde_json::from_slice(body).ok()?;
        let word = |text: &str| {
            let sound = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
            (1..=WORD_BYTES).contains(&text.len()) && text.bytes().all(sound)
        };
        let sound = |made: &Made| {
            word(&made.key) && word(&made.form) && made.digest.parse::<Digest>().is_ok()
        };
        (!read.signatures.is_empty() && read.signatures.iter().all(sound)).then_some(read)
    }
}

/// Why nothing was signed. Neither holds anything of a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignRefused {
    /// The request.
    #[error("{0}")]
    Invalid(String),
    /// No token, or one that isn't taken.
    #[error("{0}")]
    Unauthorized(String),
    /// A token without this action.
    #[error("the token doesn't give the action sign in {0}")]
    Denied(String),
    /// No such tag.
    #[error("the registry has no {0}")]
    NoSuchImage(String),
    /// Another path.
    #[error("it is asked for at /v1/sign, /sigstore/ and /health")]
    NoSuchPath,
    /// Another method.
    #[error("POST, and GET below /sigstore/")]
    NoSuchMethod,
    /// The tag is at another digest.
    #[error("the tag is at {0} now")]
    Moved(Digest),
    /// The request is too large.
    #[error("a request has 16 KiB at most")]
    TooLarge,
    /// What is there can't be signed.
    #[error("{0}")]
    Unsignable(String),
    /// Too many at once.
    #[error("too much is being signed at the moment")]
    SlowDown,
    /// The registry or the token server.
    #[error("{0}")]
    Upstream(String),
    /// Here: which file, and why.
    #[error("{0}")]
    Unavailable(String),
}

impl SignRefused {
    /// The status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Invalid(_) => StatusCode::BAD_REQUEST,
            Self::Unauthorized(_) => StatusCode::UNAUTHORIZED,
            Self::Denied(_) => StatusCode::FORBIDDEN,
            Self::NoSuchImage(_) | Self::NoSuchPath => StatusCode::NOT_FOUND,
            Self::NoSuchMethod => StatusCode::METHOD_NOT_ALLOWED,
            Self::Moved(_) => StatusCode::CONFLICT,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Unsignable(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::SlowDown => StatusCode::TOO_MANY_REQUESTS,
            Self::Upstream(_) => StatusCode::BAD_GATEWAY,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "INVALID",
            Self::Unauthorized(_) => "UNAUTHORIZED",
            Self::Denied(_) => "DENIED",
            Self::NoSuchImage(_) => "MANIFEST_UNKNOWN",
            Self::NoSuchPath | Self::NoSuchMethod | Self::TooLarge => "UNSUPPORTED",
            Self::Moved(_) => "CONFLICT",
            Self::Unsignable(_) => "MANIFEST_INVALID",
            Self::SlowDown => "TOOMANYREQUESTS",
            Self::Upstream(_) | Self::Unavailable(_) => "UNAVAILABLE",
        }
    }

    /// The body, in the distribution project's shape.
    #[must_use]
    pub fn body(&self) -> Vec<u8> {
        let text = self.to_string();
        let one = json!({ "errors": [{ "code": self.code(), "message": text }] });
        one.to_string().into_bytes()
    }

    /// The headers beside those of every answer. Where a token is wanted, `realm` gives it, for
    /// `service` and `scope`; all three stand for themselves between quotes.
    #[must_use]
    pub fn headers(&self, realm: &str, service: &str, scope: Option<&str>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        match self {
            Self::Unauthorized(_) => {
                let scope = scope.map(|scope| format!(",scope=\"{scope}\"")).unwrap_or_default();
                let wanted = format!("Bearer realm=\"{realm}\",service=\"{service}\"{scope}");
                headers.extend(
                    HeaderValue::from_str(&wanted).map(|value| (header::WWW_AUTHENTICATE, value)),
                );
            }
            Self::SlowDown | Self::Unavailable(_) => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from(5));
            }
            _ => {}
        }
        headers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_names_tag_and_digest() {
        let digest = Digest::of(b"x");
        let asked = SignAsked {
            repository: "team/app".into(),
            tag: "1.0".into(),
            digest,
            annotations: [("commit".to_owned(), "abc".to_owned())].into(),
        };
        assert_eq!(SignAsked::read(&asked.body()), Ok(asked.clone()));
        assert_eq!(asked.scope(), "repository:team/app:sign");
        let with = |key: &str, value: serde_json::Value| {
            let mut body: serde_json::Value = serde_json::from_slice(&asked.body()).unwrap();
            body[key] = value;
            SignAsked::read(body.to_string().as_bytes()).unwrap_err()
        };
        let many: BTreeMap<String, String> =
            (0..17).map(|n| (n.to_string(), String::new())).collect();
        for (key, value, said) in [
            ("repository", json!("Team/App"), "the repository is none, for example team/app"),
            ("repository", json!("../x"), "the repository is none, for example team/app"),
            ("tag", json!("a b"), "the tag is none that can be signed"),
            ("tag", json!(digest.tag(".sig")), "the tag is none that can be signed"),
            ("digest", json!("sha512:00"), "the digest is no sha256:HEX"),
            ("annotations", json!(many), "there are more than 16 annotations"),
            (
                "annotations",
                json!({ "a": "x\ny" }),
                "an annotation is one line of at most 256 bytes",
            ),
        ] {
            assert_eq!(with(key, value), SignRefused::Invalid(said.to_owned()), "{key}");
        }
        for body in ["", "[]", "{}", "{\"repository\":1}"] {
            let refused = SignAsked::read(body.as_bytes()).unwrap_err();
            assert!(refused.to_string().starts_with("the body is no request to sign"), "{body}");
        }
        assert!(with("more", json!(1)).to_string().starts_with("the body is no request"));
    }

    #[test]
    fn an_answer_is_read_where_its_words_are_sound() {
        let digest = Digest::of(b"x").to_string();
        let body = |key: &str, digest: &str| {
            let made = Made { key: key.into(), form: "cosign".into(), digest: digest.into() };
            let answer = SignAnswer {
                reference: "r.example/a:1".into(),
                digest: digest.into(),
                signatures: vec![made],
            };
            serde_json::to_vec(&answer).unwrap()
        };
        assert_eq!(SignAnswer::read(&body("k-1", &digest)).unwrap().signatures[0].key, "k-1");
        let none = json!({ "reference": "r", "digest": digest, "signatures": [] }).to_string();
        for bad in [
            body("", &digest),
            body("a b", &digest),
            body("\u{1b}[2J", &digest),
            body(&"k".repeat(256), &digest),
            body("k", "sha256:1"),
            none.into_bytes(),
            b"{}".to_vec(),
            b"<html>".to_vec(),
        ] {
            assert_eq!(SignAnswer::read(&bad), None, "{}", String::from_utf8_lossy(&bad));
        }
    }

    #[test]
    fn refusals_have_the_shape_that_registries_clients_read() {
        let refused = SignRefused::Unauthorized("no token is shown".into());
        let body: serde_json::Value = serde_json::from_slice(&refused.body()).unwrap();
        assert_eq!(body["errors"][0]["code"], "UNAUTHORIZED");
        let headers = refused.headers("https://a/auth", "web.sign", Some("repository:a:sign"));
        let wanted =
            "Bearer realm=\"https://a/auth\",service=\"web.sign\",scope=\"repository:a:sign\"";
        assert_eq!(headers[header::WWW_AUTHENTICATE], wanted);
        assert_eq!(SignRefused::SlowDown.headers("", "", None)[header::RETRY_AFTER], "5");
    }
}
