//! What a caller is told who may not ask for what it asked for, or asks for too much.

use std::fmt;

use skep_client::transport::Problem;
use skep_core::base::Name;
use skep_core::domain::Member;

/// A connection that no caller stands behind.
pub(in crate::manager) fn no_caller() -> Problem {
    Problem::not_allowed("the caller is not known")
}

/// A caller that showed no certificate, where one is needed.
pub(in crate::manager) fn no_identity() -> Problem {
    Problem::not_allowed("the caller has no identity")
}

/// `who` may not call `method`.
pub(in crate::manager) fn may_not(who: &str, method: &str) -> Problem {
    Problem::not_allowed(format!("{who} may not {method}"))
}

/// The handler of `method` was reached by a way that admits nothing.
pub(in crate::manager) fn not_admitted(method: &str) -> Problem {
    Problem::bug(format!("a call to {method} was not admitted"))
}

/// What only a local user may ask for came by another way.
pub(in crate::manager) fn not_by_the_socket() -> Problem {
    Problem::bug("a call for the control socket came another way")
}

/// What only a local user may ask for was asked for from afar.
pub(in crate::manager) fn for_the_socket() -> Problem {
    Problem::not_allowed("that is for the manager's own control socket alone")
        .hint("call it on the manager's machine, without --host")
}

/// A local user without a role.
pub(in crate::manager) fn no_role(uid: u32) -> Problem {
    Problem::not_allowed(format!("uid {uid} may not use this manager's control socket"))
        .hint("call as root or as the manager's user, or start it with --socket-role")
}

/// A request that names somebody for whom it is made, from one that is no manager.
pub(in crate::manager) fn speaks_for_nobody() -> Problem {
    Problem::not_allowed("only a manager speaks for others")
}

/// A request between managers whose certificate is none of a manager's.
pub(in crate::manager) fn no_manager() -> Problem {
    Problem::not_allowed("the caller is no manager")
}

/// A session that no node asks for.
pub(in crate::manager) fn no_agent() -> Problem {
    Problem::not_allowed("only a node's agent may call this")
}

/// A certificate of the cluster's CA that the state does not list.
pub(in crate::manager) fn not_listed() -> Problem {
    Problem::not_allowed("this identity is not (or no longer) one of the cluster's")
        .hint("it may have been removed: `skep operator ls` and `skep node ls` show who is there")
}

/// A node that a recovery has lost, or that was removed before: nothing is decided yet.
pub(in crate::manager) fn not_known_since() -> Problem {
    Problem::unavailable("the cluster was recovered, and does not know this node").hint(
        "`skep cluster resume` on a manager; a node that joined after what was kept joins anew",
    )
}

/// An operator, after a recovery.
pub(in crate::manager) fn suspended() -> Problem {
    Problem::not_allowed("the cluster was recovered: operators may do nothing until it is resumed")
        .hint("`skep cluster resume` on the manager's machine, as root or as the manager's user")
}

/// An operator that was made for a time which is over.
pub(in crate::manager) fn time_is_over(name: &Name) -> Problem {
    Problem::identity_ended(format!("this identity was made for a time that is over: {name}"))
        .hint("an admin makes another one: `skep operator create NAME --role editor --ttl 8h`")
}

/// What whoever has a scope asked for lies beyond it.
pub(in crate::manager) fn beyond_scope(what: &str) -> Problem {
    Problem::not_allowed(format!("an identity with a scope may not {what}"))
}

/// The certificate of this member ended so long ago that it may not even be renewed.
pub(in crate::manager) fn ended(member: Member, is_manager: bool, name: &Name) -> Problem {
    let long = "the certificate ended more than 30 days ago";
    match member {
        Member::Node(_) => {
            let what = if is_manager { "manager" } else { "node" };
            Problem::certificate_over(format!("{long}: this {what} is {name}")).hint(format!(
                "let an admin run `skep node readmit {name}` within a day before this {what} is started again"
            ))
        }
        Member::Operator(id) => {
            Problem::certificate_over(format!("{long}: this operator is {name}")).hint(format!(
                "let another admin, or root on a manager's machine, run `skep operator renew {id}`: the next command here renews it within a day"
            ))
        }
    }
}

/// A certificate that has ended is good for nothing but its renewal.
pub(in crate::manager) fn renews_first() -> Problem {
    Problem::certificate_ended("the certificate has ended: it has to be renewed first")
        .hint("nothing was done; agents, managers and the command line renew it by themselves")
}

/// A member whose renewal is under way already.
pub(in crate::manager) fn renews_already() -> Problem {
    Problem::too_often("this certificate is being renewed already")
        .hint("nothing was done; repeat it in a few seconds")
}

/// A member that asks for certificates faster than anything needs them.
pub(in crate::manager) fn renews_too_often() -> Problem {
    Problem::too_often("this member asks for certificates too often")
        .hint("nothing was done; repeat it in a minute")
}

/// A method that no row of the table has.
pub(in crate::manager) fn not_served() -> Problem {
    Problem::not_served("no such method is served")
}

/// One message has `length` bytes, and `most` are allowed.
pub(in crate::manager) fn message_too_large(length: usize, most: usize) -> Problem {
    Problem::too_large(format!("the message has {length} bytes, and {most} are allowed"))
        .hint("use the same version of skep everywhere")
}

/// A body that goes on after its one message.
pub(in crate::manager) fn body_goes_on() -> Problem {
    Problem::bad_input("the call's body goes on after its message")
}

/// A body that doesn't come in time.
pub(in crate::manager) fn body_too_slow() -> Problem {
    Problem::too_slow("the call's body did not come in time")
}

/// So many `what` of one caller, or of all of its kind, are under way that no more is begun.
pub(in crate::manager) fn too_many(what: &str) -> Problem {
    Problem::too_often(format!("too many {what} of this caller or its kind are under way"))
        .hint("nothing was done; repeat it in a few seconds")
}

/// An address from which too many join tokens came that admit nobody.
pub(in crate::manager) fn too_many_bad_tokens() -> Problem {
    Problem::too_often("too many join tokens that are not accepted come from this address")
        .hint("nothing was done; repeat it in a few seconds")
}

/// So many wait for deliveries that nobody else may.
pub(in crate::manager) fn too_many_watch(why: impl fmt::Display) -> Problem {
    Problem::too_often(why.to_string())
        .hint("delivery goes on; `skep status` shows what is pending, and waiting can be repeated")
}

/// A node that reports opens faster than anything opens files.
pub(in crate::manager) fn opens_too_often() -> Problem {
    Problem::too_many("this node reports opens too often")
}
