//! A core and a worker that does what a test says, and what messages look like.

use std::collections::BTreeSet;

use crate::agent::session::*;
use crate::agent::vault::{Held, ServiceFiles, Shelf};
use skep_core::base::{BootTime, Epoch, NodeId, Revision, ServiceId};
use skep_core::domain::{MountKind, OfflinePolicy, Owner};
use skep_core::wire::delivery::{Ack, Failed, Placed, Push, Welcome};

pub(super) const WEB: ServiceId = ServiceId::from_bytes([1; 16]);
pub(super) const DB: ServiceId = ServiceId::from_bytes([2; 16]);
pub(super) const TAIL: [u8; 16] = [9; 16];

/// A core and a worker that does what the test says.
pub(super) struct Bench {
    pub(super) session: Session,
    pub(super) now: u64,
    pub(super) shelf: Shelf,
}

impl Bench {
    pub(super) fn new() -> Self {
        Self::with(Memory::default(), Shelf::new())
    }

    pub(super) fn with(memory: Memory, shelf: Shelf) -> Self {
        let session = Session::new(memory, shelf.clone(), &["m1:1".to_owned(), "m2:1".to_owned()]);
        Self { session, now: 1_000, shelf }
    }

    /// One event, and the end of every job but deliveries that it leads to.
    pub(super) fn step(&mut self, event: Event) -> Vec<Act> {
        let mut all = Vec::new();
        let mut acts = self.session.step(BootTime(self.now), event);
        loop {
            let waits =
                |act: &Act| matches!(act, Act::Work(job) if !matches!(job, Job::Deliver(_)));
            let done = acts.iter().any(waits);
            for act in &acts {
                if let Act::Work(Job::WipeBut(kept)) = act {
                    self.shelf.retain(|service, _| kept.contains(service));
                }
            }
            all.append(&mut acts);
            if !done {
                return all;
            }
            let done = Done { shelf: self.shelf.clone(), ..Done::default() };
            acts = self.session.step(BootTime(self.now), Event::Done(done));
        }
    }

    /// The push's job is done; `changes` is what it did to the shelf.
    pub(super) fn delivered(
        &mut self,
        changes: &[(ServiceId, bool)],
        failed: Vec<Failed>,
    ) -> Vec<Act> {
        for (service, there) in changes {
            if *there {
                let generation = self.shelf.get(service).map_or(1, |old| old.generation + 1);
                self.shelf.insert(*service, shelved(generation));
            } else {
                self.shelf.remove(service);
            }
        }
        self.step(Event::Done(Done { shelf: self.shelf.clone(), failed, ..Done::default() }))
    }

    /// From nothing to an open session whose first push is carried out.
    pub(super) fn connect(&mut self) -> Vec<Act> {
        let mut acts = self.reach();
        acts.extend(self.step(Event::Welcome(welcome(1, TAIL, 10))));
        acts.extend(self.step(Event::Push(push(1, 10, Some(vec![placed(WEB, "web", false)])))));
        acts.extend(self.delivered(&[], Vec::new()));
        acts
    }

    pub(super) fn reach(&mut self) -> Vec<Act> {
        let mut acts = self.step(Event::Begin);
        acts.extend(self.step(Event::Connected { address: "m1:1".to_owned() }));
        acts
    }

    pub(super) fn lose(&mut self) -> Vec<Act> {
        let cause = Cause::Lost("reset".to_owned());
        self.step(Event::Disconnected { cause, jitter: u16::MAX })
    }

    pub(super) fn claim(&mut self, id: u64, name: &str, uid: u32) -> Vec<Act> {
        let what = Claimant::Workload(WorkloadId(id));
        let until = BootTime(self.now + 30_000);
        let claim = Claim { id: ClaimId(id), of: Wants::Named(name.to_owned()), uid, until, what };
        self.step(Event::Claimed(claim))
    }
}

pub(super) fn shelved(generation: u64) -> Held {
    Held {
        fresh: false,
        digest: Some([5; 32]),
        versions: BTreeSet::new(),
        generation,
        files: 1,
        path: Some("/run/secrets/web".into()),
        live: Some("/run/secrets/.mounts/x/live".into()),
    }
}

pub(super) fn welcome(counter: u64, tail: [u8; 16], revision: u64) -> Welcome {
    Welcome {
        session_public: [0; 32],
        leader: NodeId::from_bytes([7; 16]),
        cluster: "prod".to_owned(),
        addresses: vec!["m1:1".to_owned(), "m3:1".to_owned()],
        epoch: Epoch { counter, tail },
        revision: Revision(revision),
    }
}

pub(super) fn placed(id: ServiceId, name: &str, always: bool) -> Placed {
    let name = name.parse().expect("a name");
    Placed { id, name, owner_uid: 1000, always, grants: 1, units: Vec::new() }
}

pub(super) fn push(number: u64, revision: u64, placed: Option<Vec<Placed>>) -> Push {
    Push { number, revision: Revision(revision), placed, ..Push::default() }
}

pub(super) fn set_of(service: ServiceId) -> ServiceFiles {
    ServiceFiles {
        fresh: false,
        on_change: skep_core::domain::OnChange::Nothing,
        service,
        name: "web".parse().expect("a name"),
        mount: MountKind::Tmpfs,
        owner: Owner { uid: 1000, gid: 1000 },
        offline: OfflinePolicy::Keep,
        digest: [5; 32],
        files: Vec::new(),
    }
}

pub(super) fn push_set(number: u64, revision: u64, service: ServiceId) -> Push {
    Push { sets: vec![set_of(service)], ..push(number, revision, None) }
}

pub(super) fn push_gone(number: u64, revision: u64, service: ServiceId) -> Push {
    Push { gone: vec![service], ..push(number, revision, None) }
}

pub(super) fn running(acts: &[Act]) -> Option<BTreeSet<ServiceId>> {
    acts.iter().rev().find_map(|act| match act {
        Act::Running(running) => Some(running.clone()),
        _ => None,
    })
}

pub(super) fn acked(acts: &[Act]) -> Option<&Ack> {
    acts.iter().find_map(|act| if let Act::Ack(ack) = act { Some(ack) } else { None })
}

pub(super) fn cut(acts: &[Act]) -> Option<&Cause> {
    acts.iter().find_map(|act| if let Act::Disconnect(cause) = act { Some(cause) } else { None })
}

pub(super) fn granted(acts: &[Act], id: u64) -> bool {
    acts.iter().any(|act| matches!(act, Act::Grant(claim, _) if *claim == ClaimId(id)))
}

pub(super) fn refused(acts: &[Act], id: u64) -> Option<&Refused> {
    acts.iter().find_map(|act| match act {
        Act::Refuse(claim, refused) if *claim == ClaimId(id) => Some(refused),
        _ => None,
    })
}

pub(super) fn remembered(acts: &[Act]) -> Option<&Memory> {
    acts.iter().rev().find_map(|act| match act {
        Act::Work(Job::Remember(memory)) => Some(memory),
        _ => None,
    })
}
