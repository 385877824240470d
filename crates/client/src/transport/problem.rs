//! Errors as they travel: a gRPC status whose details are an [`api::Problem`].
//!
//! Every status that Skep answers with is built here, from a [`Problem`]: what the caller's
//! process ends with, one line that says what is wrong, and one that says what to do.

use prost::Message;
use tonic::{Code, Status};

use skep_core::base::{Exit, NodeId, limits};
use skep_core::wire::api;

/// Bytes of a problem's text or hint that are sent: details and message travel
/// in one header block, of which a client takes 16 KiB.
const TEXT_BYTES: usize = 1024;
/// Bytes of one leader address that are sent.
const ADDRESS_BYTES: usize = 256;
/// Bytes of details that are read.
const DETAILS_BYTES: usize = 8 * 1024;

/// Why a call failed. Never holds a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Problem {
    /// What kind of failure it is to gRPC.
    pub code: Code,
    /// What the caller's process ends with.
    pub exit: Exit,
    /// What is wrong, in one line.
    pub text: String,
    /// What to do; empty where nothing is known.
    pub hint: String,
    /// The leader, where another manager leads.
    pub leader: Option<NodeId>,
    /// Where the leader is reached.
    pub leader_addresses: Vec<String>,
}

impl Problem {
    fn new(code: Code, exit: Exit, text: impl Into<String>) -> Self {
        let (hint, leader, leader_addresses) = (String::new(), None, Vec::new());
        Self { code, exit, text: text.into(), hint, leader, leader_addresses }
    }

    /// Refused: it exists, is in use, is not found, does not fit the state.
    #[must_use]
    pub fn refused(text: impl Into<String>) -> Self {
        Self::new(Code::FailedPrecondition, Exit::Refused, text)
    }

    /// The caller may not do that.
    #[must_use]
    pub fn not_allowed(text: impl Into<String>) -> Self {
        Self::new(Code::PermissionDenied, Exit::Refused, text)
    }

    /// The daemon that asks has no identity any more, and ends for it.
    #[must_use]
    pub fn identity_ended(text: impl Into<String>) -> Self {
        Self::new(Code::PermissionDenied, Exit::IdentityEnded, text)
    }

    /// The certificate of whoever asks has ended, and can be renewed.
    #[must_use]
    pub fn certificate_ended(text: impl Into<String>) -> Self {
        Self::new(Code::Unauthenticated, Exit::Refused, text)
    }

    /// The certificate of whoever asks ended so long ago that it can't be renewed. A daemon
    /// ends for it; what it has is not taken away.
    #[must_use]
    pub fn certificate_over(text: impl Into<String>) -> Self {
        Self::new(Code::Unauthenticated, Exit::IdentityEnded, text)
    }

    /// Another session with the same identity took this one's place.
    #[must_use]
    pub fn replaced(text: impl Into<String>) -> Self {
        Self::new(Code::Aborted, Exit::Refused, text)
    }

    /// Another session with the same identity is there.
    #[must_use]
    pub fn taken(text: impl Into<String>) -> Self {
        Self::new(Code::AlreadyExists, Exit::Refused, text)
    }

    /// What was to be replaced has been replaced by somebody else.
    #[must_use]
    pub fn newer(text: impl Into<String>) -> Self {
        Self::new(Code::AlreadyExists, Exit::Refused, text)
    }

    /// What was sent is unsound.
    #[must_use]
    pub fn bad_input(text: impl Into<String>) -> Self {
        Self::new(Code::InvalidArgument, Exit::Usage, text)
    }

    /// A message has more bytes than are taken.
    #[must_use]
    pub fn too_large(text: impl Into<String>) -> Self {
        Self::new(Code::OutOfRange, Exit::Usage, text)
    }

    /// There is no such method here.
    #[must_use]
    pub fn not_served(text: impl Into<String>) -> Self {
        Self::new(Code::Unimplemented, Exit::Refused, text)
            .hint("`skep status` shows the state and the version")
    }

    /// Nothing was done, and later or elsewhere it may be.
    #[must_use]
    pub fn unavailable(text: impl Into<String>) -> Self {
        Self::new(Code::Unavailable, Exit::Unreachable, text)
    }

    /// More than this caller may ask at a time; nothing was done.
    #[must_use]
    pub fn too_often(text: impl Into<String>) -> Self {
        Self::new(Code::ResourceExhausted, Exit::Unreachable, text)
    }

    /// As many things of this caller's as may be are under way; nothing was done.
    #[must_use]
    pub fn too_many(text: impl Into<String>) -> Self {
        Self::new(Code::ResourceExhausted, Exit::Refused, text)
    }

    /// The call itself did not come in time; nothing was done.
    #[must_use]
    pub fn too_slow(text: impl Into<String>) -> Self {
        Self::new(Code::DeadlineExceeded, Exit::Unreachable, text)
    }

    /// What was asked for did not come to be in time.
    #[must_use]
    pub fn not_in_time(text: impl Into<String>) -> Self {
        Self::new(Code::DeadlineExceeded, Exit::NotConfirmed, text)
    }

    /// The manager is locked.
    #[must_use]
    pub fn locked(text: impl Into<String>) -> Self {
        Self::new(Code::FailedPrecondition, Exit::Locked, text)
    }

    /// It may have been done.
    #[must_use]
    pub fn unknown(text: impl Into<String>) -> Self {
        Self::new(Code::Unknown, Exit::Unknown, text)
    }

    /// A wrong unlock key.
    #[must_use]
    pub fn wrong_key(text: impl Into<String>) -> Self {
        Self::new(Code::FailedPrecondition, Exit::WrongUnlockKey, text)
    }

    /// The key that a client sealed to is in use no more: it fetches the new one
    /// and seals again.
    #[must_use]
    pub fn retired(text: impl Into<String>) -> Self {
        Self::new(Code::Aborted, Exit::Refused, text)
    }

    /// The daemon ends for this, with the same status.
    #[must_use]
    pub fn fatal(exit: Exit, text: impl Into<String>) -> Self {
        Self::new(Code::DataLoss, exit, text)
    }

    /// A broken invariant of ours.
    #[must_use]
    pub fn bug(text: impl Into<String>) -> Self {
        Self::new(Code::Internal, Exit::Bug, text)
            .hint("this is a bug of skep: please report it with the daemon's log")
    }

    /// The caller went away by itself.
    #[must_use]
    pub fn cancelled(text: impl Into<String>) -> Self {
        Self::new(Code::Cancelled, Exit::Done, text)
    }

    /// The same with what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }

    /// The same with where the leader is.
    #[must_use]
    pub fn led_by(mut self, leader: NodeId, addresses: Vec<String>) -> Self {
        (self.leader, self.leader_addresses) = (Some(leader), addresses);
        self
    }

    /// Whether it is [`Self::newer`].
    #[must_use]
    pub fn is_newer(&self) -> bool {
        self.code == Code::AlreadyExists
    }

    /// Whether a share is used up for now.
    #[must_use]
    pub fn is_too_often(&self) -> bool {
        self.code == Code::ResourceExhausted
    }

    /// Whether it is [`Self::certificate_ended`].
    #[must_use]
    pub fn wants_renewal(&self) -> bool {
        self.code == Code::Unauthenticated && self.exit == Exit::Refused
    }

    /// Whether it is [`Self::certificate_over`].
    #[must_use]
    pub fn is_certificate_over(&self) -> bool {
        self.code == Code::Unauthenticated && self.exit == Exit::IdentityEnded
    }

    /// Whether another manager leads, and is named.
    #[must_use]
    pub fn is_elsewhere(&self) -> bool {
        self.exit == Exit::Unreachable && !self.leader_addresses.is_empty()
    }
}

impl From<Problem> for Status {
    fn from(problem: Problem) -> Self {
        let text = cut(&problem.text, TEXT_BYTES);
        let details = api::Problem {
            exit: u32::from(problem.exit.code()),
            text: text.to_owned(),
            hint: cut(&problem.hint, TEXT_BYTES).to_owned(),
            leader_id: problem.leader.map(|id| id.as_bytes().to_vec()).unwrap_or_default(),
            leader_addresses: problem
                .leader_addresses
                .iter()
                .take(limits::MANAGERS)
                .map(|address| cut(address, ADDRESS_BYTES).to_owned())
                .collect(),
        };
        Self::with_details(problem.code, text, details.encode_to_vec().into())
    }
}

/// The problem that a status carries. None for statuses made elsewhere: by the
/// connection, or by something that is not Skep. A status of a process that this
/// version doesn't know counts as [`Exit::Refused`].
#[must_use]
pub fn read_problem(status: &Status) -> Option<Problem> {
    let details = status.details();
    if details.is_empty() || details.len() > DETAILS_BYTES {
        return None;
    }
    let read = api::Problem::decode(details).ok()?;
    Some(Problem {
        code: status.code(),
        exit: Exit::from_code(read.exit).unwrap_or(Exit::Refused),
        text: read.text,
        hint: read.hint,
        leader: NodeId::try_from(read.leader_id.as_slice()).ok(),
        leader_addresses: read.leader_addresses,
    })
}

impl Problem {
    /// The refusal in a status that something else than Skep made, with its words.
    #[must_use]
    pub fn of_another(status: &Status) -> Self {
        Self::refused(cut(status.message(), TEXT_BYTES))
    }
}

/// The first `most` bytes, or fewer where a character would be cut.
fn cut(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    end.and_then(|end| text.get(..end)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_travels_in_a_status() {
        let leader = NodeId::from_bytes([7; 16]);
        let addresses = vec!["10.0.0.1:4440".to_owned()];
        let problem = Problem::unavailable("this manager does not lead")
            .hint("ask the leader")
            .led_by(leader, addresses);
        let status = Status::from(problem.clone());
        assert_eq!(status.code(), Code::Unavailable);
        assert_eq!(status.message(), "this manager does not lead");
        assert_eq!(read_problem(&status), Some(problem));
    }

    #[test]
    fn foreign_statuses_carry_none() {
        assert_eq!(read_problem(&Status::unavailable("closed")), None);
        let odd = Status::with_details(Code::Internal, "", vec![0xff; 9].into());
        assert_eq!(read_problem(&odd), None);
        let long = Status::with_details(Code::Internal, "", vec![0; DETAILS_BYTES + 1].into());
        assert_eq!(read_problem(&long), None);
    }

    #[test]
    fn a_status_of_a_newer_version_is_a_refusal() {
        let details = api::Problem { exit: 99, text: "x".into(), ..Default::default() };
        let status = Status::with_details(Code::Internal, "", details.encode_to_vec().into());
        assert_eq!(read_problem(&status).map(|problem| problem.exit), Some(Exit::Refused));
    }

    #[test]
    fn long_texts_are_cut_at_a_character() {
        let status = Status::from(Problem::bug("ä".repeat(4000)));
        assert_eq!(status.message().len(), TEXT_BYTES);
        assert_eq!(cut("aä", 2), "a");
    }
}
