//! Within which names of secrets and services an operator stays.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::base::{Name, limits};

/// Characters at which a name may be divided: a scope that ends in one of them is the beginning
/// of names.
const DIVIDES: &[u8] = b"._-";

/// Text that is no scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadScope {
    /// Neither a name nor the beginning of names.
    #[error(
        "invalid scope: one whole name, or the beginning of names that ends in '.', '-' or '_', of 64 [a-zA-Z0-9-_.] characters at most"
    )]
    Text,
    /// More than an operator may have.
    #[error("too many scopes: at most 64")]
    TooMany,
}

/// The beginning of names, which ends in `.`, `-` or `_`, or one whole name.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Part(String);

impl Part {
    fn is_beginning(&self) -> bool {
        self.0.as_bytes().last().is_some_and(|byte| DIVIDES.contains(byte))
    }

    /// Whether it stands for that name, ignoring case.
    fn holds(&self, name: &Name) -> bool {
        let (own, name) = (self.0.as_bytes(), name.as_str().as_bytes());
        if self.is_beginning() {
            name.get(..own.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(own))
        } else {
            name.eq_ignore_ascii_case(own)
        }
    }
}

impl FromStr for Part {
    type Err = BadScope;

    fn from_str(text: &str) -> Result<Self, BadScope> {
        let bytes = text.as_bytes();
        let inner = |byte: &u8| byte.is_ascii_alphanumeric() || DIVIDES.contains(byte);
        let begins = bytes.first().is_some_and(u8::is_ascii_alphanumeric);
        if begins && bytes.len() <= limits::NAME_CHARS && bytes.iter().all(inner) {
            return Ok(Self(text.to_owned()));
        }
        Err(BadScope::Text)
    }
}

/// Within which names of secrets and services an operator stays: those that begin with one of
/// its parts or are one of them. Without parts it holds everything, and is no scope.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope(BTreeMap<String, Part>);

impl Scope {
    /// Everything.
    #[must_use]
    pub const fn everything() -> Self {
        Self(BTreeMap::new())
    }

    /// From its parts as they are written; none: everything.
    ///
    /// # Errors
    /// [`BadScope`].
    pub fn new<T: AsRef<str>>(parts: impl IntoIterator<Item = T>) -> Result<Self, BadScope> {
        let part = |text: T| {
            let part: Part = text.as_ref().parse()?;
            Ok((part.0.to_ascii_lowercase(), part))
        };
        let parts: BTreeMap<_, _> = parts.into_iter().map(part).collect::<Result<_, BadScope>>()?;
        if parts.len() > limits::SCOPES { Err(BadScope::TooMany) } else { Ok(Self(parts)) }
    }

    /// Whether it is one: it holds less than everything.
    #[must_use]
    pub fn is_bounded(&self) -> bool {
        !self.0.is_empty()
    }

    /// Whether a secret or service of this name lies within it.
    #[must_use]
    pub fn holds(&self, name: &Name) -> bool {
        self.0.is_empty() || self.0.values().any(|part| part.holds(name))
    }

    /// Its parts as they were written, sorted.
    pub fn parts(&self) -> impl Iterator<Item = &str> {
        self.0.values().map(|part| part.0.as_str())
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, part) in self.parts().enumerate() {
            write!(f, "{}{part}", if n == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(parts: &[&str], name: &str) -> bool {
        Scope::new(parts).expect("a scope").holds(&name.parse().expect("a name"))
    }

    #[test]
    fn a_scope_ends_where_names_are_divided_or_is_one_whole_name() {
        assert!(holds(&["team-a."], "team-a.db") && holds(&["TEAM-a."], "Team-A.db"));
        assert!(!holds(&["team-a."], "team-a") && !holds(&["team-a."], "team-ab.db"));
        assert!(!holds(&["team-a."], "xteam-a.db") && !holds(&["team-a."], "team-a-db"));
        assert!(holds(&["web"], "web") && holds(&["web"], "WEB"));
        assert!(!holds(&["web"], "web2") && !holds(&["web"], "web.db") && !holds(&["web"], "we"));
        assert!(holds(&["a_", "b-"], "a_1") && holds(&["a_", "b-"], "b-1"));
        assert!(!holds(&["a_", "b-"], "c"));
        assert!(holds(&[], "anything"), "without a part it is no scope");
    }

    #[test]
    fn what_is_no_name_is_no_scope() {
        let long = "x".repeat(65);
        for bad in ["", ".", "-a", "a b", "a*", "\u{e4}.", "a/", "a\n", long.as_str()] {
            assert_eq!(Scope::new([bad]), Err(BadScope::Text), "{bad:?}");
        }
        let many = |count: usize| Scope::new((0..count).map(|n| format!("a{n}.")));
        assert!(many(64).is_ok());
        assert_eq!(many(65), Err(BadScope::TooMany));
        assert_eq!(Scope::new(["B.", "a", "A"]).expect("one").parts().count(), 2, "case is none");
    }
}
