//! What the cluster records about who holds what: proposed in batches, one
//! proposal at a time.
//!
//! One at a time, because the order decides: where the end of a pair is under
//! way, or may still come, its next push waits until the pair is recorded anew,
//! by a proposal made after the other's answer.

use std::sync::Arc;
use std::time::Duration;

use super::Hub;
use super::session::exposed_of;
use super::table::Live;
use crate::manager::core::Origin;
use crate::manager::unproposed::Unproposed;
use skep_core::base::{BootTime, NodeId, RequestId, ServiceId};
use skep_core::domain::{Act, Actor, Applied, Confirmation, Refusal};

/// Pairs in one proposal.
const PAIRS: usize = 4_096;
/// Between a proposal that failed and the next.
const PAUSE: Duration = Duration::from_millis(500);
/// Milliseconds until a pair that was refused is proposed again.
const REFUSED_MS: u64 = 1_000;

/// Proposes what sessions ask for, as long as consensus runs.
pub(super) async fn run(hub: Arc<Hub>) {
    let mut leadership = hub.core.consensus.leadership();
    loop {
        tokio::select! {
            () = hub.table.proposals.notified() => {}
            changed = leadership.changed() => if changed.is_err() { return },
        }
        let lives = hub.table.proposing();
        let exposed = expose(&hub, &lives).await;
        let confirmed = confirm(&hub, &lives).await;
        if exposed.is_err() || confirmed.is_err() {
            tokio::time::sleep(PAUSE).await;
            for live in &lives {
                hub.table.propose(live.node);
            }
        }
    }
}

/// Proposes, by the leader itself.
async fn propose(hub: &Hub, act: Act) -> Result<Applied, Unproposed> {
    hub.propose(Actor::Leader(hub.core.node), act).await
}

impl Hub {
    /// Proposes a command of this manager's making.
    pub(super) async fn propose(
        &self,
        origin: impl Into<Origin>,
        act: Act,
    ) -> Result<Applied, Unproposed> {
        let request = RequestId::draw((self.core.dice)().as_mut());
        self.core.propose(request, origin, act).await
    }

    fn soon(&self) -> BootTime {
        BootTime(self.core.clock.boot().0.saturating_add(REFUSED_MS))
    }
}

/// Records the pairs that wait for it; their sessions look again.
async fn expose(hub: &Hub, lives: &[Arc<Live>]) -> Result<(), Unproposed> {
    let asking = |live: &Arc<Live>| -> Vec<_> {
        live.ledger.lock().asking().map(|service| (live.node, service)).collect()
    };
    let pairs: Vec<(NodeId, ServiceId)> = lives.iter().flat_map(asking).collect();
    let mut result = Ok(());
    for some in pairs.chunks(PAIRS) {
        match propose(hub, Act::Expose(some.to_vec())).await {
            Ok(Applied { outcome: Ok(_), .. }) => answered(hub, some, None),
            // One pair that can't be (its node has just gone) must not stop the others.
            Ok(Applied { outcome: Err(_), .. }) if some.len() > 1 => {
                for pair in some {
                    if let Err(error) = expose_one(hub, *pair).await {
                        result = Err(error);
                    }
                }
            }
            Ok(Applied { outcome: Err(refusal), .. }) => refused(hub, some, &refusal),
            Err(error) => result = Err(error),
        }
    }
    result
}

async fn expose_one(hub: &Hub, pair: (NodeId, ServiceId)) -> Result<(), Unproposed> {
    match propose(hub, Act::Expose(vec![pair])).await?.outcome {
        Ok(_) => answered(hub, &[pair], None),
        Err(refusal) => refused(hub, &[pair], &refusal),
    }
    Ok(())
}

fn refused(hub: &Hub, pairs: &[(NodeId, ServiceId)], refusal: &Refusal) {
    tracing::warn!(event = "expose_refused", %refusal, pairs = pairs.len());
    answered(hub, pairs, Some(hub.soon()));
}

fn answered(hub: &Hub, pairs: &[(NodeId, ServiceId)], again: Option<BootTime>) {
    if again.is_none() {
        hub.table.settle(pairs.iter().copied());
    }
    for (node, service) in pairs {
        if let Some(live) = hub.table.live(*node) {
            live.ledger.lock().answered(*service, again);
            live.wake.notify_one();
        }
    }
}

/// Records what nodes have confirmed.
async fn confirm(hub: &Hub, lives: &[Arc<Live>]) -> Result<(), Unproposed> {
    let confirmations: Vec<_> = lives.iter().flat_map(|live| hub.confirmations(live)).collect();
    let mut result = Ok(());
    for some in confirmations.chunks(PAIRS) {
        match propose(hub, Act::Confirm(some.to_vec())).await {
            Ok(applied) => {
                if let Err(refusal) = applied.outcome {
                    tracing::warn!(event = "confirm_refused", %refusal, pairs = some.len());
                }
                // Applied or refused: it can't come later any more.
                hub.table.settle(some.iter().map(|one| (one.node, one.service)));
                for live in some.iter().filter_map(|one| hub.table.live(one.node)) {
                    live.wake.notify_one();
                }
            }
            // Those that were to end stay in doubt: they count as not recorded.
            Err(error) => result = Err(error),
        }
    }
    result
}

impl Hub {
    /// What a session's node has confirmed and the state does not know. From here
    /// on its next push of a pair that is to end waits for the answer.
    fn confirmations(&self, live: &Live) -> Vec<Confirmation> {
        let ledger = live.ledger.lock();
        let exposed = self.core.consensus.read(|state| exposed_of(state, live.node));
        let confirmations = ledger.confirmations(live.node, &exposed);
        let ending: Vec<_> =
            confirmations.iter().filter(|one| one.gone).map(|one| one.service).collect();
        if self.table.doubt(live, &ending) { confirmations } else { Vec::new() }
    }
}
