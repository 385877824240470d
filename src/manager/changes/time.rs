//! The cluster's time, set back to the clocks of its managers.

use crate::manager::admit::caller::Admitted;
use crate::manager::members::others;
use crate::manager::problem::{self, Explain};
use crate::manager::running::Running;
use skep_client::transport::Problem;
use skep_core::base::RequestId;
use skep_core::wire::api;
use skep_core::wire::convert::read_id;

/// Sets it back, where it is ahead and the managers agree on what time it is.
///
/// # Errors
/// What the caller is told: it was not set back.
pub(in crate::manager) async fn reset(
    running: &Running,
    admitted: &Admitted,
    request: api::ResetTimeRequest,
) -> Result<api::ResetTimeReply, Problem> {
    let id: RequestId = read_id("request_id", &request.request_id).map_err(Explain::explain)?;
    running.core.leads()?;
    let core = &running.core;
    let (from, answered) =
        core.consensus.read(|state| (state.stamp, state.answers.contains_key(&id)));
    if !answered {
        let now = core.fresh_reading().await.map_err(problem::clock_doubted)?.clock();
        if from <= now {
            // Nothing need be done: asked twice, it is done once.
            return Ok(api::ResetTimeReply { from: from.0, to: from.0 });
        }
        others::agree(running).await?;
    }
    let reset = core.reset_time(id, admitted.origin()?).await;
    let (to, applied) = reset.map_err(|error| core.problem(error))?;
    applied.outcome.map_err(Explain::explain)?;
    tracing::warn!(event = "time_reset", from_ms = from.0, to_ms = to.0);
    Ok(api::ResetTimeReply { from: from.0, to: to.0 })
}
