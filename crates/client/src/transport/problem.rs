//! Errors as they travel: a gRPC status whose details are an [`api::Problem`].

use prost::Message;
use tonic::{Code, Status};

use skep_core::base::{NodeId, limits};
use skep_core::wire::api;

/// Bytes of a problem's text or hint that are sent: details and message travel
/// in one header block, of which a client takes 16 KiB.
const TEXT_BYTES: usize = 1024;
/// Bytes of one leader address that are sent.
const ADDRESS_BYTES: usize = 256;
/// Bytes of details that are read.
const DETAILS_BYTES: usize = 8 * 1024;

/// A status that carries a problem: what the CLI prints (`text`, then `hint`
/// where there is one) and exits with (`exit`), and where the leader is if it
/// was not here.
#[must_use]
pub fn problem_status(
    code: Code,
    exit: u8,
    text: &str,
    hint: &str,
    leader: Option<(NodeId, &[String])>,
) -> Status {
    let (leader_id, addresses) = match leader {
        Some((id, addresses)) => (id.as_bytes().to_vec(), addresses),
        None => (Vec::new(), &[][..]),
    };
    let text = cut(text, TEXT_BYTES);
    let problem = api::Problem {
        exit: u32::from(exit),
        text: text.to_owned(),
        hint: cut(hint, TEXT_BYTES).to_owned(),
        leader_id,
        leader_addresses: addresses
            .iter()
            .take(limits::MANAGERS)
            .map(|address| cut(address, ADDRESS_BYTES).to_owned())
            .collect(),
    };
    Status::with_details(code, text, problem.encode_to_vec().into())
}

/// The problem that a status carries. None for statuses made elsewhere: by the
/// connection, or by something that is not Skep.
#[must_use]
pub fn read_problem(status: &Status) -> Option<api::Problem> {
    let details = status.details();
    if details.is_empty() || details.len() > DETAILS_BYTES {
        return None;
    }
    api::Problem::decode(details).ok()
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
        let status = problem_status(
            Code::Unavailable,
            3,
            "this manager does not lead",
            "ask the leader",
            Some((leader, &addresses)),
        );
        assert_eq!(status.code(), Code::Unavailable);
        assert_eq!(status.message(), "this manager does not lead");
        let problem = read_problem(&status).expect("a problem");
        assert_eq!(problem.exit, 3);
        assert_eq!(problem.hint, "ask the leader");
        assert_eq!(problem.leader_id, leader.as_bytes());
        assert_eq!(problem.leader_addresses, addresses);
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
    fn long_texts_are_cut_at_a_character() {
        let status = problem_status(Code::Internal, 1, &"ä".repeat(4000), "", None);
        assert_eq!(status.message().len(), TEXT_BYTES);
        assert_eq!(cut("aä", 2), "a");
    }
}
