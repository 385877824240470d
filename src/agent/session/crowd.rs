//! Which workloads count, and of which services: each change costs what it changes.

use std::collections::BTreeMap;

use super::types::WorkloadId;
use skep_core::base::ServiceId;

/// The workloads that count. One has one service.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    of: BTreeMap<WorkloadId, Counted>,
    /// How many of each service; none has zero.
    services: BTreeMap<ServiceId, u32>,
}

#[derive(Clone, Copy, Debug)]
struct Counted {
    service: ServiceId,
    /// It got what it claimed: it counts until it ends, whatever it claims later.
    granted: bool,
}

impl Crowd {
    /// It claims this service: it counts from here on.
    pub(super) fn claims(&mut self, workload: WorkloadId, service: ServiceId) {
        if self.of.get(&workload).is_some_and(|counted| counted.granted) {
            return;
        }
        self.set(workload, Counted { service, granted: false });
    }

    /// It has this service's files.
    pub(super) fn has(&mut self, workload: WorkloadId, service: ServiceId) {
        self.set(workload, Counted { service, granted: true });
    }

    fn set(&mut self, workload: WorkloadId, counted: Counted) {
        self.ended(workload);
        self.of.insert(workload, counted);
        let count = self.services.entry(counted.service).or_default();
        *count = count.saturating_add(1);
    }

    /// Its claim came to nothing: it counts no more, unless it got something before.
    pub(super) fn gave_up(&mut self, workload: WorkloadId) {
        if self.of.get(&workload).is_some_and(|counted| !counted.granted) {
            self.ended(workload);
        }
    }

    /// It is gone.
    pub(super) fn ended(&mut self, workload: WorkloadId) {
        let Some(counted) = self.of.remove(&workload) else { return };
        if let Some(count) = self.services.get_mut(&counted.service) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.services.remove(&counted.service);
            }
        }
    }

    /// The service that it got.
    pub(super) fn granted(&self, workload: WorkloadId) -> Option<ServiceId> {
        self.of.get(&workload).filter(|counted| counted.granted).map(|counted| counted.service)
    }

    /// The services that have workloads.
    pub(super) fn services(&self) -> impl Iterator<Item = ServiceId> {
        self.services.keys().copied()
    }

    /// How many workloads a service has.
    pub(super) fn count(&self, service: ServiceId) -> u32 {
        self.services.get(&service).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workload_counts_once_and_as_long_as_it_has_something() {
        let (web, db) = (ServiceId::from_bytes([1; 16]), ServiceId::from_bytes([2; 16]));
        let mut crowd = Crowd::default();
        crowd.claims(WorkloadId(1), web);
        crowd.claims(WorkloadId(1), web);
        crowd.claims(WorkloadId(2), web);
        assert_eq!(crowd.count(web), 2);
        crowd.claims(WorkloadId(2), db);
        assert_eq!((crowd.count(web), crowd.count(db)), (1, 1));
        crowd.has(WorkloadId(2), db);
        crowd.claims(WorkloadId(2), web);
        crowd.gave_up(WorkloadId(2));
        assert_eq!(crowd.granted(WorkloadId(2)), Some(db));
        crowd.gave_up(WorkloadId(1));
        assert_eq!(crowd.services().collect::<Vec<_>>(), vec![db]);
        crowd.ended(WorkloadId(2));
        crowd.ended(WorkloadId(2));
        assert_eq!(crowd.services().count(), 0);
    }
}
