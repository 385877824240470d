//! Which services are served where: all of them behind the gate.

use std::sync::Arc;

use tonic::service::Routes;

use super::admit::Gate;
use super::api::ControlService;
use super::join::MembershipService;
use super::lifecycle::Manager;
use super::running::Running;

/// What the control socket serves, in every phase.
#[must_use]
pub fn control(manager: &Manager) -> Routes {
    Gate::socket(manager).before(Routes::new(ControlService::server(manager.clone())))
}

/// What is served over mTLS.
pub(super) fn remote(manager: &Manager, running: &Arc<Running>) -> Routes {
    let control = ControlService::server(manager.clone());
    let routes = Routes::new(control)
        .add_service(MembershipService::server(manager.clone()))
        .add_service(running.dispatch.service())
        .add_service(running.core.consensus.service());
    Gate::port(running).before(routes)
}
