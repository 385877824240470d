//! Operators are made: their private key never is here.

use crate::manager::admit::caller::Admitted;
use crate::manager::members::sign::{Signing, checked_key};
use crate::manager::problem::{self, Explain};
use crate::manager::running::Running;
use skep_client::ca::{CertificateRole, Subject, key_digest};
use skep_client::transport::Problem;
use skep_core::base::{Name, OperatorId, RequestId, SecretBytes, Stamp, draw};
use skep_core::domain::{
    Act, Change, Constraint, Operator, OperatorRole, Refusal, Renewal, Scope, State,
};
use skep_core::seal::{HelloPlace, RecipientKey, SealError, SealedToRecipients};
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
    make(running, admitted, request, false).await
}

/// Draws what an unlock key has to open, and seals it to those that unlock every manager: one that
/// lies on a manager's disk is none of them.
///
/// # Errors
/// What the caller is told.
pub(in crate::manager) fn prepare_recover(
    running: &Running,
) -> Result<api::PrepareRecoverReply, Problem> {
    let core = &running.core;
    core.leads()?;
    let cluster = core.consensus.read(|state| state.cluster.clone());
    let cluster = cluster.ok_or(Refusal::NotInitialised).map_err(Explain::explain)?;
    let of_all = cluster.recipients.values().filter(|recipient| recipient.only.is_none());
    let unsound = |error: SealError| problem::bug(format!("a recipient {error}"));
    let recipients = of_all.map(|recipient| RecipientKey::new(recipient.public));
    let recipients: Vec<_> = recipients.collect::<Result<_, _>>().map_err(unsound)?;
    let dice = &mut *(core.dice)();
    let drawn = SecretBytes::copy_of(&draw::<32>(dice));
    let context = [b"operator recovery".as_slice(), core.cluster.as_bytes()].concat();
    let challenge =
        SealedToRecipients::seal(dice, &recipients, &context, &drawn).map_err(unsound)?;
    running.challenge.put(drawn.expose(), core.clock.boot());
    Ok(api::PrepareRecoverReply { challenge, cluster_id: core.cluster.as_bytes().to_vec() })
}

/// Makes an admin for whoever has opened what was drawn.
///
/// # Errors
/// What the caller is told: nobody was made, where it doesn't say otherwise.
pub(in crate::manager) async fn recover(
    running: &Running,
    admitted: &Admitted,
    request: api::RecoverOperatorRequest,
) -> Result<api::CreateOperatorReply, Problem> {
    running.core.leads()?;
    if !running.challenge.is_met(&request.opened, running.core.clock.boot()) {
        return Err(problem::request::not_opened());
    }
    let Some(operator) = request.operator else { return Err(problem::request::no_admin()) };
    let is_plain =
        operator.scope.is_empty() && operator.constraints.is_empty() && operator.ttl_ms == 0;
    if operator.role() != api::OperatorRole::Admin || !is_plain {
        return Err(problem::request::no_admin());
    }
    make(running, admitted, operator, true).await
}

async fn make(
    running: &Running,
    admitted: &Admitted,
    request: api::CreateOperatorRequest,
    recovered: bool,
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
        recovered,
    };
    let act = Act::Change(vec![Change::CreateOperator { id, operator: Box::new(operator) }]);
    running.propose(asked.request, admitted.origin()?, act).await?;
    // One that was asked for before is the one that it became then.
    let made = core.consensus.read(|state| made(state, &asked.name, key));
    let (id, operator) = made.ok_or_else(problem::members::removed_meanwhile)?;
    let role = CertificateRole::Operator(id);
    let subject = Subject { cluster: core.cluster, role, name: operator.name };
    let chain = signing.chain(&asked.public, &subject, operator.certificate_ends)?;
    let hello = running.identity.hello.key_of(HelloPlace::Operator, id.as_bytes());
    let hello = hello.map_err(|error| problem::bug(format!("the hello key {error}")))?;
    tracing::info!(event = "operator_made", operator = %id, name = %subject.name, recovered);
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
