//! What a caller is told whose request holds what its fields exclude.

use std::fmt;

use skep_client::transport::Problem;
use skep_core::base::Fingerprint;

/// A field of the request has not the form that it needs: `what` names it, and the error
/// says the rest of the sentence.
pub(in crate::manager) fn bad(what: &str, error: impl fmt::Display) -> Problem {
    Problem::bad_input(format!("{what} {error}"))
}

/// A name that is none: `whose` says what should be named.
pub(in crate::manager) fn bad_name(whose: &str, error: impl fmt::Display) -> Problem {
    Problem::bad_input(format!("{whose}: {error}"))
}

/// A request that a manager hands on doesn't say for whom, or in an unknown way.
pub(in crate::manager) fn bad_behalf() -> Problem {
    Problem::bad_input("the request says for whom it is in an unknown way")
}

/// The place from which a page goes on is none.
pub(in crate::manager) fn bad_page() -> Problem {
    Problem::bad_input("after is no node and service")
}

/// More things are waited for than a cluster has.
pub(in crate::manager) fn too_many_watched() -> Problem {
    Problem::bad_input("more services or nodes than a cluster has")
}

/// A join token that would last too long.
pub(in crate::manager) fn token_too_long() -> Problem {
    Problem::bad_input("a join token lasts 366 days at most")
        .hint("a new one is made when it is needed: --ttl 24h")
}

/// A join token that nobody could use.
pub(in crate::manager) fn token_without_use() -> Problem {
    Problem::bad_input("a join token is for one use at least")
}

/// A pattern of node names with other characters than such a pattern has.
pub(in crate::manager) fn bad_pattern() -> Problem {
    Problem::bad_input("a name pattern has letters, digits, '-', '_', '.' and '*' for any of them")
}

/// A manager that joins names no manager to ask, or too many.
pub(in crate::manager) fn addresses_to_join(most: usize) -> Problem {
    Problem::bad_input(format!("name 1 to {most} addresses of managers to ask"))
}

/// A repair names too many managers to ask.
pub(in crate::manager) fn addresses_to_repair(most: usize) -> Problem {
    Problem::bad_input(format!("name {most} addresses of managers at most"))
}

/// What a manager was given to join with is no join token.
pub(in crate::manager) fn bad_token(error: impl fmt::Display) -> Problem {
    bad("the join token", error)
        .hint("make one on a manager of the cluster: `skep join-token manager -q`")
}

/// A proof shows that its sender has another key than the one it asks a certificate for.
pub(in crate::manager) fn other_proof() -> Problem {
    Problem::bad_input("the proof is for another public key")
}

/// A part of the founding request is missing or longer than such a part is.
pub(in crate::manager) fn bad_founding() -> Problem {
    Problem::bad_input("a certificate or the sealed root key is missing or too long")
}

/// A node writes for a service that doesn't run there.
pub(in crate::manager) fn not_running_there() -> Problem {
    Problem::refused("the service does not run on this node")
        .hint("its processes write: `skep service inspect SERVICE` shows where it runs")
}

/// A workload writes what its service doesn't have.
pub(in crate::manager) fn nothing_to_write() -> Problem {
    Problem::refused("the service has no such secret any more")
        .hint("`skep service inspect SERVICE` shows what it has, and what it may write")
}

/// A node writes more often than anything should.
pub(in crate::manager) fn puts_too_often() -> Problem {
    Problem::too_often("this node writes too often")
        .hint("nothing was done; repeat it in a few seconds")
}

/// How far a record reaches was told a moment ago.
pub(in crate::manager) fn anchors_too_often() -> Problem {
    Problem::too_often("it is too soon to say how far this record reaches")
        .hint("once in ten seconds is enough; what is said next holds for what came before")
}

/// An operator that would be there for no time, or for ever and a day.
pub(in crate::manager) fn bad_operator_time() -> Problem {
    Problem::bad_input("an operator is there for 1 second to 366 days, or does not end")
        .hint("for example --ttl 8h, or leave --ttl out")
}

/// A request for an identity that names another cluster than this one.
pub(in crate::manager) fn for_another_cluster(own: Fingerprint) -> Problem {
    Problem::refused(format!(
        "the request was made for another cluster: this one's fingerprint is {own}"
    ))
    .hint("nothing was made; ask for a request that names this cluster, or none")
}

/// Whoever asks for an admin has not opened what an unlock key opens.
pub(in crate::manager) fn not_opened() -> Problem {
    Problem::refused("no unlock key of this cluster was shown, or not in time")
        .hint("nothing was made; repeat it: `skep operator recover NAME --key-file FILE`")
}

/// An unlock key makes an admin of all, and nobody else.
pub(in crate::manager) fn no_admin() -> Problem {
    Problem::bad_input("an unlock key makes an admin without a scope and without an end")
}

/// Values of one call come under one half of the client's.
pub(in crate::manager) fn another_half() -> Problem {
    Problem::bad_input("half: another one than the first value's")
}
