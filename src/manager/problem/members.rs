//! What a caller is told of the other managers and of the nodes.

use std::fmt;

use skep_client::transport::Problem;

/// A manager that answers for the leader doesn't reach it: nothing was done.
pub(in crate::manager) fn leader_silent() -> Problem {
    Problem::unavailable("the leader does not answer")
        .hint("`skep status` shows which managers can be reached; --stale reads here")
}

/// Another manager isn't reached, for this reason.
pub(in crate::manager) fn peer_silent(why: impl fmt::Display) -> Problem {
    Problem::unavailable(format!("the other manager is not reached: {why}"))
        .hint("nothing was done; `skep status` shows which managers can be reached")
}

/// Nobody that was meant could take the lead.
pub(in crate::manager) fn no_successor() -> Problem {
    Problem::refused("no such manager could take the lead")
        .hint("`skep node ls` shows which managers can be reached")
}

/// The manager that leads is to be removed, and nobody takes the lead from it.
pub(in crate::manager) fn not_handed_over() -> Problem {
    Problem::unavailable("no other manager took the lead; nothing was removed")
        .hint("`skep node ls` shows which managers can be reached; then repeat it")
}

/// An act would remove several managers.
pub(in crate::manager) fn one_at_a_time() -> Problem {
    Problem::refused("managers are removed one at a time")
        .hint("`skep node rm NAME` for each of them by itself")
}

/// After the removal of a manager no majority would be left.
pub(in crate::manager) fn no_majority_stays() -> Problem {
    Problem::refused(
        "the managers that would stay could not go on: no majority of them can be reached",
    )
    .hint("`skep node ls` shows which are out of reach: bring one back or remove that one first")
}

/// The clocks of the managers differ too much for what was asked.
pub(in crate::manager) fn clocks_differ() -> Problem {
    Problem::refused("the clocks of a majority of the managers do not agree within a minute")
        .hint("check time synchronisation on their machines: `skep status` names who differs")
}

/// Somebody else said where a manager is.
pub(in crate::manager) fn moved_by_another() -> Problem {
    Problem::not_allowed("a manager says itself where it is")
}

/// A manager said that it is where nobody can be.
pub(in crate::manager) fn moved_nowhere(why: impl fmt::Display) -> Problem {
    Problem::bad_input(why.to_string())
}

/// An operator said where a worker is.
pub(in crate::manager) fn no_address(name: impl fmt::Display) -> Problem {
    Problem::refused(format!("{name} is a worker: it comes to the managers, from wherever it is"))
        .hint("`skep node ls` shows which nodes are managers")
}

/// An operator said that a manager is where it isn't.
pub(in crate::manager) fn not_there(
    name: impl fmt::Display,
    address: impl fmt::Display,
) -> Problem {
    Problem::refused(format!("{name} does not answer at {address}, and does where it is on record"))
        .hint("nothing was changed; it must be reachable there before, or be stopped")
}

/// A node was removed while it joined.
pub(in crate::manager) fn removed_meanwhile() -> Problem {
    Problem::refused("this node was removed meanwhile")
}

/// The leader's disk has no room for more.
pub(in crate::manager) fn disk_full() -> Problem {
    Problem::refused("the leader's disk is nearly full: only removals and revokes are admitted")
        .hint("make room on it, or let another manager lead: `skep manager step-down`")
}

/// An agent took the place of another session with the same identity.
pub(in crate::manager) fn session_replaced(why: impl fmt::Display) -> Problem {
    Problem::replaced(why.to_string())
}

/// An agent's identity is in use on another machine.
pub(in crate::manager) fn identity_taken(why: impl fmt::Display) -> Problem {
    Problem::taken(why.to_string()).hint(
        "an identity belongs to one machine: stop this agent, remove its data directory \
             (/var/lib/skep/agent by default), and let it join by a token of \
             `skep join-token worker`: `skep agent run --token-file FILE --manager HOST:PORT`",
    )
}

/// An agent ended its session.
pub(in crate::manager) fn session_left(why: impl fmt::Display) -> Problem {
    Problem::cancelled(why.to_string())
}

/// An agent sent what no agent of this version sends.
pub(in crate::manager) fn agent_misbehaved(why: impl fmt::Display) -> Problem {
    Problem::bad_input(why.to_string()).hint("use the same version of skep everywhere")
}
