//! Which calls have a line of their own in the audit log, and what it says.
//!
//! What the cluster applies has its line there; such a call is recorded here only where nothing
//! came of it. What managers ask each other for themselves is recorded where it is refused.

use tonic::{Code, Extensions};

use super::caller::{Admitted, source};
use super::table::{By, Row};
use crate::manager::audit::Act;
use crate::manager::core::Core;
use skep_client::ca::CertificateRole;
use skep_client::transport::{Caller, caller, local_caller};
use skep_core::audit::{Deed, Doer};
use skep_core::domain::{Actor, Method, doer};

/// How the call of a method is recorded.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kept {
    /// Whatever came of it.
    Always,
    /// Where it was not done: else the cluster has a line of what it applied.
    Undone,
    /// Where it was not allowed.
    Refused,
}

fn kept(row: &Row) -> Kept {
    let (_, call) = row.path.rsplit_once('/').unwrap_or_default();
    match call {
        _ if row.by == By::Certificate => Kept::Refused,
        // The public key to which values are sealed, and what is said within a member's own task.
        // Who reads the log is recorded with what it reads.
        "Move" | "Anchor" | "Intake" | "PutIntake" | "UnlockHeader" | "ReadAudit" => Kept::Refused,
        "Apply" | "CreateToken" | "CreateOperator" | "RecoverOperator" | "MoveManager"
        | "ResetTime" | "CommitIssuer" | "Resume" | "Join" | "Renew" | "Renewed"
        | "ReportOpened" | "Leave" | "Put" | "AnchorRecord" | "CommitInit" | "LeaveCluster" => {
            Kept::Undone
        }
        _ => Kept::Always,
    }
}

/// Whether such a call is refused where nothing can be recorded. An operator must still be able
/// to look after that manager, and managers to go on without it.
pub(super) fn waits_for_the_log(row: &Row) -> bool {
    let looks_after = matches!(
        row.method,
        Method::Status
            | Method::ReadAudit
            | Method::StepDown
            | Method::Lock
            | Method::Unlock
            | Method::Raft
            | Method::Forward
    );
    row.by == By::State && !looks_after
}

/// Whether this call has a line, however it was answered.
pub(super) fn has_line(row: &Row, code: Code, by_manager: bool) -> bool {
    let refused = matches!(code, Code::PermissionDenied | Code::Unauthenticated);
    match kept(row) {
        _ if refused => true,
        Kept::Always => !by_manager,
        Kept::Undone => code != Code::Ok,
        Kept::Refused => false,
    }
}

/// What it says; `None` where nobody knows who called: those are only counted.
pub(super) fn act(
    core: Option<&Core>,
    extensions: &Extensions,
    row: &Row,
    code: Code,
    listed: bool,
) -> Option<Act> {
    let who = who(core, extensions, listed)?;
    let mut act = Act::of(who, source(extensions), Deed::new(&word(row.path)));
    if act.from.is_empty() && local_caller(extensions).is_some() {
        "socket".clone_into(&mut act.from);
    }
    refused(code).clone_into(&mut act.refused);
    act.revision = core.map(|core| core.consensus.read(|state| state.revision)).unwrap_or_default();
    Some(act)
}

fn who(core: Option<&Core>, extensions: &Extensions, listed: bool) -> Option<Doer> {
    let named = |actor: &Actor| core.map(|core| core.consensus.read(|state| doer(state, actor)));
    if let Some(user) = local_caller(extensions) {
        let uid = user.uid();
        let running = core.and_then(|core| named(&Actor::Local { uid, manager: core.node }));
        let locked = || Doer { kind: "local".to_owned(), id: uid.to_string(), name: String::new() };
        return Some(running.unwrap_or_else(locked));
    }
    if let Some(actor) = extensions.get::<Admitted>().and_then(|of| of.actor().ok()) {
        return named(&actor);
    }
    let Some(Caller::Peer(peer) | Caller::Expired(peer)) = caller(extensions) else { return None };
    if !listed {
        return None;
    }
    named(&match peer.leaf().subject.role {
        CertificateRole::Manager(id) | CertificateRole::Worker(id) => Actor::Node(id),
        CertificateRole::Operator(id) => Actor::Operator(id),
    })
}

/// A method as lines have it: `call.list-secrets`.
fn word(path: &str) -> String {
    let (_, call) = path.rsplit_once('/').unwrap_or_default();
    let mut word = "call.".to_owned();
    for (place, letter) in call.chars().enumerate() {
        if letter.is_ascii_uppercase() && place > 0 {
            word.push('-');
        }
        word.push(letter.to_ascii_lowercase());
    }
    word
}

/// Why a call was not done, as one word; empty: it was.
fn refused(code: Code) -> &'static str {
    match code {
        Code::Ok => "",
        Code::PermissionDenied | Code::Unauthenticated => "not-allowed",
        Code::InvalidArgument | Code::OutOfRange => "bad-input",
        Code::NotFound | Code::FailedPrecondition | Code::AlreadyExists | Code::Aborted => {
            "refused"
        }
        Code::ResourceExhausted => "too-much",
        Code::Unavailable => "unavailable",
        Code::DeadlineExceeded | Code::Cancelled => "too-late",
        Code::Unimplemented => "not-served",
        Code::Unknown | Code::Internal | Code::DataLoss => "failed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manager::admit::table::TABLE;

    fn row(call: &str) -> &'static Row {
        TABLE.iter().find(|row| row.path.ends_with(&format!("/{call}"))).expect("a row")
    }

    #[test]
    fn p10_every_call_that_is_refused_has_a_line() {
        for row in TABLE {
            assert!(has_line(row, Code::PermissionDenied, false), "{row:?}");
            assert!(has_line(row, Code::PermissionDenied, true), "{row:?}");
        }
    }

    #[test]
    fn what_is_read_has_a_line_and_what_is_applied_has_it_elsewhere() {
        assert!(has_line(row("ListSecrets"), Code::Ok, false));
        assert!(has_line(row("Unlock"), Code::Ok, false));
        assert!(!has_line(row("Apply"), Code::Ok, false));
        assert!(has_line(row("Apply"), Code::InvalidArgument, false));
        assert!(!has_line(row("Status"), Code::Ok, true), "managers look at each other");
        assert!(!has_line(row("Append"), Code::Ok, false));
    }

    #[test]
    fn a_manager_that_records_nothing_is_still_looked_after() {
        for call in ["Status", "Lock", "StepDown", "Unlock", "ReadAudit", "Append", "Anchor"] {
            assert!(!waits_for_the_log(row(call)), "{call}");
        }
        for call in ["Apply", "ListSecrets", "Session", "Join", "Put"] {
            assert!(waits_for_the_log(row(call)), "{call}");
        }
    }

    #[test]
    fn a_method_is_one_word() {
        assert_eq!(word("/skep.api.v1.Control/ListSecrets"), "call.list-secrets");
        assert_eq!(word("/skep.api.v1.Control/Status"), "call.status");
    }
}
