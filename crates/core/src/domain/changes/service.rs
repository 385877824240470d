//! Services and what operators write about them.

use std::collections::BTreeMap;

use super::names::{are_known, is_free};
use crate::base::{Name, Revision, ServiceId, limits};
use crate::domain::changed::Changed;
use crate::domain::command::Fact;
use crate::domain::draft::Draft;
use crate::domain::named::{Counted, Thing};
use crate::domain::refusal::Refusal;
use crate::domain::spec::{OfflinePolicy, ServiceSpec};
use crate::domain::state::{Service, State};

pub(super) fn create(
    draft: &mut Draft<'_>,
    id: ServiceId,
    name: &Name,
    spec: &ServiceSpec,
) -> Result<Changed, Refusal> {
    let state = draft.state();
    let there = state.indexes.services.get(&name.key()).and_then(|id| state.services.get(id));
    is_free(Thing::Service, name, there.map(|there| &there.name))?;
    // An exposed pair outlives its service: an id in one is not free either.
    if state.services.contains_key(&id) || state.indexes.exposed_of.contains_key(&id) {
        return Err(Refusal::id_taken());
    }
    if state.services.len() >= limits::SERVICES {
        return Err(Refusal::limit(Counted::Services, limits::SERVICES));
    }
    check(spec)?;
    has_room(state, 0, spec)?;
    are_known(state, None, &spec.placement)?;
    let now = draft.now();
    let service = Service {
        name: name.clone(),
        spec: spec.clone(),
        grants: BTreeMap::new(),
        created: now,
        updated: now,
        revision: draft.revision(),
    };
    draft.put_service(id, Some(service));
    Ok(Changed::Service(id))
}

pub(super) fn update(
    draft: &mut Draft<'_>,
    id: ServiceId,
    expect: Option<Revision>,
    spec: &ServiceSpec,
) -> Result<Changed, Refusal> {
    let state = draft.state();
    let found = find(state, id)?;
    if let Some(expected) = expect.filter(|expected| *expected != found.revision) {
        return Err(Refusal::Conflict {
            what: format!("service {}", found.name),
            expected: expected.0,
            found: found.revision.0,
        });
    }
    check(spec)?;
    has_room(state, found.spec.units.len(), spec)?;
    are_known(state, Some(&found.spec.placement), &spec.placement)?;
    if found.spec.mount != spec.mount {
        // Workloads that run see one file system: another one would never reach them.
        return Err(Refusal::Invalid(
            "how a service's secrets are mounted is fixed when it is created".to_owned(),
        ));
    }
    if found.spec == *spec {
        return Ok(Changed::Already);
    }
    let service = Service {
        spec: spec.clone(),
        updated: draft.now(),
        revision: draft.revision(),
        ..found.clone()
    };
    draft.put_service(id, Some(service));
    Ok(Changed::Service(id))
}

/// A revoke of all; whatever nodes have of it is pending from now on.
pub(super) fn remove(draft: &mut Draft<'_>, id: ServiceId) -> Result<Changed, Refusal> {
    let found = find(draft.state(), id)?;
    let secrets: Vec<_> = found.grants.values().map(|grant| grant.secret).collect();
    draft.put_service(id, None);
    super::secret::released(draft, secrets.iter().copied());
    for secret in &secrets {
        draft.fact(Fact::GrantRevoked(id, *secret));
    }
    draft.take(id, secrets);
    Ok(Changed::Service(id))
}

/// Whether all services together may name these units, where this one named `before`.
fn has_room(state: &State, before: usize, spec: &ServiceSpec) -> Result<(), Refusal> {
    let others = state.indexes.units.saturating_sub(before);
    if spec.units.len() > before && others.saturating_add(spec.units.len()) > limits::UNITS {
        return Err(Refusal::limit(Counted::Units, limits::UNITS));
    }
    Ok(())
}

fn check(spec: &ServiceSpec) -> Result<(), Refusal> {
    let placement = &spec.placement;
    if placement.nodes.len() > limits::PLACEMENT_NODES {
        return Err(Refusal::limit(Counted::PlacementNodes, limits::PLACEMENT_NODES));
    }
    if placement.constraints.len() > limits::CONSTRAINTS {
        return Err(Refusal::limit(Counted::Constraints, limits::CONSTRAINTS));
    }
    if placement.everywhere && !placement.nodes.is_empty() {
        return Err(Refusal::Invalid(
            "a service is placed everywhere or on named nodes, not both".to_owned(),
        ));
    }
    for constraint in &placement.constraints {
        constraint.check().map_err(|bad| Refusal::Invalid(bad.to_string()))?;
    }
    if spec.units.len() > limits::UNITS_OF_ONE {
        return Err(Refusal::limit(Counted::UnitsOfOne, limits::UNITS_OF_ONE));
    }
    if !spec.owner.can_own() {
        return Err(Refusal::no_one());
    }
    match spec.offline {
        OfflinePolicy::MaxAge(seconds) if !(1..=limits::OFFLINE_S).contains(&seconds) => {
            Err(Refusal::Invalid("a maximum age offline is 1 second to 10 years".to_owned()))
        }
        OfflinePolicy::MaxAge(_) | OfflinePolicy::Keep => Ok(()),
    }
}

pub(super) fn find(state: &State, id: ServiceId) -> Result<&Service, Refusal> {
    let found = state.services.get(&id).map(|service| &**service);
    found.ok_or_else(|| Refusal::not_found(Thing::Service, id))
}
