//! Membership: a machine with a join token becomes a node.
//!
//! The one call without a certificate. Nothing of it is believed: the token's
//! digest is compared before anything else is done, and of the request for a
//! certificate only the public key is taken. The node stands in the state before
//! its certificate is signed. A token that is good is never "too often", however many
//! machines come from one address; bad ones are counted.

use subtle::ConstantTimeEq;

use crate::manager::LEAF_MS;
use crate::manager::problem::{self, Explain};
use crate::manager::running::Running;
use skep_client::ca::{CertificateRole, Subject, key_digest, public_key_of_request};
use skep_client::transport::Problem;
use skep_core::base::{Name, NodeId, RequestId, Stamp, TokenId};
use skep_core::domain::{Act, Actor, Cluster, Join, NodeRole, Outcome, Refusal, Unfit};
use skep_core::seal::{HelloPlace, SealError};
use skep_core::wire::api;
use skep_core::wire::convert::read_role;

/// A token that stands, and whose secret part was shown. Only [`known`] makes one.
pub(in crate::manager) struct Known {
    token: TokenId,
    digest: [u8; 32],
}

/// Makes a node of whoever showed a token that stands.
///
/// # Errors
/// What the machine is told.
pub(in crate::manager) async fn join(
    running: &Running,
    Known { token, digest }: Known,
    asked: &api::JoinRequest,
) -> Result<api::JoinReply, Problem> {
    let bad_key = |error: skep_client::ca::CaError| problem::request::bad("the proof", error);
    let public = public_key_of_request(&asked.proof).map_err(bad_key)?;
    if public != asked.public_key {
        return Err(problem::request::other_proof());
    }
    let name: Name =
        asked.name.parse().map_err(|error| problem::request::bad_name("the node's name", error))?;
    let role = read_role(asked.role()).map_err(Explain::explain)?;

    let core = &running.core;
    // A removal meanwhile would change the cluster key under its feet.
    let _turn = match role {
        NodeRole::Manager => Some(running.voting.lock().await),
        NodeRole::Worker => None,
    };
    core.open_key();
    let cluster = core.consensus.read(|state| state.cluster.clone());
    let cluster = cluster.ok_or(Refusal::NotInitialised).map_err(Explain::explain)?;
    // Opened before the node is admitted: a leader that can't sign admits nobody.
    let issuer = core.keys.issuer(&cluster).map_err(Explain::explain)?;
    // A certificate is judged by clocks, not by the cluster's time: where that is ahead,
    // nobody gets a longer one.
    let reading = core.fresh_reading().await.map_err(problem::clock_doubted)?;
    let now = reading.clock();
    let ends = now.plus_ms(LEAF_MS);
    let used = Used { token, role };
    lasts(running, used, core.stamp(reading))?;
    is_left(running, used, &name, &public)?;
    let (node, request) = {
        let dice = &mut *(core.dice)();
        (NodeId::draw(dice), RequestId::draw(dice))
    };
    let box_key = match role {
        NodeRole::Manager => Some(box_key_of(asked)?),
        NodeRole::Worker => None,
    };
    let cluster_key_box = box_key.map(|public| boxed(running, node, &public)).transpose()?;
    let addresses = box_key.map(|_| asked.addresses.clone()).unwrap_or_default();
    let act = Act::Join(Box::new(Join {
        token,
        digest,
        node,
        name: name.clone(),
        role,
        key: key_digest(&public),
        box_key,
        cluster_key_box,
        addresses,
        certificate_ends: ends,
        issuer: issuer.begins(),
        learner: false,
    }));
    let (_, outcome) = running.propose(request, Actor::Token(token), act).await?;
    let Outcome::Joined(admitted) = outcome else {
        return Err(problem::bug("a join was answered otherwise"));
    };
    // A machine that asks again is the node that it became the first time.
    let ends = admitted.certificate_ends;
    let node = core.consensus.read(|state| state.indexes.nodes.get(&name.key()).copied());
    let node = node.ok_or_else(problem::members::removed_meanwhile)?;
    let certified = match role {
        NodeRole::Manager => CertificateRole::Manager(node),
        NodeRole::Worker => CertificateRole::Worker(node),
    };
    let subject = Subject { cluster: core.cluster, role: certified, name: name.clone() };
    let leaf = issuer.sign_leaf(&public, &subject, now, ends).map_err(bad_key)?;
    tracing::info!(event = "node_joined", node = %node, name = %name);
    let mut reply = reply(running, &cluster, node, &name, leaf);
    let hello = &running.identity.hello;
    let unsealed = |error: SealError| problem::bug(format!("the hello key {error}"));
    if let Some(public) = box_key {
        let dice = &mut *(core.dice)();
        let boxed = hello.box_to(dice, core.cluster, node, &public);
        reply.hello_secret = boxed.map_err(unsealed)?;
        reply.recipients = recipient_views(&cluster).collect();
    } else {
        let key = hello.key_of(HelloPlace::Node, node.as_bytes()).map_err(unsealed)?;
        reply.hello_key = key.to_bytes().expose().to_vec();
    }
    Ok(reply)
}

/// The box key that a manager brings.
fn box_key_of(asked: &api::JoinRequest) -> Result<[u8; 32], Problem> {
    asked
        .box_key
        .as_slice()
        .try_into()
        .map_err(|_| problem::request::bad("the box key", "is not a public key of 32 bytes"))
}

/// The cluster key for a manager that joins.
fn boxed(running: &Running, node: NodeId, public: &[u8; 32]) -> Result<(u64, Vec<u8>), Problem> {
    let core = &running.core;
    let boxed = core.keys.box_for(&mut *(core.dice)(), node, public);
    boxed.map_err(|error| problem::of_key_given(error, "the box key"))
}

/// To whom managers seal their key files.
pub(in crate::manager) fn recipient_views(
    cluster: &Cluster,
) -> impl Iterator<Item = api::RecipientView> + use<'_> {
    cluster.recipients.iter().map(|(id, recipient)| api::RecipientView {
        id: id.as_bytes().to_vec(),
        public: recipient.public.to_vec(),
        label: recipient.label.clone(),
        only: recipient.only.map(|node| node.as_bytes().to_vec()).unwrap_or_default(),
    })
}

/// Whether the token stands and the secret part is its own. Whoever guesses does
/// not learn which of the two was wrong, and writes nothing to the log.
///
/// # Errors
/// It is not known.
pub(in crate::manager) fn known(
    running: &Running,
    role: NodeRole,
    token: TokenId,
    secret: &[u8],
) -> Result<Known, Problem> {
    let digest = *blake3::hash(secret).as_bytes();
    let stands = running.core.consensus.read(|state| state.tokens.get(&token).cloned());
    let right = stands.is_some_and(|token| bool::from(token.digest.ct_eq(&digest)));
    if right {
        return Ok(Known { token, digest });
    }
    Err(Refusal::Token { role, why: Unfit::NotKnown }.explain())
}

/// A token, and as what a machine wants to join with it.
#[derive(Clone, Copy)]
struct Used {
    token: TokenId,
    role: NodeRole,
}

/// Whether the token has not ended: one that has writes nothing to the log either.
fn lasts(running: &Running, Used { token, role }: Used, now: Stamp) -> Result<(), Problem> {
    let ends = running.core.consensus.read(|state| state.tokens.get(&token).map(|of| of.ends));
    if ends.is_some_and(|ends| ends <= now) {
        return Err(Refusal::Token { role, why: Unfit::Ended }.explain());
    }
    Ok(())
}

/// Whether the token is not used up, or was used by this very machine, which asks again. One
/// that is used up writes nothing to the log either.
fn is_left(
    running: &Running,
    Used { token, role }: Used,
    name: &Name,
    key: &[u8],
) -> Result<(), Problem> {
    let (left, again) = running.core.consensus.read(|state| {
        let left = state.tokens.get(&token).and_then(|of| of.uses_left) != Some(0);
        let named = state.indexes.nodes.get(&name.key()).and_then(|id| state.nodes.get(id));
        (left, named.is_some_and(|node| node.key == key_digest(key)))
    });
    if left || again {
        return Ok(());
    }
    Err(Refusal::Token { role, why: Unfit::UsedUp }.explain())
}

fn reply(
    running: &Running,
    cluster: &Cluster,
    node: NodeId,
    name: &Name,
    leaf: Vec<u8>,
) -> api::JoinReply {
    api::JoinReply {
        node_id: node.as_bytes().to_vec(),
        node_name: name.to_string(),
        chain: vec![leaf, cluster.issuing.to_vec(), cluster.root.to_vec()],
        cluster_id: cluster.id.as_bytes().to_vec(),
        cluster_name: cluster.name.to_string(),
        addresses: running.manager_addresses(),
        recipients: Vec::new(),
        hello_key: Vec::new(),
        hello_secret: Vec::new(),
        oldest_issuer: cluster.issuers.oldest.0,
    }
}
