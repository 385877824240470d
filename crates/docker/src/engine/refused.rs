//! What is answered where something is not done: the engine's statuses, texts and shapes.

use hyper::StatusCode;
use skep_client::CallError;
use skep_core::base::{Exit, Failure};

use super::{API, API_LEAST, Version};

/// Why a request came to nothing. It never holds a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// No path of this socket.
    NotServed,
    /// A version of the API that is newer than any known here.
    TooNew(Version),
    /// A version from before there were secrets.
    TooOld(Version),
    /// No filter of secrets.
    BadFilter(String),
    /// An update without a version.
    BadVersion,
    /// No JSON, or of another shape.
    Json(String),
    /// A request without a body, or one that does not end.
    NoBody,
    /// A body of more bytes than any secret makes.
    TooLarge,
    /// Data that is no base64, from this byte on.
    Base64(usize),
    /// There is no such secret, or what was asked for names none.
    NoSuch(Option<String>),
    /// Several ids begin so.
    Ambiguous(String, usize),
    /// The engine's text of an argument that it refuses.
    Invalid(String),
    /// There is one of that name.
    Exists(String),
    /// It was changed since it was looked at.
    OutOfSequence,
    /// No manager, or no leader: nothing was done.
    Away(String),
    /// It is not known whether it was done, or why not.
    Failed(String),
}

/// What the socket is, for those who take it for an engine.
const NOT_SERVED: &str = "this socket is Skep's and has no containers: it serves /_ping, \
                          /version, /info and /secrets; `docker context use default` goes back to \
                          the engine";

impl Refused {
    /// What a JSON reader says, without what it read.
    pub(super) fn json(error: &serde_json::Error) -> Self {
        if error.is_eof() {
            return Self::Json("unexpected EOF".to_owned());
        }
        let (line, column) = (error.line(), error.column());
        let what = if error.is_data() { "of another shape" } else { "not JSON" };
        Self::Json(format!("what was sent is {what}: line {line}, column {column}"))
    }

    /// What a call to the managers came to; `what` was asked for.
    pub(crate) fn call(error: &CallError, what: &str) -> Self {
        match error {
            CallError::NotFound { .. } | CallError::NotExact { .. } => {
                Self::NoSuch(Some(what.to_owned()))
            }
            CallError::Ambiguous { what, matches, .. } => Self::Ambiguous(what.clone(), *matches),
            CallError::Answered(failure) => Self::answered(failure, what),
            _ => match error.exit() {
                Exit::Unreachable | Exit::Locked => Self::Away(one_line(&error.failure())),
                _ => Self::Failed(one_line(&error.failure())),
            },
        }
    }

    /// A manager's texts are the engine's own where it has one for the case.
    fn answered(failure: &Failure, what: &str) -> Self {
        let text = &failure.text;
        match failure.exit {
            Exit::Refused if text.ends_with(" already exists") => Self::Exists(text.clone()),
            Exit::Refused if text.ends_with(" not found") => Self::NoSuch(Some(what.to_owned())),
            Exit::Refused if text.contains(" is in use by the following service") => {
                Self::Invalid(text.clone())
            }
            Exit::Refused | Exit::Usage => Self::Invalid(one_line(failure)),
            Exit::Unreachable | Exit::Locked => Self::Away(one_line(failure)),
            _ => Self::Failed(one_line(failure)),
        }
    }

    /// The status.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::NotServed => StatusCode::NOT_IMPLEMENTED,
            Self::NoSuch(_) => StatusCode::NOT_FOUND,
            Self::Exists(_) => StatusCode::CONFLICT,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Away(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::OutOfSequence | Self::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::TooNew(_)
            | Self::TooOld(_)
            | Self::BadFilter(_)
            | Self::BadVersion
            | Self::Json(_)
            | Self::NoBody
            | Self::Base64(_)
            | Self::Ambiguous(..)
            | Self::Invalid(_) => StatusCode::BAD_REQUEST,
        }
    }

    /// What the client shows.
    pub(crate) fn message(&self) -> String {
        let rpc = |code: &str, text: &str| format!("rpc error: code = {code} desc = {text}");
        match self {
            Self::NotServed => NOT_SERVED.to_owned(),
            Self::TooNew(version) => format!(
                "client version {version} is too new. Maximum supported API version is {API}"
            ),
            Self::TooOld(version) => format!(
                "client version {version} is too old. Minimum supported API version is \
                 {API_LEAST}, please upgrade your client to a newer version"
            ),
            Self::BadFilter(name) => format!("Invalid filter '{name}'"),
            Self::BadVersion => "invalid secret version".to_owned(),
            Self::Json(text) | Self::Away(text) | Self::Failed(text) => text.clone(),
            Self::NoBody => "got EOF while reading request body".to_owned(),
            Self::TooLarge => "the request is larger than any secret".to_owned(),
            Self::Base64(place) => format!("illegal base64 data at input byte {place}"),
            Self::NoSuch(None) => "secret not found".to_owned(),
            Self::NoSuch(Some(what)) => format!("secret {what} not found"),
            Self::Ambiguous(what, matches) => {
                format!("secret {what} is ambiguous ({matches} matches found)")
            }
            Self::Invalid(text) => rpc("InvalidArgument", text),
            Self::Exists(text) => rpc("AlreadyExists", text),
            Self::OutOfSequence => rpc("Unknown", "update out of sequence"),
        }
    }
}

/// What is wrong and what to do, for those who show one line.
fn one_line(failure: &Failure) -> String {
    match &failure.hint {
        Some(hint) => format!("{} (hint: {hint})", failure.text),
        None => failure.text.clone(),
    }
}
