//! The top of a manager: what is served where, and what goes on while it runs.
//!
//! Nothing below knows this file: a manager is told when it is opened how it is brought to
//! serve.

use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tonic::service::Routes;

use crate::manager::admit::{Behind, Gate};
use crate::manager::api::{ControlService, DeliveryService, MembershipService, WritingService};
use crate::manager::dispatch::Dispatch;
use crate::manager::end::{End, Ends};
use crate::manager::life::lifecycle::{Manager, OpenError, Setup};
use crate::manager::members::{anchors, belonging, moves, recognise, voters};
use crate::manager::reserve::Reserve;
use crate::manager::running::{Running, Started};
use crate::manager::upkeep::{certificate, clocks, consensus, disk, facts, issuers};
use skep_client::transport::serve_apart;
use skep_core::base::{Exit, ManagerPlaces};

#[cfg(test)]
mod tests;

impl Manager {
    /// Opens the data folder, reads the key file's header and takes the port.
    /// Call it inside the runtime.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(setup: Setup) -> Result<Self, OpenError> {
        Self::closed(setup, bring_up)
    }
}

/// What the control socket serves, in every phase.
#[must_use]
pub fn control(manager: &Manager) -> Routes {
    let life = manager.0.clone();
    let behind =
        Behind::new(move || (life.audit(), life.unlocked().map(|running| running.core.clone())));
    let gate = Gate::socket(&manager.0.setup.local, behind);
    gate.before(Routes::new(ControlService::server(manager.clone())))
}

impl Dispatch {
    /// What agents call, behind a gate of its own: for a listener that serves nothing else.
    #[must_use]
    pub fn routes(&self) -> Routes {
        Gate::port(self).before(Routes::new(DeliveryService::server(self.clone())))
    }
}

/// All that is served over mTLS. Nothing of it may be served without the gate before it.
fn services(manager: &Manager, dispatch: &Dispatch) -> Routes {
    Routes::new(ControlService::server(manager.clone()))
        .add_service(MembershipService::server(manager.clone()))
        .add_service(DeliveryService::server(dispatch.clone()))
        .add_service(WritingService::server(manager.clone()))
        .add_service(dispatch.core().consensus.service())
}

/// Starts delivery, the tasks and the listener.
fn bring_up(manager: &Manager, started: Started, listener: TcpListener) -> Arc<Running> {
    let dispatch = Dispatch::start(started.core.clone());
    let reserve = Reserve::new(manager.0.folder.path());
    let (ends, at) = (manager.0.ends.clone(), manager.0.addresses());
    let told = manager.0.folder.has_told(&at);
    let running = Arc::new(Running::new(started, dispatch, reserve, ends, (at, told)));
    let mut tasks = JoinSet::new();
    tasks.spawn(facts::follow(running.clone()));
    tasks.spawn(voters::keep(running.clone()));
    tasks.spawn(belonging::watch(running.clone()));
    let life = manager.0.clone();
    let told = running.reached_at.clone();
    let tells = async move { life.on_disk(move |life| life.folder.tells(&told)).await };
    tasks.spawn(moves::keep(running.clone(), tells));
    tasks.spawn(certificate::keep(running.clone()));
    tasks.spawn(clocks::keep(running.clone()));
    tasks.spawn(issuers::keep(manager.clone(), running.clone()));
    tasks.spawn(disk::keep(running.clone()));
    tasks.spawn(anchors::keep(running.clone()));
    tasks.spawn(consensus::watch(running.clone()));
    tasks.spawn(consensus::watch_standing(running.clone()));
    let routes = Gate::port(&running.dispatch).before(services(manager, &running.dispatch));
    tasks.spawn(listen(running.clone(), listener, routes, manager.0.setup.places));
    running.waits_for(tasks);
    running
}

async fn listen(
    running: Arc<Running>,
    listener: TcpListener,
    routes: Routes,
    places: ManagerPlaces,
) {
    let (stop, ends): (_, Ends) = (running.stop.clone(), running.ends.clone());
    let tls = running.identity.server.clone().recognising(recognise::recognition(&running));
    let raft = running.core.consensus.runtime().unwrap_or_else(Handle::current);
    let stopped = stop.cancelled_owned();
    let serving = Box::pin(serve_apart(listener, tls, routes, &places, raft, stopped));
    if let Err(error) = serving.await {
        tracing::error!(event = "listener_failed", why = %error);
        ends.say(End::Failed(Exit::MachineLimit, format!("the listener failed: {error}")));
    }
}
