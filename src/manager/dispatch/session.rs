//! One session: the hello, then pushes one at a time until either side ends it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use tokio::sync::{mpsc, watch};
use tonic::Status;

use super::Hub;
use super::certificate::Due;
use super::ending::Ending;
use super::frames::{NoValue, frames, message};
use super::known::Has;
use super::ledger::{Ledger, Look, Misbehaved, Recorded, Refused};
use super::table::{Full, Live};
use super::whereabouts;
use super::{Seen, pairs_of};
use crate::consensus::Leadership;
use crate::manager::keys::NoKey;
use skep_client::transport::{KeyExchange, Told};
use skep_core::base::{BootTime, Dice, NodeId, SecretId, ServiceId, Stamp, VersionId, limits};
use skep_core::domain::{Exposure, NodeRole, State, Version};
use skep_core::seal::{SessionHalf, SessionKey, ValueContext};
use skep_core::wire::api;
use skep_core::wire::delivery::{FAILED_FILES, HOOK_WHY_CHARS, HOOKS_TOLD, HookStand};

/// How long a node may take to say hello.
const HELLO: Duration = Duration::from_secs(5);
/// How long a session's last word may take.
const LAST_WORD: Duration = Duration::from_millis(500);
/// Versions that a node may name for one service: those of its grants, twice
/// over while a rotation is under way.
const HELD_VERSIONS: usize = 2 * limits::GRANTS;
/// Characters of what a node says of itself.
const SAID_CHARS: usize = 128;
/// Characters of a reason, with a path and a hint in it.
const REASON_CHARS: usize = 400;
/// Between two looks at the certificate of a session in which nothing happens.
const CERTIFICATE: Duration = Duration::from_mins(1);
/// Bytes of a boot id.
const BOOT_BYTES: usize = 64;

/// Where messages to the agent go.
pub(super) type Out = mpsc::Sender<Result<api::FromLeader, Status>>;

/// A node whose certificate was checked against the state.
#[derive(Clone, Debug)]
pub(in crate::manager) struct Agent {
    /// Which.
    pub node: NodeId,
    /// Where it connects from.
    pub address: String,
    /// How the keys of its connection were agreed on.
    pub exchange: Option<KeyExchange>,
}

/// Runs a session to its end, and says why it ended.
pub(super) async fn run<S>(hub: Arc<Hub>, agent: Agent, incoming: S, out: Out)
where
    S: Stream<Item = Result<api::FromAgent, Status>> + Unpin + Send,
{
    let end = session(&hub, &agent, incoming, &out).await;
    tracing::info!(event = "session_ended", node = %agent.node, %end);
    if end == Ending::Left {
        return;
    }
    let status = hub.status(agent.node, &end);
    if tokio::time::timeout(LAST_WORD, out.send(Err(status))).await.is_err() {
        tracing::debug!(event = "session_cut_unheard", node = %agent.node);
    }
}

async fn session<S>(hub: &Hub, agent: &Agent, mut incoming: S, out: &Out) -> Ending
where
    S: Stream<Item = Result<api::FromAgent, Status>> + Unpin + Send,
{
    let hello = match tokio::time::timeout(HELLO, incoming.next()).await {
        Ok(Some(Ok(api::FromAgent { of: Some(api::from_agent::Of::Hello(hello)) }))) => hello,
        Ok(Some(Ok(_))) => return Ending::Misbehaved("said something before hello"),
        Ok(Some(Err(_)) | None) => return Ending::Left,
        Err(_) => return Ending::Misbehaved("said no hello in 5 seconds"),
    };
    let (live, key, welcome) = match enter(hub, agent, hello) {
        Ok(entered) => entered,
        Err(end) => return end,
    };
    tracing::info!(event = "session_started", node = %agent.node);
    let end = tokio::select! {
        biased;
        cut = live.ends() => Ending::from(cut),
        () = out.closed() => Ending::Left,
        end = read(hub, &live, incoming) => end,
        end = write(hub, &live, &key, welcome, out) => end,
    };
    hub.table.leave(&live, hub.core.clock.now());
    end
}

/// Agrees on a key and takes the session in.
fn enter(
    hub: &Hub,
    agent: &Agent,
    hello: api::Hello,
) -> Result<(Arc<Live>, SessionKey, api::Welcome), Ending> {
    let core = &hub.core;
    let public = <[u8; 32]>::try_from(hello.session_public.as_slice())
        .ok()
        .ok_or(Ending::Misbehaved("sent a malformed session key"))?;
    if hello.boot_id.is_empty() || hello.boot_id.len() > BOOT_BYTES {
        return Err(Ending::Misbehaved("sent a malformed boot id"));
    }
    let running = services(&hello.running)?;
    let ledger = Ledger::new(held(&hello.held)?, running.clone());

    let half = SessionHalf::draw((core.dice)().as_mut());
    let session_public = half.public().to_vec();
    let key = half
        .agree(true, core.node, agent.node, &public)
        .ok()
        .ok_or(Ending::Misbehaved("sent a session key of low order"))?;

    let welcome = core.consensus.read(|state| {
        let cluster = state.cluster.as_ref()?;
        let told = whereabouts::told(state);
        Some(api::Welcome {
            session_public,
            leader: core.node.as_bytes().to_vec(),
            cluster_name: cluster.name.as_str().to_owned(),
            addresses: told.addresses,
            epoch_counter: cluster.epoch.counter,
            epoch_tail: cluster.epoch.tail.to_vec(),
            revision: state.revision.0,
            issuer: told.issuer.0,
            oldest_issuer: told.oldest_issuer.0,
        })
    });
    let welcome = welcome.ok_or(Ending::Deposed)?;
    let now = core.clock.now();
    let seen = Seen {
        connected: true,
        last_seen: Some(now),
        version: said(&hello.version),
        hostname: said(&hello.hostname),
        os: said(&hello.os),
        arch: said(&hello.arch),
        address: agent.address.clone(),
        key_exchange: agent.exchange.map(|of| of.to_string()).unwrap_or_default(),
        running,
        rival: None,
    };
    let live = hub.table.enter(agent.node, hello.boot_id, ledger, seen, now);
    let live = live.map_err(|full| match full {
        Full::NotLeading => Ending::Deposed,
        Full::Taken => {
            tracing::warn!(event = "identity_copied", node = %agent.node, peer = %agent.address);
            Ending::Taken
        }
    })?;
    Ok((live, key, welcome))
}

/// Takes what the agent says.
async fn read<S>(hub: &Hub, live: &Live, mut incoming: S) -> Ending
where
    S: Stream<Item = Result<api::FromAgent, Status>> + Unpin,
{
    loop {
        let Some(Ok(said)) = incoming.next().await else { return Ending::Left };
        if let Err(end) = take(hub, live, said) {
            return end;
        }
    }
}

fn take(hub: &Hub, live: &Live, said: api::FromAgent) -> Result<(), Ending> {
    let now = hub.core.clock.now();
    match said.of {
        Some(api::from_agent::Of::Hello(_)) => {
            return Err(Ending::Misbehaved("said hello twice"));
        }
        Some(api::from_agent::Of::Running(running)) => {
            let running = services(&running.services)?;
            hub.table.heard(live, Some(&running), now);
            live.ledger.lock().runs(running);
        }
        Some(api::from_agent::Of::Ack(ack)) => {
            let failed = failed(&ack.failed)?;
            for one in &failed {
                let (node, service, last) = (live.node, one.service, one.last);
                tracing::warn!(event = "delivery_failed", %node, %service, last, why = one.why);
            }
            hub.table.heard(live, None, now);
            let unchanged = services(&ack.unchanged)?;
            let mut ledger = live.ledger.lock();
            ledger.brought_nothing(ack.push, unchanged);
            ledger.acknowledged(ack.push, failed, hub.core.clock.boot())?;
            drop(ledger);
            hub.table.tick();
        }
        Some(api::from_agent::Of::Ask(ask)) => {
            *live.asked.lock() = Some(BootTime(ask.at_ms));
        }
        Some(api::from_agent::Of::Hooks(told)) => {
            live.ledger.lock().hooks_are(hooks(&told.hooks)?);
            hub.table.tick();
        }
        // A newer agent's word, which this manager does not know.
        None => {}
    }
    live.wake.notify_one();
    Ok(())
}

/// Looks, sends what there is to send, and waits for a reason to look again.
async fn write(
    hub: &Hub,
    live: &Live,
    key: &SessionKey,
    welcome: api::Welcome,
    out: &Out,
) -> Ending {
    let mut leadership = hub.core.consensus.leadership();
    let mut managers = hub.managers.told();
    let mut told = Told {
        addresses: welcome.addresses.clone(),
        issuer: Stamp(welcome.issuer),
        oldest_issuer: Stamp(welcome.oldest_issuer),
    };
    if out.send(Ok(message(api::from_leader::Of::Welcome(welcome)))).await.is_err() {
        return Ending::Left;
    }
    let (mut dice, mut asked) = ((hub.core.dice)(), None);
    loop {
        let now = managers.borrow_and_update().clone();
        if !now.addresses.is_empty() && now != told {
            told.clone_from(&now);
            let moved = message(api::from_leader::Of::Managers(now.into()));
            if out.send(Ok(moved)).await.is_err() {
                return Ending::Left;
            }
        }
        let now = hub.core.clock.now();
        match hub.certificate(live.node) {
            Due::Nothing => asked = None,
            Due::Over => return Ending::Over,
            Due::Asking if Hub::asks_again(asked, now) => {
                asked = Some(now);
                let renew = message(api::from_leader::Of::Renew(api::Renew {}));
                if out.send(Ok(renew)).await.is_err() {
                    return Ending::Left;
                }
            }
            Due::Asking => {}
        }
        // Before the look: what it sees is as new as the question.
        let question = hub.question(live).await;
        let Some(look) = hub.look(live) else { return Ending::Removed };
        if let Some(confirmed) = question.and_then(|asked| live.ledger.lock().confirmed(asked)) {
            let confirmed = message(api::from_leader::Of::Confirmed(confirmed));
            if out.send(Ok(confirmed)).await.is_err() {
                return Ending::Left;
            }
        }
        if let Some((number, delta)) = look.push {
            let seal = |secret: SecretId, version: &Version| {
                seal_key(hub, dice.as_mut(), key, secret, version)
            };
            let (messages, refused) = frames(number, &delta, seal);
            for one in refused {
                tracing::warn!(event = "value_withheld", service = %one.service, why = one.why);
                live.ledger.lock().withhold(number, one);
            }
            if hub.record(live.node, &delta).await.is_err() {
                return Ending::Unrecorded;
            }
            for message in messages {
                // After a message was made, and before it leaves.
                if !leads(&mut leadership).await {
                    return Ending::Deposed;
                }
                if out.send(Ok(message)).await.is_err() {
                    return Ending::Left;
                }
            }
        }
        tokio::select! {
            () = live.wake.notified() => {}
            // Its sender lives as long as the hub.
            Ok(()) = managers.changed() => {}
            () = until(hub, look.again) => {}
            () = tokio::time::sleep(CERTIFICATE) => {}
        }
    }
}

/// Waits while no majority is in touch; false where this manager leads no more.
async fn leads(leadership: &mut watch::Receiver<Leadership>) -> bool {
    match leadership.wait_for(|now| !now.own || now.quorum).await {
        Ok(now) => now.own,
        Err(_) => false,
    }
}

async fn until(hub: &Hub, again: Option<BootTime>) {
    match again {
        Some(again) => {
            let wait = again.0.saturating_sub(hub.core.clock.boot().0);
            tokio::time::sleep(Duration::from_millis(wait.max(1))).await;
        }
        None => std::future::pending().await,
    }
}

/// A version's data key, out of the state's wrapping and into the session's.
fn seal_key(
    hub: &Hub,
    dice: &mut dyn Dice,
    key: &SessionKey,
    secret: SecretId,
    version: &Version,
) -> Result<Vec<u8>, NoValue> {
    let cluster = hub.core.cluster;
    let context = ValueContext { cluster, secret, version: version.id, size: version.size };
    let why = |error: &dyn std::fmt::Display| {
        format!("the leader can't open the key of a version of secret {secret}: {error}")
    };
    let opened = hub.core.keys.open_data_key(&version.data_key, &context);
    let data_key = opened.map_err(|error| NoValue {
        why: why(&error),
        // A key that is not open yet will be, when this manager has caught up.
        last: matches!(error, NoKey::Seal(_)),
    })?;
    key.seal(dice, &data_key, &context).map_err(|error| NoValue { why: why(&error), last: true })
}

impl Hub {
    /// One look at a session: what is due, what it has, what to do. `None`: the
    /// state does not list the node any more. Its key may have changed: the session goes on.
    fn look(&self, live: &Live) -> Option<Look> {
        let node = live.node;
        let now = self.core.clock.boot();
        let mut ledger = live.ledger.lock();
        // Before the state is read: what is settled after this is in the state.
        let unsure = self.table.unsure(node);
        let Some((wanted, exposed)) = self.core.consensus.read(|state| {
            listed(state, node).then(|| {
                if is_held(state) {
                    return None;
                }
                let wanted = super::wanted::wanted(state, node, ledger.running(), ledger.known());
                Some((wanted, exposed_of(state, node)))
            })
        })?
        else {
            // What the node has, it keeps: nothing is due before the cluster is resumed.
            return Some(Look::default());
        };
        let recorded = Recorded { exposed, unsure };
        let look = ledger.look(wanted, &recorded, now);
        if look.asks || !ledger.confirmations(node, &recorded.exposed).is_empty() {
            self.table.propose(node);
        }
        drop(ledger);
        self.table.tick();
        Some(look)
    }
}

/// Whether the state lists this worker. Ids are never used again.
fn listed(state: &State, node: NodeId) -> bool {
    state.nodes.get(&node).is_some_and(|node| node.role == NodeRole::Worker)
}

/// Whether nothing is delivered, and nothing taken away, until operators have seen what a
/// recovery dropped.
pub(super) fn is_held(state: &State) -> bool {
    state.cluster.as_ref().is_some_and(|cluster| cluster.recovered.is_some())
}

/// What the state records of a node's pairs.
pub(super) fn exposed_of(state: &State, node: NodeId) -> BTreeMap<ServiceId, Exposure> {
    let pairs = state.exposed.range(pairs_of(node));
    pairs.map(|((_, service), exposure)| (*service, *exposure)).collect()
}

pub(super) fn services(ids: &[Vec<u8>]) -> Result<BTreeSet<ServiceId>, Misbehaved> {
    if ids.len() > limits::SERVICES {
        return Err(Misbehaved("names more services than there may be"));
    }
    ids.iter().map(|id| service(id)).collect()
}

fn service(id: &[u8]) -> Result<ServiceId, Misbehaved> {
    ServiceId::try_from(id).ok().ok_or(Misbehaved("sent a malformed id"))
}

pub(super) fn held(held: &[api::Held]) -> Result<BTreeMap<ServiceId, Has>, Misbehaved> {
    if held.len() > limits::SERVICES {
        return Err(Misbehaved("holds more services than there may be"));
    }
    let has = |one: &api::Held| {
        if one.versions.len() > HELD_VERSIONS {
            return Err(Misbehaved("holds more versions than there may be"));
        }
        let version = |id: &Vec<u8>| VersionId::try_from(id.as_slice()).ok();
        let versions: Option<_> = one.versions.iter().map(version).collect();
        let versions = versions.ok_or(Misbehaved("sent a malformed id"))?;
        // Any other length is not a digest of ours: then the set is not whole.
        let digest = one.digest.as_slice().try_into().ok();
        Ok((service(&one.service)?, Has { digest, versions }))
    };
    held.iter().map(has).collect()
}

pub(super) fn failed(failed: &[api::Failed]) -> Result<Vec<Refused>, Misbehaved> {
    if failed.len() > limits::SERVICES {
        return Err(Misbehaved("failed more services than there may be"));
    }
    let one = |one: &api::Failed| {
        if one.files.len() > FAILED_FILES {
            return Err(Misbehaved("names more failed files than there may be"));
        }
        let file = |file: &api::FailedFile| {
            (bounded(&file.target, limits::TARGET_BYTES), reason(&file.why))
        };
        let has = match &one.has {
            Some(has) => held(std::slice::from_ref(has))?.into_values().next(),
            None => None,
        };
        Ok(Refused {
            service: service(&one.service)?,
            why: reason(&one.why),
            last: one.r#final,
            files: one.files.iter().map(file).collect(),
            has: has.map(|has| has.versions),
        })
    };
    failed.iter().map(one).collect()
}

pub(super) fn hooks(told: &[api::Hook]) -> Result<BTreeMap<ServiceId, HookStand>, Misbehaved> {
    if told.len() > HOOKS_TOLD {
        return Err(Misbehaved("tells of more hooks than it may"));
    }
    let one = |one: &api::Hook| {
        let failed = HookStand::Failed(bounded(&one.failed, HOOK_WHY_CHARS));
        let stand = if one.failed.is_empty() { HookStand::Running } else { failed };
        Ok((service(&one.service)?, stand))
    };
    told.iter().map(one).collect()
}

/// What a node says of itself, fit for a table: bounded, without control characters.
fn said(text: &str) -> String {
    bounded(text, SAID_CHARS)
}

/// Why something failed there.
fn reason(text: &str) -> String {
    bounded(text, REASON_CHARS)
}

fn bounded(text: &str, chars: usize) -> String {
    text.chars().filter(|c| !c.is_control()).take(chars).collect()
}
