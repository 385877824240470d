//! Why a process of this machine doesn't get what it asked for, in words.

use std::fmt;

use super::types::{Refused, RefusedKind, Wants};
use crate::agent::vault::UnitAsks;
use skep_core::base::{Name, Target};
use skep_core::wire::delivery::{Failed, Placed};

const LOG: &str = "see the agent's log";

fn no(text: impl Into<String>, hint: impl Into<String>) -> Refused {
    Refused { text: text.into(), hint: hint.into(), kind: RefusedKind::No }
}

/// No manager is at hand, or the agent is about to end.
fn away(text: impl Into<String>) -> Refused {
    let hint = "look at `skep agent status` and at the agent's log".to_owned();
    Refused { text: text.into(), hint, kind: RefusedKind::Away }
}

pub(in crate::agent) fn stopping() -> Refused {
    away("the agent is stopping")
}

pub(super) fn leaving() -> Refused {
    away("the agent is stopping or leaving")
}

pub(super) fn no_way_to_leave(why: &str) -> Refused {
    away(format!("no manager was reached to leave the cluster ({why})"))
}

pub(super) fn connection_lost() -> Refused {
    away("the connection to the leader was lost")
}

pub(super) fn not_wiped(failed: &Failed) -> Refused {
    no(format!("not everything could be wiped: {}", failed.why), LOG)
}

pub(super) fn claimed_again() -> Refused {
    no("the same process has claimed again", "one claim a process")
}

pub(super) fn no_room(text: String) -> Refused {
    no(text, "try again when some have been answered")
}

pub(super) fn caller_gone() -> Refused {
    no("the caller is gone", "")
}

pub(super) fn not_up(name: &str) -> Refused {
    let text = format!("service {name} was not put up by hand on this node");
    no(text, "`skep agent status` lists the services of this node")
}

/// Nothing of that name is placed here: what an agent is told of others' services is nothing.
pub(super) fn not_placed(of: &Wants, drained: bool) -> Refused {
    let name = match of {
        Wants::Named(name) => name,
        Wants::Unit(asks) => return no_unit(asks),
    };
    if drained {
        return no(
            format!("service {name} is not placed on this node: the node is drained"),
            "`skep node update NODE --availability active` lets services be placed on it again",
        );
    }
    no(
        format!("service {name} is not placed on this node"),
        format!(
            "`skep service ls` shows whether there is one of that name; \
             `skep service update {name} --node-add NODE` places it"
        ),
    )
}

/// No service that is placed here is this unit and has that credential, as far as names say.
fn no_unit(asks: &UnitAsks) -> Refused {
    no(
        format!(
            "no service that is placed on this node means credential {} of unit {}",
            asks.id, asks.unit
        ),
        format!(
            "`skep service update NAME --unit-add {}` makes a service's secrets the unit's; of several \
             services the credential is called SERVICE_FILE",
            asks.unit
        ),
    )
}

/// Whether it is placed here is not known: `why` no manager was reached.
pub(super) fn not_known(of: &Wants, why: &str) -> Refused {
    let what = match of {
        Wants::Named(name) => format!("service {name}"),
        Wants::Unit(asks) => format!("a service of unit {}", asks.unit),
    };
    away(format!(
        "whether {what} is placed on this node is not known: no manager was reached ({why})"
    ))
}

/// It is placed here, and its secrets never came: `why` no manager was reached.
pub(super) fn not_here(placed: &Placed, why: &str) -> Refused {
    away(format!(
        "the secrets of service {} are not on this node, and no manager was reached ({why})",
        placed.name
    ))
}

pub(super) fn not_in_time(placed: &Placed) -> Refused {
    Refused {
        text: format!("the secrets of service {} were not in place in time", placed.name),
        hint: "`skep node ls` shows whether this node is paused; --timeout gives it longer"
            .to_owned(),
        kind: RefusedKind::Late,
    }
}

pub(super) fn not_owner(placed: &Placed, uid: u32) -> Refused {
    no(
        format!("user {uid} may not run service {}", placed.name),
        format!(
            "only root and its owner, user {}, may; change it with `skep service update {} --owner UID:GID`",
            placed.owner_uid, placed.name
        ),
    )
}

pub(super) fn has_another(placed: &Placed) -> Refused {
    no(
        format!("this process has another service's secrets: it can't have {}'s too", placed.name),
        "a process has one service's: start another process for it, as a shell does",
    )
}

pub(super) fn does_not_fit(placed: &Placed, failed: &Failed) -> Refused {
    no(
        format!("the secrets of service {} cannot be put in place: {}", placed.name, failed.why),
        LOG,
    )
}

/// The calling process can't be followed to its end.
pub(in crate::agent) fn not_followed(error: impl fmt::Display, hint: &str) -> Refused {
    no(format!("the calling process cannot be followed: {error}"), hint)
}

/// The mount namespace of the calling process can't be followed.
pub(in crate::agent) fn not_enclosed(error: impl fmt::Display) -> Refused {
    no(
        format!("the process's mount namespace cannot be followed: {error}"),
        "`skep exec` makes one before it asks",
    )
}

pub(in crate::agent) fn leader_silent() -> Refused {
    away("the leader did not answer in time")
}

/// A manager's refusal, in its own words.
pub(in crate::agent) fn of_manager(text: String, hint: String) -> Refused {
    no(text, hint)
}

/// What something else than a manager answered.
pub(in crate::agent) fn of_another(text: &str) -> Refused {
    away(text)
}

/// Who writes has read another set than the one in place.
pub(in crate::agent) fn set_has_changed() -> Refused {
    Refused {
        text: "another set of files is in place than the one that was read".to_owned(),
        hint: "read it again, and decide again".to_owned(),
        kind: RefusedKind::Changed,
    }
}

/// Somebody works on a service's files for long.
pub(in crate::agent) fn files_busy(name: &Name) -> Refused {
    away(format!("the files of service {name} are being changed"))
}

/// Nothing that could be replaced is in place.
pub(in crate::agent) fn nothing_in_place(name: &Name) -> Refused {
    no(
        format!("no files of service {name} are in place on this node"),
        "`skep agent status` lists the services of this node",
    )
}

/// The set in place has no such file.
pub(in crate::agent) fn no_such_file(name: &Name, target: &Target) -> Refused {
    no(
        format!("service {name} has no file {target} on this node"),
        format!("`skep service inspect {name}` lists its files"),
    )
}

/// A process that is of no workload of the service, or another user's, writes.
pub(in crate::agent) fn no_workload(name: &Name, owner_uid: u32, uid: u32) -> Refused {
    no(
        format!("this process of user {uid} may not write for service {name}"),
        format!(
            "processes that `skep exec` started for it may, of root or of its owner, user {owner_uid}"
        ),
    )
}
