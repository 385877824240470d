//! Somebody with the disk and without the key: changed, moved, removed, replayed,
//! forged. Detected and named, never accepted, never read as absent.

use super::{Act, Log, act, said, script, written};
use crate::store::record::{FRAME, Record};
use crate::store::testing::{FaultyDisk, Lost, dice, options};
use crate::store::{Keys, StoreError, Vote};
use skep_core::base::{Disk, Exit, NodeId};

const FIRST: &str = "/d/log/0000000000000001.seg";

/// Opening must fail with status 20 and name `file`.
fn named(disk: &FaultyDisk, file: &str, what: &str) {
    match Log::open(options(&disk.crash(Lost::Nothing))) {
        Ok(log) => panic!("{what}: accepted, and says {:?}", said(&log)),
        Err(error) => {
            assert_eq!(error.exit_status(), Exit::Damaged, "{what}: {error}");
            assert!(error.to_string().contains(file), "{what}: {error}");
        }
    }
}

/// Offsets of the records of a segment, and where the last one ends.
fn offsets(bytes: &[u8]) -> Vec<usize> {
    let mut offsets = vec![128];
    loop {
        let at = *offsets.last().expect("one");
        let length = bytes.get(at..at + 4).map_or(0, |field| {
            usize::try_from(u32::from_le_bytes(field.try_into().expect("four"))).expect("a length")
        });
        if length == 0 {
            return offsets;
        }
        offsets.push(at + FRAME + length);
    }
}

fn small() -> Vec<Act> {
    vec![Act::Vote(1), Act::Append(1, vec![0, 1]), Act::Truncate(Some(0)), Act::Append(2, vec![1])]
}

/// Every bit pattern that one byte may change to is too much; three say it all.
const FLIPS: [u8; 3] = [0x01, 0x80, 0xFF];

#[tokio::test]
async fn a_flip_of_any_byte_is_named_or_harmless() {
    let (disk, log, model) = written(&small()).await;
    // Killed, not stopped: nothing but the running log's own writes.
    let killed = disk.crash(Lost::Nothing);
    log.close().await;
    for (how, disk) in [("killed", killed), ("closed", disk)] {
        let records = offsets(&disk.bytes(FIRST));
        let end = *records.last().expect("the end");
        // The last record is a Mark: it says nothing but that the others are durable.
        let mark = records[records.len() - 2];
        for offset in 0..end + 16 {
            for flip in FLIPS {
                let crashed = disk.crash(Lost::Nothing);
                crashed.tamper(FIRST, |bytes| bytes[offset] ^= flip);
                let what = format!("{how}, byte {offset} of {end} ^ {flip:#x}");
                if offset < mark {
                    named(&crashed, "0000000000000001.seg", &what);
                    continue;
                }
                match Log::open(options(&crashed)) {
                    Ok(log) => assert_eq!(said(&log), model, "{what}"),
                    Err(error) => assert_eq!(error.exit_status(), Exit::Damaged, "{what}: {error}"),
                }
            }
        }
    }
}

#[tokio::test]
async fn a_flip_in_an_earlier_segment_is_named() {
    let (disk, log, model) = written(&small()).await;
    log.close().await;
    let log = Log::open(options(&disk)).expect("the log");
    act(&log, &Act::Append(2, vec![2])).await.expect("an act");
    log.close().await;
    let end = disk.bytes(FIRST).len();
    for offset in 0..end {
        let crashed = disk.crash(Lost::Nothing);
        crashed.tamper(FIRST, |bytes| bytes[offset] ^= 0x40);
        named(&crashed, "0000000000000001.seg", &format!("byte {offset} of {end}"));
    }
    let cut = disk.crash(Lost::Nothing);
    cut.tamper(FIRST, |bytes| bytes.truncate(end - 1));
    named(&cut, "0000000000000001.seg", "cut");
    drop(model);
}

#[tokio::test]
async fn records_swapped_removed_repeated_or_moved_are_named() {
    let (disk, log, _) = written(&script()[..6]).await;
    log.close().await;
    let bytes = disk.bytes(FIRST);
    let records = offsets(&bytes);
    let count = records.len() - 1;
    let record = |at: usize| bytes[records[at]..records[at + 1]].to_vec();
    // The last two are Marks, of a commit and of what came before it: they do no harm.
    for first in 0..count - 3 {
        for second in first + 1..count - 2 {
            let mut order: Vec<usize> = (0..count).collect();
            order.swap(first, second);
            let rebuilt = |order: &[usize]| {
                let mut out = bytes[..128].to_vec();
                for at in order {
                    out.extend(record(*at));
                }
                out.resize(bytes.len().max(out.len()), 0);
                out
            };
            let swapped = disk.crash(Lost::Nothing);
            swapped.put(FIRST, rebuilt(&order));
            named(&swapped, "0000000000000001.seg", &format!("{first} and {second} swapped"));
            let removed = disk.crash(Lost::Nothing);
            let without: Vec<usize> = (0..count).filter(|at| *at != first).collect();
            removed.put(FIRST, rebuilt(&without));
            named(&removed, "0000000000000001.seg", &format!("{first} removed"));
            let replayed = disk.crash(Lost::Nothing);
            let mut twice: Vec<usize> = (0..count).collect();
            twice[second] = first;
            replayed.put(FIRST, rebuilt(&twice));
            named(&replayed, "0000000000000001.seg", &format!("{first} again for {second}"));
        }
    }
}

#[tokio::test]
async fn segments_swapped_removed_or_put_back_are_named() {
    let disk = FaultyDisk::default();
    let mut older = Vec::new();
    for index in 0..4 {
        let log = Log::open(options(&disk)).expect("the log");
        older.push(disk.crash(Lost::Nothing));
        act(&log, &Act::Append(1, vec![index])).await.expect("an act");
        log.close().await;
    }
    let path = |number: usize| format!("/d/log/{number:016}.seg");
    for number in 1..4 {
        let missing = disk.crash(Lost::Nothing);
        missing.take(&path(number));
        named(&missing, &format!("{number:016}.seg"), "a missing segment");
        let swapped = disk.crash(Lost::Nothing);
        swapped.put(&path(number), disk.bytes(&path(number + 1)));
        swapped.put(&path(number + 1), disk.bytes(&path(number)));
        named(&swapped, ".seg", "swapped segments");
        // As it was before anything was written to it.
        let replayed = disk.crash(Lost::Nothing);
        replayed.put(&path(number), older[number - 1].bytes(&path(number)));
        named(&replayed, &format!("{number:016}.seg"), "an older segment");
    }
    // The whole last one away: that would look like power loss before it was begun.
    let cut = disk.crash(Lost::Nothing);
    cut.take(&path(4));
    named(&cut, ".seg", "without the last segment");
}

#[tokio::test]
async fn another_managers_segment_is_named() {
    let (disk, log, _) = written(&small()).await;
    log.close().await;
    let mut other = options(&disk);
    let node = NodeId::from_bytes([1; 16]);
    let cluster = skep_core::base::ClusterId::from_bytes(*b"0123456789abcdef");
    let deks = vec![crate::store::testing::dek()];
    other.keys = std::sync::Arc::new(Keys::new(cluster, node, deks).expect("a key"));
    let error = Log::open(other).expect_err("another manager's");
    assert!(error.to_string().contains("another manager"), "{error}");
    let mut other = options(&disk);
    let deks = vec![skep_core::seal::Dek::draw(&mut *dice())];
    let node = NodeId::from_bytes(*b"fedcba9876543210");
    other.keys = std::sync::Arc::new(Keys::new(cluster, node, deks).expect("a key"));
    let error = Log::open(other).expect_err("another key");
    assert_eq!(error.exit_status(), Exit::Damaged);
    assert!(error.to_string().contains("does not hold"), "{error}");
}

/// Votes, truncations and purges made with a key of one's own, in the right frame,
/// at the end of the log, where a torn write would be.
#[tokio::test]
async fn forged_records_are_never_accepted() {
    let (disk, log, model) = written(&small()).await;
    let forged = [
        Record::Vote(Vote { term: 99, node: NodeId::from_bytes([9; 16]), committed: true }),
        Record::Truncate(None),
        Record::Purge(crate::store::LogId { term: 9, index: 1 }),
    ];
    let crashed = disk.crash(Lost::Nothing);
    log.close().await;
    let bytes = crashed.bytes(FIRST);
    let records = offsets(&bytes);
    let dek = skep_core::seal::Dek::draw(&mut *dice());
    let place = skep_core::seal::SegmentPlace {
        cluster: skep_core::base::ClusterId::from_bytes(*b"0123456789abcdef"),
        node: NodeId::from_bytes(*b"fedcba9876543210"),
        kind: b'L',
        number: 1,
        salt: bytes[52..84].try_into().expect("a salt"),
    };
    let key = dek.segment(&place);
    for record in &forged {
        for (number, at) in (0_u32..).zip(&records).skip(1) {
            let mut out = Vec::new();
            record.seal(&key, &mut *dice(), number, number, &mut out).expect("sealed");
            let attacked = crashed.crash(Lost::Nothing);
            attacked.tamper(FIRST, |bytes| bytes[*at..*at + out.len()].copy_from_slice(&out));
            match Log::open(options(&attacked)) {
                Ok(log) => assert_eq!(said(&log), model, "{record:?} as {number}"),
                Err(error) => assert_eq!(error.exit_status(), Exit::Damaged, "{error}"),
            }
        }
    }
}

#[tokio::test]
async fn a_manifest_changed_removed_or_put_back_is_named() {
    let (disk, log, model) = written(&script()).await;
    act(&log, &Act::Purge(20)).await.expect("a purge");
    log.close().await;
    let first = "/d/log/manifest.0000000000000001";
    let older = disk.bytes(first);
    for offset in 0..older.len() {
        let changed = disk.crash(Lost::Nothing);
        changed.tamper(first, |bytes| bytes[offset] ^= 0x10);
        named(&changed, "manifest.0000000000000001", &format!("byte {offset}"));
    }
    let removed = disk.crash(Lost::Nothing);
    removed.take(first);
    named(&removed, "it is missing", "no manifest");
    // Another purge, another manifest, and a segment begun under it.
    let log = Log::open(options(&disk)).expect("the log");
    act(&log, &Act::Purge(36)).await.expect("a purge");
    log.close().await;
    let second = "/d/log/manifest.0000000000000002";
    assert!(disk.len(second.as_ref()).is_ok(), "{:?}", disk.files("/d/log"));
    let log = Log::open(options(&disk)).expect("the log");
    let after = model.after(&Act::Purge(20)).after(&Act::Purge(36));
    assert_eq!(said(&log), after);
    log.close().await;
    let back = disk.crash(Lost::Nothing);
    back.take(second);
    back.put(first, older);
    assert_eq!(
        Log::open(options(&back)).expect_err("an older manifest").exit_status(),
        Exit::Damaged
    );
}

#[tokio::test]
async fn another_format_is_told_from_a_damaged_one() {
    let (disk, log, _) = written(&small()).await;
    log.close().await;
    for (number, status) in [(0, Exit::Damaged), (1, Exit::Configuration), (12, Exit::NewerData)] {
        let other = disk.crash(Lost::Nothing);
        other.tamper(FIRST, |bytes| {
            bytes[8] = number;
            let hash = *blake3::hash(&bytes[..112]).as_bytes();
            bytes[112..128].copy_from_slice(&hash[..16]);
        });
        let error = Log::open(options(&other)).expect_err("another format");
        assert_eq!(error.exit_status(), status, "{error}");
        assert_eq!(matches!(error, StoreError::Format { .. }), number != 0, "{error}");
    }
}

#[tokio::test]
async fn a_last_segment_cut_short_is_named() {
    let (disk, log, _) = written(&small()).await;
    log.close().await;
    let whole = disk.bytes(FIRST).len();
    for length in (1..whole).step_by(7) {
        let cut = disk.crash(Lost::Nothing);
        cut.tamper(FIRST, |bytes| bytes.truncate(length));
        // Also where only an unfinished header is left: it is known to have been written to.
        named(&cut, "0000000000000001.seg", &format!("cut to {length}"));
    }
}
