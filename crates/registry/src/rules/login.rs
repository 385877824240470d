//! What a robot carries: registries, a name and a password, in the forms that programs read
//! (docs/registry/formats.md, "A robot's credential").

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use data_encoding::BASE64;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::file::{self, BadFile, VERSION};
use super::slug::Account;

/// Bytes of a file of one.
pub const LOGIN_BYTES: usize = 16 * 1024;
/// Registries that one credential is for.
const HOSTS: usize = 16;
/// Bytes of a host with its port: a name of DNS, a colon and five digits.
const HOST_BYTES: usize = 253 + 6;
/// Bytes of a password.
const PASSWORD_BYTES: usize = 1_024;

/// A registry as image names spell it: a host, with a port where one is written. Two are the
/// same where their texts are: no port is added or taken away.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Host(String);

impl Host {
    /// The text, in lower case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Without the port; an address of IPv6 without its brackets.
    #[must_use]
    pub fn name(&self) -> &str {
        match self.0.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((address, _)) => address,
            None => self.0.split_once(':').map_or(self.0.as_str(), |(name, _)| name),
        }
    }

    /// The port, where one is written.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        let behind = self.0.rsplit_once(']').map_or(self.0.as_str(), |(_, behind)| behind);
        behind.split_once(':').and_then(|(_, port)| port.parse().ok())
    }

    /// What a program asks its helper for: a host, or an address of one with nothing behind
    /// it but `/`, `/v1` or `/v2`.
    #[must_use]
    pub fn of_server(text: &str) -> Option<Self> {
        let text = text.trim();
        let after = |scheme: &str| {
            let (head, rest) = text.split_at_checked(scheme.len())?;
            head.eq_ignore_ascii_case(scheme).then_some(rest)
        };
        let rest = after("https://").or_else(|| after("http://")).unwrap_or(text);
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        match path.trim_end_matches('/') {
            "" | "v1" | "v2" => host.parse().ok(),
            _ => None,
        }
    }
}

impl FromStr for Host {
    type Err = BadLogin;

    fn from_str(text: &str) -> Result<Self, BadLogin> {
        let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((address, "")) => (address, None),
            Some((address, rest)) => (address, Some(rest.strip_prefix(':').ok_or(BadLogin::Host)?)),
            None => match text.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            },
        };
        let six = text.starts_with('[');
        let fits = |c: char| {
            let (letter, more) = if six {
                (c.is_ascii_hexdigit(), ":.")
            } else {
                (c.is_ascii_alphanumeric(), ".-_")
            };
            letter || more.contains(c)
        };
        let is_port = |port: &str| {
            let digits = port.bytes().all(|byte| byte.is_ascii_digit());
            digits && port.parse::<u16>().is_ok_and(|port| port > 0)
        };
        let sound = text.len() <= HOST_BYTES && !host.is_empty() && host.chars().all(fits);
        if sound && port.is_none_or(is_port) {
            Ok(Self(text.to_ascii_lowercase()))
        } else {
            Err(BadLogin::Host)
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Whom a credential is written for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// `docker-credential-skep`.
    #[default]
    Helper,
    /// A `config.json`, as docker, skopeo and podman take it.
    Docker,
    /// The value `.dockerconfigjson` of a secret of Kubernetes.
    Kubernetes,
    /// The password alone, as `--password-stdin` takes it.
    Plain,
}

impl Form {
    /// Each of them.
    pub const ALL: [Self; 4] = [Self::Helper, Self::Docker, Self::Kubernetes, Self::Plain];

    /// Its name, as it is typed.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Helper => "helper",
            Self::Docker => "docker",
            Self::Kubernetes => "kubernetes",
            Self::Plain => "plain",
        }
    }

    /// What the file is called below the service's folder, unless it is said otherwise.
    #[must_use]
    pub fn file_name(self) -> &'static str {
        match self {
            Self::Helper => "robot.json",
            Self::Docker => "config.json",
            Self::Kubernetes => ".dockerconfigjson",
            Self::Plain => "password",
        }
    }
}

impl FromStr for Form {
    type Err = BadLogin;

    fn from_str(text: &str) -> Result<Self, BadLogin> {
        Self::ALL.into_iter().find(|form| form.as_str() == text).ok_or(BadLogin::Form)
    }
}

/// Why text is no credential. It holds nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadLogin {
    /// Its shape or its version.
    #[error(transparent)]
    File(#[from] BadFile),
    /// A registry.
    #[error("a registry is HOST or HOST:PORT, as image names begin")]
    Host,
    /// None, or too many.
    #[error("a credential is for 1 to {HOSTS} registries")]
    Hosts,
    /// The name.
    #[error("`account` is no account's name")]
    Account,
    /// Nothing, too much, or what a header can't carry.
    #[error("a password has 1 to {PASSWORD_BYTES} bytes, none of them a control character")]
    Password,
    /// Another word.
    #[error("a form is helper, docker, kubernetes or plain")]
    Form,
}

/// Registries, a name and its password.
pub struct Login {
    hosts: Vec<Host>,
    account: Account,
    password: Zeroizing<String>,
}

// By hand: the password stays out.
impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {:?}", self.account, self.hosts)
    }
}

#[derive(Serialize)]
struct Written<'w> {
    version: u32,
    hosts: Vec<&'w str>,
    account: &'w str,
    password: &'w str,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Read {
    version: u32,
    hosts: Vec<String>,
    account: String,
    #[serde(deserialize_with = "zeroizing")]
    password: Zeroizing<String>,
}

fn zeroizing<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Zeroizing<String>, D::Error> {
    String::deserialize(from).map(Zeroizing::new)
}

/// What docker keeps of one registry.
#[derive(Serialize)]
struct DockerAuth<'w> {
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<&'w str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    password: Option<&'w str>,
    #[serde(rename = "auth")]
    both: &'w str,
}

#[derive(Serialize)]
struct Config<'w> {
    auths: BTreeMap<&'w str, DockerAuth<'w>>,
}

impl Login {
    /// One of these parts.
    ///
    /// # Errors
    /// Without a registry, with too many, or with a password that no header carries.
    pub fn new(
        hosts: Vec<Host>,
        account: Account,
        password: Zeroizing<String>,
    ) -> Result<Self, BadLogin> {
        if !(1..=HOSTS).contains(&hosts.len()) {
            return Err(BadLogin::Hosts);
        }
        let sound = (1..=PASSWORD_BYTES).contains(&password.len());
        if !sound || password.contains(char::is_control) {
            return Err(BadLogin::Password);
        }
        Ok(Self { hosts, account, password })
    }

    /// Reads the form `helper`.
    ///
    /// # Errors
    /// Where anything in it is not as documented.
    pub fn read(text: &str) -> Result<Self, BadLogin> {
        let file = file::read(text, |file: &Read| file.version)?;
        if file.hosts.len() > HOSTS {
            return Err(BadLogin::Hosts);
        }
        let hosts: Result<Vec<Host>, _> = file.hosts.iter().map(|host| host.parse()).collect();
        let account = file.account.parse().map_err(|_bad| BadLogin::Account)?;
        Self::new(hosts?, account, file.password)
    }

    /// The registries that it is for.
    #[must_use]
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// Whose it is.
    #[must_use]
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// The password.
    #[must_use]
    pub fn expose_password(&self) -> &str {
        &self.password
    }

    /// It as a file of that form.
    #[must_use]
    pub fn write(&self, form: Form) -> Zeroizing<String> {
        let name = self.account.as_str();
        match form {
            Form::Helper => json(&Written {
                version: VERSION,
                hosts: self.hosts.iter().map(Host::as_str).collect(),
                account: name,
                password: &self.password,
            }),
            Form::Docker => self.config(None, None),
            Form::Kubernetes => self.config(Some(name), Some(&self.password)),
            Form::Plain => self.password.clone(),
        }
    }

    fn config(&self, username: Option<&str>, password: Option<&str>) -> Zeroizing<String> {
        let both = Zeroizing::new(format!("{}:{}", self.account.as_str(), *self.password));
        let auth = Zeroizing::new(BASE64.encode(both.as_bytes()));
        let entry = || DockerAuth { username, password, both: &auth };
        let auths = self.hosts.iter().map(|host| (host.as_str(), entry())).collect();
        json(&Config { auths })
    }
}

/// One line of JSON. What is written here has nothing that JSON couldn't carry.
fn json(what: &impl Serialize) -> Zeroizing<String> {
    let mut text = Zeroizing::new(serde_json::to_string(what).unwrap_or_default());
    text.push('\n');
    text
}

#[cfg(test)]
#[path = "login_tests.rs"]
mod tests;
