//! What went wrong: read from a manager's answer, from clap, from the machine.

use clap::CommandFactory;
use clap::error::{ContextKind, ErrorKind};
use tonic::{Code, Status};

use skep_client::transport::read_problem;
use skep_core::base::{Exit, Failure};

use super::shell::harmless;

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
}

/// Bad input: status 2.
pub(super) fn usage(text: impl std::fmt::Display, hint: impl std::fmt::Display) -> Trouble {
    Failure::new(Exit::Usage, text).hint(hint).into()
}

/// What a call that did not succeed came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Nothing was done; there is the leader.
    LeaderIsAt(Vec<String>, Failure),
    /// Nothing was done; there is no leader now.
    NoLeader(Failure),
    /// It was decided: no.
    Refused(Failure),
    /// The manager does not know whether it was done.
    Unknown(Failure),
    /// The connection broke: nothing is known of what came of the call.
    Lost(String),
}

/// Reads what a manager or an agent answered.
pub(super) fn read(status: &Status) -> Answer {
    let Some(problem) = read_problem(status) else { return without_details(status) };
    let exit = problem.exit;
    let mut failure = Failure::new(exit, told(&problem.text));
    if !problem.hint.is_empty() {
        failure = failure.hint(told(&problem.hint));
    }
    match exit {
        Exit::Unreachable if !problem.leader_addresses.is_empty() => {
            Answer::LeaderIsAt(problem.leader_addresses, failure)
        }
        Exit::Unreachable => Answer::NoLeader(failure),
        Exit::Unknown => Answer::Unknown(failure),
        _ => Answer::Refused(failure),
    }
}

/// Characters of what a manager says that are shown: more than any of ours has.
const TOLD: usize = 1_024;

/// What a manager says, as one line.
fn told(text: &str) -> String {
    let line = harmless(text).replace(['\n', '\t'], " ");
    match line.char_indices().nth(TOLD) {
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default()),
        None => line,
    }
}

/// Such an answer comes from the transport, not from a handler of ours.
fn without_details(status: &Status) -> Answer {
    let text = told(status.message());
    let refused = |exit, text: String| Answer::Refused(Failure::new(exit, text));
    match status.code() {
        Code::Unimplemented => Answer::Refused(
            Failure::new(Exit::Refused, "this is not served there now")
                .hint("`skep status` shows the manager's state and version"),
        ),
        Code::PermissionDenied | Code::Unauthenticated => refused(Exit::Refused, text),
        Code::InvalidArgument | Code::OutOfRange => refused(Exit::Usage, text),
        Code::FailedPrecondition | Code::NotFound | Code::AlreadyExists => {
            refused(Exit::Refused, text)
        }
        _ => Answer::Lost(text),
    }
}

/// A usage error in one line, and what to do in another.
pub(super) fn of_clap(error: &clap::Error, words: &[std::ffi::OsString]) -> Failure {
    let rendered = error.render().to_string();
    let (head, rest) = rendered.split_once("\n\n").unwrap_or((rendered.as_str(), ""));
    let head = head.trim().trim_start_matches("error:");
    let mut text = head.split_whitespace().collect::<Vec<_>>().join(" ");
    // What was typed could be a value: it is not repeated on a screen or in a CI log.
    let speaks_of_secrets = words.iter().any(|word| word == "secret");
    if speaks_of_secrets && quotes_a_word(error) {
        "unexpected argument (not shown: it could be a value)".clone_into(&mut text);
    }
    let hint = rest.lines().find_map(|line| line.trim().strip_prefix("tip: ")).map_or_else(
        || format!("see `{} --help`", command_of(words)),
        |tip| tip.split_whitespace().collect::<Vec<_>>().join(" "),
    );
    Failure::new(Exit::Usage, text).hint(hint)
}

fn quotes_a_word(error: &clap::Error) -> bool {
    let of_kind = matches!(error.kind(), ErrorKind::UnknownArgument | ErrorKind::TooManyValues);
    let quoted = error.get(ContextKind::InvalidArg).map(ToString::to_string);
    of_kind && !quoted.is_some_and(|word| word.starts_with("--"))
}

/// `skep secret create`: the words typed as far as they name a command.
fn command_of(words: &[std::ffi::OsString]) -> String {
    let mut command = super::args::Words::command();
    let mut path = "skep".to_owned();
    for word in words.iter().skip(1).map_while(|word| word.to_str()) {
        let Some(next) = command.find_subcommand(word).cloned() else { break };
        path = format!("{path} {}", next.get_name());
        command = next;
    }
    path
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use prost::Message;
    use skep_core::wire::api::Problem;

    /// A status as managers make it.
    pub(in crate::cli) fn status(problem: &Problem) -> Status {
        Status::with_details(Code::FailedPrecondition, "", problem.encode_to_vec().into())
    }

    #[test]
    fn what_a_manager_says_is_a_line_and_not_a_long_one() {
        let text = format!("a\nhint: `rm -r /`\u{1b}[2J{}", "x".repeat(1_500));
        let problem = Problem { exit: 1, hint: text.clone(), text, ..Problem::default() };
        let Answer::Refused(failure) = read(&status(&problem)) else { panic!("refused") };
        for said in [&failure.text, failure.hint.as_ref().expect("a hint")] {
            assert!(said.starts_with("a hint: `rm -r /`\u{fffd}[2Jxxx"), "{said}");
            assert_eq!((said.chars().count(), said.chars().last()), (TOLD + 1, Some('…')));
        }
    }

    #[test]
    fn a_problem_says_how_to_end() {
        let mut problem = Problem {
            exit: 1,
            text: "secret a already exists".into(),
            hint: "choose another name".into(),
            ..Problem::default()
        };
        let failure = Failure::new(Exit::Refused, "secret a already exists");
        let failure = failure.hint("choose another name");
        assert_eq!(read(&status(&problem)), Answer::Refused(failure));
        problem.exit = 3;
        assert!(matches!(read(&status(&problem)), Answer::NoLeader(_)));
        problem.leader_addresses = vec!["m2:4440".into()];
        assert!(matches!(read(&status(&problem)), Answer::LeaderIsAt(..)));
        problem.exit = 6;
        assert!(matches!(read(&status(&problem)), Answer::Unknown(_)));
        problem.exit = 4;
        assert!(matches!(read(&status(&problem)), Answer::Refused(f) if f.exit == Exit::Locked));
    }

    #[test]
    fn a_status_without_details_is_a_broken_connection() {
        assert!(matches!(read(&Status::unavailable("reset")), Answer::Lost(_)));
        assert!(matches!(read(&Status::unknown("h2")), Answer::Lost(_)));
        assert!(matches!(read(&Status::unimplemented("")), Answer::Refused(_)));
        let garbage = Status::with_details(Code::Internal, "x", vec![0xff, 0xff].into());
        assert!(matches!(read(&garbage), Answer::Lost(_)));
    }
}
