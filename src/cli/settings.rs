//! Where settings come from: flag, `SKEP_*` (clap reads both), then a file
//! below `/etc/skep`, then the default. A file may be absent; a word in it that
//! nobody knows is bad configuration, not ignored.

use std::fs::File;
use std::io::Read;
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::daemon::config::{
    AGENT_DATA_DIR, AGENT_ROOT, AGENT_SOCKET, AgentConfig, LISTEN, MANAGER_DATA_DIR,
    MANAGER_SOCKET, ManagerConfig, SocketRole,
};
use skep_client::{BadAddress, read_address, read_own_address};
use skep_core::base::{Exit, Failure, Name};
use skep_core::domain::OperatorRole;

use super::args::{AgentRunArgs, AgentSocketArgs, ClientArgs, LocalArgs, LogArgs, ManagerRunArgs};

const FOLDER: &str = "/etc/skep";
/// Bytes of a settings file: far more than all settings need.
const FILE_BYTES: u64 = 1024 * 1024;

/// `cli.toml`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct CliFile {
    host: Vec<String>,
    identity: Option<PathBuf>,
    socket: Option<PathBuf>,
    agent_socket: Option<PathBuf>,
    timeout: Option<String>,
    require_pq: bool,
}

/// `manager.toml`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct ManagerFile {
    data_dir: Option<PathBuf>,
    name: Option<String>,
    listen: Option<String>,
    advertise: Vec<String>,
    socket: Option<PathBuf>,
    unlock_key_file: Option<PathBuf>,
    socket_role: Vec<String>,
    require_pq: bool,
    log_format: Option<String>,
    log_level: Option<String>,
}

/// `agent.toml`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct AgentFile {
    data_dir: Option<PathBuf>,
    manager: Vec<String>,
    token_file: Option<PathBuf>,
    name: Option<String>,
    root: Option<PathBuf>,
    socket: Option<PathBuf>,
    wipe_on_stop: bool,
    require_pq: bool,
    log_format: Option<String>,
    log_level: Option<String>,
}

/// How a command reaches managers, decided.
#[derive(Clone, Debug)]
pub(super) struct ClientSettings {
    /// Asked for by hand; else the identity's.
    pub(super) hosts: Vec<String>,
    pub(super) identity: Option<PathBuf>,
    /// This machine's manager.
    pub(super) socket: PathBuf,
    /// The socket was asked for by hand: an identity does not outdo it.
    pub(super) local: bool,
    pub(super) timeout: Duration,
    /// No connection is made without ML-KEM-768.
    pub(super) require_pq: bool,
}

/// How a daemon logs, decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LogSettings {
    pub(super) json: bool,
    pub(super) level: String,
}

fn bad(text: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Configuration, text)
}

/// Reads `asked`, or the file of this name below `/etc/skep` if there is one.
fn load<T: DeserializeOwned + Default>(asked: Option<&Path>, name: &str) -> Result<T, Failure> {
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
fn first(typed: Vec<String>, file: Vec<String>) -> Vec<String> {
    let said = |list: Vec<String>| -> Vec<String> {
        let trimmed = list.iter().map(|one| one.trim());
        trimmed.filter(|one| !one.is_empty()).map(str::to_owned).collect()
    };
    let typed = said(typed);
    if typed.is_empty() { said(file) } else { typed }
}

/// Addresses of managers that were typed: bad input.
pub(super) fn addresses(typed: &[String]) -> Result<Vec<String>, Failure> {
    let read = |text: &String| read_address(text).map_err(|error| no_address(Exit::Usage, &error));
    typed.iter().map(read).collect()
}

fn no_address(exit: Exit, error: &BadAddress) -> Failure {
    Failure::new(exit, error).hint("a name or an IP address and a port, such as 10.0.0.1:4440")
}

impl ClientSettings {
    /// Flags and environment over `cli.toml`.
    pub(super) fn of(args: ClientArgs) -> Result<Self, Failure> {
        let file: CliFile = load(args.local.config.as_deref(), "cli.toml")?;
        let by_hand = args.timeout.map(Ok);
        let by_file = file.timeout.as_deref().map(super::args::duration);
        let timeout = by_hand.or(by_file).unwrap_or(Ok(Duration::from_secs(30)));
        let timeout = timeout.map_err(|error| {
            bad(format!("timeout: {error}")).hint("it stands in cli.toml: timeout = \"30s\"")
        })?;
        let typed_socket = args.local.socket;
        // A socket asked for by hand is not outdone by a host from a file.
        let file_host = if typed_socket.is_some() { Vec::new() } else { file.host };
        Ok(Self {
            hosts: addresses(&first(args.host, file_host))?,
            identity: args.identity.or(file.identity),
            local: typed_socket.is_some(),
            socket: typed_socket.or(file.socket).unwrap_or_else(|| MANAGER_SOCKET.into()),
            timeout,
            require_pq: args.require_pq || file.require_pq,
        })
    }

    /// For commands that only this machine's manager serves.
    pub(super) fn of_local(args: LocalArgs) -> Result<Self, Failure> {
        let mut settings = Self::of(ClientArgs { local: args, ..ClientArgs::default() })?;
        settings.hosts.clear();
        settings.identity = None;
        settings.local = true;
        Ok(settings)
    }
}

/// The agent's socket.
pub(super) fn agent_socket(args: AgentSocketArgs) -> Result<PathBuf, Failure> {
    let file: CliFile = load(args.config.as_deref(), "cli.toml")?;
    Ok(args.agent_socket.or(file.agent_socket).unwrap_or_else(|| AGENT_SOCKET.into()))
}

impl LogSettings {
    fn of(args: LogArgs, format: Option<String>, level: Option<String>) -> Result<Self, Failure> {
        let json = match args.log_format.or(format).as_deref() {
            None | Some("text") => false,
            Some("json") => true,
            Some(_) => {
                return Err(bad("log-format: is text or json").hint("text is for people"));
            }
        };
        let level = args.log_level.or(level).unwrap_or_else(|| "info".to_owned());
        Ok(Self { json, level })
    }
}

/// What a manager is told.
pub(super) fn manager(args: ManagerRunArgs) -> Result<(ManagerConfig, LogSettings), Failure> {
    let file: ManagerFile = load(args.config.as_deref(), "manager.toml")?;
    let listen = args.listen.or(file.listen).unwrap_or_else(|| LISTEN.to_owned());
    let listen: SocketAddr = listen.parse().map_err(|_not_one| {
        bad("listen: is not an address").hint("an IP address and a port, such as 0.0.0.0:4440")
    })?;
    let read = |text: &String| {
        let unreached = |error| {
            let Failure { text, hint, .. } = no_address(Exit::Configuration, &error);
            Failure { exit: Exit::Configuration, text: format!("advertise: {text}"), hint }
        };
        read_own_address(text).map_err(unreached)
    };
    let asked = first(args.advertise, file.advertise);
    let mut advertise = asked.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    if advertise.is_empty() {
        advertise = vec![own_address(listen)?];
    }
    let roles = first(args.socket_roles, file.socket_role);
    let name = args.name.or(file.name).map(|name| name.parse::<Name>()).transpose();
    let config = ManagerConfig {
        data_dir: args.data_dir.or(file.data_dir).unwrap_or_else(|| MANAGER_DATA_DIR.into()),
        name: name.map_err(|error| bad(format!("name: {error}")).hint("for example web1"))?,
        listen,
        advertise,
        socket: args.socket.or(file.socket).unwrap_or_else(|| MANAGER_SOCKET.into()),
        unlock_key_file: args.unlock_key_file.or(file.unlock_key_file),
        socket_roles: roles.iter().map(|role| socket_role(role)).collect::<Result<_, _>>()?,
        require_pq: args.require_pq || file.require_pq,
    };
    Ok((config, LogSettings::of(args.log, file.log_format, file.log_level)?))
}

/// What an agent is told.
pub(super) fn agent(args: AgentRunArgs) -> Result<(AgentConfig, LogSettings), Failure> {
    let file: AgentFile = load(args.config.as_deref(), "agent.toml")?;
    let name = args.name.or(file.name).map(|name| name.parse::<Name>()).transpose();
    let managers = first(args.managers, file.manager);
    let read =
        |text: &String| read_address(text).map_err(|error| no_address(Exit::Configuration, &error));
    let managers = managers.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    let config = AgentConfig {
        data_dir: args.data_dir.or(file.data_dir).unwrap_or_else(|| AGENT_DATA_DIR.into()),
        managers,
        token_file: args.token_file.or(file.token_file),
        name: name.map_err(|error| bad(format!("name: {error}")).hint("for example web1"))?,
        root: args.root.or(file.root).unwrap_or_else(|| AGENT_ROOT.into()),
        socket: args.socket.or(file.socket).unwrap_or_else(|| AGENT_SOCKET.into()),
        wipe_on_stop: args.wipe_on_stop || file.wipe_on_stop,
        require_pq: args.require_pq || file.require_pq,
    };
    Ok((config, LogSettings::of(args.log, file.log_format, file.log_level)?))
}

fn socket_role(text: &str) -> Result<SocketRole, Failure> {
    let wrong = || {
        bad("socket-role: is not written GID=ROLE")
            .hint("a group's number and admin, editor, viewer or auditor, such as 970=viewer")
    };
    let (gid, role) = text.split_once('=').ok_or_else(wrong)?;
    let role = match role {
        "admin" => OperatorRole::Admin,
        "editor" => OperatorRole::Editor,
        "viewer" => OperatorRole::Viewer,
        "auditor" => OperatorRole::Auditor,
        _ => return Err(wrong()),
    };
    Ok(SocketRole { gid: gid.parse().map_err(|_not_one| wrong())?, role })
}

/// Where others reach a manager that was not told: its own address if it listens
/// on one, else that of the default route.
fn own_address(listen: SocketAddr) -> Result<String, Failure> {
    if !listen.ip().is_unspecified() {
        return Ok(listen.to_string());
    }
    let how = "give --advertise HOST:PORT, an address at which the other machines reach it";
    let routes = std::fs::read_to_string("/proc/net/route").unwrap_or_default();
    if default_routes(&routes) > 1 {
        return Err(bad("there are several default routes to choose an address from").hint(how));
    }
    // No packet is sent: a connected datagram socket knows its own address.
    let probe = UdpSocket::bind(("0.0.0.0", 0)).and_then(|socket| {
        socket.connect(("192.0.2.1", 9))?;
        socket.local_addr()
    });
    match probe {
        Ok(address) => Ok(SocketAddr::new(address.ip(), listen.port()).to_string()),
        Err(_no_route) => Err(bad("there is no default route to take an address from").hint(how)),
    }
}

/// Interfaces with a default route, as `/proc/net/route` lists them.
fn default_routes(table: &str) -> usize {
    let rows = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    let defaults = rows.filter_map(|row| match (row.first(), row.get(1), row.get(7)) {
        (Some(interface), Some(&"00000000"), Some(&"00000000")) => Some((*interface).to_owned()),
        _ => None,
    });
    defaults.collect::<std::collections::BTreeSet<_>>().len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::io::Write::write_all(&mut file.as_file(), text.as_bytes()).expect("written");
        file
    }

    #[test]
    fn flags_outdo_the_file_and_the_file_outdoes_defaults() {
        let settings = file("data-dir = '/a'\nsocket = '/b'\nsocket-role = ['5=viewer']\n");
        let args = ManagerRunArgs {
            data_dir: Some("/c".into()),
            config: Some(settings.path().into()),
            listen: Some("127.0.0.1:1".into()),
            ..ManagerRunArgs::default()
        };
        let (config, log) = manager(args).expect("good");
        assert_eq!(config.data_dir, PathBuf::from("/c"));
        assert_eq!(config.socket, PathBuf::from("/b"));
        assert_eq!(config.advertise, ["127.0.0.1:1"]);
        assert_eq!(config.socket_roles, [SocketRole { gid: 5, role: OperatorRole::Viewer }]);
        assert_eq!(log, LogSettings { json: false, level: "info".into() });
    }

    #[test]
    fn an_unknown_key_is_bad_configuration_and_names_its_line() {
        let settings = file("manager = ['a']\nwipe-on-stopp = true\n");
        let args = AgentRunArgs { config: Some(settings.path().into()), ..AgentRunArgs::default() };
        let failure = agent(args).expect_err("refused");
        assert_eq!(failure.exit, Exit::Configuration);
        assert!(failure.text.contains("line 2"), "{}", failure.text);
        assert!(failure.text.contains("wipe-on-stopp"), "{}", failure.text);
        assert!(!failure.text.contains('\n'));
    }

    #[test]
    fn a_file_asked_for_must_be_there() {
        let args = AgentRunArgs { config: Some("/nowhere/a.toml".into()), ..Default::default() };
        assert_eq!(agent(args).expect_err("refused").exit, Exit::Configuration);
    }

    #[test]
    fn default_routes_are_counted_by_interface() {
        let table = "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT
eth0 00000000 0100A8C0 0003 0 0 0 00000000 0 0 0
eth0 0000A8C0 00000000 0001 0 0 0 00FFFFFF 0 0 0
wlan0 00000000 0100A8C0 0003 0 0 600 00000000 0 0 0\n";
        assert_eq!(default_routes(table), 2);
        assert_eq!(default_routes(""), 0);
    }

    #[test]
    fn a_socket_asked_for_is_not_outdone_by_a_host_in_the_file() {
        let settings = file("host = ['m1']\ntimeout = '5s'\n");
        let local = LocalArgs { socket: None, config: Some(settings.path().into()) };
        let args = ClientArgs { local: local.clone(), ..ClientArgs::default() };
        let found = ClientSettings::of(args).expect("good");
        assert_eq!(found.hosts, ["m1:4440"]);
        assert_eq!(found.timeout, Duration::from_secs(5));
        let local = LocalArgs { socket: Some("/s".into()), ..local };
        let found = ClientSettings::of(ClientArgs { local, ..ClientArgs::default() });
        let found = found.expect("good");
        assert!(found.hosts.is_empty() && found.local);
    }
}
