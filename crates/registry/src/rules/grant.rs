//! A scope that somebody was granted: `TYPE:NAME:ACTION,ACTION`, the name a glob.

use std::str::FromStr;

use super::glob::{Dialect, Glob, unfold};

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
    name: Glob,
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
        self.kind == kind && self.name.matches(name, &[]) && self.actions.iter().any(named)
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
            && is_narrow(name)
            && actions.len() <= ACTIONS
            && actions.iter().all(|action| action == "*" || word(action));
        if !sound {
            return Err(BadGrant);
        }
        let mut no_holes = |_: &str| Err(String::new());
        let name = Glob::parse(name, Dialect::Skep, &mut no_holes).map_err(|_| BadGrant)?;
        Ok(Self { kind: kind.to_owned(), name, actions })
    }
}

/// Stands for a `**` while alternatives are unfolded; no name has it.
const DEEP: char = '\u{1}';

/// Whether a glob stands for no more than it always did: before scopes were read as rules are, a
/// `**` beside anything but a slash was a `*`, and an empty alternative was none.
fn is_narrow(glob: &str) -> bool {
    let (mut chars, mut before, mut braces) = (glob.chars().peekable(), None, 0_u32);
    let mut marked = String::with_capacity(glob.len());
    while let Some(c) = chars.next() {
        let mut own = c;
        match c {
            '{' => braces += 1,
            ',' | '}' if braces > 0 && matches!(before, Some('{' | ',')) => return false,
            '}' => braces = braces.saturating_sub(1),
            '*' if chars.next_if_eq(&'*').is_some() => {
                let ends = match chars.peek() {
                    None | Some('/') => true,
                    Some(',' | '}') => braces > 0,
                    Some(_) => false,
                };
                if !(matches!(before, None | Some('/')) && ends) {
                    return false;
                }
                own = DEEP;
            }
            _ => {}
        }
        marked.push(own);
        if c == '\\' {
            marked.extend(chars.next());
        }
        if c == '[' {
            // The end is looked for by whoever reads it.
            for inside in chars.by_ref() {
                marked.push(inside);
                match inside {
                    '\\' => return false,
                    ']' => break,
                    _ => {}
                }
            }
        }
        before = Some(c);
    }
    unfold(&marked).is_ok_and(|texts| texts.iter().all(|text| is_whole(text)))
}

/// Whether each [`DEEP`] stands between slashes or at an end, and no two stars met.
fn is_whole(text: &str) -> bool {
    let pieces: Vec<&str> = text.split(DEEP).collect();
    let last = pieces.len().saturating_sub(1);
    let whole = |(number, piece): (usize, &&str)| {
        let (first, last) = (number == 0, number == last);
        let begins = first || piece.starts_with('/') || (last && piece.is_empty());
        let ends = last || piece.ends_with('/') || (first && piece.is_empty());
        begins && ends
    };
    !text.contains("**") && pieces.iter().enumerate().all(whole)
}

#[cfg(test)]
mod tests {
    use globset::GlobBuilder;
    use proptest::prelude::*;

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
        for name in [
            "a**", "**a", "a**/b", "a/***", "{**,a}", "x{,y}", "x{y,}", "**{/}", "{*}*", "[\\]a]",
            "${a}",
        ] {
            let text = format!("repository:{name}:pull");
            assert!(text.parse::<GrantedScope>().is_err(), "{text:?}");
        }
        for name in ["**", "a/**", "**/a", "a/**/b", "{a/**,b}/c", "[a-c]*", "a\\*\\*b", "{a,b}"] {
            let text = format!("repository:{name}:pull");
            assert!(text.parse::<GrantedScope>().is_ok(), "{text:?}");
        }
        assert!("repository:[a:pull".parse::<GrantedScope>().is_err());
        assert!(format!("repository:{}:pull", "a".repeat(600)).parse::<GrantedScope>().is_err());
    }

    proptest! {
        /// What a scope was read as before is never exceeded.
        #[test]
        fn no_scope_stands_for_more_than_it_did(
            glob in "([ab/]|[*]{1,3}|[?]|\\[[!^]?[ab/-]{1,3}\\]|[{][ab/*]{0,3}(,[ab/*]{0,3})?[}]|\\\\.|,){1,6}",
            texts in proptest::collection::vec("[ab/]{0,6}", 32),
        ) {
            let Ok(scope) = format!("repository:{glob}:pull").parse::<GrantedScope>() else {
                return Ok(());
            };
            let before = GlobBuilder::new(&glob).literal_separator(true).build();
            let before = before.map(|glob| glob.compile_matcher());
            for text in texts {
                let now = scope.allows("repository", &text, "pull");
                let then = before.as_ref().is_ok_and(|glob| glob.is_match(&text));
                prop_assert!(!now || then, "{glob} on {text}");
            }
        }
    }
}
