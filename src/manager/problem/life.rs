//! What a caller is told of the life of this manager: founding, unlocking, joining, leaving,
//! repairing.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::Path;

use tonic::Code;

use super::{locked, unknown};
use skep_client::transport::Problem;
use skep_core::base::Exit;

/// What to do where a manager was admitted and could not write its key file.
pub(in crate::manager) const LISTED_THERE: &str =
    "the cluster lists this manager: `skep node rm NAME` there, then join again";
/// What to do where `init` could not write.
pub(in crate::manager) const INIT_AGAIN: &str =
    "see that the disk works and has room, then run `skep init` again";
/// What to do where `leave` could not erase.
pub(in crate::manager) const STILL_THERE: &str =
    "this manager's data is not erased: stop it and remove the folder";
/// What to do where `lock` could not write down that it was said.
pub(in crate::manager) const STILL_UNLOCKED: &str =
    "the manager is still unlocked; stop its process to lock it";

/// What to do where a recovery could not write.
pub(in crate::manager) const RECOVER_AGAIN: &str =
    "see that the disk works and has room, then repeat it: what was there stands";

/// Nothing was founded or joined here.
pub(in crate::manager) fn not_initialised() -> Problem {
    Problem::refused("this manager is not initialised").hint("skep init")
}

/// It belongs to a cluster.
pub(in crate::manager) fn initialised() -> Problem {
    Problem::refused("this manager is initialised already").hint("skep status")
}

/// Nothing is to be unlocked.
pub(in crate::manager) fn not_locked() -> Problem {
    Problem::refused("this manager is unlocked already").hint("skep status")
}

/// Nothing is to be repaired.
pub(in crate::manager) fn not_rolled_back() -> Problem {
    Problem::refused("nothing is to be repaired: no peer remembers more than this manager")
        .hint("skep status")
}

/// It was unlocked a moment ago.
pub(in crate::manager) fn being_locked() -> Problem {
    Problem::unavailable("this manager is just being locked")
}

/// It was removed, and is asked to take part again.
pub(in crate::manager) fn removed() -> Problem {
    Problem::refused("this manager was removed from the cluster")
        .hint("`skep leave` erases what is here; then it can join again as a new one")
}

/// No unlock key file opens what an operator locked.
pub(in crate::manager) fn locked_by_operator() -> Problem {
    Problem::refused("an operator locked this manager").hint("skep unlock")
}

/// Its port can't be had.
pub(in crate::manager) fn no_port(address: SocketAddr, error: impl fmt::Display) -> Problem {
    Problem::fatal(Exit::InUse, format!("can't listen on {address}: {error}"))
        .hint("another process took the address meanwhile; stop it, or give --listen")
}

/// Something could not be written into the data folder; `hint` says what is to be done then.
pub(in crate::manager) fn not_written(folder: &Path, error: &io::Error, hint: &str) -> Problem {
    Problem::fatal(Exit::WriteFailed, format!("{}: {error}", folder.display())).hint(hint)
}

/// A key pair could not be made.
pub(in crate::manager) fn no_key_pair(error: impl fmt::Display) -> Problem {
    Problem::bug(format!("a key pair was not made: {error}"))
}

/// The second half of an `init` without the first.
pub(in crate::manager) fn not_prepared() -> Problem {
    Problem::refused("init was not prepared, or was begun anew").hint("run `skep init` again")
}

/// An `init` failed with `problem`, and what it had made is still there.
pub(in crate::manager) fn not_taken_back(
    problem: &Problem,
    folder: &Path,
    error: &io::Error,
) -> Problem {
    let text = format!("init failed ({problem}), and what it left was not removed: {error}");
    Problem::fatal(Exit::WriteFailed, text).hint(format!(
        "stop the manager, remove {}, start it and run `skep init` again",
        folder.display()
    ))
}

/// What the manager that admitted this one answered is not what was asked for.
pub(in crate::manager) fn odd_join(what: &str) -> Problem {
    Problem::refused(format!("the answer to the join does not fit: {what}"))
        .hint("nothing was kept; `skep node rm NAME` there before this manager joins again")
}

/// The key file is not as it was written.
pub(in crate::manager) fn key_file_damaged(path: &Path, why: impl fmt::Display) -> Problem {
    Problem::fatal(Exit::Damaged, format!("{}: this manager's key file {why}", path.display()))
        .hint("put it back from a copy")
}

/// The key file holds what is not whole, or not this manager's: `text` says what.
pub(in crate::manager) fn not_own(text: impl Into<String>) -> Problem {
    Problem::fatal(Exit::Damaged, text)
        .hint("its key file is not whole or not its own: put it back from a copy")
}

/// The key file is of another cluster than the unlock key.
pub(in crate::manager) fn planted() -> Problem {
    Problem::wrong_key("this manager's key file is of another cluster than the unlock key")
        .hint("do not trust this disk: it may have been planted")
}

/// The key file was written anew while its key was being found.
pub(in crate::manager) fn key_file_replaced() -> Problem {
    Problem::refused("the key file was replaced meanwhile").hint("repeat `skep unlock`")
}

/// An unlock key that the key file was not locked for.
pub(in crate::manager) fn not_a_recipient(error: impl fmt::Display) -> Problem {
    Problem::wrong_key(format!("the unlock key {error}"))
        .hint("`skep unlock-key check` shows whose key a file holds")
}

/// A file key that doesn't open the key file.
pub(in crate::manager) fn wrong_file_key(error: impl fmt::Display) -> Problem {
    Problem::wrong_key(format!("with this key, the manager's key file {error}"))
        .hint("`skep unlock-key ls` shows which unlock keys there are")
}

/// What is kept of the issuing CAs in use is not as it was written.
pub(in crate::manager) fn floor_damaged(error: impl fmt::Display) -> Problem {
    Problem::fatal(Exit::Damaged, error.to_string())
        .hint("remove that file: it is written anew as soon as this manager is in touch")
}

/// Consensus didn't start with what the disk holds.
pub(in crate::manager) fn not_started(exit: Exit, error: impl fmt::Display) -> Problem {
    Problem::fatal(exit, error.to_string()).hint("the manager's log says more")
}

/// A repair came so far that this manager ends.
pub(in crate::manager) fn repair_cut_short(exit: Exit, why: impl Into<String>) -> Problem {
    Problem::fatal(exit, why).hint("start the manager again, unlock it and repeat the repair")
}

/// The others can't go on while this manager counts for nothing.
pub(in crate::manager) fn not_released(why: impl fmt::Display) -> Problem {
    Problem::refused(format!("the others can't do without this manager: {why}"))
        .hint("start or unlock the other managers first, or put this one's newer disk back")
}

/// Nobody could be asked to do without this manager.
pub(in crate::manager) fn nobody_releases(error: impl fmt::Display) -> Problem {
    Problem::unavailable(error.to_string()).hint(
        "start or unlock the other managers, a majority without this one; \
         or name one of them: `skep manager repair HOST:PORT`",
    )
}

/// A locked manager can't ask the others to remove it.
pub(in crate::manager) fn locked_while_leaving() -> Problem {
    locked().hint(
        "`skep unlock`, then leave; or `skep node rm NAME` elsewhere and `skep leave --force` here",
    )
}

/// The leader's refusal to let this manager leave, with what can be done about it here.
pub(in crate::manager) fn not_left(code: Code, problem: Problem) -> Problem {
    let own = "`skep leave --force` erases this machine alone: the cluster goes on listing it";
    let hint = match problem.hint.as_str() {
        "" => own.to_owned(),
        hint => format!("{hint}; {own}"),
    };
    match code {
        Code::Unavailable => Problem::unavailable(problem.text).hint(hint),
        Code::Unknown => unknown(),
        Code::PermissionDenied => Problem::not_allowed(problem.text).hint(problem.hint),
        _ => Problem::refused(problem.text).hint(hint),
    }
}

/// The last words of a manager that finds itself removed.
pub(in crate::manager) fn was_removed() -> String {
    "this manager was removed from the cluster; to let the machine join again, start it and call \
     `skep leave`"
        .to_owned()
}

/// The last words of a manager without which the cluster was recovered.
pub(in crate::manager) fn was_given_up(epoch: u64) -> String {
    format!(
        "the cluster was recovered without this manager, as epoch {epoch}; to let the machine join \
         again, start it, call `skep leave --force`, and join anew"
    )
}

/// No manager's data is in this folder.
pub(in crate::manager) fn nothing_to_recover(folder: &Path) -> Problem {
    Problem::refused(format!("{}: no manager was made here", folder.display()))
        .hint("--from takes the data folder of a manager: `/var/lib/skep/manager` by default")
}

/// What is here was never replicated: a manager that joined and got nothing.
pub(in crate::manager) fn nothing_replicated() -> Problem {
    Problem::refused("this manager had nothing of the cluster yet: nothing can be recovered of it")
        .hint("recover another manager, or restore a backup")
}

/// What is on the disk can't be made a cluster.
pub(in crate::manager) fn not_recovered(exit: Exit, error: impl fmt::Display) -> Problem {
    Problem::fatal(exit, error.to_string())
        .hint("nothing was changed; recover another manager, or put the disk back from a copy")
}

/// The identity that is to go on is nobody's here.
pub(in crate::manager) fn not_an_operator() -> Problem {
    Problem::refused("the identity is none of an operator whom this manager knows")
        .hint("leave --identity out: operators are suspended until the cluster is resumed")
}
