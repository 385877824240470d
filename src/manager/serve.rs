//! Which services are served where.

use tonic::service::Routes;
use tonic::service::interceptor::InterceptedService;
use tonic::{Request, Status};

use super::api::ControlService;
use super::caller::{Admitted, Behalf};
use super::join::MembershipService;
use super::lifecycle::Manager;
use super::running::Running;
use std::sync::Arc;

/// What the control socket serves, in every phase.
#[must_use]
pub fn control(manager: &Manager) -> Routes {
    Routes::new(ControlService::server(manager.clone()))
}

/// What is served over mTLS. Control, Membership and Delivery ask who calls
/// themselves; Raft is asked for here.
pub(super) fn remote(manager: &Manager, running: &Arc<Running>) -> Routes {
    let cluster = running.core.cluster;
    // Which of the managers may, consensus decides: one that is behind does not
    // know them all.
    let managers_only = move |request: Request<()>| -> Result<Request<()>, Status> {
        Admitted::raft(request.extensions(), cluster)?;
        Ok(request)
    };
    let raft = InterceptedService::new(running.core.consensus.service(), managers_only);
    let control = ControlService::server(manager.clone());
    Routes::new(InterceptedService::new(control, Behalf::take))
        .add_service(MembershipService::server(manager.clone()))
        .add_service(running.dispatch.service())
        .add_service(raft)
}
