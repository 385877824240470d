//! Why the state machine has stopped.

use crate::store::StoreError;
use skep_core::wire::stored::BadStored;

/// Why the state machine has stopped for ever.
#[derive(Clone, Debug)]
pub(super) enum Cause {
    /// Authentic bytes that say nothing known here.
    Undecodable {
        /// Which ones.
        what: String,
        /// What is wrong with them.
        why: BadStored,
    },
    /// The disk or what is on it.
    Store(StoreError),
    /// The leader applied the same entries and came to another audit head.
    Diverged {
        /// After this index.
        index: u64,
    },
}
