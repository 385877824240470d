//! Operators.

use super::BadMessage;
use super::parts::{read_constraint, write_constraint};
use crate::base::{OperatorId, limits};
use crate::domain::{Constraint, OperatorRole, Scope, State};
use crate::wire::api;

/// A role.
///
/// # Errors
/// [`BadMessage`] unless it is one that this version knows.
pub fn read_operator_role(sent: api::OperatorRole) -> Result<OperatorRole, BadMessage> {
    match sent {
        api::OperatorRole::Admin => Ok(OperatorRole::Admin),
        api::OperatorRole::Editor => Ok(OperatorRole::Editor),
        api::OperatorRole::Viewer => Ok(OperatorRole::Viewer),
        api::OperatorRole::Auditor => Ok(OperatorRole::Auditor),
        api::OperatorRole::Unspecified => {
            Err(BadMessage::new("role", "none of admin, editor, viewer and auditor"))
        }
    }
}

/// A role as it is sent.
#[must_use]
pub fn write_operator_role(role: OperatorRole) -> api::OperatorRole {
    match role {
        OperatorRole::Admin => api::OperatorRole::Admin,
        OperatorRole::Editor => api::OperatorRole::Editor,
        OperatorRole::Viewer => api::OperatorRole::Viewer,
        OperatorRole::Auditor => api::OperatorRole::Auditor,
    }
}

/// Within which names an operator stays, and on which nodes it places services.
///
/// # Errors
/// [`BadMessage`] for a part that is none, or too many.
pub fn read_bounds(
    scope: &[String],
    constraints: &[api::Constraint],
) -> Result<(Scope, Vec<Constraint>), BadMessage> {
    if scope.len() > limits::SCOPES {
        return Err(BadMessage::new("scope", "more than an operator may have"));
    }
    if constraints.len() > limits::CONSTRAINTS {
        return Err(BadMessage::new("constraints", "more than an operator may have"));
    }
    let scope = Scope::new(scope).map_err(|bad| BadMessage::new("scope", bad.to_string()))?;
    let constraints = constraints.iter().map(read_constraint).collect::<Result<_, _>>()?;
    Ok((scope, constraints))
}

/// An operator, never its key; `None` for one that does not exist.
#[must_use]
pub fn operator_view(state: &State, id: OperatorId) -> Option<api::OperatorView> {
    let of = state.operators.get(&id)?;
    Some(api::OperatorView {
        id: id.as_bytes().to_vec(),
        name: of.name.to_string(),
        role: write_operator_role(of.role).into(),
        scope: of.scope.parts().map(str::to_owned).collect(),
        constraints: of.constraints.iter().map(write_constraint).collect(),
        created: of.created.0,
        certificate_ends: of.certificate_ends.0,
        ends: of.ends.map_or(0, |ends| ends.0),
        suspended: of.suspended,
        recovered: of.recovered,
    })
}
