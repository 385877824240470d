use std::collections::BTreeMap;

use super::{due, due_of, file, has, service, version_id, wanted};
use crate::manager::dispatch::known::Known;
use crate::manager::dispatch::step::{Gate, step};
use skep_core::base::ServiceId;

fn known(sets: &[std::sync::Arc<super::Due>]) -> Known {
    Known {
        sets: sets.iter().map(|due| (due.set.service, has(due))).collect(),
        placed: Some(std::sync::Arc::default()),
    }
}

#[test]
fn nothing_follows_when_all_is_there() {
    let one = due(1, &[1, 2]);
    let step = step(&wanted(5, std::slice::from_ref(&one)), &known(&[one]), |_, _| Gate::Open);
    assert!(step.delta.is_none());
    assert!(step.expose.is_empty());
}

#[test]
fn the_first_push_names_what_is_placed() {
    let first = Known { sets: BTreeMap::new(), placed: None };
    let delta = step(&wanted(5, &[]), &first, |_, _| Gate::Open).delta.expect("a push");
    assert!(delta.placed.is_some());
    assert!(delta.sets.is_empty() && delta.gone.is_empty());
}

#[test]
fn values_travel_once_and_only_where_they_are_not() {
    let held = [due(1, &[1, 2]), due(2, &[3])];
    // 1 is kept by service 1; 3 leaves service 2 and comes to 3; 4 is new in both.
    let now = [due(1, &[1, 4]), due(3, &[1, 3, 4])];
    let delta = step(&wanted(5, &now), &known(&held), |_, _| Gate::Open).delta.expect("a push");
    let values: Vec<_> = delta.values.iter().map(|(_, version)| version.id).collect();
    assert_eq!(values, [version_id(4), version_id(3)]);
    assert_eq!(delta.gone, [service(2)]);
}

#[test]
fn what_takes_something_away_goes_first() {
    let held = [due(2, &[1, 2])];
    let now = [due(1, &[5]), due(2, &[1])];
    let delta = step(&wanted(5, &now), &known(&held), |_, _| Gate::Open).delta.expect("a push");
    let order: Vec<_> = delta.sets.iter().map(|due| due.set.service).collect();
    assert_eq!(order, [service(2), service(1)]);
}

#[test]
fn what_is_not_recorded_stays_back_and_is_asked_for() {
    let now = [due(1, &[5]), due(2, &[1])];
    let gate = |id: ServiceId, _: Option<&super::Due>| {
        if id == service(1) { Gate::Unexposed } else { Gate::Open }
    };
    let step = step(&wanted(5, &now), &known(&[]), gate);
    assert_eq!(step.expose, [service(1)].into());
    let delta = step.delta.expect("a push");
    assert_eq!(delta.sets.len(), 1);
    assert_eq!(delta.values.len(), 1);
}

#[test]
fn more_than_fits_follows_in_the_next_push() {
    let large = |id: u8| due_of(id, (0..12).map(|n| file(id * 16 + n, 500_000)).collect());
    let now = [large(1), large(2), large(3)];
    let delta = step(&wanted(5, &now), &known(&[]), |_, _| Gate::Open).delta.expect("a push");
    assert_eq!(delta.sets.len(), 1, "one service of 6 MB; with a second it is over 8 MiB");
    assert_eq!(delta.values.len(), 12);
    let rest = step(&wanted(5, &now), &known(&now[..1]), |_, _| Gate::Open).delta.expect("more");
    assert_eq!(rest.sets.len(), 1);
}
