//! To what a change may be made by whoever asks: within which names and on which nodes.
//!
//! It is asked when a call comes, so that nothing is done in vain, and again when the command is
//! applied: then it holds on every replica, whatever was true before. Of what lies outside of an
//! operator's scope it hears nothing that it would not hear of what doesn't exist.

use super::changes::are_within;
use super::command::{Act, Actor, Change};
use super::named::{Stays, Thing};
use super::policy::{Method, Policy, Who};
use super::refusal::Refusal;
use super::scope::Scope;
use super::spec::{GrantAsked, Placement, ServiceSpec};
use super::state::{Member, Operator, Service, State};
use crate::base::{Name, SecretId, ServiceId, Target};

/// What the table of permissions calls a change.
#[must_use]
pub fn concerns<K>(change: &Change<K>) -> Method {
    match change {
        Change::CreateSecret { .. }
        | Change::UpdateSecret { .. }
        | Change::RollBackSecret { .. }
        | Change::LabelSecret { .. }
        | Change::RemoveSecret { .. }
        | Change::RemoveVersion { .. } => Method::WriteSecrets,
        Change::CreateService { .. }
        | Change::UpdateService { .. }
        | Change::RemoveService { .. }
        | Change::Grant { .. }
        | Change::Revoke { .. } => Method::WriteServices,
        Change::CreateToken { .. } | Change::RemoveToken { .. } => Method::WriteTokens,
        Change::UpdateNode { .. }
        | Change::RemoveNode { .. }
        | Change::RemoveManager { .. }
        | Change::Readmit { member: Member::Node(_) } => Method::WriteNodes,
        Change::CreateOperator { .. }
        | Change::RemoveOperator { .. }
        | Change::Readmit { member: Member::Operator(_) } => Method::WriteOperators,
    }
}

/// The operator that asks, where it is one; an error where it may do nothing now.
fn standing<'a>(state: &'a State, actor: &Actor) -> Result<Option<&'a Operator>, Refusal> {
    let Actor::Operator(id) = actor else { return Ok(None) };
    let refused = |text: &str| Err(Refusal::NotAllowed(text.to_owned()));
    match state.operators.get(id).map(|operator| &**operator) {
        None => refused("this identity is not (or no longer) one of the cluster's"),
        Some(of) if of.suspended => {
            refused("the cluster was recovered: operators may do nothing until it is resumed")
        }
        Some(of) if of.has_ended(state.stamp) => refused("this identity's time is over"),
        Some(of) => Ok(Some(of)),
    }
}

fn allowed(of: &Operator, method: Method) -> Result<(), Refusal> {
    let who = Who::of(of);
    if Policy::allow(who, method) {
        return Ok(());
    }
    Err(Refusal::NotAllowed(format!("{} may not {}", who.text(), method.text())))
}

/// Whether whoever asks may do this, as far as it is not for each change to say. Who else than an
/// operator asks was told from others where the call came in.
pub(super) fn may_act(state: &State, actor: &Actor, act: &Act) -> Result<(), Refusal> {
    let Some(of) = standing(state, actor)? else { return Ok(()) };
    let method = match act {
        Act::Change(_) => return Ok(()),
        Act::Renew { member: Member::Operator(id), .. } if *actor == Actor::Operator(*id) => {
            Method::Renew
        }
        Act::ResetTime => Method::ResetTime,
        Act::RotateIssuer { .. } => Method::RotateIssuer,
        Act::Resume => Method::Resume,
        // A manager moves itself, too.
        Act::Move { .. } => Method::WriteNodes,
        // What operators never ask for is what managers do.
        Act::Genesis(_)
        | Act::Join(_)
        | Act::Expose(_)
        | Act::Confirm(_)
        | Act::Opened(_)
        | Act::Renew { .. }
        | Act::Renewed { .. }
        | Act::RetireIssuers { .. }
        | Act::Recover(_)
        | Act::Put(_)
        | Act::Anchor { .. } => Method::Raft,
    };
    allowed(of, method)
}

/// Whether whoever asks may make this change to the state as it is.
///
/// # Errors
/// What it is told. A thing outside of its scope is one that is not found.
pub fn may_change<K>(state: &State, actor: &Actor, change: &Change<K>) -> Result<(), Refusal> {
    let Some(of) = standing(state, actor)? else { return Ok(()) };
    allowed(of, concerns(change))?;
    if !of.scope.is_bounded() {
        return Ok(());
    }
    match change {
        Change::CreateSecret { name, .. } => new(of, Thing::Secret, name),
        Change::UpdateSecret { id, .. }
        | Change::RollBackSecret { id, .. }
        | Change::LabelSecret { id, .. }
        | Change::RemoveSecret { id }
        | Change::RemoveVersion { id, .. } => secret(state, of, *id),
        Change::CreateService { name, spec, .. } => {
            new(of, Thing::Service, name)?;
            places(state, of, None, &spec.placement)
        }
        Change::UpdateService { id, spec, .. } => {
            let found = service(state, of, *id)?;
            if holds_outside(state, found, &of.scope) && !is_same_set(&found.spec, spec) {
                return Err(Refusal::HoldsOutside { service: found.name.clone() });
            }
            places(state, of, Some(&found.spec.placement), &spec.placement)
        }
        Change::RemoveService { id } => service(state, of, *id).map(drop),
        Change::Grant { service: id, grant } => {
            let found = service(state, of, *id)?;
            secret(state, of, grant.secret)?;
            takes(state, of, found, grant)
        }
        Change::Revoke { service: id, secret: what, .. } => {
            service(state, of, *id)?;
            secret(state, of, *what)
        }
        // The table keeps these from everybody with a scope.
        Change::CreateToken { .. }
        | Change::RemoveToken { .. }
        | Change::UpdateNode { .. }
        | Change::RemoveNode { .. }
        | Change::RemoveManager { .. }
        | Change::Readmit { .. }
        | Change::CreateOperator { .. }
        | Change::RemoveOperator { .. } => {
            Err(Refusal::NotAllowed(format!("{} may not do that", Who::of(of).text())))
        }
    }
}

fn new(of: &Operator, thing: Thing, name: &Name) -> Result<(), Refusal> {
    if of.scope.holds(name) {
        return Ok(());
    }
    Err(Refusal::OutOfScope { thing, name: name.clone() })
}

fn secret(state: &State, of: &Operator, id: SecretId) -> Result<(), Refusal> {
    let found = state.secrets.get(&id).filter(|secret| of.scope.holds(&secret.name));
    found.map(drop).ok_or_else(|| Refusal::not_found(Thing::Secret, id))
}

fn service<'a>(state: &'a State, of: &Operator, id: ServiceId) -> Result<&'a Service, Refusal> {
    let found = state.services.get(&id).filter(|service| of.scope.holds(&service.name));
    found.map(|found| &**found).ok_or_else(|| Refusal::not_found(Thing::Service, id))
}

/// Whether a grant of a service is of a secret outside of this scope.
fn is_outside(state: &State, scope: &Scope, secret: SecretId) -> bool {
    state.secrets.get(&secret).is_none_or(|secret| !scope.holds(&secret.name))
}

/// Whether a service has a secret from outside of this scope.
fn holds_outside(state: &State, of: &Service, scope: &Scope) -> bool {
    of.grants.values().any(|grant| is_outside(state, scope, grant.secret))
}

/// Whether two specs differ at most in what has no say in who gets the secrets, and where.
fn is_same_set(old: &ServiceSpec, new: &ServiceSpec) -> bool {
    let ServiceSpec { fresh, labels, .. } = old.clone();
    *old == ServiceSpec { fresh, labels, ..new.clone() }
}

/// A target is taken from no secret that lies outside.
fn takes(state: &State, of: &Operator, from: &Service, asked: &GrantAsked) -> Result<(), Refusal> {
    match from.grants.get(&asked.target) {
        Some(there) if is_outside(state, &of.scope, there.secret) => {
            Err(taken(&from.name, &asked.target))
        }
        Some(_) | None => Ok(()),
    }
}

fn taken(service: &Name, target: &Target) -> Refusal {
    Refusal::TargetTakenOutside { service: service.clone(), target: target.clone() }
}

/// A scoped operator places services only where its own constraints hold, which the placement
/// says too; it names no node of which it knows nothing.
fn places(
    state: &State,
    of: &Operator,
    old: Option<&Placement>,
    new: &Placement,
) -> Result<(), Refusal> {
    let is_nowhere = !new.everywhere && new.nodes.is_empty() && new.constraints.is_empty();
    if is_nowhere || old == Some(new) {
        return Ok(());
    }
    if of.constraints.is_empty() {
        return Err(Refusal::NotAllowed(
            "this identity places no services: it was made without --constraint".to_owned(),
        ));
    }
    if let Some(missing) = of.constraints.iter().find(|one| !new.constraints.contains(one)) {
        return Err(Refusal::NotAllowed(format!(
            "this identity places services only where {missing} holds"
        )));
    }
    are_within(state, old, new, &of.constraints)
}

/// What whoever asked is told of a refusal: what lies outside of its scope is counted, and not
/// named.
pub(super) fn told(state: &State, actor: &Actor, refusal: Refusal) -> Refusal {
    let Actor::Operator(id) = actor else { return refusal };
    let Some(scope) = state.operators.get(id).map(|of| &of.scope).filter(|of| of.is_bounded())
    else {
        return refusal;
    };
    match refusal {
        Refusal::InUse { secret, services } => {
            let services = services.only(|name| scope.holds(name));
            Refusal::InUse { secret, services }
        }
        Refusal::VersionInUse { secret, number, why: Stays::PinnedBy(service) }
            if !scope.holds(&service) =>
        {
            Refusal::VersionInUse { secret, number, why: Stays::PinnedOutside }
        }
        Refusal::TargetTaken { service, target, secret } if !scope.holds(&secret) => {
            taken(&service, &target)
        }
        other => other,
    }
}
