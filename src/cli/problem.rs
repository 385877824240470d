//! What went wrong: read from a manager's answer, from clap, from the machine.

use clap::CommandFactory;
use clap::error::{ContextKind, ErrorKind};

use skep_client::CallError;
use skep_core::base::{Exit, Failure};

/// Why a command does not end with 0.
#[derive(Debug)]
pub(super) enum Trouble {
    /// To be printed: `error:` and `hint:`.
    Failed(Failure),
    /// What there is to say was said.
    Told(Exit),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl Trouble {
    /// The status that the process ends with.
    pub(super) fn exit(&self) -> Exit {
        match self {
            Self::Failed(failure) => failure.exit,
            Self::Told(exit) => *exit,
        }
    }

    /// What is wrong, for a sentence that says more.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Failed(failure) => failure.text.clone(),
            Self::Told(_) => "it was not written".to_owned(),
        }
    }
}

/// Bad input: status 2.
pub(super) fn usage(text: impl std::fmt::Display, hint: impl std::fmt::Display) -> Trouble {
    Failure::new(Exit::Usage, text).hint(hint).into()
}

impl From<CallError> for Trouble {
    fn from(error: CallError) -> Self {
        Self::Failed(error.failure())
    }
}

/// What the standard library says of a number that is none, and what we say.
const NUMBERS: [(&str, &str); 4] = [
    ("invalid digit found in string", "that is no whole number"),
    ("cannot parse integer from empty string", "a number is missing"),
    ("number too large to fit in target type", "the number is too large"),
    ("number too small to fit in target type", "the number is too small"),
];

/// A usage error in one line, and what to do in another.
pub(super) fn of_clap(error: &clap::Error, words: &[std::ffi::OsString]) -> Failure {
    let rendered = error.render().to_string();
    let (head, rest) = rendered.split_once("\n\n").unwrap_or((rendered.as_str(), ""));
    let head = head.trim().trim_start_matches("error:");
    let mut text = head.split_whitespace().collect::<Vec<_>>().join(" ");
    for (of_std, ours) in NUMBERS {
        if let Some(before) = text.strip_suffix(of_std) {
            text = format!("{before}{ours}");
        }
    }
    // What was typed could be a value: it is not repeated on a screen or in a CI log.
    let speaks_of_secrets = words.iter().any(|word| word == "secret");
    if speaks_of_secrets && quotes_a_word(error) {
        "unexpected argument (not shown: it could be a value)".clone_into(&mut text);
    }
    let tip = rest.lines().find_map(|line| line.trim().strip_prefix("tip: "));
    let (path, command) = command_of(words);
    let hint = family(error, &command)
        .or_else(|| tip.map(|tip| tip.split_whitespace().collect::<Vec<_>>().join(" ")));
    let hint = hint.unwrap_or_else(|| format!("see `{path} --help`"));
    Failure::new(Exit::Usage, text).hint(hint)
}

fn quotes_a_word(error: &clap::Error) -> bool {
    let of_kind = matches!(error.kind(), ErrorKind::UnknownArgument | ErrorKind::TooManyValues);
    let quoted = error.get(ContextKind::InvalidArg).map(ToString::to_string);
    of_kind && !quoted.is_some_and(|word| word.starts_with("--"))
}

/// The flags of which the first part was typed, where there are some: `--node` is none, and
/// `--node-add` and `--node-rm` are.
fn family(error: &clap::Error, command: &clap::Command) -> Option<String> {
    if error.kind() != ErrorKind::UnknownArgument {
        return None;
    }
    let typed = error.get(ContextKind::InvalidArg)?.to_string();
    let begin = format!("{}-", typed.strip_prefix("--")?);
    let flags = command.get_arguments().filter_map(|flag| flag.get_long());
    let family = flags.filter(|flag| flag.starts_with(&begin)).map(|flag| format!("--{flag}"));
    let family: Vec<_> = family.collect();
    (family.len() > 1).then(|| format!("there are {}", family.join(" and ")))
}

/// `skep secret create`: the words typed as far as they name a command.
fn command_of(words: &[std::ffi::OsString]) -> (String, clap::Command) {
    let mut command = super::args::Words::command();
    let mut path = "skep".to_owned();
    for word in words.iter().skip(1).map_while(|word| word.to_str()) {
        let Some(next) = command.find_subcommand(word).cloned() else { break };
        path = format!("{path} {}", next.get_name());
        command = next;
    }
    (path, command)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::args::Words;

    #[test]
    fn a_flag_of_which_there_are_two_is_told_by_both() {
        let hint = |words: &[&str]| {
            let words: Vec<std::ffi::OsString> = words.iter().map(Into::into).collect();
            let error = Words::try_parse_from(&words).expect_err("not a command");
            of_clap(&error, &words).hint.unwrap_or_default()
        };
        let update = ["skep", "service", "update", "web", "--node", "n1"];
        assert_eq!(hint(&update), "there are --node-add and --node-rm");
        let label = ["skep", "service", "update", "web", "--label", "a=b"];
        assert_eq!(hint(&label), "there are --label-add and --label-rm");
        let one = ["skep", "service", "create", "web", "--nod", "n1"];
        assert_eq!(hint(&one), "a similar argument exists: '--node'");
        let none = ["skep", "service", "ls", "--zzz"];
        assert_eq!(hint(&none), "see `skep service ls --help`");
    }
}
