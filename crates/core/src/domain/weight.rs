//! What a thing counts against `limits::STATE_BYTES`: its bytes, and a flat
//! amount for what it takes to keep it. The same on every replica, so it counts
//! contents and never what an allocator does.

use super::command::{Change, NewVersion, Outcome};
use super::named::{Stays, Unfit};
use super::opened::Opened;
use super::refusal::{Few, Refusal};
use super::spec::{Attribute, Constraint, ServiceSpec};
use super::state::{
    Answer, Cluster, Node, Operator, Recovered, Secret, Service, State, Token, Version,
};
use crate::base::{Labels, Name, Target, WrappedKey};

/// Flat bytes of one thing with a name, a version, a grant, a token.
const THING: u64 = 128;
/// Flat bytes of one pair.
pub(super) const PAIR: u64 = 64;
/// Flat bytes of one label, constraint or node of a placement: its own allocations, and where
/// it stands in the indexes.
const PART: u64 = 64;
/// Flat bytes of one remembered answer, where it stands in the indexes included.
const ANSWER: u64 = 256;
/// Flat bytes of what neighbouring changes came to, and of a name in a refusal.
const RUN: u64 = 32;

/// The whole state, counted anew: what `State::bytes` must be.
pub(super) fn state(state: &State) -> u64 {
    state.cluster.as_deref().map_or(0, cluster)
        + state.nodes.values().map(|of| node(of)).sum::<u64>()
        + state.operators.values().map(|of| operator(of)).sum::<u64>()
        + state.tokens.values().map(|of| token(of)).sum::<u64>()
        + state.secrets.values().map(|of| secret(of)).sum::<u64>()
        + state.services.values().map(|of| service(of)).sum::<u64>()
        + PAIR * long(state.exposed.len())
        + PAIR * long(state.taken.len())
        + PAIR * long(state.reporters.len())
        + PAIR * long(state.lapsed.len())
        + state.opened.values().map(|list| opened(list)).sum::<u64>()
        + state.answers.values().map(answer).sum::<u64>()
}

/// Answers are kept for a minute, but there may be many.
pub(super) fn answer(of: &Answer) -> u64 {
    ANSWER
        + match &of.outcome {
            Ok(Outcome::Done) => 0,
            Ok(Outcome::Changed(list)) => RUN * long(list.runs().len()),
            Ok(Outcome::Joined(of)) => node(of),
            Err(refusal) => refused(refusal),
        }
}

fn refused(of: &Refusal) -> u64 {
    let few = |of: &Few| of.names().iter().map(|of| RUN + name(of)).sum::<u64>();
    match of {
        Refusal::AlreadyInitialised
        | Refusal::NotInitialised
        | Refusal::TooLate
        | Refusal::BadAct
        | Refusal::Limit { .. }
        | Refusal::Busy { .. }
        | Refusal::Retired { .. }
        | Refusal::Token {
            why: Unfit::NotKnown | Unfit::Ended | Unfit::UsedUp | Unfit::ForRole(_),
            ..
        } => 0,
        Refusal::Exists { name: of, .. }
        | Refusal::LastManager { node: of }
        | Refusal::ForwardOnly { secret: of }
        | Refusal::LastAdmin { operator: of }
        | Refusal::OutOfScope { name: of, .. }
        | Refusal::HoldsOutside { service: of }
        | Refusal::NameIsId { name: of }
        | Refusal::Reserved { name: of }
        | Refusal::Token { why: Unfit::NotForName(of), .. } => name(of),
        Refusal::NotGranted { service, secret, target } => {
            let target = target.as_ref().map_or(0, |target| target.as_str().len());
            name(service) + name(secret) + long(target)
        }
        Refusal::NotFound { what: text, .. }
        | Refusal::Conflict { what: text, .. }
        | Refusal::NotAllowed(text)
        | Refusal::Invalid(text) => long(text.len()),
        Refusal::TargetTakenOutside { service, target } => {
            name(service) + long(target.as_str().len())
        }
        Refusal::InUse { secret: of, services } | Refusal::Holds { node: of, services } => {
            name(of) + few(services)
        }
        Refusal::VersionInUse { secret, why: Stays::Current | Stays::PinnedOutside, .. } => {
            name(secret)
        }
        Refusal::VersionInUse { secret, why: Stays::PinnedBy(service), .. }
        | Refusal::NotWritable { service, secret } => name(secret) + name(service),
        Refusal::TargetTaken { service, target, secret } => {
            name(service) + name(secret) + long(target.as_str().len())
        }
    }
}

pub(super) fn opened(of: &[Opened]) -> u64 {
    of.iter().map(|one| THING + long(one.executable.len())).sum()
}

pub(super) fn cluster(of: &Cluster) -> u64 {
    let blobs = [&of.root, &of.sealed_root_key, &of.issuing].map(|blob| long(blob.len()));
    let recipients = of.recipients.values().map(|recipient| THING + long(recipient.label.len()));
    let boxes = of.cluster_key.boxes.values().map(|boxed| THING + long(boxed.len()));
    let previous = of.cluster_key.previous.values().map(|key| THING + long(key.bytes.len()));
    THING
        + name(&of.name)
        + blobs.iter().sum::<u64>()
        + long(of.issuing_key.bytes.len())
        + recipients.sum::<u64>()
        + boxes.sum::<u64>()
        + previous.sum::<u64>()
        + PAIR * long(of.removed_managers.len())
        + PAIR * long(of.anchors.len())
        + of.recovered.as_deref().map_or(0, recovered)
}

fn recovered(of: &Recovered) -> u64 {
    let managers = of.managers.iter().map(|of| PART + name(of));
    THING + managers.sum::<u64>() + PART * long(of.tokens.len())
}

pub(super) fn node(of: &Node) -> u64 {
    let addresses = of.addresses.iter().map(|address| long(address.len()));
    THING + name(&of.name) + labels(&of.labels) + addresses.sum::<u64>()
}

pub(super) fn operator(of: &Operator) -> u64 {
    let scope = of.scope.parts().map(|part| PART + long(part.len()));
    THING + name(&of.name) + scope.sum::<u64>() + constraints(&of.constraints)
}

pub(super) fn token(of: &Token) -> u64 {
    THING + labels(&of.labels) + of.name_pattern.as_ref().map_or(0, |text| long(text.len()))
}

pub(super) fn secret(of: &Secret) -> u64 {
    let versions = of.versions.values().map(|of| version(of));
    THING + name(&of.name) + labels(&of.labels) + versions.sum::<u64>()
}

fn version(of: &Version) -> u64 {
    let public = of.public.as_ref().map_or(0, |part| part.as_str().len());
    THING + long(of.value.0.len()) + long(of.data_key.bytes.len()) + long(public)
}

pub(super) fn service(of: &Service) -> u64 {
    THING + name(&of.name) + spec(&of.spec) + of.grants.keys().map(grant).sum::<u64>()
}

/// A grant under this target.
pub(super) fn grant(target: &Target) -> u64 {
    THING + long(target.as_str().len())
}

fn spec(of: &ServiceSpec) -> u64 {
    let nodes = of.placement.nodes.iter().map(|of| PART + name(of));
    let units = of.units.iter().map(|unit| PART + long(unit.as_str().len()));
    let hook = long(of.on_change.written().len());
    nodes.sum::<u64>()
        + constraints(&of.placement.constraints)
        + units.sum::<u64>()
        + hook
        + labels(&of.labels)
}

fn constraints(of: &[Constraint]) -> u64 {
    let weigh = |constraint: &Constraint| {
        let key = match &constraint.attribute {
            Attribute::Label(key) => long(key.len()),
            Attribute::Id | Attribute::Name => 0,
        };
        PART + key + long(constraint.value.len())
    };
    of.iter().map(weigh).sum()
}

/// What a change counts against `limits::CHANGE_BYTES`.
pub(super) fn change(of: &Change) -> u64 {
    match of {
        Change::CreateSecret { name: called, labels: of, version, .. } => {
            name(called) + labels(of) + new_version(version)
        }
        Change::UpdateSecret { version, .. } => new_version(version),
        Change::CreateService { name: called, spec: of, .. } => name(called) + spec(of),
        Change::UpdateService { spec: of, .. } => spec(of),
        Change::Grant { grant, .. } => long(grant.target.as_str().len()),
        Change::CreateToken { token: of, .. } => token(of),
        Change::CreateOperator { operator: of, .. } => operator(of),
        Change::UpdateNode { put, gone, .. } | Change::LabelSecret { put, gone, .. } => {
            let put = put.iter().map(|label| PART + long(label.key.len() + label.value.len()));
            put.sum::<u64>() + gone.iter().map(|key| PART + long(key.len())).sum::<u64>()
        }
        Change::RollBackSecret { .. }
        | Change::RemoveSecret { .. }
        | Change::RemoveVersion { .. }
        | Change::RemoveService { .. }
        | Change::Revoke { .. }
        | Change::RemoveToken { .. }
        | Change::RemoveNode { .. }
        | Change::RemoveOperator { .. }
        | Change::Readmit { .. } => 0,
        Change::RemoveManager { rekey, .. } => {
            let boxes = rekey.boxes.values().map(|boxed| long(boxed.len()));
            let wrapped = [&rekey.previous, &rekey.issuing_key].map(|key| long(key.bytes.len()));
            boxes.sum::<u64>() + wrapped.iter().sum::<u64>()
        }
    }
}

pub(super) fn new_version(of: &NewVersion<WrappedKey>) -> u64 {
    let public = of.public.as_ref().map_or(0, |part| part.as_str().len());
    long(of.value.0.len()) + long(of.data_key.bytes.len()) + long(public)
}

fn name(of: &Name) -> u64 {
    long(of.as_str().len())
}

fn labels(of: &Labels) -> u64 {
    of.iter().map(|(key, value)| PART + long(key.len() + value.len())).sum()
}

pub(super) fn long(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
