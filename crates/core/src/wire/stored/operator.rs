//! Operators.

use super::parts::{
    constraint, fixed, renewal, text, there, unknown, write_constraint, write_renewal,
};
use super::{Bad, Read, shape};
use crate::base::Stamp;
use crate::domain::{Operator, OperatorRole, Scope};

pub(super) fn operator(of: Option<shape::Operator>) -> Read<Operator> {
    let of = there("operator", of)?;
    let constraints = of.constraints.into_iter().map(constraint);
    Ok(Operator {
        name: text("operator", &of.name)?,
        role: match of.role {
            1 => OperatorRole::Admin,
            2 => OperatorRole::Editor,
            3 => OperatorRole::Viewer,
            4 => OperatorRole::Auditor,
            other => return unknown("operator role", other),
        },
        key: fixed("operator key", &of.key)?,
        created: Stamp(of.created),
        certificate_ends: Stamp(of.certificate_ends),
        renewal: renewal(of.renewal)?,
        suspended: of.suspended,
        scope: Scope::new(&of.scope).map_err(|bad| Bad::new("scope", bad))?,
        constraints: constraints.collect::<Read<_>>()?,
        ends: of.ends.map(Stamp),
        recovered: of.recovered,
    })
}

pub(super) fn write_operator(of: &Operator) -> shape::Operator {
    shape::Operator {
        name: of.name.to_string(),
        role: match of.role {
            OperatorRole::Admin => 1,
            OperatorRole::Editor => 2,
            OperatorRole::Viewer => 3,
            OperatorRole::Auditor => 4,
        },
        key: of.key.to_vec(),
        created: of.created.0,
        certificate_ends: of.certificate_ends.0,
        renewal: Some(write_renewal(&of.renewal)),
        suspended: of.suspended,
        scope: of.scope.parts().map(str::to_owned).collect(),
        constraints: of.constraints.iter().map(write_constraint).collect(),
        ends: of.ends.map(|ends| ends.0),
        recovered: of.recovered,
    }
}
