//! A scope that somebody was granted: `TYPE:NAME:ACTION,ACTION`, the name a glob.

use std::str::FromStr;

use globset::{GlobBuilder, GlobMatcher};

/// Bytes of one.
const BYTES: usize = 512;
/// Actions of one.
const ACTIONS: usize = 16;
/// What `*` stands for: the others are named, or not given.
const ALL: [&str; 3] = ["pull", "push", "delete"];
/// The type of the registry itself, of which `*` is an action by itself.
const REGISTRY: &str = "registry";

/// Text that is no scope to be granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a granted scope is TYPE:NAME:ACTION,…, the name a glob")]
pub struct BadGrant;

/// One granted scope.
#[derive(Clone, Debug)]
pub struct GrantedScope {
    kind: String,
    name: GlobMatcher,
    actions: Vec<String>,
}

impl GrantedScope {
    /// Whether this action on this resource is within it.
    #[must_use]
    pub fn allows(&self, kind: &str, name: &str, action: &str) -> bool {
        let literal = kind == REGISTRY;
        let named = |own: &String| match (own.as_str(), action) {
            ("*", "*") => literal,
            ("*", action) => !literal && ALL.contains(&action),
            (own, action) => own == action,
        };
        self.kind == kind && self.name.is_match(name) && self.actions.iter().any(named)
    }
}

impl FromStr for GrantedScope {
    type Err = BadGrant;

    fn from_str(text: &str) -> Result<Self, BadGrant> {
        let (kind, rest) = text.split_once(':').ok_or(BadGrant)?;
        let (name, actions) = rest.rsplit_once(':').ok_or(BadGrant)?;
        let word = |text: &str| {
            !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || c == '-')
        };
        let actions: Vec<String> = actions.split(',').map(str::to_owned).collect();
        let sound = text.len() <= BYTES
            && word(kind)
            && !name.is_empty()
            && !name.contains(char::is_control)
            && actions.len() <= ACTIONS
            && actions.iter().all(|action| action == "*" || word(action));
        if !sound {
            return Err(BadGrant);
        }
        let glob = GlobBuilder::new(name).literal_separator(true).build().map_err(|_| BadGrant)?;
        Ok(Self { kind: kind.to_owned(), name: glob.compile_matcher(), actions })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_granted_scope_allows_what_it_says() {
        let allows = |scope: &str, kind: &str, name: &str, action: &str| {
            scope.parse::<GrantedScope>().unwrap().allows(kind, name, action)
        };
        assert!(allows("repository:web/*:pull", "repository", "web/app", "pull"));
        assert!(!allows("repository:web/*:pull", "repository", "web/app", "push"));
        assert!(!allows("repository:web/*:pull", "repository", "web/a/b", "pull"));
        assert!(!allows("repository:web/*:pull", "repository", "webs/a", "pull"));
        assert!(!allows("repository:web/*:pull", "registry", "web/app", "pull"));
        assert!(allows("repository:web/**:*", "repository", "web/a/b", "delete"));
        assert!(!allows("repository:**:*", "repository", "web/a", "sign"));
        assert!(allows("repository:web/a:sign", "repository", "web/a", "sign"));
        assert!(allows("registry:catalog:*", "registry", "catalog", "*"));
        assert!(!allows("registry:catalog:*", "registry", "catalog", "pull"));
        assert!(!allows("repository:**:*", "repository", "web/a", "*"));
    }

    #[test]
    fn what_is_no_granted_scope_is_refused() {
        for text in ["", "a", "a:b", "repository::pull", "repository:a:", ":a:pull", "R:a:pull"] {
            assert!(text.parse::<GrantedScope>().is_err(), "{text:?}");
        }
        assert!("repository:[a:pull".parse::<GrantedScope>().is_err());
        assert!(format!("repository:{}:pull", "a".repeat(600)).parse::<GrantedScope>().is_err());
    }
}
