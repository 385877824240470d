use std::collections::BTreeSet;

use prost::Message;

use super::{due, due_of, file, service, version_id, wanted};
use crate::manager::dispatch::frames::{NoValue, frames};
use crate::manager::dispatch::known::Known;
use crate::manager::dispatch::step::{Gate, step};
use skep_core::wire::api;
use skep_core::wire::api::from_leader::Of;

const TWO_MIB: usize = 2 * 1024 * 1024;

#[test]
fn a_small_push_is_one_message() {
    let delta = step(&wanted(5, &[due(1, &[1, 2])]), &Known::default(), |_, _| Gate::Open);
    let (messages, refused) =
        frames(7, &delta.delta.expect("a push"), |_, version| Ok(vec![version.id.as_bytes()[0]]));
    assert!(refused.is_empty());
    let [api::FromLeader { of: Some(Of::Push(push)) }] = messages.as_slice() else {
        panic!("not one push: {}", messages.len());
    };
    assert_eq!((push.number, push.revision, push.placed_changed), (7, 5, true));
    assert_eq!(push.values.len(), 2);
    assert_eq!(push.values[1].sealed_key, [2]);
    assert_eq!(push.sets[0].digest, due(1, &[1, 2]).digest);
}

#[test]
fn no_message_is_longer_than_two_mib() {
    let files = (0..130).map(|n| file(n, 500_000)).collect();
    let delta = step(&wanted(5, &[due_of(200, files)]), &Known::default(), |_, _| Gate::Open);
    let (messages, _) = frames(3, &delta.delta.expect("a push"), |_, _| Ok(vec![0; 96]));
    let mut values = BTreeSet::new();
    let (last, ahead) = messages.split_last().expect("messages");
    for message in ahead {
        assert!(message.encoded_len() <= TWO_MIB);
        let Some(Of::Values(frame)) = &message.of else { panic!("not values") };
        assert_eq!(frame.push, 3);
        values.extend(frame.values.iter().map(|value| value.version.clone()));
    }
    assert_eq!(values.len(), 130);
    assert!(last.encoded_len() <= TWO_MIB);
    let Some(Of::Push(push)) = &last.of else { panic!("not the push") };
    assert!(push.values.is_empty());
}

#[test]
fn a_key_that_does_not_open_stops_only_what_needs_it() {
    let now = [due(1, &[1]), due(2, &[2]), due(3, &[1, 2])];
    let delta = step(&wanted(5, &now), &Known::default(), |_, _| Gate::Open);
    let (messages, refused) = frames(3, &delta.delta.expect("a push"), |_, version| {
        if version.id == version_id(1) {
            Err(NoValue { why: "damaged".to_owned(), last: true })
        } else {
            Ok(Vec::new())
        }
    });
    let services: Vec<_> = refused.iter().map(|one| one.service).collect();
    assert_eq!(services, [service(1), service(3)]);
    let Some(Of::Push(push)) = &messages[0].of else { panic!("not a push") };
    assert_eq!(push.values.len(), 1, "the other value travels");
    assert_eq!(push.sets.len(), 3, "so does what every set takes away");
}
