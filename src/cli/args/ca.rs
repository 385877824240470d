//! `skep ca`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{ClientArgs, ShowArgs, WaitArgs};

#[derive(Debug, Subcommand)]
pub(crate) enum CaCommand {
    /// Show root and issuing CA, and who has not renewed under the one in use
    #[command(after_help = "Examples:
  skep ca show
  skep ca show --format json

Nodes renew by themselves once `skep ca rotate` has replaced the issuing CA, operators'
identities with the next command that uses them.")]
    Show {
        #[command(flatten)]
        show: ShowArgs,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Replace the issuing CA, and have every node renew its certificate
    Rotate(CaRotateArgs),
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  skep ca rotate                     # asks for the unlock key, without echo
  skep ca rotate --key-file /media/safe/prod.key
  skep ca rotate --key-file - --timeout 10m < prod.key

The root's key is opened here, with the unlock key, and signs an issuing CA whose key
the leader has made. Nodes that are in touch renew under it; then certificates of the
one before are refused. Nodes that are down are not waited for: they renew when they
are back, and until then nothing else is open to them. Join tokens, fingerprints and
unlock keys stay as they are.")]
pub(crate) struct CaRotateArgs {
    /// A file with an unlock key; - is standard input [default: a prompt]
    #[arg(long, value_name = "FILE")]
    pub(crate) key_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}
