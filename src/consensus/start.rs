//! Opening what is on disk and starting Raft over it.

use std::sync::Arc;

use openraft::{Config, Raft, SnapshotPolicy};

use super::handle::{Start, StartError};
use super::log_store::LogStore;
use super::machine::{Cause, Machine, Shared};
use super::network::Network;
use super::types::TypeConfig;
use crate::store::{Keys, Log, Options, Snapshots, StoreError};
use crate::wire::stored::BadStored;

/// What tests make smaller.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tuning {
    /// Bytes of a segment of the log.
    pub(super) segment_bytes: Option<u64>,
    /// Entries after which a snapshot is made.
    pub(super) snapshot_entries: u64,
    /// Entries kept behind a snapshot, for followers that are a little late.
    pub(super) keep_entries: u64,
}

impl Default for Tuning {
    fn default() -> Self {
        Self { segment_bytes: None, snapshot_entries: 10_000, keep_entries: 1_000 }
    }
}

/// What runs.
pub(super) struct Running {
    pub(super) raft: Raft<TypeConfig, Machine>,
    pub(super) shared: Arc<Shared>,
    pub(super) log: Log,
}

impl From<StoreError> for StartError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Damaged { .. } => Self::Damaged(error.to_string()),
            StoreError::Newer { .. } => Self::Newer(error.to_string()),
            StoreError::Disk { .. } | StoreError::Closed => {
                Self::Disk(std::io::Error::other(error))
            }
        }
    }
}

impl From<Cause> for StartError {
    fn from(cause: Cause) -> Self {
        match cause {
            Cause::Undecodable { what, why: why @ BadStored::Newer { .. } } => {
                Self::Newer(format!("{what}: {why}"))
            }
            Cause::Undecodable { what, why: why @ BadStored::Damaged { .. } } => {
                Self::Damaged(format!("{what}: {why}"))
            }
            Cause::Store(error) => error.into(),
        }
    }
}

/// Times in milliseconds. A follower stands for election when it has heard nothing
/// for 500 (the lease) and then 300 to 500 more: a dead leader is replaced about a
/// second later, and a machine may stall for eight heartbeats without an election.
fn config(tuning: Tuning) -> Config {
    Config {
        cluster_name: "skep".to_owned(),
        heartbeat_interval: 100,
        election_timeout_min: 300,
        election_timeout_max: 500,
        enable_pre_vote: Some(true),
        quorum_loss_probe_interval: Some(1000),
        // What was committed lies on disk as a hint only.
        enable_leader_restore: Some(false),
        snapshot_policy: SnapshotPolicy::LogsSinceLast(tuning.snapshot_entries),
        max_in_snapshot_log_to_keep: tuning.keep_entries,
        replication_lag_threshold: tuning.snapshot_entries.saturating_mul(2),
        // A segment is dropped as a whole: seldom is enough.
        purge_batch_size: (tuning.keep_entries / 4).max(1),
        max_append_entries: Some(512),
        install_snapshot_timeout: 600_000,
        backoff: "50ms 100ms 200ms ...500ms".to_owned(),
        ..Config::default()
    }
}

/// Opens log and snapshots. Blocks on the disk.
fn open(start: &mut Start, tuning: Tuning) -> Result<(Log, Machine, Arc<Shared>), StartError> {
    let deks = std::mem::take(&mut start.deks);
    let keys = Keys::new(start.cluster, start.node, deks).ok_or_else(|| {
        StartError::Damaged("the key file holds no data-encryption key".to_owned())
    })?;
    let keys = Arc::new(keys);
    let disk = Arc::clone(&start.disk);
    let folder = |name| start.data.join(name);
    let mut options = Options::new(Arc::clone(&disk), folder("log"), Arc::clone(&keys), start.dice);
    if let Some(bytes) = tuning.segment_bytes {
        options.segment_bytes = bytes;
    }
    let log = Log::open(options)?;
    let snapshots = Snapshots::open(Options::new(disk, folder("snapshots"), keys, start.dice))?;
    let shared = Arc::new(Shared::new());
    let machine = Machine::new(Arc::clone(&shared), Arc::new(snapshots));
    let snapshot = machine.load()?.and_then(|snapshot| snapshot.meta.last_log_id);
    let (purged, _) = log.ends();
    if purged.is_some_and(|purged| snapshot.is_none_or(|last| last.index < purged.index)) {
        let why = "the log was purged, and the snapshot that it was purged for is missing";
        return Err(StartError::Damaged(why.to_owned()));
    }
    Ok((log, machine, shared))
}

/// Starts Raft.
pub(super) async fn start(mut start: Start, tuning: Tuning) -> Result<Running, StartError> {
    let (node, tls) = (start.node, start.tls.clone());
    let opened = tokio::task::spawn_blocking(move || open(&mut start, tuning)).await;
    let opened = opened.map_err(|error| StartError::Disk(std::io::Error::other(error)))?;
    let (log, machine, shared) = opened?;
    let config = config(tuning)
        .validate()
        .map_err(|error| StartError::Disk(std::io::Error::other(error)))?;
    let store = LogStore(log.clone());
    let raft = Raft::new(node, Arc::new(config), Network { tls }, store, machine).await;
    let raft = raft.map_err(|fatal| reason(&shared, &log, &fatal.to_string()))?;
    Ok(Running { raft, shared, log })
}

/// The named reason for which Raft has stopped.
pub(super) fn reason(shared: &Shared, log: &Log, fatal: &str) -> StartError {
    let cause = shared.cause.borrow().clone();
    let failure = log.failure().borrow().clone();
    match (failure, cause) {
        (Some(error), _) => error.into(),
        (None, Some(cause)) => cause.into(),
        (None, None) => StartError::Damaged(format!("the log contradicts itself: {fatal}")),
    }
}
