//! Power loss, torn writes, a full disk, failed syncs, a killed process.

use std::path::Path;

use tokio::sync::oneshot;

use super::{Act, Log, Said, act, queue, said, script, written};
use crate::store::StoreError;
use crate::store::testing::{FaultyDisk, Lost, options};
use skep_core::base::{Disk, Exit};

/// The states that a log may be in after `acts` of which the first `acknowledged`
/// were durable: one for each act, and one for each entry of a torn append.
fn prefixes(acts: &[Act], acknowledged: usize) -> Vec<Said> {
    let mut model = acts[..acknowledged].iter().fold(Said::default(), Said::after);
    let mut states = vec![model.clone()];
    for act in &acts[acknowledged..] {
        if let Act::Append(term, indexes) = act {
            for index in indexes {
                model = model.after(&Act::Append(*term, vec![*index]));
                states.push(model.clone());
            }
        } else {
            model = model.after(act);
            states.push(model.clone());
        }
    }
    states
}

/// Opens what a crash left: it must be one of `allowed`, and go on working.
async fn check(disk: &FaultyDisk, allowed: &[Said], what: &str) {
    let log = Log::open(options(disk)).unwrap_or_else(|error| panic!("{what}: {error}"));
    let found = said(&log);
    assert!(allowed.contains(&found), "{what}: {found:?}");
    let next = found.entries.last().map_or(0, |(id, _)| id.index + 1);
    let more = Act::Append(9, vec![next]);
    act(&log, &more).await.unwrap_or_else(|error| panic!("{what}: {error}"));
    log.close().await;
    let log = Log::open(options(disk)).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(said(&log), found.after(&more), "{what}");
}

/// A disk whose writer has written, not synced, a batch of all of `last` after `acts`.
async fn unsynced(acts: &[Act], last: &[Act]) -> FaultyDisk {
    let (disk, log, _) = written(acts).await;
    disk.fail_syncs_after(0);
    let mut waits = Vec::new();
    for step in last {
        waits.push(queue(&log, step).await);
    }
    for wait in waits.into_iter().flatten() {
        assert!(wait.await.expect("an answer").is_err());
    }
    disk
}

#[tokio::test]
async fn a_write_torn_at_any_byte_leaves_everything_acknowledged() {
    let mut acts = vec![Act::Vote(1), Act::Append(1, vec![0, 1, 2]), Act::Vote(3)];
    let last = Act::Append(4, vec![3, 4, 5]);
    let disk = unsynced(&acts, std::slice::from_ref(&last)).await;
    acts.push(last);
    let allowed = prefixes(&acts, 3);
    let bytes = disk.pending();
    assert!(bytes > 100, "{bytes}");
    for kept in 0..=bytes {
        check(&disk.crash(Lost::After(kept)), &allowed, &format!("{kept} of {bytes}")).await;
    }
}

#[tokio::test]
async fn blocks_that_arrive_in_any_order_leave_everything_acknowledged() {
    let mut acts = vec![Act::Append(1, vec![0, 1, 2])];
    let last = Act::Append(4, (3..9).collect());
    let disk = unsynced(&acts, std::slice::from_ref(&last)).await;
    acts.push(last);
    let allowed = prefixes(&acts, 1);
    for size in [16, 64, 100, 512] {
        for seed in 0..40_u64 {
            let mask = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (seed << 3);
            let crashed = disk.crash(Lost::Blocks(size, mask));
            check(&crashed, &allowed, &format!("blocks of {size}, mask {mask:x}")).await;
        }
    }
}

#[tokio::test]
async fn a_killed_process_loses_nothing_and_power_loss_nothing_acknowledged() {
    let acts = script();
    for count in 0..=acts.len() {
        let (disk, _log, model) = written(&acts[..count]).await;
        let allowed = [model];
        for lost in [Lost::Nothing, Lost::All] {
            check(&disk.crash(lost), &allowed, &format!("{count} acts, {lost:?}")).await;
        }
    }
}

/// Whatever act on the disk fails first, nothing acknowledged is lost, everybody is
/// told, and nothing is acknowledged after it.
#[tokio::test]
async fn the_first_failure_ends_the_log_and_loses_nothing_acknowledged() {
    let mut acts = script();
    acts.push(Act::Purge(30));
    acts.push(Act::Append(3, vec![40]));
    let (whole, log, _) = written(&acts).await;
    log.close().await;
    for fail in 0..whole.changes() {
        let disk = FaultyDisk::default();
        disk.fail_after(fail);
        let mut acknowledged = 0;
        if let Ok(log) = Log::open(options(&disk)) {
            for step in &acts {
                match act(&log, step).await {
                    Ok(()) => acknowledged += 1,
                    Err(error) => {
                        assert_eq!(error.exit_status(), Exit::WriteFailed, "{error}");
                        break;
                    }
                }
            }
            if acknowledged < acts.len() {
                assert!(act(&log, &Act::Vote(99)).await.is_err(), "acknowledged after a failure");
            }
        }
        let upto = (acknowledged + 1).min(acts.len());
        let allowed = prefixes(&acts[..upto], acknowledged);
        for lost in [Lost::All, Lost::Nothing, Lost::After(70)] {
            let what = format!("change {fail} fails, {acknowledged} acts, {lost:?}");
            check(&disk.crash(lost), &allowed, &what).await;
        }
    }
}

#[tokio::test]
async fn a_failed_sync_is_told_to_everybody_who_waits() {
    let (disk, log, _) = written(&[Act::Append(1, vec![0])]).await;
    disk.fail_syncs_after(0);
    let first = queue(&log, &Act::Append(1, vec![1])).await.expect("queued");
    let second = queue(&log, &Act::Vote(4)).await;
    let answer = first.await.expect("an answer");
    assert!(matches!(answer, Err(StoreError::Disk { .. })), "{answer:?}");
    if let Ok(second) = second {
        assert!(second.await.expect("an answer").is_err());
    }
    let mut failure = log.failure();
    let told = failure.wait_for(Option::is_some).await.expect("a log").clone();
    assert_eq!(told.expect("a reason").exit_status(), Exit::WriteFailed);
}

#[tokio::test]
async fn a_full_disk_loses_nothing_acknowledged() {
    let (disk, log, mut model) = written(&script()).await;
    disk.set_capacity(disk.used() + 3000);
    let mut refused = None;
    for index in 40..400 {
        let step = Act::Append(2, vec![index]);
        match act(&log, &step).await {
            Ok(()) => model = model.after(&step),
            Err(error) => {
                refused = Some(error);
                break;
            }
        }
    }
    assert_eq!(refused.expect("the disk is full").exit_status(), Exit::WriteFailed);
    // No place for the segment that a start begins: named, and nothing is changed.
    let full = Log::open(options(&disk)).expect_err("a full disk");
    assert_eq!(full.exit_status(), Exit::WriteFailed);
    let crashed = disk.crash(Lost::All);
    check(&crashed, &[model], "with room again").await;
}

/// Many writers at once, then the process dies at some moment: whatever was
/// acknowledged by then is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_under_load_lose_nothing_acknowledged() {
    for round in 0..20_u64 {
        let disk = FaultyDisk::default();
        let log = Log::open(options(&disk)).expect("a log");
        let mut waits: Vec<(u64, oneshot::Receiver<_>)> = Vec::new();
        for index in 0..60 {
            let wait = queue(&log, &Act::Append(1, vec![index])).await.expect("queued");
            waits.push((index, wait));
        }
        let mut acknowledged = None;
        for (index, wait) in waits.iter_mut().take(usize::try_from(round * 3).expect("small")) {
            wait.await.expect("an answer").expect("durable");
            acknowledged = Some(*index);
        }
        for lost in [Lost::Nothing, Lost::All, Lost::Blocks(64, round.wrapping_mul(0x5851_F42D))] {
            // The writer goes on meanwhile: the crash is at no chosen place.
            let log = Log::open(options(&disk.crash(lost))).expect("a prefix");
            let found = said(&log).entries;
            let expected = (0_u64..).map(|index| (index, super::payload(1, index)));
            for ((id, bytes), (index, payload)) in found.iter().zip(expected) {
                assert_eq!((id.index, bytes), (index, &payload));
            }
            let last = found.last().map(|(id, _)| id.index);
            assert!(last >= acknowledged, "round {round}, {lost:?}: {last:?} {acknowledged:?}");
        }
    }
}

#[tokio::test]
async fn what_an_interrupted_start_left_is_cleared_away() {
    let (disk, log, model) = written(&[Act::Append(1, vec![0, 1])]).await;
    log.close().await;
    for leftover in [Vec::new(), vec![0; 4096], b"SKEPLOG\0".to_vec()] {
        disk.put("/d/log/0000000000000002.seg", leftover);
        disk.put("/d/log/manifest.0000000000000001.tmp", vec![1, 2, 3]);
        let crashed = disk.crash(Lost::All);
        check(&crashed, std::slice::from_ref(&model), "a leftover").await;
        assert!(crashed.read(Path::new("/d/log/manifest.0000000000000001.tmp"), 10).is_err());
    }
}
