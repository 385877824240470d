//! From the words on a command line to what they mean.

use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, Command, CommandFactory as _, FromArgMatches as _};

use super::args::Words;

const HOST: &str = "host";
const SOCKET: &str = "socket";

/// Reads them. A flag goes before the environment, also where they are two ways to
/// say whom to ask: a typed `--socket` before `SKEP_HOST`.
pub(super) fn words(typed: &[OsString]) -> Result<Words, clap::Error> {
    let command = without_empty_variables(Words::command());
    let mut matches = command.clone().try_get_matches_from(typed)?;
    match (source(&matches, SOCKET), source(&matches, HOST)) {
        (Some(ValueSource::CommandLine), Some(ValueSource::CommandLine)) => {
            let text = "--host and --socket are two managers: give one of them";
            return Err(Words::command().error(ErrorKind::ArgumentConflict, text));
        }
        (Some(ValueSource::CommandLine), Some(ValueSource::EnvVariable)) => {
            matches = deaf(command, &matches).try_get_matches_from(typed)?;
        }
        _ => {}
    }
    Words::from_arg_matches(&matches)
}

/// The same command, for which an empty variable of the environment is one that is not set.
fn without_empty_variables(command: Command) -> Command {
    let is_empty =
        |name: &std::ffi::OsStr| std::env::var_os(name).is_some_and(|value| value.is_empty());
    command
        .mut_args(|arg| if arg.get_env().is_some_and(is_empty) { arg.env(None) } else { arg })
        .mut_subcommands(without_empty_variables)
}

/// Where an argument of the innermost command comes from.
fn source(matches: &ArgMatches, id: &str) -> Option<ValueSource> {
    match matches.subcommand() {
        Some((_, inner)) => source(inner, id),
        None if matches.try_contains_id(id).is_ok() => matches.value_source(id),
        None => None,
    }
}

/// The same command, whose innermost one asks no environment for hosts.
fn deaf(command: Command, matches: &ArgMatches) -> Command {
    match matches.subcommand() {
        Some((name, inner)) => command.mut_subcommand(name, |command| deaf(command, inner)),
        None => command.mut_arg(HOST, |host| host.env(None)),
    }
}
