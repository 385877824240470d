//! Certificates of members, renewed.
//!
//! A member names its next key before it has a certificate for it: both keys are listed until it
//! was seen with the next one, so that a lost answer or a crash locks nobody out.

use crate::base::{Stamp, limits};
use crate::domain::changed::Changed;
use crate::domain::command::Outcome;
use crate::domain::draft::Draft;
use crate::domain::named::Thing;
use crate::domain::refusal::Refusal;
use crate::domain::state::{Member, Node, Operator, Renewal};

/// What a renewal is about: the key listed, the end, and the rest.
struct Certificate {
    key: [u8; 32],
    ends: Stamp,
    renewal: Renewal,
}

pub(in crate::domain) fn renew(
    draft: &mut Draft<'_>,
    member: Member,
    key: [u8; 32],
    ends: Stamp,
    issuer: Stamp,
) -> Result<Outcome, Refusal> {
    let Some(cluster) = draft.state().cluster.as_deref() else {
        return Err(Refusal::NotInitialised);
    };
    if cluster.issuers.current != issuer {
        return Err(Refusal::Invalid("the issuing CA has changed: ask again".to_owned()));
    }
    change(draft, member, |found| {
        let renewal = Renewal {
            next_key: if key == found.key { found.renewal.next_key } else { Some(key) },
            issuer,
            ..found.renewal
        };
        Ok(Certificate { ends, renewal, ..found })
    })?;
    Ok(Outcome::Done)
}

pub(in crate::domain) fn renewed(
    draft: &mut Draft<'_>,
    member: Member,
    key: [u8; 32],
) -> Result<Outcome, Refusal> {
    change(draft, member, |found| {
        if found.key == key {
            return Ok(found);
        }
        if found.renewal.next_key != Some(key) {
            return Err(Refusal::Invalid("nobody renews to that key".to_owned()));
        }
        let renewal = Renewal { next_key: None, readmitted_until: None, ..found.renewal };
        Ok(Certificate { key, renewal, ..found })
    })?;
    Ok(Outcome::Done)
}

pub(super) fn readmit(draft: &mut Draft<'_>, member: Member) -> Result<Changed, Refusal> {
    let until = draft.now().plus_ms(limits::READMITTED_MS);
    change(draft, member, |found| {
        let renewal = Renewal { readmitted_until: Some(until), ..found.renewal };
        Ok(Certificate { renewal, ..found })
    })?;
    Ok(Changed::Done)
}

/// Writes what `to` makes of a member's certificate, if that is something else.
fn change(
    draft: &mut Draft<'_>,
    member: Member,
    to: impl FnOnce(Certificate) -> Result<Certificate, Refusal>,
) -> Result<(), Refusal> {
    match member {
        Member::Node(id) => {
            let found = draft.state().nodes.get(&id);
            let found = found.ok_or_else(|| Refusal::not_found(Thing::Node, id))?;
            let Node { key, certificate_ends: ends, renewal, .. } = **found;
            let next = to(Certificate { key, ends, renewal })?;
            let mut node = Node::clone(found);
            (node.key, node.certificate_ends, node.renewal) = (next.key, next.ends, next.renewal);
            if node != **found {
                draft.put_node(id, Some(node));
            }
        }
        Member::Operator(id) => {
            let found = draft.state().operators.get(&id);
            let found = found.ok_or_else(|| Refusal::not_found(Thing::Operator, id))?;
            let Operator { key, certificate_ends: ends, renewal, .. } = **found;
            let next = to(Certificate { key, ends, renewal })?;
            let mut operator = Operator::clone(found);
            (operator.key, operator.certificate_ends, operator.renewal) =
                (next.key, next.ends, next.renewal);
            if operator != **found {
                draft.put_operator(id, Some(operator));
            }
        }
    }
    Ok(())
}
