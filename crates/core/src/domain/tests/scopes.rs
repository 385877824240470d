//! Scopes can't be left: operators, scopes and acts are drawn, and what comes of them is compared
//! with a small model and with what lay outside before.

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::base::{Labels, Name, NodeId};
use crate::domain::testing::{
    World, grant, name, operator, operator_id, secret_id, service_id, version,
};
use crate::domain::{
    Act, Actor, Change, GrantAsked, Operator, OperatorRole, Owner, Placement, Refusal, Scope,
    Secret, Service, ServiceSpec, State, Thing, nodes_of,
};
use crate::wire::convert::{holders, secret_view, service_view};

/// Names of secrets and of services: two in each half.
const NAMES: [&str; 4] = ["aa.1", "aa.2", "bb.1", "bb.2"];

fn scope() -> impl Strategy<Value = Vec<&'static str>> {
    prop::sample::subsequence(vec!["aa.", "bb.", "aa.1"], 1..=2)
}

fn role() -> impl Strategy<Value = OperatorRole> {
    prop::sample::select(vec![
        OperatorRole::Admin,
        OperatorRole::Editor,
        OperatorRole::Viewer,
        OperatorRole::Auditor,
    ])
}

fn constraints() -> impl Strategy<Value = Vec<&'static str>> {
    prop::sample::subsequence(vec!["node.name!=n2"], 0..=1)
}

#[derive(Clone, Debug)]
enum Do {
    CreateSecret(u8),
    UpdateSecret(u8),
    RemoveSecret(u8),
    CreateService(u8, Where),
    Place(u8, Where),
    Own(u8),
    Label(u8),
    RemoveService(u8),
    Grant { service: u8, secret: u8, target: u8, replace: bool, pin: bool },
    Revoke { service: u8, secret: u8 },
    RemoveVersion(u8),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Where {
    Nowhere,
    Everywhere,
    First,
    Second,
    NotSecond,
    Nobody,
}

impl Where {
    fn placement(self) -> Placement {
        let nodes = |node: &str| Placement { nodes: vec![name(node)], ..Placement::default() };
        match self {
            Self::Nowhere => Placement::default(),
            Self::Everywhere => Placement { everywhere: true, ..Placement::default() },
            Self::First => nodes("n1"),
            Self::Second => nodes("n2"),
            Self::Nobody => nodes("n9"),
            Self::NotSecond => bound(Self::Everywhere.placement()),
        }
    }
}

/// As the leader binds what an operator with a constraint asks for.
fn bound(mut placement: Placement) -> Placement {
    placement.constraints.push("node.name!=n2".parse().expect("a constraint"));
    placement
}

fn place() -> impl Strategy<Value = Where> {
    use Where::{Everywhere, First, Nobody, NotSecond, Nowhere, Second};
    prop::sample::select(vec![Nowhere, Everywhere, First, Second, NotSecond, Nobody])
}

fn act() -> impl Strategy<Value = Do> {
    let n = || 0..4_u8;
    prop_oneof![
        n().prop_map(Do::CreateSecret),
        n().prop_map(Do::UpdateSecret),
        n().prop_map(Do::RemoveSecret),
        (n(), place()).prop_map(|(n, at)| Do::CreateService(n, at)),
        (n(), place()).prop_map(|(n, at)| Do::Place(n, at)),
        n().prop_map(Do::Own),
        n().prop_map(Do::Label),
        n().prop_map(Do::RemoveService),
        (n(), n(), 0..2_u8, any::<bool>(), any::<bool>()).prop_map(
            |(service, secret, target, replace, pin)| Do::Grant {
                service,
                secret,
                target,
                replace,
                pin
            }
        ),
        (n(), n()).prop_map(|(service, secret)| Do::Revoke { service, secret }),
        n().prop_map(Do::RemoveVersion),
    ]
}

/// What is asked, of the state as it is. `binds`: the operator's constraint is put in.
fn change(state: &State, of: &Do, binds: bool, drawn: u64) -> Change {
    let called = |n: u8| name(NAMES[usize::from(n)]);
    let spec = |n: u8| {
        state.services.get(&service_id(n)).map(|found| found.spec.clone()).unwrap_or_default()
    };
    let placed = |at: Where| match at.placement() {
        placement if !binds || at == Where::Nowhere || at == Where::NotSecond => placement,
        placement => bound(placement),
    };
    let update = |n: u8, spec| Change::UpdateService { id: service_id(n), expect: None, spec };
    match of.clone() {
        Do::CreateSecret(n) => Change::CreateSecret {
            id: secret_id(n),
            name: called(n),
            forward_only: false,
            labels: Labels::default(),
            version: version(drawn),
        },
        Do::UpdateSecret(n) => {
            Change::UpdateSecret { id: secret_id(n), expect: None, version: version(drawn) }
        }
        Do::RemoveSecret(n) => Change::RemoveSecret { id: secret_id(n) },
        Do::RemoveVersion(n) => Change::RemoveVersion { id: secret_id(n), number: 1 },
        Do::CreateService(n, at) => Change::CreateService {
            id: service_id(n),
            name: called(n),
            spec: ServiceSpec { placement: placed(at), ..ServiceSpec::default() },
        },
        Do::Place(n, at) => update(n, ServiceSpec { placement: placed(at), ..spec(n) }),
        Do::Own(n) => {
            let owner = Owner { uid: u32::try_from(drawn % 99).expect("small"), gid: 7 };
            update(n, ServiceSpec { owner, ..spec(n) })
        }
        Do::Label(n) => {
            let label = format!("drawn={drawn}").parse().expect("a label");
            update(n, ServiceSpec { labels: Labels::new([label]).expect("labels"), ..spec(n) })
        }
        Do::RemoveService(n) => Change::RemoveService { id: service_id(n) },
        Do::Grant { service, secret, target, replace, pin } => {
            let asked = GrantAsked::from(grant(secret, &format!("file-{target}")));
            let pin = if pin { Some(crate::domain::Pin::Number(1)) } else { asked.pin };
            let grant = GrantAsked { pin, replace, ..asked };
            Change::Grant { service: service_id(service), grant }
        }
        Do::Revoke { service, secret } => {
            Change::Revoke { service: service_id(service), secret: secret_id(secret), target: None }
        }
    }
}

/// What the model says of an act: whether that operator may.
fn may(state: &State, of: &Operator, asked: &Do) -> bool {
    let is_own = |n: u8| of.scope.holds(&name(NAMES[usize::from(n)]));
    let there = |n: u8| state.services.get(&service_id(n));
    let outside = |n: u8| {
        let secrets = there(n).into_iter().flat_map(|found| found.grants.values());
        secrets.map(|grant| grant.secret).any(|id| !of.scope.holds(&state.secrets[&id].name))
    };
    let places = |n: u8, at: Where| {
        let bound = !of.constraints.is_empty();
        let same = there(n).is_some_and(|found| {
            found.spec.placement == at.placement()
                || bound && found.spec.placement == self::bound(at.placement())
        });
        let named =
            there(n).is_some_and(|found| found.spec.placement.nodes == at.placement().nodes);
        match at {
            Where::Nowhere => true,
            _ if same => true,
            Where::Everywhere | Where::First | Where::NotSecond => bound,
            Where::Second | Where::Nobody => bound && named,
        }
    };
    if !matches!(of.role, OperatorRole::Admin | OperatorRole::Editor) {
        return false;
    }
    match *asked {
        Do::CreateSecret(n) | Do::UpdateSecret(n) | Do::RemoveSecret(n) | Do::RemoveVersion(n) => {
            is_own(n)
        }
        Do::CreateService(n, at) => {
            let bound = !of.constraints.is_empty();
            is_own(n)
                && match at {
                    Where::Nowhere => true,
                    Where::Everywhere | Where::First | Where::NotSecond => bound,
                    Where::Second | Where::Nobody => false,
                }
        }
        Do::Place(n, at) => {
            let same = there(n).is_some_and(|found| {
                let of_scope =
                    !of.constraints.is_empty() && !matches!(at, Where::Nowhere | Where::NotSecond);
                let asked = if of_scope { bound(at.placement()) } else { at.placement() };
                found.spec.placement == asked
            });
            is_own(n) && (same || !outside(n) && places(n, at))
        }
        Do::Own(n) => is_own(n) && !outside(n),
        Do::Label(n) | Do::RemoveService(n) => is_own(n),
        Do::Grant { service, secret, target, .. } => {
            let file = format!("file-{target}").parse().expect("a target");
            let taken = there(service).and_then(|found| found.grants.get(&file));
            let taken =
                taken.is_some_and(|there| !of.scope.holds(&state.secrets[&there.secret].name));
            is_own(service) && is_own(secret) && !taken
        }
        Do::Revoke { service, secret } => is_own(service) && is_own(secret),
    }
}

/// All that lies outside of a scope: none of it is an operator's to change.
fn outside(state: &State, scope: &Scope) -> (BTreeMap<String, Secret>, BTreeMap<String, Service>) {
    let secrets = state.secrets.values().filter(|of| !scope.holds(&of.name));
    let services = state.services.values().filter(|of| !scope.holds(&of.name));
    (
        secrets.map(|of| (of.name.to_string(), Secret::clone(of))).collect(),
        services.map(|of| (of.name.to_string(), Service::clone(of))).collect(),
    )
}

/// Where bytes of secrets from outside would go, by the services within that are granted them.
fn reached(state: &State, scope: &Scope) -> BTreeMap<(String, String), Vec<NodeId>> {
    let mut found = BTreeMap::new();
    for (id, service) in &state.services {
        for grant in service.grants.values() {
            let secret: &Name = &state.secrets[&grant.secret].name;
            if scope.holds(&service.name) && !scope.holds(secret) {
                let nodes = nodes_of(state, *id).into_iter().collect();
                found.insert((service.name.to_string(), secret.to_string()), nodes);
            }
        }
    }
    found
}

/// No text of these that is outside of the scope.
fn names_nothing_outside(scope: &Scope, text: &str) -> Result<(), TestCaseError> {
    for called in NAMES {
        prop_assert!(scope.holds(&name(called)) || !text.contains(called), "{called} in {text}");
    }
    Ok(())
}

fn sees_nothing_outside(state: &State, scope: &Scope) -> Result<(), TestCaseError> {
    for n in 0..4 {
        let secret = secret_view(state, scope, secret_id(n));
        let service = service_view(state, scope, service_id(n));
        let held = holders(state, scope, secret_id(n), None, 99);
        let is_own = scope.holds(&name(NAMES[usize::from(n)]));
        prop_assert!(is_own || secret.is_none() && service.is_none());
        names_nothing_outside(scope, &format!("{secret:?} {service:?} {held:?}"))?;
    }
    Ok(())
}

/// Whether it was said that this may not be, or is not there.
fn is_kept_out(refusal: &Refusal, there: bool) -> bool {
    match refusal {
        Refusal::NotAllowed(_)
        | Refusal::OutOfScope { .. }
        | Refusal::HoldsOutside { .. }
        | Refusal::TargetTakenOutside { .. }
        | Refusal::NotFound { thing: Thing::Worker, .. } => true,
        Refusal::NotFound { thing: Thing::Secret | Thing::Service, .. } => there,
        _ => false,
    }
}

/// Whether all that an act is about is there.
fn are_there(state: &State, asked: &Do) -> bool {
    let secret = |n: u8| state.secrets.contains_key(&secret_id(n));
    let service = |n: u8| state.services.contains_key(&service_id(n));
    match *asked {
        Do::CreateSecret(_) | Do::CreateService(..) => true,
        Do::UpdateSecret(n) | Do::RemoveSecret(n) | Do::RemoveVersion(n) => secret(n),
        Do::Place(n, _) | Do::Own(n) | Do::Label(n) | Do::RemoveService(n) => service(n),
        Do::Grant { service: of, secret: what, .. } | Do::Revoke { service: of, secret: what } => {
            service(of) && secret(what)
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn no_act_leaves_a_scope_and_none_within_is_refused_for_it(
        operators in prop::collection::vec((role(), scope(), constraints()), 1..4),
        // 0 to 3 are operators, others stand for an admin of all.
        acts in prop::collection::vec((0..6_usize, act()), 1..60),
    ) {
        let mut world = World::with_workers(2);
        for (n, (role, scope, constraints)) in (1..).zip(&operators) {
            let of = operator(n, *role, scope, constraints);
            let made = Change::CreateOperator { id: operator_id(n), operator: Box::new(of) };
            world.one(made).expect("made");
        }
        for (drawn, (who, asked)) in (10_000..).zip(acts) {
            let Some(_) = operators.get(who) else {
                let change = change(&world.state, &asked, false, drawn);
                let _any = world.one(change);
                continue;
            };
            let n = u8::try_from(who + 1).expect("small");
            let of = Operator::clone(&world.state.operators[&operator_id(n)]);
            let binds = !of.constraints.is_empty();
            let change = change(&world.state, &asked, binds, drawn);
            let is_there = are_there(&world.state, &asked);
            let (allowed, lay_outside, led) =
                (may(&world.state, &of, &asked), outside(&world.state, &of.scope), reached(&world.state, &of.scope));
            let members = (world.state.nodes.clone(), world.state.operators.clone(), world.state.tokens.clone());
            let mut command = world.command(Act::Change(vec![change]));
            command.actor = Actor::Operator(operator_id(n));
            let outcome = world.apply(&command).outcome;

            prop_assert_eq!(&outside(&world.state, &of.scope), &lay_outside, "it was changed");
            let now = (world.state.nodes.clone(), world.state.operators.clone(), world.state.tokens.clone());
            prop_assert_eq!(now, members);
            for (of_both, nodes) in reached(&world.state, &of.scope) {
                prop_assert_eq!(Some(&nodes), led.get(&of_both), "{:?} goes elsewhere", of_both);
            }
            sees_nothing_outside(&world.state, &of.scope)?;
            match outcome {
                Ok(_) => prop_assert!(allowed, "{:?} of {:?}", asked, of),
                Err(refusal) => {
                    let text = format!("{refusal} {refusal:?}");
                    if !matches!(refusal, Refusal::OutOfScope { .. }) {
                        names_nothing_outside(&of.scope, &text)?;
                    }
                    let kept = is_kept_out(&refusal, is_there);
                    prop_assert!(!(allowed && kept), "{:?} of {:?}: {}", asked, of, text);
                }
            }
        }
    }
}
