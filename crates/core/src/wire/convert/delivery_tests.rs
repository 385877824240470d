//! Sets and pushes outside the rules.

use super::*;

fn file(target: &str, size: u32) -> api::File {
    api::File {
        target: target.to_owned(),
        uid: 1,
        gid: 2,
        mode: 0o640,
        secret: vec![1; 16],
        number: 3,
        version: vec![2; 16],
        size,
    }
}

fn sent() -> api::ServiceSet {
    api::ServiceSet {
        fresh: true,
        on_change: "signal:HUP".to_owned(),
        service: vec![9; 16],
        name: "web".to_owned(),
        mount: api::Mount::Tmpfs.into(),
        owner_uid: 10,
        owner_gid: 11,
        offline_max_age_s: Some(60),
        files: vec![file("b", 511_999), file("a", 1)],
        digest: vec![7; 32],
    }
}

/// What is made of a set after `change`.
fn made(change: impl FnOnce(&mut api::ServiceSet)) -> Result<ServiceFiles, BadSet> {
    let mut set = sent();
    change(&mut set);
    read_set(&set)
}

#[test]
fn a_sound_set_is_taken_in_the_order_of_its_targets() {
    let set = made(|_| ()).unwrap();
    assert_eq!(set.name.as_str(), "web");
    assert_eq!(set.owner, Owner { uid: 10, gid: 11 });
    assert_eq!(set.offline, OfflinePolicy::MaxAge(60));
    assert_eq!(set.digest, [7; 32]);
    let targets: Vec<_> = set.files.iter().map(|file| file.target.as_str()).collect();
    assert_eq!(targets, ["a", "b"]);
    assert_eq!(set.bytes(), 512_000);
    assert_eq!(set.secrets(), BTreeSet::from([SecretId::from_bytes([1; 16])]));
    assert_eq!(made(|set| set.files.clear()).unwrap().files, []);
    let kept = made(|set| set.offline_max_age_s = None).unwrap();
    assert_eq!(kept.offline, OfflinePolicy::Keep);
}

#[test]
fn nothing_outside_the_rules_is_taken() {
    let target = |name: &str| name.parse::<Target>().unwrap();
    for name in ["", ".", "..", "..data", "a/b", "/etc/shadow", "a\0", "a\nb"] {
        let refused = made(|set| set.files[0].target = name.to_owned());
        assert_eq!(refused, Err(BadSet::Malformed("target")), "{name:?}");
    }
    for size in [0, 512_000, u32::MAX] {
        let refused = made(|set| set.files[1].size = size);
        assert_eq!(refused, Err(BadSet::Size(target("a"), size)));
    }
    assert_eq!(made(|set| set.files[1].mode = 0o1777), Err(BadSet::Mode(target("a"))));
    assert_eq!(made(|set| set.files[1].target = "b".to_owned()), Err(BadSet::Twice(target("b"))));
    assert_eq!(made(|set| set.files[0].uid = u32::MAX), Err(BadSet::Owner));
    assert_eq!(made(|set| set.owner_gid = u32::MAX), Err(BadSet::Owner));
    assert_eq!(made(|set| set.mount = 99), Err(BadSet::Mount));
    assert_eq!(made(|set| set.mount = api::Mount::Fuse.into()).unwrap().mount, MountKind::Fuse);
    assert_eq!(made(|set| set.name = "../x".to_owned()), Err(BadSet::Malformed("service name")));
    assert_eq!(made(|set| set.service.clear()), Err(BadSet::Malformed("service id")));
    assert_eq!(made(|set| set.digest.clear()), Err(BadSet::Malformed("digest")));
    assert_eq!(made(|set| set.files[0].version.clear()), Err(BadSet::Malformed("version id")));
    assert_eq!(made(|set| set.files[0].secret.clear()), Err(BadSet::Malformed("secret id")));
}

#[test]
fn a_set_has_limits() {
    let files = |count: usize, size| {
        made(move |set| set.files = (0..count).map(|n| file(&format!("f{n}"), size)).collect())
    };
    assert_eq!(files(limits::GRANTS, 1).unwrap().files.len(), limits::GRANTS);
    assert_eq!(files(limits::GRANTS + 1, 1), Err(BadSet::TooManyFiles));
    assert!(files(131, 511_999).is_ok());
    assert_eq!(files(132, 511_999), Err(BadSet::TooLarge));
}

fn pushed(gone: &[u8], set: api::ServiceSet) -> api::Push {
    let gone = gone.iter().map(|id| vec![*id; 16]).collect();
    api::Push { number: 2, revision: 11, sets: vec![set], gone, ..Default::default() }
}

#[test]
fn a_push_that_names_a_service_twice_is_malformed_and_a_bad_set_fails_alone() {
    assert_eq!(read_push(pushed(&[9], sent())), Err(Malformed("a service is named twice")));
    let mount = || api::ServiceSet { mount: 99, ..sent() };
    assert_eq!(read_push(pushed(&[9], mount())), Err(Malformed("a service is named twice")));
    let push = read_push(pushed(&[8], mount())).unwrap();
    assert_eq!((push.number, push.revision, push.placed), (2, Revision(11), None));
    assert_eq!((push.gone, push.sets), (vec![ServiceId::from_bytes([8; 16])], Vec::new()));
    let service = ServiceId::from_bytes([9; 16]);
    assert_eq!(push.unreadable, [Unreadable { service, why: BadSet::Mount }]);
    let mut nameless = mount();
    nameless.service.clear();
    assert_eq!(read_push(pushed(&[8], nameless)), Err(Malformed("service id")));
    let value = api::Value { version: vec![1; 15], ..Default::default() };
    let push = api::Push { values: vec![value], ..pushed(&[8], sent()) };
    assert_eq!(read_push(push), Err(Malformed("version id")));
}

#[test]
fn what_a_leader_writes_a_node_reads() {
    use crate::domain::testing::{World, everywhere, grant, name, service_id};
    use crate::domain::{Change, set_of};
    let mut world = World::with_workers(1);
    world.secret(1, "s1");
    let id = service_id(1);
    let create = Change::CreateService { id, name: name("web"), spec: everywhere() };
    let grant = Change::Grant { service: id, grant: grant(1, "password").into() };
    world.change(vec![create, grant]).expect("applied");
    let set = set_of(&world.state, id).expect("a set");
    let read = read_set(&write_set(&set)).expect("sound");
    assert_eq!((read.service, read.name, read.digest), (id, set.name.clone(), set.digest()));
    let versions = |files: Vec<VersionId>| files.into_iter().collect::<BTreeSet<_>>();
    assert_eq!(
        versions(read.files.iter().map(|file| file.version).collect()),
        versions(set.files.iter().map(|file| file.version.id).collect())
    );
    let placed = api::Push {
        placed: vec![write_placed(&world.state, id).expect("a service")],
        placed_changed: true,
        ..Default::default()
    };
    let placed = read_push(placed).expect("sound").placed.expect("a list");
    assert_eq!((placed[0].id, placed[0].grants, placed[0].always), (id, 1, false));
}
