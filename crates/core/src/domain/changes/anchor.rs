//! How far the managers' own chains of the audit log are known to reach.

use crate::base::NodeId;
use crate::domain::command::Outcome;
use crate::domain::draft::Draft;
use crate::domain::named::Thing;
use crate::domain::refusal::Refusal;
use crate::domain::state::{Anchor, NodeRole};

/// A manager's chain reaches further than was known. It never reaches less far again.
pub(in crate::domain) fn anchor(
    draft: &mut Draft<'_>,
    manager: NodeId,
    anchor: Anchor,
) -> Result<Outcome, Refusal> {
    let state = draft.state();
    let found = state.nodes.get(&manager).filter(|node| node.role == NodeRole::Manager);
    if found.is_none() {
        return Err(Refusal::not_found(Thing::Node, manager));
    }
    let Some(cluster) = state.cluster.as_deref() else { return Err(Refusal::NotInitialised) };
    let stands = cluster.anchors.get(&manager).map_or(0, |stands| stands.number);
    if anchor.number <= stands {
        let text = "the audit log of this manager is anchored further on already";
        return Err(Refusal::Invalid(text.to_owned()));
    }
    let mut cluster = cluster.clone();
    cluster.anchors.insert(manager, anchor);
    draft.put_cluster(cluster);
    Ok(Outcome::Done)
}
