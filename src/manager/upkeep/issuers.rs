//! The issuing CA that is in use, and those that are no more.
//!
//! As long as one takes the place of another, the leader looks who has not renewed; once
//! nobody that is in touch is left, the older ones are retired. Every manager refuses them
//! from then on, and keeps that on its disk for the time before its state is read.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;

use crate::manager::life::lifecycle::Manager;
use crate::manager::members::issuers::Progress;
use crate::manager::running::Running;
use skep_core::base::{RequestId, Stamp};
use skep_core::domain::{Act, Actor, Fact, Issuers};

/// Between two looks while members renew: each renewal is a fact of no kind of its own.
const LOOK: Duration = Duration::from_millis(500);
/// The same otherwise.
const IDLE: Duration = Duration::from_secs(5);

/// Keeps what is known of issuing CAs as long as the manager runs.
pub(in crate::manager) async fn keep(manager: Manager, running: Arc<Running>) {
    let mut facts = running.core.consensus.facts();
    loop {
        let issuers = issuers(&running);
        if let Some(issuers) = issuers {
            raise(&manager, &running, issuers.oldest).await;
        }
        let rotating = issuers.filter(|issuers| issuers.rotating.is_some());
        if let Some(issuers) = rotating {
            retire(&running, issuers.current).await;
        }
        running.offer.let_go(running.core.clock.boot());
        let pause = if rotating.is_some() { LOOK } else { IDLE };
        let until = tokio::time::Instant::now() + pause;
        loop {
            tokio::select! {
                () = running.stop.cancelled() => return,
                () = tokio::time::sleep_until(until) => break,
                heard = facts.recv() => match heard {
                    Ok((_, facts)) if facts.contains(&Fact::ClusterRevised) => break,
                    Ok(_) => {}
                    Err(RecvError::Lagged(_)) => break,
                    Err(RecvError::Closed) => return,
                },
            }
        }
    }
}

fn issuers(running: &Running) -> Option<Issuers> {
    running.core.consensus.read(|state| state.cluster.as_ref().map(|cluster| cluster.issuers))
}

/// What is refused is refused for ever: it is on disk before it is not asked again.
async fn raise(manager: &Manager, running: &Running, oldest: Stamp) {
    if !running.core.floor.raise(oldest) {
        return;
    }
    let life = &manager.0;
    if let Err(error) = life.on_disk(move |life| life.folder.keep_floor(oldest)).await {
        tracing::warn!(event = "issuer_floor_not_kept", why = %error);
    }
}

/// Retires the issuing CAs before the one in use, once nobody in touch is left to renew.
async fn retire(running: &Running, current: Stamp) {
    if running.core.leads().is_err() || Progress::of(running).waited_for() > 0 {
        return;
    }
    let request = RequestId::draw(&mut *(running.core.dice)());
    let actor = Actor::Leader(running.core.node);
    let act = Act::RetireIssuers { begins: current };
    match running.propose(request, actor, act).await {
        Ok(_) => tracing::info!(event = "issuers_retired", oldest = current.0),
        Err(problem) => tracing::warn!(event = "issuers_not_retired", why = %problem),
    }
}
