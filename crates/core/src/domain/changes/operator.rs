//! Operators: they come with a certificate for a key of their own, and go at once.

use super::names::is_free;
use crate::base::{OperatorId, limits};
use crate::domain::changed::Changed;
use crate::domain::draft::Draft;
use crate::domain::named::{Counted, Thing};
use crate::domain::refusal::Refusal;
use crate::domain::state::{Operator, OperatorRole, State};

pub(super) fn create(
    draft: &mut Draft<'_>,
    id: OperatorId,
    operator: &Operator,
) -> Result<Changed, Refusal> {
    make_room(draft, operator);
    let (state, now) = (draft.state(), draft.now());
    let there = state.indexes.operators.get(&operator.name.key());
    let there = there.and_then(|id| state.operators.get(id));
    is_free(Thing::Operator, &operator.name, there.map(|there| &there.name))?;
    if state.operators.contains_key(&id) {
        return Err(Refusal::id_taken());
    }
    if state.operators.len() >= limits::OPERATORS {
        return Err(Refusal::limit(Counted::Operators, limits::OPERATORS));
    }
    let invalid = |text: &str| Err(Refusal::Invalid(text.to_owned()));
    if operator.has_ended(now) {
        return invalid("an operator is there for some time");
    }
    if state.operators.values().any(|other| shows(other, &operator.key)) {
        return invalid("another operator has that key: make another one");
    }
    if operator.constraints.len() > limits::CONSTRAINTS {
        return Err(Refusal::limit(Counted::OperatorConstraints, limits::CONSTRAINTS));
    }
    for constraint in &operator.constraints {
        constraint.check().map_err(|bad| Refusal::Invalid(bad.to_string()))?;
    }
    if !operator.constraints.is_empty() && !operator.scope.is_bounded() {
        return invalid("an operator is bound to nodes only beside a scope of names");
    }
    let fresh = operator.renewal.next_key.is_none() && operator.renewal.readmitted_until.is_none();
    if !fresh || operator.suspended {
        return invalid("a new operator has one key, and may act");
    }
    draft.put_operator(id, Some(operator.clone()));
    Ok(Changed::Done)
}

pub(super) fn remove(draft: &mut Draft<'_>, id: OperatorId) -> Result<Changed, Refusal> {
    let state = draft.state();
    let Some(found) = state.operators.get(&id) else {
        return Err(Refusal::not_found(Thing::Operator, id));
    };
    if is_lasting_admin(found) && !has_other_admin(state, id) {
        return Err(Refusal::LastAdmin { operator: found.name.clone() });
    }
    let now = draft.now();
    let ended =
        found.is_recovered(now).then(|| Operator { ends: Some(now), ..Operator::clone(found) });
    draft.put_operator(id, ended);
    Ok(Changed::Done)
}

/// Those whose time is over go where they are in the way of another one, and only then: whom a
/// wrong clock ended is good again once the cluster's time is set back.
fn make_room(draft: &mut Draft<'_>, new: &Operator) {
    let (state, now) = (draft.state(), draft.now());
    let is_full = state.operators.len() >= limits::OPERATORS;
    let over = |of: &Operator| of.has_ended(now) && !of.is_recovered(now);
    let ended = state.operators.iter().filter(|(_, of)| over(of));
    let in_the_way = ended.filter(|(_, of)| is_full || of.name.key() == new.name.key());
    for id in in_the_way.map(|(id, _)| *id).collect::<Vec<_>>() {
        draft.put_operator(id, None);
    }
}

/// Whether it may do everything, for as long as it is there.
pub(super) fn is_lasting_admin(of: &Operator) -> bool {
    of.role == OperatorRole::Admin && !of.scope.is_bounded() && of.ends.is_none()
}

fn has_other_admin(state: &State, than: OperatorId) -> bool {
    state.operators.iter().any(|(id, of)| *id != than && is_lasting_admin(of))
}

fn shows(of: &Operator, key: &[u8; 32]) -> bool {
    of.key == *key || of.renewal.next_key.as_ref() == Some(key)
}
