//! The core: what is known, and what each event makes of it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::claims::{Look, Waiting};
use super::crowd::Crowd;
use super::hooks::Hooking;
use super::problem;
use super::reconnect::Reconnect;
use super::types::{Act, Cause, ClaimId, Ending, Event, Hello, Job, Memory};
use crate::agent::vault::Shelf;
use skep_core::base::{BootTime, ServiceId};
use skep_core::wire::delivery::{Failed, Placed, SentValue, Welcome};

/// The agent's session core. See the module's head for what it holds to.
#[derive(Debug)]
pub struct Session {
    pub(super) memory: Memory,
    /// Where in `memory.placed` each service stands, by its name in small letters.
    pub(super) names: BTreeMap<String, usize>,
    /// Whether a leader said that the node is drained.
    pub(super) drained: bool,
    pub(super) link: Link,
    pub(super) shelf: Shelf,
    pub(super) failed: BTreeMap<ServiceId, Failed>,
    pub(super) crowd: Crowd,
    pub(super) hooks: Hooking,
    pub(super) claims: BTreeMap<ClaimId, Waiting>,
    /// Told as no longer running, its removal not yet here; until when it is waited for.
    pub(super) leaving: BTreeMap<ServiceId, BootTime>,
    pub(super) queue: VecDeque<Job>,
    pub(super) busy: Option<Busy>,
    pub(super) offline_since: Option<BootTime>,
    /// There is no session, or has been none since the last push was carried out.
    pub(super) missed: bool,
    /// No manager could be had since: what was last told is all there is.
    pub(super) tried: bool,
    pub(super) refused: bool,
    /// There was a session since the agent's start.
    pub(super) welcomed: bool,
    pub(super) why: String,
    pub(super) reconnect: Reconnect,
    pub(super) phase: Phase,
}

/// The connection, as far as it has come.
#[derive(Debug)]
pub(super) enum Link {
    /// None, and none is being made.
    Idle,
    /// Being made.
    Connecting,
    /// Made; the hello waits until no job is under way.
    Reached { address: String },
    /// The hello is said.
    Greeted { address: String, told: BTreeSet<ServiceId> },
    /// The leader answered.
    Open(OpenSession),
    /// To be cut; the driver will say when it is.
    Cutting,
}

/// A session that stands.
#[derive(Debug)]
pub(super) struct OpenSession {
    pub(super) address: String,
    /// Which services the leader was told to be running.
    pub(super) told: BTreeSet<ServiceId>,
    /// The first push is carried out: what is here is what is due.
    pub(super) synced: bool,
    /// The number of the last push.
    pub(super) last_push: u64,
    /// The number of the push that is under way.
    pub(super) in_flight: Option<u64>,
    /// Values ahead of the next push.
    pub(super) ahead: Vec<SentValue>,
    pub(super) ahead_bytes: u64,
    /// When it was asked last whether what is here is what is due.
    pub(super) asked: Option<BootTime>,
}

/// What the worker is at.
#[derive(Debug)]
pub(super) enum Busy {
    Deliver { number: u64, gone: Vec<ServiceId>, sets: Vec<ServiceId>, revision: u64 },
    Wipe,
    Other,
}

/// Whether the agent goes on.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Serving,
    /// Wiping before leaving.
    Departing(ClaimId),
    /// The leader was asked.
    Asked(ClaimId),
    /// Finishing; then it ends so.
    Stopping(Ending),
    Ended,
}

impl Session {
    /// A core that remembers `memory`, finds `shelf` on this machine and was told of `managers`.
    #[must_use]
    pub fn new(memory: Memory, shelf: Shelf, managers: &[String]) -> Self {
        let reconnect = Reconnect::new(managers.iter().chain(&memory.managers).cloned());
        let names = names_of(memory.placed.as_deref());
        Self {
            memory,
            names,
            drained: false,
            link: Link::Idle,
            shelf,
            failed: BTreeMap::new(),
            crowd: Crowd::default(),
            hooks: Hooking::default(),
            claims: BTreeMap::new(),
            leaving: BTreeMap::new(),
            queue: VecDeque::new(),
            busy: None,
            offline_since: None,
            missed: false,
            tried: false,
            refused: false,
            welcomed: false,
            why: String::from("not connected yet"),
            reconnect,
            phase: Phase::Serving,
        }
    }

    /// Takes an event and says what is to be done.
    pub fn step(&mut self, now: BootTime, event: Event) -> Vec<Act> {
        let mut acts = Vec::new();
        let look = Look::after(&event);
        match event {
            Event::Begin => self.begin(now, &mut acts),
            Event::Connected { address } => self.link = Link::Reached { address },
            Event::Welcome(welcome) => self.welcome(welcome, &mut acts),
            Event::Managers(addresses) => self.managers(addresses),
            Event::Values { number, values } => self.values(number, values, &mut acts),
            Event::Push(push) => self.push(push, &mut acts),
            Event::Confirmed(confirmed) => self.confirmed(confirmed),
            Event::Disconnected { cause, jitter } => {
                self.disconnected(now, cause, jitter, &mut acts);
            }
            Event::Adopted { workload, service } => {
                self.crowd.has(workload, service);
            }
            Event::Shelf(shelf) => self.shelf = shelf,
            Event::Claimed(claim) => self.claimed(claim, &mut acts),
            Event::Withdrawn(claim) => self.withdrawn(claim),
            Event::Ended(workload) => self.ended(workload, &mut acts),
            Event::Down { claim, name } => self.down(claim, &name, &mut acts),
            Event::Done(done) => self.done(done, &mut acts),
            Event::Changed(due) => self.changed(due, &mut acts),
            Event::Hooked { service, generation, failed } => {
                self.hooked(service, generation, failed, &mut acts);
            }
            Event::Tick => {}
            Event::Leave(claim) => self.leave(claim, &mut acts),
            Event::Left(answer) => self.left(answer, &mut acts),
            Event::Stop { wipe } => self.stop(wipe, &mut acts),
        }
        self.go_on(now, look, &mut acts);
        acts
    }

    /// When [`Event::Tick`] is of use next.
    #[must_use]
    pub fn next_tick(&self) -> Option<BootTime> {
        let claims = self.claims.values().map(|waiting| waiting.claim.until);
        claims.chain(self.leaving.values().copied()).chain(self.next_ask()).min()
    }

    /// What follows from any event.
    fn go_on(&mut self, now: BootTime, look: Look, acts: &mut Vec<Act>) {
        if self.phase == Phase::Ended {
            return;
        }
        let due = self.next_tick().is_some_and(|due| due <= now);
        self.leaving.retain(|_, until| *until > now);
        self.greet(acts);
        self.settle(now, if due { Look::All } else { look }, acts);
        self.announce(now, acts);
        self.ask(now, acts);
        if self.busy.is_none() {
            match self.queue.pop_front() {
                Some(job) => self.start(job, acts),
                None => self.finish(acts),
            }
        }
    }

    fn start(&mut self, job: Job, acts: &mut Vec<Act>) {
        self.busy = Some(match &job {
            Job::Deliver(delivery) => Busy::Deliver {
                number: delivery.number,
                gone: delivery.gone.clone(),
                sets: delivery.sets.iter().map(|set| set.service).collect(),
                revision: delivery.revision.0,
            },
            Job::WipeBut(_) => Busy::Wipe,
            Job::Confirm(_) | Job::Offline(_) | Job::Remember(_) => Busy::Other,
        });
        acts.push(Act::Work(job));
    }

    fn finish(&mut self, acts: &mut Vec<Act>) {
        if let Phase::Stopping(ending) = &self.phase {
            acts.push(Act::End(ending.clone()));
            self.phase = Phase::Ended;
        }
    }

    /// Has the memory written; several wishes in a row are one.
    pub(super) fn remember(&mut self) {
        if matches!(self.queue.back(), Some(Job::Remember(_))) {
            self.queue.pop_back();
        }
        self.queue.push_back(Job::Remember(self.memory.clone()));
    }

    // ---- the connection --------------------------------------------------

    fn begin(&mut self, now: BootTime, acts: &mut Vec<Act>) {
        self.offline_since = Some(now);
        self.queue.push_back(Job::Offline(Some(now)));
        self.connect(0, acts);
    }

    fn connect(&mut self, jitter: u16, acts: &mut Vec<Act>) {
        let next = self.reconnect.next(jitter);
        self.connect_to(next, acts);
    }

    fn connect_to(&mut self, next: Option<(String, u64)>, acts: &mut Vec<Act>) {
        self.link = Link::Idle;
        if !matches!(self.phase, Phase::Serving) {
            return;
        }
        if let Some((address, after_ms)) = next {
            self.link = Link::Connecting;
            acts.push(Act::Connect { address, after_ms });
        }
    }

    fn greet(&mut self, acts: &mut Vec<Act>) {
        let idle = self.busy.is_none() && self.queue.is_empty();
        let Link::Reached { address } = &self.link else { return };
        if !idle {
            return;
        }
        self.leaving.clear();
        let running = self.running();
        let hello = Hello {
            running: running.clone(),
            epoch: self.memory.epoch,
            revision: self.memory.revision,
            held: self.shelf.clone(),
        };
        self.link = Link::Greeted { address: address.clone(), told: running };
        acts.push(Act::Hello(hello));
    }

    fn welcome(&mut self, welcome: Welcome, acts: &mut Vec<Act>) {
        let Link::Greeted { address, told } = &mut self.link else { return };
        let (address, told) = (std::mem::take(address), std::mem::take(told));
        let known = self.memory.epoch;
        let older = welcome.epoch.counter < known.counter;
        let other = welcome.epoch.counter == known.counter && welcome.epoch.tail != known.tail;
        let behind = welcome.epoch == known && welcome.revision < self.memory.revision;
        if older || other || behind {
            let why = if older {
                "its cluster is of an older epoch than this agent has seen"
            } else if other {
                "it belongs to another recovery of this cluster than this agent has seen"
            } else {
                "it is behind what this agent has taken already"
            };
            self.cut(Cause::Refused(format!("{address}: {why}")), acts);
            return;
        }
        if welcome.epoch != known {
            self.memory.revision = skep_core::base::Revision(0);
        }
        self.welcomed = true;
        self.memory.epoch = welcome.epoch;
        self.memory.cluster = welcome.cluster;
        if !welcome.addresses.is_empty() {
            self.memory.managers.clone_from(&welcome.addresses);
        }
        self.reconnect.replace(welcome.addresses);
        self.offline_since = None;
        self.queue.push_back(Job::Offline(None));
        self.remember();
        self.link = Link::Open(OpenSession {
            address,
            told,
            synced: false,
            last_push: 0,
            in_flight: None,
            ahead: Vec::new(),
            ahead_bytes: 0,
            asked: None,
        });
        if self.hooks.any() {
            self.tell_hooks(acts);
        }
    }

    /// Ends the connection. Nothing of it counts from here on.
    pub(super) fn cut(&mut self, cause: Cause, acts: &mut Vec<Act>) {
        self.link = Link::Cutting;
        acts.push(Act::Disconnect(cause));
    }

    fn disconnected(&mut self, now: BootTime, cause: Cause, jitter: u16, acts: &mut Vec<Act>) {
        // What was not begun needs a key that is gone; the next leader sends it again.
        self.queue.retain(|job| !matches!(job, Job::Deliver(_) | Job::Confirm(_)));
        self.leaving.clear();
        // The end of a session is no failed try, nor is to be pointed to the leader.
        let had_session = matches!(self.link, Link::Open(_) | Link::Cutting);
        let pointed = matches!(&cause, Cause::NotLeader(leader) if !leader.is_empty());
        self.missed = true;
        self.tried |= !had_session && !pointed;
        self.refused = false;
        if self.offline_since.is_none() {
            self.offline_since = Some(now);
            self.queue.push_back(Job::Offline(Some(now)));
        }
        let left = matches!((&self.phase, &cause), (Phase::Asked(_), Cause::Removed(_)));
        if left {
            // The stream's end may overtake the answer: no member any more, as asked.
            self.left(Ok(()), acts);
            return;
        }
        if let Phase::Asked(claim) | Phase::Departing(claim) = self.phase {
            self.phase = Phase::Serving;
            acts.push(Act::Refuse(claim, problem::connection_lost()));
        }
        match cause {
            Cause::Lost(why) => {
                self.why = why;
                self.connect(jitter, acts);
            }
            Cause::NotLeader(leader) => {
                self.why = String::from("no manager leads now");
                let next = self.reconnect.pointed(leader, jitter);
                self.connect_to(next, acts);
            }
            Cause::Refused(why) => {
                self.refused = true;
                self.why = why;
                self.connect(jitter, acts);
            }
            // Whoever serves goes on, and is a member again as soon as it is readmitted; one
            // that was just started has nothing to lose.
            Cause::Over(refused) => {
                self.refused = true;
                self.why.clone_from(&refused.text);
                if !refused.hint.is_empty() {
                    self.why = format!("{} ({})", self.why, refused.hint);
                }
                if self.welcomed {
                    self.connect(jitter, acts);
                } else {
                    let kept = self.shelf.keys().copied().collect();
                    self.end_with(Ending::Over(refused), kept, acts);
                }
            }
            Cause::Removed(refused) => {
                self.refused = true;
                self.why.clone_from(&refused.text);
                self.end_with(Ending::Removed(refused), BTreeSet::new(), acts);
            }
        }
    }

    /// Whether a push is under way: what is here is about to change.
    pub(super) fn is_delivering(&self) -> bool {
        matches!(self.busy, Some(Busy::Deliver { .. }))
            || self.queue.iter().any(|job| matches!(job, Job::Deliver(_)))
    }
}

pub(super) fn names_of(placed: Option<&[Placed]>) -> BTreeMap<String, usize> {
    let placed = placed.unwrap_or_default().iter().enumerate();
    placed.map(|(at, placed)| (placed.name.as_str().to_ascii_lowercase(), at)).collect()
}
