//! What clients are told, in both shapes that they read: OAuth 2's and the distribution
//! project's.

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Serialize;
use serde_json::json;

/// Why nobody gets a token. Neither holds anything that was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// What was asked for doesn't read.
    Invalid {
        /// OAuth 2's word.
        error: &'static str,
        /// For people.
        text: String,
    },
    /// Unknown name, wrong password, or a refresh token that is no good.
    Unauthorized,
    /// A token that is none of this server's, ended, or whose credential doesn't stand any more.
    Withdrawn,
    /// Another path.
    NoSuchPath,
    /// Another method.
    NoSuchMethod,
    /// Somebody else changed it in between.
    Conflict,
    /// More than a request may be.
    TooLarge,
    /// Later, after so many seconds.
    SlowDown(u64),
    /// Nobody gets any: which file, and why.
    Unavailable(String),
    /// Something was to be changed, and nobody knows whether it was.
    Unsure,
}

impl Refused {
    /// A request that doesn't read.
    #[must_use]
    pub fn invalid(text: impl Into<String>) -> Self {
        Self::Invalid { error: "invalid_request", text: text.into() }
    }

    /// The status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Invalid { .. } => StatusCode::BAD_REQUEST,
            Self::Unauthorized | Self::Withdrawn => StatusCode::UNAUTHORIZED,
            Self::NoSuchPath => StatusCode::NOT_FOUND,
            Self::NoSuchMethod => StatusCode::METHOD_NOT_ALLOWED,
            Self::Conflict => StatusCode::CONFLICT,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::SlowDown(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Unsure => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    fn words(&self) -> (&'static str, &'static str, &str) {
        match self {
            Self::Invalid { error, text } => (error, "INVALID", text),
            Self::Unauthorized => {
                ("invalid_grant", "UNAUTHORIZED", "the name or the password is wrong")
            }
            Self::Withdrawn => (
                "invalid_token",
                "UNAUTHORIZED",
                "the token is not good any more, or not from this token server",
            ),
            Self::NoSuchPath => {
                ("invalid_request", "UNSUPPORTED", "tokens are given at /auth and /token")
            }
            Self::NoSuchMethod => ("invalid_request", "UNSUPPORTED", "GET or POST"),
            Self::Conflict => {
                ("invalid_request", "DENIED", "the account was changed meanwhile: nothing was done")
            }
            Self::TooLarge => ("invalid_request", "UNSUPPORTED", "a request has 16 KiB at most"),
            Self::SlowDown(_) => {
                ("slow_down", "TOOMANYREQUESTS", "too many wrong passwords, or too many at once")
            }
            Self::Unavailable(text) => ("temporarily_unavailable", "UNAVAILABLE", text),
            Self::Unsure => (
                "temporarily_unavailable",
                "UNKNOWN",
                "it may have been changed: try both passwords",
            ),
        }
    }

    /// The body.
    #[must_use]
    pub fn body(&self) -> Vec<u8> {
        let (error, code, text) = self.words();
        let both = json!({
            "error": error,
            "error_description": text,
            "errors": [{ "code": code, "message": text }],
        });
        both.to_string().into_bytes()
    }

    /// The headers beside those of every answer.
    #[must_use]
    pub fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        match self {
            Self::Unauthorized => {
                let basic = HeaderValue::from_static("Basic realm=\"registry\", charset=\"UTF-8\"");
                headers.insert(header::WWW_AUTHENTICATE, basic);
            }
            Self::SlowDown(seconds) => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from(*seconds));
            }
            Self::Unavailable(_) => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from(5));
            }
            Self::NoSuchMethod => {
                headers.insert(header::ALLOW, HeaderValue::from_static("GET, POST"));
            }
            Self::Invalid { .. }
            | Self::Withdrawn
            | Self::NoSuchPath
            | Self::Conflict
            | Self::TooLarge
            | Self::Unsure => {}
        }
        headers
    }
}

/// A token and what is said of it.
#[derive(Clone, Serialize)]
pub struct Answer {
    /// The access token.
    pub token: String,
    /// The same by OAuth 2's name.
    pub access_token: String,
    /// Seconds that it is good for.
    pub expires_in: u64,
    /// RFC 3339.
    pub issued_at: String,
    /// What was granted.
    pub scope: String,
    /// Where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh_token: Option<String>,
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answer").field("scope", &self.scope).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_has_both_shapes() {
        for (refused, status, code) in [
            (Refused::invalid("x"), 400, "INVALID"),
            (Refused::Unauthorized, 401, "UNAUTHORIZED"),
            (Refused::Withdrawn, 401, "UNAUTHORIZED"),
            (Refused::NoSuchPath, 404, "UNSUPPORTED"),
            (Refused::NoSuchMethod, 405, "UNSUPPORTED"),
            (Refused::Conflict, 409, "DENIED"),
            (Refused::TooLarge, 413, "UNSUPPORTED"),
            (Refused::SlowDown(7), 429, "TOOMANYREQUESTS"),
            (Refused::Unavailable("acl.toml".into()), 503, "UNAVAILABLE"),
            (Refused::Unsure, 504, "UNKNOWN"),
        ] {
            assert_eq!(refused.status().as_u16(), status);
            let body: serde_json::Value = serde_json::from_slice(&refused.body()).unwrap();
            assert_eq!(body["errors"][0]["code"], code);
            assert_eq!(body["errors"][0]["message"], body["error_description"]);
            assert!(body["error"].is_string());
        }
        assert_eq!(Refused::SlowDown(7).headers()[header::RETRY_AFTER], "7");
    }
}
