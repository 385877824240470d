//! Starts, what is remembered of peers, and giving a log up.

use super::{Act, Log, Said, act, said, script, waiting, written};
use crate::store::testing::{FaultyDisk, Lost, options};
use crate::store::{Incarnation, LogId, Memory, PEERS, Renewal, StoreError};
use skep_core::base::{Exit, NodeId};

fn start(number: u64) -> Incarnation {
    Incarnation { number, born: 1, mark: number * 3 }
}

fn memory(peer: u8, index: u64) -> Memory {
    Memory {
        node: NodeId::from_bytes([peer; 16]),
        incarnation: start(u64::from(peer)),
        term: 4,
        acked_under: 3,
        acked: (index > 0).then_some(LogId { term: 3, index }),
    }
}

async fn note(log: &Log, number: u64, memories: &[Memory]) -> Result<(), StoreError> {
    let (done, wait) = waiting();
    log.note_start(start(number), done).await?;
    wait.await.unwrap_or(Err(StoreError::Closed))?;
    let (done, wait) = waiting();
    log.note_peers(memories.to_vec(), done).await?;
    wait.await.unwrap_or(Err(StoreError::Closed))
}

fn open(disk: &FaultyDisk) -> Log {
    Log::open(options(disk)).expect("a log")
}

#[tokio::test]
async fn starts_and_peers_are_kept_when_every_segment_that_held_them_is_gone() {
    let disk = FaultyDisk::default();
    let log = open(&disk);
    assert_eq!((log.incarnation(), log.remembered()), (None, Vec::new()));
    let many: Vec<Memory> = (0..20).map(|peer| memory(peer, u64::from(peer))).collect();
    note(&log, 5, &many).await.expect("noted");
    let mut model = Said::default();
    for step in &script() {
        act(&log, step).await.expect("an act");
        model = model.after(step);
    }
    act(&log, &Act::Purge(36)).await.expect("a purge");
    model = model.after(&Act::Purge(36));
    // The segments go after the purge was told.
    log.close().await;
    assert!(disk.files("/d/log").iter().all(|name| name != "0000000000000001.seg"));
    for lost in [Lost::Nothing, Lost::All] {
        let again = open(&disk.crash(lost));
        assert_eq!((again.incarnation(), again.remembered()), (Some(start(5)), many.clone()));
        assert_eq!(said(&again), model);
    }
    // Starts that note nothing lose nothing, whatever is purged then.
    for _ in 0..3 {
        open(&disk).close().await;
    }
    let log = open(&disk);
    log.commit(Some(LogId { term: 2, index: 39 })).await.expect("a hint");
    act(&log, &Act::Purge(39)).await.expect("a purge");
    log.close().await;
    let log = open(&disk);
    assert_eq!((log.incarnation(), log.remembered()), (Some(start(5)), many));
    let too_many = (0..=PEERS).map(|_| memory(1, 1)).collect();
    assert!(log.note_peers(too_many, waiting().0).await.is_err());
}

/// What a start does of a renewal.
async fn carry_out(disk: &FaultyDisk) -> Result<Log, StoreError> {
    let renewal = Renewal::find(&options(disk))?;
    if let Some(renewal) = &renewal {
        renewal.erase(&options(disk))?;
    }
    let log = Log::open(options(disk))?;
    if let Some(renewal) = renewal {
        let (done, wait) = waiting();
        log.note_start(renewal.start, done).await?;
        wait.await.unwrap_or(Err(StoreError::Closed))?;
        renewal.finish(&options(disk))?;
    }
    Ok(log)
}

#[tokio::test]
async fn a_renewal_that_ends_anywhere_is_carried_out_or_was_not_decided() {
    let (whole, log, model) = written(&script()).await;
    note(&log, 7, &[memory(1, 9)]).await.expect("noted");
    log.close().await;
    let renewed = Incarnation { number: 9, born: 9, mark: 1 };
    let (mut kept, mut given_up, mut acts) = (0, 0, 0);
    loop {
        let disk = whole.crash(Lost::Nothing);
        disk.fail_after(acts);
        let decided = Renewal::decide(&options(&disk), renewed).is_ok();
        let done = decided && carry_out(&disk).await.is_ok();
        for lost in [Lost::Nothing, Lost::All] {
            let crashed = disk.crash(lost);
            let log = carry_out(&crashed).await.expect("carried out");
            if log.incarnation() == Some(renewed) {
                assert_eq!(said(&log), Said::default());
                assert!(log.remembered().is_empty());
                given_up += 1;
            } else {
                assert!(!decided, "{acts} {lost:?}");
                assert_eq!(log.incarnation(), Some(start(7)));
                assert_eq!(said(&log), model);
                kept += 1;
            }
            assert_eq!(Renewal::find(&options(&crashed)).expect("none"), None);
        }
        if done {
            break;
        }
        acts += 1;
    }
    assert!(kept > 1 && given_up > 10, "{kept} {given_up}");
}

#[tokio::test]
async fn a_renewal_that_was_changed_or_is_anothers_is_named() {
    let (disk, log, _) = written(&script()[..4]).await;
    log.close().await;
    Renewal::decide(&options(&disk), start(3)).expect("decided");
    let path = "/d/log/renewal";
    for offset in 0..disk.bytes(path).len() {
        let changed = disk.crash(Lost::Nothing);
        changed.tamper(path, |bytes| bytes[offset] ^= 1);
        let error = Renewal::find(&options(&changed)).expect_err("changed");
        assert_eq!(error.exit_status(), Exit::Damaged, "byte {offset}: {error}");
    }
}
