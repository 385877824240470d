//! What an unlocked manager has at hand: shared by its api, its leader's work
//! and its dispatch.

use std::sync::Arc;

use super::KeyHolder;
use crate::base::{Clock, ClusterId, Dice, NodeId, Stamp};
use crate::consensus::Consensus;

/// An unlocked manager's parts. Cheap to clone through an `Arc`.
pub struct Core {
    /// The replicated state.
    pub consensus: Consensus,
    /// The one holder of opened keys.
    pub keys: Arc<KeyHolder>,
    /// The machine's clock.
    pub clock: Arc<dyn Clock>,
    /// Makes dice.
    pub dice: fn() -> Box<dyn Dice>,
    /// This manager.
    pub node: NodeId,
    /// Its cluster.
    pub cluster: ClusterId,
}

impl Core {
    /// As of when a command is proposed: never before what is applied, or its
    /// deadline would be over where an earlier leader's clock was ahead.
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        self.clock.now().max(self.consensus.read(|state| state.stamp))
    }
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Core({})", self.node)
    }
}
