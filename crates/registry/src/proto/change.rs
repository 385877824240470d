//! A request of somebody who changes the own password: Basic with the old one, the new one as a
//! form in the body.

use axum::http::{HeaderMap, StatusCode, header};
use serde::Deserialize;
use serde_json::json;
use zeroize::Zeroizing;

use super::answer::Refused;
use super::form::{field, parameters};
use super::request::{How, basic, is_form};
use crate::rules::password::unfit;

/// What a body has, and nothing else.
const NEW: &str = "new_password";
/// Nodes that are named.
const NODES: usize = 16;
/// What a browser says for a page, whose forms would carry the passwords that it remembers.
const OF_A_PAGE: [&str; 2] = ["origin", "sec-fetch-site"];

/// One request that reads.
pub struct Change {
    /// As it was sent.
    pub account: String,
    /// As it was sent.
    pub password: Zeroizing<Vec<u8>>,
    /// What is to take its place.
    pub next: Zeroizing<Vec<u8>>,
}

// By hand: the passwords stay out.
impl std::fmt::Debug for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Change({:?})", self.account)
    }
}

/// The body that asks for this password.
#[must_use]
pub fn asked_for(next: &str) -> Zeroizing<String> {
    field(NEW, next)
}

impl Change {
    /// Reads one.
    ///
    /// # Errors
    /// Where anything in it doesn't read, or a password is none.
    pub fn read(query: &str, headers: &HeaderMap, body: &[u8]) -> Result<Self, Refused> {
        if OF_A_PAGE.iter().any(|name| headers.contains_key(*name)) {
            return Err(Refused::invalid("no page of a browser changes a password"));
        }
        if !query.is_empty() {
            return Err(Refused::invalid("passwords go into the body"));
        }
        if !is_form(headers) {
            return Err(Refused::invalid("a body is a form"));
        }
        let all = parameters(body).ok_or_else(|| Refused::invalid("the form doesn't read"))?;
        let [(name, next)] = all.as_slice() else {
            return Err(Refused::invalid("the form has `new_password` alone"));
        };
        if name != NEW {
            return Err(Refused::invalid("the form has `new_password` alone"));
        }
        let next = Zeroizing::new(next.as_bytes().to_vec());
        if let Some(why) = unfit(&next) {
            return Err(Refused::invalid(why));
        }
        if !headers.contains_key(header::AUTHORIZATION) {
            return Err(Refused::Unauthorized);
        }
        let How::Password { account, password } = basic(headers, None)? else {
            return Err(Refused::Unauthorized);
        };
        if *password == *next {
            return Err(Refused::invalid("the new password is the old one"));
        }
        Ok(Self { account, password, next })
    }
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    /// Every token server decides by the new one.
    Everywhere,
    /// It is written, and on its way; these nodes had not got it, as far as it is known.
    Waiting(Vec<String>),
}

impl Changed {
    /// The status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Everywhere => StatusCode::NO_CONTENT,
            Self::Waiting(_) => StatusCode::ACCEPTED,
        }
    }

    /// The body.
    #[must_use]
    pub fn body(&self) -> Vec<u8> {
        match self {
            Self::Everywhere => Vec::new(),
            Self::Waiting(nodes) => json!({ "waiting_for": nodes }).to_string().into_bytes(),
        }
    }

    /// What a token server answered; nothing where it is none of it.
    #[must_use]
    pub fn read(status: StatusCode, body: &[u8]) -> Option<Self> {
        match status {
            StatusCode::NO_CONTENT => Some(Self::Everywhere),
            StatusCode::ACCEPTED => {
                let waiting = serde_json::from_slice::<WaitingShape>(body).ok()?;
                // The rest is of no more use to anybody.
                let names = waiting.waiting_for.into_iter().take(NODES);
                Some(Self::Waiting(names.collect()))
            }
            _ => None,
        }
    }
}

#[derive(Deserialize)]
struct WaitingShape {
    waiting_for: Vec<String>,
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};
    use data_encoding::BASE64;

    use super::*;

    fn read(query: &str, more: &[(&'static str, &str)], body: &str) -> Result<Change, u16> {
        let mut headers = HeaderMap::new();
        let basic = format!("Basic {}", BASE64.encode(b"alice:correct horse"));
        let form = "application/x-www-form-urlencoded";
        for (name, value) in
            [("authorization", basic.as_str()), ("content-type", form)].iter().chain(more)
        {
            let value = HeaderValue::from_str(value).unwrap();
            headers.insert(HeaderName::from_static(name), value);
        }
        let read = Change::read(query, &headers, body.as_bytes());
        read.map_err(|refused| refused.status().as_u16())
    }

    #[test]
    fn the_old_one_and_a_new_one() {
        let change = read("", &[], "new_password=battery+staple%21").unwrap();
        assert_eq!(change.account, "alice");
        assert_eq!(change.password.as_slice(), b"correct horse");
        assert_eq!(change.next.as_slice(), b"battery staple!");
        assert_eq!(format!("{change:?}"), "Change(\"alice\")");
    }

    #[test]
    fn what_is_asked_for_is_read() {
        for next in ["battery staple", "pässwört&=%+", "<\"'\\~?#/:@>"] {
            let change = read("", &[], &asked_for(next)).unwrap();
            assert_eq!(change.next.as_slice(), next.as_bytes());
        }
    }

    #[test]
    fn what_came_of_it_is_told_and_read() {
        let two = Changed::Waiting(vec!["node-1".into(), "node-2".into()]);
        for changed in [Changed::Everywhere, Changed::Waiting(Vec::new()), two] {
            assert_eq!(Changed::read(changed.status(), &changed.body()), Some(changed));
        }
        let many = Changed::Waiting(vec!["n".into(); NODES + 1]);
        let told = Changed::read(many.status(), &many.body());
        assert!(matches!(told, Some(Changed::Waiting(nodes)) if nodes.len() == NODES));
        for (status, body) in [(200, "{}"), (202, ""), (202, "{}"), (202, "[1]"), (404, "")] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(Changed::read(status, body.as_bytes()), None, "{status} {body}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        let good = "new_password=battery+staple";
        for (query, more, body, status) in [
            ("x=1", &[][..], good, 400),
            ("", &[("content-type", "application/json")], good, 400),
            ("", &[("origin", "https://evil.example")], good, 400),
            ("", &[("sec-fetch-site", "cross-site")], good, 400),
            ("", &[], "", 400),
            ("", &[], "new_password=short", 400),
            ("", &[], "new_password=two%0alines+of+it", 400),
            ("", &[], "new_password=battery+staple&new_password=battery+staple", 400),
            ("", &[], "new_password=battery+staple&user=bob", 400),
            ("", &[], "password=battery+staple", 400),
            ("", &[], "new_password=correct+horse", 400),
            ("", &[("authorization", "Bearer x")], good, 400),
        ] {
            assert_eq!(read(query, more, body).unwrap_err(), status, "{query} {more:?} {body}");
        }
        let mut headers = HeaderMap::new();
        let form = HeaderValue::from_static("application/x-www-form-urlencoded");
        headers.insert("content-type", form);
        let refused = Change::read("", &headers, good.as_bytes()).unwrap_err();
        assert_eq!(refused, Refused::Unauthorized);
    }
}
