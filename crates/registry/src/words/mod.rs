//! The words: what was typed, what is meant, what is printed, the exit status.
//!
//! The program is executed by `skep registry`, and says so in its texts. It decides nothing
//! that `rules` decides.

mod acl;
mod anchored;
mod args;
mod audit;
mod auth;
mod cluster;
mod draw;
mod file;
mod helper;
mod import;
mod password;
mod probe;
mod remote;
mod serving;
mod sign;
mod verify;
mod written;

use std::process::ExitCode;

use skep_core::base::Failure;
use skep_program::{Program, Screen};

use args::{AclCommand, Command, Words};
use cluster::Task;
pub use helper::main as helper_main;

/// The whole process: reads its arguments, does it, answers the exit status.
#[must_use]
pub fn main() -> ExitCode {
    skep_program::run::<Words>()
}

impl Program for Words {
    const TYPED: &'static str = "skep registry";

    /// Each command has a file beside this one.
    fn run(self, screen: &mut Screen) -> Result<(), Failure> {
        match self.command {
            Command::Acl(AclCommand::Set(args)) => cluster::run(screen, Task::Rules(args)),
            Command::Acl(AclCommand::Import(args)) => cluster::run(screen, Task::Import(args)),
            Command::Acl(AclCommand::Check(args)) => acl::check(screen, &args),
            Command::Acl(AclCommand::Explain(args)) => acl::explain(screen, &args),
            Command::Audit(args) => audit::run(&args),
            Command::Auth(args) => auth::run(&args),
            Command::Catalog(args) => remote::catalog(screen, args),
            Command::Completion { shell } => skep_program::completion::<Self>(screen, shell),
            Command::DrawOpenpgp(args) => draw::openpgp(&args),
            Command::Hold(command) => cluster::run(screen, Task::Hold(command)),
            Command::Import(args) => import::run(screen, &args),
            Command::Key(command) => cluster::run(screen, Task::Key(command)),
            Command::Man { folder } => skep_program::man::<Self>(screen, &folder),
            Command::Passwd(args) => password::passwd(screen, &args),
            Command::Policy(args) => cluster::run(screen, Task::Policy(args)),
            Command::Robot(command) => cluster::run(screen, Task::Robot(command)),
            Command::Setup(args) => cluster::run(screen, Task::Setup(args)),
            Command::Signer(command) => cluster::run(screen, Task::Signer(command)),
            Command::Root(command) => cluster::run(screen, Task::Root(command)),
            Command::Sign(args) => sign::run(screen, args),
            Command::Status(args) => cluster::run(screen, Task::Status(args)),
            Command::Tags(args) => remote::tags(screen, args),
            Command::Token(args) => remote::token(screen, args),
            Command::User(command) => cluster::run(screen, Task::User(command)),
            Command::Verify(args) => verify::run(screen, args),
            Command::Version => screen.data(concat!("skep-registry ", env!("CARGO_PKG_VERSION"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory as _, Parser as _};

    /// Examples of a command and of those below it.
    fn examples(of: &clap::Command, found: &mut Vec<String>) {
        let text = of.get_after_help().map(ToString::to_string).unwrap_or_default();
        let text = text.replace("\\\n", " ");
        let lines = text.lines().map(str::trim).filter(|line| line.starts_with("skep "));
        found.extend(lines.map(str::to_owned));
        of.get_subcommands().for_each(|command| examples(command, found));
    }

    fn typed(line: &str) -> Result<(), clap::Error> {
        // What a shell takes for itself is no word of ours.
        let ends = [" <", " >", " &&"].map(|mark| line.find(mark).unwrap_or(line.len()));
        let (line, _) = line.split_at(ends.into_iter().min().unwrap_or(line.len()));
        let words = line.split_whitespace().map(|word| word.trim_matches('\''));
        let words = std::iter::once("skep-registry").chain(words.skip(2));
        match Words::try_parse_from(words) {
            Err(error) if error.use_stderr() => Err(error),
            _ => Ok(()),
        }
    }

    #[test]
    fn every_example_of_the_help_can_be_typed() {
        let mut found = Vec::new();
        examples(&Words::command(), &mut found);
        let registry = found.iter().filter(|line| line.starts_with("skep registry "));
        let registry: Vec<_> = registry.collect();
        assert!(registry.len() > 10, "{registry:?}");
        for line in registry {
            typed(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
        assert!(typed("skep registry acl chek x").is_err());
    }
}
