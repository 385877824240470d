//! `skep completion`.

use clap::CommandFactory;
use clap_complete::Shell as Kind;

use super::args::Words;
use super::problem::Trouble;
use super::shell::Shell;

/// Prints completions for a shell.
pub(super) fn run(shell: &mut Shell, kind: Kind) -> Result<(), Trouble> {
    let mut script = Vec::new();
    clap_complete::generate(kind, &mut Words::command(), "skep", &mut script);
    shell.screen.data(String::from_utf8_lossy(&script).trim_end())
}
