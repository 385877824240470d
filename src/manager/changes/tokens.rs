//! Join tokens: made, and rotated.

use crate::manager::admit::caller::Admitted;
use crate::manager::problem::{self, Explain};
use crate::manager::running::Running;
use skep_client::ca::JoinToken;
use skep_client::transport::Problem;
use skep_core::base::{RequestId, Stamp, TokenId, limits};
use skep_core::domain::{Act, Change, NodeRole, Refusal, State, Token};
use skep_core::wire::api;
use skep_core::wire::convert::{read_labels, read_role};

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

/// Makes a join token; its text is answered once and never again.
///
/// # Errors
/// What the caller is told: none was made.
pub(in crate::manager) async fn create_token(
    running: &Running,
    admitted: &Admitted,
    request: api::CreateTokenRequest,
) -> Result<api::CreateTokenReply, Problem> {
    running.core.leads()?;
    let core = &running.core;
    let drawn = JoinToken::draw(&mut *(core.dice)(), running.identity.fingerprint);
    // Whether it has ended is judged by the cluster's time.
    let reading = core.fresh_reading().await.map_err(problem::clock_doubted)?;
    let token = read_token(&request, &drawn, core.stamp(reading))?;
    let ends = token.ends;
    let made = Change::CreateToken { id: drawn.id, token: token.clone() };
    rotate(running, admitted, Some(made), drawn.id, request.rotate.then_some(token.role)).await?;
    let text = drawn.text();
    let text =
        std::str::from_utf8(text.expose()).map_err(|_| problem::bug("a token is no text"))?;
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
    let role = read_role(request.role()).map_err(Explain::explain)?;
    let (ttl, uses) = match role {
        NodeRole::Manager => (MANAGER_TTL_MS, Some(MANAGER_USES)),
        NodeRole::Worker => (TTL_MS, None),
    };
    let ttl = if request.ttl_ms == 0 { ttl } else { request.ttl_ms };
    if ttl > TTL_MOST_MS {
        return Err(problem::request::token_too_long());
    }
    if request.uses == Some(0) {
        return Err(problem::request::token_without_use());
    }
    let pattern = &request.name_pattern;
    let sound = |c: char| c.is_ascii_alphanumeric() || "-_.*".contains(c);
    if pattern.len() > PATTERN_CHARS || !pattern.chars().all(sound) {
        return Err(problem::request::bad_pattern());
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
        match running.propose_refusable(request, admitted.origin()?, act).await? {
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
        let mut request = api::CreateTokenRequest {
            role: api::NodeRole::Worker.into(),
            ..api::CreateTokenRequest::default()
        };
        change(&mut request);
        read_token(&request, &drawn, NOW)
    }

    #[test]
    fn a_token_has_limits_and_defaults() {
        let token = asked(|_| {}).expect("a token");
        assert_eq!(token.ends, NOW.plus_ms(TTL_MS));
        assert_eq!((token.uses_left, token.name_pattern), (None, None));
        let manager =
            |request: &mut api::CreateTokenRequest| request.set_role(api::NodeRole::Manager);
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
            asked(|request| request.role = 99),
        ] {
            assert_eq!(bad.expect_err("refused").exit, Exit::Usage);
        }
    }
}
