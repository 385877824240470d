//! A queue for each service, so that work on one never waits for work on another; what takes
//! away comes first. It says what is to be done and starts nothing. Pure.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::agent::machine::Workload;
use crate::agent::mount::Whereabouts;
use crate::agent::vault::{Fresh, HookDue, ServiceFiles};
use skep_core::base::{BootTime, ServiceId, VersionId};
use skep_core::seal::SessionKey;
use skep_core::wire::delivery::{Failed, SentValue};

/// Services that are worked on at once, each by a thread of its own. One that hangs keeps
/// its thread; with so many of them hanging the others wait.
const THREADS: usize = 256;

/// A piece of work on one service's files.
#[derive(Debug)]
pub(super) enum Part {
    /// Nothing may stay.
    Wipe,
    /// Nothing may stay, the mount neither.
    Remove,
    /// A set is to be in place.
    Put(Box<Putting>),
    /// These use the files.
    Workloads(Vec<Workload>),
    /// Since when there is no session.
    Offline(Option<BootTime>),
    /// A leader confirmed a set of this digest.
    Confirm([u8; 32], Fresh),
    /// Something is due.
    Tick,
}

/// A set and what it takes to open the values that came with it.
#[derive(Debug)]
pub(super) struct Putting {
    pub(super) set: ServiceFiles,
    pub(super) values: Arc<BTreeMap<VersionId, SentValue>>,
    pub(super) key: Option<Arc<SessionKey>>,
}

/// Tells one given part from the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket(u64);

/// Who is at it.
#[derive(Debug)]
pub(super) struct Busy {
    pub(super) ticket: Ticket,
    pub(super) since: BootTime,
    /// In which system call.
    pub(super) here: Whereabouts,
    /// When it is said (again) that it hangs.
    pub(super) say: BootTime,
    /// Its files were emptied without it.
    pub(super) emptied: bool,
}

#[derive(Debug, Default)]
struct Lane {
    queue: VecDeque<(Ticket, Part)>,
    busy: Option<Busy>,
}

/// All queues.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    all: BTreeMap<ServiceId, Lane>,
    /// Those that have something to do and nobody at it.
    ready: BTreeSet<ServiceId>,
    busy: usize,
    tickets: u64,
}

impl Part {
    const fn takes_away(&self) -> bool {
        matches!(self, Self::Wipe | Self::Remove)
    }
}

impl Lanes {
    /// Takes a part. What it makes pointless goes: a set that is not begun when the next one
    /// or a wipe comes, older news of the same kind.
    pub(super) fn give(&mut self, service: ServiceId, part: Part) -> Ticket {
        self.tickets = self.tickets.saturating_add(1);
        let ticket = Ticket(self.tickets);
        let lane = self.all.entry(service).or_default();
        let queue = &mut lane.queue;
        match &part {
            Part::Wipe | Part::Remove => queue.retain(|(_, queued)| {
                !matches!(queued, Part::Wipe | Part::Remove | Part::Put(_) | Part::Tick)
            }),
            Part::Put(_) => queue.retain(|(_, queued)| !matches!(queued, Part::Put(_))),
            Part::Confirm(..) => queue.retain(|(_, queued)| !matches!(queued, Part::Confirm(..))),
            Part::Workloads(_) => queue.retain(|(_, queued)| !matches!(queued, Part::Workloads(_))),
            Part::Offline(None) => queue.retain(|(_, queued)| !matches!(queued, Part::Offline(_))),
            // The earliest time counts, and a tick finds all that is due.
            Part::Offline(Some(_)) => {
                if let Some((ticket, Part::Offline(Some(_)))) =
                    queue.iter().rfind(|(_, queued)| matches!(queued, Part::Offline(_)))
                {
                    return *ticket;
                }
            }
            Part::Tick => {
                if let Some((ticket, _)) = queue.iter().find(|(_, q)| matches!(q, Part::Tick)) {
                    return *ticket;
                }
            }
        }
        if part.takes_away() {
            queue.push_front((ticket, part));
        } else {
            queue.push_back((ticket, part));
        }
        if lane.busy.is_none() {
            self.ready.insert(service);
        }
        ticket
    }

    /// The next part that somebody can begin now; it counts as begun.
    pub(super) fn begin(&mut self, now: BootTime) -> Option<(ServiceId, Part, Whereabouts)> {
        if self.busy >= THREADS {
            return None;
        }
        let service = self.ready.pop_first()?;
        let lane = self.all.get_mut(&service)?;
        let (ticket, part) = lane.queue.pop_front()?;
        let here = Whereabouts::default();
        lane.busy = Some(Busy { ticket, since: now, here: here.clone(), say: now, emptied: false });
        self.busy = self.busy.saturating_add(1);
        Some((service, part, here))
    }

    /// Somebody is done with a service; which part that was.
    pub(super) fn finished(&mut self, service: ServiceId) -> Option<Busy> {
        let lane = self.all.get_mut(&service)?;
        let busy = lane.busy.take()?;
        self.busy = self.busy.saturating_sub(1);
        if lane.queue.is_empty() {
            self.all.remove(&service);
        } else {
            self.ready.insert(service);
        }
        Some(busy)
    }

    /// Who is at a service.
    pub(super) fn busy(&self, service: ServiceId) -> Option<&Busy> {
        self.all.get(&service)?.busy.as_ref()
    }

    /// Everybody who is at something, and whether a wipe waits behind it.
    pub(super) fn all_busy(&mut self) -> impl Iterator<Item = (ServiceId, &mut Busy, bool)> {
        self.all.iter_mut().filter_map(|(service, lane)| {
            let wiping = lane.queue.front().is_some_and(|(_, part)| part.takes_away());
            Some((*service, lane.busy.as_mut()?, wiping))
        })
    }

    /// Whether nobody is at anything and nothing waits.
    pub(super) fn is_idle(&self) -> bool {
        self.busy == 0 && self.ready.is_empty()
    }
}

/// A job that waits for parts.
pub(super) struct Round {
    pub(super) waiting: BTreeMap<ServiceId, Ticket>,
    pub(super) failed: Vec<Failed>,
    pub(super) unchanged: BTreeSet<ServiceId>,
    pub(super) changed: Vec<HookDue>,
    pub(super) until: BootTime,
    /// Nothing is to stay: the folder goes, too.
    pub(super) last: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEB: ServiceId = ServiceId::from_bytes([1; 16]);
    const NOW: BootTime = BootTime(5);

    fn begun(lanes: &mut Lanes) -> Option<Part> {
        lanes.begin(NOW).map(|(_, part, _)| part)
    }

    #[test]
    fn a_wipe_comes_before_what_waits_and_one_is_at_a_service() {
        let mut lanes = Lanes::default();
        lanes.give(WEB, Part::Workloads(Vec::new()));
        assert!(matches!(begun(&mut lanes), Some(Part::Workloads(_))));
        lanes.give(WEB, Part::Tick);
        lanes.give(WEB, Part::Offline(Some(NOW)));
        let wipe = lanes.give(WEB, Part::Wipe);
        assert!(begun(&mut lanes).is_none(), "somebody is at it");
        lanes.finished(WEB);
        assert!(matches!(begun(&mut lanes), Some(Part::Wipe)));
        assert_eq!(lanes.busy(WEB).map(|busy| busy.ticket), Some(wipe));
        lanes.finished(WEB);
        assert!(matches!(begun(&mut lanes), Some(Part::Offline(Some(_)))), "no tick of before");
        lanes.finished(WEB);
        assert!(lanes.is_idle());
    }

    #[test]
    fn a_service_that_hangs_keeps_no_other_and_its_queue_stays_short() {
        let mut lanes = Lanes::default();
        lanes.give(WEB, Part::Tick);
        assert!(begun(&mut lanes).is_some());
        for _ in 0..1_000 {
            lanes.give(WEB, Part::Tick);
            lanes.give(WEB, Part::Workloads(Vec::new()));
            lanes.give(WEB, Part::Offline(None));
            lanes.give(WEB, Part::Offline(Some(NOW)));
            lanes.give(WEB, Part::Wipe);
        }
        assert!(lanes.all.get(&WEB).is_some_and(|lane| lane.queue.len() <= 5));
        lanes.give(ServiceId::from_bytes([2; 16]), Part::Wipe);
        assert!(matches!(begun(&mut lanes), Some(Part::Wipe)));
    }

    #[test]
    fn threads_are_bounded() {
        let mut lanes = Lanes::default();
        for n in 0..=u16::try_from(THREADS).unwrap() {
            let mut id = [0; 16];
            id[..2].copy_from_slice(&n.to_be_bytes());
            lanes.give(ServiceId::from_bytes(id), Part::Tick);
        }
        let begun = std::iter::from_fn(|| begun(&mut lanes)).count();
        assert_eq!(begun, THREADS);
        lanes.finished(ServiceId::from_bytes([0; 16]));
        assert!(lanes.begin(NOW).is_some());
    }
}
