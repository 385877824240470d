//! Why a command was not applied, or may not have been.

use crate::consensus::ProposeError;
use crate::manager::steady::Doubt;

/// Why a command was not applied, or may not have been.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::manager) enum Unproposed {
    /// Nothing was done: the clock of this manager is in doubt.
    #[error("the clock of this manager is in doubt")]
    Clock(Doubt),
    /// What consensus says.
    #[error("{0}")]
    Consensus(#[from] ProposeError),
}

impl From<Doubt> for Unproposed {
    fn from(doubt: Doubt) -> Self {
        Self::Clock(doubt)
    }
}
