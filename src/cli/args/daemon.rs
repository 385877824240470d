//! `skep manager run`, `skep agent run` and `skep dev`.

use std::path::PathBuf;

use clap::builder::FalseyValueParser;
use clap::{Args, Subcommand};

use crate::daemon::config::{CREDENTIALS_SOCKET, DOCKER_PLUGIN};

use super::{ClientArgs, LocalArgs};

#[derive(Debug, Subcommand)]
pub(crate) enum ManagerCommand {
    /// Run a manager
    #[command(after_help = "Examples:
  skep manager run --advertise m1.example.org:4440
  skep manager run --config /etc/skep/manager.toml --unlock-key-file /run/keys/m1")]
    Run(Box<ManagerRunArgs>),
    /// Hand leadership over to another manager
    #[command(after_help = "Examples:
  skep manager step-down
  skep manager step-down --host m1.example.org --identity admin.skepid")]
    StepDown {
        /// Which manager leads next, by name or id [default: the one that knows most]
        #[arg(long, value_name = "NAME")]
        to: Option<String>,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Bring a manager home whose disk was put back to an older state
    #[command(
        long_about = "Bring a manager home whose disk was put back to an older state

The leader takes it out of the managers that vote; then it erases its log and snapshots and
comes back as a learner, which votes once it has caught up. Its key file stays. Nothing is
erased before a majority without it has confirmed, and it can be repeated at any time.
It asks on a terminal for the manager's name; elsewhere it takes --yes.",
        after_help = "Examples:
  skep manager repair
  skep manager repair --yes m1.example.org:4440"
    )]
    Repair {
        /// Other managers to ask, where its disk names none
        #[arg(value_name = "HOST:PORT")]
        addresses: Vec<String>,
        /// Go on without being asked for the manager's name
        #[arg(short, long)]
        yes: bool,
        #[command(flatten)]
        local: LocalArgs,
    },
}

#[derive(Args, Debug, Default)]
pub(crate) struct ManagerRunArgs {
    /// Keys, log and snapshots [default: /var/lib/skep/manager]
    #[arg(long, value_name = "DIR", env = "SKEP_DATA_DIR", hide_env_values = true)]
    pub(crate) data_dir: Option<PathBuf>,
    /// What it is called in the cluster [default: this machine's name]
    #[arg(long, env = "SKEP_NAME", hide_env_values = true)]
    pub(crate) name: Option<String>,
    /// Where to listen [default: 0.0.0.0:4440]
    #[arg(long, value_name = "IP:PORT", env = "SKEP_LISTEN", hide_env_values = true)]
    pub(crate) listen: Option<String>,
    /// Where others reach it (repeatable) [default: the address of --listen, or that of the
    /// default route]
    #[arg(long, value_name = "HOST:PORT", env = "SKEP_ADVERTISE", hide_env_values = true)]
    #[arg(value_delimiter = ',')]
    pub(crate) advertise: Vec<String>,
    /// The control socket [default: /run/skep/manager.sock]
    #[arg(long, value_name = "PATH", env = "SKEP_SOCKET", hide_env_values = true)]
    pub(crate) socket: Option<PathBuf>,
    /// A file with an unlock key, for an unattended start
    #[arg(long, value_name = "FILE", env = "SKEP_UNLOCK_KEY_FILE", hide_env_values = true)]
    pub(crate) unlock_key_file: Option<PathBuf>,
    /// What a group may do over the socket: admin, editor, viewer or auditor (repeatable;
    /// the first one that fits counts)
    #[arg(long = "socket-role", value_name = "GID=ROLE", env = "SKEP_SOCKET_ROLE")]
    #[arg(hide_env_values = true, value_delimiter = ',')]
    pub(crate) socket_roles: Vec<String>,
    /// Bytes that the audit log may take: the oldest lines go [default: 1GiB]
    #[arg(long, value_name = "SIZE", env = "SKEP_AUDIT_MAX_SIZE", hide_env_values = true)]
    pub(crate) audit_max_size: Option<String>,
    /// How old its lines get [default: as old as there is room]
    #[arg(long, value_name = "TIME", env = "SKEP_AUDIT_MAX_AGE", hide_env_values = true)]
    pub(crate) audit_max_age: Option<String>,
    /// Where the audit log can't be written: halt (do nothing that it would have to record) or
    /// continue (and count what is lost) [default: halt]
    #[arg(long, value_name = "HOW", env = "SKEP_AUDIT_ON_FAILURE", hide_env_values = true)]
    pub(crate) audit_on_failure: Option<String>,
    /// Take and make no connection without X25519MLKEM768
    #[arg(long, env = "SKEP_REQUIRE_PQ", hide_env_values = true)]
    #[arg(value_parser = FalseyValueParser::new())]
    pub(crate) require_pq: bool,
    /// Check the settings and the key file's form, and end
    #[arg(long)]
    pub(crate) check: bool,
    /// Settings for all of these [default: /etc/skep/manager.toml]
    #[arg(long, value_name = "FILE", env = "SKEP_CONFIG", hide_env_values = true)]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

#[derive(Args, Debug, Default)]
pub(crate) struct AgentRunArgs {
    /// Identity and state [default: /var/lib/skep/agent]
    #[arg(long, value_name = "DIR", env = "SKEP_DATA_DIR", hide_env_values = true)]
    pub(crate) data_dir: Option<PathBuf>,
    /// Managers to join or to reach first (repeatable)
    #[arg(long = "manager", value_name = "HOST:PORT", env = "SKEP_MANAGER")]
    #[arg(hide_env_values = true, value_delimiter = ',')]
    pub(crate) managers: Vec<String>,
    /// A file with a join token, read until the machine has joined
    #[arg(long, value_name = "FILE", env = "SKEP_TOKEN_FILE", hide_env_values = true)]
    pub(crate) token_file: Option<PathBuf>,
    /// The node's name [default: this machine's]
    #[arg(long, env = "SKEP_NAME", hide_env_values = true)]
    pub(crate) name: Option<String>,
    /// Where secrets are shown [default: /run/secrets]
    #[arg(long, value_name = "DIR", env = "SKEP_ROOT", hide_env_values = true)]
    pub(crate) root: Option<PathBuf>,
    /// The agent's socket [default: /run/skep/agent.sock]
    #[arg(long, value_name = "PATH", env = "SKEP_SOCKET", hide_env_values = true)]
    pub(crate) socket: Option<PathBuf>,
    /// Serve this machine's Docker engine: volumes of the driver that this socket is called as
    /// [default: /run/docker/plugins/skep.sock]
    #[arg(long, value_name = "SOCKET", env = "SKEP_DOCKER", hide_env_values = true)]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = DOCKER_PLUGIN)]
    pub(crate) docker: Option<PathBuf>,
    /// Where that engine listens [default: /run/docker.sock]
    #[arg(long, value_name = "SOCKET", env = "SKEP_DOCKER_ENGINE", hide_env_values = true)]
    pub(crate) docker_engine: Option<PathBuf>,
    /// A program that services may have run here once their set has changed (repeatable)
    #[arg(long = "allow-hook", value_name = "PATH", env = "SKEP_ALLOW_HOOK")]
    #[arg(hide_env_values = true, value_delimiter = ',')]
    pub(crate) allow_hooks: Vec<String>,
    /// Give systemd's units the credentials of their services: `LoadCredential=FILE:SOCKET`
    /// [default with =SOCKET left out: /run/skep/credentials.sock]
    #[arg(long, value_name = "SOCKET", env = "SKEP_SYSTEMD", hide_env_values = true)]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = CREDENTIALS_SOCKET)]
    pub(crate) systemd: Option<PathBuf>,
    /// A clean stop wipes the secrets of running workloads too
    #[arg(long, env = "SKEP_WIPE_ON_STOP", hide_env_values = true)]
    #[arg(value_parser = FalseyValueParser::new())]
    pub(crate) wipe_on_stop: bool,
    /// Make no connection without X25519MLKEM768
    #[arg(long, env = "SKEP_REQUIRE_PQ", hide_env_values = true)]
    #[arg(value_parser = FalseyValueParser::new())]
    pub(crate) require_pq: bool,
    /// Settings for all of these [default: /etc/skep/agent.toml]
    #[arg(long, value_name = "FILE", env = "SKEP_CONFIG", hide_env_values = true)]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

/// What a daemon writes to standard error.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct LogArgs {
    /// text or json [default: text]
    #[arg(long, value_name = "FORMAT", env = "SKEP_LOG_FORMAT", hide_env_values = true)]
    #[arg(value_parser = ["text", "json"])]
    pub(crate) log_format: Option<String>,
    /// error, warn, info, debug or trace [default: info]
    #[arg(long, value_name = "LEVEL", env = "SKEP_LOG_LEVEL", hide_env_values = true)]
    pub(crate) log_level: Option<String>,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  skep dev
  skep dev --managers 1 --agents 0 --dir ~/skep

Once all is up it prints a line for other terminals to evaluate:
  export SKEP_HOST=... SKEP_IDENTITY=... SKEP_AGENT=...
Ctrl-C ends everything. The folder of --dir stays: the same --dir brings the same
cluster back, unlocked with the unlock-key in it. As root: agents mount file systems.")]
pub(crate) struct DevArgs {
    /// How many managers, 1 to 7 [default: 3, or those in --dir]
    #[arg(long, value_name = "NUMBER")]
    pub(crate) managers: Option<usize>,
    /// How many agents; 0 needs no root [default: 2, or those in --dir]
    #[arg(long, value_name = "NUMBER")]
    pub(crate) agents: Option<usize>,
    /// Where everything stands; it stays at the end [default: a temporary folder]
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Leave the temporary folder at the end
    #[arg(long)]
    pub(crate) keep: bool,
}
