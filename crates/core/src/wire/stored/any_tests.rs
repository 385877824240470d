//! Any name, label, target, and any refusal that an answer may hold.

use std::sync::Arc;

use proptest::prelude::*;

use crate::base::{Label, Name, SealedValue, Target, VersionId, WrappedKey};
use crate::domain::testing::{name, node_id, secret_id, service_id};
use crate::domain::{
    Counted, Few, GrantAsked, NewVersion, NodeRole, Pin, Put, PutValue, Refusal, Stays, Thing,
    Unfit,
};

pub(super) fn refusals() -> impl Strategy<Value = Refusal> {
    let few = (prop::collection::vec(names(), 0..12), 0..20_000_usize);
    let few = few.prop_map(|(names, count)| Few::of(names, count));
    let thing = prop::sample::select(Thing::ALL);
    let counted = prop::sample::select(Counted::ALL);
    let texts = ("\\PC{0,90}", names(), names(), targets());
    (0..35_u8, texts, few, (thing, counted), any::<(u64, u64, u32)>()).prop_map(
        |(which, (text, name, other, target), services, (thing, what), (first, second, number))| {
            match which {
                0 => Refusal::AlreadyInitialised,
                1 => Refusal::NotInitialised,
                2 => Refusal::TooLate,
                3 => Refusal::BadAct,
                4 => Refusal::Exists { thing, name },
                5 => Refusal::NotFound { thing, what: text },
                6 => Refusal::InUse { secret: name, services },
                7 => Refusal::VersionInUse { secret: name, number, why: Stays::PinnedBy(other) },
                8 => Refusal::Conflict { what: text, expected: first, found: second },
                9 => Refusal::TargetTaken { service: name, target, secret: other },
                10 => Refusal::Limit { what, limit: first },
                11 => Refusal::Token { role: NodeRole::Worker, why: Unfit::NotForName(name) },
                12 => Refusal::Holds { node: name, services },
                13 => Refusal::LastManager { node: name },
                14 => Refusal::Invalid(text),
                15 => Refusal::Retired { found: first, wanted: second },
                16 => Refusal::VersionInUse { secret: name, number, why: Stays::Current },
                17 => Refusal::Token { role: NodeRole::Worker, why: Unfit::NotKnown },
                18 => Refusal::Token { role: NodeRole::Manager, why: Unfit::Ended },
                19 => Refusal::Token { role: NodeRole::Manager, why: Unfit::UsedUp },
                20 => Refusal::Token {
                    role: NodeRole::Manager,
                    why: Unfit::ForRole(NodeRole::Manager),
                },
                21 => Refusal::Token {
                    role: NodeRole::Manager,
                    why: Unfit::ForRole(NodeRole::Worker),
                },
                22 => Refusal::NotGranted { service: name, secret: other, target: None },
                23 => Refusal::NotGranted { service: name, secret: other, target: Some(target) },
                24 => Refusal::NameIsId { name },
                25 => Refusal::Reserved { name },
                26 => Refusal::NotWritable { service: name, secret: other },
                27 => Refusal::ForwardOnly { secret: name },
                28 => Refusal::LastAdmin { operator: name },
                29 => Refusal::NotAllowed(text),
                30 => Refusal::OutOfScope { thing, name },
                31 => Refusal::HoldsOutside { service: name },
                32 => Refusal::TargetTakenOutside { service: name, target },
                33 => Refusal::VersionInUse { secret: name, number, why: Stays::PinnedOutside },
                _ => Refusal::Busy { what, limit: first },
            }
        },
    )
}

pub(super) fn names() -> impl Strategy<Value = Name> {
    "[a-zA-Z0-9]([a-zA-Z0-9._-]{0,62}[a-zA-Z0-9])?".prop_map(|text| name(&text))
}

pub(super) fn label_lists() -> impl Strategy<Value = Vec<Label>> {
    let label = ("[a-z./_-]{1,128}", "[^\\p{Cc}]{0,40}");
    let label = label.prop_map(|(key, value)| Label::new(&key, &value).expect("a label"));
    prop::collection::vec(label, 0..4)
}

pub(super) fn targets() -> impl Strategy<Value = Target> {
    "[a-z ä]{1,120}".prop_map(|text| text.parse().expect("a target"))
}

pub(super) fn grants_asked() -> impl Strategy<Value = GrantAsked> {
    let numbers = any::<(Option<u32>, Option<u32>)>();
    let mode = prop::option::of(0..0o1000_u32);
    let pin = any::<Option<u8>>();
    (1..4_u8, targets(), numbers, mode, pin, any::<(bool, Option<bool>)>()).prop_map(
        |(secret, target, (uid, gid), mode, pin, (replace, write))| GrantAsked {
            secret: secret_id(secret),
            target,
            uid,
            gid,
            mode,
            pin: pin.map(|pin| Pin::read(pin.into())),
            replace,
            write,
        },
    )
}

pub(super) fn puts() -> impl Strategy<Value = Put> {
    let value = ((1..4_u8).prop_map(secret_id), any::<u32>(), new_versions());
    let value = value.prop_map(|(secret, expect, version)| PutValue { secret, expect, version });
    let values = prop::collection::vec(value, 0..3);
    (1..4_u8, 1..4_u8, values).prop_map(|(node, service, values)| Put {
        node: node_id(node),
        service: service_id(service),
        values,
    })
}

pub(super) fn new_versions() -> impl Strategy<Value = NewVersion> {
    let key = prop::collection::vec(any::<u8>(), 0..90);
    let value = prop::collection::vec(any::<u8>(), 0..300);
    let public = prop::option::of("[ -~]{1,40}".prop_map(|part| part.parse().expect("a part")));
    (any::<[u8; 16]>(), 1..260_u32, value, 0..3_u64, key, public).prop_map(
        |(id, size, value, number, bytes, public)| NewVersion {
            id: VersionId::from_bytes(id),
            size,
            value: SealedValue(Arc::from(value)),
            data_key: WrappedKey { number, bytes },
            public,
        },
    )
}
