//! Who wants which service's secrets on this machine, and what they are told.

use std::collections::BTreeSet;

use super::core::{Link, Phase, Session};
use super::problem;
use super::types::{
    Act, Claim, ClaimId, Claimant, Event, Ready, Refused, RefusedKind, Wants, WorkloadId,
};
use crate::agent::vault::UnitAsks;
use skep_core::base::{BootTime, Name, ServiceId};
use skep_core::wire::delivery::Placed;

/// Milliseconds for which the removal of a service that stopped running is waited for.
const LEAVING_MS: u64 = 2_000;
/// Claims that may wait at once. The difference to [`CLAIMS_OF_OTHERS`] is root's alone.
pub const CLAIMS: usize = 768;
/// Claims of all users but root that may wait at once.
pub const CLAIMS_OF_OTHERS: usize = 512;
/// Claims of one user but root that may wait at once: each is a process that waits.
pub const CLAIMS_PER_USER: usize = 128;

/// A claim and whether its workload counts already.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) claim: Claim,
    counts: Option<ServiceId>,
}

/// Which claims an event may have made answerable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// Any: what is here or known has changed, or time has passed.
    All,
    /// This one, which is new.
    One(ClaimId),
    /// None.
    Nowhere,
}

impl Look {
    /// A thousand processes that come and go cost a look at each, not a thousand.
    pub(super) fn after(event: &Event) -> Self {
        match event {
            Event::Claimed(claim) => Self::One(claim.id),
            Event::Withdrawn(_)
            | Event::Ended(_)
            | Event::Adopted { .. }
            | Event::Down { .. }
            | Event::Confirmed(_)
            | Event::Changed(_)
            | Event::Hooked { .. }
            | Event::Values { .. } => Self::Nowhere,
            Event::Begin
            | Event::Connected { .. }
            | Event::Welcome(_)
            | Event::Managers(_)
            | Event::Push(_)
            | Event::Disconnected { .. }
            | Event::Shelf(_)
            | Event::Done(_)
            | Event::Tick
            | Event::Leave(_)
            | Event::Left(_)
            | Event::Stop { .. } => Self::All,
        }
    }
}

/// What becomes of a claim.
enum Verdict {
    Granted(Ready),
    Refused(Refused),
    Waits,
}

impl Session {
    /// The services that run here.
    #[must_use]
    pub fn running(&self) -> BTreeSet<ServiceId> {
        self.crowd.services().chain(self.memory.manual.keys().copied()).collect()
    }

    /// The services that are up by hand.
    #[must_use]
    pub fn manual(&self) -> BTreeSet<ServiceId> {
        self.memory.manual.keys().copied().collect()
    }

    pub(super) fn placed(&self, name: &str) -> Option<&Placed> {
        let at = self.names.get(&name.to_ascii_lowercase())?;
        self.memory.placed.as_ref()?.get(*at)
    }

    /// Which of the services that list a unit it means.
    fn meant(&self, asks: &UnitAsks) -> Option<&Placed> {
        let placed = self.memory.placed.iter().flatten();
        let of_unit = placed.filter(|one| one.units.iter().any(|unit| unit.is(&asks.unit)));
        self.placed(asks.meant(of_unit.map(|one| one.name.as_str()))?)
    }

    pub(super) fn claimed(&mut self, claim: Claim, acts: &mut Vec<Act>) {
        if !matches!(self.phase, Phase::Serving) {
            acts.push(Act::Refuse(claim.id, problem::stopping()));
            return;
        }
        // A process claims one thing: whatever it asked for before is answered.
        let same = |waiting: &Waiting| {
            matches!(claim.what, Claimant::Workload(_)) && waiting.claim.what == claim.what
        };
        let before = self.claims.iter().find(|(_, w)| same(w)).map(|(id, _)| *id);
        if let Some(before) = before {
            self.claims.remove(&before);
            acts.push(Act::Refuse(before, problem::claimed_again()));
        }
        match self.has_room(claim.uid) {
            Ok(()) => {
                self.claims.insert(claim.id, Waiting { claim, counts: None });
            }
            Err(text) => acts.push(Act::Refuse(claim.id, problem::no_room(text))),
        }
    }

    /// Whether one more claim of this user may wait.
    fn has_room(&self, uid: u32) -> Result<(), String> {
        let of = |root: bool| self.claims.values().filter(move |w| (w.claim.uid == 0) == root);
        let own = of(false).filter(|waiting| waiting.claim.uid == uid).count();
        let (all, most) = match uid {
            0 => (self.claims.len(), CLAIMS),
            _ => (of(false).count(), CLAIMS_OF_OTHERS),
        };
        if uid != 0 && own >= CLAIMS_PER_USER {
            Err(format!("{CLAIMS_PER_USER} claims of user {uid} wait already"))
        } else if all >= most {
            Err(format!("{most} claims wait already"))
        } else {
            Ok(())
        }
    }

    /// A claim ends with its call.
    pub(super) fn withdrawn(&mut self, claim: ClaimId) {
        let Some(waiting) = self.claims.remove(&claim) else { return };
        if let Claimant::Workload(workload) = waiting.claim.what {
            self.crowd.gave_up(workload);
        }
    }

    pub(super) fn ended(&mut self, workload: WorkloadId, acts: &mut Vec<Act>) {
        self.crowd.ended(workload);
        let theirs = |waiting: &Waiting| waiting.claim.what == Claimant::Workload(workload);
        let gone = self.claims.iter().find(|(_, w)| theirs(w)).map(|(id, _)| *id);
        if let Some(id) = gone {
            self.claims.remove(&id);
            acts.push(Act::Refuse(id, problem::caller_gone()));
        }
    }

    pub(super) fn down(&mut self, claim: ClaimId, name: &str, acts: &mut Vec<Act>) {
        let named = |known: &&Name| known.as_str().eq_ignore_ascii_case(name);
        let up = self.memory.manual.iter().find(|(_, known)| named(known)).map(|(id, _)| *id);
        let up = up.or_else(|| {
            let id = self.placed(name)?.id;
            self.memory.manual.contains_key(&id).then_some(id)
        });
        let Some(service) = up else {
            acts.push(Act::Refuse(claim, problem::not_up(name)));
            return;
        };
        self.memory.manual.remove(&service);
        self.remember();
        acts.push(Act::Agree(claim));
    }

    /// Tells the leader what runs, when that changed. One that is no longer told
    /// is told again only after its removal has come.
    pub(super) fn announce(&mut self, now: BootTime, acts: &mut Vec<Act>) {
        let mut running = self.running();
        running.retain(|service| !self.leaving.contains_key(service));
        let Link::Open(open) = &mut self.link else { return };
        if open.told == running {
            return;
        }
        let always: BTreeSet<ServiceId> =
            self.memory.placed.iter().flatten().filter(|p| p.always).map(|p| p.id).collect();
        for service in open.told.difference(&running) {
            if !always.contains(service) {
                self.leaving.insert(*service, BootTime(now.0.saturating_add(LEAVING_MS)));
            }
        }
        open.told.clone_from(&running);
        acts.push(Act::Running(running));
    }

    /// Answers every claim that can be answered, among those that are looked at.
    pub(super) fn settle(&mut self, now: BootTime, look: Look, acts: &mut Vec<Act>) {
        let ids: Vec<ClaimId> = match look {
            Look::All => self.claims.keys().copied().collect(),
            Look::One(id) => vec![id],
            Look::Nowhere => return,
        };
        for id in ids {
            let Some(mut waiting) = self.claims.remove(&id) else { continue };
            let verdict = self.judge(now, &mut waiting);
            let workload = match waiting.claim.what {
                Claimant::Workload(workload) => Some(workload),
                Claimant::Manual => None,
            };
            match (verdict, workload) {
                (Verdict::Waits, _) => {
                    self.claims.insert(id, waiting);
                }
                (Verdict::Granted(ready), workload) => {
                    if let Some(workload) = workload {
                        self.crowd.has(workload, ready.service);
                    }
                    acts.push(Act::Grant(id, ready));
                }
                (Verdict::Refused(refused), workload) => {
                    if let Some(workload) = workload {
                        self.crowd.gave_up(workload);
                    }
                    acts.push(Act::Refuse(id, refused));
                }
            }
        }
    }

    fn judge(&mut self, now: BootTime, waiting: &mut Waiting) -> Verdict {
        let claim = &waiting.claim;
        let late = claim.until <= now;
        // Once a session stands, its first push decides what is placed here.
        let unsure = matches!(&self.link, Link::Open(open) if !open.synced);
        let found = match &claim.of {
            Wants::Named(name) => self.placed(name),
            Wants::Unit(asks) => self.meant(asks),
        };
        let Some(placed) = found.cloned() else {
            let known = self.memory.placed.is_some();
            return match (known && !unsure && (self.is_synced() || self.tried), late) {
                (true, _) => Verdict::Refused(problem::not_placed(&claim.of, self.drained)),
                (false, true) => Verdict::Refused(problem::not_known(&claim.of, &self.why)),
                (false, false) => Verdict::Waits,
            };
        };
        if claim.uid != 0 && claim.uid != placed.owner_uid {
            return Verdict::Refused(problem::not_owner(&placed, claim.uid));
        }
        if let Claimant::Workload(workload) = claim.what
            && self.crowd.granted(workload).is_some_and(|other| other != placed.id)
        {
            return Verdict::Refused(problem::has_another(&placed));
        }
        if waiting.counts.is_none() {
            waiting.counts = Some(placed.id);
            match waiting.claim.what {
                Claimant::Workload(workload) => self.crowd.claims(workload, placed.id),
                Claimant::Manual => {
                    self.memory.manual.insert(placed.id, placed.name.clone());
                    self.remember();
                }
            }
        }
        if let Some(ready) = self.ready(&placed, waiting.claim.what) {
            return Verdict::Granted(ready);
        }
        match self.failed.get(&placed.id) {
            Some(failed) if failed.last => Verdict::Refused(problem::does_not_fit(&placed, failed)),
            _ if late => Verdict::Refused(self.too_late(&placed)),
            _ => Verdict::Waits,
        }
    }

    fn ready(&self, placed: &Placed, what: Claimant) -> Option<Ready> {
        // With a session, only what it confirmed counts; without one, what is here.
        let settled = self.is_synced() && !self.is_delivering();
        let alone = self.missed && !matches!(self.link, Link::Open(_));
        if !(settled || alone) || self.leaving.contains_key(&placed.id) {
            return None;
        }
        if self.failed.contains_key(&placed.id) {
            return None;
        }
        let shelved = self.shelf.get(&placed.id)?;
        shelved.digest?;
        let path = match what {
            Claimant::Workload(_) => shelved.live.clone()?,
            Claimant::Manual => shelved.path.clone()?,
        };
        let (service, name, generation) = (placed.id, placed.name.clone(), shelved.generation);
        Some(Ready { service, name, path, generation })
    }

    /// Whether a leader has answered the hello of the connection that stands.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self.link, Link::Open(_))
    }

    pub(super) fn is_synced(&self) -> bool {
        matches!(&self.link, Link::Open(open) if open.synced)
    }

    fn too_late(&self, placed: &Placed) -> Refused {
        if let Some(failed) = self.failed.get(&placed.id) {
            return Refused { kind: RefusedKind::Late, ..problem::does_not_fit(placed, failed) };
        }
        if matches!(self.link, Link::Open(_)) {
            problem::not_in_time(placed)
        } else {
            problem::not_here(placed, &self.why)
        }
    }
}
