//! The words: what was typed, what is meant, what is printed, the exit status.
//!
//! The program is executed by `skep registry`, and says so in its texts. It decides nothing
//! that `rules` decides.

mod acl;
mod args;
mod audit;
mod auth;
mod cluster;
mod file;
mod helper;
mod import;
mod probe;
mod screen;
mod written;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use skep_core::base::{Exit, Failure};

use args::{Command, Words};
use cluster::Task;
pub use helper::main as helper_main;
use screen::Screen;

/// The whole process: reads its arguments, does it, answers the exit status.
#[must_use]
pub fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    let mut screen = Screen::real();
    let exit = match Words::try_parse_from(&words) {
        Ok(words) => answered(&mut screen, |screen| dispatch(screen, words.command)),
        Err(error) => not_parsed(&mut screen, &error, &words),
    };
    exit.code().into()
}

/// Does it; what went wrong is told.
fn answered(screen: &mut Screen, act: impl FnOnce(&mut Screen) -> Result<(), Failure>) -> Exit {
    match act(screen) {
        Ok(()) => Exit::Done,
        Err(failure) => {
            screen.failure(&failure);
            failure.exit
        }
    }
}

/// Each command has a file beside this one.
fn dispatch(screen: &mut Screen, command: Command) -> Result<(), Failure> {
    match command {
        Command::Acl(command) => acl::run(screen, &command),
        Command::Audit(args) => audit::run(&args),
        Command::Auth(args) => auth::run(&args),
        Command::Import(args) => import::run(screen, &args),
        Command::Robot(command) => cluster::run(screen, Task::Robot(command)),
        Command::Setup(args) => cluster::run(screen, Task::Setup(args)),
        Command::Signer(command) => cluster::run(screen, Task::Signer(command)),
        Command::User(command) => cluster::run(screen, Task::User(command)),
        Command::Version => screen.data(concat!("skep-registry ", env!("CARGO_PKG_VERSION"))),
    }
}

/// Help and version are answers; the rest is bad input.
fn not_parsed(screen: &mut Screen, error: &clap::Error, words: &[OsString]) -> Exit {
    let text = error.render().to_string();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            answered(screen, |screen| screen.data(text.trim_end()))
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            screen.say(text.trim_end());
            Exit::Usage
        }
        _ => {
            screen.failure(&of_clap(error, words));
            Exit::Usage
        }
    }
}

/// A usage error in one line, and what to do in another.
fn of_clap(error: &clap::Error, words: &[OsString]) -> Failure {
    let rendered = error.render().to_string();
    let (head, rest) = rendered.split_once("\n\n").unwrap_or((rendered.as_str(), ""));
    let head = head.trim().trim_start_matches("error:");
    let text = head.split_whitespace().collect::<Vec<_>>().join(" ");
    let tip = rest.lines().find_map(|line| line.trim().strip_prefix("tip: "));
    let tip = tip.map(|tip| tip.split_whitespace().collect::<Vec<_>>().join(" "));
    let hint = tip.unwrap_or_else(|| format!("see `{} --help`", command_of(words)));
    Failure::new(Exit::Usage, text).hint(hint)
}

/// `skep registry acl check`: the words typed as far as they name a command.
fn command_of(words: &[OsString]) -> String {
    let mut command = Words::command();
    let mut path = "skep registry".to_owned();
    for word in words.iter().skip(1).map_while(|word| word.to_str()) {
        let Some(next) = command.find_subcommand(word).cloned() else { break };
        path = format!("{path} {}", next.get_name());
        command = next;
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let line = line.split(" <").next().unwrap_or_default();
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
