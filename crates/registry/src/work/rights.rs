//! What an account may do: the rules, cut with its own rights and with its owner's.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::set::Set;
use crate::rules::acl::{Ask, Explanation};
use crate::rules::credential::Rights;
use crate::rules::slug::Account;
use crate::rules::{Action, Actions, Scope};

/// What was decided for one scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ruled {
    /// What of it is granted.
    pub(super) scope: Scope,
    /// The rule that decided, if one did.
    pub(super) rule: Option<String>,
}

/// Who asks, from where, and when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asker<'a> {
    /// Nobody's, where it asks without a name.
    pub(super) account: Option<&'a Account>,
    pub(super) address: IpAddr,
    pub(super) service: &'a str,
    pub(super) now_s: u64,
}

/// Somebody who would ask, from a place that may not be known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Examiner<'a> {
    pub(super) account: Option<&'a Account>,
    pub(super) address: Option<IpAddr>,
    pub(super) service: &'a str,
    pub(super) now_s: u64,
}

/// Why less is given than the rules give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// There is no such account, or a file of it doesn't read.
    NoAccount,
    /// It is a robot whose owner isn't there, is damaged, or is a robot.
    NoOwner,
    /// Its end, or its owner's, is past.
    Ended,
    /// It asks from elsewhere than it or its owner may; or from where is not known.
    Elsewhere,
    /// Its scopes, or its owner's, leave less.
    Scopes,
    /// A digest of the repository is held.
    Held,
}

/// A decision, and what led to it.
#[derive(Clone, Debug)]
pub struct Explained {
    /// As whom the rules see it: a robot as its owner.
    pub account: String,
    /// What the rules said; nothing where they were not asked.
    pub rules: Option<Explanation>,
    /// Why less is given.
    pub cuts: Vec<Cut>,
    /// What would be given.
    pub given: Actions,
}

/// An account as the rules see it, and what its rights are cut with.
struct Subject<'s> {
    name: &'s str,
    labels: &'s BTreeMap<String, Vec<String>>,
    cuts: Vec<&'s Rights>,
}

/// Decides every scope that is asked for, in its order.
pub(super) fn decide(set: &Set, asker: Asker<'_>, scopes: &[Scope]) -> Vec<Ruled> {
    let none = BTreeMap::new();
    let owner = asker.account.and_then(Account::owner);
    let subject = match asker.account {
        None => Some(Subject { name: "", labels: &none, cuts: Vec::new() }),
        Some(account) => subject(set, account, owner.as_ref()),
    };
    let holds = |rights: &&Rights| rights.holds(asker.address, asker.now_s);
    let subject = subject.filter(|subject| subject.cuts.iter().all(holds));
    let each = scopes.iter().map(|scope| match &subject {
        Some(subject) => ruled(set, asker, subject, scope),
        None => Ruled { scope: scope.with_actions(Actions::NONE), rule: None },
    });
    each.collect()
}

/// What [`decide`] would decide for one scope, and why.
pub(super) fn explain(set: &Set, asks: Examiner<'_>, scope: &Scope) -> Explained {
    let none = BTreeMap::new();
    let owner = asks.account.and_then(Account::owner);
    let subject = match asks.account {
        None => Some(Subject { name: "", labels: &none, cuts: Vec::new() }),
        Some(account) => subject(set, account, owner.as_ref()),
    };
    let given = Actions::NONE;
    let Some(subject) = subject else {
        let own = asks.account.and_then(|account| set.account(account)?.rights());
        let cut = if own.is_some() { Cut::NoOwner } else { Cut::NoAccount };
        let account = asks.account.map(Account::as_str).unwrap_or_default().to_owned();
        return Explained { account, rules: None, cuts: vec![cut], given };
    };
    let explained = |scope: &Scope| {
        set.acl.explain(&Ask {
            account: subject.name,
            labels: subject.labels,
            address: asks.address,
            service: asks.service,
            scope,
        })
    };
    let rules = explained(scope);
    let allowed = rules.verdict.allowed.cut_with(scope.asked());
    let left = subject.left(scope, allowed);
    let held = left.has(Action::Pull) && set.held.contains(scope.name()) && {
        let view = Actions::NONE.with(Action::ViewHeld);
        let views = explained(&scope.with_actions(view)).verdict.allowed;
        subject.left(scope, views).cut_with(view).is_empty()
    };
    let ended = subject.cuts.iter().any(|rights| rights.has_ended(asks.now_s));
    let elsewhere = subject.cuts.iter().any(|rights| !rights.is_from(asks.address));
    let cuts = [
        (ended, Cut::Ended),
        (elsewhere, Cut::Elsewhere),
        (left != allowed, Cut::Scopes),
        (held, Cut::Held),
    ];
    let cuts: Vec<Cut> = cuts.into_iter().filter(|(is, _)| *is).map(|(_, cut)| cut).collect();
    let given = match (ended || elsewhere, held) {
        (true, _) => Actions::NONE,
        (false, true) => left.without(Actions::NONE.with(Action::Pull)),
        (false, false) => left,
    };
    Explained { account: subject.name.to_owned(), rules: Some(rules), cuts, given }
}

impl Subject<'_> {
    /// What its rights, and its owner's, leave of these actions.
    fn left(&self, scope: &Scope, actions: Actions) -> Actions {
        let (kind, name) = (scope.kind().resource_type(), scope.name());
        let leaves = |action: &Action| {
            self.cuts.iter().all(|rights| rights.leaves(kind, name, action.text()))
        };
        actions.iter().filter(leaves).collect()
    }
}

fn subject<'s>(
    set: &'s Set,
    account: &'s Account,
    owner: Option<&'s Account>,
) -> Option<Subject<'s>> {
    let own = set.account(account)?.rights()?;
    let Some(owner) = owner else {
        return Some(Subject { name: account.as_str(), labels: &own.labels, cuts: vec![own] });
    };
    let held = set.account(owner)?;
    // A robot owns nothing; an owner whose credential doesn't read is none.
    let is_robot = held.credential()?.verifier.is_robot();
    let theirs = held.rights().filter(|_| !is_robot)?;
    Some(Subject { name: owner.as_str(), labels: &theirs.labels, cuts: vec![own, theirs] })
}

fn ruled(set: &Set, asker: Asker<'_>, subject: &Subject<'_>, scope: &Scope) -> Ruled {
    let verdict = |scope: &Scope| {
        set.acl.decide(&Ask {
            account: subject.name,
            labels: subject.labels,
            address: Some(asker.address),
            service: asker.service,
            scope,
        })
    };
    let decided = verdict(scope);
    let mut granted = subject.left(scope, decided.allowed.cut_with(scope.asked()));
    if granted.has(Action::Pull) && set.held.contains(scope.name()) {
        let view = Actions::NONE.with(Action::ViewHeld);
        let views = verdict(&scope.with_actions(view)).allowed;
        if subject.left(scope, views).cut_with(view).is_empty() {
            granted = granted.without(Actions::NONE.with(Action::Pull));
        }
    }
    let rule = decided.rule.map(|rule| rule.number.to_string());
    Ruled { scope: scope.with_actions(granted), rule }
}
