//! How far the agent has come: what its doors are told.

use super::handle::Handle;
use super::puts::Puts;
use crate::agent::member::Own;
use skep_core::base::{Name, NodeId};

/// How far the agent has come.
#[derive(Clone, Debug)]
pub enum Stage {
    /// It has no identity yet; why the last try to get one came to nothing.
    Joining(String),
    /// It is a member.
    Serving {
        /// This node.
        node: NodeId,
        /// Its name.
        name: Name,
        /// Its certificate.
        own: Own,
        /// To its driver.
        handle: Handle,
        /// What workloads write.
        puts: Puts,
    },
}
