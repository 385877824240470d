//! What workloads write, by their node's agent: for a service that runs there as far as this
//! leader knows, and that may write it, as the state says when it is applied.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use crate::manager::changes::rewrap;
use crate::manager::core::Origin;
use crate::manager::dispatch::WatchAsked;
use crate::manager::problem::{self, Explain};
use crate::manager::running::Running;
use skep_client::transport::{KeptAgreement, Problem};
use skep_core::base::{NodeId, RequestId, Revision, SecretId};
use skep_core::domain::{Act, Actor, Changed, Outcome, Refusal, Scope, Thing};
use skep_core::wire::api;
use skep_core::wire::convert::{read_id, read_put};

/// How long a put waits for nodes where its caller asks for that: less than an agent waits for
/// one answer.
const WAIT: Duration = Duration::from_secs(5);
/// Nodes that are named.
const NAMES: usize = 16;

/// Gives secrets their next values, or none of them.
pub(in crate::manager) async fn put(
    running: &Running,
    (node, from): (NodeId, Option<IpAddr>),
    agreement: KeptAgreement,
    request: api::PutRequest,
) -> Result<api::PutReply, Problem> {
    let id: RequestId = read_id("request_id", &request.request_id).map_err(Explain::explain)?;
    let put = read_put(node, &request.service, request.values).map_err(Explain::explain)?;
    let wait = request.wait;
    let service = put.service;
    running.core.leads()?;
    let seen = running.dispatch.seen(node);
    if !(seen.connected && seen.running.contains(&service)) {
        return Err(problem::request::not_running_there());
    }
    let values = put.values.len();
    let secrets: BTreeSet<SecretId> = put.values.iter().map(|value| value.secret).collect();
    let put = rewrap::rewrap_put(&running.core, agreement, put).await?;
    let (act, origin) = (Act::Put(Box::new(put)), Origin { actor: Actor::Node(node), from });
    let (revision, outcome) = match running.propose_refusable(id, origin, act).await? {
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
    let mut reply = api::PutReply { revision: revision.0, versions, ..Default::default() };
    if wait {
        (reply.in_place, reply.waiting_for) =
            until_in_place(running, node, revision, secrets).await;
    }
    Ok(reply)
}

/// Waits for the nodes of all services that are granted these secrets: whether each of them has
/// them, and who has not. What is not known in time is no failure, for the values are committed.
async fn until_in_place(
    running: &Running,
    node: NodeId,
    revision: Revision,
    secrets: BTreeSet<SecretId>,
) -> (bool, Vec<String>) {
    let services = running.core.consensus.read(|state| {
        let granted = secrets.iter().filter_map(|secret| state.indexes.granted.get(secret));
        granted.flat_map(|services| services.keys().copied()).collect()
    });
    let nodes = BTreeSet::new();
    let scope = Scope::everything();
    let asked = WatchAsked { revision, services, nodes, removal: false, secrets, scope };
    let mut waiting_for = Vec::new();
    let Ok(mut progress) = running.dispatch.watch(Actor::Node(node), asked) else {
        return (false, waiting_for);
    };
    let followed = async {
        while let Some(next) = progress.recv().await {
            let laggards = next.laggards.into_iter().map(|laggard| laggard.name);
            waiting_for = laggards.take(NAMES).collect();
            if next.done || next.failed {
                return next.done;
            }
        }
        false
    };
    let in_place = tokio::time::timeout(WAIT, followed).await.unwrap_or(false);
    (in_place, waiting_for)
}

fn added(changed: &Changed) -> Option<api::VersionAdded> {
    match changed {
        Changed::Version { secret, number } => {
            Some(api::VersionAdded { secret: secret.as_bytes().to_vec(), number: *number })
        }
        Changed::Done | Changed::Already | Changed::Service(_) => None,
    }
}
