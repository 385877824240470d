//! Records of opens: each once, bounded, and nobody's at another's cost.

use proptest::prelude::*;

use crate::base::{Stamp, VersionId, limits};
use crate::domain::testing::{MANAGER, World, node_id, opens, secret_id, service_id};
use crate::domain::{
    Act, Applied, Change, Confirmation, Opened, OpenedList, Outcome, Reader, Refusal,
};

fn hand_in(world: &mut World, list: OpenedList) -> Applied {
    world.act(Act::Opened(list))
}

/// The times of a node's records, in the order they stand in.
fn times(world: &World, node: u8) -> Vec<u64> {
    let of = world.state.opened.iter().filter(|((id, _), _)| *id == node_id(node));
    of.flat_map(|(_, list)| list.iter().map(|one| one.at.0 - 1_000)).collect()
}

#[test]
fn what_is_handed_in_again_is_taken_once() {
    let mut world = World::with_readers(1);
    for (first, count) in [(0, 3), (0, 3), (0, 5), (4, 3), (2, 2), (7, 0)] {
        let done = hand_in(&mut world, opens(1, first, count));
        assert_eq!(done.outcome, Ok(Outcome::Done));
    }
    assert_eq!(times(&world, 1), (0..7).collect::<Vec<_>>());
    assert_eq!(world.state.reporters[&node_id(1)].next, 7);
}

#[test]
fn an_agent_that_starts_again_counts_from_the_beginning() {
    let mut world = World::with_readers(1);
    hand_in(&mut world, OpenedList { dropped: 4, ..opens(1, 0, 2) });
    hand_in(&mut world, OpenedList { dropped: 6, ..opens(1, 2, 1) });
    hand_in(&mut world, OpenedList { origin: [2; 16], dropped: 1, ..opens(1, 0, 2) });
    assert_eq!(times(&world, 1), [0, 1, 2, 0, 1]);
    let reporter = world.state.reporters[&node_id(1)];
    assert_eq!((reporter.dropped, reporter.dropped_before, reporter.next), (1, 6, 2));
}

#[test]
fn who_opens_without_end_pushes_out_its_own_records() {
    let mut world = World::with_readers(2);
    hand_in(&mut world, opens(1, 0, 10));
    let batch = u64::try_from(limits::OPENED_BATCH).unwrap();
    let batches = u64::try_from(limits::OPENED / limits::OPENED_BATCH).unwrap() + 2;
    for number in 0..batches {
        hand_in(&mut world, opens(2, number * batch, limits::OPENED_BATCH));
    }
    assert_eq!(times(&world, 1).len(), 10, "the other node's stay");
    let left = times(&world, 2);
    assert!(left.len() + 10 <= limits::OPENED, "{}", left.len());
    assert!(left.len() + 10 + limits::OPENED_BATCH > limits::OPENED, "{}", left.len());
    assert_eq!(left.last(), Some(&(batches * batch - 1)), "the newest stay");
    assert_eq!(left[0] + u64::try_from(left.len()).unwrap(), batches * batch, "without a gap");
}

#[test]
fn only_workers_that_are_listed_hand_in_and_only_what_is_sound() {
    let mut world = World::with_readers(1);
    let before = world.state.opened.len();
    for node in [MANAGER, node_id(9)] {
        let refused = hand_in(&mut world, OpenedList { node, ..opens(1, 0, 1) });
        assert!(matches!(refused.outcome, Err(Refusal::NotFound { .. })), "{node}");
    }
    let refused = hand_in(&mut world, opens(1, 0, limits::OPENED_BATCH + 1));
    assert!(matches!(refused.outcome, Err(Refusal::Limit { .. })));
    let refused = hand_in(&mut world, OpenedList { first: u64::MAX, ..opens(1, 0, 1) });
    assert!(matches!(refused.outcome, Err(Refusal::Invalid(_))));
    assert_eq!((world.state.opened.len(), world.state.reporters.len()), (before, 0));
}

#[test]
fn records_outlive_their_node() {
    let mut world = World::with_readers(1);
    let mut list = opens(1, 0, 2);
    list.list[1].reader = Reader::Stranger;
    hand_in(&mut world, list);
    world.one(Change::RemoveNode { id: node_id(1), force: true }).expect("removed");
    assert_eq!(times(&world, 1), [0, 1]);
    assert!(world.state.reporters.is_empty());
}

/// How many of one record, changed so, are taken (0 or 1), and how many count as refused.
fn judged(world: &World, alter: impl FnOnce(&mut Opened)) -> (usize, u64) {
    let mut world = world.clone();
    let before = (world.state.opened.len(), refused(&world));
    let mut list = OpenedList { origin: [77; 16], ..opens(1, 0, 1) };
    list.list[0].at = world.state.stamp;
    alter(&mut list.list[0]);
    assert_eq!(hand_in(&mut world, list).outcome, Ok(Outcome::Done));
    (world.state.opened.len() - before.0, refused(&world) - before.1)
}

fn refused(world: &World) -> u64 {
    world.state.reporters.get(&node_id(1)).map_or(0, |reporter| reporter.refused)
}

const TAKEN: (usize, u64) = (1, 0);
const REFUSED: (usize, u64) = (0, 1);

/// `n1` has service 1 with secret 1; service 2 with secret 2 is on no node.
fn two_services() -> World {
    let mut world = World::with_readers(1);
    world.secret(2, "other");
    world.service(2, "elsewhere", crate::domain::ServiceSpec::default());
    let (service, grant) = (service_id(2), crate::domain::testing::grant(2, "other"));
    world.one(Change::Grant { service, grant: grant.into() }).expect("granted");
    world
}

fn version_of(world: &World, n: u8) -> VersionId {
    world.state.secrets[&secret_id(n)].versions[&1].id
}

#[test]
fn a_node_writes_no_reads_of_what_it_was_never_given() {
    let world = two_services();
    let version = version_of(&world, 2);
    let other = |one: &mut Opened| {
        one.secret = secret_id(2);
        one.version = version;
    };
    assert_eq!(judged(&world, |_| {}), TAKEN);
    assert_eq!(judged(&world, |one| one.service = service_id(2)), REFUSED);
    assert_eq!(judged(&world, other), REFUSED, "its own service never had that secret");
    let all = |one: &mut Opened| {
        other(one);
        one.service = service_id(2);
    };
    assert_eq!(judged(&world, all), REFUSED);
    assert_eq!(judged(&world, |one| one.service = service_id(9)), REFUSED);
    assert_eq!(judged(&world, |one| one.secret = secret_id(9)), REFUSED);
    assert_eq!(judged(&world, |one| one.version = VersionId::from_bytes([9; 16])), REFUSED);
    assert_eq!(judged(&world, |one| one.number = 2), REFUSED, "a version to come");
    assert_eq!(judged(&world, |one| one.number = 0), REFUSED);
}

#[test]
fn times_and_names_that_cannot_be_are_refused() {
    let world = two_services();
    let (now, began) = (world.state.stamp.0, world.state.exposed.values().next().unwrap().began.0);
    let at = |at: u64| judged(&world, |one| one.at = Stamp(at));
    // Each command is a second later than the one before.
    assert_eq!(at(now + 1_000 + limits::OPENED_CLOCK_MS), TAKEN);
    assert_eq!(at(now + 1_001 + limits::OPENED_CLOCK_MS), REFUSED);
    assert_eq!(at(u64::MAX), REFUSED);
    let mut late = world.clone();
    late.state.stamp = Stamp(now + 10 * limits::OPENED_CLOCK_MS);
    late.expose(1, 2); // nothing: it is not due
    let pair = late.state.exposed.values_mut().next().unwrap();
    pair.began = Stamp(began + 2 * limits::OPENED_CLOCK_MS);
    let first = pair.began.0 - limits::OPENED_CLOCK_MS;
    assert_eq!(judged(&late, |one| one.at = Stamp(first)), TAKEN);
    assert_eq!(judged(&late, |one| one.at = Stamp(first - 1)), REFUSED, "before it had it");
    let named = |name: &str| judged(&world, |one| name.clone_into(&mut one.executable));
    assert_eq!(named(""), TAKEN);
    assert_eq!(named(&"x".repeat(limits::EXECUTABLE_BYTES)), TAKEN);
    assert_eq!(named(&"x".repeat(limits::EXECUTABLE_BYTES + 1)), REFUSED);
    for trick in ["/bin/\u{1b}[2J", "/bin/a\nb", "/bin/\u{202e}tac", "a\u{200b}", "\u{9b}2J"] {
        assert_eq!(named(trick), REFUSED, "{trick:?}");
    }
}

#[test]
fn what_was_taken_away_is_believed_for_an_hour_after_its_end() {
    let mut world = two_services();
    world
        .one(Change::Revoke { service: service_id(1), secret: secret_id(1), target: None })
        .expect("revoked");
    assert_eq!(judged(&world, |_| {}), TAKEN, "it is not confirmed yet");
    let mut later = world.clone();
    later.state.stamp.0 += 3 * limits::OPENED_LATE_MS;
    assert_eq!(judged(&later, |_| {}), TAKEN, "however long that takes");
    let (node, service, revision) = (node_id(1), service_id(1), later.state.revision);
    let gone = Confirmation { node, service, revision, gone: true };
    later.act(Act::Confirm(vec![gone]));
    assert!(later.state.exposed.is_empty());
    let ended = later.state.stamp;
    assert_eq!(judged(&later, |_| {}), TAKEN);
    let after = Stamp(ended.0 + 1 + limits::OPENED_CLOCK_MS);
    later.state.stamp = after;
    assert_eq!(judged(&later, |one| one.at = ended), TAKEN);
    assert_eq!(judged(&later, |one| one.at = after), REFUSED, "after its end");
    later.state.stamp.0 = ended.0 + limits::OPENED_LATE_MS;
    assert_eq!(judged(&later, |one| one.at = ended), REFUSED, "too late");
    later.secret(3, "next");
    assert!(later.state.lapsed.is_empty(), "and nothing is left of it");
}

#[test]
fn the_same_of_a_service_that_went_whole() {
    let mut world = two_services();
    world.one(Change::RemoveService { id: service_id(1) }).expect("removed");
    world.one(Change::RemoveSecret { id: secret_id(1) }).expect("removed");
    let (node, service, revision) = (node_id(1), service_id(1), world.state.revision);
    world.act(Act::Confirm(vec![Confirmation { node, service, revision, gone: true }]));
    assert_eq!(judged(&world, |_| {}), TAKEN);
    assert_eq!(judged(&world, |one| one.secret = secret_id(2)), REFUSED);
    world.state.stamp.0 += limits::OPENED_LATE_MS;
    assert_eq!(judged(&world, |_| {}), REFUSED);
}

/// As fast as operators make and remove, no more is remembered than the limit says.
#[test]
fn what_ended_is_remembered_within_its_limit() {
    let mut world = World::with_readers(1);
    let one = |n: u64| {
        let mut id = [1; 16];
        id[..8].copy_from_slice(&n.to_be_bytes());
        let pair = crate::domain::Lapsed::Pair(node_id(1), crate::base::ServiceId::from_bytes(id));
        (pair, crate::domain::Span { began: Stamp(1), ended: Stamp(world.state.stamp.0 + n / 100) })
    };
    let full: Vec<_> = (0..u64::try_from(limits::LAPSED).unwrap()).map(one).collect();
    for (of, span) in &full {
        world.state.lapsed.insert(*of, *span);
        world.state.bytes += 64;
    }
    world.state.indexes = crate::domain::Indexes::of(&world.state);
    world.one(Change::RemoveService { id: service_id(1) }).expect("removed");
    let (node, service, revision) = (node_id(1), service_id(1), world.state.revision);
    world.act(Act::Confirm(vec![Confirmation { node, service, revision, gone: true }]));
    assert_eq!(world.state.lapsed.len(), limits::LAPSED);
    assert!(!world.state.lapsed.contains_key(&full[0].0), "the oldest went");
    assert!(world.state.lapsed.contains_key(&full[full.len() - 1].0));
}

/// A field of a record as a node may make it up.
#[derive(Clone, Debug)]
struct Forged {
    service: u8,
    secret: u8,
    at: u64,
    number: u32,
    executable: String,
}

fn forged() -> impl Strategy<Value = Forged> {
    let at = prop_oneof![0..20_000_u64, any::<u64>(), 0..10_000_000_u64];
    let name = prop_oneof!["[a-z/]{0,300}", any::<String>()];
    (0..4_u8, 0..4_u8, at, 0..4_u32, name).prop_map(|(service, secret, at, number, executable)| {
        Forged { service, secret, at, number, executable }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever a node makes up, what is on record of it is of its own service and secret, and
    /// each record is either there or counted.
    #[test]
    fn nothing_made_up_is_on_record(batches in prop::collection::vec(
        prop::collection::vec(forged(), 0..20), 1..10,
    )) {
        let mut world = two_services();
        let (mut first, mut handed) = (0, 0);
        for batch in batches {
            let mut list = opens(1, first, batch.len());
            for (one, forged) in list.list.iter_mut().zip(batch) {
                one.service = service_id(forged.service);
                one.secret = secret_id(forged.secret);
                one.number = forged.number;
                one.at = Stamp(forged.at);
                one.executable = forged.executable;
            }
            first += u64::try_from(list.list.len()).unwrap();
            handed += list.list.len();
            prop_assert_eq!(hand_in(&mut world, list).outcome, Ok(Outcome::Done));
        }
        let latest = world.state.stamp.0 + limits::OPENED_CLOCK_MS;
        let kept: Vec<_> = world.state.opened.values().flat_map(|list| list.iter()).collect();
        for one in &kept {
            prop_assert_eq!((one.service, one.secret, one.number), (service_id(1), secret_id(1), 1));
            prop_assert!(one.at.0 <= latest);
            prop_assert!(one.executable.len() <= limits::EXECUTABLE_BYTES);
            prop_assert!(!one.executable.chars().any(char::is_control));
        }
        prop_assert_eq!(kept.len() + usize::try_from(refused(&world)).unwrap(), handed);
    }
}
