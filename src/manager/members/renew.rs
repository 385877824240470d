//! Renewal: a member that the state lists gets its next certificate.
//!
//! The key for which it asks is listed beside the one that it shows before a certificate for
//! it is signed, and the one that it shows is listed until the member was seen with the next:
//! whatever is lost on the way, one of the two is good. Of the request only the public key is
//! taken; who it is for stands in the state.

use crate::manager::members::sign::{Signing, checked_key};
use crate::manager::problem;
use crate::manager::renewing::Turn;
use crate::manager::running::Running;
use skep_client::ca::{CertificateRole, Subject, key_digest};
use skep_client::transport::Problem;
use skep_core::base::{Name, RequestId};
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
    let (key, ends) = (key_digest(&public), signing.ends());
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
