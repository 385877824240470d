//! Who is told when a service's set has changed.

use super::Workloads;
use super::list::Followed;
use crate::agent::hook::Aim;
use skep_core::base::ServiceId;

impl Workloads {
    /// Who is to be told when a service's set has changed: whoever stands in a namespace of its
    /// own. Others have not begun yet, and read what is there when they do.
    #[must_use]
    pub fn aims(&self, service: ServiceId) -> Vec<Aim> {
        let list = self.0.list.lock();
        let of_it = list.entries.values().filter(|entry| entry.service == Some(service));
        let units = list.units.values().filter(|unit| unit.service == Some(service));
        let units = units.map(|unit| Aim::Unit(unit.name.clone()));
        let mut volumes = list.volumes.values().filter(|volume| volume.service == Some(service));
        let containers = volumes.next().map(|_| Aim::Containers);
        of_it.filter_map(Followed::aim).chain(units).chain(containers).collect()
    }
}
