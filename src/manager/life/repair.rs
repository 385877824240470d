//! `manager repair`: a manager whose disk was put back to an older state gives that
//! state up and comes back as a learner.
//!
//! Each step may be the last before a crash, and the whole is repeated then: the
//! leader takes this manager out of those that vote; the log is marked as given up;
//! log and snapshots are erased; the manager starts empty, with a number of start
//! that nobody remembers. From then on the leader admits it as any other that is new.
//! Its key file, and with it its identity, stays.

use crate::manager::problem;
use std::time::Duration;

use crate::consensus::ReleaseError;
use crate::manager::life::lifecycle::{End, Manager, exit_of};
use crate::manager::life::phase::Needs;
use crate::manager::running::Running;
use crate::manager::upkeep::facts;
use skep_client::transport::Problem;
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
            ReleaseError::Refused(why) => Self::refused(format!(
                "the others can't do without this manager: {why}"
            ))
            .hint("start or unlock the other managers first, or put this one's newer disk back"),
            ReleaseError::NoLeader(_) => Self::unavailable(error.to_string()).hint(
                "start or unlock the other managers, a majority without this one; \
                 or name one of them: skep manager repair HOST:PORT",
            ),
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
            return Err(Problem::bad_input("name 16 addresses of managers at most"));
        }
        let manager = self.clone();
        let task = tokio::spawn(async move { manager.come_home(request.addresses).await });
        task.await.unwrap_or_else(|_| Err(Problem::bug("repair ended unexpectedly")))
    }

    async fn come_home(self, addresses: Vec<String>) -> Result<api::RepairReply, Problem> {
        let turn = self.0.turn.lock().await;
        self.phase().admits(Needs::RolledBack)?;
        let old = self.0.unlocked().ok_or_else(problem::locked)?;
        let started = old.renew(addresses, GRACE).await?;
        let listening = started.map_err(|error| (exit_of(&error), error.to_string()));
        let listening = listening.and_then(|started| match self.0.listen() {
            Ok(listener) => Ok((started, listener)),
            Err(problem) => Err((problem.exit, problem.text.clone())),
        });
        let (started, listener) = listening.map_err(|(exit, why)| {
            self.end(End::Failed(exit, why.clone()));
            Problem::fatal(exit, why)
                .hint("start the manager again, unlock it and repeat the repair")
        })?;
        facts::open_key(&started.core);
        let running = started.run(&self, listener);
        self.0.become_running(running.clone());
        drop(turn);
        tracing::warn!(event = "repaired", node = %running.core.node);
        votes(&running).await;
        Ok(api::RepairReply { state: running.word().to_string() })
    }
}

/// Waits until this manager votes and knows who leads.
pub(in crate::manager) async fn votes(running: &Running) {
    let own = running.core.node;
    let voting = async {
        let mut look = tokio::time::interval(LOOK);
        loop {
            look.tick().await;
            let votes = running.members().iter().any(|member| member.node == own && member.voter);
            let known = running.core.consensus.read(|state| state.nodes.contains_key(&own));
            if votes && known {
                return;
            }
        }
    };
    if tokio::time::timeout(VOTE_WAIT, voting).await.is_err() {
        tracing::info!(event = "catching_up");
    }
}
