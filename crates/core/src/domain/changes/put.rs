//! What workloads write.

use super::secret;
use crate::base::{SecretId, ServiceId, limits};
use crate::domain::changed::ChangedList;
use crate::domain::command::Outcome;
use crate::domain::draft::Draft;
use crate::domain::is_due;
use crate::domain::named::Thing;
use crate::domain::put::{Put, PutValue, WrittenBy};
use crate::domain::refusal::Refusal;
use crate::domain::state::State;
use crate::domain::weight;

/// Each value becomes its secret's current version, as an operator's update would make it, or
/// none does. What the service may not know of is answered as if it were not there.
pub(in crate::domain) fn put(draft: &mut Draft<'_>, put: &Put) -> Result<Outcome, Refusal> {
    let bytes = put.values.iter().map(|one| weight::new_version(&one.version));
    let sound = (1..=limits::CHANGES).contains(&put.values.len())
        && bytes.fold(0, u64::saturating_add) <= weight::long(limits::CHANGE_BYTES);
    if !sound {
        return Err(Refusal::BadAct);
    }
    let pair = (put.node, put.service);
    let state = draft.state();
    if !(is_due(state, pair.0, pair.1) && state.exposed.contains_key(&pair)) {
        return Err(Refusal::not_found(Thing::Service, put.service));
    }
    let writer = WrittenBy { node: put.node, service: put.service };
    let each = put.values.iter().map(|PutValue { secret, expect, version }| {
        may_write(draft.state(), put.service, *secret)?;
        secret::update(draft, *secret, Some(*expect), version, Some(writer))
    });
    each.collect::<Result<ChangedList, Refusal>>().map(Outcome::Changed)
}

fn may_write(state: &State, id: ServiceId, secret: SecretId) -> Result<(), Refusal> {
    let service = super::service::find(state, id)?;
    let mut grants = service.grants.values().filter(|grant| grant.secret == secret).peekable();
    if grants.peek().is_none() {
        return Err(Refusal::not_found(Thing::Secret, secret));
    }
    if grants.any(|grant| grant.write) {
        return Ok(());
    }
    let found = secret::find(state, secret)?;
    Err(Refusal::NotWritable { service: service.name.clone(), secret: found.name.clone() })
}
