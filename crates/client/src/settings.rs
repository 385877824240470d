//! How a command reaches managers: what was typed, else what `cli.toml` says, else the
//! default. A file may be absent; a word in it that nobody knows is bad configuration, not
//! ignored.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::contexts::{Context, ContextFile};
use crate::link::read_address;
use crate::passphrase::Passphrases;
use skep_core::base::{Exit, Failure};

pub use crate::config::{bad, load, no_address};

/// The manager's default control socket.
pub const MANAGER_SOCKET: &str = "/run/skep/manager.sock";

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
    /// Another context than the one in use.
    pub context: Option<String>,
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

impl ClientSettings {
    /// Flags and environment over the context in use, over `cli.toml`.
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
        let context = chosen_context(typed.context.as_deref())?;
        let typed_socket = typed.socket;
        // Managers and identity belong together: those of one place are not mixed with others.
        let (host, identity, socket) = match context {
            Some(context) => {
                // An identity that was typed may be of another cluster than the context's managers.
                let host = if typed.identity.is_some() { Vec::new() } else { context.host };
                (host, context.identity, context.socket)
            }
            None => (file.host, file.identity, None),
        };
        // A context that names a socket alone is about that manager.
        let only_socket = socket.clone().filter(|_| {
            host.is_empty()
                && identity.is_none()
                && typed.identity.is_none()
                && first(typed.host.clone(), Vec::new()).is_empty()
        });
        let socket = socket.or(file.socket);
        let by_hand = typed_socket.or(only_socket);
        // A socket asked for by hand is not outdone by a host from a file.
        let host = if by_hand.is_some() { Vec::new() } else { host };
        Ok(Self {
            hosts: addresses(&first(typed.host, host))?,
            identity: typed.identity.or(identity),
            passphrases: Passphrases::new(
                typed.passphrase_file.or(file.passphrase_file),
                typed.identity_command.or(file.identity_command),
            ),
            local: by_hand.is_some(),
            socket: by_hand.or(socket).unwrap_or_else(|| MANAGER_SOCKET.into()),
            timeout,
            require_pq: typed.require_pq || file.require_pq,
        })
    }
}

/// The context that was typed, or the one in use.
fn chosen_context(typed: Option<&str>) -> Result<Option<Context>, Failure> {
    let Some(file) = ContextFile::of_user() else {
        return match typed {
            Some(_) => Err(bad("there is no folder for contexts").hint("set HOME")),
            None => Ok(None),
        };
    };
    // Somebody else's home, as after a change of user: there is none in use there.
    let denied = |error: &std::io::Error| error.kind() == std::io::ErrorKind::PermissionDenied;
    if typed.is_none() && std::fs::metadata(file.path()).is_err_and(|error| denied(&error)) {
        return Ok(None);
    }
    let contexts = file.read()?;
    Ok(contexts.chosen(typed.map(str::trim))?.map(|(_, context)| context.clone()))
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
