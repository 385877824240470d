//! One voter over the disk that fails and forgets, and openraft's own suite.

use std::sync::Arc;
use std::time::Duration;

use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};

use super::log_store::LogStore;
use super::machine::{Machine, Replica};
use super::start::Tuning;
use super::types::TypeConfig;
use super::{Consensus, ProposeError, Start, StartError};
use crate::store::testing::{FaultyDisk, Lost, dek, dice, options};
use crate::store::{Log, Snapshots};
use skep_core::base::{ClusterId, NodeId, RequestId, Stamp};
use skep_core::domain::{Act, Actor, Command};

struct Builder;

impl StoreBuilder<TypeConfig, LogStore, Machine> for Builder {
    async fn build(&self) -> Result<((), LogStore, Machine), StorageError<TypeConfig>> {
        let disk = FaultyDisk::default();
        let log = Log::open(options(&disk)).expect("a log");
        let mut folder = options(&disk);
        folder.folder = "/d/snapshots".into();
        let snapshots = Arc::new(Snapshots::open(folder).expect("a folder"));
        Ok(((), LogStore::new(log), Machine::new(Arc::new(Replica::new()), snapshots, None)))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_passes_openrafts_suite() {
    Suite::test_all(Builder).await.expect("the suite");
}

fn start(disk: &FaultyDisk) -> Start {
    Start {
        audit: None,
        cluster: ClusterId::from_bytes(*b"0123456789abcdef"),
        node: NodeId::from(1),
        addresses: vec!["127.0.0.1:1".to_owned()],
        data: "/d".into(),
        deks: vec![dek()],
        disk: Arc::new(disk.clone()),
        dice,
        tls: None,
    }
}

fn tuning() -> Tuning {
    Tuning { segment_bytes: Some(8192), snapshot_entries: 40, keep_entries: 5 }
}

async fn open(disk: &FaultyDisk) -> Consensus {
    Consensus::start_tuned(start(disk), tuning()).await.expect("consensus")
}

/// Refused by every state that no genesis has made, and remembered all the same.
fn command(number: u64) -> Command {
    Command {
        from: None,
        request: RequestId::from_bytes(u128::from(number).to_be_bytes()),
        stamp: Stamp(1_000 + number),
        deadline: Stamp(11_000 + number),
        actor: Actor::Leader(NodeId::from(1)),
        act: Act::Expose(Vec::new()),
    }
}

async fn leads(consensus: &Consensus) {
    let mut leadership = consensus.leadership();
    let own = leadership.wait_for(|now| now.own && now.quorum);
    tokio::time::timeout(Duration::from_secs(10), own).await.expect("in time").expect("running");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_voter_is_founded_proposes_and_is_there_again_after_a_restart() {
    let disk = FaultyDisk::default();
    let consensus = open(&disk).await;
    assert!(matches!(consensus.propose(command(0)).await, Err(ProposeError::NotLeader(None))));
    consensus.found().await.expect("founded");
    assert!(consensus.found().await.is_err(), "founded twice");
    let mut facts = 0;
    for number in 1..=100 {
        let applied = consensus.propose(command(number)).await.expect("applied");
        facts += applied.facts.len();
    }
    assert_eq!(facts, 0);
    let (head, stamp) = consensus.read(|state| (state.audit_head, state.stamp));
    assert_eq!(stamp, Stamp(1_100));
    let revision = consensus.linearize(Duration::from_secs(5)).await.expect("linearized");
    assert_eq!(revision, consensus.read(|state| state.revision));
    assert_eq!(consensus.members().len(), 1);
    consensus.shutdown().await;
    assert!(matches!(consensus.propose(command(200)).await, Err(ProposeError::Stopped(_))));

    // In good order, killed, and after power loss: all the same to what was acknowledged.
    for lost in [Lost::Nothing, Lost::All] {
        let crashed = disk.crash(lost);
        let again = open(&crashed).await;
        leads(&again).await;
        assert_eq!(again.read(|state| (state.audit_head, state.stamp)), (head, stamp));
        again.propose(command(300)).await.expect("applied");
        again.shutdown().await;
    }
    let names = disk.files("/d/snapshots");
    assert_eq!(names.len(), 1, "100 entries are more than 40: {names:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_disk_stops_consensus_with_its_reason() {
    let disk = FaultyDisk::default();
    let consensus = open(&disk).await;
    consensus.found().await.expect("founded");
    consensus.propose(command(1)).await.expect("applied");
    let head = consensus.read(|state| state.audit_head);
    disk.fail_after(0);
    let answer = consensus.propose(command(2)).await;
    assert!(matches!(answer, Err(ProposeError::Unknown | ProposeError::Stopped(_))), "{answer:?}");
    let stopped = tokio::time::timeout(Duration::from_secs(5), consensus.stopped()).await;
    assert!(matches!(stopped.expect("in time"), StartError::Disk(_)));
    let again = open(&disk.crash(Lost::All)).await;
    leads(&again).await;
    assert_eq!(again.read(|state| state.audit_head), head);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_is_named_at_start() {
    let disk = FaultyDisk::default();
    let consensus = open(&disk).await;
    consensus.found().await.expect("founded");
    for number in 1..=100 {
        consensus.propose(command(number)).await.expect("applied");
    }
    consensus.shutdown().await;
    let snapshot = format!("/d/snapshots/{}", disk.files("/d/snapshots")[0]);
    let segments = disk.files("/d/log");
    let last =
        segments.iter().rfind(|name| name.strip_suffix(".seg").is_some()).expect("a segment");
    for path in [snapshot.clone(), format!("/d/log/{last}")] {
        let damaged = disk.crash(Lost::Nothing);
        damaged.tamper(&path, |bytes| bytes[300] ^= 1);
        let error = Consensus::start_tuned(start(&damaged), tuning()).await.expect_err("damaged");
        assert!(matches!(error, StartError::Damaged(_)), "{path}: {error}");
    }
    let missing = disk.crash(Lost::Nothing);
    missing.take(&snapshot);
    let error = Consensus::start_tuned(start(&missing), tuning()).await.expect_err("missing");
    assert!(matches!(error, StartError::Damaged(_)), "{error}");
}
