//! The next push: from what is due and what the agent is known to have. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::known::{Known, Placed};
use super::wanted::{Due, Wanted};
use skep_core::base::{Revision, SecretId, ServiceId};
use skep_core::domain::Version;

/// Bytes of values in one push, unless its one service alone brings more: the
/// agent keeps them until the push is whole.
const PUSH_VALUE_BYTES: u64 = 8 * 1024 * 1024;
/// Bytes of sets in one push: with the longest list of placed services (10,000
/// of about 110 bytes) and one set past the limit it stays below 2 MiB.
const PUSH_SET_BYTES: usize = 512 * 1024;
/// Bytes of a set or file beside its name or target, encoded, rounded up.
const FIXED_BYTES: usize = 96;

/// Whether a changed set, or the word that nothing may stay, may travel now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gate {
    /// It may.
    Open,
    /// Only when the cluster has recorded that this node holds the service.
    Unexposed,
    /// Not yet, or not at all: it failed there.
    Failed,
}

/// One push to be made.
#[derive(Clone, Debug, Default)]
pub(super) struct Delta {
    /// What was due then.
    pub revision: Revision,
    /// The whole list, where it changed.
    pub placed: Option<Arc<Placed>>,
    /// New or changed sets, those that take something away first.
    pub sets: Vec<Arc<Due>>,
    /// Services of which nothing may stay.
    pub gone: Vec<ServiceId>,
    /// Versions whose values must travel with it, each once.
    pub values: Vec<(SecretId, Arc<Version>)>,
}

impl Delta {
    fn is_empty(&self) -> bool {
        self.placed.is_none() && self.sets.is_empty() && self.gone.is_empty()
    }
}

/// What follows from a look.
#[derive(Clone, Debug, Default)]
pub(super) struct Step {
    /// What may travel now.
    pub delta: Option<Delta>,
    /// Services that must be recorded as held by this node first.
    pub expose: BTreeSet<ServiceId>,
}

/// The next push towards `wanted`, and what has to be recorded before more may
/// follow. What does not fit into one push is left for the next: the caller
/// steps again when this one is acknowledged.
pub(super) fn step(
    wanted: &Wanted,
    known: &Known,
    gate: impl Fn(ServiceId, Option<&Due>) -> Gate,
) -> Step {
    let mut step = Step::default();
    let mut ready = Vec::new();
    for (service, due) in &wanted.sets {
        let has = known.sets.get(service);
        if has.is_some_and(|has| has.digest == Some(due.digest)) {
            continue;
        }
        match gate(*service, Some(due)) {
            Gate::Open => {
                let takes = has.is_some_and(|has| !has.versions.is_subset(&due.versions));
                ready.push((!takes, due));
            }
            Gate::Unexposed => {
                step.expose.insert(*service);
            }
            Gate::Failed => {}
        }
    }
    ready.sort_by_key(|(later, _)| *later);

    let mut delta = Delta { revision: wanted.revision, ..Delta::default() };
    if known.placed.as_ref() != Some(&wanted.placed) {
        delta.placed = Some(Arc::clone(&wanted.placed));
    }
    let gone = known.sets.keys().copied().filter(|service| !wanted.sets.contains_key(service));
    delta.gone = gone.filter(|service| gate(*service, None) != Gate::Failed).collect();
    let (mut set_bytes, mut value_bytes) = (0_usize, 0_u64);
    for (_, due) in ready {
        let bytes = set_size(due);
        let values = due.set.files.iter().map(|file| u64::from(file.version.size)).sum::<u64>();
        let full = set_bytes.saturating_add(bytes) > PUSH_SET_BYTES
            || value_bytes.saturating_add(values) > PUSH_VALUE_BYTES;
        if full && !delta.sets.is_empty() {
            break;
        }
        set_bytes = set_bytes.saturating_add(bytes);
        value_bytes = value_bytes.saturating_add(values);
        delta.sets.push(Arc::clone(due));
    }
    delta.values = values(known, &delta);
    if !delta.is_empty() {
        step.delta = Some(delta);
    }
    step
}

/// The versions that a push's sets use and the agent does not keep through it. It
/// keeps one where a service has it before and after.
fn values(known: &Known, delta: &Delta) -> Vec<(SecretId, Arc<Version>)> {
    if delta.sets.is_empty() {
        return Vec::new();
    }
    let gone: BTreeSet<_> = delta.gone.iter().collect();
    let changed: BTreeMap<_, _> = delta.sets.iter().map(|due| (due.set.service, due)).collect();
    let mut kept = BTreeSet::new();
    for (service, has) in &known.sets {
        match changed.get(service) {
            Some(due) => kept.extend(has.versions.intersection(&due.versions)),
            None if gone.contains(service) => {}
            None => kept.extend(&has.versions),
        }
    }
    let mut values = Vec::new();
    for file in delta.sets.iter().flat_map(|due| &due.set.files) {
        if kept.insert(file.version.id) {
            values.push((file.secret, Arc::clone(&file.version)));
        }
    }
    values
}

/// Bytes of a set when encoded, at most.
fn set_size(due: &Due) -> usize {
    let files = due.set.files.iter();
    files.fold(FIXED_BYTES + due.set.name.as_str().len(), |bytes, file| {
        bytes.saturating_add(FIXED_BYTES).saturating_add(file.target.as_str().len())
    })
}
