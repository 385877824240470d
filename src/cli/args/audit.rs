//! `skep audit`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{ClientArgs, FormatArgs};

#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// List who did what, the oldest first
    #[command(
        long_about = "List who did what, the oldest first

What the cluster applied stands once; what each manager answered, refused and delivered
stands beside it, from every manager that is reached. Managers that are not are named.
Lines about the keeping of the log itself are left out but with --all.",
        after_help = "Examples:
  skep audit ls --since 1h
  skep audit ls --actor alice --name db-password
  skep audit ls --since 2026-11-01 --last 50 --format json"
    )]
    Ls {
        #[command(flatten)]
        wanted: WantedArgs,
        /// Only so many of the newest
        #[arg(short = 'n', long, value_name = "COUNT")]
        last: Option<usize>,
        /// Go on with what comes
        #[arg(short, long)]
        follow: bool,
        /// Lines about the keeping of the log too
        #[arg(short, long)]
        all: bool,
        #[command(flatten)]
        format: FormatArgs,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// See whether every line is there and unchanged
    #[command(
        long_about = "See whether every line is there and unchanged

The lines of every manager that is reached are followed one by one, up to what the cluster
itself knows. The first line of each chain that is wrong is named: status 20. With files
that `skep audit export` wrote, those are followed, and no manager is asked.",
        after_help = "Examples:
  skep audit verify
  skep audit verify audit.jsonl"
    )]
    Verify {
        /// Exported lines
        files: Vec<PathBuf>,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Write lines as they are kept, one JSON object each
    #[command(
        long_about = "Write lines as they are kept, one JSON object each

To a new file, to standard output, or to syslog, one message each (RFC 5424, facility 13).
The fields are described in docs/operate/audit.md.",
        after_help = "Examples:
  skep audit export audit.jsonl
  skep audit export --since 24h - | gzip > yesterday.gz"
    )]
    Export {
        /// A new file, or - for standard output
        #[arg(default_value = "-")]
        file: PathBuf,
        /// Send each line to the syslog daemon at this socket instead
        #[arg(long, value_name = "SOCKET", conflicts_with = "file")]
        syslog: Option<PathBuf>,
        #[command(flatten)]
        wanted: WantedArgs,
        /// Go on with what comes
        #[arg(short, long)]
        follow: bool,
        #[command(flatten)]
        client: ClientArgs,
    },
}

/// Which lines.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct WantedArgs {
    /// Not those before this: a time such as 2026-11-29T08:00:00Z, a day, or how long ago
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// Only what somebody of this name or id did
    #[arg(long, value_name = "NAME")]
    pub(crate) actor: Option<String>,
    /// Only what names a secret, service, node, operator or join token so
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
}
