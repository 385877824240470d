//! The core alone: events in, acts out.

mod bench;

use std::collections::BTreeSet;

use super::*;
use crate::agent::vault::Shelf;
use bench::*;
use skep_core::base::{BootTime, Epoch, Revision, ServiceId, VersionId};
use skep_core::wire::delivery::{BadSet, Failed, Push, SentValue, Unreadable};

#[test]
fn a_push_is_acknowledged_only_after_its_job() {
    let mut bench = Bench::new();
    let acts = bench.reach();
    assert!(acts.iter().any(|act| matches!(act, Act::Hello(_))));
    bench.step(Event::Welcome(welcome(1, TAIL, 10)));
    let acts = bench.step(Event::Push(push(1, 10, Some(Vec::new()))));
    assert!(acts.iter().any(|act| matches!(act, Act::Work(Job::Deliver(_)))));
    assert_eq!(acked(&acts), None);
    let acts = bench.delivered(&[], Vec::new());
    assert_eq!(acked(&acts).map(|ack| ack.push), Some(1));
    let memory = remembered(&acts).expect("the revision is kept");
    assert_eq!((memory.revision, memory.epoch.counter), (Revision(10), 1));
}

#[test]
fn what_failed_is_named_in_the_acknowledgement() {
    let mut bench = Bench::new();
    bench.connect();
    bench.step(Event::Push(push_set(2, 11, WEB)));
    let why = "the value of version x does not open".to_owned();
    let acts = bench.delivered(&[], vec![Failed::whole(WEB, why, true)]);
    let ack = acked(&acts).expect("acknowledged all the same");
    assert_eq!(ack.failed.len(), 1);
    assert!(ack.failed[0].last);
    let acts = bench.claim(1, "web", 0);
    assert!(refused(&acts, 1).is_some_and(|refused| refused.text.contains("does not open")));
    // The next set that is in place makes it good.
    bench.step(Event::Push(push_set(3, 12, WEB)));
    bench.delivered(&[(WEB, true)], Vec::new());
    assert!(granted(&bench.claim(2, "web", 0), 2));
}

#[test]
fn a_lower_revision_is_refused() {
    let mut bench = Bench::new();
    bench.connect();
    let acts = bench.step(Event::Push(push_set(2, 9, WEB)));
    assert!(cut(&acts).is_some());
    assert!(!acts.iter().any(|act| matches!(act, Act::Work(Job::Deliver(_)))));
    bench.lose();
    bench.step(Event::Connected { address: "m2:1".to_owned() });
    let acts = bench.step(Event::Welcome(welcome(1, TAIL, 9)));
    assert!(matches!(cut(&acts), Some(Cause::Refused(_))));
}

#[test]
fn an_older_epoch_and_another_history_are_refused_a_newer_epoch_is_taken() {
    for (counter, tail, taken) in
        [(2, TAIL, false), (3, [8; 16], false), (3, TAIL, true), (4, [8; 16], true)]
    {
        let memory = Memory {
            epoch: Epoch { counter: 3, tail: TAIL },
            revision: Revision(50),
            ..Memory::default()
        };
        let mut bench = Bench::with(memory, Shelf::new());
        bench.reach();
        // A recovered cluster may count its revisions from anywhere.
        let revision = if counter == 4 { 5 } else { 50 };
        let acts = bench.step(Event::Welcome(welcome(counter, tail, revision)));
        assert_eq!(cut(&acts).is_none(), taken, "{counter} {tail:?}");
        if counter == 4 {
            assert_eq!(remembered(&acts).map(|memory| memory.revision), Some(Revision(0)));
            let acts = bench.step(Event::Push(push(1, 5, Some(Vec::new()))));
            assert_eq!(cut(&acts), None);
        }
    }
}

#[test]
fn pushes_come_in_order_and_one_at_a_time() {
    let mut bench = Bench::new();
    bench.connect();
    assert!(cut(&bench.step(Event::Push(push_set(3, 11, WEB)))).is_some());
    let mut bench = Bench::new();
    bench.connect();
    bench.step(Event::Push(push_set(2, 11, WEB)));
    assert!(cut(&bench.step(Event::Push(push_set(3, 12, WEB)))).is_some());
}

#[test]
fn values_ahead_are_for_the_next_push_only() {
    let mut bench = Bench::new();
    bench.connect();
    let value = SentValue {
        version: VersionId::from_bytes([3; 16]),
        sealed_value: vec![0; 40].into(),
        sealed_key: vec![0; 80],
    };
    assert!(bench.step(Event::Values { number: 2, values: vec![value.clone()] }).is_empty());
    let acts = bench.step(Event::Push(push_set(2, 11, WEB)));
    let delivery = acts.iter().find_map(|act| match act {
        Act::Work(Job::Deliver(delivery)) => Some(delivery),
        _ => None,
    });
    assert_eq!(delivery.map(|delivery| delivery.values.len()), Some(1));
    bench.delivered(&[(WEB, true)], Vec::new());
    let acts = bench.step(Event::Values { number: 2, values: vec![value] });
    assert!(cut(&acts).is_some());
}

#[test]
fn bad_sets_fail_alone() {
    let mut bench = Bench::new();
    bench.connect();
    let unreadable = vec![Unreadable { service: WEB, why: BadSet::Mount }];
    let acts = bench.step(Event::Push(Push { unreadable, ..push_gone(2, 11, DB) }));
    let delivery = acts.iter().find_map(|act| match act {
        Act::Work(Job::Deliver(delivery)) => Some(delivery),
        _ => None,
    });
    let delivery = delivery.expect("what can be done is done");
    assert_eq!((delivery.gone.len(), delivery.sets.len(), delivery.unreadable.len()), (1, 0, 1));
}

#[test]
fn the_running_list_is_sent_on_change_and_only_then() {
    let mut bench = Bench::new();
    bench.connect();
    let acts = bench.claim(1, "WEB", 1000);
    assert_eq!(running(&acts), Some(BTreeSet::from([WEB])));
    assert!(!granted(&acts, 1), "nothing is here yet");
    assert_eq!(running(&bench.claim(2, "web", 0)), None, "a second one changes nothing");
    bench.step(Event::Push(push_set(2, 11, WEB)));
    let acts = bench.delivered(&[(WEB, true)], Vec::new());
    assert!(granted(&acts, 1) && granted(&acts, 2));
    assert_eq!(running(&bench.step(Event::Ended(WorkloadId(1)))), None);
    assert_eq!(running(&bench.step(Event::Ended(WorkloadId(2)))), Some(BTreeSet::new()));
}

#[test]
fn no_workload_starts_on_files_about_to_go() {
    let mut bench = Bench::new();
    bench.connect();
    bench.claim(1, "web", 0);
    bench.step(Event::Push(push_set(2, 11, WEB)));
    bench.delivered(&[(WEB, true)], Vec::new());
    bench.step(Event::Ended(WorkloadId(1)));
    // The leader was told: its removal is on the way.
    let acts = bench.claim(2, "web", 0);
    assert!(!granted(&acts, 2));
    assert_eq!(running(&acts), None, "claimed again only after the removal");
    bench.step(Event::Push(push_gone(3, 12, WEB)));
    let acts = bench.delivered(&[(WEB, false)], Vec::new());
    assert_eq!(running(&acts), Some(BTreeSet::from([WEB])));
    bench.step(Event::Push(push_set(4, 13, WEB)));
    assert!(granted(&bench.delivered(&[(WEB, true)], Vec::new()), 2));
}

#[test]
fn a_removal_that_never_comes_is_waited_for_two_seconds() {
    let mut bench = Bench::new();
    bench.connect();
    bench.claim(1, "web", 0);
    bench.step(Event::Ended(WorkloadId(1)));
    bench.claim(2, "web", 0);
    assert_eq!(bench.session.next_tick(), Some(BootTime(bench.now + 2_000)));
    bench.now += 2_000;
    assert_eq!(running(&bench.step(Event::Tick)), Some(BTreeSet::from([WEB])));
}

#[test]
fn claims_are_refused_with_a_reason_and_a_hint() {
    let mut bench = Bench::new();
    bench.connect();
    let acts = bench.claim(1, "db", 0);
    let why = refused(&acts, 1).expect("not placed");
    assert!(why.text.contains("not placed on this node") && !why.hint.is_empty());
    let acts = bench.claim(2, "web", 1001);
    let why = refused(&acts, 2).expect("not its owner");
    assert!(why.text.contains("1001") && why.hint.contains("1000"));
    assert!(running(&acts).is_none(), "a refused claim does not run");
    bench.claim(3, "web", 1000);
    bench.now += 30_000;
    let acts = bench.step(Event::Tick);
    assert_eq!(refused(&acts, 3).map(|refused| refused.kind), Some(RefusedKind::Late));
    assert_eq!(running(&acts), Some(BTreeSet::new()), "it does not count any more");
}

#[test]
fn losing_the_placement_refuses_who_waits() {
    let mut bench = Bench::new();
    bench.connect();
    bench.claim(1, "web", 0);
    let acts = bench.step(Event::Push(push(2, 11, Some(Vec::new()))));
    assert!(refused(&acts, 1).is_some_and(|refused| refused.text.contains("not placed")));
}

#[test]
fn without_a_manager_what_is_here_is_served_and_the_rest_waits() {
    let mut bench = Bench::new();
    bench.connect();
    bench.claim(1, "web", 0);
    bench.step(Event::Push(push_set(2, 11, WEB)));
    bench.delivered(&[(WEB, true)], Vec::new());
    let acts = bench.lose();
    assert!(acts.iter().any(|act| matches!(act, Act::Work(Job::Offline(Some(_))))));
    assert!(!acts.iter().any(|act| matches!(act, Act::Work(Job::WipeBut(_)))));
    bench.step(Event::Ended(WorkloadId(1)));
    assert!(granted(&bench.claim(2, "web", 0), 2), "a restart is possible");
    bench.shelf.clear();
    let shelf = bench.shelf.clone();
    bench.step(Event::Shelf(shelf));
    assert!(!granted(&bench.claim(3, "web", 0), 3), "its offline time is over");
    bench.now += 30_000;
    let acts = bench.step(Event::Tick);
    assert_eq!(refused(&acts, 3).map(|refused| refused.kind), Some(RefusedKind::Away));
}

#[test]
fn on_reconnection_the_first_push_comes_before_any_grant() {
    let mut bench = Bench::new();
    bench.connect();
    bench.step(Event::Push(push_set(2, 11, WEB)));
    bench.delivered(&[(WEB, true)], Vec::new());
    bench.lose();
    let acts = bench.step(Event::Connected { address: "m1:1".to_owned() });
    let held = acts.iter().find_map(|act| match act {
        Act::Hello(hello) => Some(hello),
        _ => None,
    });
    let hello = held.expect("a hello");
    assert_eq!((hello.held.len(), hello.revision), (1, Revision(11)));
    bench.step(Event::Welcome(welcome(1, TAIL, 20)));
    assert!(!granted(&bench.claim(1, "web", 0), 1));
    let revoked = Push { placed: Some(Vec::new()), ..push_gone(1, 20, WEB) };
    bench.step(Event::Push(revoked));
    let acts = bench.delivered(&[(WEB, false)], Vec::new());
    assert!(!granted(&acts, 1));
}

#[test]
fn the_hello_waits_for_the_job_under_way() {
    let mut bench = Bench::new();
    bench.connect();
    bench.step(Event::Push(push_set(2, 11, WEB)));
    bench.lose();
    let acts = bench.step(Event::Connected { address: "m2:1".to_owned() });
    assert!(!acts.iter().any(|act| matches!(act, Act::Hello(_))));
    let acts = bench.delivered(&[(WEB, true)], Vec::new());
    assert_eq!(acked(&acts), None, "that session is gone");
    let hello = acts.iter().find_map(|act| match act {
        Act::Hello(hello) => Some(hello),
        _ => None,
    });
    assert_eq!(hello.map(|hello| hello.held.len()), Some(1));
}

#[test]
fn an_agent_that_starts_looks_at_what_it_remembers() {
    let memory = Memory {
        epoch: Epoch { counter: 1, tail: TAIL },
        revision: Revision(10),
        placed: Some(vec![placed(WEB, "web", false)]),
        ..Memory::default()
    };
    let mut bench = Bench::with(memory, Shelf::from([(WEB, shelved(4))]));
    bench.step(Event::Adopted { workload: WorkloadId(1), service: WEB });
    bench.step(Event::Begin);
    assert!(!granted(&bench.claim(2, "web", 1000), 2), "a manager may be there");
    assert!(granted(&bench.lose(), 2), "none is");
    let acts = bench.step(Event::Connected { address: "m1:1".to_owned() });
    let hello = acts.iter().find_map(|act| match act {
        Act::Hello(hello) => Some(hello),
        _ => None,
    });
    assert_eq!(hello.map(|hello| hello.running.clone()), Some(BTreeSet::from([WEB])));
}

#[test]
fn up_by_hand_is_kept_and_down_ends_it() {
    let mut bench = Bench::new();
    bench.connect();
    let until = BootTime(bench.now + 1_000);
    let claim = Claim {
        id: ClaimId(1),
        of: Wants::Named("web".into()),
        uid: 0,
        until,
        what: Claimant::Manual,
    };
    let acts = bench.step(Event::Claimed(claim));
    assert_eq!(running(&acts), Some(BTreeSet::from([WEB])));
    assert!(remembered(&acts).is_some_and(|memory| memory.manual.contains_key(&WEB)));
    bench.step(Event::Push(push_set(2, 11, WEB)));
    assert!(granted(&bench.delivered(&[(WEB, true)], Vec::new()), 1));
    let acts = bench.step(Event::Down { claim: ClaimId(2), name: "Web".to_owned() });
    assert!(acts.contains(&Act::Agree(ClaimId(2))));
    assert_eq!(running(&acts), Some(BTreeSet::new()));
    let acts = bench.step(Event::Down { claim: ClaimId(3), name: "web".to_owned() });
    assert!(refused(&acts, 3).is_some());
}

#[test]
fn a_stop_keeps_what_lives_and_wipes_the_rest() {
    for wipe in [false, true] {
        let shelf = Shelf::from([(WEB, shelved(1)), (DB, shelved(1))]);
        let mut bench = Bench::with(Memory::default(), shelf);
        bench.step(Event::Adopted { workload: WorkloadId(1), service: WEB });
        bench.connect();
        let acts = bench.step(Event::Stop { wipe });
        assert!(matches!(acts.last(), Some(Act::End(Ending::Stopped))));
        let left: Vec<ServiceId> = bench.shelf.keys().copied().collect();
        assert_eq!(left, if wipe { vec![] } else { vec![WEB] });
    }
}

#[test]
fn removed_means_wiped_and_ended() {
    let mut bench = Bench::with(Memory::default(), Shelf::from([(WEB, shelved(1))]));
    bench.step(Event::Adopted { workload: WorkloadId(1), service: WEB });
    bench.connect();
    let cause = Cause::Removed(problem::of_another("this node was removed"));
    let acts = bench.step(Event::Disconnected { cause, jitter: 0 });
    assert!(bench.shelf.is_empty());
    assert!(matches!(acts.last(), Some(Act::End(Ending::Removed(_)))));
    assert!(!acts.iter().any(|act| matches!(act, Act::Connect { .. })));
}

#[test]
fn leaving_wipes_first_and_asks_then() {
    let mut bench = Bench::new();
    let acts = bench.step(Event::Leave(ClaimId(8)));
    assert_eq!(refused(&acts, 8).map(|refused| refused.kind), Some(RefusedKind::Away));
    bench.connect();
    bench.step(Event::Push(push_set(2, 11, WEB)));
    bench.delivered(&[(WEB, true)], Vec::new());
    let acts = bench.step(Event::Leave(ClaimId(9)));
    assert!(bench.shelf.is_empty());
    assert!(matches!(acts.last(), Some(Act::Leave)));
    let acts = bench.step(Event::Left(Ok(())));
    assert!(acts.contains(&Act::Agree(ClaimId(9))));
    assert!(matches!(acts.last(), Some(Act::End(Ending::Left))));
}

#[test]
fn a_stream_that_ends_before_the_answer_to_a_leave_is_that_answer() {
    let mut bench = Bench::new();
    bench.connect();
    bench.step(Event::Leave(ClaimId(9)));
    let cause = Cause::Removed(problem::of_another("this node was removed"));
    let acts = bench.step(Event::Disconnected { cause, jitter: 0 });
    assert!(acts.contains(&Act::Agree(ClaimId(9))));
    assert!(matches!(acts.last(), Some(Act::End(Ending::Left))));
}

#[test]
fn a_manager_that_does_not_lead_points_to_the_one_that_does() {
    let mut bench = Bench::new();
    bench.reach();
    let cause = Cause::NotLeader(vec!["m9:1".to_owned()]);
    let acts = bench.step(Event::Disconnected { cause, jitter: 0 });
    let next = Act::Connect { address: "m9:1".to_owned(), after_ms: 0 };
    assert!(acts.contains(&next), "{acts:?}");
    assert_eq!(bench.session.view().state, LinkState::Offline);
}
