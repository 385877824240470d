//! Renewal: a member that the state lists gets its next certificate.
//!
//! The key for which it asks is listed beside the one that it shows before a certificate for
//! it is signed, and the one that it shows is listed until the member was seen with the next:
//! whatever is lost on the way, one of the two is good. Of the request only the public key is
//! taken; who it is for stands in the state.

use crate::manager::LEAF_MS;
use crate::manager::members::sign::{Signing, checked_key};
use crate::manager::problem;
use crate::manager::renewing::Turn;
use crate::manager::running::Running;
use skep_client::ca::{CertificateRole, Subject, key_digest};
use skep_client::transport::{Peer, Problem};
use skep_core::base::{Name, RequestId, Stamp};
use skep_core::domain::{Act, Actor, Member, NodeRole, State};
use skep_core::wire::api;

/// The next certificate of the member whose turn it is, which showed one for the key `shown`.
///
/// # Errors
/// What it is told.
pub(in crate::manager) async fn renew(
    running: &Running,
    turn: &Turn,
    shown: [u8; 32],
    asked: &api::RenewRequest,
) -> Result<api::RenewReply, Problem> {
    let (core, member) = (&running.core, turn.member());
    let public = checked_key(&asked.public_key, &asked.proof)?;
    // Whoever shows the next key has the one before no more: only one may follow.
    core.seen(member, shown).await?;
    let signing = Signing::ready(core).await?;
    let subject = core.consensus.read(|state| subject(state, member));
    let (role, name) = subject.ok_or_else(problem::members::removed_meanwhile)?;
    let subject = Subject { cluster: core.cluster, role, name };
    let actor = match member {
        Member::Node(id) => Actor::Node(id),
        Member::Operator(id) => Actor::Operator(id),
    };
    let last = core.consensus.read(|state| last(state, member));
    let (key, ends) = (key_digest(&public), signing.ends_with(last));
    let act = Act::Renew { member, key, certificate_ends: ends, issuer: signing.begins() };
    let request = RequestId::draw(&mut *(core.dice)());
    running.propose(request, actor, act).await?;
    let chain = signing.chain(&public, &subject, ends)?;
    tracing::info!(event = "certificate_signed", ?member, same_key = key == shown, ends = ends.0);
    Ok(api::RenewReply {
        chain,
        ends: ends.0,
        addresses: running.manager_addresses(),
        oldest_issuer: signing.cluster.issuers.oldest.0,
    })
}

/// What the state says of a member's newest certificate: its key, and by when its issuing CA
/// begins and it ends which of two is newer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Certificate {
    key: [u8; 32],
    age: (Stamp, Stamp),
}

/// The certificate on record, once more, for a member that shows an older one for the same key:
/// a copy of an identity that is not written over, or one whose answer was lost. Nothing is
/// committed, so that it may be asked for as often as a connection may be made. `None`: there is
/// another one to be signed.
///
/// # Errors
/// What it is told.
pub(in crate::manager) async fn again(
    running: &Running,
    member: Member,
    shown: &Peer,
    asked: &api::RenewRequest,
) -> Result<Option<api::RenewReply>, Problem> {
    let core = &running.core;
    let shown = Certificate { key: shown.leaf().key, age: (shown.issuer(), shown.leaf().ends) };
    let listed = || core.consensus.read(|state| on_record(state, member));
    if !listed().is_some_and(|listed| is_older(shown, listed)) {
        return Ok(None);
    }
    let public = checked_key(&asked.public_key, &asked.proof)?;
    let signing = Signing::ready(core).await?;
    let subject = core.consensus.read(|state| subject(state, member));
    let (Some(listed), Some((role, name))) = (listed(), subject) else {
        return Err(problem::members::removed_meanwhile());
    };
    let (issuer, ends) = listed.age;
    // Past half of its life another one is worth being committed.
    let lasts = ends >= signing.now().plus_ms(LEAF_MS / 2);
    let same = key_digest(&public) == listed.key && is_older(shown, listed);
    if !same || issuer != signing.begins() || !lasts {
        return Ok(None);
    }
    let subject = Subject { cluster: core.cluster, role, name };
    let chain = signing.chain(&public, &subject, ends)?;
    tracing::debug!(event = "certificate_signed_again", ?member, ends = ends.0);
    Ok(Some(api::RenewReply {
        chain,
        ends: ends.0,
        addresses: running.manager_addresses(),
        oldest_issuer: signing.cluster.issuers.oldest.0,
    }))
}

fn on_record(state: &State, member: Member) -> Option<Certificate> {
    let (key, issuer, ends) = match member {
        Member::Node(id) => {
            state.nodes.get(&id).map(|node| (node.key, node.renewal.issuer, node.certificate_ends))
        }
        Member::Operator(id) => state
            .operators
            .get(&id)
            .map(|operator| (operator.key, operator.renewal.issuer, operator.certificate_ends)),
    }?;
    Some(Certificate { key, age: (issuer, ends) })
}

/// Whether a certificate is for the same key as the one on record, and older. Times in
/// certificates have seconds.
fn is_older(shown: Certificate, listed: Certificate) -> bool {
    let seconds = |(issuer, ends): (Stamp, Stamp)| (issuer.0 / 1000, ends.0 / 1000);
    shown.key == listed.key && seconds(shown.age) < seconds(listed.age)
}

/// From when on a member may do nothing any more, if it was made for a time.
fn last(state: &State, member: Member) -> Option<Stamp> {
    match member {
        Member::Node(_) => None,
        Member::Operator(id) => state.operators.get(&id)?.ends,
    }
}

/// Whom its certificate names.
fn subject(state: &State, member: Member) -> Option<(CertificateRole, Name)> {
    match member {
        Member::Node(id) => state.nodes.get(&id).map(|node| {
            let role = match node.role {
                NodeRole::Manager => CertificateRole::Manager(id),
                NodeRole::Worker => CertificateRole::Worker(id),
            };
            (role, node.name.clone())
        }),
        Member::Operator(id) => state
            .operators
            .get(&id)
            .map(|operator| (CertificateRole::Operator(id), operator.name.clone())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_older_has_the_same_key_and_ends_before_or_is_of_an_older_issuing_ca() {
        let of = |key: u8, issuer, ends| Certificate {
            key: [key; 32],
            age: (Stamp(issuer), Stamp(ends)),
        };
        let listed = of(1, 5_000, 90_500);
        assert!(is_older(of(1, 5_000, 80_000), listed));
        assert!(is_older(of(1, 4_000, 99_000), listed), "of an issuing CA that was replaced");
        assert!(!is_older(of(1, 5_000, 90_000), listed), "it is that one, to the second");
        assert!(!is_older(of(1, 5_000, 91_000), listed));
        assert!(!is_older(of(2, 5_000, 80_000), listed), "another key");
    }
}
