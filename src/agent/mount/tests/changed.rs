//! What is to be done once another set is in place: handed out once for each.

use super::*;

on_both!(
    each_generation_is_handed_out_once,
    the_first_set_asks_for_nothing_unless_somebody_uses_the_service,
    a_set_that_shows_the_same_asks_for_nothing,
    what_is_gone_before_it_was_asked_for_is_not_handed_out,
);

fn one(number: u8) -> ServiceFiles {
    let on_change = "signal:HUP".parse().unwrap();
    ServiceFiles { on_change, ..set(number, vec![file("a", 1, number, 9)]) }
}

fn taken(fixture: &mut Fixture) -> Option<HookDue> {
    fixture.m().take_change(WEB).unwrap()
}

fn each_generation_is_handed_out_once(kind: MountKind) {
    let mut fixture = Fixture::on(kind);
    fixture.put(&one(1));
    fixture.put(&one(2));
    let due = taken(&mut fixture).expect("a change");
    assert_eq!((due.service, due.name.as_str()), (WEB, "web"));
    assert_eq!((due.on_change, due.path), (one(1).on_change, Some(fixture.root.join("web"))));
    assert_eq!(fixture.m().held()[&WEB].generation, due.generation);
    assert_eq!(taken(&mut fixture), None);
    // The newest of several stands for all.
    fixture.put(&one(3));
    fixture.put(&one(4));
    assert!(taken(&mut fixture).is_some_and(|next| next.generation > due.generation));
    assert_eq!(taken(&mut fixture), None);
    // Another hook alone is no change, and counts from the next one on.
    let other = ServiceFiles { digest: [9; 32], on_change: "none".parse().unwrap(), ..one(4) };
    fixture.put(&other);
    assert_eq!(taken(&mut fixture), None);
    fixture.put(&ServiceFiles { on_change: other.on_change.clone(), ..one(5) });
    assert_eq!(taken(&mut fixture).expect("a change").on_change, other.on_change);
}

fn the_first_set_asks_for_nothing_unless_somebody_uses_the_service(kind: MountKind) {
    let mut fixture = Fixture::on(kind);
    fixture.put(&one(1));
    assert_eq!(taken(&mut fixture), None);
    fixture.m().wipe(WEB).unwrap();
    // A program that lost its files while managers were away, and gets them back.
    fixture.m().set_workloads(WEB, vec![Workload { pid: 7, started: 8 }]).unwrap();
    fixture.put(&one(1));
    assert!(taken(&mut fixture).is_some());
}

fn a_set_that_shows_the_same_asks_for_nothing(kind: MountKind) {
    let mut fixture = Fixture::on(kind);
    fixture.put(&one(1));
    // Another version of the same bytes.
    let file = file("a", 1, 2, 9);
    let again = ServiceFiles { files: vec![file], digest: [2; 32], ..one(1) };
    let applied = fixture.apply(&again, &mut |_| Some(value(version(1), 9)), START).unwrap();
    assert_eq!(applied, Applied::Unchanged);
    assert_eq!(taken(&mut fixture), None);
}

fn what_is_gone_before_it_was_asked_for_is_not_handed_out(kind: MountKind) {
    let mut fixture = Fixture::on(kind);
    fixture.put(&one(1));
    fixture.put(&one(2));
    fixture.m().wipe(WEB).unwrap();
    assert_eq!(taken(&mut fixture), None);
}

#[test]
fn the_next_agent_hands_out_what_this_one_did_not() {
    let mut fixture = Fixture::new();
    fixture.put(&one(1));
    fixture.put(&one(2));
    fixture.restart(BootTime(START.0 + 10));
    let generation = taken(&mut fixture).expect("a change").generation;
    assert_eq!(fixture.m().held()[&WEB].generation, generation);
    fixture.restart(BootTime(START.0 + 20));
    assert_eq!(taken(&mut fixture), None, "that was handed out");
}
