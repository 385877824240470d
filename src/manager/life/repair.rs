//! `manager repair`: a manager whose disk was put back to an older state gives that
//! state up and comes back as a learner.
//!
//! Each step may be the last before a crash, and the whole is repeated then: the
//! leader takes this manager out of those that vote; the log is marked as given up;
//! log and snapshots are erased; the manager starts empty, with a number of start
//! that nobody remembers. From then on the leader admits it as any other that is new.
//! Its key file, and with it its identity, stays.

use crate::manager::problem;
use std::sync::Arc;
use std::time::Duration;

use crate::consensus::{ReleaseError, StartError};
use crate::manager::core::Core;
use crate::manager::end::{End, exit_of};
use crate::manager::life::lifecycle::Manager;
use crate::manager::life::phase::Needs;
use crate::manager::running::{Running, Started};
use crate::manager::task::to_the_end;
use skep_client::transport::Problem;
use skep_core::domain::State;
use skep_core::wire::api;

/// How long calls under way may take to end.
const GRACE: Duration = Duration::from_secs(2);
/// How long the answer to `join` or `repair` waits for this manager to vote, so that
/// it says more than that it is joining.
const VOTE_WAIT: Duration = Duration::from_secs(10);
/// How often that is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// Addresses that a caller may name.
const ADDRESSES: usize = 16;

impl From<ReleaseError> for Problem {
    fn from(error: ReleaseError) -> Self {
        match error {
            ReleaseError::Refused(why) => problem::life::not_released(why),
            ReleaseError::NoLeader(_) => problem::life::nobody_releases(error),
        }
    }
}

impl Manager {
    /// Repairs. Goes on to its end also when the caller is gone.
    pub(in crate::manager) async fn repair(
        &self,
        request: api::RepairRequest,
    ) -> Result<api::RepairReply, Problem> {
        if request.addresses.len() > ADDRESSES {
            return Err(problem::request::addresses_to_repair(ADDRESSES));
        }
        to_the_end("repair", self.clone().come_home(request.addresses)).await
    }

    async fn come_home(self, addresses: Vec<String>) -> Result<api::RepairReply, Problem> {
        let turn = self.0.turn.lock().await;
        self.phase().admits(Needs::RolledBack)?;
        let old = self.0.unlocked().ok_or_else(problem::locked)?;
        let started = renew(&old, addresses, GRACE).await?;
        let listening = started.map_err(|error| (exit_of(&error), error.to_string()));
        let listening = listening.and_then(|started| match self.0.listen() {
            Ok(listener) => Ok((started, listener)),
            Err(problem) => Err((problem.exit, problem.text.clone())),
        });
        let (started, listener) = listening.map_err(|(exit, why)| {
            self.end(End::Failed(exit, why.clone()));
            problem::life::repair_cut_short(exit, why)
        })?;
        let running = self.run(started, listener);
        drop(turn);
        tracing::warn!(event = "repaired", node = %running.core.node);
        votes(&running).await;
        Ok(api::RepairReply { state: api::ManagerState::from(running.word()).into() })
    }
}

/// Gives up what is on this manager's disk, which is behind, and starts as a member that
/// has nothing. The leader makes it one again.
///
/// # Errors
/// [`ReleaseError`]: nothing was given up; or why it did not start anew.
async fn renew(
    running: &Running,
    addresses: Vec<String>,
    grace: Duration,
) -> Result<Result<Started, StartError>, ReleaseError> {
    let core = &running.core;
    let renewed = match core.consensus.renew(addresses).await? {
        Ok(consensus) => consensus,
        Err(error) => return Ok(Err(error)),
    };
    running.shut(grace).await;
    let (keys, clock) = (core.keys.clone(), core.clock.clone());
    let audit = core.audit.clone();
    let core = Core::new(renewed, keys, clock, core.dice, core.node, core.cluster);
    let core = core.recording(audit);
    Ok(Ok(Started { core: Arc::new(core), identity: running.identity.clone() }))
}

/// Waits until this manager votes, or follows where it never votes, and knows who leads.
pub(in crate::manager) async fn votes(running: &Running) {
    let own = running.core.node;
    let voting = async {
        let mut look = tokio::time::interval(LOOK);
        loop {
            look.tick().await;
            let votes =
                running.core.members().iter().any(|member| member.node == own && member.voter);
            let listed = |state: &State| state.nodes.get(&own).map(|node| node.learner);
            if running.core.consensus.read(listed).is_some_and(|learner| learner || votes) {
                return;
            }
        }
    };
    if tokio::time::timeout(VOTE_WAIT, voting).await.is_err() {
        tracing::info!(event = "catching_up");
    }
}
