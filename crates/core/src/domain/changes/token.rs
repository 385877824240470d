//! Join tokens.

use subtle::ConstantTimeEq;

use crate::base::{Name, Stamp, TokenId, limits};
use crate::domain::changed::Changed;
use crate::domain::draft::Draft;
use crate::domain::named::{Counted, Thing, Unfit};
use crate::domain::refusal::Refusal;
use crate::domain::state::{Node, NodeRole, State, Token};

pub(super) fn create(
    draft: &mut Draft<'_>,
    id: TokenId,
    token: &Token,
) -> Result<Changed, Refusal> {
    let now = draft.now();
    if draft.state().tokens.len() >= limits::TOKENS {
        make_room(draft);
    }
    if draft.state().tokens.contains_key(&id) {
        return Err(Refusal::id_taken());
    }
    if draft.state().tokens.len() >= limits::TOKENS {
        return Err(Refusal::limit(Counted::Tokens, limits::TOKENS));
    }
    if has_ended(token, now) || token.uses_left == Some(0) {
        return Err(Refusal::Invalid("a join token admits at least one node".to_owned()));
    }
    if !token.name_pattern.as_deref().is_none_or(is_pattern) {
        return Err(Refusal::Invalid(
            "a name pattern has 1 to 64 characters of [a-zA-Z0-9-_.*]".to_owned(),
        ));
    }
    draft.put_token(id, Some(token.clone()));
    Ok(Changed::Done)
}

/// Ended tokens go where they are in the way, and only then: those that a wrong clock ended
/// are good again once the cluster's time is set back.
fn make_room(draft: &mut Draft<'_>) {
    let now = draft.now();
    let ends = &draft.state().indexes.token_ends;
    let ended = ends.iter().take_while(|(ends, _)| *ends <= now).map(|(_, id)| *id);
    for id in ended.collect::<Vec<_>>() {
        draft.put_token(id, None);
    }
}

pub(super) fn remove(draft: &mut Draft<'_>, id: TokenId) -> Result<Changed, Refusal> {
    if !draft.state().tokens.contains_key(&id) {
        return Err(Refusal::not_found(Thing::Token, id));
    }
    draft.put_token(id, None);
    Ok(Changed::Done)
}

/// A worker goes: the tokens for its name alone that it may have joined by go with it, for they
/// may still lie on its disk. One that was made after it joined is for whoever comes next.
pub(super) fn forget_those_of(draft: &mut Draft<'_>, node: &Node) {
    let state = draft.state();
    let old = |id: &TokenId| {
        let token = state.tokens.get(id);
        token.is_some_and(|token| token.role == node.role && token.created <= node.joined)
    };
    let own: Vec<TokenId> = state.indexes.bound_to(&node.name.key()).filter(old).collect();
    for id in own {
        draft.put_token(id, None);
    }
}

/// Whether a machine may yet join by it.
pub(super) fn is_good(token: &Token, now: Stamp) -> bool {
    !has_ended(token, now) && token.uses_left != Some(0)
}

pub(super) fn has_ended(token: &Token, now: Stamp) -> bool {
    token.ends <= now
}

fn is_pattern(text: &str) -> bool {
    (1..=limits::NAME_CHARS).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.*".contains(&byte))
}

/// Whether a pattern fits one name alone.
pub(super) fn is_one_name(pattern: &str) -> bool {
    !pattern.contains('*')
}

/// What a machine shows that wants to join, as far as its token decides about it.
#[derive(Clone, Copy, Debug)]
pub struct Bid<'a> {
    /// The token given.
    pub token: TokenId,
    /// BLAKE3 of the secret part given.
    pub digest: &'a [u8; 32],
    /// The role asked for.
    pub role: NodeRole,
    /// The name asked for.
    pub name: &'a Name,
    /// BLAKE3 of its public key: a machine that asks again finds no token used up.
    pub key: [u8; 32],
}

/// The token of a machine that wants to join, where it admits it.
///
/// # Errors
/// Why it doesn't. An unknown token and one with another secret part read alike.
pub fn admitting<'a>(state: &'a State, bid: &Bid<'_>, now: Stamp) -> Result<&'a Token, Unfit> {
    let token = state.tokens.get(&bid.token).ok_or(Unfit::NotKnown)?;
    if !bool::from(token.digest.ct_eq(bid.digest)) {
        return Err(Unfit::NotKnown);
    }
    if has_ended(token, now) {
        return Err(Unfit::Ended);
    }
    if token.role != bid.role {
        return Err(Unfit::ForRole(token.role));
    }
    let pattern = token.name_pattern.as_deref();
    if !pattern.is_none_or(|pattern| matches(pattern, bid.name.as_str())) {
        return Err(Unfit::NotForName(bid.name.clone()));
    }
    let asks_again = || {
        let named = state.indexes.nodes.get(&bid.name.key()).and_then(|id| state.nodes.get(id));
        named.is_some_and(|node| (node.role, node.key) == (bid.role, bid.key))
    };
    if token.uses_left == Some(0) && !asks_again() {
        return Err(Unfit::UsedUp);
    }
    Ok(token)
}

/// Whether a name is one of a pattern's, ignoring case; `*` stands for any
/// characters, also none.
pub(super) fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.to_ascii_lowercase(), name.to_ascii_lowercase());
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else {
        return false;
    };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        // The earliest place leaves the most for what follows.
        let Some((_, after)) = rest.split_once(part) else { return false };
        rest = after;
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns_match_as_a_shell_does() {
        for (pattern, name) in [
            ("db*", "db1"),
            ("*", "x"),
            ("a*b*c", "aXbYbc"),
            ("DB1", "db1"),
            ("**", "q"),
            ("a*", "a"),
        ] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in
            [("db*", "web1"), ("db", "db1"), ("a*b*c", "aXbY"), ("ab*ba", "aba"), ("*1", "db2")]
        {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }
}
