//! Who calls over mTLS, as the state lists it.
//!
//! A manager that is behind may not know somebody who was admitted lately. Nobody is told by
//! such a one that they are not listed, and an agent, for which that is the end, only by a
//! leader that has made sure. So it is with a certificate that may not even be renewed.

use std::time::Duration;

use tonic::Extensions;

use crate::manager::admit::caller::Admitted;
use crate::manager::core::Core;
use crate::manager::dispatch::Dispatch;
use crate::manager::problem;
use skep_client::ca::CertificateRole;
use skep_client::transport::{Caller, Problem, caller};
use skep_core::base::Stamp;
use skep_core::domain::{Method, State};

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
    let now = now_for(core, extensions)?;
    let ask = |state: &State| Admitted::remote(extensions, core.cluster, state, method, now);
    // Of one state: somebody may be admitted at any moment.
    let (admitted, listed) = core
        .consensus
        .read(|state| (ask(state), !Admitted::unlisted(extensions, core.cluster, state)));
    let admitted = match method {
        Method::Session if admitted.is_ok() || is_agent(extensions) && !listed => {
            agent_by_leader(dispatch, extensions).await?;
            core.consensus.read(ask)
        }
        Method::Renew if !matches!(caller(extensions), Some(Caller::Anonymous) | None) => {
            core.consensus.led_soon().await;
            core.leads()?;
            if admitted.is_err() {
                core.consensus.linearize(SURE).await.map_err(|error| core.problem(error))?;
            }
            if is_agent(extensions) && !lists(core, extensions) {
                return Err(problem::node_removed());
            }
            core.consensus.read(ask)
        }
        _ if listed => admitted,
        _ => core.leads().and(admitted),
    }?;
    if let Some((member, key)) = admitted.renewed()
        && method != Method::Renew
        && dispatch.leads()
    {
        core.seen_in_passing(member, key);
    }
    Ok(admitted)
}

/// By which time it is judged whether the caller's certificate has ended: only by this
/// manager's clock, which may be wrong, or was when the connection was made.
fn now_for(core: &Core, extensions: &Extensions) -> Result<Stamp, Problem> {
    let now = core.clock.now();
    match caller(extensions) {
        Some(Caller::Expired(peer)) => {
            core.sure_of_time()?;
            core.reading().map_err(problem::clock_doubted)?;
            if now < peer.leaf().ends { Err(problem::connected_in_doubt()) } else { Ok(now) }
        }
        // It ended while the connection was there; a clock in doubt ends none.
        Some(Caller::Peer(peer)) if peer.leaf().ends <= now => {
            let sure = core.sure_of_time().is_ok() && core.reading().is_ok();
            Ok(if sure { now } else { Stamp::default() })
        }
        Some(Caller::Peer(_) | Caller::Anonymous) | None => Ok(now),
    }
}

/// Whether the state lists whoever called over mTLS.
pub(super) fn lists(core: &Core, extensions: &Extensions) -> bool {
    core.consensus.read(|state| !Admitted::unlisted(extensions, core.cluster, state))
}

fn is_agent(extensions: &Extensions) -> bool {
    matches!(caller(extensions), Some(Caller::Peer(peer) | Caller::Expired(peer))
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
    if lists(core, extensions) {
        return Ok(());
    }
    // It may have joined after what a recovery has kept: nothing is taken away until operators
    // have seen that.
    let held = |state: &State| state.cluster.as_ref().is_some_and(|of| of.recovered.is_some());
    if core.consensus.read(held) {
        return Err(problem::access::not_known_since());
    }
    Err(problem::node_removed())
}
