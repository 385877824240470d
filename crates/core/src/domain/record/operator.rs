//! Operators, and the constraints that they and placements have.

use crate::audit::Digest;
use crate::domain::spec::{Attribute, Constraint};
use crate::domain::state::{Operator, OperatorRole, Renewal};

pub(super) fn operator(hash: &mut Digest, of: &Operator) {
    hash.bytes(of.name.as_str().as_bytes());
    hash.number(match of.role {
        OperatorRole::Admin => 1,
        OperatorRole::Editor => 2,
        OperatorRole::Viewer => 3,
        OperatorRole::Auditor => 4,
    });
    hash.bytes(&of.key);
    hash.number(of.created.0);
    hash.number(of.certificate_ends.0);
    renewal(hash, &of.renewal);
    hash.number(of.suspended.into());
    hash.count(of.scope.parts().count());
    for part in of.scope.parts() {
        hash.bytes(part.as_bytes());
    }
    constraints(hash, &of.constraints);
    hash.option(of.ends.map(|ends| ends.0));
    hash.number(of.recovered.into());
}

pub(super) fn constraints(hash: &mut Digest, of: &[Constraint]) {
    hash.count(of.len());
    for constraint in of {
        match &constraint.attribute {
            Attribute::Id => hash.number(1),
            Attribute::Name => hash.number(2),
            Attribute::Label(key) => {
                hash.number(3);
                hash.bytes(key.as_bytes());
            }
        }
        hash.number(constraint.equal.into());
        hash.bytes(constraint.value.as_bytes());
    }
}

pub(super) fn renewal(hash: &mut Digest, of: &Renewal) {
    hash.bytes(of.next_key.as_ref().map_or(&[][..], |key| key));
    hash.number(of.issuer.0);
    hash.option(of.readmitted_until.map(|until| until.0));
}
