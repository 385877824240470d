//! The question that rules answer, and the answer.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::rules::action::Actions;
use crate::rules::scope::Scope;

/// Labels of an account: each may have several values.
pub type AccountLabels = BTreeMap<String, Vec<String>>;

/// A question: may this account do that?
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// Who asks; empty for somebody without a name.
    pub account: &'a str,
    /// What is known of the account.
    pub labels: &'a AccountLabels,
    /// Where the question comes from. Where it isn't known, no rule with an address matches.
    pub address: Option<IpAddr>,
    /// Which registry the token is for.
    pub service: &'a str,
    /// What is asked for.
    pub scope: &'a Scope,
}

/// A rule's place in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleAt {
    /// From 1 on, in the order in which they are tried.
    pub number: usize,
    /// The line on which it begins.
    pub line: usize,
}

/// The answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What is given, of what was asked for.
    pub allowed: Actions,
    /// The rule that decided; none where none matches, and nothing is given.
    pub rule: Option<RuleAt>,
}
