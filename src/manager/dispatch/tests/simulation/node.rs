//! A node: the real session, and a worker, files and processes of the test's own.

use std::collections::{BTreeMap, BTreeSet};

use super::network::Wire;
use super::{MANAGERS, SERVICES, Simulation};
use crate::agent::session::{
    Act, Claim, ClaimId, Claimant, Done, Ending, Event, Job, Memory, Session, Wants, WorkloadId,
};
use crate::agent::vault::{Held, ServiceFiles, Shelf};
use skep_core::base::{BootTime, NodeId, Revision, SecretId, ServiceId, VersionId};
use skep_core::wire::api;
use skep_core::wire::convert::{write_ack, write_held, write_hooks};
use skep_core::wire::delivery::{Failed, Push};

/// Milliseconds that a claim waits.
const CLAIM_MS: u64 = 30_000;
/// Milliseconds for which a session waits for the removal of what it told as not running.
const LEAVING_MS: u64 = 2_000;

/// The files of a service.
#[derive(Clone, Debug, Default)]
pub(super) struct Files {
    pub(super) digest: Option<[u8; 32]>,
    pub(super) versions: BTreeMap<VersionId, SecretId>,
    generation: u64,
    fresh: bool,
}

pub(super) struct Node {
    pub(super) session: Session,
    pub(super) files: BTreeMap<ServiceId, Files>,
    /// As it was stored last.
    memory: Memory,
    /// What the worker is at.
    pub(super) job: Option<Job>,
    pub(super) wire: Option<Wire>,
    /// Connections made so far.
    pub(super) wires: u64,
    pub(super) connecting: Option<(String, u64)>,
    /// Processes that got a service.
    pub(super) workloads: BTreeMap<WorkloadId, ServiceId>,
    /// Calls that wait.
    pub(super) claims: BTreeMap<ClaimId, Claimant>,
    numbers: u64,
    /// Services that the leader was told not to be running, until when their removal is
    /// waited for.
    pub(super) leaving: BTreeMap<ServiceId, u64>,
    /// The list of running services that the leader was told last.
    pub(super) told: BTreeSet<ServiceId>,
    /// What a leader placed here for good.
    pub(super) always: BTreeSet<ServiceId>,
    /// The newest push that was carried out.
    taken: Revision,
}

impl Node {
    pub(super) fn new() -> Self {
        Self {
            session: session(Memory::default(), Shelf::new()),
            files: BTreeMap::new(),
            memory: Memory::default(),
            job: None,
            wire: None,
            wires: 0,
            connecting: None,
            workloads: BTreeMap::new(),
            claims: BTreeMap::new(),
            numbers: 0,
            leaving: BTreeMap::new(),
            told: BTreeSet::new(),
            always: BTreeSet::new(),
            taken: Revision(0),
        }
    }

    pub(super) fn shelf(&self) -> Shelf {
        let held = |files: &Files| Held {
            digest: files.digest,
            versions: files.versions.keys().copied().collect(),
            generation: files.generation,
            files: u32::try_from(files.versions.len()).expect("few"),
            fresh: files.fresh,
            path: Some("/run/secrets/x".into()),
            live: Some("/run/secrets/x/..live".into()),
        };
        self.files.iter().map(|(service, files)| (*service, held(files))).collect()
    }

    /// Puts a set in place, or (`whole` false) only takes away what it takes away.
    fn put(&mut self, set: &ServiceFiles, whole: bool) {
        let files = self.files.entry(set.service).or_default();
        let versions: BTreeMap<_, _> =
            set.files.iter().map(|file| (file.version, file.secret)).collect();
        if whole {
            let generation = files.generation + 1;
            *files = Files { digest: Some(set.digest), versions, generation, fresh: set.fresh };
        } else {
            files.digest = None;
            files.versions.retain(|version, _| versions.contains_key(version));
        }
    }
}

fn session(memory: Memory, shelf: Shelf) -> Session {
    Session::new(memory, shelf, &MANAGERS.map(str::to_owned))
}

impl Simulation {
    /// An agent starts.
    pub(super) fn begin(&mut self, id: NodeId) {
        let node = self.nodes.get_mut(&id).expect("a node");
        node.session = session(node.memory.clone(), node.shelf());
        (node.job, node.wire, node.connecting) = (None, None, None);
        node.told.clear();
        node.leaving.clear();
        // A call ends with the agent, and the process that made it goes.
        node.claims.clear();
        let workloads = node.workloads.clone();
        for (workload, service) in workloads {
            self.event(id, Event::Adopted { workload, service });
        }
        self.event(id, Event::Begin);
    }

    /// The session takes an event, and what it says is done.
    pub(super) fn event(&mut self, id: NodeId, event: Event) {
        let now = self.boot();
        let node = self.nodes.get_mut(&id).expect("a node");
        for act in node.session.step(now, event) {
            self.act(id, act);
        }
    }

    fn act(&mut self, id: NodeId, act: Act) {
        let now = self.now;
        let node = self.nodes.get_mut(&id).expect("a node");
        match act {
            Act::Connect { address, after_ms } => {
                if node.wire.is_some() || node.connecting.is_some() {
                    self.broken("one_connection_at_a_time", &format!("{id} to {address}"));
                }
                node.connecting = Some((address, now + after_ms));
            }
            Act::Hello(hello) => {
                if hello.held != node.shelf() || node.job.is_some() {
                    self.broken("a_hello_says_what_is_so", &format!("{id}: {hello:?}"));
                }
                node.told.clone_from(&hello.running);
                node.leaving.clear();
                let held = hello.held.iter();
                let held = held.map(|(id, held)| write_held(*id, held.digest, &held.versions));
                let hello = api::Hello {
                    held: held.collect(),
                    running: ids(&hello.running),
                    revision: hello.revision.0,
                    ..Default::default()
                };
                self.say(id, api::from_agent::Of::Hello(hello));
            }
            Act::Running(running) => {
                let stays = |service: &&ServiceId| !node.always.contains(service);
                for service in node.told.difference(&running).filter(stays) {
                    node.leaving.insert(*service, now + LEAVING_MS);
                }
                node.leaving.retain(|service, _| !running.contains(service));
                node.told.clone_from(&running);
                let services = ids(&running);
                self.say(id, api::from_agent::Of::Running(api::Running { services }));
            }
            Act::Ack(ack) => {
                if node.job.is_some() {
                    self.broken("an_ack_follows_the_job", &format!("{id}: {ack:?}"));
                }
                self.say(id, api::from_agent::Of::Ack(write_ack(ack)));
            }
            Act::Ask(at) => {
                self.say(id, api::from_agent::Of::Ask(api::Ask { at_ms: at.0 }));
            }
            Act::Hook(due) => self.broken("no_set_asks_for_a_hook", &format!("{id}: {due:?}")),
            Act::Hooks(stands) => {
                self.say(id, api::from_agent::Of::Hooks(write_hooks(&stands)));
            }
            Act::Disconnect(cause) => self.end(id, cause),
            Act::Work(job) => {
                if node.job.is_some() {
                    self.broken("one_job_at_a_time", &format!("{id}: {job:?}"));
                }
                if matches!(job, Job::Deliver(_)) && !node.session.is_open() {
                    self.broken("no_push_outlives_its_connection", &format!("{id}: {job:?}"));
                }
                node.job = Some(job);
            }
            Act::Grant(claim, ready) => self.granted(id, claim, ready.service),
            Act::Agree(claim) | Act::Refuse(claim, _) => {
                if node.claims.remove(&claim).is_none() {
                    self.broken("a_claim_is_answered_once", &format!("{id}: {claim:?}"));
                }
            }
            Act::End(Ending::Stopped) => {}
            Act::Leave | Act::End(_) => self.broken("nobody_leaves", &format!("{id}")),
        }
    }

    fn granted(&mut self, id: NodeId, claim: ClaimId, service: ServiceId) {
        let now = self.now;
        let node = self.nodes.get_mut(&id).expect("a node");
        let Some(claimant) = node.claims.remove(&claim) else {
            self.broken("a_claim_is_answered_once", &format!("{id}: {claim:?}"))
        };
        let whole = node.files.get(&service).is_some_and(|files| files.digest.is_some());
        let goes = node.leaving.get(&service).is_some_and(|until| *until > now);
        if let Claimant::Workload(workload) = claimant {
            node.workloads.insert(workload, service);
        }
        if !whole {
            self.broken("what_is_granted_is_in_place", &format!("{id} {service}"));
        }
        if goes {
            self.broken("no_workload_starts_on_files_about_to_go", &format!("{id} {service}"));
        }
        self.seen.grants += 1;
        self.tell(format!("{id} grants {service}"));
    }

    fn say(&mut self, id: NodeId, said: api::from_agent::Of) {
        let wire = self.nodes.get_mut(&id).and_then(|node| node.wire.as_mut());
        match wire {
            Some(wire) => wire.up.push_back(said),
            None => self.broken("nothing_is_said_without_a_connection", &format!("{id}: {said:?}")),
        }
    }

    /// The worker comes to the end of its job.
    pub(super) fn work(&mut self, id: NodeId) {
        let Some(job) = self.nodes.get_mut(&id).and_then(|node| node.job.take()) else { return };
        let failed = self.carry_out(id, job);
        let shelf = self.nodes.get(&id).map(Node::shelf).unwrap_or_default();
        self.event(id, Event::Done(Done { shelf, failed, ..Done::default() }));
    }

    fn carry_out(&mut self, id: NodeId, job: Job) -> Vec<Failed> {
        match job {
            Job::Deliver(push) => self.deliver(id, &push),
            Job::WipeBut(kept) => {
                let node = self.nodes.get_mut(&id).expect("a node");
                node.files.retain(|service, _| kept.contains(service));
                let lost = node.workloads.values().find(|service| !kept.contains(service)).copied();
                if let Some(service) = lost {
                    self.broken("p7_what_runs_keeps_its_files", &format!("{id} {service}"));
                }
                Vec::new()
            }
            Job::Confirm(confirmed) => {
                let node = self.nodes.get(&id).expect("a node");
                let stands = |(service, digest): &&(ServiceId, [u8; 32])| {
                    node.files.get(service).is_some_and(|files| files.digest == Some(*digest))
                };
                let sets = confirmed.sets.iter().filter(stands).count();
                self.seen.confirmed += u32::try_from(sets).expect("few");
                Vec::new()
            }
            Job::Offline(_) => Vec::new(),
            Job::Remember(memory) => {
                self.nodes.get_mut(&id).expect("a node").memory = memory;
                Vec::new()
            }
        }
    }

    fn deliver(&mut self, id: NodeId, push: &Push) -> Vec<Failed> {
        self.tell(format!("{id} carries out push {} of {}", push.number, push.revision));
        let node = self.nodes.get_mut(&id).expect("a node");
        if push.revision < node.taken || !push.unreadable.is_empty() {
            self.broken("nothing_older_is_taken", &format!("{id}: {push:?}"));
        }
        node.taken = push.revision;
        if let Some((service, version)) = missing(&node.files, push) {
            let how = format!("{id}: {version} for {service} in push {}", push.number);
            self.broken("no_value_is_missing", &how);
        }
        let mut failed = Vec::new();
        for service in &push.gone {
            let node = self.nodes.get_mut(&id).expect("a node");
            node.leaving.remove(service);
            let fails = self.faults && self.dice.one_in(12);
            if fails {
                if let Some(files) = node.files.get_mut(service) {
                    files.digest = None;
                }
                failed.push(fail(*service, false));
            } else {
                node.files.remove(service);
                self.seen.gone += 1;
            }
        }
        for set in &push.sets {
            let fails = self.faults && self.dice.one_in(8);
            let last = self.dice.one_in(3);
            let node = self.nodes.get_mut(&id).expect("a node");
            node.put(set, !fails);
            self.seen.sets[usize::from(fails)] += 1;
            if fails {
                failed.push(fail(set.service, last));
            }
        }
        failed
    }

    /// The clock shows the session what is due.
    pub(super) fn tick(&mut self, id: NodeId) {
        let next = self.nodes.get(&id).and_then(|node| node.session.next_tick());
        if next.is_some_and(|next| next.0 <= self.now) {
            self.event(id, Event::Tick);
        }
    }

    /// Something starts or ends on a node.
    pub(super) fn workload(&mut self, id: NodeId) {
        let number = self.dice.below(SERVICES) + 1;
        let (name, what, now) = (format!("service{number}"), self.dice.below(8), self.now);
        let node = self.nodes.get_mut(&id).expect("a node");
        let at = usize::from(self.dice.below(8));
        let some = node.workloads.keys().copied().nth(at % node.workloads.len().max(1));
        match (what, some) {
            (0..=2, Some(workload)) => {
                node.workloads.remove(&workload);
                self.tell(format!("{id}: {workload:?} ends"));
                self.event(id, Event::Ended(workload));
            }
            (3, _) => {
                let claim = node.claim(Claimant::Manual);
                self.event(id, Event::Down { claim, name });
            }
            (4, _) => {
                if let Some(claim) = node.claims.keys().copied().next() {
                    node.claims.remove(&claim);
                    self.event(id, Event::Withdrawn(claim));
                }
            }
            _ => {
                let by_hand = what == 5;
                let what = if by_hand {
                    Claimant::Manual
                } else {
                    node.numbers += 1;
                    Claimant::Workload(WorkloadId(node.numbers))
                };
                let until = BootTime(now + CLAIM_MS);
                let claim = node.claim(what);
                self.tell(format!("{id}: {what:?} claims {name}"));
                self.event(
                    id,
                    Event::Claimed(Claim {
                        id: claim,
                        of: Wants::Named(name),
                        uid: 0,
                        until,
                        what,
                    }),
                );
            }
        }
    }

    /// Something breaks.
    pub(super) fn fault(&mut self, id: NodeId) {
        match self.dice.below(8) {
            0 | 1 => self.another_leads(),
            2 | 3 => self.cut(id),
            4 => {
                self.tell(format!("{id}: the agent stops and starts"));
                self.event(id, Event::Stop { wipe: false });
                while self.nodes.get(&id).is_some_and(|node| node.job.is_some()) {
                    self.work(id);
                }
                self.begin(id);
            }
            5 | 6 => {
                self.tell(format!("{id}: the agent is killed and starts"));
                let job = self.nodes.get_mut(&id).and_then(|node| node.job.take());
                if let Some(job) = job.filter(|_| self.dice.one_in(2)) {
                    self.carry_out(id, job);
                }
                self.begin(id);
            }
            _ => {
                self.tell(format!("{id}: the machine starts again"));
                let node = self.nodes.get_mut(&id).expect("a node");
                node.files.clear();
                node.workloads.clear();
                self.begin(id);
            }
        }
    }
}

impl Node {
    fn claim(&mut self, what: Claimant) -> ClaimId {
        self.numbers += 1;
        let claim = ClaimId(self.numbers);
        self.claims.insert(claim, what);
        claim
    }
}

fn ids(services: &BTreeSet<ServiceId>) -> Vec<Vec<u8>> {
    services.iter().map(|service| service.as_bytes().to_vec()).collect()
}

fn fail(service: ServiceId, last: bool) -> Failed {
    Failed::whole(service, "it does not fit".to_owned(), last)
}

/// A version that a push needs, and neither brings nor finds: it may use what a service has
/// before it and after it, and what others have that it doesn't name.
fn missing(files: &BTreeMap<ServiceId, Files>, push: &Push) -> Option<(ServiceId, VersionId)> {
    let sets: BTreeMap<_, _> = push.sets.iter().map(|set| (set.service, set)).collect();
    let mut usable: BTreeSet<VersionId> = push.values.iter().map(|value| value.version).collect();
    for (service, files) in files.iter().filter(|(service, _)| !push.gone.contains(service)) {
        let stays = |version: &&VersionId| {
            sets.get(service)
                .is_none_or(|set| set.files.iter().any(|file| file.version == **version))
        };
        usable.extend(files.versions.keys().filter(stays));
    }
    push.sets.iter().find_map(|set| {
        let lacks = set.files.iter().find(|file| !usable.contains(&file.version))?;
        Some((set.service, lacks.version))
    })
}
