//! `skep agent` and `skep exec`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use skep_core::domain::HookSignal;

use super::{AgentRunArgs, FormatArgs, duration};

#[derive(Debug, Subcommand)]
pub(crate) enum AgentCommand {
    /// Run this machine's agent (as root: it mounts)
    #[command(after_help = "Examples:
  skep agent run --manager m1:4440 --token-file /root/token
  skep agent run --config /etc/skep/agent.toml")]
    Run(Box<AgentRunArgs>),
    /// Show the agent's connection and services
    #[command(after_help = "Examples:
  skep agent status
  skep agent status --format json")]
    Status {
        #[command(flatten)]
        format: FormatArgs,
        #[command(flatten)]
        socket: AgentSocketArgs,
    },
    /// Let go who waits for a stopped agent's files (FUSE); the agent starts it itself
    #[command(after_help = "Examples:
  skep agent guard /run/secrets/.mounts/fuse
  skep agent guard --help")]
    Guard {
        /// The mount through which the agent that started this serves files
        #[arg(value_name = "MOUNT")]
        point: PathBuf,
    },
    /// Wipe everything and leave the cluster
    #[command(after_help = "Examples:
  skep agent leave
  skep agent leave --agent-socket /run/skep/agent.sock")]
    Leave {
        #[command(flatten)]
        socket: AgentSocketArgs,
    },
    /// Write next values of files that a service was granted to write, as one of its processes
    #[command(after_help = "Examples:
  skep exec --service web -- skep agent put web session-key new-key
  skep exec --service web -- sh -c 'skep agent put web session-key -' < new-key

Values are those of files below /run/secrets; several are written as one act. With --expect
nothing is written where another set is in place than the one that was read.")]
    Put(AgentPutArgs),
    /// Say that a service runs on this machine, or no longer
    #[command(subcommand, arg_required_else_help = true)]
    Service(AgentServiceCommand),
}

#[derive(Debug, Subcommand)]
pub(crate) enum AgentServiceCommand {
    /// The service runs here: wait for its secrets and print where they are
    #[command(after_help = "Examples:
  skep agent service up web
  cd \"$(skep agent service up --timeout 10s web)\"")]
    Up {
        /// The service's name
        name: String,
        /// How long all may take until the command runs
        #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
        timeout: Duration,
        #[command(flatten)]
        socket: AgentSocketArgs,
    },
    /// The service no longer runs here: its secrets are wiped
    #[command(after_help = "Examples:
  skep agent service down web
  skep agent service down --agent-socket /run/skep/agent.sock web")]
    Down {
        /// The service's name
        name: String,
        #[command(flatten)]
        socket: AgentSocketArgs,
    },
}

#[derive(Args, Debug)]
pub(crate) struct AgentPutArgs {
    /// The service that the calling process is a workload of
    pub(crate) service: String,
    /// A file's name, then a file or - to read its value from; or NAME=FILE several times
    #[arg(required = true, value_name = "NAME [FILE] | NAME=FILE")]
    pub(crate) what: Vec<OsString>,
    /// Only if this set is in place: what `readlink /run/secrets/..data` said when it was read
    #[arg(long, value_name = "SET")]
    pub(crate) expect: Option<String>,
    /// Leave out one line end at the end of each value
    #[arg(long)]
    pub(crate) strip_newline: bool,
    /// How long all may take
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    pub(crate) timeout: Duration,
    #[command(flatten)]
    pub(crate) socket: AgentSocketArgs,
}

/// How to reach the agent of this machine.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct AgentSocketArgs {
    /// This machine's agent [default: /run/skep/agent.sock]
    #[arg(long, value_name = "PATH", env = "SKEP_AGENT", hide_env_values = true)]
    #[arg(help_heading = "Connection")]
    pub(crate) agent_socket: Option<PathBuf>,
    /// Settings for all of these [default: /etc/skep/cli.toml]
    #[arg(long, value_name = "FILE", env = "SKEP_CONFIG", hide_env_values = true)]
    #[arg(help_heading = "Connection")]
    pub(crate) config: Option<PathBuf>,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  skep exec --service web -- /usr/bin/web --config /etc/web.toml
  skep exec --service web --user www-data -- nginx -g 'daemon off;'
  skep exec --service web --signal-on-change HUP -- nginx -g 'daemon off;'
  skep exec --service web --restart-on-change -- /usr/bin/web

With --user the command's HOME, USER, LOGNAME and SHELL are that user's. A number that
nobody has is taken as it is: its group is the same number, HOME is / and there is no USER.

With --restart-on-change, skep stays beside the command: it sends it TERM, KILL after 10 seconds,
and starts it again. Both ways of being told take the place of the service's --on-change signal.

Ends as the command does; 125 where it was not run, 126 not executable,
127 not found, 128+N ended by signal N.")]
pub(crate) struct ExecArgs {
    /// The service that the command is a workload of
    #[arg(long, value_name = "NAME")]
    pub(crate) service: String,
    /// Run the command as this user and group, names or numbers, with its HOME
    #[arg(long, value_name = "USER[:GROUP]")]
    pub(crate) user: Option<String>,
    /// How long to wait for the secrets
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    pub(crate) timeout: Duration,
    #[command(flatten)]
    pub(crate) socket: AgentSocketArgs,
    /// Send CMD a signal whenever its secrets have changed, such as HUP
    #[arg(long, value_name = "SIGNAL", conflicts_with = "restart_on_change")]
    pub(crate) signal_on_change: Option<HookSignal>,
    /// End CMD and start it again whenever its secrets have changed
    #[arg(long)]
    pub(crate) restart_on_change: bool,
    /// The command and its arguments
    #[arg(required = true, last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}
