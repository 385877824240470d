//! `skep man`: the help of every command as manual pages.

use std::path::Path;

use clap::CommandFactory;
use clap_mangen::Man;

use super::args::Words;
use super::problem::Trouble;
use super::shell::Shell;
use skep_core::base::{Exit, Failure};

/// Writes `skep.1` and a page for each command into a folder that is there.
pub(super) fn run(shell: &mut Shell, folder: &Path) -> Result<(), Trouble> {
    let mut command = Words::command().disable_help_subcommand(true);
    command.build();
    let mut pages = Vec::new();
    render(&command, "skep", &mut pages)?;
    for (name, page) in &pages {
        write(&folder.join(name), page).map_err(|error| cannot(&folder.join(name), &error))?;
    }
    shell.screen.say(&format!("{} pages in {}", pages.len(), folder.display()));
    Ok(())
}

/// A page is ordinary text, made anew at will: it needs no sync.
#[allow(clippy::disallowed_methods, reason = "nothing is lost with a manual page")]
fn write(path: &Path, page: &[u8]) -> std::io::Result<()> {
    std::fs::write(path, page)
}

fn cannot(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Exit::Refused, format!("{}: {error}", path.display()))
        .hint("name a folder that you may write to, such as /usr/local/share/man/man1")
}

/// The page of a command, then those of its subcommands.
fn render(
    command: &clap::Command,
    name: &str,
    into: &mut Vec<(String, Vec<u8>)>,
) -> Result<(), Trouble> {
    let file = format!("{}.1", name.replace(' ', "-"));
    let man = Man::new(command.clone()).title(name.replace(' ', "-").to_uppercase());
    let mut page = Vec::new();
    man.render(&mut page).map_err(|error| cannot(Path::new(&file), &error))?;
    into.push((file, page));
    for sub in command.get_subcommands() {
        render(sub, &format!("{name} {}", sub.get_name()), into)?;
    }
    Ok(())
}
