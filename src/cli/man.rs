//! `skep man`: the help of every command as manual pages.

use std::path::Path;

use clap::CommandFactory;

use super::args::Words;
use super::problem::Trouble;
use super::shell::Shell;

/// Writes `skep.1` and a page for each command into a folder that is there.
pub(super) fn run(shell: &mut Shell, folder: &Path) -> Result<(), Trouble> {
    let told = skep_program::man_pages(Words::command(), "skep", folder)?;
    shell.screen.say(&told);
    Ok(())
}
