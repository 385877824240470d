//! A token request: what docker, containerd, skopeo and people with curl send.

use axum::http::{HeaderMap, Method, header};
use data_encoding::BASE64;
use zeroize::Zeroizing;

use super::answer::Refused;
use super::form::{Parameters, parameters};
use crate::rules::scope::{Scope, parse_scopes};

/// Bytes of a name, a service or a client's id.
const NAME_BYTES: usize = 255;
/// Bytes of a password: bcrypt takes 72, and nobody types this many.
const PASSWORD_BYTES: usize = 1_024;
/// What may be given many times.
const SCOPE: &str = "scope";
/// What has no place in a query, which proxies log.
const SECRET: [&str; 2] = ["password", "refresh_token"];

/// How somebody says who it is.
pub enum How {
    /// Not at all.
    Anonymous,
    /// By a name and a password.
    Password {
        /// As it was sent.
        account: String,
        /// As it was sent.
        password: Zeroizing<Vec<u8>>,
    },
    /// By a refresh token.
    Refresh(Zeroizing<String>),
}

impl std::fmt::Debug for How {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Anonymous => "anonymous",
            Self::Password { .. } => "password",
            Self::Refresh(_) => "refresh",
        })
    }
}

/// One request that reads.
#[derive(Debug)]
pub struct Asked {
    /// Who asks.
    pub how: How,
    /// For whom the token is to be.
    pub service: Option<String>,
    /// For what.
    pub scopes: Vec<Scope>,
    /// What the client calls itself.
    pub client: Option<String>,
    /// Whether a refresh token is asked for.
    pub offline: bool,
}

impl Asked {
    /// Reads one.
    ///
    /// # Errors
    /// Where anything in it doesn't read, or is said twice.
    pub fn read(
        method: &Method,
        query: &str,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<Self, Refused> {
        let unreadable = || Refused::invalid("the parameters don't read");
        let mut all = parameters(query.as_bytes()).ok_or_else(unreadable)?;
        if all.iter().any(|(name, _)| SECRET.contains(&name.as_str())) {
            return Err(Refused::invalid("passwords and tokens go into the body of a POST"));
        }
        if method == Method::POST && !body.is_empty() {
            if !is_form(headers) {
                return Err(Refused::invalid("a body is a form"));
            }
            all.extend(parameters(body).ok_or_else(unreadable)?);
        }
        refuse_repeated(&all)?;
        let one = |name: &str| all.iter().find(|(own, _)| own == name).map(|(_, value)| value);
        let named = |name: &str| match one(name) {
            Some(value) if value.is_empty() => Ok(None),
            Some(value) if value.len() > NAME_BYTES || value.contains(char::is_control) => {
                Err(Refused::invalid(format!("`{name}` is too long, or no text")))
            }
            value => Ok(value.map(|value| value.to_string())),
        };
        let how = match one("grant_type").map(|grant| grant.as_str()) {
            None => basic(headers, named("account")?)?,
            Some(_) if method != Method::POST => {
                return Err(Refused::invalid("`grant_type` is for POST"));
            }
            Some(_) if headers.contains_key(header::AUTHORIZATION) => {
                return Err(Refused::invalid("either Authorization or `grant_type`"));
            }
            Some("password") => {
                let password = one("password").map(|text| text.as_bytes().to_vec());
                let account = named("username")?;
                let (Some(account), Some(password)) = (account, password) else {
                    return Err(Refused::invalid("`username` and `password` are missing"));
                };
                by_password(account, Zeroizing::new(password))?
            }
            Some("refresh_token") => match one("refresh_token") {
                Some(token) => How::Refresh(token.clone()),
                None => return Err(Refused::invalid("`refresh_token` is missing")),
            },
            Some(_) => {
                let text = "`grant_type` is password or refresh_token".to_owned();
                return Err(Refused::Invalid { error: "unsupported_grant_type", text });
            }
        };
        let scopes = all.iter().filter(|(name, _)| name == SCOPE).map(|(_, value)| value.as_str());
        let scopes = parse_scopes(scopes)
            .map_err(|bad| Refused::Invalid { error: "invalid_scope", text: bad.to_string() })?;
        let offline = one("offline_token").is_some_and(|value| value.as_str() == "true")
            || one("access_type").is_some_and(|value| value.as_str() == "offline");
        Ok(Self { how, service: named("service")?, scopes, client: named("client_id")?, offline })
    }
}

pub(super) fn is_form(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.and_then(|kind| kind.split(';').next()).unwrap_or_default();
    kind.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded")
}

fn refuse_repeated(all: &Parameters) -> Result<(), Refused> {
    const ONCE: [&str; 10] = [
        "grant_type",
        "username",
        "password",
        "refresh_token",
        "service",
        "account",
        "client_id",
        "offline_token",
        "access_type",
        "",
    ];
    for name in ONCE {
        if all.iter().filter(|(own, _)| own == name).count() > 1 {
            return Err(Refused::invalid(format!("`{name}` is given twice")));
        }
    }
    Ok(())
}

/// `Authorization: Basic`, whose name must be that of `account`, if that is given.
pub(super) fn basic(headers: &HeaderMap, account: Option<String>) -> Result<How, Refused> {
    let mut lines = headers.get_all(header::AUTHORIZATION).iter();
    let Some(line) = lines.next() else { return Ok(How::Anonymous) };
    let unreadable = || Refused::invalid("Authorization is no Basic");
    if lines.next().is_some() {
        return Err(Refused::invalid("Authorization is given twice"));
    }
    let (scheme, rest) =
        line.to_str().ok().and_then(|line| line.split_once(' ')).ok_or_else(unreadable)?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(unreadable());
    }
    let both = BASE64.decode(rest.trim().as_bytes()).map(Zeroizing::new);
    let both = both.map_err(|_| unreadable())?;
    let colon = both.iter().position(|byte| *byte == b':').ok_or_else(unreadable)?;
    let (name, password) = both.split_at(colon);
    let name = std::str::from_utf8(name).map_err(|_| unreadable())?.to_owned();
    let password = Zeroizing::new(password.get(1..).unwrap_or_default().to_vec());
    if account.is_some_and(|account| account != name) {
        return Err(Refused::invalid("`account` and Authorization name two accounts"));
    }
    by_password(name, password)
}

fn by_password(account: String, password: Zeroizing<Vec<u8>>) -> Result<How, Refused> {
    if account.len() > NAME_BYTES || account.contains(char::is_control) {
        return Err(Refused::invalid("the name is too long, or no text"));
    }
    if password.len() > PASSWORD_BYTES {
        return Err(Refused::invalid("the password is too long"));
    }
    Ok(How::Password { account, password })
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
