//! Data keys, from what a client sealed them under to the cluster's wrapping.
//!
//! The value itself is never opened: 32 bytes are moved. All keys of a call are sent under one
//! half of the client's, so that a call costs one agreement at most.

use std::sync::Arc;

use crate::manager::core::Core;
use crate::manager::problem;
use crate::manager::task::on_a_thread;
use skep_client::transport::{KeptAgreement, Problem};
use skep_core::base::{SecretId, SentKey, VersionId, WrappedKey};
use skep_core::domain::{Change, Put};
use skep_core::seal::{IntakeAgreement, ValueContext};

/// Changes whose keys are re-wrapped at once, in some microseconds each: going to
/// another thread and back costs as much.
const FEW: usize = 16;

/// All changes, their data keys wrapped under the cluster key.
///
/// # Errors
/// What the caller is told: a key is not at hand, or not one for this cluster.
pub(in crate::manager) async fn rewrap_all(
    core: &Arc<Core>,
    agreement: KeptAgreement,
    changes: Vec<Change<SentKey>>,
) -> Result<Vec<Change>, Problem> {
    let few = changes.len() <= FEW;
    rewrapped(core, agreement, few, move |keys| {
        let each = |change: Change<SentKey>| {
            change.with_key(|secret, version, size, sent| keys.wrap(secret, version, size, &sent))
        };
        changes.into_iter().map(each).collect()
    })
    .await
}

/// The same of what a workload puts.
///
/// # Errors
/// As [`rewrap_all`].
pub(in crate::manager) async fn rewrap_put(
    core: &Arc<Core>,
    agreement: KeptAgreement,
    put: Put<SentKey>,
) -> Result<Put, Problem> {
    let few = put.values.len() <= FEW;
    rewrapped(core, agreement, few, move |keys| {
        put.with_key(|secret, version, size, sent| keys.wrap(secret, version, size, &sent))
    })
    .await
}

/// Here, or on another thread where there are many.
async fn rewrapped<T: Send + 'static>(
    core: &Arc<Core>,
    agreement: KeptAgreement,
    few: bool,
    all: impl FnOnce(&mut SentKeys<'_>) -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    // What was applied a moment ago may have changed the cluster key.
    core.open_key();
    let work =
        move |core: &Core| agreement.with(|kept| all(&mut SentKeys { core, kept, half: None }));
    if few {
        return work(core);
    }
    let core = core.clone();
    on_a_thread("re-wrapping", move || work(&core)).await
}

/// The keys of one call.
struct SentKeys<'a> {
    core: &'a Core,
    /// What the connection keeps.
    kept: &'a mut Option<IntakeAgreement>,
    /// Under which half the first one was sent.
    half: Option<[u8; 32]>,
}

impl SentKeys<'_> {
    fn wrap(
        &mut self,
        secret: SecretId,
        version: VersionId,
        size: u32,
        sent: &SentKey,
    ) -> Result<WrappedKey, Problem> {
        if *self.half.get_or_insert(sent.half) != sent.half {
            return Err(problem::request::another_half());
        }
        let context = ValueContext { cluster: self.core.cluster, secret, version, size };
        let dice = &mut *(self.core.dice)();
        let wrapped = self.core.keys.rewrap(dice, sent, &context, self.kept);
        wrapped.map_err(|error| problem::of_key_given(error, "the data key of the new value"))
    }
}
