//! Records of opens: each once, bounded, and nobody's at another's cost.

use crate::base::limits;
use crate::domain::testing::{MANAGER, World, node_id, opens};
use crate::domain::{Act, Applied, Change, OpenedList, Outcome, Reader, Refusal};

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
    let mut world = World::with_workers(1);
    for (first, count) in [(0, 3), (0, 3), (0, 5), (4, 3), (2, 2), (7, 0)] {
        let done = hand_in(&mut world, opens(1, first, count));
        assert_eq!(done.outcome, Ok(Outcome::Done));
    }
    assert_eq!(times(&world, 1), (0..7).collect::<Vec<_>>());
    assert_eq!(world.state.reporters[&node_id(1)].next, 7);
}

#[test]
fn an_agent_that_starts_again_counts_from_the_beginning() {
    let mut world = World::with_workers(1);
    hand_in(&mut world, OpenedList { dropped: 4, ..opens(1, 0, 2) });
    hand_in(&mut world, OpenedList { dropped: 6, ..opens(1, 2, 1) });
    hand_in(&mut world, OpenedList { origin: [2; 16], dropped: 1, ..opens(1, 0, 2) });
    assert_eq!(times(&world, 1), [0, 1, 2, 0, 1]);
    let reporter = world.state.reporters[&node_id(1)];
    assert_eq!((reporter.dropped, reporter.dropped_before, reporter.next), (1, 6, 2));
}

#[test]
fn who_opens_without_end_pushes_out_its_own_records() {
    let mut world = World::with_workers(2);
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
    let mut world = World::with_workers(1);
    let before = world.state.opened.len();
    for node in [MANAGER, node_id(9)] {
        let refused = hand_in(&mut world, OpenedList { node, ..opens(1, 0, 1) });
        assert!(matches!(refused.outcome, Err(Refusal::NotFound { .. })), "{node}");
    }
    let refused = hand_in(&mut world, opens(1, 0, limits::OPENED_BATCH + 1));
    assert!(matches!(refused.outcome, Err(Refusal::Limit { .. })));
    for executable in ["x".repeat(limits::EXECUTABLE_BYTES + 1), "/bin/\u{1b}[2J".to_owned()] {
        let mut list = opens(1, 0, 1);
        list.list[0].executable = executable;
        assert!(matches!(hand_in(&mut world, list).outcome, Err(Refusal::Invalid(_))));
    }
    let refused = hand_in(&mut world, OpenedList { first: u64::MAX, ..opens(1, 0, 1) });
    assert!(matches!(refused.outcome, Err(Refusal::Invalid(_))));
    assert_eq!((world.state.opened.len(), world.state.reporters.len()), (before, 0));
}

#[test]
fn records_outlive_their_node() {
    let mut world = World::with_workers(1);
    let mut list = opens(1, 0, 2);
    list.list[1].reader = Reader::Stranger;
    hand_in(&mut world, list);
    world.one(Change::RemoveNode { id: node_id(1), force: false }).expect("removed");
    assert_eq!(times(&world, 1), [0, 1]);
    assert!(world.state.reporters.is_empty());
}
