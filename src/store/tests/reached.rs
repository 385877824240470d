//! A log that was deleted, put back from an earlier time, or emptied from some place on: what
//! is kept beside it proves that it reached further.

use super::{Act, Log, act, said, script, written};
use crate::store::testing::{FaultyDisk, Lost, options};
use crate::store::{Covered, LogId, StoreError};
use skep_core::base::Exit;

const FILE: &str = "/d/log.reached";

fn path(name: &str) -> String {
    format!("/d/log/{name}")
}

/// Opening must fail with status 20 and name one of `files`.
fn named(disk: &FaultyDisk, files: &[&str], what: &str) {
    match Log::open(options(&disk.crash(Lost::Nothing))) {
        Ok(log) => panic!("{what}: accepted, and says {:?}", said(&log)),
        Err(error) => {
            assert_eq!(error.exit_status(), Exit::Damaged, "{what}: {error}");
            let text = error.to_string();
            assert!(files.iter().any(|file| text.contains(file)), "{what}: {error}");
        }
    }
}

/// Puts the log's folder of `from` in the place of `to`'s.
fn put_back(to: &FaultyDisk, from: &FaultyDisk) {
    for name in to.files("/d/log") {
        to.take(&path(&name));
    }
    for name in from.files("/d/log") {
        to.put(&path(&name), from.bytes(&path(&name)));
    }
}

/// A log of several starts and segments, as a clean stop and as a kill leave it.
async fn ends() -> [(&'static str, FaultyDisk); 2] {
    let (disk, log, _) = written(&script()).await;
    log.close().await;
    let log = Log::open(options(&disk)).expect("the log");
    act(&log, &Act::Append(2, (40..60).collect())).await.expect("an act");
    let killed = disk.crash(Lost::Nothing);
    log.close().await;
    [("closed", disk), ("killed", killed)]
}

#[tokio::test]
async fn a_deleted_log_is_named() {
    for (how, disk) in ends().await {
        let names = disk.files("/d/log");
        for name in &names {
            disk.take(&path(name));
        }
        let last =
            names.iter().rfind(|name| name.strip_suffix(".seg").is_some()).expect("a segment");
        named(&disk, &[last], how);
        disk.take(FILE);
        // With the last trace of it gone it is a new one, but for what a snapshot proves.
        let covered = |alone| Covered {
            file: "0000000000000001.snap".to_owned(),
            last: Some(LogId { term: 1, index: 9 }),
            alone,
        };
        let open = |covered: &Covered| {
            Log::open_under(options(&disk.crash(Lost::Nothing)), Some(covered)).map(drop)
        };
        let error = open(&covered(true)).expect_err("it is proved that there was one");
        assert_eq!(error.exit_status(), Exit::Damaged);
        assert!(error.to_string().contains("0000000000000001.seg"), "{error}");
        assert!(error.to_string().contains("0000000000000001.snap"), "{error}");
        assert!(open(&covered(false)).is_ok(), "its peers remember");
    }
}

#[tokio::test]
async fn an_older_log_under_a_newer_proof_is_named() {
    let disk = FaultyDisk::default();
    let mut older = Vec::new();
    for index in 0..5 {
        let log = Log::open(options(&disk)).expect("the log");
        older.push(disk.crash(Lost::Nothing));
        act(&log, &Act::Append(1, vec![index])).await.expect("an act");
        older.push(disk.crash(Lost::Nothing));
        log.close().await;
        older.push(disk.crash(Lost::Nothing));
    }
    let newest = older.pop().expect("the newest");
    // The one before it has all there is, but for the end that a clean stop makes known.
    drop(older.pop());
    for (number, old) in older.iter().enumerate() {
        let back = disk.crash(Lost::Nothing);
        put_back(&back, old);
        named(&back, &[".seg"], &format!("copy {number}"));
    }
    put_back(&disk, &newest);
    assert_eq!(said(&Log::open(options(&disk)).expect("the same")).entries.len(), 5);
    // An older proof says less, and nothing wrong.
    let proof = older.first().expect("the oldest").bytes(FILE);
    disk.put(FILE, proof);
    assert_eq!(said(&Log::open(options(&disk)).expect("the log")).entries.len(), 5);
}

#[tokio::test]
async fn a_segment_emptied_from_any_place_on_is_named() {
    for (how, disk) in ends().await {
        for name in disk.files("/d/log") {
            let bytes = disk.bytes(&path(&name));
            let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            // The last record is a Mark, which nobody waits for: with it goes nothing.
            for from in (0..used.saturating_sub(90)).step_by(37) {
                let zeroed = disk.crash(Lost::Nothing);
                zeroed.tamper(&path(&name), |bytes| bytes[from..].fill(0));
                named(&zeroed, &[&name], &format!("{how}: {name} from {from} of {used} on"));
            }
            for upto in (1..used).step_by(53) {
                let zeroed = disk.crash(Lost::Nothing);
                zeroed.tamper(&path(&name), |bytes| bytes[..upto].fill(0));
                named(&zeroed, &[&name], &format!("{how}: {name} up to {upto} of {used}"));
            }
        }
    }
}

#[tokio::test]
async fn a_proof_that_is_gone_or_changed_is_named() {
    for (how, disk) in ends().await {
        let model = said(&Log::open(options(&disk.crash(Lost::Nothing))).expect("the log"));
        let whole = disk.bytes(FILE);
        let gone = disk.crash(Lost::Nothing);
        gone.take(FILE);
        named(&gone, &["log.reached"], how);
        for cut in [0, 1, 127, 128, 511, 512, 600] {
            let changed = disk.crash(Lost::Nothing);
            changed.put(FILE, whole[..cut].to_vec());
            named(&changed, &["log.reached"], &format!("{how}: cut to {cut}"));
        }
        for offset in (0..whole.len()).step_by(3) {
            let changed = disk.crash(Lost::Nothing);
            changed.tamper(FILE, |bytes| bytes[offset] ^= 0x20);
            // One slot is always whole: the log is read, or the header is named.
            match Log::open(options(&changed)) {
                Ok(log) => assert_eq!(said(&log), model, "{how}: byte {offset}"),
                Err(error) => {
                    assert!(offset < 128, "{how}: byte {offset}: {error}");
                    assert_eq!(error.exit_status(), Exit::Damaged, "{how}: byte {offset}: {error}");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_log_that_was_purged_needs_its_snapshot() {
    let (disk, log, model) = written(&script()).await;
    act(&log, &Act::Purge(20)).await.expect("a purge");
    log.close().await;
    let open = |last: Option<u64>| -> Result<(), StoreError> {
        let last = last.map(|index| LogId { term: 1, index });
        let covered = Covered { file: "snapshots".to_owned(), last, alone: true };
        let log = Log::open_under(options(&disk.crash(Lost::Nothing)), Some(&covered))?;
        assert_eq!(said(&log).entries.len(), model.entries.len() - 21);
        Ok(())
    };
    for last in [None, Some(19)] {
        let error = open(last).expect_err("what was purged is nowhere");
        assert_eq!(error.exit_status(), Exit::Damaged);
        assert!(error.to_string().contains("snapshots"), "{error}");
    }
    open(Some(20)).expect("it has what was purged");
    open(Some(39)).expect("it has all there is");
    let error = open(Some(40)).expect_err("the log went on");
    assert!(error.to_string().contains("proves that it went on"), "{error}");
}
