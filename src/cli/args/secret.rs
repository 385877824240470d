//! `skep secret`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::{ClientArgs, FormatArgs, ListArgs, ShowArgs, WaitArgs};
use crate::cli::drawing::Drawing;

#[derive(Debug, Subcommand)]
pub(crate) enum SecretCommand {
    /// Create a secret from a file, standard input or a hidden prompt
    #[command(after_help = "Examples:
  skep secret create db-password            # asks twice, without echo
  skep secret create session-key --generate hex:16
  skep secret create release-key --generate cosign   # prints the public half
  skep secret create --forward-only verifier verifier.json   # no older one is ever used again
  skep secret create package-key --generate openpgp
  openssl rand -base64 32 | skep secret create --strip-newline -l team=db api-key -")]
    Create(SecretCreateArgs),
    /// Give secrets new values, several of them as one act
    #[command(after_help = "Examples:
  skep secret update db-password new-password.txt
  skep secret update db-password --generate password
  skep secret update tls-key=key.pem tls-certificate=chain.pem
  skep secret update --label-add team=db --label-rm old db-password   # the value stays")]
    Update(SecretUpdateArgs),
    /// Create many secrets from a folder of files, a .env file or a JSON object
    #[command(after_help = "Examples:
  skep secret import ./secrets --prefix web. --dry-run
  skep secret import ./secrets --prefix web.
  skep secret import prod.env --label team=web
  skep secret import prod.json --update

A file of the folder is a secret of its name; a line NAME=value, and a member of the object, too.
All of it is checked before anything is made. Secrets that are there are left as they are, so that
an import that broke off goes on where it is run again; with --update they get the values as new
versions. Nothing is replaced in values: what programs for .env files differ about is refused.")]
    Import(SecretImportArgs),
    /// Make an older version current again, as a new version
    #[command(
        after_help = "The value need not be known: managers have it sealed. Secrets that were created with
--forward-only are not rolled back.

Examples:
  skep secret rollback db-password
  skep secret rollback --to 3 db-password"
    )]
    Rollback(SecretRollbackArgs),
    /// List secrets
    #[command(
        visible_alias = "list",
        after_help = "Examples:
  skep secret ls --filter label=team=db
  skep secret ls --format '{{.Name}}\\t{{.Version}}'"
    )]
    Ls {
        #[command(flatten)]
        list: ListArgs,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Show all about secrets but their values
    #[command(after_help = "Examples:
  skep secret inspect db-password
  skep secret inspect --format '{{.Services}}' db-password api-key
  skep secret inspect --format '{{.Public}}' release-key")]
    Inspect {
        /// Names, ids or unique beginnings of ids
        #[arg(required = true, value_name = "SECRET")]
        secrets: Vec<String>,
        #[command(flatten)]
        show: ShowArgs,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// List the versions that are kept of a secret
    #[command(after_help = "Examples:
  skep secret versions db-password
  skep secret versions --format json db-password")]
    Versions {
        /// A name, an id or the unique beginning of an id
        secret: String,
        #[command(flatten)]
        show: ShowArgs,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Show which nodes hold a secret, and for which services
    #[command(after_help = "Examples:
  skep secret holders db-password
  skep secret holders --format '{{.Node}} {{.State}}' db-password")]
    Holders {
        /// A name, an id or the unique beginning of an id
        secret: String,
        /// Print the ids of the nodes only
        #[arg(short, long)]
        quiet: bool,
        #[command(flatten)]
        show: ShowArgs,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Show who opened a secret: when, on which node, which version
    #[command(after_help = "Only services that are mounted by FUSE have their opens on record
(`skep service create --mount fuse`); the cluster keeps the last 131,072.

Examples:
  skep secret reads db-password
  skep secret reads --last 20 --format '{{.At}} {{.Node}} {{.Executable}}' db-password")]
    Reads {
        /// A name, an id or the unique beginning of an id
        secret: String,
        /// Only so many of the newest
        #[arg(short = 'n', long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
        last: Option<u32>,
        #[command(flatten)]
        show: ShowArgs,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Show a secret's past: who created, granted, changed and opened it
    #[command(
        after_help = "It is read from the audit log of every manager that is reached: an admin's or
an auditor's right.

Examples:
  skep secret history db-password
  skep secret history --last 20 --format json db-password"
    )]
    History {
        /// Its name, also one that is gone
        secret: String,
        /// Only so many of the newest
        #[arg(short = 'n', long, value_name = "COUNT")]
        last: Option<usize>,
        #[command(flatten)]
        format: FormatArgs,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Remove secrets that no service is granted, or one version
    #[command(
        visible_alias = "remove",
        after_help = "Examples:
  skep secret rm old-password older-password
  skep secret rm --version 3 db-password"
    )]
    Rm(SecretRmArgs),
}

#[derive(Args, Debug)]
pub(crate) struct SecretCreateArgs {
    /// The secret's name
    pub(crate) name: String,
    /// Where the value is read from; - is standard input [default: standard input, or a prompt]
    pub(crate) file: Option<PathBuf>,
    /// Draw a value and show it to nobody: password[:CHARACTERS], hex[:BYTES], p256, ed25519, cosign or openpgp
    #[arg(long, value_name = "KIND", conflicts_with_all = ["file", "strip_newline"])]
    pub(crate) generate: Option<Drawing>,
    /// A file of what is public of the value, such as a key's public half: everybody sees it
    #[arg(long, value_name = "FILE")]
    pub(crate) public: Option<PathBuf>,
    /// A label, KEY=VALUE (repeatable)
    #[arg(short, long = "label", value_name = "LABEL")]
    pub(crate) labels: Vec<String>,
    /// Leave out one line end at the end of the value
    #[arg(long)]
    pub(crate) strip_newline: bool,
    /// Use no older version again, for good: it is never rolled back, and no grant of it pinned
    #[arg(long)]
    pub(crate) forward_only: bool,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// What secrets are imported from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ImportKind {
    /// Files of a folder
    Folder,
    /// Lines NAME=value
    Env,
    /// An object of texts
    Json,
}

#[derive(Args, Debug)]
pub(crate) struct SecretImportArgs {
    /// A folder, a .env file or a .json file
    pub(crate) from: PathBuf,
    /// What it is [default: by its name]
    #[arg(long, value_name = "KIND")]
    pub(crate) kind: Option<ImportKind>,
    /// What goes before each name
    #[arg(long, value_name = "TEXT")]
    pub(crate) prefix: Option<String>,
    /// Give secrets that are there the values as new versions
    #[arg(long)]
    pub(crate) update: bool,
    /// List what would be done, and do nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// A label of each secret that is made, KEY=VALUE (repeatable)
    #[arg(short, long = "label", value_name = "LABEL")]
    pub(crate) labels: Vec<String>,
    /// Leave out one line end at the end of each value
    #[arg(long)]
    pub(crate) strip_newline: bool,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

#[derive(Args, Debug)]
pub(crate) struct SecretUpdateArgs {
    /// A name, then a file or - (or neither: a prompt); or NAME=FILE several times
    #[arg(required = true, value_name = "NAME [FILE] | NAME=FILE")]
    pub(crate) what: Vec<OsString>,
    /// Draw a value and show it to nobody: password[:CHARACTERS], hex[:BYTES], p256, ed25519, cosign or openpgp
    #[arg(long, value_name = "KIND", conflicts_with = "strip_newline")]
    pub(crate) generate: Option<Drawing>,
    /// A file of what is public of the value, such as a key's public half: everybody sees it
    #[arg(long, value_name = "FILE")]
    pub(crate) public: Option<PathBuf>,
    /// Only if this is the current version's number
    #[arg(long, value_name = "NUMBER")]
    pub(crate) expect: Option<u32>,
    /// A label more, KEY=VALUE (repeatable); without a file the value stays
    #[arg(long, value_name = "LABEL")]
    pub(crate) label_add: Vec<String>,
    /// A label less (repeatable); without a file the value stays
    #[arg(long, value_name = "KEY")]
    pub(crate) label_rm: Vec<String>,
    /// Leave out one line end at the end of each value
    #[arg(long)]
    pub(crate) strip_newline: bool,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

#[derive(Args, Debug)]
pub(crate) struct SecretRollbackArgs {
    /// A full name or id
    #[arg(value_name = "SECRET")]
    pub(crate) secret: String,
    /// Which version [default: the one before the current]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) to: Option<u32>,
    /// Only if this is the current version's number
    #[arg(long, value_name = "NUMBER")]
    pub(crate) expect: Option<u32>,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

#[derive(Args, Debug)]
pub(crate) struct SecretRmArgs {
    /// Full names or ids
    #[arg(required = true, value_name = "SECRET")]
    pub(crate) secrets: Vec<String>,
    /// Remove only this version of one secret
    #[arg(long, value_name = "NUMBER")]
    pub(crate) version: Option<u32>,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}
