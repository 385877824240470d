use std::collections::{BTreeMap, BTreeSet};

use super::{due, has, service, version_id, wanted};
use crate::manager::dispatch::ledger::{Ledger, Recorded, Refused, Standing};
use skep_core::base::{BootTime, NodeId, Revision, SecretId, Stamp};
use skep_core::domain::{Confirmation, Exposure};

const NOW: BootTime = BootTime(1_000);
const NODE: NodeId = NodeId::from_bytes([9; 16]);

fn recorded(services: &[u8]) -> Recorded {
    let exposure =
        Exposure { since: Revision(1), began: Stamp(1), behind: None, clear: Revision(1) };
    Recorded {
        exposed: services.iter().map(|id| (service(*id), exposure)).collect(),
        unsure: BTreeSet::new(),
    }
}

fn behind(id: u8, at: u64) -> BTreeMap<skep_core::base::ServiceId, Exposure> {
    let exposure = Exposure {
        since: Revision(1),
        began: Stamp(1),
        behind: Some(Revision(at)),
        clear: Revision(1),
    };
    [(service(id), exposure)].into()
}

fn refused(id: u8, last: bool) -> Vec<Refused> {
    vec![Refused::whole(service(id), "no space".to_owned(), last)]
}

#[test]
fn one_push_is_under_way_and_changes_wait_for_its_answer() {
    let mut ledger = Ledger::default();
    let recorded = recorded(&[1]);
    let (number, _) = ledger.look(wanted(2, &[due(1, &[1])]), &recorded, NOW).push.expect("a push");
    assert!(ledger.look(wanted(3, &[due(1, &[2])]), &recorded, NOW).push.is_none());
    assert!(ledger.look(wanted(4, &[due(1, &[3])]), &recorded, NOW).push.is_none());
    assert!(ledger.acknowledged(number + 1, Vec::new(), NOW).is_err());
    ledger.acknowledged(number, Vec::new(), NOW).expect("it is under way");
    assert_eq!(ledger.standing(service(1), Revision(2)), Standing::InPlace);
    assert_eq!(ledger.standing(service(1), Revision(3)), Standing::Waiting);
    let (_, delta) = ledger.look(wanted(5, &[due(1, &[3])]), &recorded, NOW).push.expect("more");
    assert_eq!(delta.values.len(), 1, "what was due in between is never sent");
    assert!(ledger.acknowledged(number, Vec::new(), NOW).is_err(), "once is enough");
}

#[test]
fn what_brought_nothing_new_is_told_of_those_revisions_alone() {
    let mut ledger = Ledger::default();
    let recorded = recorded(&[1]);
    let brings = |ledger: &mut Ledger, at: u64, version: u8, unchanged: bool| {
        let look = ledger.look(wanted(at, &[due(1, &[version])]), &recorded, NOW);
        let (number, _) = look.push.expect("a push");
        if unchanged {
            ledger.brought_nothing(number, [service(1)].into());
        }
        ledger.acknowledged(number, Vec::new(), NOW).expect("it is under way");
    };
    let told = |ledger: &Ledger| {
        (1_u64..10).filter(|at| ledger.is_unchanged(service(1), Revision(*at))).collect::<Vec<_>>()
    };
    brings(&mut ledger, 2, 1, true);
    assert_eq!(told(&ledger), [0_u64; 0], "what was there before the session is not known");
    brings(&mut ledger, 4, 2, true);
    assert_eq!(told(&ledger), [3, 4]);
    brings(&mut ledger, 6, 3, true);
    assert_eq!(told(&ledger), [3, 4, 5, 6]);
    brings(&mut ledger, 7, 4, false);
    assert_eq!(told(&ledger), [0_u64; 0]);
    brings(&mut ledger, 8, 5, true);
    assert_eq!(told(&ledger), [8], "what changed at 7 is not taken back");
}

#[test]
fn nothing_travels_before_it_is_recorded() {
    let mut ledger = Ledger::default();
    let look = ledger.look(wanted(2, &[due(1, &[1]), due(2, &[2])]), &recorded(&[2]), NOW);
    assert!(look.asks && look.push.is_none(), "the first push says all");
    assert_eq!(ledger.asking().collect::<Vec<_>>(), [service(1)]);
    // Refused: the rest does not wait for it, and it is asked for again later.
    ledger.answered(service(1), Some(BootTime(NOW.0 + 500)));
    let sets = [due(1, &[1]), due(2, &[2])];
    let look = ledger.look(wanted(2, &sets), &recorded(&[2]), NOW);
    let (number, delta) = look.push.expect("the rest");
    assert_eq!(delta.sets.len(), 1);
    assert_eq!(look.again, Some(BootTime(NOW.0 + 500)));
    ledger.acknowledged(number, Vec::new(), NOW).expect("it is under way");
    assert!(ledger.look(wanted(2, &sets), &recorded(&[2]), BootTime(NOW.0 + 500)).asks);
    let look = ledger.look(wanted(3, &sets), &recorded(&[1, 2]), NOW);
    assert_eq!(look.push.expect("now").1.sets.len(), 1);
}

#[test]
fn a_pair_whose_end_may_still_come_counts_as_not_recorded() {
    let mut ledger = Ledger::default();
    let unsure = Recorded { unsure: [service(1)].into(), ..recorded(&[1]) };
    let look = ledger.look(wanted(2, &[due(1, &[1])]), &unsure, NOW);
    assert!(look.asks && look.push.is_none());
}

#[test]
fn what_is_held_and_not_due_goes_and_is_confirmed() {
    let mut ledger = Ledger::new([(service(1), has(&due(1, &[1])))].into(), BTreeSet::new());
    let (number, delta) = ledger.look(wanted(7, &[]), &recorded(&[1]), NOW).push.expect("a push");
    assert_eq!(delta.gone, [service(1)]);
    assert!(ledger.confirmations(NODE, &behind(1, 6)).is_empty(), "not before its answer");
    assert_eq!(ledger.standing(service(1), Revision(7)), Standing::Waiting);
    ledger.acknowledged(number, Vec::new(), NOW).expect("it is under way");
    let gone = Confirmation { node: NODE, service: service(1), revision: Revision(7), gone: true };
    assert_eq!(ledger.confirmations(NODE, &behind(1, 6)), [gone]);
    assert_eq!(ledger.confirmations(NODE, &recorded(&[1]).exposed), [gone]);
    assert!(ledger.confirmations(NODE, &behind(1, 8)).is_empty(), "it has not looked since");
    assert_eq!(ledger.standing(service(1), Revision(7)), Standing::InPlace);
    assert_eq!(ledger.standing(service(1), Revision(8)), Standing::Waiting);
}

#[test]
fn what_was_taken_is_confirmed_when_the_rest_is_in_place() {
    let mut ledger = Ledger::new([(service(1), has(&due(1, &[1, 2])))].into(), BTreeSet::new());
    let now = wanted(7, &[due(1, &[1])]);
    let (number, _) = ledger.look(now.clone(), &recorded(&[1]), NOW).push.expect("a push");
    ledger.acknowledged(number, refused(1, false), NOW).expect("it is under way");
    assert!(ledger.confirmations(NODE, &behind(1, 7)).is_empty(), "it failed");
    let later = BootTime(NOW.0 + 60_000);
    let (number, _) = ledger.look(now, &recorded(&[1]), later).push.expect("another try");
    ledger.acknowledged(number, Vec::new(), later).expect("it is under way");
    let expected =
        Confirmation { node: NODE, service: service(1), revision: Revision(7), gone: false };
    assert_eq!(ledger.confirmations(NODE, &behind(1, 7)), [expected]);
    assert!(ledger.confirmations(NODE, &recorded(&[1]).exposed).is_empty(), "nothing to change");
}

#[test]
fn what_was_taken_is_confirmed_though_another_file_fails() {
    let mut ledger = Ledger::new([(service(1), has(&due(1, &[1, 2, 3])))].into(), BTreeSet::new());
    let now = wanted(7, &[due(1, &[1, 4])]);
    let (number, _) = ledger.look(now.clone(), &recorded(&[1]), NOW).push.expect("a push");
    let one = |has: Option<BTreeSet<_>>| {
        let files = [("file-4".to_owned(), "no such user".to_owned())].into();
        vec![Refused { files, has, ..refused(1, false).remove(0) }]
    };
    ledger.acknowledged(number, one(Some([version_id(1)].into())), NOW).expect("under way");
    let gone = Confirmation { node: NODE, service: service(1), revision: Revision(7), gone: false };
    assert_eq!(ledger.confirmations(NODE, &behind(1, 7)), [gone], "nothing else is there");
    assert!(
        ledger.confirmations(NODE, &behind(1, 8)).is_empty(),
        "of what came later it says none"
    );
    assert!(matches!(ledger.standing(service(1), Revision(7)), Standing::Failed { .. }));
    let secret = |n: u8| [SecretId::from_bytes([n; 16])].into();
    assert!(ledger.has_files(service(1), Revision(7), &secret(1)), "that one is in place");
    assert!(!ledger.has_files(service(1), Revision(7), &secret(4)));
    assert!(!ledger.has_files(service(1), Revision(8), &secret(1)));
    assert!(!ledger.has_files(service(1), Revision(7), &BTreeSet::new()));
    assert_eq!(ledger.late().count(), 1);
    // The next try brings what is missing alone.
    let later = BootTime(NOW.0 + 60_000);
    let (number, delta) = ledger.look(now.clone(), &recorded(&[1]), later).push.expect("a try");
    assert_eq!(delta.values.iter().map(|(_, one)| one.id).collect::<Vec<_>>(), [version_id(4)]);
    // Where the agent can't say what is there, nothing is confirmed.
    let mut other = Ledger::new([(service(1), has(&due(1, &[1, 2])))].into(), BTreeSet::new());
    let (first, _) = other.look(now, &recorded(&[1]), NOW).push.expect("a push");
    other.acknowledged(first, one(None), NOW).expect("under way");
    assert!(other.confirmations(NODE, &behind(1, 7)).is_empty());
    ledger.acknowledged(number, Vec::new(), later).expect("under way");
    assert_eq!(ledger.standing(service(1), Revision(7)), Standing::InPlace);
}

#[test]
fn an_empty_set_ends_the_pair() {
    let mut ledger = Ledger::new([(service(1), has(&due(1, &[1])))].into(), BTreeSet::new());
    let (number, delta) =
        ledger.look(wanted(7, &[due(1, &[])]), &recorded(&[1]), NOW).push.expect("a push");
    assert_eq!(delta.sets.len(), 1);
    ledger.acknowledged(number, Vec::new(), NOW).expect("it is under way");
    assert!(ledger.confirmations(NODE, &behind(1, 7))[0].gone);
}

#[test]
fn a_failure_is_tried_again_later_unless_that_is_no_use() {
    let mut ledger = Ledger::default();
    let now = wanted(7, &[due(1, &[1])]);
    let (number, _) = ledger.look(now.clone(), &recorded(&[1]), NOW).push.expect("a push");
    ledger.acknowledged(number, refused(1, false), NOW).expect("it is under way");
    let failed = |last| Standing::Failed { why: "no space".to_owned(), last };
    assert_eq!(ledger.standing(service(1), Revision(7)), failed(false));
    let look = ledger.look(now.clone(), &recorded(&[1]), NOW);
    assert!(look.push.is_none());
    let again = look.again.expect("a time");
    let (number, delta) = ledger.look(now.clone(), &recorded(&[1]), again).push.expect("again");
    assert_eq!(delta.values.len(), 1, "what is there is not known");
    ledger.acknowledged(number, refused(1, true), again).expect("it is under way");
    let later = BootTime(again.0 + 1_000_000);
    assert!(ledger.look(now, &recorded(&[1]), later).push.is_none());
    assert_eq!(ledger.standing(service(1), Revision(7)), failed(true));
    let other = wanted(8, &[due(1, &[2])]);
    assert!(ledger.look(other, &recorded(&[1]), later).push.is_some(), "another set is due");
}

#[test]
fn a_value_withheld_is_a_failure_whatever_the_agent_says() {
    let mut ledger = Ledger::default();
    let now = wanted(7, &[due(1, &[1])]);
    let (number, _) = ledger.look(now, &recorded(&[1]), NOW).push.expect("a push");
    ledger.withhold(number, refused(1, true).remove(0));
    ledger.acknowledged(number, Vec::new(), NOW).expect("it is under way");
    assert!(matches!(ledger.standing(service(1), Revision(7)), Standing::Failed { .. }));
}

#[test]
fn a_wipe_that_failed_is_asked_for_again() {
    let mut ledger = Ledger::new([(service(1), has(&due(1, &[1])))].into(), BTreeSet::new());
    let (number, _) = ledger.look(wanted(7, &[]), &recorded(&[1]), NOW).push.expect("a push");
    ledger.acknowledged(number, refused(1, true), NOW).expect("it is under way");
    let look = ledger.look(wanted(7, &[]), &recorded(&[1]), NOW);
    assert!(look.push.is_none() && ledger.confirmations(NODE, &behind(1, 6)).is_empty());
    let again = look.again.expect("a time");
    let (_, delta) = ledger.look(wanted(7, &[]), &recorded(&[1]), again).push.expect("again");
    assert_eq!(delta.gone, [service(1)]);
}
