//! Stored bytes: read as written, held by golden files, and never trusted.

use core::net::IpAddr;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;

use super::refusals_tests::refusals;
use super::{BadStored, StateReader, decode_command, decode_state, encode_command, encode_state};
use crate::base::{FORMAT, Labels, OperatorId, RequestId, Revision, Stamp, TokenId, WrappedKey};
use crate::domain::testing::{
    MANAGER, World, everywhere, genesis, grant, join, join_manager, name, node_id, opens, operator,
    operator_id, recovery, rekey, remember, secret_id, service_id, token, version,
};
use crate::domain::{
    Act, Actor, Anchor, Answer, Availability, Change, Command, Confirmation, Grant, Member,
    NewVersion, NodeRole, OfflinePolicy, OpenedList, Operator, OperatorRole, Outcome, Placement,
    Put, PutValue, Reader, ServiceSpec, State, Token,
};

/// From where commands come that come from somewhere.
const FROM: IpAddr = IpAddr::V4(core::net::Ipv4Addr::new(192, 0, 2, 1));

fn command(actor: Actor, act: Act) -> Command {
    let request = RequestId::from_bytes([1; 16]);
    Command { request, stamp: Stamp(2), deadline: Stamp(3), actor, from: Some(FROM), act }
}

/// Every change there is.
fn changes() -> Vec<Change> {
    let labels = Labels::new(["a=b".parse().expect("a label")]).expect("labels");
    let spec = ServiceSpec {
        placement: Placement {
            nodes: vec![name("n1")],
            constraints: vec!["node.labels.zone!=eu".parse().expect("a constraint")],
            everywhere: false,
        },
        offline: OfflinePolicy::MaxAge(60),
        labels: labels.clone(),
        ..everywhere()
    };
    let (secret, service) = (secret_id(1), service_id(2));
    let public = Some("one line\nand another\n".parse().expect("a public part"));
    let with_public = NewVersion { public, ..version(2) };
    vec![
        Change::CreateSecret {
            id: secret,
            name: name("db"),
            labels,
            forward_only: true,
            version: version(1),
        },
        Change::UpdateSecret { id: secret, expect: Some(1), version: with_public },
        Change::RollBackSecret { id: secret, expect: Some(2), to: 1 },
        Change::LabelSecret {
            id: secret,
            put: vec!["x=y".parse().expect("a label")],
            gone: vec!["z".to_owned()],
        },
        Change::RemoveSecret { id: secret },
        Change::RemoveVersion { id: secret, number: 1 },
        Change::CreateService { id: service, name: name("web"), spec: spec.clone() },
        Change::UpdateService { id: service, expect: Some(Revision(7)), spec },
        Change::RemoveService { id: service },
        Change::Grant {
            service,
            grant: Grant { pin: Some(1), write: true, ..grant(1, "db") }.into(),
        },
        Change::Revoke { service, secret, target: None },
        Change::CreateToken { id: TokenId::from_bytes([4; 16]), token: token() },
        Change::RemoveToken { id: TokenId::from_bytes([4; 16]) },
        Change::UpdateNode {
            id: node_id(3),
            put: vec!["x=y".parse().expect("a label")],
            gone: vec!["z".to_owned()],
            availability: Some(Availability::Drain),
        },
        Change::RemoveNode { id: node_id(3), force: true },
        Change::Readmit { member: Member::Node(node_id(3)) },
        Change::CreateOperator {
            id: operator_id(5),
            operator: Box::new(Operator {
                ends: Some(Stamp(9)),
                recovered: true,
                ..operator(5, OperatorRole::Editor, &["a.", "b"], &["node.labels.team==a"])
            }),
        },
        Change::RemoveOperator { id: operator_id(5) },
    ]
}

/// An open by every kind of reader.
fn every_reader() -> OpenedList {
    let readers =
        [Reader::Workload { pid: 7, started: 8 }, Reader::Host, Reader::ByHand, Reader::Stranger];
    let mut list = OpenedList { dropped: 3, ..opens(1, 0, readers.len()) };
    for (one, reader) in list.list.iter_mut().zip(readers) {
        one.reader = reader;
    }
    list
}

/// With opens on record.
fn opened() -> State {
    let mut world = World::with_readers(1);
    let mut list = every_reader();
    list.list[3].at = Stamp(u64::MAX);
    world.act(Act::Opened(list));
    // Another service's end, of which opens may still come.
    world.service(2, "gone", everywhere());
    world.expose(1, 2);
    let grant = Change::Grant { service: service_id(2), grant: grant(1, "db").into() };
    world.one(grant).expect("granted");
    world.one(Change::RemoveService { id: service_id(2) }).expect("removed");
    let (node, service, revision) = (node_id(1), service_id(2), world.state.revision);
    world.act(Act::Confirm(vec![Confirmation { node, service, revision, gone: true }]));
    assert_eq!(world.state.lapsed.len(), 2);
    world.state
}

/// After a revoke that one node has confirmed and one has not.
fn taken() -> State {
    let mut world = World::with_workers(2);
    world.secret(1, "db");
    world.service(1, "web", everywhere());
    world
        .one(Change::Grant { service: service_id(1), grant: grant(1, "db").into() })
        .expect("granted");
    world.expose(1, 1);
    world.expose(2, 1);
    world
        .one(Change::Revoke { service: service_id(1), secret: secret_id(1), target: None })
        .expect("revoked");
    let (node, service, revision) = (node_id(1), service_id(1), world.state.revision);
    let done = Confirmation { node, service, revision, gone: false };
    assert!(world.act(Act::Confirm(vec![done])).outcome.is_ok());
    world.state
}

/// Every act and actor there is.
fn commands() -> Vec<Command> {
    let manager = crate::domain::Join {
        box_key: Some([2; 32]),
        cluster_key_box: Some((1, vec![3; 72])),
        addresses: vec!["m2:4440".to_owned()],
        ..join(2, "m2")
    };
    let (node, service) = (node_id(1), service_id(2));
    let rekey = Box::new(rekey(2, [node_id(2), node_id(3)]));
    let removal = Change::RemoveManager { id: MANAGER, rekey };
    let confirmation = Confirmation { node, service, revision: Revision(9), gone: true };
    vec![
        command(Actor::Local { uid: 5, manager: MANAGER }, Act::Genesis(Box::new(genesis()))),
        command(Actor::Operator(OperatorId::from_bytes([6; 16])), Act::Change(changes())),
        command(Actor::Token(TokenId::from_bytes([7; 16])), Act::Join(Box::new(manager))),
        command(Actor::Leader(MANAGER), Act::Expose(vec![(node, service)])),
        command(Actor::Node(node), Act::Confirm(vec![confirmation])),
        command(Actor::Node(MANAGER), Act::Change(vec![removal])),
        command(Actor::Node(node), Act::Opened(every_reader())),
        command(Actor::Operator(OperatorId::from_bytes([6; 16])), Act::ResetTime),
        command(
            Actor::Node(MANAGER),
            Act::Move { manager: MANAGER, addresses: vec!["m9:4440".to_owned()] },
        ),
        command(
            Actor::Node(node),
            Act::Renew {
                member: Member::Node(node),
                key: [8; 32],
                certificate_ends: Stamp(9),
                issuer: Stamp(10),
            },
        ),
        command(
            Actor::Leader(MANAGER),
            Act::Renewed {
                member: Member::Operator(OperatorId::from_bytes([6; 16])),
                key: [8; 32],
            },
        ),
        command(
            Actor::Operator(OperatorId::from_bytes([6; 16])),
            Act::RotateIssuer {
                issuing: Arc::from([9; 10]),
                issuing_key: WrappedKey { number: 1, bytes: vec![10; 80] },
                begins: Stamp(11),
            },
        ),
        command(Actor::Leader(MANAGER), Act::RetireIssuers { begins: Stamp(11) }),
        command(
            Actor::Local { uid: 0, manager: MANAGER },
            Act::Recover(Box::new(recovery(MANAGER))),
        ),
        command(Actor::Local { uid: 0, manager: MANAGER }, Act::Resume),
        command(Actor::Node(node), Act::Put(Box::new(put(77)))),
        command(
            Actor::Node(MANAGER),
            Act::Anchor { manager: MANAGER, anchor: Anchor { number: 7, head: [8; 32] } },
        ),
    ]
}

/// A workload writes secret 1, whose second value it has seen.
fn put(drawn: u64) -> Put {
    let value = PutValue { secret: secret_id(1), expect: 2, version: version(drawn) };
    Put { node: node_id(1), service: service_id(1), values: vec![value] }
}

fn state() -> State {
    let mut world = World::with_workers(2);
    world.secret(1, "db");
    world.service(1, "web", everywhere());
    world
        .one(Change::Grant { service: service_id(1), grant: grant(1, "db").into() })
        .expect("granted");
    world.expose(1, 1);
    world
        .one(Change::UpdateSecret { id: secret_id(1), expect: None, version: version(77) })
        .expect("updated");
    world
        .one(Change::Revoke { service: service_id(1), secret: secret_id(1), target: None })
        .expect("revoked");
    let (deadline, revision) = (world.state.stamp.plus_ms(1), world.state.revision);
    let joined = Outcome::Joined(Arc::clone(&world.state.nodes[&node_id(1)]));
    let outcomes = refusals().into_iter().map(Err).chain([Ok(joined)]);
    for (n, outcome) in (0..).zip(outcomes) {
        let request = RequestId::from_bytes([0xe0 + n; 16]);
        let actor = Actor::Local { uid: 7, manager: MANAGER };
        remember(&mut world.state, request, Answer { deadline, revision, actor, outcome });
    }
    world.state
}

/// After a manager was removed: an older cluster key, and who is gone.
fn rekeyed() -> State {
    let mut world = World::founded();
    world.secret(1, "db");
    let id = TokenId::from_bytes([4; 16]);
    let token = Token { role: NodeRole::Manager, ..token() };
    world.one(Change::CreateToken { id, token }).expect("a token");
    assert!(world.act(Act::Join(Box::new(join_manager(2, id, 1)))).outcome.is_ok());
    let rekey = Box::new(rekey(2, [MANAGER]));
    world.one(Change::RemoveManager { id: node_id(2), rekey }).expect("removed");
    world.state
}

/// While a node renews under a new issuing CA and another is readmitted.
fn renewed() -> State {
    let mut world = World::with_workers(2);
    let issuing_key = WrappedKey { number: 1, bytes: vec![10; 80] };
    let rotate = Act::RotateIssuer { issuing: Arc::from([9; 10]), issuing_key, begins: Stamp(11) };
    assert!(world.act(rotate).outcome.is_ok());
    let renew = Act::Renew {
        member: Member::Node(node_id(1)),
        key: [8; 32],
        certificate_ends: Stamp(9_000),
        issuer: Stamp(11),
    };
    assert!(world.act(renew).outcome.is_ok());
    world.one(Change::Readmit { member: Member::Node(node_id(2)) }).expect("readmitted");
    world.state
}

/// A manager goes on alone.
fn recovered() -> State {
    let mut world = World::founded();
    let id = TokenId::from_bytes([4; 16]);
    let token = Token { role: NodeRole::Manager, uses_left: Some(2), ..token() };
    world.one(Change::CreateToken { id, token }).expect("a token");
    let learner = crate::domain::Join { learner: true, ..join_manager(2, id, 1) };
    assert!(world.act(Act::Join(Box::new(learner))).outcome.is_ok());
    assert!(world.act(Act::Recover(Box::new(recovery(node_id(2))))).outcome.is_ok());
    world.state
}

/// A workload has written.
fn put_there() -> State {
    let mut world = World::with_workers(1);
    world.secret(1, "db");
    world.service(1, "web", everywhere());
    let grant = Grant { write: true, ..grant(1, "db") };
    world.one(Change::Grant { service: service_id(1), grant: grant.into() }).expect("granted");
    world.expose(1, 1);
    let version = version(77);
    world.one(Change::UpdateSecret { id: secret_id(1), expect: None, version }).expect("updated");
    assert!(world.act(Act::Put(Box::new(put(78)))).outcome.is_ok());
    world.state
}

/// One secret was rolled back, and another can't be.
fn rolled_back() -> State {
    let mut world = World::with_workers(1);
    world.secret(1, "db");
    world
        .one(Change::UpdateSecret { id: secret_id(1), expect: None, version: version(77) })
        .expect("updated");
    world.one(Change::RollBackSecret { id: secret_id(1), expect: Some(2), to: 1 }).expect("back");
    let (id, name, labels) = (secret_id(2), name("verifier"), Labels::default());
    let create =
        Change::CreateSecret { id, name, labels, forward_only: true, version: version(78) };
    world.one(create).expect("new");
    world.state
}

/// What is compared of two states: everything.
fn written(state: &State) -> String {
    format!("{state:?}")
}

#[test]
fn commands_are_read_as_written() {
    for command in commands() {
        assert_eq!(decode_command(&written_command(&command)), Ok(command));
    }
}

#[test]
fn states_are_read_as_written_in_pieces_of_any_size() {
    let state = state();
    let bytes: Vec<u8> = encode_state(&state).flatten().collect();
    let whole = decode_state(&bytes).expect("a state");
    assert_eq!(encode_state(&whole).flatten().collect::<Vec<_>>(), bytes);
    assert_eq!(written(&whole), written(&state));
    for size in [1, 2, 3, 7, 100, 4096] {
        let mut reader = StateReader::default();
        for piece in bytes.chunks(size) {
            reader.feed(piece).expect("a piece");
        }
        let read = reader.finish().expect("a state");
        assert_eq!(written(&read), written(&whole), "pieces of {size}");
    }
    let empty: Vec<u8> = encode_state(&State::default()).flatten().collect();
    assert_eq!(written(&decode_state(&empty).expect("empty")), written(&State::default()));
}

fn written_command(command: &Command) -> Vec<u8> {
    encode_command(command).expect("written")
}

/// Golden files. One that is not there is written and must be looked at: for a new format all
/// are removed and made anew.
#[derive(Default)]
struct Golden(Vec<String>);

#[expect(clippy::disallowed_methods, reason = "half a golden file is seen by who looks at it")]
impl Golden {
    fn bytes(&mut self, file: &str, written: &[u8]) -> Vec<u8> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(file);
        fs::read(&path).unwrap_or_else(|_| {
            fs::write(&path, written).expect("written");
            self.0.push(file.to_owned());
            written.to_vec()
        })
    }
}

#[test]
fn what_this_format_writes_is_held_by_golden_files() {
    let mut golden = Golden::default();
    let files = [
        "genesis",
        "changes",
        "join",
        "expose",
        "confirm",
        "remove-manager",
        "opened",
        "reset-time",
        "move",
        "renew",
        "renewed",
        "rotate-issuer",
        "retire-issuers",
        "recover",
        "resume",
        "put",
    ];
    for (file, command) in files.into_iter().zip(commands()) {
        let written = written_command(&command);
        let bytes = golden.bytes(&format!("command-{FORMAT}-{file}.bin"), &written);
        assert_eq!(written, bytes, "{file}");
        assert_eq!(decode_command(&bytes), Ok(command), "{file}");
    }
    let states = [
        ("", state()),
        ("-opened", opened()),
        ("-taken", taken()),
        ("-rekeyed", rekeyed()),
        ("-renewed", renewed()),
        ("-recovered", recovered()),
        ("-put", put_there()),
        ("-rolled-back", rolled_back()),
    ];
    for (file, state) in states {
        let encoded: Vec<u8> = encode_state(&state).flatten().collect();
        let bytes = golden.bytes(&format!("state-{FORMAT}{file}.bin"), &encoded);
        assert_eq!(encoded, bytes, "{file}");
        assert_eq!(written(&decode_state(&bytes).expect("a state")), written(&state), "{file}");
    }
    assert_eq!(golden.0, Vec::<String>::new(), "not there before, and now: look at them");
    let cluster = rekeyed().cluster.expect("a cluster");
    assert_eq!((cluster.cluster_key.number, cluster.cluster_key.previous.len()), (2, 1));
    assert!(cluster.removed_managers.contains_key(&node_id(2)));
}

#[test]
fn another_format_is_not_damaged() {
    let mut bytes = written_command(&commands()[0]);
    assert_eq!(bytes[..2], [0x08, 11], "the version comes first");
    bytes[1] = 12;
    assert_eq!(decode_command(&bytes), Err(BadStored::Newer { version: 12, level: 0 }));
    bytes[1] = 1;
    assert_eq!(decode_command(&bytes), Err(BadStored::Older { version: 1 }));
    bytes[1] = 0;
    assert!(matches!(decode_command(&bytes), Err(BadStored::Damaged { .. })));
    let mut state = state();
    state.level = 2;
    let mut bytes: Vec<u8> = encode_state(&state).flatten().collect();
    assert_eq!(decode_state(&bytes).err(), Some(BadStored::Newer { version: 11, level: 2 }));
    state.level = 1;
    bytes = encode_state(&state).flatten().collect();
    let head = bytes.windows(2).position(|two| two == [0x08, 11]).expect("the version");
    assert!(head < 10, "the first field of the first record");
    bytes[head + 1] = 1;
    assert_eq!(decode_state(&bytes).err(), Some(BadStored::Older { version: 1 }));
}

#[test]
fn a_cut_or_shuffled_state_is_damaged() {
    let records: Vec<Vec<u8>> = encode_state(&state()).collect();
    let read = |records: &[Vec<u8>]| decode_state(&records.concat());
    for cut in 0..records.len() {
        assert!(read(&records[..cut]).is_err(), "cut before record {cut}");
        let mut without = records.clone();
        without.remove(cut);
        assert!(read(&without).is_err(), "without record {cut}");
        let mut twice = records.clone();
        twice.insert(cut, records[cut].clone());
        assert!(read(&twice).is_err(), "record {cut} twice");
    }
    let bytes = records.concat();
    for cut in 0..bytes.len() {
        assert!(decode_state(&bytes[..cut]).is_err(), "cut at {cut}");
    }
}

#[test]
fn a_state_that_breaks_an_invariant_is_damaged() {
    let mut unsound = state();
    unsound.bytes += 1;
    let bytes: Vec<u8> = encode_state(&unsound).flatten().collect();
    let why = "the_total_is_the_sum".to_owned();
    assert_eq!(decode_state(&bytes).err(), Some(BadStored::Damaged { what: "state", why }));
}

proptest! {
    #[test]
    fn hostile_bytes_are_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(decode_state(&bytes).is_err());
        if let Ok(command) = decode_command(&bytes) {
            prop_assert_eq!(decode_command(&written_command(&command)), Ok(command));
        }
    }

    #[test]
    fn a_flipped_bit_never_panics(at in any::<prop::sample::Index>(), bit in 0..8_u8) {
        for command in commands() {
            let mut bytes = written_command(&command);
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            let _read = decode_command(&bytes);
        }
        let mut bytes: Vec<u8> = encode_state(&state()).flatten().collect();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let _read = decode_state(&bytes);
    }
}
