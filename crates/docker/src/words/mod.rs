//! The words: what was typed, what is meant, what is printed, the exit status.
//!
//! The program is executed by `skep docker-api` and `skep compose`, and says so in its texts.

mod api;
mod import;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use skep_core::base::{Exit, Failure};
use skep_program::{Program, Screen, harden};

use api::ApiArgs;
use import::ImportArgs;

/// The whole process: reads its arguments, does it, answers the exit status.
#[must_use]
pub fn main() -> ExitCode {
    skep_program::run::<Words>()
}

/// Docker's own commands and Compose files, for secrets of Skep.
#[derive(Debug, Parser)]
#[command(name = "skep-docker", bin_name = "skep", version, max_term_width = 80)]
#[command(
    arg_required_else_help = true,
    subcommand_required = true,
    disable_help_subcommand = true
)]
struct Words {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    DockerApi(ApiArgs),
    /// Secrets, services and grants of a Compose file
    #[command(subcommand, arg_required_else_help = true)]
    Compose(ComposeCommand),
}

#[derive(Debug, Subcommand)]
enum ComposeCommand {
    Import(ImportArgs),
}

impl Program for Words {
    const TYPED: &'static str = "skep";

    fn run(self, screen: &mut Screen) -> Result<(), Failure> {
        let machine = |what: &str, error: std::io::Error| {
            Failure::new(Exit::MachineLimit, format!("{what}: {error}"))
        };
        let connections = harden(api::CONNECTIONS)
            .map_err(|error| machine("cannot protect this process", error))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| machine("cannot start", error))?;
        match self.command {
            Command::DockerApi(args) => runtime.block_on(api::run(screen, args, connections)),
            Command::Compose(ComposeCommand::Import(args)) => {
                runtime.block_on(import::run(screen, args))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    /// Examples of a command and of those below it.
    fn examples(of: &clap::Command, found: &mut Vec<String>) {
        let text = of.get_after_help().map(ToString::to_string).unwrap_or_default();
        let text = text.replace("\\\n", " ");
        let lines = text.lines().map(str::trim).filter(|line| line.starts_with("skep "));
        found.extend(lines.map(str::to_owned));
        of.get_subcommands().for_each(|command| examples(command, found));
    }

    #[test]
    fn every_example_of_the_help_can_be_typed() {
        let mut found = Vec::new();
        examples(&Words::command(), &mut found);
        assert!(found.len() >= 4, "{found:?}");
        for line in found {
            let words = line.split_whitespace().take_while(|word| *word != ">");
            match Words::try_parse_from(words) {
                Err(error) if error.use_stderr() => panic!("{line}: {error}"),
                _ => {}
            }
        }
    }
}
