//! `skep operator`.

use clap::Subcommand;

use super::ClientArgs;

#[derive(Debug, Subcommand)]
pub(crate) enum OperatorCommand {
    /// Renew an identity's certificate, or let an operator renew one that ended long ago
    #[command(after_help = "Examples:
  skep operator renew --identity admin.skepid
  skep operator renew --identity admin.skepid --new-key
  skep operator renew 4kq2w7mzxgcy3v5tq6bn2h4daa

Commands renew the identity that they use by themselves, between 50 and 80 % of its life, and
for 30 days after its end, with the key that it has: copies of the file stay good. A file that
may not be written is used as it is. Past those 30 days another admin, or root on a manager's
machine, names the operator's id, which its own command shows: within a day its next command
renews it.")]
    Renew {
        /// Another operator's id: it may renew within a day
        #[arg(conflicts_with = "new_key")]
        operator: Option<String>,
        /// Make another key pair: copies of the identity file are good no more
        #[arg(long)]
        new_key: bool,
        #[command(flatten)]
        client: ClientArgs,
    },
}
