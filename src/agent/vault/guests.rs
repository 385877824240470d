//! Whose workloads a service has: `workloads` says, change by change; `mount` looks, where
//! the agent itself is asked who may open (FUSE; on a tmpfs nobody asks), and for what it
//! notes of a mount.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::RwLock;

use crate::agent::machine::Workload;
use skep_core::base::ServiceId;

/// Stands for what is up by hand and for volumes: the first process, which never ends.
const FIRST: Workload = Workload { pid: 1, started: 0 };

/// The running workloads of every service. Clones see the same.
#[derive(Clone, Debug, Default)]
pub struct Guests(Arc<RwLock<BTreeMap<ServiceId, Party>>>);

/// The workloads of one service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Party {
    /// It is up by hand: nobody said which processes those are.
    pub by_hand: bool,
    /// By number.
    members: BTreeMap<u64, Member>,
    /// Which member stands in which namespace.
    namespaces: BTreeSet<(u64, u64)>,
    /// Which mark is which member's.
    marks: BTreeSet<(u64, u64)>,
    /// Which process is known to be of which member.
    processes: BTreeSet<(Workload, u64)>,
    /// Volumes that containers have mounted, by number: nobody said which processes see them.
    volumes: BTreeSet<u64>,
}

/// One workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The process that it is known by.
    pub main: Workload,
    /// Who is left of it, where the main process is gone: some, if they are many.
    pub left: Vec<Workload>,
    /// The private mount namespace in which its processes stand.
    pub namespace: Option<u64>,
    /// The device of the file system that marks that namespace and every copy of it. It is
    /// nobody else's while the namespace or a copy is held.
    pub mark: Option<u64>,
}

impl Member {
    fn processes(&self) -> impl Iterator<Item = Workload> {
        self.left.iter().copied().chain([self.main])
    }
}

impl Party {
    /// Adds a workload, or says more of it.
    pub fn put(&mut self, number: u64, member: Member) {
        self.take(number);
        self.namespaces.extend(member.namespace.map(|namespace| (namespace, number)));
        self.marks.extend(member.mark.map(|mark| (mark, number)));
        self.processes.extend(member.processes().map(|process| (process, number)));
        self.members.insert(number, member);
    }

    /// It is gone.
    pub fn take(&mut self, number: u64) {
        let Some(member) = self.members.remove(&number) else { return };
        if let Some(namespace) = member.namespace {
            self.namespaces.remove(&(namespace, number));
        }
        if let Some(mark) = member.mark {
            self.marks.remove(&(mark, number));
        }
        for process in member.processes() {
            self.processes.remove(&(process, number));
        }
    }

    /// A container has a volume mounted.
    pub fn mount(&mut self, number: u64) {
        self.volumes.insert(number);
    }

    /// It has it no more.
    pub fn unmount(&mut self, number: u64) {
        self.volumes.remove(&number);
    }

    /// Whether there are workloads of which nobody said which processes those are.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.by_hand || !self.volumes.is_empty()
    }

    /// Whether there are none whose processes are known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The workload whose processes stand in this namespace.
    #[must_use]
    pub fn of_namespace(&self, namespace: u64) -> Option<&Member> {
        let (_, number) = self.namespaces.range((namespace, 0)..=(namespace, u64::MAX)).next()?;
        self.members.get(number)
    }

    /// The workload that this process is known to be of.
    #[must_use]
    pub fn of_process(&self, process: Workload) -> Option<&Member> {
        let (_, number) = self.processes.range((process, 0)..=(process, u64::MAX)).next()?;
        self.members.get(number)
    }

    /// The workload whose mark this device is.
    #[must_use]
    pub fn of_mark(&self, device: u64) -> Option<&Member> {
        let (_, number) = self.marks.range((device, 0)..=(device, u64::MAX)).next()?;
        self.members.get(number)
    }

    /// Whether some workload's namespace has a mark.
    #[must_use]
    pub fn has_marks(&self) -> bool {
        !self.marks.is_empty()
    }

    /// Which processes use the service's files.
    #[must_use]
    pub fn using(&self) -> Vec<Workload> {
        let left = self.members.values().flat_map(|member| member.left.iter().copied());
        left.chain(self.is_open().then_some(FIRST)).collect()
    }
}

impl Guests {
    /// Changes what is known of a service's workloads.
    pub fn change(&self, service: ServiceId, change: impl FnOnce(&mut Party)) {
        let mut parties = self.0.write();
        let party = parties.entry(service).or_default();
        change(party);
        if *party == Party::default() {
            parties.remove(&service);
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

/// Whether this stands for what is up by hand or for volumes, and is no workload.
#[must_use]
pub fn is_by_hand(workload: Workload) -> bool {
    workload.pid == FIRST.pid
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_come_change_and_go() {
        let web = ServiceId::from_bytes([1; 16]);
        let main = |pid| Workload { pid, started: 1 };
        let member = |pid, namespace| Member {
            main: main(pid),
            left: vec![main(pid)],
            namespace,
            mark: namespace.map(|n| n * 10),
        };
        let guests = Guests::default();
        guests.change(web, |party| party.put(1, member(10, None)));
        guests.change(web, |party| party.put(1, member(10, Some(5))));
        guests.change(web, |party| party.put(2, member(20, Some(5))));
        guests.change(web, |party| party.by_hand = true);
        let in_five = || guests.of(web, |party| party.of_namespace(5).map(|one| one.main.pid));
        assert_eq!(in_five(), Some(10));
        guests.of(web, |party| {
            assert_eq!(party.of_mark(50).map(|one| one.main.pid), Some(10));
            assert_eq!(party.of_mark(51), None);
            assert_eq!(party.of_process(main(20)).map(|one| one.main.pid), Some(20));
            let later = Workload { started: 2, ..main(20) };
            assert_eq!(party.of_process(later), None, "its number, used again");
        });
        assert_eq!(guests.of(web, Party::using), vec![main(10), main(20), FIRST]);
        guests.change(web, |party| party.take(1));
        assert_eq!(in_five(), Some(20));
        guests.change(web, |party| party.take(2));
        assert!(guests.of(web, Party::is_empty) && in_five().is_none());
        guests.change(web, |party| party.by_hand = false);
        assert!(guests.of(web, Party::using).is_empty());
        guests.change(web, |party| party.mount(7));
        assert_eq!(guests.of(web, Party::using), vec![FIRST], "as what is up by hand");
        guests.change(web, |party| party.unmount(7));
        assert!(guests.0.read().is_empty(), "nothing is kept of what is over");
    }
}
