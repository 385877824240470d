//! `acl.toml`: who may do what. The first rule that matches decides; where none does, nothing
//! is given. docs/registry/acl.md has every key and the order of decisions.

mod ask;
mod explain;
mod file;
mod rule;
#[cfg(test)]
mod tests;

use super::action::Actions;
use rule::{Outcome, Rule};

pub use ask::{AccountLabels, Ask, RuleAt, Verdict};
pub use explain::{Explanation, Missed};
pub use file::{ACL_BYTES, BadAcl, LABELS, OPEN_EXPRESSIONS, RULES};
pub use rule::Why;

/// Rules, read and compiled.
#[derive(Clone, Debug)]
pub struct Acl {
    rules: Vec<Rule>,
}

impl Acl {
    /// Reads `acl.toml`.
    ///
    /// # Errors
    ///
    /// Something in it is not as docs/registry/acl.md says, with its line.
    pub fn parse(text: &str) -> Result<Self, BadAcl> {
        file::read(text).map(|rules| Self { rules })
    }

    /// How many rules there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether there is none: then nothing is given to anybody.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// What is given: by the first rule that matches. A rule of which that can't be said,
    /// because it would take too long, decides too, and gives nothing.
    #[must_use]
    pub fn decide(&self, ask: &Ask<'_>) -> Verdict {
        for rule in &self.rules {
            match rule.matches(ask) {
                Outcome::Yes => {
                    let allowed = rule.gives(ask.scope.kind()).cut_with(ask.scope.asked());
                    return Verdict { allowed, rule: Some(rule.at()) };
                }
                Outcome::Undecided(_) => {
                    return Verdict { allowed: Actions::NONE, rule: Some(rule.at()) };
                }
                Outcome::No(_) => {}
            }
        }
        Verdict { allowed: Actions::NONE, rule: None }
    }

    /// [`Self::decide`], and why the rules before the one that decided didn't match.
    #[must_use]
    pub fn explain(&self, ask: &Ask<'_>) -> Explanation {
        explain::explain(&self.rules, ask)
    }
}
