//! What a daemon is told when it starts: every setting decided, checked and in
//! its own type. Where a setting came from (flag, environment, file, default) is
//! no longer known here.

use std::net::SocketAddr;
use std::path::PathBuf;

use skep_core::base::Name;
use skep_core::domain::{HookPath, OperatorRole};

/// The manager's default data directory.
pub const MANAGER_DATA_DIR: &str = "/var/lib/skep/manager";
pub use crate::manager::{AuditSettings, OnFailure};
pub use skep_client::settings::MANAGER_SOCKET;
/// Where a manager listens by default.
pub const LISTEN: &str = "0.0.0.0:4440";
/// The agent's default data directory.
pub const AGENT_DATA_DIR: &str = "/var/lib/skep/agent";
/// The agent's default socket.
pub const AGENT_SOCKET: &str = "/run/skep/agent.sock";
/// Where systemd asks an agent for credentials, unless it is told otherwise.
pub const CREDENTIALS_SOCKET: &str = "/run/skep/credentials.sock";
/// Where the plug-in and its engine are by default.
pub use crate::agent::docker::{ENGINE as DOCKER_ENGINE, PLUGIN as DOCKER_PLUGIN};
/// Where the agent shows secrets by default.
pub const AGENT_ROOT: &str = crate::agent::vault::layout::ROOT;

/// What `skep manager run` was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManagerConfig {
    /// Key file, log, snapshots; made with mode 0700 if it is not there.
    pub data_dir: PathBuf,
    /// What a manager that founds a cluster, or joins one without being told its name, is
    /// called; `None`: the machine's host name.
    pub name: Option<Name>,
    /// Where to listen for peers, agents and operators.
    pub listen: SocketAddr,
    /// Where others reach it, `host:port`; at least one.
    pub advertise: Vec<String>,
    /// The control socket, made with mode 0600.
    pub socket: PathBuf,
    /// A file with an unlock key, for an unattended start.
    pub unlock_key_file: Option<PathBuf>,
    /// What groups may do over the control socket, beside uid 0 and the daemon's own.
    pub socket_roles: Vec<SocketRole>,
    /// No connection is made or taken without ML-KEM-768.
    pub require_pq: bool,
    /// How the audit log is kept.
    pub audit: AuditSettings,
}

/// Members of a group act over the control socket with this role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketRole {
    /// The group.
    pub gid: u32,
    /// What its members may do.
    pub role: OperatorRole,
}

/// How an agent serves a container engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DockerConfig {
    /// The plug-in's socket, made with mode 0600; the driver is called as this file.
    pub plugin: PathBuf,
    /// The engine's own socket.
    pub engine: PathBuf,
}

/// What `skep agent run` was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentConfig {
    /// Identity and state; made with mode 0700 if it is not there.
    pub data_dir: PathBuf,
    /// Managers to try first (`host:port`); empty once it has joined is fine.
    pub managers: Vec<String>,
    /// A file with a join token; read only while the agent has no identity.
    pub token_file: Option<PathBuf>,
    /// The node's name; `None`: the machine's host name.
    pub name: Option<Name>,
    /// Where services' secrets are shown.
    pub root: PathBuf,
    /// The agent's socket.
    pub socket: PathBuf,
    /// How a container engine is served; `None`: it isn't.
    pub docker: Option<DockerConfig>,
    /// The programs that services may have run here.
    pub allow_hooks: Vec<HookPath>,
    /// Where systemd asks for credentials; `None`: nowhere.
    pub systemd: Option<PathBuf>,
    /// Whether a clean stop wipes the mounts of live workloads too.
    pub wipe_on_stop: bool,
    /// No connection is made without ML-KEM-768.
    pub require_pq: bool,
}
