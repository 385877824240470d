//! What a recovery held back goes on.

use crate::manager::admit::caller::Admitted;
use crate::manager::problem::Explain;
use crate::manager::running::Running;
use skep_client::transport::Problem;
use skep_core::base::RequestId;
use skep_core::domain::{Act, State};
use skep_core::wire::api;
use skep_core::wire::convert::read_id;

/// Operators may do again what they may, and nodes get what is due there.
///
/// # Errors
/// What the caller is told.
pub(in crate::manager) async fn resume(
    running: &Running,
    admitted: &Admitted,
    request: api::ResumeRequest,
) -> Result<api::ResumeReply, Problem> {
    let id: RequestId = read_id("request_id", &request.request_id).map_err(Explain::explain)?;
    running.core.leads()?;
    let held =
        |state: &State| state.cluster.as_ref().is_some_and(|cluster| cluster.recovered.is_some());
    let resumed = running.core.consensus.read(held);
    if resumed {
        running.propose(id, admitted.origin()?, Act::Resume).await?;
        tracing::warn!(event = "cluster_resumed");
    }
    Ok(api::ResumeReply { resumed })
}
