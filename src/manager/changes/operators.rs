//! Operators are made: their private key never is here.

use crate::manager::admit::caller::Admitted;
use crate::manager::members::sign::{Signing, checked_key};
use crate::manager::problem::{self, Explain};
use crate::manager::running::Running;
use skep_client::ca::{CertificateRole, Subject, key_digest};
use skep_client::transport::Problem;
use skep_core::base::{Name, OperatorId, RequestId, Stamp};
use skep_core::domain::{Act, Change, Constraint, Operator, OperatorRole, Renewal, Scope, State};
use skep_core::seal::HelloPlace;
use skep_core::wire::api;
use skep_core::wire::convert::{read_bounds, read_id, read_operator_role};

/// How long an operator may be made for: what is valid for longer is forgotten.
const TTL_MOST_MS: u64 = 366 * 24 * 3_600_000;
/// The least: shorter than a certificate's seconds and two clocks differ nothing is.
const TTL_LEAST_MS: u64 = 1_000;

/// What is asked for, checked field by field.
struct Asked {
    request: RequestId,
    name: Name,
    role: OperatorRole,
    scope: Scope,
    constraints: Vec<Constraint>,
    /// 0: it does not end.
    ttl_ms: u64,
    public: Vec<u8>,
}

impl Asked {
    fn read(request: &api::CreateOperatorRequest) -> Result<Self, Problem> {
        let bad_name = |error| problem::request::bad_name("the operator's name", error);
        let (scope, constraints) =
            read_bounds(&request.scope, &request.constraints).map_err(Explain::explain)?;
        if request.ttl_ms > TTL_MOST_MS || (1..TTL_LEAST_MS).contains(&request.ttl_ms) {
            return Err(problem::request::bad_operator_time());
        }
        Ok(Self {
            request: read_id("request_id", &request.request_id).map_err(Explain::explain)?,
            name: request.name.parse().map_err(bad_name)?,
            role: read_operator_role(request.role()).map_err(Explain::explain)?,
            scope,
            constraints,
            ttl_ms: request.ttl_ms,
            public: checked_key(&request.public_key, &request.proof)?,
        })
    }
}

/// Makes an operator of whoever has the private half of that key.
///
/// # Errors
/// What the caller is told: nobody was made, where it doesn't say otherwise.
pub(in crate::manager) async fn create(
    running: &Running,
    admitted: &Admitted,
    request: api::CreateOperatorRequest,
) -> Result<api::CreateOperatorReply, Problem> {
    running.core.leads()?;
    let asked = Asked::read(&request)?;
    let own = running.identity.fingerprint;
    if !request.fingerprint.is_empty() && request.fingerprint != own.0 {
        return Err(problem::request::for_another_cluster(own));
    }
    let core = &running.core;
    // Ready before the operator stands in the state: a leader that can't sign makes none.
    let signing = Signing::ready(core).await?;
    let id = OperatorId::draw(&mut *(core.dice)());
    // Whether its time is over is judged by the cluster's time.
    let created = signing.stamp(core);
    let ends = (asked.ttl_ms > 0).then(|| created.plus_ms(asked.ttl_ms));
    let key = key_digest(&asked.public);
    let operator = Operator {
        name: asked.name.clone(),
        role: asked.role,
        key,
        created,
        certificate_ends: signing.ends_with(ends),
        renewal: Renewal { issuer: signing.begins(), ..Renewal::default() },
        suspended: false,
        scope: asked.scope,
        constraints: asked.constraints,
        ends,
        recovered: false,
    };
    let act = Act::Change(vec![Change::CreateOperator { id, operator: Box::new(operator) }]);
    running.propose(asked.request, admitted.actor()?, act).await?;
    // One that was asked for before is the one that it became then.
    let made = core.consensus.read(|state| made(state, &asked.name, key));
    let (id, operator) = made.ok_or_else(problem::members::removed_meanwhile)?;
    let role = CertificateRole::Operator(id);
    let subject = Subject { cluster: core.cluster, role, name: operator.name };
    let chain = signing.chain(&asked.public, &subject, operator.certificate_ends)?;
    let hello = running.identity.hello.key_of(HelloPlace::Operator, id.as_bytes());
    let hello = hello.map_err(|error| problem::bug(format!("the hello key {error}")))?;
    tracing::info!(event = "operator_made", operator = %id, name = %subject.name);
    Ok(api::CreateOperatorReply {
        id: id.as_bytes().to_vec(),
        chain,
        certificate_ends: operator.certificate_ends.0,
        addresses: running.manager_addresses(),
        oldest_issuer: signing.cluster.issuers.oldest.0,
        cluster_name: signing.cluster.name.to_string(),
        hello_key: hello.to_bytes().expose().to_vec(),
        ends: operator.ends.map_or(0, |Stamp(ends)| ends),
    })
}

fn made(state: &State, name: &Name, key: [u8; 32]) -> Option<(OperatorId, Operator)> {
    let id = state.indexes.operators.get(&name.key())?;
    let found = state.operators.get(id).filter(|of| of.key == key)?;
    Some((*id, Operator::clone(found)))
}
