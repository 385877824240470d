//! `skep operator`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::{ClientArgs, EncryptArgs, ListArgs, LocalArgs, duration};

#[derive(Debug, Subcommand)]
pub(crate) enum OperatorCommand {
    /// Make an operator: a person or a CI job with an identity of its own
    #[command(after_help = "Examples:
  skep operator create alice --role admin
  skep operator create deploy --role editor --scope team-a. --constraint node.labels.team==a
  skep operator create ci --role editor --scope team-a. --ttl 8h --out ci.skepid
  skep operator create bob --role viewer --request bob.request --out bob.answer

An admin may do everything; an editor changes secrets and services; a viewer sees what there is;
an auditor sees it too, and the audit log. None of them sees a value. With --scope it is about
names of secrets and services that begin so, or are that, and it places services only on nodes
for which each --constraint holds. docs/operate/operators.md shows who may do what.")]
    Create(OperatorCreateArgs),
    /// Make a key, and a request with which an admin makes an operator for it
    #[command(after_help = "Examples:
  skep operator request --out bob.key > bob.request
  skep operator request --out bob.key --fingerprint 5f1c...e2 > bob.request

The key stays here. The request is handed to an admin, who answers it:
  skep operator create bob --role viewer --request bob.request --out bob.answer
Key and answer together are the identity:
  skep operator accept bob.answer --key bob.key")]
    Request {
        /// The file for the private key
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// The cluster that it is for: no other one makes an operator of it
        #[arg(long)]
        fingerprint: Option<String>,
        /// Encrypt the key with a passphrase, which is asked for
        #[arg(long)]
        passphrase: bool,
        /// Encrypt it with the passphrase in this file; - is standard input
        #[arg(long, value_name = "FILE")]
        new_passphrase_file: Option<PathBuf>,
    },
    /// Make an identity of a key and an admin's answer to its request
    #[command(after_help = "Examples:
  skep operator accept bob.answer --key bob.key
  skep operator accept bob.answer --key bob.key --out ~/bob-prod.skepid")]
    Accept {
        /// The answer
        answer: PathBuf,
        /// The file with the private key
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// The file for the identity [default: NAME.skepid]
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        #[command(flatten)]
        encrypt: EncryptArgs,
        /// A file with the passphrase of an encrypted key; - is standard input [default: a prompt]
        #[arg(long, value_name = "FILE", env = "SKEP_PASSPHRASE_FILE", hide_env_values = true)]
        passphrase_file: Option<PathBuf>,
        /// A program that prints that passphrase, with its arguments
        #[arg(long, value_name = "COMMAND", env = "SKEP_IDENTITY_COMMAND", hide_env_values = true)]
        identity_command: Option<String>,
    },
    /// Make an admin by an unlock key, when everyone's identity is lost
    #[command(after_help = "Examples:
  skep operator recover alice --key-file /media/safe/prod.key
  skep operator recover ann --out ~/ann.skepid

On the machine of a manager that runs, as root or as its user. The unlock key stays in this
command. Every `skep status` says for a week that it was done.")]
    Recover {
        /// The admin's name
        name: String,
        /// The unlock key, - for standard input [default: it is asked for]
        #[arg(long, value_name = "FILE")]
        key_file: Option<PathBuf>,
        /// The file for the identity [default: NAME.skepid]
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        #[command(flatten)]
        encrypt: EncryptArgs,
        #[command(flatten)]
        local: LocalArgs,
    },
    /// Encrypt an identity file with a passphrase, change it, or decrypt the file
    #[command(after_help = "Examples:
  skep operator passphrase --identity alice.skepid
  skep operator passphrase --identity alice.skepid --new-passphrase-file ./new
  skep operator passphrase --identity alice.skepid --remove

The passphrase so far is asked for too, or comes from --passphrase-file or SKEP_IDENTITY_COMMAND.
It protects the file on this machine: managers never hear of it, and copies of the file keep
theirs. Where copies are about that are not encrypted, `skep operator renew --new-key` ends them.")]
    Passphrase {
        /// The file with the new passphrase; - is standard input [default: it is asked for]
        #[arg(long, value_name = "FILE", conflicts_with = "remove")]
        new_passphrase_file: Option<PathBuf>,
        /// Decrypt the file
        #[arg(long)]
        remove: bool,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// List operators
    #[command(after_help = "Examples:
  skep operator ls
  skep operator ls --filter name=ci --format json")]
    Ls {
        #[command(flatten)]
        list: ListArgs,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Remove operators: within a second no manager does anything for them
    #[command(after_help = "Examples:
  skep operator rm alice
  skep operator rm alice ci")]
    Rm {
        /// Names or full ids
        #[arg(required = true)]
        operators: Vec<String>,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Renew an identity's certificate, or let an operator renew one that ended long ago
    #[command(after_help = "Examples:
  skep operator renew --identity admin.skepid
  skep operator renew --identity admin.skepid --new-key
  skep operator renew alice

Commands renew the identity that they use by themselves, between 50 and 80 % of its life, and
for 30 days after its end, with the key that it has: copies of the file stay good. A file that
may not be written is used as it is. Past those 30 days another admin, or root on a manager's
machine, names the operator: within a day its next command renews it.")]
    Renew {
        /// Another operator's name or id: it may renew within a day
        #[arg(conflicts_with = "new_key")]
        operator: Option<String>,
        /// Make another key pair: copies of the identity file are good no more
        #[arg(long)]
        new_key: bool,
        #[command(flatten)]
        client: ClientArgs,
    },
}

#[derive(Args, Debug)]
pub(crate) struct OperatorCreateArgs {
    /// Its name
    pub(crate) name: String,
    /// What it may do
    #[arg(long, value_parser = ["admin", "editor", "viewer", "auditor"])]
    pub(crate) role: String,
    /// Only names that begin so, where it ends in '.', '-' or '_', or this one name (repeatable)
    #[arg(long = "scope", value_name = "PREFIX")]
    pub(crate) scopes: Vec<String>,
    /// With --scope: place services only on nodes for which this holds (repeatable)
    #[arg(long = "constraint", value_name = "EXPR", requires = "scopes")]
    pub(crate) constraints: Vec<String>,
    /// How long it is there, such as 8h [default: until it is removed]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) ttl: Option<Duration>,
    /// A request that its future user made: the private key stays there
    #[arg(long, value_name = "FILE")]
    pub(crate) request: Option<PathBuf>,
    /// The file for the identity, or for the answer to a request [default: NAME.skepid or
    /// NAME.answer]
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) encrypt: EncryptArgs,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}
