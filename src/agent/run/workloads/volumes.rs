//! Workloads that are containers' mounts of volumes: whoever serves the engine says when
//! they come and go, and writes them down.

use super::list::{List, Volume};
use super::{Claimed, Workloads};
use crate::agent::session::WorkloadId;
use skep_core::base::ServiceId;
use std::sync::Arc;

impl Workloads {
    /// A container is to have a volume mounted. Unless it is kept, it ends with its claim.
    #[must_use]
    pub fn claim_volume(&self) -> Claimed {
        let id = add(&mut self.0.list.lock(), Volume::default());
        Claimed { of: Arc::clone(&self.0), id }
    }

    /// A container had a service mounted when an earlier agent ended.
    #[must_use]
    pub fn adopt_volume(&self, service: ServiceId) -> WorkloadId {
        let mut list = self.0.list.lock();
        let id = add(&mut list, Volume { service: Some(service), kept: true });
        self.0.note_volume(id, service, true);
        id
    }

    /// A container has it mounted no more.
    pub fn volume_ended(&self, workload: WorkloadId) {
        self.0.end_volume(&mut self.0.list.lock(), workload);
    }
}

impl Claimed {
    /// It goes on until [`Workloads::volume_ended`].
    #[must_use]
    pub fn keep_volume(self) -> WorkloadId {
        if let Some(volume) = self.of.list.lock().volumes.get_mut(&self.id) {
            volume.kept = true;
        }
        self.id
    }
}

fn add(list: &mut List, volume: Volume) -> WorkloadId {
    list.next = list.next.saturating_add(1);
    let id = WorkloadId(list.next);
    list.volumes.insert(id, volume);
    id
}
