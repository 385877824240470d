//! What is sent is read as it was meant, and what is unsound is named.

use crate::base::{Labels, OperatorId, SentKey};
use crate::domain::testing::{World, everywhere, grant, name, secret_id, service_id, version};
use crate::domain::{Availability, Change, Changed, Member, Placement, Scope, ServiceSpec};
use crate::wire::api;

use super::{
    Holders, holders, node_view, pending, read_change, read_changed, read_spec, secret_view,
    service_view, write_change, write_changed, write_placed, write_set, write_spec,
};

const ALL: Scope = Scope::everything();

fn sent(change: Change) -> Change<SentKey> {
    let protect = |_, _, _, key: crate::base::WrappedKey| {
        Ok::<_, ()>(SentKey { number: key.number, half: [7; 32], bytes: key.bytes })
    };
    change.with_key(protect).expect("sent")
}

#[test]
fn changes_are_read_as_written() {
    let (secret, service) = (secret_id(1), service_id(2));
    let node = crate::domain::testing::node_id(3);
    let labels = Labels::new(["a=b".parse().expect("a label")]).expect("labels");
    let list = [
        Change::CreateSecret {
            id: secret,
            name: name("db"),
            labels,
            forward_only: true,
            version: version(1),
        },
        Change::UpdateSecret { id: secret, expect: Some(1), version: version(2) },
        Change::RollBackSecret { id: secret, expect: Some(2), to: 1 },
        Change::RollBackSecret { id: secret, expect: None, to: 7 },
        Change::LabelSecret {
            id: secret,
            put: vec!["x=y".parse().expect("a label")],
            gone: vec!["z".to_owned()],
        },
        Change::RemoveSecret { id: secret },
        Change::RemoveVersion { id: secret, number: 1 },
        Change::CreateService { id: service, name: name("web"), spec: everywhere() },
        Change::UpdateService { id: service, expect: None, spec: everywhere() },
        Change::RemoveService { id: service },
        Change::Grant { service, grant: grant(1, "db").into() },
        Change::Revoke { service, secret, target: None },
        Change::RemoveToken { id: crate::domain::testing::TOKEN },
        Change::UpdateNode {
            id: node,
            put: vec!["x=y".parse().expect("a label")],
            gone: vec!["z".to_owned()],
            availability: Some(Availability::Pause),
        },
        Change::RemoveNode { id: node, force: true },
        Change::Readmit { member: Member::Node(node) },
        Change::Readmit { member: Member::Operator(OperatorId::from_bytes([4; 16])) },
        Change::RemoveOperator { id: OperatorId::from_bytes([4; 16]) },
    ];
    for change in list.map(sent) {
        let sent = write_change(&change).expect("sent by operators");
        assert_eq!(read_change(sent), Ok(change));
    }
    for changed in [
        Changed::Done,
        Changed::Already,
        Changed::Version { secret, number: 3 },
        Changed::Service(service),
    ] {
        assert_eq!(read_changed(&write_changed(&changed)), Ok(changed));
    }
}

#[test]
fn unsound_fields_are_named() {
    assert_eq!(read_change(api::Change::default()).expect_err("empty").field, "change");
    let of = api::change::Of::RemoveSecret(api::RemoveSecret { id: vec![1; 15] });
    let bad = read_change(api::Change { of: Some(of) }).expect_err("15 bytes");
    assert_eq!(bad.to_string(), "id: not an id: an id has 26 characters from a-z and 2-7");
    let mut spec = write_spec(&everywhere());
    spec.mount = 99;
    assert_eq!(read_spec(&spec).expect_err("no such mount").field, "mount");
    let constraint =
        api::Constraint { attribute: "node.os".to_owned(), equal: true, value: String::new() };
    let spec = api::ServiceSpec { constraints: vec![constraint], ..api::ServiceSpec::default() };
    assert_eq!(read_spec(&spec).expect_err("no such attribute").field, "constraint");
    let constraints = vec!["node.name != db1".parse().expect("a constraint")];
    let placement = Placement { constraints, ..Placement::default() };
    let spec = ServiceSpec { placement, ..ServiceSpec::default() };
    assert_eq!(read_spec(&write_spec(&spec)), Ok(spec));
}

#[test]
fn views_show_what_the_state_says() {
    let mut world = World::with_workers(2);
    world.secret(1, "db");
    world.service(1, "web", everywhere());
    let pinned = crate::domain::Grant { pin: Some(1), ..grant(1, "db") };
    world.one(Change::Grant { service: service_id(1), grant: pinned.into() }).expect("granted");
    world.expose(1, 1);
    let secret = secret_view(&world.state, &ALL, secret_id(1)).expect("there");
    assert_eq!(
        (secret.services, &secret.versions[0].pinned_by),
        (vec!["web".to_owned()], &vec!["web".to_owned()])
    );
    let service = service_view(&world.state, &ALL, service_id(1)).expect("there");
    assert_eq!((service.placed, service.placed_on), (2, vec!["n1".to_owned(), "n2".to_owned()]));
    assert_eq!(service.grants[0].secret_name, "db");
    let node = crate::domain::testing::node_id(1);
    assert_eq!(node_view(&world.state, node).expect("there").placed, ["web"]);
    assert_eq!(write_placed(&world.state, service_id(1)).expect("there").grants, 1);
    let set = crate::domain::set_of(&world.state, service_id(1)).expect("there");
    assert_eq!(write_set(&set).digest, set.digest());
    assert_eq!(
        holders(&world.state, &ALL, secret_id(1), None, 9).page[0].state(),
        api::HolderState::Held
    );
    let page = |after, limit| {
        let Holders { page, more, .. } = holders(&world.state, &ALL, secret_id(1), after, limit);
        (page.len(), more)
    };
    assert_eq!(page(None, 1), (1, false));
    assert_eq!(page(None, 0), (0, true));
    assert_eq!(page(Some((node, service_id(1))), 9), (0, false), "what comes behind the only one");
    assert!(pending(&world.state, 9).is_empty());
    world
        .one(Change::Revoke { service: service_id(1), secret: secret_id(1), target: None })
        .expect("revoked");
    assert_eq!(
        holders(&world.state, &ALL, secret_id(1), None, 9).page[0].state(),
        api::HolderState::Pending
    );
    assert_eq!(pending(&world.state, 9)[0].node_name, "n1");
    assert!(pending(&world.state, 0).is_empty(), "no more are named than asked for");
    assert_eq!(node_view(&world.state, node).expect("there").pending.len(), 1);
    world.secret(2, "other");
    assert!(
        holders(&world.state, &ALL, secret_id(2), None, 9).page.is_empty(),
        "nobody ever had it"
    );
}
