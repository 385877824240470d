//! One rule: whether it matches, and what it gives.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use super::ask::{AccountLabels, Ask, RuleAt};
use crate::rules::action::Actions;
use crate::rules::hole::{Field, Hole};
use crate::rules::pattern::{Match, Pattern};
use crate::rules::scope::ResourceKind;
use crate::rules::shown;

/// A rule, checked.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub(super) at: RuleAt,
    pub(super) fields: Vec<(Field, Pattern)>,
    pub(super) networks: Option<IpNet>,
    pub(super) labels: Vec<(String, Pattern)>,
    /// What it names.
    pub(super) actions: Actions,
    /// Whether it has a `*`.
    pub(super) star: bool,
    pub(super) comment: Option<String>,
}

/// What came of matching a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Yes,
    No(Why),
    /// It can't be said within the bounds: this ends the search, and gives nothing.
    Undecided(Why),
}

/// Why a rule did not match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// A pattern and what it was held against.
    Pattern {
        /// The key: `name`, or `labels.team`.
        key: String,
        /// The pattern as it is written.
        pattern: String,
        /// What was asked: one text, or the label's values.
        asked: Vec<String>,
    },
    /// A placeholder that has no value for this account.
    NoValue {
        /// The key.
        key: String,
        /// The placeholder as it is written.
        placeholder: String,
    },
    /// Another address.
    Address {
        /// Of the rule.
        network: String,
        /// Of the client, if it is known.
        asked: Option<IpAddr>,
    },
    /// It would take too long to find out.
    TooMuch {
        /// The key.
        key: String,
    },
}

/// `name "b/*" does not match "a/app"`
impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pattern { key, pattern, asked } => {
                write!(f, "{key} \"{}\" does not match ", shown(pattern))?;
                match asked.as_slice() {
                    [] => f.write_str("an account without that label"),
                    [one] => write!(f, "\"{}\"", shown(one)),
                    [first, rest @ ..] => {
                        write!(f, "\"{}\" nor {} other values", shown(first), rest.len())
                    }
                }
            }
            Self::NoValue { key, placeholder } => {
                write!(f, "{key}: {placeholder} has no value here")
            }
            Self::Address { network, asked: Some(asked) } => {
                write!(f, "ip \"{network}\" does not contain {asked}")
            }
            Self::Address { network, asked: None } => {
                write!(f, "ip \"{network}\" does not match an unknown address")
            }
            Self::TooMuch { key } => {
                write!(f, "{key} has too many label values to try: nothing is given")
            }
        }
    }
}

impl Rule {
    pub(super) fn at(&self) -> RuleAt {
        self.at
    }

    fn field(&self, field: Field) -> Option<&Pattern> {
        self.fields.iter().find(|(of, _)| *of == field).map(|(_, pattern)| pattern)
    }

    /// What it gives of a kind of thing, where it matches. `*` stands for what is done every
    /// day, and for the catalog only in a rule whose type is the word `registry`.
    pub(super) fn gives(&self, kind: ResourceKind) -> Actions {
        match kind {
            ResourceKind::Repository | ResourceKind::Plugin if self.star => {
                self.actions.and(kind.all())
            }
            ResourceKind::Repository | ResourceKind::Plugin => self.actions,
            ResourceKind::Registry => {
                let named = self.field(Field::Type).is_some_and(|of| of.text() == "registry");
                if self.star && named { kind.all() } else { Actions::NONE }
            }
        }
    }

    /// Whether it matches; the first key that does not is named.
    pub(super) fn matches(&self, ask: &Ask<'_>) -> Outcome {
        for (field, pattern) in &self.fields {
            let text = asked(ask, *field);
            let values = |hole: &Hole| self.values(ask, hole);
            match outcome(field.text(), pattern, &pattern.matches(text, values), &[text]) {
                Outcome::Yes => {}
                other => return other,
            }
        }
        if let Some(network) = &self.networks {
            let address = ask.address.map(|address| address.to_canonical());
            if !address.is_some_and(|address| network.contains(&address)) {
                return Outcome::No(Why::Address { network: network.to_string(), asked: address });
            }
        }
        for (label, pattern) in &self.labels {
            let key = format!("labels.{}", shown(label));
            let all = values_of(ask.labels, label);
            let mut last = Match::No;
            for value in &all {
                last = pattern.matches(value, |hole| self.values(ask, hole));
                if last != Match::No {
                    break;
                }
            }
            match outcome(&key, pattern, &last, &all) {
                Outcome::Yes => {}
                other => return other,
            }
        }
        Outcome::Yes
    }

    fn values<'a>(&self, ask: &Ask<'a>, hole: &Hole) -> Vec<&'a str> {
        match hole {
            Hole::Asked(field) => vec![asked(ask, *field)],
            Hole::Captured(field, group) => {
                let pattern = self.field(*field);
                pattern.and_then(|of| of.captured(*group, asked(ask, *field))).into_iter().collect()
            }
            Hole::Label(label) => values_of(ask.labels, label),
        }
    }
}

fn outcome(key: &str, pattern: &Pattern, matched: &Match, asked: &[&str]) -> Outcome {
    let key = key.to_owned();
    match matched {
        Match::Yes => Outcome::Yes,
        Match::No => Outcome::No(Why::Pattern {
            key,
            pattern: pattern.text().to_owned(),
            asked: asked.iter().map(|text| (*text).to_owned()).collect(),
        }),
        Match::NoValue(hole) => Outcome::No(Why::NoValue { key, placeholder: hole.to_string() }),
        Match::TooMuch => Outcome::Undecided(Why::TooMuch { key }),
    }
}

fn asked<'a>(ask: &Ask<'a>, field: Field) -> &'a str {
    match field {
        Field::Account => ask.account,
        Field::Type => ask.scope.kind().resource_type(),
        Field::Name => ask.scope.name(),
        Field::Service => ask.service,
    }
}

fn values_of<'a>(labels: &'a AccountLabels, label: &str) -> Vec<&'a str> {
    labels.get(label).into_iter().flatten().map(String::as_str).collect()
}
