//! Opening what is on disk and starting Raft over it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use openraft::{Config, Raft, SnapshotPolicy};
use tokio::runtime::Handle;

use super::cause::Cause;
use super::errors::StartError;
use super::gate::Gate;
use super::given::Start;
use super::log_store::LogStore;
use super::machine::{Machine, Replica};
use super::network::{Network, Voting};
use super::peers::{Peers, durably};
use super::types::TypeConfig;
use crate::store::{AuditLog, Incarnation, Keys, Log, Options, Renewal, Snapshots, StoreError};
use skep_client::transport::ClientTls;
use skep_core::base::{Dice, Disk, Exit, NodeId, OtherFormat};
use skep_core::wire::stored::BadStored;

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
    pub(super) shared: Arc<Replica>,
    pub(super) log: Log,
    pub(super) gate: Gate,
    pub(super) runtime: RaftRuntime,
}

/// The threads on which Raft runs: whatever else the process is asked for, they
/// send heartbeats.
pub(super) struct RaftRuntime(Option<tokio::runtime::Runtime>);

impl RaftRuntime {
    fn new() -> std::io::Result<Self> {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        runtime.worker_threads(2).thread_name("skep-raft").enable_all();
        runtime.build().map(Some).map(Self)
    }

    /// For what is to run there too.
    pub(super) fn handle(&self) -> Option<Handle> {
        self.0.as_ref().map(|runtime| runtime.handle().clone())
    }

    /// Runs to its end there.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> std::io::Result<T> {
        let runtime = self.0.as_ref().ok_or(std::io::ErrorKind::NotConnected)?;
        runtime.spawn(task).await.map_err(std::io::Error::other)
    }
}

impl Drop for RaftRuntime {
    fn drop(&mut self) {
        // Where it is dropped nobody may wait.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// What a member starts with, as often as it does.
#[derive(Clone)]
pub(super) struct Parts {
    pub(super) node: NodeId,
    pub(super) addresses: Vec<String>,
    pub(super) dice: fn() -> Box<dyn Dice>,
    data: PathBuf,
    keys: Arc<Keys>,
    disk: Arc<dyn Disk>,
    tls: Option<ClientTls>,
    tuning: Tuning,
    pub(super) audit: Option<AuditLog>,
}

impl Parts {
    pub(super) fn of(start: Start, tuning: Tuning) -> Result<Self, StartError> {
        let keys = Keys::new(start.cluster, start.node, start.deks).ok_or_else(|| {
            StartError::Damaged("the key file holds no data-encryption key".to_owned())
        })?;
        Ok(Self {
            node: start.node,
            addresses: start.addresses,
            dice: start.dice,
            data: start.data,
            keys: Arc::new(keys),
            disk: start.disk,
            tls: start.tls,
            tuning,
            audit: start.audit,
        })
    }

    pub(super) fn options(&self, folder: &str) -> Options {
        let (disk, keys) = (Arc::clone(&self.disk), Arc::clone(&self.keys));
        let mut options = Options::new(disk, self.data.join(folder), keys, self.dice);
        if let Some(bytes) = self.tuning.segment_bytes {
            options.segment_bytes = bytes;
        }
        options
    }

    /// The same in another folder.
    pub(super) fn below(&self, data: &std::path::Path) -> Self {
        Self { data: data.to_owned(), ..self.clone() }
    }

    /// Decides that log and snapshots are given up at the next start, which is
    /// `number`. Blocks on the disk.
    pub(super) fn give_up(&self, number: u64) -> Result<(), StoreError> {
        let mark = u64::from_le_bytes(skep_core::base::draw(&mut *(self.dice)()));
        let start = Incarnation { number, born: number, mark };
        Renewal::decide(&self.options("log"), start).map(drop)
    }
}

impl From<StoreError> for StartError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Damaged { .. } => Self::Damaged(error.to_string()),
            StoreError::Disk { .. } if error.exit_status() == Exit::Damaged => {
                Self::Damaged(error.to_string())
            }
            StoreError::Format { format: OtherFormat::Older(_), .. } => {
                Self::Older(error.to_string())
            }
            StoreError::Format { format: OtherFormat::Newer(_), .. } => {
                Self::Newer(error.to_string())
            }
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
            Cause::Undecodable { what, why: why @ BadStored::Older { .. } } => {
                Self::Older(format!("{what}: {why}"))
            }
            Cause::Undecodable { what, why: why @ BadStored::Damaged { .. } } => {
                Self::Damaged(format!("{what}: {why}"))
            }
            Cause::Store(error) => error.into(),
            Cause::Diverged { index } => Self::Diverged(index),
        }
    }
}

/// Between two heartbeats of a leader.
pub(super) const HEARTBEAT: Duration = Duration::from_millis(100);
/// How long a member that has heard a leader votes for nobody else.
pub(super) const LEASE: Duration = Duration::from_millis(400);
/// How much longer a follower waits at least for a leader that is silent; at most, another
/// lease.
const SILENCE: Duration = Duration::from_millis(250);

/// A follower stands for election when it has heard nothing for the lease and then 250 to 400
/// ms more: a machine may stall for six heartbeats without an election. A leader whose process
/// has ended is replaced when the lease is over (`leaderless`).
fn config(tuning: Tuning) -> Config {
    Config {
        cluster_name: "skep".to_owned(),
        heartbeat_interval: ms(HEARTBEAT),
        election_timeout_min: ms(SILENCE),
        election_timeout_max: ms(LEASE),
        enable_pre_vote: Some(true),
        // Not before the gate is passed.
        enable_elect: false,
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

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

struct Opened {
    log: Log,
    machine: Machine,
    shared: Arc<Replica>,
    renewal: Option<Renewal>,
}

/// Opens log and snapshots. Blocks on the disk.
fn open(parts: &Parts) -> Result<Opened, StartError> {
    let snapshots = Snapshots::open(parts.options("snapshots"))?;
    let renewal = Renewal::find(&parts.options("log"))?;
    if let Some(renewal) = &renewal {
        tracing::warn!(event = "log_given_up", number = renewal.start.number);
        snapshots.erase()?;
        renewal.erase(&parts.options("log"))?;
    }
    let shared = Arc::new(Replica::new());
    let machine = Machine::new(Arc::clone(&shared), Arc::new(snapshots), parts.audit.clone());
    let head = machine.restore()?;
    let covered = machine.covered(parts.node, head.as_ref());
    let log = Log::open_under(parts.options("log"), Some(&covered))?;
    Ok(Opened { log, machine, shared, renewal })
}

/// Runs on a thread that may block.
async fn blocking<T: Send + 'static>(
    act: impl FnOnce() -> Result<T, StartError> + Send + 'static,
) -> Result<T, StartError> {
    let done = tokio::task::spawn_blocking(act).await;
    done.map_err(|error| StartError::Disk(std::io::Error::other(error)))?
}

/// Starts Raft, which stays silent until its gate is passed.
pub(super) async fn start(parts: &Parts) -> Result<Running, StartError> {
    let (node, own) = (parts.node, parts.clone());
    let Opened { log, machine, shared, renewal } = blocking(move || open(&own)).await?;
    if let Some(renewal) = renewal {
        durably(|done| log.note_start(renewal.start, done)).await?;
        let options = parts.options("log");
        blocking(move || Ok(renewal.finish(&options)?)).await?;
    }
    let peers = Peers::new(log.clone(), Arc::clone(&shared), &mut *(parts.dice)());
    let peers = Arc::new(peers);
    let config = config(parts.tuning)
        .validate()
        .map_err(|error| StartError::Disk(std::io::Error::other(error)))?;
    let store = LogStore::new(log.clone());
    let (tls, voting) = (parts.tls.clone(), Voting::default());
    let network = Network { tls, peers: Arc::clone(&peers), voting };
    let runtime = RaftRuntime::new().map_err(StartError::Disk)?;
    let raft = Raft::new(node, Arc::new(config), network.clone(), store, machine);
    let raft = runtime.run(raft).await.map_err(StartError::Disk)?;
    let raft = raft.map_err(|fatal| reason(&shared, &log, &fatal.to_string()))?;
    // Its metrics name no member at all before its core has begun: then nobody would be asked
    // what is remembered, and nobody be needed.
    let begun = raft.with_raft_state(|_| ()).await;
    begun.map_err(|fatal| reason(&shared, &log, &fatal.to_string()))?;
    let gate = Gate { node, raft: raft.clone(), network, peers, candidacy: Arc::default() };
    Ok(Running { raft, shared, log, gate, runtime })
}

/// The named reason for which Raft has stopped.
pub(super) fn reason(shared: &Replica, log: &Log, fatal: &str) -> StartError {
    let cause = shared.cause.borrow().clone();
    let failure = log.failure().borrow().clone();
    match (failure, cause) {
        (Some(error), _) => error.into(),
        (None, Some(cause)) => cause.into(),
        (None, None) => StartError::Damaged(format!("the log contradicts itself: {fatal}")),
    }
}
