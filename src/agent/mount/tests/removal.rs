//! What is taken away is gone: by path, in every generation, and for descriptors
//! that are open.

use std::fs::{self, File};
use std::io::{Read, Write};

use super::*;

fn rest(open: &mut File) -> Vec<u8> {
    let mut bytes = Vec::new();
    open.read_to_end(&mut bytes).unwrap();
    bytes
}

fn two(digest: u8, a: u8, b: u8) -> ServiceFiles {
    set(digest, vec![file("a", 1, a, 9000), file("b", 2, b, 9000)])
}

fn a_descriptor_reads_nothing_after_a_revoke(kind: MountKind) {
    let mut fixture = Fixture::on(kind);
    fixture.put(&two(1, 1, 2));
    let mut oldest = File::open(fixture.root.join("web/a")).unwrap();
    fixture.put(&two(2, 3, 2));
    fixture.m().tick(BootTime(START.0 + limits::FLIP_GRACE_MS));
    let mut older = File::open(fixture.root.join("web/a")).unwrap();
    fixture.put(&two(3, 4, 2));
    let mut newest = File::open(fixture.root.join("web/a")).unwrap();
    let mut kept = File::open(fixture.root.join("web/b")).unwrap();
    fixture.apply(&set(4, vec![file("b", 2, 2, 9000)]), &mut |_| None, START).unwrap();
    for open in [&mut oldest, &mut older, &mut newest] {
        assert_eq!(rest(open), b"");
        assert_eq!(open.metadata().unwrap().len(), 0);
    }
    assert_eq!(rest(&mut kept), content(2, 9000));
    assert!(!fixture.root.join("web/a").exists());
    assert!(fixture.all_files().iter().all(|path| path.ends_with("b")));
}

fn an_empty_set_is_a_set(kind: MountKind) {
    let mut fixture = Fixture::on(kind);
    fixture.put(&two(1, 1, 2));
    fixture.put(&set(2, Vec::new()));
    assert!(fixture.all_files().is_empty());
    assert_eq!(fixture.m().held_of(WEB).and_then(|held| held.digest), Some([2; 32]));
    assert_eq!(fixture.m().held_of(WEB).map(|held| held.files), Some(0));
    assert_eq!(fixture.m().held()[&WEB].versions.len(), 0);
    assert!(fixture.m().held_of(WEB).and_then(|held| held.path).is_some());
}

#[test]
fn a_wipe_leaves_nothing() {
    let mut fixture = Fixture::new();
    fixture.put(&two(1, 1, 2));
    fixture.put(&two(2, 3, 4));
    let mut open = File::open(fixture.root.join("web/a")).unwrap();
    assert_eq!(fixture.mounted(), 3);
    fixture.m().wipe(WEB).unwrap();
    assert_eq!(rest(&mut open), b"");
    assert_eq!(fixture.mounted(), 0);
    assert!(fixture.m().held().is_empty());
    assert_eq!(fixture.m().held_of(WEB).and_then(|held| held.path), None);
    assert!(!fixture.root.join("web").exists());
    assert_eq!(fs::read_dir(fixture.root.join(MOUNTS)).unwrap().count(), 0);
    fixture.m().wipe(WEB).unwrap();
    fixture.put(&two(3, 5, 6));
    assert_eq!(fixture.read("a"), content(5, 9000));
    fixture.m().remove_all().unwrap();
    assert_eq!(fixture.mounted(), 0);
    assert_eq!(fs::read_dir(&fixture.root).unwrap().count(), 0);
}

#[test]
fn the_mount_goes_with_the_last_workload() {
    let mut fixture = Fixture::new();
    let workload = Workload { pid: 1, started: 1 };
    fixture.m().set_workloads(WEB, vec![workload]).unwrap();
    fixture.put(&two(1, 1, 2));
    fixture.m().wipe(WEB).unwrap();
    assert!(fixture.all_files().is_empty());
    assert_eq!(fixture.mounted(), 1, "the memory alone");
    assert!(fixture.m().held().is_empty());
    fixture.m().set_workloads(WEB, Vec::new()).unwrap();
    assert_eq!(fixture.mounted(), 0);
}

/// Fills the service's memory to the last page, by a file without a name, while it is kept.
fn fill(fixture: &Fixture) -> File {
    let mut file = File::create(fixture.inside("filler")).unwrap();
    let block = vec![1; 4096];
    let full = loop {
        if let Err(error) = file.write_all(&block) {
            break error;
        }
    };
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    fs::remove_file(fixture.inside("filler")).unwrap();
    file
}

#[test]
fn full_memory_keeps_the_set_in_place() {
    let mut fixture = Fixture::small(MountKind::Tmpfs);
    fixture.put(&two(1, 1, 2));
    let filler = fill(&fixture);
    let error = fixture.try_put(&two(2, 3, 4), START).unwrap_err();
    assert!(matches!(error, MountError::NoSpace { free: 0, .. }), "{error}");
    assert_eq!((fixture.read("a"), fixture.read("b")), (content(1, 9000), content(2, 9000)));
    assert_eq!(fixture.m().held_of(WEB).and_then(|held| held.digest), Some([1; 32]));
    assert_eq!(fixture.all_files().len(), 2);
    drop(filler);
}

#[test]
fn full_memory_does_not_keep_a_removal() {
    let mut fixture = Fixture::small(MountKind::Tmpfs);
    fixture.put(&two(1, 1, 2));
    let mut open = File::open(fixture.root.join("web/a")).unwrap();
    let filler = fill(&fixture);
    // The rest grows by more than the removal sets free.
    let next = set(2, vec![file("b", 2, 7, 30_000)]);
    let error = fixture.try_put(&next, START).unwrap_err();
    assert!(matches!(error, MountError::NoSpace { .. }), "{error}");
    assert_eq!(rest(&mut open), b"");
    assert!(fs::symlink_metadata(fixture.root.join("web/a")).is_err());
    assert!(fs::symlink_metadata(fixture.root.join("web/..live/a")).is_err());
    assert_eq!(fixture.read("b"), content(2, 9000));
    assert_eq!(fixture.m().held()[&WEB].digest, None, "not a whole set");
    // The same for an agent that starts now.
    let adopted = fixture.restart(START);
    assert_eq!(adopted[0].digest, None);
    assert_eq!(fixture.read("b"), content(2, 9000));
    drop(filler);
    fixture.put(&next);
    assert_eq!(fixture.read("b"), content(7, 30_000));
    assert_eq!(fixture.m().held_of(WEB).and_then(|held| held.digest), Some([2; 32]));
}

#[test]
fn full_memory_does_not_keep_a_wipe() {
    let mut fixture = Fixture::small(MountKind::Tmpfs);
    fixture.put(&two(1, 1, 2));
    let mut open = File::open(fixture.root.join("web/a")).unwrap();
    let filler = fill(&fixture);
    fixture.m().wipe(WEB).unwrap();
    assert_eq!(rest(&mut open), b"");
    assert_eq!(fixture.mounted(), 0);
    drop(filler);
}

fn old_generations_make_room_for_a_new_one(kind: MountKind) {
    let mut fixture = Fixture::small(kind);
    for number in 1..=20 {
        let now = BootTime(START.0 + u64::from(number) * 5_000);
        fixture.m().tick(now);
        fixture.try_put(&two(number, number, number), now).unwrap();
    }
    assert_eq!(fixture.read("a"), content(20, 9000));
    assert!(fixture.all_files().len() <= 4);
}

#[test]
fn offline_files_end_with_their_time() {
    let mut fixture = Fixture::new();
    let mut limited = two(1, 1, 2);
    limited.offline = OfflinePolicy::MaxAge(60);
    fixture.put(&limited);
    let mut kept = set(1, vec![file("x", 1, 1, 9)]);
    kept.service = ServiceId::from_bytes([2; 16]);
    kept.name = "kept".parse().unwrap();
    fixture.put(&kept);
    fixture.m().set_offline(Some(START)).unwrap();
    // Later news of the same absence stretch nothing, nor does a restart.
    fixture.m().set_offline(Some(BootTime(START.0 + 30_000))).unwrap();
    let adopted = fixture.restart(BootTime(START.0 + 40_000));
    assert_eq!(adopted[0].offline_since, Some(START));
    let end = BootTime(START.0 + 60_000);
    assert_eq!(
        fixture.m().tick(BootTime(end.0 - 1)),
        Ticked { next: Some(end), ..Ticked::default() }
    );
    assert_eq!(fixture.m().tick(end).expired, [WEB]);
    assert_eq!(fixture.m().held().into_keys().collect::<Vec<_>>(), [kept.service]);
    fixture.put(&limited);
    fixture.m().set_offline(Some(end)).unwrap();
    fixture.m().set_offline(None).unwrap();
    assert_eq!(fixture.m().tick(BootTime(end.0 + 600_000)).expired, []);
}

fn a_removal_is_carried_out_though_the_rest_is_missing(kind: MountKind) {
    let mut fixture = Fixture::on(kind);
    fixture.put(&two(1, 1, 2));
    let mut open = File::open(fixture.root.join("web/a")).unwrap();
    let next = set(2, vec![file("b", 2, 7, 10)]);
    let error = fixture.apply(&next, &mut |_| None, START).unwrap_err();
    assert_eq!(lacking(&error), ["b"], "{error}");
    assert_eq!(rest(&mut open), b"");
    assert!(fs::symlink_metadata(fixture.root.join("web/a")).is_err());
    assert_eq!(fixture.read("b"), content(2, 9000));
    let kept = fixture.m().nothing_but(&next);
    assert_eq!(kept, Some([version(2)].into()), "the removal is done, and can be confirmed");
    assert_eq!(fixture.m().nothing_but(&set(3, Vec::new())), None);
    let renamed = set(3, vec![file("c", 2, 7, 10)]);
    assert_eq!(fixture.m().nothing_but(&renamed), None, "the former name is still there");
    // Going back to what was there is a set like any other.
    fixture.put(&two(1, 1, 2));
    assert_eq!(fixture.read("a"), content(1, 9000));
}

fn a_name_is_taken_away_though_its_secret_stays(kind: MountKind) {
    let mut fixture = Fixture::on(kind);
    fixture.put(&set(1, vec![file("a", 1, 1, 9000), file("b", 1, 1, 9000)]));
    let mut open = File::open(fixture.root.join("web/a")).unwrap();
    // Of a file with another mode the former version can't stand in: no generation is built.
    let next = set(2, vec![FileSpec { mode: 0o400, ..file("b", 1, 7, 10) }]);
    let error = fixture.apply(&next, &mut |_| None, START).unwrap_err();
    assert_eq!(lacking(&error), ["b"], "{error}");
    assert_eq!(rest(&mut open), b"");
    assert!(fs::symlink_metadata(fixture.root.join("web/a")).is_err());
    assert_eq!(fixture.read("b"), content(1, 9000));
    assert_eq!(fixture.m().nothing_but(&next), Some([version(1)].into()));
    assert_eq!(fixture.m().held_of(WEB).and_then(|held| held.digest), None);
    fixture.put(&set(3, vec![file("a", 1, 1, 9000), file("b", 1, 1, 9000)]));
    assert_eq!(fixture.read("a"), content(1, 9000));
}

#[test]
fn where_the_root_is_shared_nothing_is_mounted_twice() {
    let mut fixture = Fixture::new();
    let shared = fixture.root.with_file_name("shared");
    fs::create_dir(&shared).unwrap();
    let inert = rustix::mount::MountFlags::empty();
    rustix::mount::mount("test", &shared, "tmpfs", inert, c"size=64k,mode=755").unwrap();
    let propagation = rustix::mount::MountPropagationFlags::SHARED;
    rustix::mount::mount_change(&shared, propagation).unwrap();
    fixture.root = shared.join("secrets");
    fixture.restart(START);
    fixture.put(&two(1, 1, 2));
    assert_eq!(fixture.mounted(), 3);
    assert_eq!(fixture.read("a"), content(1, 9000));
    fixture.restart(START);
    assert_eq!(fixture.mounted(), 3);
    fixture.m().remove_all().unwrap();
    assert_eq!(fixture.mounted(), 0);
    assert_eq!(fs::read_dir(&fixture.root).unwrap().count(), 0);
}

#[test]
fn the_memory_itself_is_overwritten() {
    let mut fixture = Fixture::new();
    fixture.put(&two(1, 1, 2));
    // A page in a pipe is the file's own page, and outlives the file.
    let open = File::open(fixture.root.join("web/a")).unwrap();
    let (out, into) = rustix::pipe::pipe().unwrap();
    let flags = rustix::pipe::SpliceFlags::empty();
    let moved = rustix::pipe::splice(&open, None, &into, None, 4096, flags).unwrap();
    drop((into, open));
    fixture.m().wipe(WEB).unwrap();
    assert_eq!(rest(&mut File::from(out)), vec![0; moved]);
}

fn a_storm_of_changes_is_bounded(kind: MountKind) {
    let mut fixture = Fixture::on(kind);
    for number in 1..=100 {
        fixture.put(&two(number, number, number));
    }
    assert!(fixture.all_files().len() <= 2 * 33);
    assert_eq!(fixture.read("a"), content(100, 9000));
}

on_both! {
    a_descriptor_reads_nothing_after_a_revoke,
    an_empty_set_is_a_set,
    old_generations_make_room_for_a_new_one,
    a_removal_is_carried_out_though_the_rest_is_missing,
    a_name_is_taken_away_though_its_secret_stays,
    a_storm_of_changes_is_bounded,
}
