//! `skep context`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{FormatArgs, LocalArgs};

#[derive(Debug, Subcommand)]
pub(crate) enum ContextCommand {
    /// List contexts; the one in use is marked
    #[command(after_help = "Examples:
  skep context ls
  skep context ls --format json")]
    Ls {
        /// Print names only
        #[arg(short, long)]
        quiet: bool,
        #[command(flatten)]
        format: FormatArgs,
    },
    /// Have commands speak to a cluster from now on
    #[command(after_help = "Examples:
  skep context use prod
  skep context use default      # none: this machine's manager, or what cli.toml says

For one command alone there is --context, and SKEP_CONTEXT for one shell.")]
    Use {
        /// The context
        name: String,
    },
    /// Name a cluster: by an identity file, managers or a socket
    #[command(after_help = "Examples:
  skep context add prod --identity ~/alice.skepid
  skep context add staging --identity staging.skepid --host m1.example.org,m2.example.org --use
  skep context add here --socket /run/skep/manager.sock")]
    Add(ContextAddArgs),
    /// Remove contexts; identity files stay
    #[command(after_help = "Examples:
  skep context rm staging
  skep context rm staging here")]
    Rm {
        /// The contexts
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Print the name of the context in use, or what contexts hold
    #[command(after_help = "Examples:
  skep context show
  skep context show prod
  skep context show prod --format '{{.Identity}}'")]
    Show {
        /// Contexts to show whole [default: the name of the one in use]
        names: Vec<String>,
        #[command(flatten)]
        format: FormatArgs,
        #[command(flatten)]
        local: LocalArgs,
    },
}

#[derive(Args, Debug)]
pub(crate) struct ContextAddArgs {
    /// Its name
    pub(crate) name: String,
    /// The identity file to show to managers; it must be there
    #[arg(long, value_name = "FILE")]
    pub(crate) identity: Option<PathBuf>,
    /// Managers to ask, comma-separated [default: those of the identity]
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',')]
    pub(crate) host: Vec<String>,
    /// A manager of this machine, by its socket
    #[arg(long, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
    /// Use it from now on
    #[arg(long = "use")]
    pub(crate) used: bool,
}
