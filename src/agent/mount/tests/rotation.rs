//! What a workload sees while its secrets change.

use std::fs::{self, File};
use std::io::Read;
use std::mem::MaybeUninit;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::fs::{Mode, OFlags, openat};

use super::*;

fn at(ms: u64) -> BootTime {
    BootTime(START.0 + ms)
}

/// One secret in two files, of one version each time.
fn pair(number: u8) -> ServiceFiles {
    set(number, vec![file("a", 1, number, 3000), file("b", 2, number, 3000)])
}

fn a_watcher_sees_one_moved_to(kind: MountKind) {
    let mut fixture = Fixture::on(kind);
    fixture.put(&pair(1));
    let path = fixture.m().held_of(WEB).and_then(|held| held.path).unwrap();
    for (next, folder) in [(2, path.clone()), (3, path.join("..live"))] {
        let watch = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).unwrap();
        inotify::add_watch(&watch, &folder, WatchFlags::MOVED_TO).unwrap();
        fixture.put(&pair(next));
        let mut room = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&watch, &mut room);
        let mut seen = Vec::new();
        while let Ok(event) = reader.next() {
            assert!(event.events().contains(ReadFlags::MOVED_TO));
            seen.push(event.file_name().unwrap().to_str().unwrap().to_owned());
        }
        assert_eq!(seen, ["..data"], "{}", folder.display());
    }
}

fn a_descriptor_reads_the_old_version_to_its_end(kind: MountKind) {
    let mut fixture = Fixture::on(kind);
    fixture.put(&pair(1));
    let mut open = File::open(fixture.root.join("web/a")).unwrap();
    let mut begun = vec![0; 1000];
    open.read_exact(&mut begun).unwrap();
    fixture.put(&pair(2));
    fixture.m().tick(at(limits::FLIP_GRACE_MS));
    open.read_to_end(&mut begun).unwrap();
    assert_eq!(begun, content(1, 3000));
    assert_eq!(fixture.read("a"), content(2, 3000));
}

fn the_old_generation_stays_a_second_then_goes_out_of_sight(kind: MountKind) {
    let mut fixture = Fixture::on(kind);
    fixture.put(&pair(1));
    let folder = File::open(fixture.root.join("web/..data/")).unwrap();
    let through = |name| openat(&folder, name, OFlags::RDONLY, Mode::empty()).map(drop);
    let by_path = fixture.root.join("web/..live/..1000000/a");
    fixture.put(&pair(2));
    let ticked = fixture.m().tick(at(limits::FLIP_GRACE_MS - 1));
    assert_eq!(ticked.next, Some(at(limits::FLIP_GRACE_MS)));
    assert!(by_path.exists());
    let ticked = fixture.m().tick(at(limits::FLIP_GRACE_MS));
    assert_eq!(ticked.next, Some(at(limits::OLD_GENERATION_MS)));
    assert!(!by_path.exists());
    // Whoever opened the folder goes on reading in it.
    through("a").unwrap();
    through("b").unwrap();
    let ticked = fixture.m().tick(at(limits::OLD_GENERATION_MS));
    assert_eq!(ticked, Ticked::default());
    assert!(through("a").is_err());
    assert_eq!(fixture.all_files().len(), 2);
}

fn what_was_replaced_is_due_without_being_asked_for(kind: MountKind) {
    let mut fixture = Fixture::on(kind);
    fixture.put(&pair(1));
    assert_eq!(fixture.m().next_due().next(), None);
    fixture.try_put(&pair(2), at(5)).unwrap();
    // As the worker does: it looks at what is due, and at nothing else.
    let mut seen = Vec::new();
    loop {
        let due = fixture.m().next_due().next();
        let Some((service, due)) = due else { break };
        seen.push(due);
        assert!(!fixture.m().tick_one(service, due));
    }
    assert_eq!(seen, [at(5 + limits::FLIP_GRACE_MS), at(5 + limits::OLD_GENERATION_MS)]);
    assert_eq!(fixture.all_files().len(), 2);
}

fn former_generations_of_a_large_set_are_bounded_by_their_files(kind: MountKind) {
    const FILES: u16 = 700;
    let mut fixture = Fixture::on(kind);
    let large = |number: u8| {
        let one = |n: u16| {
            let secret = SecretId::from_bytes([n.to_be_bytes(); 8].concat().try_into().unwrap());
            let rotated = if n == 0 { number } else { 1 };
            FileSpec { secret, ..file(&format!("f{n:04}"), 1, rotated, 3) }
        };
        set(number, (0..FILES).map(one).collect())
    };
    let old = |fixture: &Fixture| fs::read_dir(fixture.inside("old")).unwrap().count();
    let kept = limits::OLD_FILES / usize::from(FILES);
    for number in 1..=12 {
        let now = at(u64::from(number) * 2_000);
        fixture.try_put(&large(number), now).unwrap();
        fixture.m().tick(BootTime(now.0 + limits::FLIP_GRACE_MS));
        assert!(old(&fixture) <= kept);
    }
    assert_eq!((old(&fixture), kept), (5, 5));
    // One that has more than all together may have is kept, but no second one.
    for number in 13..=14 {
        let now = at(u64::from(number) * 2_000);
        let each = |n: usize| {
            let secret = u64::try_from(n).unwrap().to_be_bytes();
            let secret = SecretId::from_bytes([secret, secret].concat().try_into().unwrap());
            FileSpec { secret, ..file(&format!("g{n:05}"), 1, number, 3) }
        };
        let set = set(number, (0..=limits::OLD_FILES).map(each).collect());
        fixture.try_put(&set, now).unwrap();
        fixture.m().tick(BootTime(now.0 + limits::FLIP_GRACE_MS));
    }
    assert_eq!(old(&fixture), 1);
}

fn old_generations_are_bounded(kind: MountKind) {
    let mut fixture = Fixture::on(kind);
    for number in 1..=30 {
        let now = at(u64::from(number) * 2_000);
        fixture.try_put(&pair(number), now).unwrap();
        fixture.m().tick(BootTime(now.0 + limits::FLIP_GRACE_MS));
        let old = fs::read_dir(fixture.inside("old")).unwrap().count();
        assert!(old <= limits::OLD_GENERATIONS, "{old}");
    }
    assert_eq!(fs::read_dir(fixture.inside("old")).unwrap().count(), limits::OLD_GENERATIONS);
    assert_eq!(fixture.all_files().len(), 2 * (limits::OLD_GENERATIONS + 1));
}

fn generations_share_no_inode(kind: MountKind) {
    let mut fixture = Fixture::on(kind);
    fixture.put(&set(1, vec![file("a", 1, 1, 9), file("b", 2, 2, 9)]));
    fixture.put(&set(2, vec![file("a", 1, 1, 9), file("b", 2, 3, 9)]));
    let all = fixture.all_files();
    assert_eq!(all.len(), 4);
    let mut inodes = BTreeSet::new();
    for path in all {
        let found = fs::metadata(path).unwrap();
        assert_eq!(found.nlink(), 1);
        assert!(inodes.insert(found.ino()));
    }
}

fn names_come_and_go_with_the_set(kind: MountKind) {
    let mut fixture = Fixture::on(kind);
    fixture.put(&set(1, vec![file("a", 1, 1, 9), file("b", 2, 2, 9)]));
    fixture.put(&set(2, vec![file("b", 2, 2, 9), file("c", 1, 1, 9)]));
    for folder in ["web", "web/..live"] {
        let mut names = files::entries(&fixture.root.join(folder)).unwrap();
        names.retain(|name| !name.as_encoded_bytes().starts_with(b".."));
        names.sort();
        assert_eq!(names, ["b", "c"], "{folder}");
    }
    assert_eq!(fixture.read("c"), content(1, 9));
    // A rollback needs no value: the old generation has it.
    fixture.put(&set(3, vec![file("c", 1, 5, 9)]));
    fixture.apply(&set(4, vec![file("c", 1, 1, 9)]), &mut |_| None, START).unwrap();
    assert_eq!(fixture.read("c"), content(1, 9));
}

#[test]
fn a_view_made_before_sees_what_comes_after() {
    let mut fixture = Fixture::new();
    fixture.put(&pair(1));
    // As a container has it: bound once, from then on its own.
    let live = fixture.m().live_of(WEB).unwrap();
    let view = fixture.root.with_file_name("view");
    fs::create_dir(&view).unwrap();
    system::bind_read_only(&live, &view).unwrap();
    fixture.put(&pair(2));
    assert_eq!(fs::read(view.join("b")).unwrap(), content(2, 3000));
    let workload = Workload { pid: 1, started: 1 };
    fixture.m().set_workloads(WEB, vec![workload]).unwrap();
    fixture.m().wipe(WEB).unwrap();
    assert!(!view.join("b").exists());
    // While a workload is noted the same memory is filled again.
    fixture.put(&pair(3));
    assert_eq!(fs::read(view.join("b")).unwrap(), content(3, 3000));
    fixture.restart(START);
    fixture.put(&pair(4));
    assert_eq!(fs::read(view.join("b")).unwrap(), content(4, 3000));
}

fn whoever_opens_data_once_never_sees_two_generations(kind: MountKind) {
    let mut fixture = Fixture::on(kind);
    fixture.put(&pair(1));
    let path = fixture.root.join("web/..data");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut reads = 0_u32;
            while !stop.load(Ordering::Relaxed) {
                let folder = File::open(&path).unwrap();
                let read = |name| {
                    let opened = openat(&folder, name, OFlags::RDONLY, Mode::empty()).unwrap();
                    let mut bytes = Vec::new();
                    File::from(opened).read_to_end(&mut bytes).unwrap();
                    bytes
                };
                assert_eq!(read("a"), read("b"));
                reads += 1;
            }
            reads
        });
        // No tick comes between: what was replaced stays where it was opened.
        for number in 2..=60 {
            fixture.put(&pair(number));
        }
        stop.store(true, Ordering::Relaxed);
        assert!(reader.join().unwrap() > 0);
    });
}

fn a_set_of_the_same_bytes_is_taken_as_it_is(kind: MountKind) {
    let mut fixture = Fixture::on(kind);
    fixture.put(&pair(1));
    let look = |fixture: &Fixture, name: &str| {
        let found = fs::metadata(fixture.root.join("web").join(name)).unwrap();
        (found.ino(), (found.mtime(), found.mtime_nsec()))
    };
    let before = (look(&fixture, "a"), look(&fixture, "b"));
    let mut first = |_: VersionId| Some(value(version(1), 3000));
    let again = fixture.apply(&pair(2), &mut first, at(1)).unwrap();
    assert_eq!(again, Applied::Unchanged);
    assert_eq!((look(&fixture, "a"), look(&fixture, "b")), before);
    let held = fixture.m().held_of(WEB).unwrap();
    assert_eq!((held.digest, held.versions), (Some([2; 32]), BTreeSet::from([version(2)])));
    // Another mode, another file or other bytes of one: then all are new, and those that show
    // the same keep their time.
    let moded = FileSpec { mode: 0o400, ..file("b", 2, 3, 3000) };
    let sets = [
        set(3, vec![file("a", 1, 3, 3000), moded]),
        set(4, vec![file("a", 1, 4, 3000), file("b", 2, 4, 3000), file("c", 3, 4, 3000)]),
        set(5, vec![file("a", 1, 5, 3000), file("b", 2, 6, 3000)]),
    ];
    for (next, same) in sets.iter().zip([true, true, false]) {
        let before = (look(&fixture, "a"), look(&fixture, "b"));
        let mut values =
            |wanted| Some(value(version(if wanted == version(6) { 6 } else { 1 }), 3000));
        assert_eq!(fixture.apply(next, &mut values, at(2)).unwrap(), Applied::InPlace);
        let now = (look(&fixture, "a"), look(&fixture, "b"));
        assert!(now.0.0 != before.0.0 && now.1.0 != before.1.0, "inodes are never shared");
        assert_eq!(now.0.1, before.0.1);
        if same {
            assert_eq!(now.1.1, before.1.1);
        }
    }
    assert_eq!(fixture.read("b"), content(6, 3000));
}

on_both! {
    a_set_of_the_same_bytes_is_taken_as_it_is,
    a_watcher_sees_one_moved_to,
    a_descriptor_reads_the_old_version_to_its_end,
    the_old_generation_stays_a_second_then_goes_out_of_sight,
    what_was_replaced_is_due_without_being_asked_for,
    former_generations_of_a_large_set_are_bounded_by_their_files,
    old_generations_are_bounded,
    generations_share_no_inode,
    names_come_and_go_with_the_set,
    whoever_opens_data_once_never_sees_two_generations,
}
