//! `ca show`: root and issuing CA, and who has not renewed.

use crate::manager::members::issuers::{Lagging, Progress};
use crate::manager::problem::Explain;
use crate::manager::running::Running;
use skep_client::ca::authority_lasts;
use skep_client::transport::Problem;
use skep_core::domain::{Member, Refusal};
use skep_core::wire::api;
use skep_core::wire::convert::write_role;

/// Members that are named; beside them stands the number of all.
const NAMED: usize = 100;

pub(super) async fn show(running: &Running, stale: bool) -> Result<api::ShowCaReply, Problem> {
    running.settle(stale).await?;
    let renewing = Progress::of(running);
    let (revision, cluster) =
        running.core.consensus.read(|state| (state.revision, state.cluster.clone()));
    let cluster = cluster.ok_or(Refusal::NotInitialised).map_err(Explain::explain)?;
    let lasts = |der: &[u8]| {
        let (begins, ends) = authority_lasts(der)?;
        Some(api::Authority { begins: begins.0, ends: ends.0 })
    };
    Ok(api::ShowCaReply {
        revision: revision.0,
        fingerprint: running.identity.fingerprint.0.to_vec(),
        cluster_name: cluster.name.to_string(),
        root: lasts(&cluster.root),
        issuing: lasts(&cluster.issuing),
        oldest_issuer: cluster.issuers.oldest.0,
        rotating: cluster.issuers.rotating.map_or(0, |since| since.0),
        nodes: count(renewing.nodes),
        renewed: count(renewing.renewed()),
        waited_for: count(renewing.waited_for()),
        not_renewed_count: count(renewing.lagging.len()),
        not_renewed: renewing.lagging.iter().take(NAMED).map(|one| view(running, one)).collect(),
    })
}

fn view(running: &Running, lagging: &Lagging) -> api::NotRenewed {
    let mut view = api::NotRenewed {
        name: lagging.name.clone(),
        waited_for: lagging.waited_for,
        why: lagging.why(running),
        ..api::NotRenewed::default()
    };
    match lagging.member {
        Member::Node(id) => view.node = id.as_bytes().to_vec(),
        Member::Operator(id) => view.operator = id.as_bytes().to_vec(),
    }
    if let Some(role) = lagging.role {
        view.set_role(write_role(role));
    }
    view
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
