//! `skep init`, `unlock`, `lock`, `status`, `unlock-key`, `join-token`, `cluster`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::{ClientArgs, EncryptArgs, ListArgs, LocalArgs, ShowArgs, duration};

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  skep init --name prod --unlock-key-out /media/safe/prod.key
  skep init --name prod --identity-out ~/prod.skepid > prod.key")]
pub(crate) struct InitArgs {
    /// The cluster's name [default: this machine's]
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Where the first admin's identity is written; must not exist
    #[arg(long, value_name = "FILE", default_value = "admin.skepid")]
    pub(crate) identity_out: PathBuf,
    /// Where the unlock key is written; must not exist [default: standard output]
    #[arg(long, value_name = "FILE")]
    pub(crate) unlock_key_out: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) encrypt: EncryptArgs,
    #[command(flatten)]
    pub(crate) local: LocalArgs,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  skep join --token-file token m1.example.org:4440
  skep join --token-file - m1:4440 m2:4440 < token
  skep join --learner --token-file token m1.example.org:4440

A learner follows all changes and never votes: for reads with --stale and for backups far
from the others. To have it vote, remove it, and let it join anew without --learner.")]
pub(crate) struct JoinArgs {
    /// Managers of the cluster to ask, in turn
    #[arg(required = true, value_name = "HOST:PORT")]
    pub(crate) managers: Vec<String>,
    /// A file with the join token; - is standard input
    #[arg(long, value_name = "FILE", default_value = "-")]
    pub(crate) token_file: PathBuf,
    /// What this manager is called in the cluster [default: this machine's name]
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Follow and never vote
    #[arg(long)]
    pub(crate) learner: bool,
    #[command(flatten)]
    pub(crate) local: LocalArgs,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  skep leave                 # the others must be able to go on
  skep leave --force         # a manager that was removed, or can't reach the others
  skep leave --force --yes   # the same in a script

With --force nobody is told: only this machine's data is erased, and the cluster goes
on listing the manager until skep node rm. That of the last manager is the cluster's.
It asks on a terminal for the manager's name; elsewhere it takes --yes.")]
pub(crate) struct LeaveArgs {
    /// Erase this manager's data without having it removed from the cluster
    #[arg(long)]
    pub(crate) force: bool,
    /// With --force: go on without being asked for the manager's name
    #[arg(short, long)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) local: LocalArgs,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  skep unlock                        # asks for the key, without echo
  skep unlock --key-file /media/safe/prod.key")]
pub(crate) struct UnlockArgs {
    /// A file with the unlock key; - is standard input [default: a prompt]
    #[arg(long, value_name = "FILE")]
    pub(crate) key_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) local: LocalArgs,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  skep lock
  skep lock --socket /run/skep/manager.sock")]
pub(crate) struct LockArgs {
    #[command(flatten)]
    pub(crate) local: LocalArgs,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  skep status
  skep status --format json

Ends with 0; 3 without a leader; 4 locked; 8 degraded.")]
pub(crate) struct StatusArgs {
    /// Show it again each second until interrupted
    #[arg(short, long)]
    pub(crate) watch: bool,
    /// table, json, or a template such as '{{.State}}'
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<String>,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum UnlockKeyCommand {
    /// Tell whether an unlock key is typed right and unlocks this cluster
    #[command(after_help = "Examples:
  skep unlock-key check
  skep unlock-key check --key-file /media/safe/prod.key")]
    Check {
        /// A file with the unlock key; - is standard input [default: a prompt]
        #[arg(long, value_name = "FILE")]
        key_file: Option<PathBuf>,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// List the recipients: the public halves of the unlock keys
    #[command(
        visible_alias = "list",
        after_help = "Examples:
  skep unlock-key ls
  skep unlock-key ls --format json"
    )]
    Ls {
        #[command(flatten)]
        show: ShowArgs,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Make a key pair: prints the public half, writes out the unlock key
    #[command(after_help = "Examples:
  skep unlock-key generate --out /media/safe/spare.key
  skep unlock-key generate --fingerprint 5f1c...e2 --out spare.key")]
    Generate {
        /// Where the unlock key is written; must not exist
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// The cluster's fingerprint [default: asked from a manager]
        #[arg(long, value_name = "HEX")]
        fingerprint: Option<String>,
        #[command(flatten)]
        client: ClientArgs,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ClusterCommand {
    /// Set the cluster's time back after a manager's clock was ahead
    #[command(after_help = "Examples:
  skep cluster reset-time
  skep cluster reset-time --host m1.example.org --identity admin.skepid

The cluster's time is the newest that a leader has written, and never runs backwards by
itself. Where `skep status` warns of time-ahead, and the clocks of a majority of the
managers agree, this sets it to the leader's clock. What was made in the false time counts
as made now: what ends keeps its length. Where the time is not ahead nothing is changed.")]
    ResetTime {
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Make a cluster of one manager, after the majority of them was lost for good
    #[command(after_help = "Examples:
  skep cluster recover --from /var/lib/skep/manager --key-file /media/safe/prod.key
  skep cluster recover --from /var/lib/skep/manager --identity admin.skepid --yes

Only where the majority never comes back: what it acknowledged and this manager never got
is lost. Stop the manager first; of several survivors take the one with the newest
revision (`skep status` shows it). Call it as the user that runs the manager. It lists what
is dropped: the other managers, join tokens, and what operators may do. CA, workers,
services and secrets stay; their nodes go on serving. Nothing is delivered before
skep cluster resume.")]
    Recover {
        /// The survivor's data folder
        #[arg(long, value_name = "DIR")]
        from: PathBuf,
        /// A file with the unlock key; - is standard input [default: a prompt]
        #[arg(long, value_name = "FILE")]
        key_file: Option<PathBuf>,
        /// The identity of an operator who is not suspended
        #[arg(long, value_name = "FILE")]
        identity: Option<PathBuf>,
        /// Go on without being asked for the cluster's name
        #[arg(short, long)]
        yes: bool,
    },
    /// Go on after a recovery: deliver what is due, let operators act again
    #[command(after_help = "Examples:
  skep cluster resume          # shows what was dropped, and asks
  skep cluster resume --yes    # the same in a script

What was removed or revoked after the newest revision that was kept may live again. Look
at secrets, services and nodes first, and remove what must not: until then nothing is
delivered, and nothing taken away.")]
    Resume {
        /// Go on without being asked for the cluster's name
        #[arg(short, long)]
        yes: bool,
        #[command(flatten)]
        client: ClientArgs,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token with which a machine joins as a worker
    #[command(after_help = "Examples:
  skep join-token worker -q > token
  skep join-token worker --out worker.token
  skep join-token worker --ttl 1h --uses 1 --name 'web*' --label tier=web

A name that services are placed by goes only to a token for that very name, without a *.")]
    Worker(WorkerTokenArgs),
    /// Make a token with which a machine joins as a manager
    #[command(after_help = "Examples:
  skep join-token manager -q > token
  skep join-token manager --out manager.token
  skep join-token manager --ttl 10m --name m2
  skep join-token manager --uses 2 -q > token

Whoever joins as a manager gets the cluster key, and with it every secret: the token is
good for one machine and an hour.")]
    Manager(ManagerTokenArgs),
    /// List the tokens that have not ended, with the uses they have left
    #[command(
        visible_alias = "list",
        after_help = "Examples:
  skep join-token ls
  skep join-token ls -q"
    )]
    Ls {
        #[command(flatten)]
        list: ListArgs,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Remove tokens
    #[command(
        visible_alias = "remove",
        after_help = "Examples:
  skep join-token rm 6v3qpwhcxmjtq4hs6ew2c5ubea
  skep join-token ls -q | xargs skep join-token rm"
    )]
    Rm {
        /// Full ids
        #[arg(required = true, value_name = "ID")]
        tokens: Vec<String>,
        #[command(flatten)]
        client: ClientArgs,
    },
}

#[derive(Args, Debug)]
pub(crate) struct WorkerTokenArgs {
    /// How long it is good
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = duration)]
    pub(crate) ttl: Duration,
    /// How many machines may join by it [default: any number]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) uses: Option<u32>,
    #[command(flatten)]
    pub(crate) token: TokenArgs,
}

#[derive(Args, Debug)]
pub(crate) struct ManagerTokenArgs {
    /// How long it is good
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = duration)]
    pub(crate) ttl: Duration,
    /// How many machines may join by it
    #[arg(long, value_name = "NUMBER", default_value = "1")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) uses: u32,
    #[command(flatten)]
    pub(crate) token: TokenArgs,
}

#[derive(Args, Debug)]
pub(crate) struct TokenArgs {
    /// Remove every other token of this role
    #[arg(long)]
    pub(crate) rotate: bool,
    /// Names that may join by it; * stands for any characters
    #[arg(long = "name", value_name = "PATTERN")]
    pub(crate) name_pattern: Option<String>,
    /// A label that the node gets, KEY=VALUE (repeatable)
    #[arg(short, long = "label", value_name = "LABEL")]
    pub(crate) labels: Vec<String>,
    /// Write the token to this file, which must not exist, instead of standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Say nothing but the token
    #[arg(short, long)]
    pub(crate) quiet: bool,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}
