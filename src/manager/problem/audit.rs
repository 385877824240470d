//! What a caller is told where the audit log can't be written or read.

use skep_client::transport::Problem;
use skep_core::base::Exit;

/// Nothing is done that can't be recorded.
pub(in crate::manager) fn not_recorded(why: impl std::fmt::Display) -> Problem {
    Problem::unavailable(format!("the audit log of this manager can't be written: {why}"))
        .hint("make room on that manager's disk, or ask another manager: --host")
}

/// Another manager's log is asked for by somebody who can go there.
pub(in crate::manager) fn of_another() -> Problem {
    Problem::not_allowed("each manager reads its own audit log").hint("connect to that manager")
}

/// It is not there, or its disk does not read.
pub(in crate::manager) fn not_read(why: impl std::fmt::Display) -> Problem {
    Problem::fatal(Exit::Damaged, format!("the audit log can't be read: {why}"))
}

/// Whoever has a scope sees what lies within it and so can't see whether all is there.
pub(in crate::manager) fn scoped() -> Problem {
    Problem::not_allowed("whoever has a scope can't verify the audit log")
        .hint("an auditor without a scope can")
}
