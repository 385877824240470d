//! What is delivered stands in the audit log before it leaves.

use std::collections::BTreeSet;

use super::Hub;
use super::step::Delta;
use crate::manager::audit::Act;
use skep_client::transport::Problem;
use skep_core::audit::Deed;
use skep_core::base::{NodeId, VersionId};
use skep_core::domain::{Actor, State, doer};

impl Hub {
    /// Records a push to a node: which values travel, and what is taken away.
    ///
    /// # Errors
    /// It can't be recorded, and so must not leave.
    pub(super) async fn record(&self, node: NodeId, delta: &Delta) -> Result<(), Problem> {
        let core = &self.core;
        let (who, deeds) = core
            .consensus
            .read(|state| (doer(state, &Actor::Leader(core.node)), deeds(state, node, delta)));
        if deeds.is_empty() {
            return Ok(());
        }
        let revision = delta.revision;
        core.audit.record(Act { who, deeds, revision, ..Act::default() }).await
    }
}

fn deeds(state: &State, node: NodeId, delta: &Delta) -> Vec<Deed> {
    let called = state.nodes.get(&node).map_or_else(|| node.to_string(), |of| of.name.to_string());
    let travels: BTreeSet<VersionId> = delta.values.iter().map(|(_, of)| of.id).collect();
    let mut deeds = Vec::new();
    for due in &delta.sets {
        let (node, service) = (called.clone(), due.set.name.to_string());
        let pushed = Deed { node, service, ..Deed::new("delivery.push") };
        let files = due.set.files.iter().filter(|file| travels.contains(&file.version.id));
        let before = deeds.len();
        deeds.extend(files.map(|file| {
            let found = state.secrets.get(&file.secret);
            let secret = found.map_or_else(|| file.secret.to_string(), |of| of.name.to_string());
            Deed { secret, version: file.number, ..pushed.clone() }
        }));
        if deeds.len() == before {
            deeds.push(pushed);
        }
    }
    for service in &delta.gone {
        let found = state.services.get(service);
        let service = found.map_or_else(|| service.to_string(), |of| of.name.to_string());
        deeds.push(Deed { node: called.clone(), service, ..Deed::new("delivery.take") });
    }
    deeds
}
