//! What one session knows: what its agent has, what is under way, what failed. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::known::{Has, Known};
use super::step::{Delta, Gate, Step, step};
use super::wanted::{Due, Wanted};
use skep_core::base::{BootTime, NodeId, Revision, SecretId, ServiceId, VersionId};
use skep_core::domain::{Confirmation, Exposure};
use skep_core::wire::delivery::HookStand;

/// Milliseconds until a set that failed for now is sent again; doubled each time.
const RETRY_MS: u64 = 1_000;
/// At most so many.
const RETRY_MOST_MS: u64 = 30_000;

/// An agent that does not keep to the protocol; the session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Misbehaved(pub &'static str);

/// How a pair stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// What is due there is in place.
    InPlace,
    /// It is, and its hook still runs.
    Hook,
    /// Not yet.
    Waiting,
    /// It did not come into place.
    Failed {
        /// The agent's reason, or ours.
        why: String,
        /// Waiting longer is no use.
        last: bool,
    },
}

/// A service that an agent could not bring into place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    /// Which.
    pub service: ServiceId,
    /// Why, for people.
    pub why: String,
    /// Sending the same again is no use.
    pub last: bool,
    /// The files that are not as they are due, by their targets.
    pub files: BTreeMap<String, String>,
    /// The versions that are there, where nothing is of which the set has no file any more.
    pub has: Option<BTreeSet<VersionId>>,
}

impl Refused {
    /// Of a service of which nothing more is known.
    pub(super) fn whole(service: ServiceId, why: String, last: bool) -> Self {
        Self { service, why, last, files: BTreeMap::new(), has: None }
    }
}

/// A set that is not in place as it is due.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    /// Of the set that failed; `None`: nothing was to stay.
    digest: Option<[u8; 32]>,
    /// For people.
    pub why: String,
    /// By target, where it is about single files.
    pub files: BTreeMap<String, String>,
    last: bool,
    times: u32,
    again: BootTime,
}

/// The push that is under way.
#[derive(Clone, Debug)]
struct Flight {
    number: u64,
    delta: Delta,
    /// Services whose set goes out without a value, and why.
    withheld: BTreeMap<ServiceId, Refused>,
    /// Services whose files show the same as before, says the agent.
    unchanged: BTreeSet<ServiceId>,
}

/// What the driver does after a look.
#[derive(Clone, Debug, Default)]
pub(super) struct Look {
    /// Send this.
    pub push: Option<(u64, Delta)>,
    /// Ask for these to be recorded.
    pub asks: bool,
    /// Look again at this time.
    pub again: Option<BootTime>,
}

/// What is recorded of this node's pairs.
#[derive(Clone, Debug, Default)]
pub(super) struct Recorded {
    /// As the state has them.
    pub exposed: BTreeMap<ServiceId, Exposure>,
    /// An end was proposed and may still come: they count as not recorded.
    pub unsure: BTreeSet<ServiceId>,
}

impl Recorded {
    fn holds(&self, service: ServiceId) -> bool {
        self.exposed.contains_key(&service) && !self.unsure.contains(&service)
    }
}

/// One session's knowledge.
#[derive(Clone, Debug, Default)]
pub(super) struct Ledger {
    known: Known,
    running: BTreeSet<ServiceId>,
    wanted: Wanted,
    flight: Option<Flight>,
    numbers: u64,
    failures: BTreeMap<ServiceId, Failure>,
    /// The newest revision at which a service's set was seen to be what is due.
    in_place: BTreeMap<ServiceId, Revision>,
    /// From after which revision to which one the files of a service have shown the same.
    unchanged: BTreeMap<ServiceId, (Revision, Revision)>,
    /// The newest revision at which nothing was there of a service that its set doesn't have,
    /// though the set is not whole: what was taken away is gone.
    taken: BTreeMap<ServiceId, Revision>,
    /// Since when a service's set is not what is due.
    late: BTreeMap<ServiceId, BootTime>,
    /// Hooks that run there, or have failed.
    hooks: BTreeMap<ServiceId, HookStand>,
    /// Pairs that must be recorded before their push.
    asking: BTreeSet<ServiceId>,
    /// Pairs that were not, and when to ask again.
    refused: BTreeMap<ServiceId, BootTime>,
}

impl Ledger {
    /// A session begins with what the agent says it has and runs.
    pub(super) fn new(held: BTreeMap<ServiceId, Has>, running: BTreeSet<ServiceId>) -> Self {
        let known = Known { sets: held, placed: None };
        Self { known, running, ..Self::default() }
    }

    /// What the agent says it runs.
    pub(super) fn running(&self) -> &BTreeSet<ServiceId> {
        &self.running
    }

    /// It runs these now.
    pub(super) fn runs(&mut self, running: BTreeSet<ServiceId>) {
        self.running = running;
    }

    /// How its hooks stand.
    pub(super) fn hooks(&self) -> &BTreeMap<ServiceId, HookStand> {
        &self.hooks
    }

    /// They stand so now.
    pub(super) fn hooks_are(&mut self, hooks: BTreeMap<ServiceId, HookStand>) {
        self.hooks = hooks;
    }

    /// What the agent is known to have.
    pub(super) fn known(&self) -> &Known {
        &self.known
    }

    /// What was due when it was looked at last.
    pub(super) fn wanted(&self) -> &Wanted {
        &self.wanted
    }

    /// As of when it was looked at last.
    pub(super) fn looked(&self) -> Revision {
        self.wanted.revision
    }

    /// Takes what is due now and says what to do about it. One push is under way
    /// at a time: what changes meanwhile is found by the look after its answer.
    pub(super) fn look(&mut self, wanted: Wanted, recorded: &Recorded, now: BootTime) -> Look {
        self.wanted = wanted;
        let wanted = &self.wanted;
        self.failures.retain(|service, failure| {
            wanted.sets.get(service).map(|due| due.digest) == failure.digest
        });
        self.in_place.retain(|service, _| wanted.sets.contains_key(service));
        self.taken.retain(|service, _| wanted.sets.contains_key(service));
        self.mark_in_place();
        self.mark_late(now);
        if self.flight.is_some() {
            return Look::default();
        }
        let Step { delta, expose } =
            step(&self.wanted, &self.known, |service, due| self.gate(service, due, recorded, now));
        self.refused.retain(|service, again| expose.contains(service) && *again > now);
        self.asking = expose.into_iter().filter(|one| !self.refused.contains_key(one)).collect();
        let failed = self.failures.values().filter(|failure| !failure.last);
        let again = failed.map(|failure| failure.again).chain(self.refused.values().copied());
        let mut look = Look {
            push: None,
            asks: !self.asking.is_empty(),
            again: again.filter(|again| *again > now).min(),
        };
        // The first push of a session says all, and a list of placed services alone is
        // not worth a round trip: they wait for what has to be recorded.
        let first = self.known.placed.is_none();
        let waits = |delta: &Delta| {
            look.asks && (first || (delta.sets.is_empty() && delta.gone.is_empty()))
        };
        if let Some(delta) = delta.filter(|delta| !waits(delta)) {
            self.numbers += 1;
            self.flight = Some(Flight {
                number: self.numbers,
                delta: delta.clone(),
                withheld: BTreeMap::new(),
                unchanged: BTreeSet::new(),
            });
            look.push = Some((self.numbers, delta));
        }
        look
    }

    fn gate(
        &self,
        service: ServiceId,
        due: Option<&Due>,
        recorded: &Recorded,
        now: BootTime,
    ) -> Gate {
        match self.failures.get(&service) {
            Some(failure) if failure.last || failure.again > now => Gate::Failed,
            _ if due.is_some_and(Due::brings) && !recorded.holds(service) => Gate::Unexposed,
            _ => Gate::Open,
        }
    }

    /// The set of `service` goes out in push `number` without a value.
    pub(super) fn withhold(&mut self, number: u64, refused: Refused) {
        if let Some(flight) = self.flight.as_mut().filter(|flight| flight.number == number) {
            flight.withheld.insert(refused.service, refused);
        }
    }

    /// Push `number` brought these nothing new.
    pub(super) fn brought_nothing(&mut self, number: u64, services: BTreeSet<ServiceId>) {
        if let Some(flight) = self.flight.as_mut().filter(|flight| flight.number == number) {
            flight.unchanged = services;
        }
    }

    /// The agent has carried out push `number`, but for what it refused.
    ///
    /// # Errors
    /// [`Misbehaved`] where no such push is under way.
    pub(super) fn acknowledged(
        &mut self,
        number: u64,
        refused: Vec<Refused>,
        now: BootTime,
    ) -> Result<(), Misbehaved> {
        let Some(flight) = self.flight.take_if(|flight| flight.number == number) else {
            return Err(Misbehaved("acknowledged a push that is not under way"));
        };
        let mut failed: BTreeMap<_, _> =
            refused.into_iter().map(|one| (one.service, one)).collect();
        for (service, withheld) in flight.withheld {
            // Of what is there the agent knows more than we do.
            let (files, has) =
                failed.remove(&service).map(|one| (one.files, one.has)).unwrap_or_default();
            failed.insert(service, Refused { files, has, ..withheld });
        }
        if let Some(placed) = flight.delta.placed {
            self.known.placed = Some(placed);
        }
        for service in flight.delta.gone {
            match failed.remove(&service) {
                None => {
                    self.unchanged.remove(&service);
                    self.known.sets.remove(&service);
                }
                // A wipe is never given up; it is asked for again by the next push.
                Some(one) => {
                    self.fail(None, Refused::whole(service, one.why, false), now);
                }
            }
        }
        for due in flight.delta.sets {
            let service = due.set.service;
            if let Some(one) = failed.remove(&service) {
                if one.has.is_some() {
                    self.taken.insert(service, flight.delta.revision);
                }
                self.fail(Some(due.digest), one, now);
                continue;
            }
            self.failures.remove(&service);
            self.note_change(service, flight.unchanged.contains(&service), flight.delta.revision);
            let has = Has { digest: Some(due.digest), versions: due.versions.clone() };
            self.known.sets.insert(service, has);
            self.in_place.insert(service, flight.delta.revision);
        }
        self.mark_in_place();
        Ok(())
    }

    /// What was in place before this session, or failed since, is not known: it may have changed.
    fn note_change(&mut self, service: ServiceId, unchanged: bool, revision: Revision) {
        let known = self.unchanged.remove(&service).map(|(since, _)| since);
        let since = known.or_else(|| self.in_place.get(&service).copied());
        if let Some(since) = since.filter(|_| unchanged) {
            self.unchanged.insert(service, (since, revision));
        }
    }

    /// Whether what was committed as `revision` brought a service nothing new here.
    pub(super) fn is_unchanged(&self, service: ServiceId, revision: Revision) -> bool {
        let range = self.unchanged.get(&service);
        range.is_some_and(|(since, until)| *since < revision && revision <= *until)
    }

    /// What is there of a service that failed is not known, unless the agent says it.
    fn fail(&mut self, digest: Option<[u8; 32]>, refused: Refused, now: BootTime) {
        let Refused { service, why, last, files, has } = refused;
        let versions = has.unwrap_or_default();
        self.known.sets.insert(service, Has { digest: None, versions });
        self.unchanged.remove(&service);
        let times = self
            .failures
            .get(&service)
            .filter(|failure| failure.digest == digest)
            .map_or(0, |failure| failure.times);
        let wait = RETRY_MS.saturating_mul(1 << times.min(10)).min(RETRY_MOST_MS);
        let again = BootTime(now.0.saturating_add(wait));
        let failure = Failure { digest, why, files, last, times: times.saturating_add(1), again };
        self.failures.insert(service, failure);
    }

    fn mark_late(&mut self, now: BootTime) {
        let known = &self.known.sets;
        let wanted = &self.wanted.sets;
        let is_late = |service: &ServiceId, due: &Due| {
            known.get(service).and_then(|has| has.digest) != Some(due.digest)
        };
        self.late.retain(|service, _| wanted.get(service).is_some_and(|due| is_late(service, due)));
        for (service, due) in wanted.iter().filter(|(service, due)| is_late(service, due)) {
            if due.brings() {
                self.late.entry(*service).or_insert(now);
            }
        }
    }

    /// Services whose set was not what is due, since when, when it was looked at last.
    pub(super) fn late(&self) -> impl Iterator<Item = (ServiceId, BootTime)> + '_ {
        self.late.iter().map(|(service, since)| (*service, *since))
    }

    /// Why the set of `service` is not in place as it is due, where it was tried.
    pub(super) fn failure(&self, service: ServiceId) -> Option<&Failure> {
        self.failures.get(&service)
    }

    fn mark_in_place(&mut self) {
        let revision = self.wanted.revision;
        for (service, due) in &self.wanted.sets {
            let has = self.known.sets.get(service).and_then(|has| has.digest);
            if has == Some(due.digest) && !self.under_way(*service) {
                self.in_place.insert(*service, revision);
            }
        }
    }

    pub(super) fn under_way(&self, service: ServiceId) -> bool {
        self.flight.as_ref().is_some_and(|flight| {
            flight.delta.gone.contains(&service)
                || flight.delta.sets.iter().any(|due| due.set.service == service)
        })
    }

    /// Whether nothing of a service is, or is about to be, on the node.
    fn clean(&self, service: ServiceId) -> bool {
        let due = self.wanted.sets.get(&service);
        let has = self.known.sets.get(&service);
        if self.under_way(service) {
            return false;
        }
        match due {
            None => has.is_none(),
            Some(due) => !due.brings() && has.and_then(|has| has.digest) == Some(due.digest),
        }
    }

    /// Pairs to be recorded as held.
    pub(super) fn asking(&self) -> impl Iterator<Item = ServiceId> + '_ {
        self.asking.iter().copied()
    }

    /// `service` was asked for, and was recorded, or refused until `again`.
    pub(super) fn answered(&mut self, service: ServiceId, again: Option<BootTime>) {
        self.asking.remove(&service);
        if let Some(again) = again {
            self.refused.insert(service, again);
        }
    }

    /// What this node has confirmed of `exposed` and the state does not know yet.
    pub(super) fn confirmations(
        &self,
        node: NodeId,
        exposed: &BTreeMap<ServiceId, Exposure>,
    ) -> Vec<Confirmation> {
        let looked = self.wanted.revision;
        let mut confirmations = Vec::new();
        for (service, exposure) in exposed {
            let gone = self.clean(*service);
            let revision = if gone {
                Some(looked).filter(|at| exposure.since <= *at)
            } else {
                let gone = [&self.in_place, &self.taken].into_iter();
                let newest = gone.filter_map(|at| at.get(service)).max().copied();
                newest.filter(|_| exposure.behind.is_some())
            };
            let Some(revision) = revision else { continue };
            if exposure.behind.is_none_or(|behind| behind <= revision) {
                confirmations.push(Confirmation { node, service: *service, revision, gone });
            }
        }
        confirmations
    }

    /// Whether the files of these secrets are as they are due at `revision`, in a set that is
    /// not whole and has others that are not. Of no secrets: no.
    pub(super) fn has_files(
        &self,
        service: ServiceId,
        revision: Revision,
        secrets: &BTreeSet<SecretId>,
    ) -> bool {
        let (Some(due), Some(failure), Some(has)) = (
            self.wanted.sets.get(&service),
            self.failures.get(&service),
            self.known.sets.get(&service),
        ) else {
            return false;
        };
        let mut files = due.set.files.iter().filter(|file| secrets.contains(&file.secret));
        // What failed as a whole names no file: then nothing is known of these.
        !secrets.is_empty()
            && self.wanted.revision >= revision
            && !failure.files.is_empty()
            && files.all(|file| {
                has.versions.contains(&file.version.id)
                    && !failure.files.contains_key(file.target.as_str())
            })
    }

    /// How a service stands on this node against what was due at `revision`.
    pub(super) fn standing(&self, service: ServiceId, revision: Revision) -> Standing {
        let in_place = self.in_place.get(&service).is_some_and(|at| *at >= revision);
        if in_place && self.hooks.get(&service) == Some(&HookStand::Running) {
            return Standing::Hook;
        }
        if in_place || (self.wanted.revision >= revision && self.clean(service)) {
            return Standing::InPlace;
        }
        match self.failures.get(&service) {
            Some(failure) if !self.under_way(service) => {
                Standing::Failed { why: failure.why.clone(), last: failure.last }
            }
            _ => Standing::Waiting,
        }
    }
}
