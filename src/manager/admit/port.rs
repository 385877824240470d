//! Who calls over mTLS, as the state lists it.
//!
//! A manager that is behind may not know somebody who was admitted lately. Nobody is told by
//! such a one that they are not listed, and an agent, for which that is the end, only by a
//! leader that has made sure.

use std::time::Duration;

use tonic::Extensions;

use crate::manager::admit::caller::Admitted;
use crate::manager::admit::policy::Method;
use crate::manager::core::Core;
use crate::manager::dispatch::Dispatch;
use crate::manager::problem;
use skep_client::ca::CertificateRole;
use skep_client::transport::{Caller, Problem, caller};
use skep_core::domain::State;

/// How long it may take to be sure that a node is not listed.
const SURE: Duration = Duration::from_secs(2);

/// Whoever called, if it may call this method.
///
/// # Errors
/// What it is told.
pub(super) async fn admit(
    dispatch: &Dispatch,
    extensions: &Extensions,
    method: Method,
) -> Result<Admitted, Problem> {
    let core = dispatch.core();
    if let Some(Caller::Expired(peer)) = caller(extensions) {
        // Only by this manager's clock, which may be wrong, or was when the connection was
        // made; for a node it is the end.
        core.sure_of_time()?;
        core.reading().map_err(problem::clock_doubted)?;
        if core.clock.now() <= peer.leaf().ends {
            return Err(problem::connected_in_doubt());
        }
    }
    // Of one state: somebody may be admitted at any moment.
    let (admitted, listed) = core.consensus.read(|state| {
        let admitted = Admitted::remote(extensions, core.cluster, state, method);
        (admitted, !Admitted::unlisted(extensions, core.cluster, state))
    });
    if method == Method::Session && (admitted.is_ok() || is_agent(extensions) && !listed) {
        agent_by_leader(dispatch, extensions).await?;
        let ask = |state: &State| Admitted::remote(extensions, core.cluster, state, method);
        return core.consensus.read(ask);
    }
    if !listed {
        core.leads()?;
    }
    admitted
}

/// Whether the state lists whoever called over mTLS.
pub(super) fn lists(core: &Core, extensions: &Extensions) -> bool {
    core.consensus.read(|state| !Admitted::unlisted(extensions, core.cluster, state))
}

fn is_agent(extensions: &Extensions) -> bool {
    matches!(caller(extensions), Some(Caller::Peer(peer))
        if matches!(peer.leaf().subject.role, CertificateRole::Worker(_)))
}

/// An agent's calls are for the leader, and the leader makes sure before it says that a node
/// was removed: no outdated state must say so.
async fn agent_by_leader(dispatch: &Dispatch, extensions: &Extensions) -> Result<(), Problem> {
    let core = dispatch.core();
    core.consensus.led_soon().await;
    let elsewhere = || problem::delivered_elsewhere(core.leader());
    if !dispatch.leads() {
        return Err(elsewhere());
    }
    if lists(core, extensions) {
        return Ok(());
    }
    core.consensus.linearize(SURE).await.map_err(|_| elsewhere())?;
    if lists(core, extensions) { Ok(()) } else { Err(problem::node_removed()) }
}
