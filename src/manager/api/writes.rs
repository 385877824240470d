//! Changes: read, checked against the policy one by one, their data keys
//! re-wrapped, proposed whole.

use crate::manager::problem::{self, Explain};
use std::sync::Arc;

use crate::manager::admit::caller::Admitted;
use crate::manager::admit::policy::{Kind, Method, Resource};
use crate::manager::keys::NoKey;
use crate::manager::members::removal::{self, manager_removed};
use crate::manager::running::Running;
use crate::manager::upkeep::facts;
use skep_client::ca::JoinToken;
use skep_client::transport::Problem;
use skep_core::base::{BoxedKey, NodeId, RequestId, SecretId, Stamp, TokenId, limits};
use skep_core::domain::{Act, Change, NewVersion, NodeRole, Outcome, Refusal, State, Token};
use skep_core::seal::{SealError, ValueContext};
use skep_core::wire::api;
use skep_core::wire::convert::{read_change, read_id, read_labels, read_role, write_changed};

/// How long a join token lasts if nobody says.
const TTL_MS: u64 = 24 * 3_600_000;
/// The same for a manager's, which yields the cluster key and so everything: as long as it
/// takes to carry it to a machine.
const MANAGER_TTL_MS: u64 = 3_600_000;
/// How many managers may join by a token if nobody says.
const MANAGER_USES: u32 = 1;
/// How long one may last: what is valid for longer is forgotten.
const TTL_MOST_MS: u64 = 366 * TTL_MS;
/// Characters of a name pattern: a name's, each beside a `*`.
const PATTERN_CHARS: usize = 2 * limits::NAME_CHARS + 1;
/// How often a rotation looks again when others remove tokens meanwhile.
const ROTATIONS: usize = 4;

/// Changes whose keys are re-wrapped at once, in a tenth of a millisecond each: going to
/// another thread and back costs as much.
const FEW: usize = 4;

/// The key to which clients seal.
pub(super) fn intake(running: &Running) -> Result<api::IntakeReply, Problem> {
    running.leads()?;
    let cluster = running.core.consensus.read(|state| state.cluster.clone());
    let cluster = cluster.ok_or(Refusal::NotInitialised).map_err(Explain::explain)?;
    Ok(api::IntakeReply {
        cluster_id: cluster.id.as_bytes().to_vec(),
        number: cluster.cluster_key.number,
        intake: cluster.cluster_key.intake.to_vec(),
        fingerprint: cluster.fingerprint().0.to_vec(),
    })
}

/// Applies 1 to 64 changes, or none of them.
pub(in crate::manager) async fn apply(
    running: &Arc<Running>,
    admitted: &Admitted,
    request: api::ApplyRequest,
) -> Result<api::ApplyReply, Problem> {
    let id: RequestId = read_id("request_id", &request.request_id).map_err(Explain::explain)?;
    if !(1..=limits::CHANGES).contains(&request.changes.len()) {
        return Err(Refusal::BadAct.explain());
    }
    let mut changes = Vec::with_capacity(request.changes.len());
    for change in request.changes {
        let change = read_change(change).map_err(Explain::explain)?;
        allowed(running, admitted, &change)?;
        changes.push(change);
    }
    running.leads()?;
    let removed = manager_removed(running, &changes)?;
    let mut changes = if changes.len() <= FEW {
        rewrap_all(running, changes)?
    } else {
        let wrapping = running.clone();
        tokio::task::spawn_blocking(move || rewrap_all(&wrapping, changes))
            .await
            .unwrap_or_else(|_| Err(Problem::bug("re-wrapping ended unexpectedly")))?
    };
    // Should the removal itself be refused then, the vote is given back.
    let retired = match removed {
        Some(manager) => {
            let retired = removal::retire(running, manager).await?;
            removal::rekey(running, manager, &mut changes)?;
            Some(retired)
        }
        None => None,
    };
    let (revision, outcome) = running.propose(id, admitted.actor()?, Act::Change(changes)).await?;
    drop(retired);
    let reply = match outcome {
        Outcome::Changed(each) => each.iter().map(write_changed).collect(),
        Outcome::Done | Outcome::Joined(_) => Vec::new(),
    };
    Ok(api::ApplyReply { revision: revision.0, changed: reply })
}

/// The removal of a node, as a client asks for it.
pub(in crate::manager) fn removal_of(node: NodeId) -> api::Change {
    let removal = api::RemoveNode { id: node.as_bytes().to_vec(), force: false };
    api::Change { of: Some(api::change::Of::RemoveNode(removal)) }
}

/// Asks the policy for one change, now that it is known to what.
fn allowed<K>(running: &Running, admitted: &Admitted, change: &Change<K>) -> Result<(), Problem> {
    running.core.consensus.read(|state| {
        let (method, on) = concerns(state, change);
        admitted.may_change(method, &on)
    })
}

/// What the policy calls a change, and to what it is one.
fn concerns<'a, K>(state: &'a State, change: &'a Change<K>) -> (Method, Resource<'a>) {
    let (method, kind, name) = match change {
        Change::CreateSecret { name, .. } => (Method::WriteSecrets, Kind::Secret, Some(name)),
        Change::UpdateSecret { id, .. }
        | Change::RemoveSecret { id }
        | Change::RemoveVersion { id, .. } => {
            let name = state.secrets.get(id).map(|secret| &secret.name);
            (Method::WriteSecrets, Kind::Secret, name)
        }
        Change::CreateService { name, .. } => (Method::WriteServices, Kind::Service, Some(name)),
        Change::UpdateService { id, .. }
        | Change::RemoveService { id }
        | Change::Grant { service: id, .. }
        | Change::Revoke { service: id, .. } => {
            let name = state.services.get(id).map(|service| &service.name);
            (Method::WriteServices, Kind::Service, name)
        }
        Change::CreateToken { .. } | Change::RemoveToken { .. } => {
            (Method::WriteTokens, Kind::Token, None)
        }
        Change::UpdateNode { id, .. }
        | Change::RemoveNode { id, .. }
        | Change::RemoveManager { id, .. } => {
            (Method::WriteNodes, Kind::Node, state.nodes.get(id).map(|node| &node.name))
        }
    };
    (method, Resource { kind, name })
}

fn rewrap_all(running: &Running, changes: Vec<Change<BoxedKey>>) -> Result<Vec<Change>, Problem> {
    // What was applied a moment ago may have changed the cluster key.
    facts::open_key(&running.core);
    changes.into_iter().map(|change| rewrap(running, change)).collect()
}

/// The same change, its data key re-wrapped from the client's box.
fn rewrap(running: &Running, change: Change<BoxedKey>) -> Result<Change, Problem> {
    Ok(match change {
        Change::CreateSecret { id, name, labels, version } => Change::CreateSecret {
            id,
            name,
            labels,
            version: rewrap_version(running, id, version)?,
        },
        Change::UpdateSecret { id, expect, version } => {
            Change::UpdateSecret { id, expect, version: rewrap_version(running, id, version)? }
        }
        Change::RemoveSecret { id } => Change::RemoveSecret { id },
        Change::RemoveVersion { id, number } => Change::RemoveVersion { id, number },
        Change::CreateService { id, name, spec } => Change::CreateService { id, name, spec },
        Change::UpdateService { id, expect, spec } => Change::UpdateService { id, expect, spec },
        Change::RemoveService { id } => Change::RemoveService { id },
        Change::Grant { service, grant } => Change::Grant { service, grant },
        Change::Revoke { service, secret } => Change::Revoke { service, secret },
        Change::CreateToken { id, token } => Change::CreateToken { id, token },
        Change::RemoveToken { id } => Change::RemoveToken { id },
        Change::UpdateNode { id, put, gone, availability } => {
            Change::UpdateNode { id, put, gone, availability }
        }
        Change::RemoveNode { id, force } => Change::RemoveNode { id, force },
        Change::RemoveManager { id, rekey } => Change::RemoveManager { id, rekey },
    })
}

fn rewrap_version(
    running: &Running,
    secret: SecretId,
    version: NewVersion<BoxedKey>,
) -> Result<NewVersion, Problem> {
    let NewVersion { id, size, value, data_key } = version;
    let core = &running.core;
    let context = ValueContext { cluster: core.cluster, secret, version: id, size };
    let wrapped = core.keys.rewrap(&mut *(core.dice)(), &data_key, &context);
    let data_key = wrapped.map_err(|error| match error {
        NoKey::NotOpen(_) => Problem::unavailable("this manager has no cluster key yet")
            .hint("it is catching up; repeat the command in a moment"),
        NoKey::Seal(SealError::Retired { .. }) => problem::retired(),
        NoKey::Seal(error) => Problem::bad_input(format!("the data key of the new value {error}")),
        NoKey::Issuer(error) => Problem::bug(error.to_string()),
    })?;
    Ok(NewVersion { id, size, value, data_key })
}

/// Makes a join token; its text is answered once and never again.
pub(super) async fn create_token(
    running: &Running,
    admitted: &Admitted,
    request: api::CreateTokenRequest,
) -> Result<api::CreateTokenReply, Problem> {
    running.leads()?;
    let core = &running.core;
    let drawn = JoinToken::draw(&mut *(core.dice)(), running.fingerprint);
    // Whether it has ended is judged by the cluster's time.
    let reading = core.fresh_reading().await.map_err(problem::clock_doubted)?;
    let token = read_token(&request, &drawn, core.stamp(reading))?;
    let ends = token.ends;
    let made = Change::CreateToken { id: drawn.id, token: token.clone() };
    rotate(running, admitted, Some(made), drawn.id, request.rotate.then_some(token.role)).await?;
    let text = drawn.text();
    let text =
        std::str::from_utf8(text.expose()).map_err(|_| Problem::bug("a token is no text"))?;
    Ok(api::CreateTokenReply {
        id: drawn.id.as_bytes().to_vec(),
        token: text.to_owned(),
        ends: ends.0,
        addresses: running.manager_addresses(),
    })
}

fn read_token(
    request: &api::CreateTokenRequest,
    drawn: &JoinToken,
    now: Stamp,
) -> Result<Token, Problem> {
    let role = read_role(&request.role).map_err(Explain::explain)?;
    let (ttl, uses) = match role {
        NodeRole::Manager => (MANAGER_TTL_MS, Some(MANAGER_USES)),
        NodeRole::Worker => (TTL_MS, None),
    };
    let ttl = if request.ttl_ms == 0 { ttl } else { request.ttl_ms };
    if ttl > TTL_MOST_MS {
        return Err(Problem::bad_input("a join token lasts 366 days at most")
            .hint("a new one is made when it is needed: --ttl 24h"));
    }
    if request.uses == Some(0) {
        return Err(Problem::bad_input("a join token is for one use at least"));
    }
    let pattern = &request.name_pattern;
    let sound = |c: char| c.is_ascii_alphanumeric() || "-_.*".contains(c);
    if pattern.len() > PATTERN_CHARS || !pattern.chars().all(sound) {
        return Err(Problem::bad_input(
            "a name pattern has letters, digits, '-', '_', '.' and '*' for any of them",
        ));
    }
    Ok(Token {
        digest: drawn.digest(),
        role,
        labels: read_labels(&request.labels).map_err(Explain::explain)?,
        name_pattern: (!pattern.is_empty()).then(|| pattern.clone()),
        created: now,
        ends: now.plus_ms(ttl),
        uses_left: request.uses.or(uses),
    })
}

/// Proposes the new token and, where a role is to be rotated, the removal of
/// every other token of it: in one act where they fit into one.
async fn rotate(
    running: &Running,
    admitted: &Admitted,
    mut made: Option<Change>,
    keep: TokenId,
    role: Option<NodeRole>,
) -> Result<(), Problem> {
    let mut races = 0;
    loop {
        let room = limits::CHANGES - usize::from(made.is_some());
        let others = |state: &State| -> Vec<TokenId> {
            let same = state
                .tokens
                .iter()
                .filter(|(id, token)| **id != keep && role.is_some_and(|role| token.role == role));
            same.map(|(id, _)| *id).take(room).collect()
        };
        let others = running.core.consensus.read(others);
        if made.is_none() && others.is_empty() {
            return Ok(());
        }
        let removals = others.into_iter().map(|id| Change::RemoveToken { id });
        let changes: Vec<Change> = made.iter().cloned().chain(removals).collect();
        let request = RequestId::draw(&mut *(running.core.dice)());
        let act = Act::Change(changes);
        match running.propose_refusable(request, admitted.actor()?, act).await? {
            Ok(_) => made = None,
            Err(Refusal::NotFound { .. }) if races < ROTATIONS => races += 1,
            Err(refusal) => return Err(refusal.explain()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manager::testing::NOW;
    use skep_core::base::testing::Seeded;
    use skep_core::base::{Exit, Fingerprint};

    fn asked(change: impl FnOnce(&mut api::CreateTokenRequest)) -> Result<Token, Problem> {
        let drawn = JoinToken::draw(&mut Seeded::new(1), Fingerprint([1; 32]));
        let mut request =
            api::CreateTokenRequest { role: "worker".into(), ..api::CreateTokenRequest::default() };
        change(&mut request);
        read_token(&request, &drawn, NOW)
    }

    #[test]
    fn a_token_has_limits_and_defaults() {
        let token = asked(|_| {}).expect("a token");
        assert_eq!(token.ends, NOW.plus_ms(TTL_MS));
        assert_eq!((token.uses_left, token.name_pattern), (None, None));
        let manager = |request: &mut api::CreateTokenRequest| request.role = "manager".into();
        let token = asked(manager).expect("a token");
        assert_eq!((token.uses_left, token.ends), (Some(1), NOW.plus_ms(MANAGER_TTL_MS)));
        let token = asked(|request| {
            manager(request);
            (request.uses, request.ttl_ms) = (Some(2), TTL_MS);
        });
        let token = token.expect("a token");
        assert_eq!((token.uses_left, token.ends), (Some(2), NOW.plus_ms(TTL_MS)));
        let token = asked(|request| {
            request.uses = Some(3);
            request.name_pattern = "db*".into();
            request.ttl_ms = 1;
        });
        let token = token.expect("a token");
        assert_eq!((token.uses_left, token.ends), (Some(3), NOW.plus_ms(1)));
        assert_eq!(token.name_pattern.as_deref(), Some("db*"));
        for bad in [
            asked(|request| request.uses = Some(0)),
            asked(|request| request.ttl_ms = TTL_MOST_MS + 1),
            asked(|request| request.name_pattern = "a b".into()),
            asked(|request| request.name_pattern = "*".repeat(200)),
            asked(|request| request.role = "king".into()),
        ] {
            assert_eq!(bad.expect_err("refused").exit, Exit::Usage);
        }
    }
}
