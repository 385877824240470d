//! Which services are served where: all of them behind the gate.

use std::sync::Arc;

use tonic::service::Routes;

use crate::manager::admit::Gate;
use crate::manager::api::ControlService;
use crate::manager::life::lifecycle::Manager;
use crate::manager::members::join::MembershipService;
use crate::manager::running::Running;

/// What the control socket serves, in every phase.
#[must_use]
pub fn control(manager: &Manager) -> Routes {
    Gate::socket(manager).before(Routes::new(ControlService::server(manager.clone())))
}

/// What is served over mTLS.
pub(in crate::manager) fn remote(manager: &Manager, running: &Arc<Running>) -> Routes {
    let control = ControlService::server(manager.clone());
    let routes = Routes::new(control)
        .add_service(MembershipService::server(manager.clone()))
        .add_service(running.dispatch.service())
        .add_service(running.core.consensus.service());
    Gate::port(running).before(routes)
}
