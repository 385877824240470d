//! Where settings come from: flag, `SKEP_*` (clap reads both), then a file
//! below `/etc/skep`, then the default. A file may be absent; a word in it that
//! nobody knows is bad configuration, not ignored.

use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use serde::Deserialize;

use crate::daemon::config::{
    AGENT_DATA_DIR, AGENT_ROOT, AGENT_SOCKET, AgentConfig, AuditSettings, CREDENTIALS_SOCKET,
    DOCKER_ENGINE, DOCKER_PLUGIN, DockerConfig, LISTEN, MANAGER_DATA_DIR, MANAGER_SOCKET,
    ManagerConfig, OnFailure, SocketRole,
};
pub(super) use skep_client::settings::addresses;
use skep_client::settings::{CliFile, ClientSettings, Typed, bad, first, load, no_address};
use skep_client::{read_address, read_own_address};
use skep_core::base::{Exit, Failure, Name};
use skep_core::domain::HookPath;

use super::args::{AgentRunArgs, AgentSocketArgs, ClientArgs, LocalArgs, LogArgs, ManagerRunArgs};
use super::words::read_operator_role;

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
    audit_max_size: Option<String>,
    audit_max_age: Option<String>,
    audit_on_failure: Option<String>,
    require_pq: bool,
    log_format: Option<String>,
    log_level: Option<String>,
}

/// The least that the audit log may take.
const LEAST_AUDIT: ByteSize = ByteSize::mib(64);
/// The least age of its lines.
const LEAST_AUDIT_AGE: Duration = Duration::from_hours(1);

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
    docker: Option<SocketSetting>,
    docker_engine: Option<PathBuf>,
    allow_hook: Vec<String>,
    systemd: Option<SocketSetting>,
    wipe_on_stop: bool,
    require_pq: bool,
    log_format: Option<String>,
    log_level: Option<String>,
}

/// `docker = true`, `systemd = true`, or where is listened for them.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum SocketSetting {
    Whether(bool),
    At(PathBuf),
}

impl SocketSetting {
    fn path(self, usual: &str) -> Option<PathBuf> {
        match self {
            Self::Whether(is_wanted) => is_wanted.then(|| usual.into()),
            Self::At(path) => Some(path),
        }
    }
}

/// How a daemon logs, decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LogSettings {
    pub(super) json: bool,
    pub(super) level: String,
}

/// Flags and environment over the context in use, over `cli.toml`.
pub(super) fn client(args: ClientArgs) -> Result<ClientSettings, Failure> {
    let ClientArgs {
        host,
        identity,
        passphrase_file,
        identity_command,
        timeout,
        require_pq,
        local,
    } = args;
    let LocalArgs { socket, config, context } = local;
    ClientSettings::of(Typed {
        host,
        identity,
        passphrase_file,
        identity_command,
        timeout,
        require_pq,
        socket,
        config,
        context,
    })
}

/// For commands that only this machine's manager serves.
pub(super) fn local(args: LocalArgs) -> Result<ClientSettings, Failure> {
    let mut settings = client(ClientArgs { local: args, ..ClientArgs::default() })?;
    settings.hosts.clear();
    settings.identity = None;
    settings.local = true;
    Ok(settings)
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
        audit: audit(
            args.audit_max_size.or(file.audit_max_size).as_deref(),
            args.audit_max_age.or(file.audit_max_age).as_deref(),
            args.audit_on_failure.or(file.audit_on_failure).as_deref(),
        )?,
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
    let hooks = first(args.allow_hooks, file.allow_hook);
    let config = AgentConfig {
        data_dir: args.data_dir.or(file.data_dir).unwrap_or_else(|| AGENT_DATA_DIR.into()),
        managers,
        token_file: args.token_file.or(file.token_file),
        name: name.map_err(|error| bad(format!("name: {error}")).hint("for example web1"))?,
        root: args.root.or(file.root).unwrap_or_else(|| AGENT_ROOT.into()),
        socket: args.socket.or(file.socket).unwrap_or_else(|| AGENT_SOCKET.into()),
        docker: docker(
            args.docker.or_else(|| file.docker?.path(DOCKER_PLUGIN)),
            args.docker_engine.or(file.docker_engine),
        )?,
        allow_hooks: hooks.iter().map(|path| hook(path)).collect::<Result<_, _>>()?,
        systemd: args.systemd.or_else(|| file.systemd?.path(CREDENTIALS_SOCKET)),
        wipe_on_stop: args.wipe_on_stop || file.wipe_on_stop,
        require_pq: args.require_pq || file.require_pq,
    };
    Ok((config, LogSettings::of(args.log, file.log_format, file.log_level)?))
}

/// How the audit log is kept.
fn audit(
    size: Option<&str>,
    age: Option<&str>,
    on_failure: Option<&str>,
) -> Result<AuditSettings, Failure> {
    let mut settings = AuditSettings::default();
    if let Some(size) = size {
        let wrong = || {
            let text = format!("audit-max-size: is no size of {LEAST_AUDIT} or more");
            bad(text).hint("such as 1GiB or 500MiB")
        };
        let bytes = size.parse::<ByteSize>().map_err(|_not_one| wrong())?;
        if bytes < LEAST_AUDIT {
            return Err(wrong());
        }
        settings.retention.bytes = bytes.as_u64();
    }
    if let Some(age) = age {
        let wrong = || bad("audit-max-age: is no time of an hour or more").hint("such as 90d");
        let age = humantime::parse_duration(age).map_err(|_not_one| wrong())?;
        if age < LEAST_AUDIT_AGE {
            return Err(wrong());
        }
        settings.retention.age = Some(age);
    }
    settings.on_failure = match on_failure {
        None | Some("halt") => OnFailure::Halt,
        Some("continue") => OnFailure::Continue,
        Some(_) => {
            let hint = "halt does nothing that would have to be recorded; continue counts it";
            return Err(bad("audit-on-failure: is halt or continue").hint(hint));
        }
    };
    Ok(settings)
}

/// How an engine is served, if it is to be.
fn docker(
    plugin: Option<PathBuf>,
    engine: Option<PathBuf>,
) -> Result<Option<DockerConfig>, Failure> {
    let Some(plugin) = plugin else {
        return match engine {
            None => Ok(None),
            Some(_) => Err(bad("docker-engine: no engine is served")
                .hint("with --docker the agent serves one")),
        };
    };
    let is_socket = plugin.extension().is_some_and(|end| end == "sock");
    let named = plugin.file_stem().and_then(|stem| stem.to_str()?.parse::<Name>().ok());
    if !(is_socket && named.is_some()) {
        return Err(bad(format!("docker: {}: is not called as a driver", plugin.display()))
            .hint("the plug-in's socket is called as the driver, such as skep.sock"));
    }
    let engine = engine.unwrap_or_else(|| DOCKER_ENGINE.into());
    Ok(Some(DockerConfig { plugin, engine }))
}

fn hook(path: &str) -> Result<HookPath, Failure> {
    path.parse().map_err(|error| {
        bad(format!("allow-hook: {error}")).hint("for example /usr/local/sbin/reload-web")
    })
}

fn socket_role(text: &str) -> Result<SocketRole, Failure> {
    let wrong = || {
        bad("socket-role: is not written GID=ROLE")
            .hint("a group's number and admin, editor, viewer or auditor, such as 970=viewer")
    };
    let (gid, role) = text.split_once('=').ok_or_else(wrong)?;
    let role = read_operator_role(role).ok_or_else(wrong)?;
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
    use skep_core::domain::OperatorRole;

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
        let local = LocalArgs { config: Some(settings.path().into()), ..LocalArgs::default() };
        let args = ClientArgs { local: local.clone(), ..ClientArgs::default() };
        let found = client(args).expect("good");
        assert_eq!(found.hosts, ["m1:4440"]);
        assert_eq!(found.timeout, Duration::from_secs(5));
        let local = LocalArgs { socket: Some("/s".into()), ..local };
        let found = client(ClientArgs { local, ..ClientArgs::default() });
        let found = found.expect("good");
        assert!(found.hosts.is_empty() && found.local);
    }
}
