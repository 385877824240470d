//! Units of systemd: each is one workload of each of its services, until nobody is left in its
//! control group. Nothing is written down of them: an agent that starts looks at the groups.

use std::sync::Arc;

use super::list::{FollowedUnit, List};
use super::{AGAIN, Claimed, Followers, NotFollowed, Workloads};
use crate::agent::machine::UnitGroup;
use crate::agent::mount::{Adopted, NoValue};
use crate::agent::session::WorkloadId;
use skep_client::transport::Share;
use skep_core::base::{SecretBytes, ServiceId, Target};
use skep_core::domain::UnitName;
use skep_core::wire::delivery::Placed;

impl Workloads {
    /// A unit claims by one of its processes: it counts until nobody is left in its control
    /// group.
    ///
    /// # Errors
    /// The process is not of the unit, or there are too many.
    pub async fn claim_unit(&self, pid: i32, name: &UnitName) -> Result<Claimed, NotFollowed> {
        let unit = name.clone();
        let group = self.0.aside(0, move || UnitGroup::of_process(pid, &unit)).await?;
        let share = self.0.shares.take(0, 1).ok_or(NotFollowed::TooMany(0))?;
        let mut list = self.0.list.lock();
        let id = self.0.follow_unit(&mut list, (name.clone(), group), None, Some(share));
        Ok(Claimed { of: Arc::clone(&self.0), id })
    }

    /// The value of the first of these files that a service's set in place has.
    ///
    /// # Errors
    /// [`NoValue`].
    pub async fn value(
        &self,
        service: ServiceId,
        targets: Vec<Target>,
    ) -> Result<SecretBytes, NoValue> {
        let worker = self.0.worker.clone();
        let looking = move || worker.look(|mounts| mounts.value_of(service, &targets));
        let looked = tokio::task::spawn_blocking(looking).await;
        looked.ok().flatten().unwrap_or(Err(NoValue::NotHere))
    }

    /// Looks which units of these services run, where files of an earlier agent are here: they
    /// are followed as before.
    #[must_use]
    pub fn adopt_units(
        &self,
        placed: &[Placed],
        mounts: &[Adopted],
    ) -> Vec<(WorkloadId, ServiceId)> {
        let here = |service: &&Placed| mounts.iter().any(|mount| mount.service == service.id);
        let with_units = placed.iter().filter(|service| !service.units.is_empty());
        let services: Vec<&Placed> = with_units.filter(here).collect();
        if services.is_empty() {
            return Vec::new();
        }
        let found = UnitGroup::found(|unit| services.iter().any(|service| is_of(unit, service)));
        let (mut list, mut alive) = (self.0.list.lock(), Vec::new());
        for unit in found {
            for service in services.iter().filter(|service| is_of(&unit.0, service)) {
                // Whoever lives is followed, also beyond root's share.
                let share = self.0.shares.take(0, 1);
                let id = self.0.follow_unit(&mut list, unit.clone(), Some(service.id), share);
                self.0.note_volume(id, service.id, true);
                alive.push((id, service.id));
            }
        }
        alive
    }
}

fn is_of(unit: &UnitName, service: &Placed) -> bool {
    service.units.iter().any(|one| one.is(unit))
}

impl Followers {
    fn follow_unit(
        self: &Arc<Self>,
        list: &mut List,
        (name, group): (UnitName, UnitGroup),
        service: Option<ServiceId>,
        share: Option<Share>,
    ) -> WorkloadId {
        list.next = list.next.saturating_add(1);
        let workload = WorkloadId(list.next);
        let task = tokio::spawn(Arc::clone(self).watch_unit(workload, group.clone()));
        let task = task.abort_handle();
        let unit = FollowedUnit { name, group, service, task, _share: share };
        list.units.insert(workload, unit);
        workload
    }

    /// A unit got what it claimed. False: this workload is none.
    pub(super) fn assign_unit(
        &self,
        list: &mut List,
        workload: WorkloadId,
        service: ServiceId,
    ) -> bool {
        let Some(unit) = list.units.get(&workload) else { return false };
        let is_same = |other: &FollowedUnit| {
            other.service == Some(service) && other.name == unit.name && other.group == unit.group
        };
        if list.units.values().any(is_same) {
            // Another of its credentials came first: one unit is one workload of a service.
            list.units.remove(&workload);
            // Nobody listens once the agent ends.
            self.ended.send(workload).ok();
        } else if let Some(unit) = list.units.get_mut(&workload) {
            unit.service = Some(service);
            self.note_volume(workload, service, true);
        }
        true
    }

    async fn watch_unit(self: Arc<Self>, workload: WorkloadId, group: UnitGroup) {
        loop {
            if let Err(error) = group.emptied().await {
                tracing::error!(event = "workload_not_followed", %error);
                tokio::time::sleep(AGAIN).await;
                continue;
            }
            let mut list = self.list.lock();
            // Whoever claims for it meanwhile is in the group, and waits for the list.
            if group.is_populated().unwrap_or(true) {
                continue;
            }
            let Some(unit) = list.units.remove(&workload) else { return };
            if let Some(service) = unit.service {
                self.note_volume(workload, service, false);
            }
            // Nobody listens once the agent ends.
            self.ended.send(workload).ok();
            return;
        }
    }
}
