//! What a request asks for: its method and path.

use hyper::Method;
use percent_encoding::percent_decode_str;

use super::{API, API_LEAST, Filter, Refused, Version};

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    Ping,
    Version,
    Info,
    List(Filter),
    Create,
    Inspect(String),
    Remove(String),
    /// Another spec, for a secret that stands at this version.
    Update(String, u64),
}

/// The longest name or id that is looked up, and shown where it isn't found.
const REFERENCE: usize = 256;

/// A request, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked(pub(crate) Ask);

impl Asked {
    /// Reads a request's method, path and query.
    pub(crate) fn read(method: &Method, path: &str, query: &str) -> Result<Self, Refused> {
        let path = unversioned(path)?;
        let parts: Vec<&str> = path.split('/').collect();
        let ask = match (method.as_str(), parts.as_slice()) {
            ("GET" | "HEAD", ["_ping"]) => Ask::Ping,
            ("GET", ["version"]) => Ask::Version,
            ("GET", ["info"]) => Ask::Info,
            ("GET", ["secrets"]) => Ask::List(Filter::read(query)?),
            ("POST", ["secrets", "create"]) => Ask::Create,
            ("GET", ["secrets", what]) => Ask::Inspect(reference(what)?),
            ("DELETE", ["secrets", what]) => Ask::Remove(reference(what)?),
            ("POST", ["secrets", what, "update"]) => {
                let mut pairs = form_urlencoded::parse(query.as_bytes());
                let version = pairs.find(|(key, _)| key == "version");
                let version = version.and_then(|(_, value)| value.parse().ok());
                Ask::Update(reference(what)?, version.ok_or(Refused::BadVersion)?)
            }
            _ => return Err(Refused::NotServed),
        };
        Ok(Self(ask))
    }
}

/// The path behind `/` or `/v1.41/`.
fn unversioned(path: &str) -> Result<&str, Refused> {
    let path = path.strip_prefix('/').ok_or(Refused::NotServed)?;
    let Some((head, rest)) = path.split_once('/') else { return Ok(path) };
    let Some(version) = head.strip_prefix('v').and_then(Version::read) else { return Ok(path) };
    if version > API {
        return Err(Refused::TooNew(version));
    }
    if version < API_LEAST {
        return Err(Refused::TooOld(version));
    }
    Ok(rest)
}

fn reference(text: &str) -> Result<String, Refused> {
    let decoded = percent_decode_str(text).decode_utf8().ok();
    let decoded = decoded.filter(|text| !text.is_empty() && text.len() <= REFERENCE);
    decoded.map(std::borrow::Cow::into_owned).ok_or(Refused::NoSuch(None))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(method: &str, target: &str) -> Result<Ask, Refused> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        Asked::read(&method, path, query).map(|asked| asked.0)
    }

    #[test]
    fn with_and_without_a_version_the_same_is_asked() {
        let name = || "db.password".to_owned();
        let rows: &[(&str, &str, Ask)] = &[
            ("GET", "/_ping", Ask::Ping),
            ("HEAD", "/_ping", Ask::Ping),
            ("GET", "/version", Ask::Version),
            ("GET", "/info", Ask::Info),
            ("GET", "/secrets", Ask::List(Filter::default())),
            ("POST", "/secrets/create", Ask::Create),
            ("GET", "/secrets/db.password", Ask::Inspect(name())),
            ("GET", "/secrets/db%2Epassword", Ask::Inspect(name())),
            ("GET", "/secrets/create", Ask::Inspect("create".to_owned())),
            ("DELETE", "/secrets/db.password", Ask::Remove(name())),
            ("POST", "/secrets/db.password/update?version=7", Ask::Update(name(), 7)),
        ];
        for (method, target, ask) in rows {
            for version in ["", "/v1.25", "/v1.41", "/v1.51"] {
                let target = format!("{version}{target}");
                assert_eq!(read(method, &target).as_ref(), Ok(ask), "{method} {target}");
            }
        }
    }

    #[test]
    fn what_is_not_of_secrets_is_not_served() {
        for (method, target) in [
            ("GET", "/containers/json"),
            ("GET", "/v1.41/containers/json"),
            ("POST", "/swarm/init"),
            ("PUT", "/secrets"),
            ("DELETE", "/secrets"),
            ("GET", "/secrets/a/b"),
            ("POST", "/secrets/a"),
            ("GET", "/v1.41/v1.41/secrets"),
            ("GET", "/v1.4x/secrets"),
            ("GET", "/v1.99999999999/secrets"),
            ("GET", "//secrets"),
            ("GET", "/"),
            ("GET", ""),
        ] {
            assert_eq!(read(method, target), Err(Refused::NotServed), "{method} {target}");
        }
        assert_eq!(read("GET", "/v1.52/secrets"), Err(Refused::TooNew(Version(1, 52))));
        assert_eq!(read("GET", "/v1.24/secrets"), Err(Refused::TooOld(Version(1, 24))));
        for bad in
            ["/secrets/a/update", "/secrets/a/update?version=x", "/secrets/a/update?version="]
        {
            assert_eq!(read("POST", bad), Err(Refused::BadVersion), "{bad}");
        }
        for bad in ["/secrets/", "/secrets/%ff", &format!("/secrets/{}", "a".repeat(257))] {
            assert_eq!(read("GET", bad), Err(Refused::NoSuch(None)), "{bad}");
        }
    }
}
