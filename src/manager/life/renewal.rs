//! The certificate of a manager that starts: renewed before anybody is served.
//!
//! The log is open by then. What a manager's own state lists it may sign for itself: whoever
//! unlocked it could sign it anyway. So managers come back however long they were away, also
//! all at once. One that its own state doesn't list asks the others.

use std::time::Duration;

use crate::manager::core::Core;
use crate::manager::own::NotRenewed;
use crate::manager::problem::{self, span};
use crate::manager::running::Started;
use skep_client::renew::{self, Age};
use skep_client::transport::{Expect, Problem, connect};
use skep_core::base::{Exit, NodeId, Stamp, limits};
use skep_core::domain::{NodeRole, State};

/// How long a manager alone may take to read its own log to the end.
const OWN_LOG: Duration = Duration::from_secs(10);
/// How long one address may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(2);
/// How far the cluster's time may be ahead of a clock that is right: a leader's clock may have
/// been.
const BEHIND_MS: u64 = 5 * 60_000;

/// Sees to it that this manager has a certificate that is good, or says why it has none.
///
/// # Errors
/// What whoever unlocks it is told: it can't take part.
pub(in crate::manager) async fn at_start(started: &Started) -> Result<(), Problem> {
    let (core, own) = (&started.core, &started.identity.own);
    let now = core.clock.now();
    let age = Age::of(&own.leaf(), now);
    if age == Age::Young {
        return Ok(());
    }
    let stamp = core.consensus.read(|state| state.stamp);
    if age == Age::NotBegun && stamp > now.plus_ms(BEHIND_MS) {
        // It is the clock that is wrong: with it nothing is signed. The status says so.
        let by = span(stamp.0.saturating_sub(now.0));
        let why = format!("this manager's clock is {by} behind the cluster's time");
        tracing::error!(event = "clock_behind", why);
        return Ok(());
    }
    let signed = match sign(started, now).await {
        Ok(chain) => own.replace(chain).await,
        Err(why) => Err(why),
    };
    match signed {
        Ok(()) => return Ok(()),
        Err(why) => tracing::warn!(event = "certificate_not_renewed", why = %why),
    }
    // Who is still recognised tries again while it runs.
    if age.is_good() { Ok(()) } else { ask_others(started, now).await }
}

async fn sign(started: &Started, now: Stamp) -> Result<Vec<Vec<u8>>, NotRenewed> {
    let (core, own) = (&started.core, &started.identity.own);
    if core.is_alone() {
        // What was written last may not be applied yet, and nobody else has it.
        core.consensus.linearize(OWN_LOG).await.ok();
    }
    own.sign(core, now)
}

/// The other managers, and where they are.
fn others(core: &Core) -> Vec<(NodeId, Vec<String>)> {
    let listed = |state: &State| -> Vec<NodeId> {
        let managers = state.nodes.iter().filter(|(_, node)| node.role == NodeRole::Manager);
        managers.map(|(id, _)| *id).collect()
    };
    let mut all = core.consensus.read(listed);
    all.extend(core.members().into_iter().map(|member| member.node));
    all.sort_unstable();
    all.dedup();
    all.retain(|node| *node != core.node);
    all.into_iter().take(2 * limits::MANAGERS).map(|node| (node, core.addresses_of(node))).collect()
}

/// Asks each of the others until one signs.
async fn ask_others(started: &Started, now: Stamp) -> Result<(), Problem> {
    let (core, identity) = (&started.core, &started.identity);
    let (own, mut refused) = (&identity.own, None);
    for (node, addresses) in others(core) {
        for address in addresses {
            let connected = connect(&address, &identity.client, Expect::Manager(node), CONNECT);
            let Ok((channel, peer)) = connected.await else { continue };
            let shows = |state: &State| {
                state.nodes.get(&node).is_none_or(|node| node.shows(&peer.leaf().key))
            };
            if !core.consensus.read(shows) {
                continue;
            }
            let asked = renew::ask(channel, &own.leaf(), own.key(), own.fingerprint(), now).await;
            match asked {
                Ok(next) => match own.replace(next.chain).await {
                    Ok(()) => return Ok(()),
                    Err(why) => tracing::error!(event = "certificate_not_renewed", why = %why),
                },
                Err(renew::NotRenewed::Said(told)) if told.exit == Exit::IdentityEnded => {
                    refused = Some(told);
                }
                Err(why) => {
                    tracing::warn!(event = "certificate_not_renewed", peer = %node, why = %why);
                }
            }
        }
    }
    Err(refused.unwrap_or_else(problem::expired))
}
