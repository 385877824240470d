//! Addresses of the web, as registries write them: read strictly, for a password may go there.

use axum::http::Uri;

use crate::rules::login::Host;

/// Bytes of one.
const BYTES: usize = 2_048;
/// What separates the scheme from the rest.
const SECURE: &str = "https://";
const PLAIN: &str = "http://";

/// A host, whether TLS is spoken to it, and a path with its query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebPlace {
    /// Whether TLS is spoken there.
    pub tls: bool,
    /// Where it is.
    pub host: Host,
    /// Begins with a slash; a query is part of it.
    path: String,
}

/// It is no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is no address as https://HOST[:PORT]/PATH")]
pub struct BadPlace;

impl WebPlace {
    /// A path of a host.
    ///
    /// # Errors
    /// The path is none.
    pub fn of(tls: bool, host: &Host, path: &str) -> Result<Self, BadPlace> {
        let sound = |byte: u8| byte.is_ascii_graphic() && !b"\"#<>\\^`{|}".contains(&byte);
        let whole = path.len() <= BYTES && path.starts_with('/') && path.bytes().all(sound);
        if whole && path.parse::<Uri>().is_ok() {
            Ok(Self { tls, host: host.clone(), path: path.to_owned() })
        } else {
            Err(BadPlace)
        }
    }

    /// Reads a whole address. Neither a user's name nor a fragment may be in it.
    ///
    /// # Errors
    /// It is none.
    pub fn read(text: &str) -> Result<Self, BadPlace> {
        let after = |scheme: &str| {
            let (head, rest) = text.split_at_checked(scheme.len())?;
            head.eq_ignore_ascii_case(scheme).then_some(rest)
        };
        let (tls, rest) = match (after(SECURE), after(PLAIN)) {
            (Some(rest), _) => (true, rest),
            (None, Some(rest)) => (false, rest),
            (None, None) => return Err(BadPlace),
        };
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (host, path) = rest.split_at_checked(end).ok_or(BadPlace)?;
        let host = host.parse::<Host>().map_err(|_bad| BadPlace)?;
        match path.strip_prefix('?') {
            Some(query) => Self::of(tls, &host, &format!("/?{query}")),
            None if path.is_empty() => Self::of(tls, &host, "/"),
            None => Self::of(tls, &host, path),
        }
    }

    /// The path, with its query.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The same with more parameters, whose values are encoded here.
    ///
    /// # Errors
    /// It would be too long.
    pub fn with(&self, parameters: &[(&str, &str)]) -> Result<Self, BadPlace> {
        let mut path = self.path.clone();
        for (name, value) in parameters {
            path.push(if path.contains('?') { '&' } else { '?' });
            path.push_str(name);
            path.push('=');
            encode(value, &mut path);
        }
        // What is asked for may be long, and is bounded by whoever asks.
        let (tls, host) = (self.tls, self.host.clone());
        if path.parse::<Uri>().is_ok() { Ok(Self { tls, host, path }) } else { Err(BadPlace) }
    }

    /// What has this name in the same folder, without a query.
    ///
    /// # Errors
    /// The name is none.
    pub fn beside(&self, name: &str) -> Result<Self, BadPlace> {
        let path = self.path.split('?').next().unwrap_or_default();
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        Self::of(self.tls, &self.host, &format!("{folder}/{name}"))
    }

    /// Whether the other one is served by the same server.
    #[must_use]
    pub fn is_beside(&self, other: &Self) -> bool {
        self.tls == other.tls
            && self.host.name().eq_ignore_ascii_case(other.host.name())
            && self.port() == other.port()
    }

    /// The port, which the scheme gives where none is written.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.host.port().unwrap_or(if self.tls { 443 } else { 80 })
    }
}

/// Everything is encoded but what stands for itself everywhere.
pub(super) fn encode(value: &str, to: &mut String) {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];
    let digit = |half: u8| DIGITS.get(usize::from(half)).copied().unwrap_or('0');
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            to.push(char::from(byte));
        } else {
            to.push('%');
            to.push(digit(byte >> 4));
            to.push(digit(byte & 15));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_whole_or_not() {
        let read = |text: &str| {
            WebPlace::read(text)
                .map(|place| (place.tls, place.host.to_string(), place.port(), place.path))
        };
        let is = |tls, host: &str, port, path: &str| Ok((tls, host.into(), port, path.into()));
        assert_eq!(read("https://a.example/auth"), is(true, "a.example", 443, "/auth"));
        assert_eq!(read("HTTP://A.example:81"), is(false, "a.example:81", 81, "/"));
        assert_eq!(read("https://[::1]:5001/t?a=b"), is(true, "[::1]:5001", 5001, "/t?a=b"));
        assert_eq!(read("https://a?x=1"), is(true, "a", 443, "/?x=1"));
        for bad in [
            "",
            "https://",
            "//a/b",
            "/a",
            "ftp://a/",
            "https:/a",
            "https://u@a/",
            "https://a:0/",
            "https://a:99999/",
            "https://a b/",
            "https://a/b c",
            "https://a/#x",
            "https://a/\r\nx: y",
            "https://a/é",
            "https://a\\b/",
            &format!("https://a/{}", "x".repeat(BYTES)),
        ] {
            assert_eq!(read(bad), Err(BadPlace), "{bad:?}");
        }
    }

    #[test]
    fn parameters_are_encoded() {
        let place = WebPlace::read("https://a/auth?x=1").unwrap();
        let place = place.with(&[("scope", "repository:web/a:pull"), ("a", "é &=")]).unwrap();
        assert_eq!(place.path(), "/auth?x=1&scope=repository%3Aweb%2Fa%3Apull&a=%C3%A9%20%26%3D");
        let bare = WebPlace::read("https://a/auth").unwrap();
        assert_eq!(bare.with(&[("n", "5")]).unwrap().path(), "/auth?n=5");
    }

    #[test]
    fn a_name_is_beside_another() {
        for (place, wanted) in [
            ("https://a/auth", "/password"),
            ("https://a", "/password"),
            ("https://a/?x=/y", "/password"),
            ("https://a/tokens/auth?x=1", "/tokens/password"),
            ("https://a/tokens/", "/tokens/password"),
        ] {
            let place = WebPlace::read(place).unwrap();
            assert_eq!(place.beside("password").unwrap().path(), wanted, "{place:?}");
        }
    }

    #[test]
    fn a_server_is_its_scheme_host_and_port() {
        let beside = |one: &str, other: &str| {
            WebPlace::read(one).unwrap().is_beside(&WebPlace::read(other).unwrap())
        };
        assert!(beside("https://a/x", "https://A:443/y"));
        for other in ["http://a/x", "https://a:444/x", "https://b/x"] {
            assert!(!beside("https://a/x", other), "{other}");
        }
    }
}
