//! Why a registry, its token server or its signer gave no answer, or none that helps.

use axum::http::StatusCode;
use axum::http::header::RETRY_AFTER;

use super::line::{Answered, BadLine};
use crate::proto::challenge::BadChallenge;
use crate::proto::listed::{self, BadListing};
use crate::proto::place::BadPlace;
use crate::rules::image::Digest;
use crate::rules::login::Host;
use crate::rules::shown;

/// Why it didn't come to an answer.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// Nothing was heard, or what no HTTP is.
    #[error("cannot reach {0}: {1}")]
    Line(Host, BadLine),
    /// What it wants to be shown.
    #[error("the registry {0} answers, but {1}")]
    Challenge(Host, BadChallenge),
    /// Tokens would be asked for without TLS.
    #[error("the registry {0} sends one for a token to {1}, without TLS")]
    PlainRealm(Host, Host),
    /// It has no token server.
    #[error("the registry {0} takes {1}, and no tokens")]
    NoTokens(Host, &'static str),
    /// Name or password.
    #[error("{0} gives no token: {1}")]
    Unauthorized(Host, String),
    /// Not allowed.
    #[error("the registry {0} refuses: {1}")]
    Denied(Host, String),
    /// Not there.
    #[error("the registry {0} doesn't know that: {1}")]
    Unknown(Host, String),
    /// A redirect.
    #[error("{0} sends elsewhere (status {1}), which is not followed")]
    Redirect(Host, u16),
    /// It asks for patience.
    #[error("{0} is asked too often{1}")]
    TooOften(Host, String),
    /// The old password, or whoever asks.
    #[error("{0} changes no password: {1}")]
    NotChanged(Host, String),
    /// Nobody changes a password there.
    #[error("at {0} people can't change their passwords")]
    NoChanges(Host),
    /// It was sent, and no answer says what came of it.
    #[error("the password may have been changed: {0}: {1}")]
    Unsure(Host, String),
    /// A signer, and why.
    #[error("the signer {0} signs nothing: {2}")]
    NotSigned(Host, StatusCode, String),
    /// A signer wants a token of somebody that the registry doesn't name.
    #[error("the signer {0} sends one for a token to {1}, which the registry doesn't")]
    OtherRealm(Host, Host),
    /// Anything else.
    #[error("{0} answers with status {1}: {2}")]
    Status(Host, u16, String),
    /// The body.
    #[error("what {0} answers is not taken: {1}")]
    Listing(Host, BadListing),
    /// Other bytes than those of that digest.
    #[error("what {0} answers is not {1}")]
    Mismatch(Host, Digest),
    /// Its answer to an upload names no place there.
    #[error("the registry {0} sends an upload elsewhere, or nowhere")]
    Upload(Host),
    /// The list has no end.
    #[error("the list of {0} doesn't end")]
    Endless(Host),
    /// What is asked for is too long for an address.
    #[error("that can't be asked for: {0}")]
    Place(BadPlace),
    /// Whoever takes the names takes no more.
    #[error("it was stopped")]
    Stopped,
}

impl RemoteError {
    /// Whether it was asked, and said no; else nobody knows.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::NoTokens(..)
                | Self::Unauthorized(..)
                | Self::Denied(..)
                | Self::Unknown(..)
                | Self::PlainRealm(..)
                | Self::NotChanged(..)
                | Self::NoChanges(..)
                | Self::OtherRealm(..)
        ) || matches!(self, Self::NotSigned(_, status, _) if status.is_client_error()
            && *status != StatusCode::TOO_MANY_REQUESTS)
    }
}

/// What an answer that is no success says.
pub(super) fn other(host: &Host, answer: &Answered) -> RemoteError {
    let (host, status) = (host.clone(), answer.status);
    let said = || listed::said(&answer.body).unwrap_or_else(|| "it says nothing more".to_owned());
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => RemoteError::Denied(host, said()),
        StatusCode::NOT_FOUND => RemoteError::Unknown(host, said()),
        StatusCode::TOO_MANY_REQUESTS => {
            let after = answer.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
            let after = after.map(|text| format!("; again after {} s", shown(text)));
            RemoteError::TooOften(host, after.unwrap_or_default())
        }
        _ if status.is_redirection() => RemoteError::Redirect(host, status.as_u16()),
        _ => RemoteError::Status(host, status.as_u16(), said()),
    }
}
