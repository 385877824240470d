//! What a service may bring to a node.

use crate::base::{ServiceId, limits};
use crate::domain::refusal::{Refusal, words};
use crate::domain::state::State;

/// All that a service brings to a node, a file counted once for each target.
pub(super) fn within_service_bytes(state: &State, id: ServiceId) -> Result<(), Refusal> {
    let bytes = state.indexes.service_bytes.get(&id).copied().unwrap_or(0);
    if bytes > limits::SERVICE_BYTES {
        return Err(Refusal::Limit { what: words::SERVICE_BYTES, limit: limits::SERVICE_BYTES });
    }
    Ok(())
}
