//! How a command reaches managers: what was typed, else what `cli.toml` says, else the
//! default. A file may be absent; a word in it that nobody knows is bad configuration, not
//! ignored.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::link::{BadAddress, read_address};
use crate::passphrase::Passphrases;
use skep_core::base::{Exit, Failure};

const FOLDER: &str = "/etc/skep";
/// The manager's default control socket.
pub const MANAGER_SOCKET: &str = "/run/skep/manager.sock";
/// Bytes of a settings file: far more than all settings need.
const FILE_BYTES: u64 = 1024 * 1024;

/// `cli.toml`: the keys are the names of the flags.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct CliFile {
    /// Managers.
    pub host: Vec<String>,
    /// The identity file.
    pub identity: Option<PathBuf>,
    /// A file with its passphrase.
    pub passphrase_file: Option<PathBuf>,
    /// A program that prints it.
    pub identity_command: Option<String>,
    /// This machine's manager.
    pub socket: Option<PathBuf>,
    /// The agent's socket.
    pub agent_socket: Option<PathBuf>,
    /// How long to try and to wait.
    pub timeout: Option<String>,
    /// No connection is made without ML-KEM-768.
    pub require_pq: bool,
}

/// How a command reaches managers, decided.
#[derive(Clone, Debug)]
pub struct ClientSettings {
    /// Asked for by hand; else the identity's.
    pub hosts: Vec<String>,
    /// The identity file.
    pub identity: Option<PathBuf>,
    /// What opens it where it is encrypted.
    pub passphrases: Passphrases,
    /// This machine's manager.
    pub socket: PathBuf,
    /// The socket was asked for by hand: an identity does not outdo it.
    pub local: bool,
    /// How long to try and to wait.
    pub timeout: Duration,
    /// No connection is made without ML-KEM-768.
    pub require_pq: bool,
}

/// What was typed of it, or stands in the environment.
#[derive(Clone, Debug, Default)]
pub struct Typed {
    /// Managers.
    pub host: Vec<String>,
    /// The identity file.
    pub identity: Option<PathBuf>,
    /// A file with its passphrase.
    pub passphrase_file: Option<PathBuf>,
    /// A program that prints it.
    pub identity_command: Option<String>,
    /// How long to try and to wait.
    pub timeout: Option<Duration>,
    /// No connection is made without ML-KEM-768.
    pub require_pq: bool,
    /// This machine's manager.
    pub socket: Option<PathBuf>,
    /// Another file than `/etc/skep/cli.toml`.
    pub config: Option<PathBuf>,
}

/// Bad configuration.
pub fn bad(text: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Configuration, text)
}

/// Reads `asked`, or the file of this name below `/etc/skep` if there is one.
///
/// # Errors
/// A [`Failure`] of bad configuration or bad input, with its hint.
pub fn load<T: DeserializeOwned + Default>(asked: Option<&Path>, name: &str) -> Result<T, Failure> {
    let usual = Path::new(FOLDER).join(name);
    let path = asked.unwrap_or(&usual);
    let shown = path.display();
    let absent = |error: &std::io::Error| error.kind() == std::io::ErrorKind::NotFound;
    let not_read = |why: &dyn std::fmt::Display| {
        bad(format!("{shown}: {why}")).hint("settings are a text file, in TOML; --config names it")
    };
    let mut text = String::new();
    let read =
        File::open(path).and_then(|file| file.take(FILE_BYTES + 1).read_to_string(&mut text));
    match read {
        Err(error) if absent(&error) && asked.is_none() => return Ok(T::default()),
        Err(error) => return Err(not_read(&error)),
        // It may be a pipe, whose length nobody knows before.
        Ok(length) if u64::try_from(length).is_ok_and(|length| length > FILE_BYTES) => {
            return Err(not_read(&format!("is longer than {FILE_BYTES} bytes")));
        }
        Ok(_) => {}
    }
    toml::from_str(&text).map_err(|error| {
        let line = error.span().and_then(|span| text.get(..span.start));
        let line = line.map_or(1, |before| before.matches('\n').count() + 1);
        bad(format!("{shown}, line {line}: {}", error.message().replace('\n', " ")))
            .hint("the keys are the names of the flags, without the dashes in front")
    })
}

/// What was typed, else what the file says, each without the blanks around it.
#[must_use]
pub fn first(typed: Vec<String>, file: Vec<String>) -> Vec<String> {
    let said = |list: Vec<String>| -> Vec<String> {
        let trimmed = list.iter().map(|one| one.trim());
        trimmed.filter(|one| !one.is_empty()).map(str::to_owned).collect()
    };
    let typed = said(typed);
    if typed.is_empty() { said(file) } else { typed }
}

/// Addresses of managers that were typed: bad input.
///
/// # Errors
/// A [`Failure`] of bad configuration or bad input, with its hint.
pub fn addresses(typed: &[String]) -> Result<Vec<String>, Failure> {
    let read = |text: &String| read_address(text).map_err(|error| no_address(Exit::Usage, &error));
    typed.iter().map(read).collect()
}

/// What is said of an address that is none.
#[must_use]
pub fn no_address(exit: Exit, error: &BadAddress) -> Failure {
    Failure::new(exit, error).hint("a name or an IP address and a port, such as 10.0.0.1:4440")
}

impl ClientSettings {
    /// Flags and environment over `cli.toml`.
    ///
    /// # Errors
    /// A [`Failure`] of bad configuration or bad input, with its hint.
    pub fn of(typed: Typed) -> Result<Self, Failure> {
        let file: CliFile = load(typed.config.as_deref(), "cli.toml")?;
        let by_hand = typed.timeout.map(Ok);
        let by_file = file.timeout.as_deref().map(duration);
        let timeout = by_hand.or(by_file).unwrap_or(Ok(Duration::from_secs(30)));
        let timeout = timeout.map_err(|error| {
            bad(format!("timeout: {error}")).hint("it stands in cli.toml: timeout = \"30s\"")
        })?;
        let typed_socket = typed.socket;
        // A socket asked for by hand is not outdone by a host from a file.
        let file_host = if typed_socket.is_some() { Vec::new() } else { file.host };
        Ok(Self {
            hosts: addresses(&first(typed.host, file_host))?,
            identity: typed.identity.or(file.identity),
            passphrases: Passphrases::new(
                typed.passphrase_file.or(file.passphrase_file),
                typed.identity_command.or(file.identity_command),
            ),
            local: typed_socket.is_some(),
            socket: typed_socket.or(file.socket).unwrap_or_else(|| MANAGER_SOCKET.into()),
            timeout,
            require_pq: typed.require_pq || file.require_pq,
        })
    }
}

/// `30s`, `1h 30m`, or seconds without a unit.
///
/// # Errors
/// Why it is none.
pub fn duration(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse::<u32>() {
        return Ok(Duration::from_secs(seconds.into()));
    }
    humantime::parse_duration(text)
        .map_err(|error| format!("{error}; a time is written like 30s, 5m or 24h"))
}
