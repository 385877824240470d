//! What a log does while nothing goes wrong.

use std::time::Duration;

use super::{Act, Log, Said, act, said, script, written};
use crate::store::LogId;
use crate::store::testing::{FaultyDisk, Lost, options};

#[tokio::test]
async fn a_log_says_after_reopening_what_it_said_before() {
    let (disk, log, model) = written(&script()).await;
    assert_eq!(said(&log), model);
    log.close().await;
    assert!(disk.files("/d/log").len() > 2, "the script must fill several segments");
    let log = Log::open(options(&disk)).expect("the same log");
    assert_eq!(said(&log), model);
    assert_eq!(log.committed(), Some(LogId { term: 1, index: 37 }));
}

#[tokio::test]
async fn every_start_begins_a_segment_and_goes_on() {
    let disk = FaultyDisk::default();
    let mut model = Said::default();
    for index in 0..12 {
        let log = Log::open(options(&disk)).expect("the log");
        assert_eq!(said(&log), model);
        let step = Act::Append(1, vec![index]);
        act(&log, &step).await.expect("an act");
        model = model.after(&step);
        log.close().await;
    }
    assert_eq!(disk.files("/d/log").len(), 12);
    // What was preallocated was given back.
    let first = disk.bytes("/d/log/0000000000000001.seg").len();
    assert!(first < 1024, "{first}");
}

#[tokio::test]
async fn entries_can_be_read_before_they_are_durable_and_after_memory_dropped_them() {
    let (_disk, log, model) = written(&script()).await;
    // The cache holds 1 KiB: most of this comes from the disk.
    for (id, payload) in &model.entries {
        let found = log.read(id.index, id.index + 1, 1).expect("an entry");
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].id, &found[0].payload[..]), (*id, &payload[..]));
    }
    let limited = log.read(0, 100, 100).expect("some");
    assert!(!limited.is_empty() && limited.len() < model.entries.len());
    assert!(log.read(100, 200, 100).expect("none").is_empty());
}

#[tokio::test]
async fn a_purge_drops_whole_segments_and_survives_reopening() {
    let (disk, log, mut model) = written(&script()).await;
    let before = disk.files("/d/log");
    let purge = Act::Purge(30);
    act(&log, &purge).await.expect("a purge");
    model = model.after(&purge);
    // The writer drops files after it has answered.
    log.close().await;
    let after = disk.files("/d/log");
    assert!(after.iter().any(|name| name == "manifest.0000000000000001"), "{after:?}");
    assert!(!after.contains(&before[0]), "{before:?} {after:?}");
    for round in 2..6 {
        let log = Log::open(options(&disk)).expect("the log");
        assert_eq!(said(&log), model);
        let first = model.entries.last().expect("an entry").0.index + 1;
        let append = Act::Append(9, (first..first + 40).collect());
        let purge = Act::Purge(first + 20);
        for step in [append, purge] {
            act(&log, &step).await.expect("an act");
            model = model.after(&step);
        }
        log.close().await;
        let manifest = format!("manifest.{round:016}");
        assert!(disk.files("/d/log").contains(&manifest), "{:?}", disk.files("/d/log"));
    }
}

#[tokio::test]
async fn a_purge_beyond_the_end_empties_the_log() {
    let (disk, log, _) = written(&script()).await;
    let upto = LogId { term: 5, index: 900 };
    let (done, wait) = super::waiting();
    log.purge(upto, done).await.expect("a purge");
    wait.await.expect("an answer").expect("a purge");
    assert_eq!(log.ends(), (Some(upto), Some(upto)));
    act(&log, &Act::Append(6, vec![901])).await.expect("the next entry");
    log.close().await;
    let log = Log::open(options(&disk)).expect("the log");
    assert_eq!(log.ends(), (Some(upto), Some(LogId { term: 6, index: 901 })));
}

#[tokio::test]
async fn a_record_larger_than_a_segment_gets_one_of_its_own() {
    let (disk, log, _) = written(&[]).await;
    let (done, wait) = super::waiting();
    let payload: bytes::Bytes = vec![5; 20_000].into();
    let entry = super::LogEntry { id: LogId { term: 1, index: 0 }, payload: payload.clone() };
    log.append(vec![entry], done).await.expect("queued");
    wait.await.expect("an answer").expect("durable");
    log.close().await;
    let log = Log::open(options(&disk)).expect("the log");
    assert_eq!(log.read(0, 1, 1).expect("it")[0].payload, payload);
}

#[tokio::test]
async fn a_hole_is_refused() {
    let (_disk, log, _) = written(&[Act::Append(1, vec![0, 1])]).await;
    assert!(act(&log, &Act::Append(1, vec![5])).await.is_err());
    assert!(act(&log, &Act::Append(1, vec![2])).await.is_ok());
}

/// Waits until the next segment is there, which the writer makes after it has answered.
async fn made_ahead(disk: &FaultyDisk) {
    let made = async {
        while !disk.files("/d/log").contains(&"next.tmp".to_owned()) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(40), made).await.expect("it is made ahead");
}

#[tokio::test]
async fn a_segment_begins_where_nothing_can_be_opened() {
    let (disk, log, mut model) = written(&script()).await;
    let mut next = model.entries.last().expect("an entry").0.index + 1;
    let segments = || {
        disk.files("/d/log").into_iter().filter(|name| name.strip_suffix(".seg").is_some()).count()
    };
    for _ in 0..3 {
        made_ahead(&disk).await;
        let before = segments();
        disk.set_out_of_files(true);
        while segments() == before {
            let step = Act::Append(2, vec![next]);
            act(&log, &step).await.expect("an act without a descriptor");
            model = model.after(&step);
            next += 1;
        }
        let vote = Act::Vote(next);
        act(&log, &vote).await.expect("a vote without a descriptor");
        model = model.after(&vote);
        disk.set_out_of_files(false);
        assert!(!disk.files("/d/log").contains(&"next.tmp".to_owned()), "no descriptor for it");
        let step = Act::Append(2, vec![next]);
        act(&log, &step).await.expect("an act");
        model = model.after(&step);
        next += 1;
    }
    assert_eq!(said(&log), model);
    made_ahead(&disk).await;
    let killed = disk.crash(Lost::Nothing);
    assert!(killed.files("/d/log").contains(&"next.tmp".to_owned()), "it is made ahead");
    assert_eq!(said(&Log::open(options(&killed)).expect("the log")), model);
    log.close().await;
    assert!(!disk.files("/d/log").contains(&"next.tmp".to_owned()), "nothing is left of it");
    assert_eq!(said(&Log::open(options(&disk)).expect("the log")), model);
}

#[tokio::test]
async fn what_a_purge_cannot_drop_without_a_descriptor_goes_later() {
    let (disk, log, mut model) = written(&script()).await;
    let before = disk.files("/d/log");
    disk.set_out_of_files(true);
    // The entry that it names is read from memory.
    for step in [Act::Purge(39), Act::Vote(8)] {
        act(&log, &step).await.expect("an act without a descriptor");
        model = model.after(&step);
    }
    assert!(disk.files("/d/log").contains(&before[0]));
    disk.set_out_of_files(false);
    act(&log, &Act::Vote(9)).await.expect("an act");
    model = model.after(&Act::Vote(9));
    log.close().await;
    assert!(!disk.files("/d/log").contains(&before[0]), "dropped");
    assert_eq!(said(&Log::open(options(&disk)).expect("the log")), model);
}
