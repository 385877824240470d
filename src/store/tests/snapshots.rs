//! Snapshots: whole, or damaged and named.

use crate::store::testing::{FaultyDisk, Lost, options};
use crate::store::{Options, Snapshots, StoreError};
use skep_core::base::Exit;

fn folder(disk: &FaultyDisk) -> Options {
    Options { folder: "/d/snapshots".into(), ..options(disk) }
}

fn state(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| u8::try_from(at % 251).expect("a byte")).collect()
}

fn save(snapshots: &Snapshots, bytes: usize) -> Result<(), StoreError> {
    snapshots.save(b"head", state(bytes).chunks(10_007))
}

/// The state of the newest one.
fn load(snapshots: &Snapshots) -> Result<Option<Vec<u8>>, StoreError> {
    let Some(mut file) = snapshots.open_newest()? else { return Ok(None) };
    assert_eq!(file.head(), b"head");
    let mut state = Vec::new();
    while let Some(piece) = file.next_piece()? {
        state.extend_from_slice(&piece);
    }
    assert_eq!(file.next_piece()?, None);
    Ok(Some(state))
}

fn open(disk: &FaultyDisk) -> Snapshots {
    Snapshots::open(folder(disk)).expect("a folder")
}

#[test]
fn a_snapshot_comes_back_whole_and_replaces_the_one_before() {
    let disk = FaultyDisk::default();
    assert_eq!(load(&open(&disk)).expect("none"), None);
    for bytes in [0, 1, 65_535, 65_536, 65_537, 3_000_000] {
        save(&open(&disk), bytes).expect("saved");
        assert_eq!(load(&open(&disk)).expect("one"), Some(state(bytes)), "{bytes}");
        assert_eq!(disk.files("/d/snapshots").len(), 1);
    }
}

#[test]
fn a_flip_a_cut_or_an_addition_is_named() {
    let disk = FaultyDisk::default();
    save(&open(&disk), 200).expect("saved");
    let path = "/d/snapshots/0000000000000001.snap";
    let whole = disk.bytes(path);
    let refused = |bytes: Vec<u8>, what: &str| {
        let crashed = disk.crash(Lost::Nothing);
        crashed.put(path, bytes);
        let error = load(&open(&crashed)).expect_err(what);
        assert_eq!(error.exit_status(), Exit::Damaged, "{what}: {error}");
        assert!(error.to_string().contains("0000000000000001.snap"), "{what}: {error}");
    };
    for offset in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[offset] ^= 0x04;
        refused(bytes, &format!("byte {offset}"));
        refused(whole[..offset].to_vec(), &format!("cut to {offset}"));
    }
    let mut longer = whole;
    longer.push(0);
    refused(longer, "a byte more");
}

#[test]
fn chunks_swapped_or_removed_are_named() {
    let disk = FaultyDisk::default();
    save(&open(&disk), 200_000).expect("saved");
    let path = "/d/snapshots/0000000000000001.snap";
    let bytes = disk.bytes(path);
    let chunk = 8 + 40 + 1 + 65_536;
    let first = 128 + 8 + 40 + 1 + 4;
    let (head, one, two) = (..first, first..first + chunk, first + chunk..first + 2 * chunk);
    let rest = first + 2 * chunk..;
    let swapped = [&bytes[head], &bytes[two.clone()], &bytes[one.clone()], &bytes[rest.clone()]];
    let removed = [&bytes[head], &bytes[one], &bytes[rest]];
    for bytes in [swapped.concat(), removed.concat()] {
        disk.put(path, bytes);
        assert_eq!(load(&open(&disk)).expect_err("damaged").exit_status(), Exit::Damaged);
    }
}

#[test]
fn an_interrupted_save_leaves_the_one_before_or_the_new_one() {
    let disk = FaultyDisk::default();
    save(&open(&disk), 10).expect("saved");
    let before = disk.changes();
    let probe = disk.crash(Lost::Nothing);
    save(&open(&probe), 70_000).expect("saved");
    assert!(probe.changes() > 5);
    for fail in 0..before + probe.changes() {
        let disk = disk.crash(Lost::Nothing);
        let snapshots = open(&disk);
        disk.fail_after(fail);
        let saved = save(&snapshots, 70_000);
        for lost in [Lost::All, Lost::Nothing, Lost::After(300)] {
            let crashed = disk.crash(lost);
            let found = load(&open(&crashed)).expect("sound").expect("one");
            let (old, new) = (state(10), state(70_000));
            assert!(found == new || (found == old && saved.is_err()), "change {fail}, {lost:?}");
        }
    }
}

#[test]
fn whoever_reads_one_comes_to_its_end_when_a_newer_one_is_there() {
    let disk = FaultyDisk::default();
    let snapshots = open(&disk);
    save(&snapshots, 3_000_000).expect("saved");
    let mut old = snapshots.open_newest().expect("sound").expect("one");
    save(&snapshots, 10).expect("saved");
    assert_eq!(disk.files("/d/snapshots"), ["0000000000000002.snap"]);
    let mut bytes = 0;
    while let Some(piece) = old.next_piece().expect("sound") {
        bytes += piece.len();
    }
    assert_eq!(bytes, 3_000_000);
    assert_eq!(load(&snapshots).expect("sound"), Some(state(10)));
}
