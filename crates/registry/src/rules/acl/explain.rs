//! Why a decision came out as it did.

use std::fmt;

use super::ask::{Ask, RuleAt, Verdict};
use super::rule::{Outcome, Rule, Why};
use crate::rules::action::Actions;

/// A rule that did not match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missed {
    /// Which.
    pub rule: RuleAt,
    /// Why.
    pub why: Why,
}

/// `rule 2 (line 7): account "b" does not match "a"`
impl fmt::Display for Missed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rule {} (line {}): {}", self.rule.number, self.rule.line, self.why)
    }
}

/// A decision, and what led to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The decision.
    pub verdict: Verdict,
    /// What the rule that decided gives, whatever was asked for.
    pub gives: Actions,
    /// The comment of the rule that decided.
    pub comment: Option<String>,
    /// Why it can't be said whether the rule that decided matches; it gives nothing then.
    pub undecided: Option<Why>,
    /// The rules before it.
    pub missed: Vec<Missed>,
}

pub(super) fn explain(rules: &[Rule], ask: &Ask<'_>) -> Explanation {
    let mut missed = Vec::new();
    for rule in rules {
        let undecided = match rule.matches(ask) {
            Outcome::No(why) => {
                missed.push(Missed { rule: rule.at(), why });
                continue;
            }
            Outcome::Yes => None,
            Outcome::Undecided(why) => Some(why),
        };
        let gives = match &undecided {
            None => rule.gives(ask.scope.kind()),
            Some(_) => Actions::NONE,
        };
        let allowed = gives.cut_with(ask.scope.asked());
        let verdict = Verdict { allowed, rule: Some(rule.at()) };
        return Explanation { verdict, gives, comment: rule.comment.clone(), undecided, missed };
    }
    let verdict = Verdict { allowed: Actions::NONE, rule: None };
    Explanation { verdict, gives: Actions::NONE, comment: None, undecided: None, missed }
}
