//! What a caller is told of the issuing CA and of its replacement.

use super::delivery::written;
use skep_client::transport::Problem;
use skep_core::base::Stamp;

/// The certificate shown is of an issuing CA that is in use no more.
pub(in crate::manager) fn retired() -> Problem {
    Problem::certificate_ended("this certificate is of an issuing CA that is in use no more")
        .hint("nothing was done; agents, managers and the command line renew it by themselves")
}

/// One issuing CA takes the place of another since then.
pub(in crate::manager) fn under_way(since: Stamp) -> Problem {
    Problem::refused(format!(
        "the issuing CA is being replaced already, since {}",
        written(since).unwrap_or_default()
    ))
    .hint("it ends by itself; `skep ca show` names who has not renewed yet")
}

/// The key for which a certificate comes is not here.
pub(in crate::manager) fn not_prepared() -> Problem {
    Problem::refused(
        "the leader has no key for this certificate: another manager leads meanwhile, or \
         somebody else began to replace the issuing CA, or it took too long",
    )
    .hint("nothing was changed; run `skep ca rotate` again")
}

/// What was sent is no certificate.
pub(in crate::manager) fn too_long() -> Problem {
    Problem::bad_input("the issuing certificate is too long")
}

/// Why a member whose certificate is of an older issuing CA is not waited for or is.
pub(in crate::manager) mod why {
    /// A node that is in touch.
    pub(in crate::manager) fn told() -> String {
        "it was told, and has not renewed yet".to_owned()
    }
    /// A manager out of touch.
    pub(in crate::manager) fn away() -> String {
        "not reached".to_owned()
    }
    /// An operator.
    pub(in crate::manager) fn next_command() -> String {
        "renewed by the next command that uses it".to_owned()
    }
}
