//! What is written is read at every limit: a command, and in a snapshot what was applied.

use core::net::IpAddr;
use std::sync::Arc;

use proptest::prelude::*;

use super::any_tests::{grants_asked, label_lists, names, new_versions, puts, refusals, targets};
use super::state::RECORD_BYTES;
use super::{decode_command, decode_state, encode_command, encode_state};
use crate::base::{
    Label, Labels, Name, NodeId, OperatorId, RequestId, Revision, SealedValue, SecretId, ServiceId,
    Stamp, Target, TokenId, WrappedKey, limits,
};
use crate::domain::testing::{
    MANAGER, TOKEN, World, genesis, grant, join, join_manager, name, node_id, opens, recovery,
    rekey, remember, secret_id, service_id, token, version,
};
use crate::domain::{
    Act, Activation, Actor, Anchor, Answer, Applied, Availability, Change, Changed, Command,
    Confirmation, Counted, Few, Grant, Member, MountKind, NewVersion, NodeRole, OfflinePolicy,
    OnChange, Outcome, Owner, Placement, Recover, Refusal, ServiceSpec, State, Token, apply,
};

fn raw(world: &mut World, act: Act) -> Applied {
    let command = world.command(act);
    let bytes = encode_command(&command).expect("what is applied can be proposed");
    assert!(bytes.len() <= limits::COMMAND_BYTES);
    let revision = Revision(world.state.revision.0 + 1);
    apply(&mut world.state, revision, &command).applied
}

fn one(world: &mut World, change: Change) {
    raw(world, Act::Change(vec![change])).outcome.expect("applied");
}

/// Reads a state as it was written, each record within its bound.
fn read_again(state: &State) -> State {
    let records: Vec<Vec<u8>> = encode_state(state).collect();
    let longest = records.iter().map(Vec::len).max().expect("a head");
    assert!(longest <= RECORD_BYTES, "{longest}");
    let read = decode_state(&records.concat()).expect("it loads");
    assert_eq!(format!("{read:?}"), format!("{state:?}"));
    read
}

fn long_name(n: usize) -> Name {
    name(&format!("{n:064}"))
}

/// Sixteen bytes of its own for each number.
fn id(n: usize) -> [u8; 16] {
    let mut id = [3; 16];
    id[..8].copy_from_slice(&n.to_be_bytes());
    id
}

/// A worker of that long name joins.
fn worker(world: &mut World, n: usize) {
    let (node, name) = (NodeId::from_bytes(id(n)), long_name(n));
    let joining = crate::domain::Join { node, name, ..join(1, "x") };
    raw(world, Act::Join(Box::new(joining))).outcome.expect("joined");
}

fn full_labels() -> Labels {
    let value = limits::LABELS_BYTES / limits::LABELS - 8;
    let label = |n: usize| Label::new(&format!("{n:08}"), &"v".repeat(value)).expect("a label");
    Labels::new((0..limits::LABELS).map(label)).expect("labels")
}

fn full_spec() -> ServiceSpec {
    let constraint = |n: usize| {
        let value = "v".repeat(limits::LABELS_BYTES);
        format!("node.labels.{n:0128}!={value}").parse().expect("a constraint")
    };
    ServiceSpec {
        fresh: true,
        on_change: format!("exec:/{}", "p".repeat(limits::HOOK_PATH_BYTES - 1)).parse().unwrap(),
        units: (0..limits::UNITS_OF_ONE)
            .map(|n| format!("{n:0>73}.service").parse().expect("a unit"))
            .collect(),
        placement: Placement {
            nodes: (0..limits::PLACEMENT_NODES).map(long_name).collect(),
            constraints: (0..limits::CONSTRAINTS).map(constraint).collect(),
            everywhere: false,
        },
        mount: MountKind::Fuse,
        activation: Activation::Placed,
        owner: Owner { uid: u32::MAX - 1, gid: u32::MAX - 1 },
        offline: OfflinePolicy::MaxAge(limits::OFFLINE_S),
        labels: full_labels(),
    }
}

fn full_version(n: u64) -> NewVersion {
    let size = limits::VALUE_BYTES;
    NewVersion {
        size: u32::try_from(size).expect("small"),
        value: SealedValue(Arc::from(vec![7; size + 256])),
        data_key: WrappedKey { number: 1, bytes: vec![9; limits::BOX_BYTES] },
        public: Some("p".repeat(limits::PUBLIC_BYTES).parse().expect("a part")),
        ..version(n)
    }
}

/// One of each kind, as large as it can be.
#[test]
fn the_largest_of_every_kind_is_read_as_written() {
    let mut world = World::founded();
    (0..limits::PLACEMENT_NODES).for_each(|n| worker(&mut world, n));
    one(
        &mut world,
        Change::CreateSecret {
            id: secret_id(1),
            name: long_name(1),
            labels: full_labels(),
            forward_only: false,
            version: full_version(1),
        },
    );
    let (id, name) = (service_id(1), long_name(2));
    one(&mut world, Change::CreateService { id, name, spec: full_spec() });
    one(
        &mut world,
        Change::CreateSecret {
            id: secret_id(2),
            name: long_name(3),
            labels: Labels::default(),
            forward_only: false,
            version: version(2),
        },
    );
    for n in 0..limits::GRANTS {
        let grant = Grant {
            secret: secret_id(2),
            target: format!("{n:0255}").parse().expect("a target"),
            uid: u32::MAX - 1,
            gid: u32::MAX - 1,
            mode: 0o777,
            pin: Some(1),
            write: true,
        };
        one(&mut world, Change::Grant { service: service_id(1), grant: grant.into() });
    }
    let pattern = Some("*".repeat(limits::NAME_CHARS));
    let id = TokenId::from_bytes([4; 16]);
    let labelled = Token { labels: full_labels(), name_pattern: pattern, ..token() };
    one(&mut world, Change::CreateToken { id, token: labelled });
    let name = long_name(limits::PLACEMENT_NODES);
    let joined = crate::domain::Join { token: id, name, ..join(1, "n1") };
    raw(&mut world, Act::Join(Box::new(joined))).outcome.expect("joined");
    let mut list = opens(1, 0, limits::OPENED_BATCH);
    list.list.iter_mut().for_each(|one| one.executable = "x".repeat(limits::EXECUTABLE_BYTES));
    raw(&mut world, Act::Opened(list)).outcome.expect("taken");
    raw(&mut world, Act::Expose(vec![(node_id(1), service_id(1))])).outcome.expect("exposed");
    let (deadline, revision) = (world.state.stamp.plus_ms(1), world.state.revision);
    let distinct = |n: usize| {
        let mut id = [8; 16];
        id[..8].copy_from_slice(&n.to_le_bytes());
        Changed::Version { secret: SecretId::from_bytes(id), number: u32::MAX }
    };
    let few = Few::of((0..99).map(long_name), usize::MAX);
    let outcomes = [
        Ok(Outcome::Changed((0..limits::CHANGES).map(distinct).collect())),
        Ok(Outcome::Joined(Arc::clone(&world.state.nodes[&node_id(1)]))),
        Err(Refusal::Holds { node: long_name(1), services: few }),
    ];
    for (n, outcome) in (0..).zip(outcomes) {
        let request = RequestId::from_bytes([0xe0 + n; 16]);
        let answer = Answer { deadline, revision, actor: Actor::Token(TOKEN), outcome };
        remember(&mut world.state, request, answer);
    }
    read_again(&world.state);
}

/// The head of a state with all the keys and managers that it may hold.
#[test]
fn the_largest_head_is_read_as_written() {
    let mut founding = genesis();
    let cluster = &mut founding.cluster;
    for blob in [&mut cluster.root, &mut cluster.sealed_root_key, &mut cluster.issuing] {
        *blob = Arc::from(vec![1; limits::CA_BYTES]);
    }
    cluster.issuing_key.bytes = vec![2; limits::CA_BYTES];
    let recipient = cluster.recipients.values().next().expect("one").clone();
    for n in 1..limits::RECIPIENTS {
        let id = crate::base::RecipientId::from_bytes([u8::try_from(n).expect("small"); 16]);
        let label = "l".repeat(limits::RECIPIENT_LABEL_BYTES);
        let only = Some(MANAGER);
        let recipient = crate::domain::Recipient { label, only, ..recipient.clone() };
        cluster.recipients.insert(id, recipient);
    }
    cluster.recipients.retain(|id, _| *id != crate::base::RecipientId::from_bytes([11; 16]));
    founding.node.addresses = vec!["a".repeat(limits::ADDRESS_BYTES); limits::ADDRESSES];
    let mut world = World::default();
    raw(&mut world, Act::Genesis(Box::new(founding))).outcome.expect("founded");
    let id = TokenId::from_bytes([4; 16]);
    one(
        &mut world,
        Change::CreateToken { id, token: Token { role: NodeRole::Manager, ..token() } },
    );
    one(
        &mut world,
        Change::CreateSecret {
            id: secret_id(1),
            name: name("db"),
            labels: Labels::default(),
            forward_only: false,
            version: version(1),
        },
    );
    let mut number = 1;
    let refused = loop {
        let mut joining = join_manager(2, id, number);
        joining.addresses = vec!["a".repeat(limits::ADDRESS_BYTES); limits::ADDRESSES];
        // The id of one removed within ten minutes is not free.
        let mut node = [5; 16];
        node[..8].copy_from_slice(&number.to_le_bytes());
        let node = NodeId::from_bytes(node);
        joining.node = node;
        raw(&mut world, Act::Join(Box::new(joining))).outcome.expect("joined");
        number += 1;
        let mut rekey = rekey(number, [MANAGER]);
        rekey.previous.bytes = vec![1; limits::CLUSTER_KEY_BYTES];
        rekey.issuing_key.bytes = vec![1; limits::CA_BYTES];
        let remove = Change::RemoveManager { id: node, rekey: Box::new(rekey) };
        if let Err(refusal) = raw(&mut world, Act::Change(vec![remove])).outcome {
            break refusal;
        }
    };
    assert!(matches!(refused, Refusal::Limit { what: Counted::ClusterKeys, .. }), "{refused:?}");
    let read = read_again(&world.state);
    let cluster = read.cluster.expect("a cluster");
    assert_eq!(cluster.cluster_key.previous.len(), limits::CLUSTER_KEYS);
    assert_eq!(cluster.removed_managers.len(), limits::REMOVED);
}

/// A tenth of the most of everything that is counted, all on everything.
#[test]
fn a_state_of_many_things_is_read_as_written() {
    let mut world = World::founded();
    let spec = |n: usize| match n % 3 {
        0 => crate::domain::testing::everywhere(),
        1 => ServiceSpec {
            placement: Placement { nodes: vec![long_name(n)], ..Placement::default() },
            ..ServiceSpec::default()
        },
        _ => ServiceSpec::default(),
    };
    (0..limits::NODES / 10).for_each(|n| worker(&mut world, n));
    let all: Vec<usize> = (0..limits::SECRETS / 10).collect();
    for some in all.chunks(limits::CHANGES) {
        let create = |n: &usize| Change::CreateSecret {
            id: SecretId::from_bytes(id(*n)),
            name: long_name(*n),
            labels: Labels::default(),
            forward_only: false,
            version: version(u64::try_from(*n).expect("small") + 1),
        };
        raw(&mut world, Act::Change(some.iter().map(create).collect())).outcome.expect("made");
    }
    let services: Vec<usize> = (0..limits::SERVICES / 10).collect();
    for some in services.chunks(limits::CHANGES / 2) {
        let create = |n: &usize| {
            let service = ServiceId::from_bytes(id(*n));
            let target: Target = "t".parse().expect("a target");
            let secret = SecretId::from_bytes(id(*n));
            let grant = Grant { mode: 0o400, secret, target, ..grant(1, "t") };
            let make = Change::CreateService { id: service, name: long_name(*n), spec: spec(*n) };
            [make, Change::Grant { service, grant: grant.into() }]
        };
        raw(&mut world, Act::Change(some.iter().flat_map(create).collect())).outcome.expect("made");
    }
    let pairs: Vec<_> = (0..limits::NODES / 10)
        .flat_map(|node| (0..30).map(move |n| (NodeId::from_bytes(id(node)), n)))
        .map(|(node, n)| (node, ServiceId::from_bytes(id(n))))
        .collect();
    raw(&mut world, Act::Expose(pairs)).outcome.expect("exposed");
    let records: Vec<u8> = encode_state(&world.state).flatten().collect();
    let read = decode_state(&records).expect("it loads");
    assert_eq!((read.secrets.len(), read.services.len()), (all.len(), services.len()));
    assert_eq!((read.bytes, &read.indexes), (world.state.bytes, &world.state.indexes));
    // What counts is no less than half of what is written.
    assert!(u64::try_from(records.len()).expect("small") <= 2 * read.bytes);
}

#[test]
fn what_could_not_be_read_is_not_proposed() {
    let mut world = World::founded();
    let long = |count: usize, each: usize| Change::UpdateNode {
        id: MANAGER,
        put: Vec::new(),
        gone: vec!["x".repeat(each); count],
        availability: None,
    };
    let command = world.command(Act::Change(vec![long(1_000, 9_000)]));
    assert!(encode_command(&command).is_err(), "longer than a command may be");
    let label = Label { key: "no key\n".to_owned(), value: String::new() };
    let put =
        Change::UpdateNode { id: MANAGER, put: vec![label], gone: Vec::new(), availability: None };
    let command = world.command(Act::Change(vec![put]));
    assert!(encode_command(&command).is_err(), "a label that is none");
    let mut spec = full_spec();
    spec.placement.constraints[0].attribute = crate::domain::Attribute::Label(String::new());
    let create = Change::CreateService { id: service_id(1), name: name("web"), spec };
    let command = world.command(Act::Change(vec![create]));
    assert!(encode_command(&command).is_err(), "an attribute that is none");
    let refused = world.one(long(limits::LABELS + 1, 1));
    assert!(matches!(refused, Err(Refusal::Limit { what: Counted::Labels, .. })), "{refused:?}");
}

fn specs() -> impl Strategy<Value = ServiceSpec> {
    let attribute = prop_oneof![
        Just("node.id".to_owned()),
        Just("node.name".to_owned()),
        "[a-z]{1,128}".prop_map(|key| format!("node.labels.{key}")),
    ];
    let constraint = (attribute, any::<bool>(), "[a-z=!]{1,50}").prop_map(|(of, equal, value)| {
        let operator = if equal { "==" } else { "!=" };
        format!("{of}{operator}{value}").parse().expect("a constraint")
    });
    let nodes = prop::collection::vec(names(), 0..4);
    let constraints = prop::collection::vec(constraint, 0..4);
    let rest = (any::<[bool; 3]>(), any::<u32>(), any::<Option<u64>>(), label_lists());
    (nodes, constraints, rest).prop_map(|(nodes, constraints, (flags, id, age, labels))| {
        let [everywhere, fuse, placed] = flags;
        ServiceSpec {
            fresh: fuse != placed,
            on_change: match id % 3 {
                0 => OnChange::Nothing,
                1 => "signal:USR2".parse().expect("a hook"),
                _ => format!("exec:/hooks/{id}").parse().expect("a hook"),
            },
            units: (0..id % 4).map(|n| format!("u{n}.service").parse().expect("a unit")).collect(),
            placement: Placement { nodes, constraints, everywhere },
            mount: if fuse { MountKind::Fuse } else { MountKind::Tmpfs },
            activation: if placed { Activation::Placed } else { Activation::Running },
            owner: Owner { uid: id, gid: !id },
            offline: age.map_or(OfflinePolicy::Keep, OfflinePolicy::MaxAge),
            labels: Labels::new(labels).expect("labels"),
        }
    })
}

fn changes() -> impl Strategy<Value = Change> {
    let secrets = || (1..4_u8).prop_map(secret_id);
    let services = || (1..4_u8).prop_map(service_id);
    let nodes = || (1..4_u8).prop_map(node_id);
    let ends = (any::<u64>(), any::<u64>(), any::<Option<u32>>());
    let pattern = prop::option::of("[a-z.*]{0,70}");
    let tokens = (any::<[u8; 32]>(), any::<bool>(), label_lists(), pattern, ends);
    let tokens =
        tokens.prop_map(|(digest, manager, labels, name_pattern, (created, ends, uses))| Token {
            digest,
            role: if manager { NodeRole::Manager } else { NodeRole::Worker },
            labels: Labels::new(labels).expect("labels"),
            name_pattern,
            created: Stamp(created),
            ends: Stamp(ends),
            uses_left: uses,
        });
    let takes =
        prop::sample::select(&[Availability::Active, Availability::Pause, Availability::Drain][..]);
    let gone = || prop::collection::vec("[a-z]{0,9}", 0..3);
    prop_oneof![
        (secrets(), names(), label_lists(), any::<bool>(), new_versions()).prop_map(
            |(id, name, labels, forward_only, version)| {
                let labels = Labels::new(labels).expect("labels");
                Change::CreateSecret { id, name, labels, forward_only, version }
            }
        ),
        (secrets(), any::<Option<u32>>(), new_versions())
            .prop_map(|(id, expect, version)| Change::UpdateSecret { id, expect, version }),
        (secrets(), any::<Option<u32>>(), 0..3_u32)
            .prop_map(|(id, expect, to)| Change::RollBackSecret { id, expect, to }),
        (secrets(), label_lists(), gone()).prop_map(|(id, put, gone)| Change::LabelSecret {
            id,
            put,
            gone
        }),
        secrets().prop_map(|id| Change::RemoveSecret { id }),
        (secrets(), any::<u32>()).prop_map(|(id, number)| Change::RemoveVersion { id, number }),
        (services(), names(), specs()).prop_map(|(id, name, spec)| Change::CreateService {
            id,
            name,
            spec
        }),
        (services(), any::<Option<u64>>(), specs()).prop_map(|(id, expect, spec)| {
            Change::UpdateService { id, expect: expect.map(Revision), spec }
        }),
        services().prop_map(|id| Change::RemoveService { id }),
        (services(), grants_asked()).prop_map(|(service, grant)| Change::Grant { service, grant }),
        (services(), secrets(), prop::option::of(targets()))
            .prop_map(|(service, secret, target)| Change::Revoke { service, secret, target }),
        (any::<[u8; 16]>(), tokens)
            .prop_map(|(id, token)| Change::CreateToken { id: TokenId::from_bytes(id), token }),
        any::<[u8; 16]>().prop_map(|id| Change::RemoveToken { id: TokenId::from_bytes(id) }),
        (nodes(), label_lists(), gone(), prop::option::of(takes)).prop_map(
            |(id, put, gone, availability)| Change::UpdateNode { id, put, gone, availability }
        ),
        (nodes(), any::<bool>()).prop_map(|(id, force)| Change::RemoveNode { id, force }),
        (any::<u8>(), 0..4_u64).prop_map(|(n, number)| Change::RemoveManager {
            id: node_id(n),
            rekey: Box::new(rekey(number, [MANAGER])),
        }),
        members().prop_map(|member| Change::Readmit { member }),
    ]
}

fn members() -> impl Strategy<Value = Member> {
    prop_oneof![
        (0..5_u8).prop_map(|n| Member::Node(node_id(n))),
        Just(Member::Operator(OperatorId::from_bytes([15; 16]))),
    ]
}

fn acts() -> impl Strategy<Value = Act> {
    let pairs = || (1..4_u8, 1..4_u8).prop_map(|(n, s)| (node_id(n), service_id(s)));
    let confirmation = (pairs(), any::<u8>(), any::<bool>());
    let confirmation = confirmation.prop_map(|((node, service), revision, gone)| Confirmation {
        node,
        service,
        revision: Revision(revision.into()),
        gone,
    });
    prop_oneof![
        8 => prop::collection::vec(changes(), 0..6).prop_map(Act::Change),
        2 => (1..4_u8, names()).prop_map(|(n, name)| {
            Act::Join(Box::new(crate::domain::Join { name, ..join(n, "x") }))
        }),
        1 => (members(), 0..4_u8, 0..3_u64).prop_map(|(member, key, issuer)| Act::Renew {
            member,
            key: [key; 32],
            certificate_ends: Stamp(9),
            issuer: Stamp(issuer),
        }),
        1 => (members(), 0..4_u8)
            .prop_map(|(member, key)| Act::Renewed { member, key: [key; 32] }),
        1 => (0..3_u64, 0..3_u64).prop_map(|(number, begins)| Act::RotateIssuer {
            issuing: Arc::from([1; 9]),
            issuing_key: WrappedKey { number, bytes: vec![2; 80] },
            begins: Stamp(begins),
        }),
        1 => (0..3_u64).prop_map(|begins| Act::RetireIssuers { begins: Stamp(begins) }),
        1 => (0..3_u8, 0..4_u64).prop_map(|(n, number)| {
            let survivor = if n == 0 { MANAGER } else { node_id(n) };
            let rekey = (number > 0).then(|| rekey(number, [survivor]));
            Act::Recover(Box::new(Recover { rekey, ..recovery(survivor) }))
        }),
        1 => Just(Act::Resume),
        1 => (0..4_u64, any::<[u8; 32]>()).prop_map(|(number, head)| {
            Act::Anchor { manager: MANAGER, anchor: Anchor { number, head } }
        }),
        2 => puts().prop_map(|put| Act::Put(Box::new(put))),
        1 => prop::collection::vec(pairs(), 0..4).prop_map(Act::Expose),
        1 => prop::collection::vec(confirmation, 0..4).prop_map(Act::Confirm),
        1 => prop::collection::vec("[a-z0-9.:]{0,20}", 0..4)
            .prop_map(|addresses| Act::Move { manager: MANAGER, addresses }),
        1 => (1..4_u8, 0..9_u64, 0..9_usize).prop_map(|(n, at, all)| Act::Opened(opens(n, at, all))),
    ]
}

fn actors() -> impl Strategy<Value = Actor> {
    any::<([u8; 16], u32)>().prop_flat_map(|(id, uid)| {
        let node = NodeId::from_bytes(id);
        prop::sample::select(vec![
            Actor::Leader(node),
            Actor::Local { uid, manager: node },
            Actor::Operator(OperatorId::from_bytes(id)),
            Actor::Node(node),
            Actor::Token(TokenId::from_bytes(id)),
        ])
    })
}

proptest! {
    #[test]
    fn whatever_is_asked_is_read_as_written_and_so_is_what_comes_of_it(
        list in prop::collection::vec((acts(), actors(), any::<Option<IpAddr>>()), 1..12),
        answers in prop::collection::vec((refusals(), actors()), 0..4),
    ) {
        let mut world = World::with_workers(2);
        for (act, actor, from) in list {
            let command = Command { actor, from, ..world.command(act) };
            let bytes = encode_command(&command).expect("every part of it is sound");
            prop_assert_eq!(&decode_command(&bytes).expect("read"), &command);
            // Every invariant is asked after each.
            world.apply(&command);
        }
        let (deadline, revision) = (world.state.stamp.plus_ms(1), world.state.revision);
        for (n, (refusal, actor)) in (0..).zip(answers) {
            let answer = Answer { deadline, revision, actor, outcome: Err(refusal) };
            remember(&mut world.state, RequestId::from_bytes([0xd0 + n; 16]), answer);
        }
        read_again(&world.state);
    }
}
