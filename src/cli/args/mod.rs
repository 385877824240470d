//! The words typed: what clap reads. Text is only cut up here; whether a name
//! is a name, and what is meant, is decided in the file of each command.

mod agent;
mod audit;
mod ca;
mod cluster;
mod context;
mod daemon;
mod node;
mod operator;
mod secret;
mod service;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::FalseyValueParser;
use clap::{Args, Parser, Subcommand};
use skep_core::domain::NO_ONE;

pub(super) use skep_client::settings::duration;

pub(super) use agent::{
    AgentCommand, AgentPutArgs, AgentServiceCommand, AgentSocketArgs, ExecArgs,
};
pub(super) use audit::{AuditCommand, WantedArgs};
pub(super) use ca::{CaCommand, CaRotateArgs};
pub(super) use cluster::{
    ClusterCommand, InitArgs, JoinArgs, LeaveArgs, LockArgs, ManagerTokenArgs, StatusArgs,
    TokenArgs, TokenCommand, UnlockArgs, UnlockKeyCommand, WorkerTokenArgs,
};
pub(super) use context::{ContextAddArgs, ContextCommand};
pub(super) use daemon::{AgentRunArgs, DevArgs, LogArgs, ManagerCommand, ManagerRunArgs};
pub(super) use node::{NodeCommand, NodeUpdateArgs};
pub(super) use operator::{OperatorCommand, OperatorCreateArgs};
pub(super) use secret::{
    ImportKind, SecretCommand, SecretCreateArgs, SecretImportArgs, SecretRmArgs,
    SecretRollbackArgs, SecretUpdateArgs,
};
pub(super) use service::{
    GrantArgs, RevokeArgs, ServiceCommand, ServiceCreateArgs, ServiceUpdateArgs,
};

/// Groups the commands; at most 40 lines in all.
const TOP: &str = "\
Skep keeps secrets for fleets of Linux machines.
Usage: skep COMMAND

Secrets and services:
  secret       Create, update, list and remove secrets
  service      Say where services run and which secrets they are granted
  exec         Run a command with a service's secrets below /run/secrets

Cluster:
  init         Found a cluster on this manager
  join         Let this manager join a cluster
  leave        Let this manager leave its cluster
  unlock       Unlock this manager
  lock         Lock this manager
  status       Show the state of the cluster
  unlock-key   Check, list and make unlock keys
  join-token   Make, list and remove join tokens
  node         List, label, drain and remove nodes
  operator     Make, list and remove operators, renew an identity
  audit        List who did what, verify and export the audit log
  cluster      Set the cluster's time back
  context      Name several clusters, and choose the one that commands speak to
  ca           Show the CA, replace the issuing CA

Daemons:
  manager      Run a manager, hand leadership over, repair one that was put back
  agent        Run this machine's agent, show its status, leave, say what runs here
  dev          Try it: a whole cluster on this machine

Other:
  registry     Tokens for a Docker registry (the package skep-registry)
  docker-api   Serve secrets to docker's own commands (the package skep-docker)
  compose      Take over the secrets of a Compose file (the package skep-docker)
  completion   Print completions for a shell
  man          Write manual pages
  version      Print the version

Options:
  -h, --help     Print help (of a command: skep COMMAND --help); -V, --version: the version

Without --host, an identity or a context, commands speak to the manager of this machine.
";

/// A secrets manager for fleets of Linux machines.
#[derive(Debug, Parser)]
#[command(name = "skep", version, help_template = TOP, max_term_width = 100)]
#[command(
    arg_required_else_help = true,
    subcommand_required = true,
    disable_help_subcommand = true
)]
pub(super) struct Words {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Create, update, list and remove secrets
    #[command(subcommand, arg_required_else_help = true)]
    Secret(SecretCommand),
    /// Say where services run and which secrets they are granted
    #[command(subcommand, arg_required_else_help = true)]
    Service(ServiceCommand),
    /// Run a command with a service's secrets below /run/secrets
    Exec(ExecArgs),
    /// Found a cluster on this manager
    Init(InitArgs),
    /// Let this manager join a cluster
    Join(JoinArgs),
    /// Let this manager leave its cluster, and erase its data
    Leave(LeaveArgs),
    /// Unlock this manager
    Unlock(UnlockArgs),
    /// Lock this manager
    Lock(LockArgs),
    /// Show the state of the cluster
    Status(StatusArgs),
    /// Check, list and make unlock keys
    #[command(subcommand, arg_required_else_help = true)]
    UnlockKey(UnlockKeyCommand),
    /// Make, list and remove join tokens
    #[command(subcommand, arg_required_else_help = true)]
    JoinToken(TokenCommand),
    /// List, label, drain and remove nodes
    #[command(subcommand, arg_required_else_help = true)]
    Node(NodeCommand),
    /// Make, list and remove operators, renew an identity
    #[command(subcommand, arg_required_else_help = true)]
    Operator(OperatorCommand),
    /// List who did what, verify and export the audit log
    #[command(subcommand, arg_required_else_help = true)]
    Audit(AuditCommand),
    /// Set the cluster's time back
    #[command(subcommand, arg_required_else_help = true)]
    Cluster(ClusterCommand),
    /// Name several clusters, and choose the one that commands speak to
    #[command(subcommand, arg_required_else_help = true)]
    Context(ContextCommand),
    /// Show the CA, replace the issuing CA
    #[command(subcommand, arg_required_else_help = true)]
    Ca(CaCommand),
    /// Run a manager, hand leadership over
    #[command(subcommand, arg_required_else_help = true)]
    Manager(ManagerCommand),
    /// Run this machine's agent, show its status, leave, say what runs here
    #[command(subcommand, arg_required_else_help = true)]
    Agent(AgentCommand),
    /// Run a whole cluster on this machine, to try things
    Dev(DevArgs),
    /// Tokens for a Docker registry
    ///
    /// The program skep-registry does it, which stands beside this one: a package of its own.
    /// `skep registry --help` shows its commands.
    #[command(
        disable_help_flag = true,
        after_help = "Examples:
  skep registry --help
  skep registry acl check acl.toml"
    )]
    Registry {
        /// What is passed on
        #[arg(value_name = "WORDS", trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<OsString>,
    },
    /// Serve secrets to docker's own commands
    ///
    /// The program skep-docker does it, which stands beside this one: a package of its own.
    /// `skep docker-api --help` shows its flags.
    #[command(
        disable_help_flag = true,
        after_help = "Examples:
  skep docker-api --help
  skep docker-api --socket /run/skep/docker.sock"
    )]
    DockerApi {
        /// What is passed on
        #[arg(value_name = "WORDS", trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<OsString>,
    },
    /// Take over the secrets of a Compose file
    ///
    /// The program skep-docker does it, which stands beside this one: a package of its own.
    /// `skep compose --help` shows its commands.
    #[command(
        disable_help_flag = true,
        after_help = "Examples:
  skep compose --help
  skep compose import compose.yml --dry-run"
    )]
    Compose {
        /// What is passed on
        #[arg(value_name = "WORDS", trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<OsString>,
    },
    /// Print completions for a shell
    #[command(after_help = "Examples:
  skep completion bash > /etc/bash_completion.d/skep
  skep completion zsh > ~/.zfunc/_skep")]
    Completion {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write manual pages, one for each command, into a folder
    #[command(after_help = "Examples:
  skep man /usr/local/share/man/man1
  skep man . && man ./skep-secret-create.1")]
    Man {
        /// The folder
        folder: PathBuf,
    },
    /// Print the version
    #[command(after_help = "Examples:
  skep version
  skep --version")]
    Version,
}

/// How to reach a manager.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct ClientArgs {
    /// Managers to ask, comma-separated, 2 seconds each [default: those of the identity]
    #[arg(long, value_name = "HOST:PORT", env = "SKEP_HOST", hide_env_values = true)]
    #[arg(value_delimiter = ',', help_heading = "Connection")]
    pub(super) host: Vec<String>,
    /// The identity file to show to managers
    #[arg(long, value_name = "FILE", env = "SKEP_IDENTITY", hide_env_values = true)]
    #[arg(help_heading = "Connection")]
    pub(super) identity: Option<PathBuf>,
    /// A file with the passphrase of an encrypted identity; - is standard input [default: a prompt]
    #[arg(long, value_name = "FILE", env = "SKEP_PASSPHRASE_FILE", hide_env_values = true)]
    #[arg(help_heading = "Connection")]
    pub(super) passphrase_file: Option<PathBuf>,
    /// A program that prints that passphrase, with its arguments
    #[arg(long, value_name = "COMMAND", env = "SKEP_IDENTITY_COMMAND", hide_env_values = true)]
    #[arg(help_heading = "Connection")]
    pub(super) identity_command: Option<String>,
    /// How long to try and to wait [default: 30s]
    #[arg(long, value_name = "TIME", env = "SKEP_TIMEOUT", hide_env_values = true)]
    #[arg(value_parser = duration, help_heading = "Connection")]
    pub(super) timeout: Option<Duration>,
    /// Make no connection without X25519MLKEM768
    #[arg(long, env = "SKEP_REQUIRE_PQ", hide_env_values = true)]
    #[arg(value_parser = FalseyValueParser::new(), help_heading = "Connection")]
    pub(super) require_pq: bool,
    #[command(flatten)]
    pub(super) local: LocalArgs,
}

/// How to reach the manager of this machine.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct LocalArgs {
    /// This machine's manager [default: /run/skep/manager.sock]
    #[arg(long, value_name = "PATH", env = "SKEP_SOCKET", hide_env_values = true)]
    #[arg(help_heading = "Connection")]
    pub(super) socket: Option<PathBuf>,
    /// Settings for all of these [default: /etc/skep/cli.toml]
    #[arg(long, value_name = "FILE", env = "SKEP_CONFIG", hide_env_values = true)]
    #[arg(help_heading = "Connection")]
    pub(super) config: Option<PathBuf>,
    /// A cluster by its name [default: the one that `skep context use` says]
    #[arg(long, value_name = "NAME", env = "SKEP_CONTEXT", hide_env_values = true)]
    #[arg(help_heading = "Connection")]
    pub(super) context: Option<String>,
}

/// For commands that write an identity file.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct EncryptArgs {
    /// Encrypt the identity file with a passphrase, which is asked for
    #[arg(long)]
    pub(super) passphrase: bool,
    /// Encrypt it with the passphrase in this file; - is standard input
    #[arg(long, value_name = "FILE")]
    pub(super) new_passphrase_file: Option<PathBuf>,
}

/// For commands that wait until nodes confirm.
#[derive(Args, Clone, Copy, Debug, Default)]
pub(super) struct WaitArgs {
    /// Return after the commit, without waiting for nodes
    #[arg(short, long)]
    pub(super) detach: bool,
}

/// For commands that list.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct ListArgs {
    /// Only what fits: name=TEXT, id=PREFIX, label=KEY[=VALUE] (repeatable, all must fit)
    #[arg(short, long = "filter", value_name = "FILTER")]
    pub(super) filters: Vec<String>,
    /// Print ids only
    #[arg(short, long)]
    pub(super) quiet: bool,
    #[command(flatten)]
    pub(super) show: ShowArgs,
}

/// How what is shown is written.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct FormatArgs {
    /// table, json, or a template such as '{{.ID}} {{.Name}}'
    #[arg(long = "format", value_name = "FORMAT")]
    pub(super) of: Option<String>,
}

/// For commands that show what managers know.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct ShowArgs {
    #[command(flatten)]
    pub(super) format: FormatArgs,
    /// Take what the manager asked knows, also if it may be behind
    #[arg(long)]
    pub(super) stale: bool,
}

/// A user or a group, by its number.
fn number_of_user(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(NO_ONE) => Err("that is no user or group: the numbers below it are".to_owned()),
        Ok(number) => Ok(number),
        Err(_not_one) => {
            Err("a user or group is written as its number, such as 999: names differ \
                              from node to node"
                .to_owned())
        }
    }
}
