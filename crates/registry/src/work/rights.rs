//! What an account may do: the rules, cut with its own rights and with its owner's.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::set::Set;
use crate::rules::acl::Ask;
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
    let left = |actions: Actions| -> Actions {
        let (kind, name) = (scope.kind().resource_type(), scope.name());
        let leaves = |action: &Action| {
            subject.cuts.iter().all(|rights| rights.leaves(kind, name, action.text()))
        };
        actions.iter().filter(leaves).collect()
    };
    let decided = verdict(scope);
    let mut granted = left(decided.allowed.cut_with(scope.asked()));
    if granted.has(Action::Pull) && set.held.contains(scope.name()) {
        let view = Actions::NONE.with(Action::ViewHeld);
        if left(verdict(&scope.with_actions(view)).allowed).cut_with(view).is_empty() {
            granted = granted.without(Actions::NONE.with(Action::Pull));
        }
    }
    let rule = decided.rule.map(|rule| rule.number.to_string());
    Ruled { scope: scope.with_actions(granted), rule }
}
