//! What another manager is told when its call between managers fails.

use std::fmt;

use skep_client::transport::Problem;

/// This manager is not ready, or not any more; the error says why.
pub(super) fn not_now(error: impl fmt::Display) -> Problem {
    Problem::unavailable(error.to_string())
}

/// A message that is none of this protocol.
pub(super) fn malformed(error: impl fmt::Display) -> Problem {
    Problem::bad_input(error.to_string())
}

/// The caller is no manager of this cluster.
pub(super) fn no_member() -> Problem {
    Problem::not_allowed("only managers of this cluster may call")
}

/// The caller was one.
pub(super) fn removed() -> Problem {
    Problem::not_allowed("this manager was removed from the cluster")
}

/// The caller speaks for somebody else.
pub(super) fn not_its_vote() -> Problem {
    Problem::not_allowed("the vote is another manager's")
}

/// The lead is not handed over, for this reason.
pub(super) fn no_transfer(error: impl fmt::Display) -> Problem {
    Problem::refused(error.to_string())
}

/// A change of the members was not committed in time; it may still be.
pub(super) fn not_confirmed() -> Problem {
    Problem::unavailable("no majority confirmed it in time")
}

/// One change of the members at a time.
pub(super) fn another_change() -> Problem {
    Problem::unavailable("another change of the members is under way")
}
