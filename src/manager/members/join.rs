//! Membership: a machine with a join token becomes a node.
//!
//! The one call without a certificate. Nothing of it is believed: the token is judged
//! before anything else is done ([`Bid`]), and of the request for a certificate only the
//! public key is taken. The node stands in the state before its certificate is signed.
//!
//! Whoever shows a token that doesn't admit it hears that alone, with the same words
//! whatever the reason is; the reason stands in this manager's log. A token that is good is
//! never "too often", however many machines come from one address; others are counted.

use std::net::IpAddr;

use crate::manager::core::Origin;
use crate::manager::members::sign::{Signing, checked_key};
use crate::manager::problem::{self, Explain};
use crate::manager::running::Running;
use skep_client::ca::{CertificateRole, Subject, key_digest};
use skep_client::transport::Problem;
use skep_core::base::{Name, NodeId, RequestId, TokenId};
use skep_core::domain::{
    Act, Actor, Bid, Cluster, Join, NodeRole, Outcome, Refusal, Unfit, admitting,
};
use skep_core::seal::{HelloPlace, SealError};
use skep_core::wire::api;
use skep_core::wire::convert::{read_id, read_role};

/// What a machine shows and asks for.
pub(in crate::manager) struct Asked {
    token: TokenId,
    digest: [u8; 32],
    role: NodeRole,
    name: Name,
    key: [u8; 32],
    from: Option<IpAddr>,
}

/// Of a machine whose token admits it. Only [`judge`] makes one.
pub(in crate::manager) struct Known(Asked);

impl Asked {
    /// Reads it, as far as it doesn't take arithmetic.
    ///
    /// # Errors
    /// What the machine is told whatever its token is.
    pub(in crate::manager) fn read(
        asked: &api::JoinRequest,
        from: Option<IpAddr>,
    ) -> Result<Self, Problem> {
        let bad_name = |error| problem::request::bad_name("the node's name", error);
        Ok(Self {
            token: read_id("token_id", &asked.token_id).map_err(Explain::explain)?,
            digest: *blake3::hash(&asked.token_secret).as_bytes(),
            role: read_role(asked.role()).map_err(Explain::explain)?,
            name: asked.name.parse().map_err(bad_name)?,
            key: key_digest(&asked.public_key),
            from,
        })
    }

    fn bid(&self) -> Bid<'_> {
        let Self { token, ref digest, role, ref name, key, .. } = *self;
        Bid { token, digest, role, name, key }
    }

    /// Says in the log why it is refused: whoever asks doesn't hear it.
    fn refused(&self, rule: &str, why: &Refusal) {
        let (token, name, role) = (self.token, &self.name, word(self.role));
        let from = self.from.map_or_else(|| "unknown".to_owned(), |from| from.to_string());
        tracing::info!(event = "join_refused", rule, peer = %from, token = %token, name = %name, role, %why);
    }
}

/// Whether the token admits this machine. What does not writes nothing to the log of
/// commands either, and all of it is decided at one place, so that no reason takes longer than
/// another.
///
/// # Errors
/// What the machine is told.
pub(in crate::manager) async fn judge(running: &Running, asked: Asked) -> Result<Known, Problem> {
    let core = &running.core;
    // Whether a token has ended is judged by the cluster's time.
    let reading = core.fresh_reading().await.map_err(problem::clock_doubted)?;
    let now = core.stamp(reading);
    let unfit = core.consensus.read(|state| admitting(state, &asked.bid(), now).err());
    match unfit {
        None => Ok(Known(asked)),
        Some(why) => Err(refusal(&asked, Refusal::Token { role: asked.role, why })),
    }
}

/// What a machine is told of a refusal: of its token only that it is not accepted.
fn refusal(asked: &Asked, refusal: Refusal) -> Problem {
    let rule = match &refusal {
        Refusal::Token { why, .. } => rule(why),
        Refusal::Exists { .. } => "name-taken",
        Refusal::Reserved { .. } => "name-reserved",
        _ => "other",
    };
    asked.refused(rule, &refusal);
    refusal.explain()
}

/// What the log calls a reason.
fn rule(why: &Unfit) -> &'static str {
    match why {
        Unfit::NotKnown => "not-known",
        Unfit::Ended => "ended",
        Unfit::UsedUp => "used-up",
        Unfit::ForRole(_) => "other-role",
        Unfit::NotForName(_) => "other-name",
    }
}

fn word(role: NodeRole) -> &'static str {
    match role {
        NodeRole::Worker => "worker",
        NodeRole::Manager => "manager",
    }
}

/// Makes a node of whoever showed a token that admits it.
///
/// # Errors
/// What the machine is told.
pub(in crate::manager) async fn join(
    running: &Running,
    Known(bid): Known,
    asked: &api::JoinRequest,
) -> Result<api::JoinReply, Problem> {
    let public = checked_key(&asked.public_key, &asked.proof)?;
    let (token, digest, role, name) = (bid.token, bid.digest, bid.role, bid.name.clone());

    let core = &running.core;
    // A removal meanwhile would change the cluster key under its feet.
    let _turn = match role {
        NodeRole::Manager => Some(running.voting.lock().await),
        NodeRole::Worker => None,
    };
    // Ready before the node is admitted: a leader that can't sign admits nobody.
    let signing = Signing::ready(core).await?;
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
    let origin = Origin { actor: Actor::Token(token), from: bid.from };
    let act = Act::Join(Box::new(Join {
        token,
        digest,
        node,
        name: name.clone(),
        role,
        key: bid.key,
        box_key,
        cluster_key_box,
        addresses,
        certificate_ends: signing.ends(),
        issuer: signing.begins(),
        learner: asked.learner,
    }));
    let outcome = running.propose_refusable(request, origin, act).await?;
    let (_, outcome) = outcome.map_err(|why| refusal(&bid, why))?;
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
    let chain = signing.chain(&public, &subject, ends)?;
    tracing::info!(event = "node_joined", node = %node, name = %name);
    let mut reply = reply(running, &signing.cluster, node, &name, chain);
    let hello = &running.identity.hello;
    let unsealed = |error: SealError| problem::bug(format!("the hello key {error}"));
    if let Some(public) = box_key {
        let dice = &mut *(core.dice)();
        let boxed = hello.box_to(dice, core.cluster, node, &public);
        reply.hello_secret = boxed.map_err(unsealed)?;
        reply.recipients = recipient_views(&signing.cluster).collect();
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

fn reply(
    running: &Running,
    cluster: &Cluster,
    node: NodeId,
    name: &Name,
    chain: Vec<Vec<u8>>,
) -> api::JoinReply {
    api::JoinReply {
        node_id: node.as_bytes().to_vec(),
        node_name: name.to_string(),
        chain,
        cluster_id: cluster.id.as_bytes().to_vec(),
        cluster_name: cluster.name.to_string(),
        addresses: running.manager_addresses(),
        recipients: Vec::new(),
        hello_key: Vec::new(),
        hello_secret: Vec::new(),
        oldest_issuer: cluster.issuers.oldest.0,
    }
}
