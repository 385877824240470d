//! From the arguments to the exit status: help and version are answers, a usage error is one
//! line and a hint.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use skep_core::base::{Exit, Failure};

use crate::screen::Screen;

/// A program's words.
pub trait Program: Parser {
    /// How its first word is typed: `skep registry`.
    const TYPED: &'static str;
    /// Does what was typed.
    ///
    /// # Errors
    /// What the process ends with.
    fn run(self, screen: &mut Screen) -> Result<(), Failure>;
}

/// The whole process: reads its arguments, does it, answers the exit status.
#[must_use]
pub fn run<P: Program>() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    let mut screen = Screen::real();
    let exit = match P::try_parse_from(&words) {
        Ok(typed) => ended(&mut screen, |screen| typed.run(screen)),
        Err(error) => not_parsed::<P>(&mut screen, &error, &words),
    };
    exit.code().into()
}

/// Does it; what went wrong is told.
pub fn ended(screen: &mut Screen, act: impl FnOnce(&mut Screen) -> Result<(), Failure>) -> Exit {
    match act(screen) {
        Ok(()) => Exit::Done,
        Err(failure) => {
            screen.failure(&failure);
            failure.exit
        }
    }
}

fn not_parsed<P: Program>(screen: &mut Screen, error: &clap::Error, words: &[OsString]) -> Exit {
    let text = error.render().to_string();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            ended(screen, |screen| screen.data(text.trim_end()))
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            screen.say(text.trim_end());
            Exit::Usage
        }
        _ => {
            screen.failure(&of_clap::<P>(error, words));
            Exit::Usage
        }
    }
}

/// A usage error in one line, and what to do in another.
fn of_clap<P: Program>(error: &clap::Error, words: &[OsString]) -> Failure {
    let rendered = error.render().to_string();
    let (head, rest) = rendered.split_once("\n\n").unwrap_or((rendered.as_str(), ""));
    let head = head.trim().trim_start_matches("error:");
    let text = head.split_whitespace().collect::<Vec<_>>().join(" ");
    let tip = rest.lines().find_map(|line| line.trim().strip_prefix("tip: "));
    let tip = tip.map(|tip| tip.split_whitespace().collect::<Vec<_>>().join(" "));
    let hint = tip.unwrap_or_else(|| format!("see `{} --help`", command_of::<P>(words)));
    Failure::new(Exit::Usage, text).hint(hint)
}

/// `skep registry acl check`: the words typed as far as they name a command.
fn command_of<P: Program + CommandFactory>(words: &[OsString]) -> String {
    let mut command = P::command();
    let mut path = P::TYPED.to_owned();
    for word in words.iter().skip(1).map_while(|word| word.to_str()) {
        let Some(next) = command.find_subcommand(word).cloned() else { break };
        path = format!("{path} {}", next.get_name());
        command = next;
    }
    path
}
