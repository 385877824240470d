//! What a node has is what is due: said when it asks, by a manager that is sure to lead.

use std::time::Duration;

use super::Hub;
use super::ledger::Ledger;
use super::table::Live;
use skep_core::base::BootTime;
use skep_core::wire::api;

/// How long it may take to be sure; then the node asks again.
const SURE: Duration = Duration::from_secs(2);

impl Hub {
    /// What this session's node has asked, once it is sure that what this manager knows is no
    /// older than the question.
    pub(super) async fn question(&self, live: &Live) -> Option<BootTime> {
        let asked = live.asked.lock().take()?;
        self.core.consensus.linearize(SURE).await.ok()?;
        Some(asked)
    }
}

impl Ledger {
    /// The sets that are in place as they were due at the last look, of services that are made
    /// to have it written down; `None`: there is none. What a paused node has of a set that
    /// went on without it is no such set.
    pub(super) fn confirmed(&self, asked: BootTime) -> Option<api::Confirmed> {
        let wanted = self.wanted();
        let fresh = wanted.sets.iter().filter(|(service, due)| {
            let has = self.known().sets.get(service).and_then(|has| has.digest);
            due.set.fresh && !due.held_back && has == Some(due.digest) && !self.under_way(**service)
        });
        let sets: Vec<_> = fresh
            .map(|(service, due)| api::ConfirmedSet {
                service: service.as_bytes().to_vec(),
                digest: due.digest.to_vec(),
            })
            .collect();
        let revision = wanted.revision.0;
        (!sets.is_empty()).then_some(api::Confirmed { at_ms: asked.0, revision, sets })
    }
}
