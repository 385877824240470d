//! What a connection keeps for the calls on it: what its client agreed on with the intake key.

use std::sync::Arc;

use parking_lot::Mutex;
use tonic::Extensions;

use skep_core::seal::IntakeAgreement;

/// The last agreement of a connection's client; gone with the connection. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct KeptAgreement(Arc<Mutex<Option<IntakeAgreement>>>);

impl KeptAgreement {
    /// Of the connection on which this request came; of one that keeps none, for this call alone.
    #[must_use]
    pub fn of(extensions: &Extensions) -> Self {
        extensions.get().cloned().unwrap_or_default()
    }

    /// Does something with it, or puts another one in its place.
    pub fn with<R>(&self, act: impl FnOnce(&mut Option<IntakeAgreement>) -> R) -> R {
        act(&mut self.0.lock())
    }
}
