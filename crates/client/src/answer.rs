//! What a manager's or an agent's answer means when it is a failure.

use tonic::{Code, Status};

use crate::transport::read_problem;
use skep_core::base::inert::steers;
use skep_core::base::{Exit, Failure};

/// Characters of what a manager says that are kept: more than any of ours has.
const TOLD: usize = 1_024;

/// What a call that did not succeed came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Nothing was done; there is the leader.
    LeaderIsAt(Vec<String>, Failure),
    /// Nothing was done; there is no leader now.
    NoLeader(Failure),
    /// Nothing was done: a share is used up for now.
    Busy(Failure),
    /// It was decided: no.
    Refused(Failure),
    /// The manager does not know whether it was done.
    Unknown(Failure),
    /// The connection broke: nothing is known of what came of the call.
    Lost(String),
}

impl Answer {
    /// Reads what a manager or an agent answered.
    #[must_use]
    pub fn read(status: &Status) -> Self {
        let Some(problem) = read_problem(status) else { return without_details(status) };
        let mut failure = Failure::new(problem.exit, told(&problem.text));
        if !problem.hint.is_empty() {
            failure = failure.hint(told(&problem.hint));
        }
        match problem.exit {
            Exit::Unreachable if !problem.leader_addresses.is_empty() => {
                Self::LeaderIsAt(problem.leader_addresses, failure)
            }
            Exit::Unreachable if problem.is_too_often() => Self::Busy(failure),
            Exit::Unreachable => Self::NoLeader(failure),
            Exit::Unknown => Self::Unknown(failure),
            _ => Self::Refused(failure),
        }
    }
}

/// Text from elsewhere without what could steer a terminal; lines and tabs stay.
#[must_use]
pub fn harmless(text: &str) -> String {
    text.chars().map(|c| if steers(c) && c != '\n' && c != '\t' { '\u{fffd}' } else { c }).collect()
}

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
        Code::Unimplemented => refused(Exit::Refused, "this is not served there now".to_owned()),
        Code::InvalidArgument | Code::OutOfRange => refused(Exit::Usage, text),
        Code::PermissionDenied
        | Code::Unauthenticated
        | Code::FailedPrecondition
        | Code::NotFound
        | Code::AlreadyExists => refused(Exit::Refused, text),
        _ => Answer::Lost(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::Problem;
    use skep_core::base::NodeId;

    fn read(problem: Problem) -> Answer {
        Answer::read(&problem.into())
    }

    #[test]
    fn what_a_manager_says_is_a_line_and_not_a_long_one() {
        let text = format!("a\nhint: `rm -r /`\u{1b}[2J{}", "x".repeat(1_500));
        let long = skep_core::wire::api::Problem {
            exit: 1,
            hint: text.clone(),
            text,
            ..Default::default()
        };
        let details = prost::Message::encode_to_vec(&long);
        let status = Status::with_details(Code::FailedPrecondition, "", details.into());
        let Answer::Refused(failure) = Answer::read(&status) else { panic!("refused") };
        for said in [&failure.text, failure.hint.as_ref().expect("a hint")] {
            assert!(said.starts_with("a hint: `rm -r /`\u{fffd}[2Jxxx"), "{said}");
            assert_eq!((said.chars().count(), said.chars().last()), (TOLD + 1, Some('…')));
        }
    }

    #[test]
    fn a_problem_says_how_to_end() {
        let exists = Problem::refused("secret a already exists").hint("choose another name");
        let failure = Failure::new(Exit::Refused, "secret a already exists");
        assert_eq!(read(exists), Answer::Refused(failure.hint("choose another name")));
        let away = Problem::unavailable("x");
        assert!(matches!(read(away.clone()), Answer::NoLeader(_)));
        let elsewhere = away.led_by(NodeId::from_bytes([1; 16]), vec!["m2:4440".into()]);
        assert!(matches!(read(elsewhere), Answer::LeaderIsAt(..)));
        assert!(matches!(read(Problem::too_often("x")), Answer::Busy(_)));
        assert!(matches!(read(Problem::unknown("x")), Answer::Unknown(_)));
        assert!(matches!(read(Problem::locked("x")), Answer::Refused(f) if f.exit == Exit::Locked));
    }

    #[test]
    fn a_status_without_details_is_a_broken_connection() {
        assert!(matches!(Answer::read(&Status::unavailable("reset")), Answer::Lost(_)));
        assert!(matches!(Answer::read(&Status::unknown("h2")), Answer::Lost(_)));
        assert!(matches!(Answer::read(&Status::unimplemented("")), Answer::Refused(_)));
        let garbage = Status::with_details(Code::Internal, "x", vec![0xff, 0xff].into());
        assert!(matches!(Answer::read(&garbage), Answer::Lost(_)));
    }
}
