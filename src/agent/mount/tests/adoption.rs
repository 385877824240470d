//! What an agent that starts makes of what it finds.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, symlink};

use super::*;

fn one(number: u8) -> ServiceFiles {
    set(number, vec![file("a", 1, number, 9000)])
}

#[test]
fn the_same_memory_goes_on() {
    let mut fixture = Fixture::new();
    fixture.put(&one(1));
    let workloads = vec![Workload { pid: 7, started: 8 }];
    fixture.m().set_workloads(WEB, workloads.clone()).unwrap();
    fixture.put(&one(2));
    let look = |fixture: &Fixture| {
        let found = fs::metadata(fixture.root.join("web/a")).unwrap();
        (found.dev(), found.ino())
    };
    let (before, mounts) = (look(&fixture), fixture.mounted());
    let mut open = File::open(fixture.root.join("web/a")).unwrap();
    let adopted = fixture.restart(BootTime(START.0 + 10));
    assert_eq!(adopted.len(), 1);
    assert_eq!((adopted[0].service, adopted[0].name.as_str()), (WEB, "web"));
    assert_eq!((adopted[0].generation, adopted[0].digest), (START.0 + 1, Some([2; 32])));
    assert_eq!(adopted[0].workloads, workloads);
    assert!(fixture.m().take_warnings().is_empty());
    assert_eq!((look(&fixture), fixture.mounted()), (before, mounts));
    // Not rewritten, clocks go on, and a wipe finds everything.
    fixture.apply(&one(2), &mut |_| None, START).unwrap();
    assert_eq!(look(&fixture), before);
    let ticked = fixture.m().tick(BootTime(START.0 + limits::FLIP_GRACE_MS));
    assert_eq!(ticked.next, Some(BootTime(START.0 + limits::OLD_GENERATION_MS)));
    fixture.restart(BootTime(START.0 + 5_000));
    fixture.m().tick(BootTime(START.0 + limits::OLD_GENERATION_MS));
    assert_eq!(fixture.all_files().len(), 1);
    fixture.m().set_workloads(WEB, vec![]).unwrap();
    fixture.m().wipe(WEB).unwrap();
    let mut rest = Vec::new();
    open.read_to_end(&mut rest).unwrap();
    assert_eq!((rest.len(), fixture.mounted()), (0, 0));
}

#[test]
fn a_stranger_is_left_alone_and_named() {
    let mut fixture = Fixture::new();
    let point = fixture.root.join(MOUNTS).join(WEB.to_string());
    fs::create_dir(&point).unwrap();
    rustix::mount::mount(
        "theirs",
        &point,
        "tmpfs",
        rustix::mount::MountFlags::empty(),
        c"size=64k",
    )
    .unwrap();
    File::create(point.join("precious")).unwrap();
    assert!(fixture.restart(START).is_empty());
    assert_eq!(fixture.m().take_warnings(), [MountWarning::Stranger(point.clone())]);
    let error = fixture.try_put(&one(1), START).unwrap_err();
    assert!(matches!(error, MountError::InTheWay(_)), "{error}");
    fixture.m().remove_all().unwrap_err();
    assert!(point.join("precious").exists());
}

#[test]
fn a_damaged_manifest_empties_the_mount() {
    let mut fixture = Fixture::new();
    fixture.put(&one(1));
    let mut open = File::open(fixture.root.join("web/a")).unwrap();
    let manifest = fixture.inside("manifest.json");
    OpenOptions::new().write(true).truncate(true).open(manifest).unwrap().write_all(b"{").unwrap();
    assert!(fixture.restart(START).is_empty());
    assert_eq!(fixture.m().take_warnings(), [MountWarning::Damaged(WEB)]);
    let mut rest = Vec::new();
    open.read_to_end(&mut rest).unwrap();
    assert_eq!((rest.len(), fixture.mounted()), (0, 0));
    fixture.put(&one(1));
    assert_eq!(fixture.read("a"), content(1, 9000));
}

#[test]
fn a_missing_file_makes_the_set_not_whole() {
    let mut fixture = Fixture::new();
    fixture.put(&set(1, vec![file("a", 1, 1, 9), file("b", 2, 2, 9)]));
    fs::remove_file(fixture.inside("live/..1000000/b")).unwrap();
    let adopted = fixture.restart(START);
    assert_eq!(adopted[0].digest, None);
    assert_eq!(fixture.m().take_warnings(), [MountWarning::Damaged(WEB)]);
    assert_eq!(fixture.m().held()[&WEB].versions, BTreeSet::from([version(1)]));
    assert_eq!(fixture.read("a"), content(1, 9));
}

#[test]
fn a_flip_that_never_came_is_forgotten() {
    let mut fixture = Fixture::new();
    fixture.put(&one(1));
    fixture.put(&one(2));
    // As if the agent had died between the manifest and the flip.
    let data = fixture.inside("live/..data");
    fs::remove_file(&data).unwrap();
    symlink("..1000000", &data).unwrap();
    let adopted = fixture.restart(START);
    assert_eq!((adopted[0].generation, adopted[0].digest), (START.0, Some([1; 32])));
    assert!(fixture.m().take_warnings().is_empty());
    assert_eq!(fixture.all_files(), [fixture.inside("live/..1000000/a")]);
    fixture.put(&one(3));
    assert_eq!(
        fixture.m().held_of(WEB).map(|held| held.generation),
        Some(START.0 + 2),
        "a number is used once"
    );
    assert_eq!(fixture.read("a"), content(3, 9000));
}

#[test]
fn a_removal_that_was_cut_short_is_finished() {
    let mut fixture = Fixture::new();
    fixture.put(&set(1, vec![file("a", 1, 1, 9), file("b", 2, 2, 9)]));
    let before = fs::read(fixture.inside("live/..1000000/a")).unwrap();
    fixture.put(&set(2, vec![file("b", 2, 2, 9)]));
    // As if the agent had died before it emptied the file in the generation replaced.
    let leftover = fixture.inside("live/..1000000/a");
    File::create(&leftover).unwrap().write_all(&before).unwrap();
    // And in one that was only half built.
    fs::create_dir(fixture.inside("live/..9")).unwrap();
    File::create(fixture.inside("live/..9/x")).unwrap().write_all(&before).unwrap();
    let manifest = fixture.inside("manifest.json");
    let text = fs::read_to_string(&manifest).unwrap();
    let entry = text.split("\"files\":[").nth(1).unwrap().split(']').next().unwrap().to_owned();
    let removed = entry.replace("\"b\"", "\"a\"").replace(
        &SecretId::from_bytes([2; 16]).to_string(),
        &SecretId::from_bytes([1; 16]).to_string(),
    );
    let text = text.replacen(&entry, &format!("{entry},{removed}"), 1);
    OpenOptions::new()
        .write(true)
        .truncate(true)
        .open(&manifest)
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    let mut open = File::open(&leftover).unwrap();
    let adopted = fixture.restart(START);
    assert_eq!(adopted[0].digest, Some([2; 32]));
    let mut rest = Vec::new();
    open.read_to_end(&mut rest).unwrap();
    assert!(rest.is_empty());
    assert!(
        fixture.all_files().iter().all(|path| path.ends_with("b")),
        "{:?}",
        fixture.all_files()
    );
}

#[test]
fn views_that_are_gone_or_elsewhere_are_made_anew() {
    let mut fixture = Fixture::new();
    fixture.put(&one(1));
    system::detach(&fixture.root.join("web")).unwrap();
    let elsewhere = fixture.root.join("former");
    fs::create_dir(&elsewhere).unwrap();
    system::bind_read_only(&fixture.inside("host"), &elsewhere).unwrap();
    fixture.restart(START);
    assert_eq!(fixture.read("a"), content(1, 9000));
    assert!(!elsewhere.exists());
    assert_eq!(fixture.mounted(), 3);
}
