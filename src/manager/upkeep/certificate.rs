//! This manager's own certificate while it runs: renewed in time, with the key that it has.
//!
//! The leader signs its own and has the state say when it ends; a follower asks the leader. One
//! that finds nobody who leads, and whose certificate is over, signs for itself by its own
//! state: without one it would find nobody any more.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::manager::members::belonging;
use crate::manager::problem::Explain;
use crate::manager::running::Running;
use skep_client::ca::{Leaf, key_digest};
use skep_client::renew::{self, Age};
use skep_core::base::{NodeId, RequestId, Stamp, limits};
use skep_core::domain::{Act, Actor, Member, State};

/// How often it is looked at.
const LOOK: Duration = Duration::from_secs(2);
/// Between two attempts.
const AGAIN: Duration = Duration::from_secs(30);

/// Renews as long as this manager runs.
pub(in crate::manager) async fn keep(running: Arc<Running>) {
    let mut every = tokio::time::interval(LOOK);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut rests_until = Instant::now();
    loop {
        tokio::select! {
            () = running.stop.cancelled() => return,
            _ = every.tick() => {}
        }
        cut_ended(&running);
        if Instant::now() < rests_until || running.is_behind() {
            continue;
        }
        let Some((age, now)) = wanted(&running) else { continue };
        if let Err(why) = next(&running, age, now).await {
            tracing::warn!(event = "certificate_not_renewed", why = %why);
            rests_until = Instant::now() + AGAIN;
        } else {
            // Calls that are under way come to their end over the connections of before.
            running.peers.connect_anew();
        }
    }
}

/// Ends what peers, nodes and operators have open by a certificate whose grace is over: they were
/// asked to renew, and what they call is refused since it ended.
fn cut_ended(running: &Running) {
    if let Ok(reading) = running.core.reading() {
        let by = reading.clock().0.saturating_sub(limits::GRACE_MS);
        running.cuts.cut_ended(Stamp(by));
    }
}

/// Whether it is time for the next certificate, by a clock that may be believed.
fn wanted(running: &Running) -> Option<(Age, Stamp)> {
    let core = &running.core;
    if is_replaced(running) {
        // Nobody tells such a one what time it is: whoever signs for it knows.
        return Some((Age::Due, core.clock.now()));
    }
    let now = core.reading().ok()?.clock();
    if core.clock_off_ms().is_some() {
        return None;
    }
    let own = &running.identity.own;
    let (leaf, issuer) = (own.leaf(), own.issuer());
    let age = Age::of(&leaf, now);
    if age != Age::Young {
        return Some((age, now));
    }
    let in_touch = core.consensus.leadership().borrow().quorum;
    let differs = core.consensus.read(|state| {
        state.nodes.contains_key(&core.node) && !is_on_record(state, core.node, &leaf, issuer)
    });
    (in_touch && differs).then_some((age, now))
}

/// Whether this is the certificate that the state has of a manager, of the issuing CA in use:
/// what is not is replaced while it is good.
pub(in crate::manager) fn is_on_record(
    state: &State,
    id: NodeId,
    leaf: &Leaf,
    issuer: Stamp,
) -> bool {
    let (Some(cluster), Some(node)) = (&state.cluster, state.nodes.get(&id)) else { return false };
    // Certificates count in seconds.
    let says = node.certificate_ends.0 / 1_000 == leaf.ends.0 / 1_000;
    says && cluster.issuers.current == issuer
}

/// Whether others show that a newer issuing CA is in use, or this manager's own is in use no
/// more: nothing but its renewal may be open to it.
fn is_replaced(running: &Running) -> bool {
    let issuer = running.identity.own.issuer();
    issuer < running.peers.newest_issuer() || running.core.floor.refuses(issuer)
}

/// The next certificate, in place of the one that is shown.
async fn next(running: &Running, age: Age, now: Stamp) -> Result<(), String> {
    let (core, own) = (&running.core, &running.identity.own);
    let chain = if core.leads().is_ok() {
        match sign_as_leader(running, now).await {
            Ok(chain) => chain,
            Err(why) if age.is_good() => return Err(why),
            // The others don't know it any more by the certificate that it shows.
            Err(_follows) => own.sign(core, now).map_err(|error| error.to_string())?,
        }
    } else {
        match ask_leader(running, now).await {
            Ok(chain) => chain,
            Err(why) if age.is_good() && !is_replaced(running) => return Err(why),
            // Nobody whose certificate is retired hears who leads.
            Err(_) if age.is_good() => ask_all(running, now).await?,
            Err(_silent) => own.sign(core, now).map_err(|error| error.to_string())?,
        }
    };
    own.replace(chain).await.map_err(|error| error.to_string())
}

/// Signs, and has the state say so before it is shown.
async fn sign_as_leader(running: &Running, now: Stamp) -> Result<Vec<Vec<u8>>, String> {
    let (core, own) = (&running.core, &running.identity.own);
    let chain = own.sign(core, now).map_err(|error| error.to_string())?;
    let signed = crate::manager::own::read_chain(&chain, own.fingerprint());
    let signed = signed.map_err(|error| error.to_string())?;
    let act = Act::Renew {
        member: Member::Node(core.node),
        key: key_digest(&own.key().public()),
        certificate_ends: signed.leaf.ends,
        issuer: signed.issuer,
    };
    let request = RequestId::draw(&mut *(core.dice)());
    let applied = core.propose(request, Actor::Node(core.node), act).await;
    let applied = applied.map_err(|error| core.problem(error).to_string())?;
    applied.outcome.map_err(|refused| refused.explain().to_string())?;
    Ok(chain)
}

async fn ask_leader(running: &Running, now: Stamp) -> Result<Vec<Vec<u8>>, String> {
    let leader = running.core.other_leader().ok_or("nobody leads")?;
    ask(running, leader, now).await
}

/// Asks one after the other, until the one that leads answers.
async fn ask_all(running: &Running, now: Stamp) -> Result<Vec<Vec<u8>>, String> {
    let mut why = "no other manager is known".to_owned();
    for node in belonging::others(running).into_keys() {
        match ask(running, node, now).await {
            Ok(chain) => return Ok(chain),
            Err(said) => why = said,
        }
    }
    Err(why)
}

async fn ask(running: &Running, leader: NodeId, now: Stamp) -> Result<Vec<Vec<u8>>, String> {
    let (core, own) = (&running.core, &running.identity.own);
    let channel = running.peers.channel(leader, &core.addresses_of(leader)).await;
    let channel = channel.map_err(|problem| problem.to_string())?;
    let asked = renew::ask(channel, &own.leaf(), own.key(), own.fingerprint(), now).await;
    match asked {
        Ok(next) => Ok(next.chain),
        Err(why) => {
            running.peers.lost(leader);
            Err(why.to_string())
        }
    }
}
