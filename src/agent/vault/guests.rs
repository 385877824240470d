//! Who may open a service's files where the agent itself is asked (FUSE): `workloads`
//! says, `mount` looks. On a tmpfs nobody asks.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLock;

use super::Workload;
use crate::base::ServiceId;

/// The running workloads of every service. Clones see the same.
#[derive(Clone, Debug, Default)]
pub struct Guests(Arc<RwLock<BTreeMap<ServiceId, Party>>>);

/// The workloads of one service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Party {
    /// It is up by hand: nobody said which processes those are.
    pub by_hand: bool,
    /// Its workloads.
    pub members: Vec<Member>,
}

/// One workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The process that it is known by.
    pub main: Workload,
    /// Who is left of it, where the main process is gone.
    pub left: Vec<Workload>,
    /// The private mount namespace in which its processes stand.
    pub namespace: Option<u64>,
}

impl Guests {
    /// Says who a service's workloads are from now on.
    pub fn set(&self, service: ServiceId, party: Party) {
        let mut parties = self.0.write();
        if party == Party::default() {
            parties.remove(&service);
        } else {
            parties.insert(service, party);
        }
    }

    /// Looks at a service's workloads.
    pub fn of<T>(&self, service: ServiceId, look: impl FnOnce(&Party) -> T) -> T {
        match self.0.read().get(&service) {
            Some(party) => look(party),
            None => look(&Party::default()),
        }
    }
}
