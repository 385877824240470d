//! What a service may bring to a node.

use crate::base::{ServiceId, limits};
use crate::domain::named::Counted;
use crate::domain::refusal::Refusal;
use crate::domain::state::State;

/// All that a service brings to a node, a file counted once for each target.
pub(super) fn within_service_bytes(state: &State, id: ServiceId) -> Result<(), Refusal> {
    let bytes = state.indexes.service_bytes.get(&id).copied().unwrap_or(0);
    if bytes > limits::SERVICE_BYTES {
        return Err(Refusal::Limit { what: Counted::ServiceBytes, limit: limits::SERVICE_BYTES });
    }
    Ok(())
}
