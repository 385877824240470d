//! The first command of a cluster.

use super::names::is_no_id;
use super::node::addressed;
use super::operator;
use crate::base::limits;
use crate::domain::apply::LEVEL;
use crate::domain::command::{Fact, Genesis, Outcome};
use crate::domain::draft::Draft;
use crate::domain::named::Counted;
use crate::domain::refusal::Refusal;
use crate::domain::state::NodeRole;

pub(in crate::domain) fn genesis(
    draft: &mut Draft<'_>,
    genesis: &Genesis,
) -> Result<Outcome, Refusal> {
    if draft.state().cluster.is_some() {
        return Err(Refusal::AlreadyInitialised);
    }
    let cluster = &genesis.cluster;
    let invalid = |text: &str| Err(Refusal::Invalid(text.to_owned()));
    if genesis.node.role != NodeRole::Manager || genesis.node.box_key.is_none() {
        return invalid("the first node is a manager with a box key");
    }
    if !cluster.cluster_key.boxes.keys().eq([&genesis.manager]) {
        return invalid("the cluster key is boxed to the first manager alone");
    }
    if cluster.issuing_key.number != cluster.cluster_key.number {
        return invalid("the issuing key is wrapped under the cluster key in use");
    }
    is_no_id(&genesis.node.name)?;
    is_no_id(&genesis.admin.name)?;
    if !addressed(&genesis.node.addresses) {
        return invalid("a manager has 1 to 16 addresses of at most 260 bytes");
    }
    let blobs = [&cluster.root, &cluster.sealed_root_key, &cluster.issuing];
    let boxed = cluster.cluster_key.boxes.values().all(|boxed| boxed.len() <= limits::BOX_BYTES);
    let short = |label: &str| label.len() <= limits::RECIPIENT_LABEL_BYTES;
    let sound = boxed
        && blobs.iter().all(|blob| blob.len() <= limits::CA_BYTES)
        && cluster.issuing_key.bytes.len() <= limits::CA_BYTES
        && cluster.recipients.values().all(|recipient| short(&recipient.label));
    if !sound {
        return invalid("a certificate, a key or a recipient's label is too long");
    }
    if !cluster.cluster_key.previous.is_empty() || !cluster.removed_managers.is_empty() {
        return invalid("a new cluster has no older keys and has removed nobody");
    }
    if !cluster.anchors.is_empty() {
        return invalid("a new cluster has no audit log yet");
    }
    let issuers = cluster.issuers;
    let first = issuers.rotating.is_none() && issuers.oldest == issuers.current;
    if !first || cluster.recovered.is_some() || genesis.node.learner || genesis.admin.suspended {
        return invalid("a new cluster has one issuing CA, a voter and an operator");
    }
    if !operator::is_lasting_admin(&genesis.admin) || genesis.admin.recovered {
        return invalid("the first operator is an admin of all, for as long as it is there");
    }
    if cluster.recipients.is_empty() {
        return invalid("a cluster needs a recipient of its key files");
    }
    if cluster.recipients.len() > limits::RECIPIENTS {
        return Err(Refusal::limit(Counted::Recipients, limits::RECIPIENTS));
    }
    draft.set_level(LEVEL);
    draft.put_cluster(cluster.clone());
    draft.put_node(genesis.manager, Some(genesis.node.clone()));
    draft.put_operator(genesis.operator, Some(genesis.admin.clone()));
    draft.fact(Fact::Founded);
    Ok(Outcome::Done)
}
