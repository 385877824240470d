//! What is recorded is there after every way of ending, and what was changed is named.

use std::path::Path;
use std::sync::Arc;

use skep_core::audit::{Chain, Deed, Doer, Follow, Line, Written, moment};
use skep_core::base::{ClusterId, NodeId, Stamp};

use super::{
    AuditLog, AuditOptions, Begins, From, Item, LockedLines, NotRecorded, Place, Retention,
};
use crate::store::Keys;
use crate::store::testing::{FaultyDisk, Lost, dek, dice};
use skep_client::machine::SystemClock;

const CLUSTER: ClusterId = ClusterId::from_bytes([1; 16]);
const NODE: NodeId = NodeId::from_bytes([2; 16]);
const ACTS: &str = "/data/audit/acts/0000000000000001.aud";

fn options(disk: &FaultyDisk) -> AuditOptions {
    AuditOptions {
        disk: Arc::new(disk.clone()),
        folder: "/data/audit".into(),
        manager: NODE,
        keys: Arc::new(Keys::new(CLUSTER, NODE, vec![dek()]).expect("keys")),
        dice,
        clock: Arc::new(SystemClock),
        retention: Retention::default(),
        file_bytes: 64 * 1024,
    }
}

fn open(disk: &FaultyDisk) -> AuditLog {
    AuditLog::open(&options(disk)).expect("opened")
}

fn line(what: &str) -> Line {
    Line {
        v: 0,
        chain: Chain::Acts,
        manager: String::new(),
        n: 0,
        at: moment(Stamp(7)),
        who: Doer::default(),
        from: String::new(),
        acts: vec![Deed::new(what)],
        more: 0,
        times: 0,
        outcome: "done".into(),
        why: String::new(),
        revision: 0,
        command: String::new(),
        answer: String::new(),
        prev: String::new(),
    }
}

/// Lines of commands, each after the one before.
fn commands(count: u64) -> Vec<Written> {
    let mut head = [0; 32];
    let write = |n| {
        let line = Line { chain: Chain::Commands, n, ..line("secret.create") }.write(head);
        head = line.head;
        line
    };
    (1..=count).map(write).collect()
}

fn items(log: &AuditLog, chain: Chain) -> Vec<Item> {
    let (mut items, mut from) = (Vec::new(), From::Time(Stamp(0)));
    loop {
        // Small pages: every one begins in the middle of something.
        let page = log.read(chain, from, 1_000);
        items.extend(page.items);
        from = From::Cursor(page.next);
        if !page.more {
            return items;
        }
    }
}

fn lines(log: &AuditLog, chain: Chain) -> Vec<String> {
    let text = |item| match item {
        Item::Line(text) => Some(String::from_utf8(text).expect("text")),
        Item::Base(_) | Item::Bad(_) => None,
    };
    items(log, chain).into_iter().filter_map(text).collect()
}

/// The lines followed as a verifier does; what is wrong with them.
fn verify(log: &AuditLog, chain: Chain, known: Option<Place>) -> Result<u64, String> {
    let known = known.map(|place| (place.number, place.head)).into_iter().collect();
    let mut follow = Follow::new(chain, known);
    for item in items(log, chain) {
        match item {
            Item::Bad(why) => return Err(why),
            Item::Line(text) => drop(follow.line(&text).map_err(|broken| broken.to_string())?),
            Item::Base(base) => {
                let after = base.after;
                let gap = follow.goes_on(after.number, after.head);
                let gap = gap.map_err(|broken| broken.to_string())?;
                if gap.is_some() && base.begins != Begins::Snapshot {
                    return Err(format!("lines before {} are missing", after.number));
                }
            }
        }
    }
    follow.end().map_err(|broken| broken.to_string())?;
    Ok(follow.lines())
}

async fn record(log: &AuditLog, count: usize) {
    for number in 0..count {
        log.record(line(&format!("call.{number}"))).await.expect("recorded");
    }
}

#[tokio::test]
async fn p10_what_was_recorded_is_there_over_many_files_and_starts() {
    let disk = FaultyDisk::default();
    for start in 1..=3 {
        let log = open(&disk);
        record(&log, 300).await;
        for line in commands(300 * start).split_off(usize::try_from(300 * (start - 1)).unwrap()) {
            log.command(line);
        }
        log.close().await;
        assert_eq!(log.record(line("late")).await, Err(NotRecorded(super::types::CLOSED.into())));
    }
    let log = open(&disk);
    assert_eq!(verify(&log, Chain::Acts, Some(log.last(Chain::Acts))), Ok(900));
    assert_eq!(verify(&log, Chain::Commands, Some(log.last(Chain::Commands))), Ok(900));
    assert!(disk.files("/data/audit/acts").len() > 3, "several files");
}

#[tokio::test]
async fn a_killed_process_loses_nothing_and_a_power_cut_what_was_not_synced() {
    let disk = FaultyDisk::default();
    let log = open(&disk);
    record(&log, 20).await;
    let synced = log.sync().await.expect("synced");
    record(&log, 5).await;
    for lost in [Lost::Nothing, Lost::All, Lost::After(300)] {
        let after = disk.crash(lost);
        let log = open(&after);
        record(&log, 3).await;
        let kept = if matches!(lost, Lost::Nothing) { 28 } else { 23 };
        let found = verify(&log, Chain::Acts, Some(synced)).expect("whole");
        assert!(found >= kept, "{lost:?}: {found}");
    }
}

#[tokio::test]
async fn p10_what_is_changed_on_the_disk_is_named() {
    let disk = FaultyDisk::default();
    let log = open(&disk);
    record(&log, 20).await;
    let older = disk.bytes(ACTS);
    record(&log, 30).await;
    let reaches = log.sync().await.expect("synced");
    log.close().await;
    let whole = disk.bytes(ACTS);
    let changed = |change: &dyn Fn(&mut Vec<u8>)| {
        let after = disk.crash(Lost::Nothing);
        after.tamper(ACTS, change);
        let log = open(&after);
        log.reaches(reaches);
        verify(&log, Chain::Acts, Some(reaches))
    };
    assert_eq!(changed(&|_| {}), Ok(50));
    for at in [0, 40, 130, 200, whole.len() / 2, whole.len() - 1] {
        let flipped = changed(&|bytes| bytes[at] ^= 1);
        assert!(flipped.is_err(), "byte {at}: {flipped:?}");
    }
    let cut = changed(&|bytes| bytes.truncate(whole.len() / 2));
    assert!(cut.is_err(), "{cut:?}");
    let replayed = changed(&|bytes| bytes.clone_from(&older)).expect_err("an older copy");
    assert!(replayed.contains("known to reach line 50"), "{replayed}");
    let after = disk.crash(Lost::Nothing);
    after.take(ACTS);
    let gone = verify(&open(&after), Chain::Acts, Some(reaches));
    assert!(gone.is_err(), "{gone:?}");
}

#[tokio::test]
async fn a_chain_that_was_cut_goes_on_after_what_the_cluster_knows() {
    let disk = FaultyDisk::default();
    let log = open(&disk);
    record(&log, 5).await;
    log.reaches(Place { number: 9, head: [9; 32] });
    log.sync().await.expect("taken");
    record(&log, 1).await;
    assert_eq!(log.last(Chain::Acts).number, 10);
    let wrong = verify(&log, Chain::Acts, None).expect_err("a gap");
    assert!(wrong.contains("lines before 9"), "{wrong}");
}

#[tokio::test]
async fn commands_come_again_when_the_log_is_replayed_and_stand_once() {
    let disk = FaultyDisk::default();
    let all = commands(40);
    let log = open(&disk);
    all[..30].iter().cloned().for_each(|line| log.command(line));
    log.close().await;
    let log = open(&disk);
    all.iter().cloned().for_each(|line| log.command(line));
    log.sync().await.expect("written");
    assert_eq!(verify(&log, Chain::Commands, None), Ok(40));
    // A state that came as a snapshot: what it covers is not here.
    let far = Place { number: 90, head: [9; 32] };
    log.stands_at(far);
    let line = Line { chain: Chain::Commands, n: 91, ..line("secret.create") }.write(far.head);
    log.command(line);
    log.sync().await.expect("written");
    assert_eq!(verify(&log, Chain::Commands, None), Ok(41));
    let snapshots = items(&log, Chain::Commands);
    let snapshots = snapshots.iter().filter(|item| {
        matches!(item, Item::Base(base) if base.begins == Begins::Snapshot && base.after == far)
    });
    assert_eq!(snapshots.count(), 1);
}

#[tokio::test]
async fn a_full_disk_is_said_and_what_waits_is_written_once_there_is_room() {
    let disk = FaultyDisk::default();
    let log = open(&disk);
    record(&log, 1).await;
    log.command(commands(1)[0].clone());
    log.sync().await.expect("written");
    disk.set_capacity(disk.used());
    let refused = loop {
        if let Err(refused) = log.record(line("call.full")).await {
            break refused;
        }
    };
    assert!(refused.0.contains("cannot write"), "{refused}");
    assert!(log.standing().failing.is_some());
    log.lose(2);
    commands(1_000).into_iter().skip(1).for_each(|line| log.command(line));
    disk.set_capacity(usize::MAX);
    record(&log, 1).await;
    log.sync().await.expect("written");
    assert_eq!(log.standing().failing, None);
    assert_eq!(log.standing().lost, 2);
    assert_eq!(verify(&log, Chain::Commands, None), Ok(1_000), "none is missing");
    verify(&log, Chain::Acts, Some(log.last(Chain::Acts))).expect("whole");
    let lost = lines(&log, Chain::Acts);
    assert!(lost.iter().any(|text| text.contains(r#""act":"audit.lost","detail":"2""#)));
}

#[tokio::test]
async fn a_disk_that_does_not_answer_is_noticed_in_time_and_later_acts_do_not_wait_for_it() {
    let disk = FaultyDisk::default();
    let log = open(&disk);
    record(&log, 1).await;
    let hangs = disk.hang();
    let begun = std::time::Instant::now();
    for _ in 0..50 {
        let refused = log.record(line("call.hung")).await.expect_err("it hangs");
        assert!(refused.0.contains("does not answer"), "{refused}");
    }
    assert!(begun.elapsed() < 5 * super::PATIENCE, "one of them was waited for");
    assert!(log.standing().failing.is_some());
    drop(hangs);
    while log.record(line("call.again")).await.is_err() {}
    assert_eq!(log.standing().failing, None);
    verify(&log, Chain::Acts, Some(log.last(Chain::Acts))).expect("whole");
}

#[tokio::test]
async fn the_oldest_files_go_and_the_log_says_so() {
    let disk = FaultyDisk::default();
    let retention = Retention { bytes: 256 * 1024, age: None };
    let log = AuditLog::open(&AuditOptions { retention, ..options(&disk) }).expect("opened");
    record(&log, 2_000).await;
    log.sync().await.expect("written");
    let folder = "/data/audit/acts";
    let files = disk.files(folder);
    let bytes: usize = files.iter().map(|name| disk.bytes(&format!("{folder}/{name}")).len()).sum();
    assert!(bytes <= 256 * 1024 + 64 * 1024, "{bytes}");
    let first = items(&log, Chain::Acts).into_iter().next();
    let Some(Item::Base(base)) = first else { panic!("{first:?}") };
    assert!(base.after.number > 0);
    let told = format!(r#""act":"audit.retire","detail":"acts to {}""#, base.after.number);
    assert!(lines(&log, Chain::Acts).iter().any(|text| text.contains(&told)), "{told}");
}

#[test]
fn p6_lines_of_a_locked_manager_open_with_its_box_key_alone() {
    let disk = FaultyDisk::default();
    let key = skep_core::seal::BoxKey::draw(&mut *dice());
    let lines = LockedLines::new(Arc::new(disk.clone()), Path::new("/data/audit"), CLUSTER, NODE);
    assert_eq!(lines.open(&key).expect("none"), Vec::new());
    for text in ["one", "two"] {
        assert!(lines.keep(&mut *dice(), &key.public(), text.as_bytes()).expect("kept"));
    }
    let bytes = disk.bytes("/data/audit/locked.box");
    assert!(!bytes.windows(3).any(|three| three == b"one"), "sealed");
    let opened = lines.open(&key).expect("opened");
    assert_eq!(opened, [Some(b"one".to_vec()), Some(b"two".to_vec())]);
    disk.tamper("/data/audit/locked.box", |bytes| bytes[50] ^= 1);
    assert_eq!(lines.open(&key).expect("opened")[0], None, "it was changed");
    let mut room = true;
    while room {
        room = lines.keep(&mut *dice(), &key.public(), &vec![b'x'; 20_000]).expect("kept");
    }
    assert!(disk.bytes("/data/audit/locked.box").len() <= 256 * 1024, "bounded");
    lines.forget().expect("gone");
    assert_eq!(lines.open(&key).expect("none"), Vec::new());
}
