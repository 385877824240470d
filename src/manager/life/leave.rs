//! `leave`: this manager goes, and what it kept is erased.
//!
//! The key file goes first: without it nothing else on the disk can be opened, not
//! even with an unlock key, so that an erasure that is cut short is one all the same.

use crate::manager::problem;
use skep_core::base::{NodeId, RequestId};
use std::sync::Arc;
use std::time::Duration;

use tonic::{Code, Request, Status};

use crate::manager::admit::local::LocalUser;
use crate::manager::changes::apply;
use crate::manager::end::End;
use crate::manager::forward::Onward;
use crate::manager::life::lifecycle::Manager;
use crate::manager::life::phase::{Needs, Phase};
use crate::manager::members::belonging;
use crate::manager::running::Running;
use crate::manager::task::to_the_end;
use skep_client::transport::{KeptAgreement, Problem, read_problem};
use skep_core::wire::api;

/// How long the removal may take, a change of leaders included.
const REMOVAL: Duration = Duration::from_secs(25);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(200);
/// How long calls under way may take.
const GRACE: Duration = Duration::from_secs(5);

impl Manager {
    /// Leaves the cluster, or with `force` erases this manager's data and tells
    /// nobody. Goes on to its end also when the caller is gone.
    pub(in crate::manager) async fn leave(
        &self,
        user: LocalUser,
        force: bool,
    ) -> Result<(), Problem> {
        to_the_end("leave", self.clone().go(user, force)).await
    }

    /// Removes this manager for a user of its own control socket, who is answered before it
    /// ends: the leader cuts it off, and nobody else could tell what came of it.
    pub(in crate::manager) async fn remove_itself(
        &self,
        user: LocalUser,
    ) -> Result<api::ApplyReply, Problem> {
        let manager = self.clone();
        let going = async move {
            let _turn = manager.0.turn.lock().await;
            let running = manager.0.running()?;
            running.leaves(true);
            let gone = removed(&running, user).await;
            running.leaves(false);
            gone?;
            belonging::ended(&running, problem::life::was_removed());
            let changed = vec![api::Changed::default()];
            Ok(api::ApplyReply { changed, ..api::ApplyReply::default() })
        };
        to_the_end("removal", going).await
    }

    async fn go(self, user: LocalUser, force: bool) -> Result<(), Problem> {
        let _turn = self.0.turn.lock().await;
        self.phase().admits(Needs::Initialised)?;
        // The cluster doesn't list it any more: nobody is to be told.
        let force = force || self.was_removed();
        let running = match self.phase() {
            Phase::Running => Some(self.0.running()?),
            _ if force => None,
            _ => {
                return Err(problem::life::locked_while_leaving());
            }
        };
        if let Some(running) = &running {
            running.leaves(true);
            if !force && let Err(problem) = removed(running, user).await {
                running.leaves(false);
                return Err(problem);
            }
        }
        tracing::info!(event = "leaving", force);
        let failed = |error: std::io::Error| {
            problem::life::not_written(self.0.folder.path(), &error, problem::life::STILL_THERE)
        };
        self.0.on_disk(|life| life.folder.erase_key()).await.map_err(failed)?;
        if let Some(running) = running {
            running.shut(GRACE).await;
        }
        self.0.become_new();
        let erased = self.0.on_disk(|life| life.folder.erase()).await;
        self.end(End::Asked);
        erased.map_err(failed)
    }
}

/// Whether a request asks for nothing but the removal of this manager.
pub(in crate::manager) fn is_removal_of(own: NodeId, request: &api::ApplyRequest) -> bool {
    let [api::Change { of: Some(api::change::Of::RemoveNode(removal)) }] = &*request.changes else {
        return false;
    };
    removal.id == own.as_bytes()
}

/// Has the leader remove this manager. Returns when it is removed.
async fn removed(running: &Arc<Running>, user: LocalUser) -> Result<(), Problem> {
    let own = running.core.node;
    let request = api::ApplyRequest {
        request_id: RequestId::draw(&mut *(running.core.dice)()).as_bytes().to_vec(),
        changes: vec![apply::removal_of(own)],
    };
    let until = tokio::time::Instant::now() + REMOVAL;
    loop {
        let tried = match Onward::new(running, user) {
            Some(onward) => onward.apply(Request::new(request.clone())).await.map(drop),
            None => {
                apply::apply(running, &user.acting(own), KeptAgreement::default(), request.clone())
                    .await
                    .map(drop)
                    .map_err(Status::from)
            }
        };
        let Err(status) = tried else { return Ok(()) };
        // The leader cuts off whom it has removed, sometimes before it has answered.
        let gone = running
            .core
            .consensus
            .read(|state| state.cluster.is_some() && !state.nodes.contains_key(&own));
        if gone || belonging::is_removed(running).await {
            return Ok(());
        }
        let again = matches!(status.code(), Code::Unavailable | Code::Unknown);
        if !again || tokio::time::Instant::now() >= until {
            return Err(refused(&status));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// The leader's refusal, with what can be done about it here.
fn refused(status: &Status) -> Problem {
    read_problem(status)
        .map_or_else(problem::unknown, |problem| problem::life::not_left(status.code(), problem))
}
