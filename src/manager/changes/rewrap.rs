//! Data keys, from the box that a client made to the cluster's wrapping.
//!
//! The value itself is never opened: 32 bytes are moved.

use std::sync::Arc;

use crate::manager::core::Core;
use crate::manager::problem;
use crate::manager::task::on_a_thread;
use skep_client::transport::Problem;
use skep_core::base::{BoxedKey, SecretId, VersionId, WrappedKey};
use skep_core::domain::{Change, Put};
use skep_core::seal::ValueContext;

/// Changes whose keys are re-wrapped at once, in a tenth of a millisecond each: going to
/// another thread and back costs as much.
const FEW: usize = 4;

/// All changes, their data keys wrapped under the cluster key.
///
/// # Errors
/// What the caller is told: a key is not at hand, or not one for this cluster.
pub(in crate::manager) async fn rewrap_all(
    core: &Arc<Core>,
    changes: Vec<Change<BoxedKey>>,
) -> Result<Vec<Change>, Problem> {
    // What was applied a moment ago may have changed the cluster key.
    core.open_key();
    let each = |core: &Core, changes: Vec<_>| {
        changes.into_iter().map(|change| rewrap(core, change)).collect()
    };
    if changes.len() <= FEW {
        return each(core, changes);
    }
    let core = core.clone();
    on_a_thread("re-wrapping", move || each(&core, changes)).await
}

/// The same of what a workload puts.
///
/// # Errors
/// As [`rewrap_all`].
pub(in crate::manager) async fn rewrap_put(
    core: &Arc<Core>,
    put: Put<BoxedKey>,
) -> Result<Put, Problem> {
    core.open_key();
    let each = |core: &Core, put: Put<BoxedKey>| {
        put.with_key(|secret, version, size, key| wrapped(core, secret, version, size, &key))
    };
    if put.values.len() <= FEW {
        return each(core, put);
    }
    let core = core.clone();
    on_a_thread("re-wrapping", move || each(&core, put)).await
}

/// The same change, its data key re-wrapped from the client's box.
fn rewrap(core: &Core, change: Change<BoxedKey>) -> Result<Change, Problem> {
    change.with_key(|secret, version, size, key| wrapped(core, secret, version, size, &key))
}

fn wrapped(
    core: &Core,
    secret: SecretId,
    version: VersionId,
    size: u32,
    data_key: &BoxedKey,
) -> Result<WrappedKey, Problem> {
    let context = ValueContext { cluster: core.cluster, secret, version, size };
    let wrapped = core.keys.rewrap(&mut *(core.dice)(), data_key, &context);
    wrapped.map_err(|error| problem::of_key_given(error, "the data key of the new value"))
}
