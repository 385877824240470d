//! What workloads write, by their node's agent: for a service that runs there as far as this
//! leader knows, and that may write it, as the state says when it is applied.

use crate::manager::changes::rewrap;
use crate::manager::problem::{self, Explain};
use crate::manager::running::Running;
use skep_client::transport::Problem;
use skep_core::base::{NodeId, RequestId};
use skep_core::domain::{Act, Actor, Changed, Outcome, Refusal, Thing};
use skep_core::wire::api;
use skep_core::wire::convert::{read_id, read_put};

/// Gives secrets their next values, or none of them.
pub(in crate::manager) async fn put(
    running: &Running,
    node: NodeId,
    request: api::PutRequest,
) -> Result<api::PutReply, Problem> {
    let id: RequestId = read_id("request_id", &request.request_id).map_err(Explain::explain)?;
    let put = read_put(node, &request.service, request.values).map_err(Explain::explain)?;
    let service = put.service;
    running.core.leads()?;
    let seen = running.dispatch.seen(node);
    if !(seen.connected && seen.running.contains(&service)) {
        return Err(problem::request::not_running_there());
    }
    let values = put.values.len();
    let put = rewrap::rewrap_put(&running.core, put).await?;
    let (act, actor) = (Act::Put(Box::new(put)), Actor::Node(node));
    let (revision, outcome) = match running.propose_refusable(id, actor, act).await? {
        Ok(done) => done,
        Err(refusal) => {
            tracing::warn!(event = "put_refused", %node, %service, why = %refusal);
            return Err(match refusal {
                Refusal::NotFound { thing: Thing::Service, .. } => {
                    problem::request::not_running_there()
                }
                Refusal::NotFound { .. } => problem::request::nothing_to_write(),
                other => other.explain(),
            });
        }
    };
    tracing::info!(event = "put", %node, %service, values);
    let versions = match outcome {
        Outcome::Changed(each) => each.iter().filter_map(added).collect(),
        Outcome::Done | Outcome::Joined(_) => Vec::new(),
    };
    Ok(api::PutReply { revision: revision.0, versions })
}

fn added(changed: &Changed) -> Option<api::VersionAdded> {
    match changed {
        Changed::Version { secret, number } => {
            Some(api::VersionAdded { secret: secret.as_bytes().to_vec(), number: *number })
        }
        Changed::Done | Changed::Already | Changed::Service(_) => None,
    }
}
