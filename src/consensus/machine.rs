//! `domain::State` as openraft's state machine.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::{Stream, TryStreamExt};
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend};
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, broadcast, watch};
use tokio::time::Instant;

use super::audited::Audited;
use super::cause::Cause;
use super::log_store::id_to;
use super::snapshot;
use super::types::{LogId, Snapshot, SnapshotMeta, SnapshotState, StoredMembership, TypeConfig};
use crate::store::{self, AuditLog, Place, Snapshots, StoreError};
use skep_core::base::{NodeId, Revision};
use skep_core::domain::{self, Applied, Fact, State};
use skep_core::wire::stored::encode_state;

/// Facts of so many commands may wait for a slow listener; then it looks at everything.
const FACTS: usize = 4096;
/// A snapshot is also due after so many bytes of commands: a log of large values
/// would fill the disk long before it has many entries.
const SNAPSHOT_BYTES: u64 = 64 * 1024 * 1024;

/// The state and how far it has come.
#[derive(Default)]
struct Inner {
    state: State,
    applied: Option<LogId>,
    membership: StoredMembership,
}

/// What the state machine shares with the handle.
pub(super) struct Replica {
    inner: RwLock<Inner>,
    facts: broadcast::Sender<(Revision, Arc<[Fact]>)>,
    /// Bytes of commands applied since the last snapshot was begun.
    bytes: AtomicU64,
    /// The last entry that the newest snapshot file covers.
    kept: Mutex<Option<store::LogId>>,
    audited: Mutex<Audited>,
    /// Told when they are too many.
    pub(super) snapshot_due: Notify,
    pub(super) cause: watch::Sender<Option<Cause>>,
    /// When a leader's entries or heartbeats came last.
    heard: Mutex<Option<Instant>>,
    /// When a leader with a majority was known of last, and since when this is looked at.
    contact: Mutex<Option<Instant>>,
    begun: Instant,
}

impl Replica {
    pub(super) fn new() -> Self {
        Self {
            inner: RwLock::default(),
            facts: broadcast::channel(FACTS).0,
            bytes: AtomicU64::new(0),
            kept: Mutex::default(),
            audited: Mutex::default(),
            snapshot_due: Notify::new(),
            cause: watch::channel(None).0,
            heard: Mutex::default(),
            contact: Mutex::default(),
            begun: Instant::now(),
        }
    }

    /// A leader had a majority then.
    pub(super) fn led_at(&self, at: Instant) {
        let mut contact = self.contact.lock();
        *contact = (*contact).max(Some(at));
    }

    /// How long ago a leader with a majority was known of last, if one was.
    pub(super) fn led_ago(&self) -> Option<Duration> {
        self.contact.lock().map(|at| at.elapsed())
    }

    /// Since when that is known.
    pub(super) fn age(&self) -> Duration {
        self.begun.elapsed()
    }

    /// A leader has spoken.
    pub(super) fn hear(&self) {
        *self.heard.lock() = Some(Instant::now());
    }

    /// When one has last.
    pub(super) fn heard_at(&self) -> Option<Instant> {
        *self.heard.lock()
    }

    /// Whether one has within this time.
    pub(super) fn heard_within(&self, age: Duration) -> bool {
        self.heard_at().is_some_and(|at| at.elapsed() < age)
    }

    pub(super) fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.inner.read().state)
    }

    pub(super) fn facts(&self) -> broadcast::Receiver<(Revision, Arc<[Fact]>)> {
        self.facts.subscribe()
    }

    /// The last entry that is applied or covered by a snapshot on the disk.
    pub(super) fn reached(&self) -> Option<store::LogId> {
        let applied = self.inner.read().applied.as_ref().map(id_to);
        applied.max(*self.kept.lock())
    }

    /// The last index at which audit heads are compared, and the head after it; 0
    /// and zeros where there is none yet.
    pub(super) fn checkpoint(&self) -> (u64, [u8; 32]) {
        self.audited.lock().newest()
    }

    /// Compares the leader's audit head with ours. One that differs ends this
    /// member: it holds another state than the one that the cluster acts on.
    pub(super) fn compare_audit(&self, index: u64, head: &[u8]) -> Result<(), io::Error> {
        if self.audited.lock().agrees(index, head) {
            return Ok(());
        }
        Err(self.stop(Cause::Diverged { index }))
    }

    #[cfg(test)]
    pub(super) fn spoil(&self) {
        if let Some(byte) = self.inner.write().state.audit_head.first_mut() {
            *byte ^= 1;
        }
    }

    pub(super) fn stop(&self, cause: Cause) -> io::Error {
        let error = match &cause {
            Cause::Diverged { index } => {
                io::Error::other(format!("another audit head than the leader's after {index}"))
            }
            Cause::Undecodable { what, why } => io::Error::other(format!("{what}: {why}")),
            Cause::Store(error) => io::Error::other(error.clone()),
        };
        self.cause.send_replace(Some(cause));
        error
    }
}

/// The state machine: the only writer of the state.
#[derive(Clone)]
pub(super) struct Machine {
    shared: Arc<Replica>,
    snapshots: Arc<Snapshots>,
    /// The head of the newest snapshot file.
    current: Arc<Mutex<Option<SnapshotMeta>>>,
    /// Where each command has its line.
    audit: Option<AuditLog>,
}

impl Machine {
    pub(super) fn new(
        shared: Arc<Replica>,
        snapshots: Arc<Snapshots>,
        audit: Option<AuditLog>,
    ) -> Self {
        Self { shared, snapshots, current: Arc::default(), audit }
    }

    /// The newest snapshot. Blocks on the disk.
    pub(super) fn newest(&self) -> Result<Option<Snapshot>, StoreError> {
        let Some(file) = self.snapshots.open_newest()? else { return Ok(None) };
        let (meta, snapshot) = snapshot::kept(file)?;
        self.note(&meta);
        Ok(Some(Snapshot { meta, snapshot }))
    }

    /// Takes the state of the newest snapshot, and answers of what it is one. Blocks on the
    /// disk.
    pub(super) fn restore(&self) -> Result<Option<SnapshotMeta>, Cause> {
        let Some(found) = self.newest().map_err(Cause::Store)? else { return Ok(None) };
        let state = snapshot::decode(found.snapshot)?;
        self.put(&found.meta, state);
        Ok(Some(found.meta))
    }

    /// Puts a state in the place of the one that is there.
    fn put(&self, meta: &SnapshotMeta, state: State) {
        let stands = Place { number: state.revision.0, head: state.audit_head };
        let mut inner = self.shared.inner.write();
        let before = std::mem::replace(&mut inner.state, state);
        inner.applied = meta.last_log_id;
        inner.membership = meta.last_membership.clone();
        drop(inner);
        drop(before);
        if let Some(audit) = &self.audit {
            audit.stands_at(stands);
        }
    }

    /// What the newest snapshot, with this head, proves of the log of `node`.
    pub(super) fn covered(&self, node: NodeId, head: Option<&SnapshotMeta>) -> store::Covered {
        let members = head.map(|head| head.last_membership.membership());
        let alone = members.is_some_and(|members| members.voter_ids().eq([node]));
        let last = head.and_then(|head| head.last_log_id.as_ref()).map(id_to);
        store::Covered { file: self.snapshots.newest_file(), last, alone }
    }

    fn save(&self, meta: &SnapshotMeta, state: &State) -> Result<(), StoreError> {
        self.snapshots.save(&snapshot::head_of(meta, state), encode_state(state))?;
        self.note(meta);
        Ok(())
    }

    fn note(&self, meta: &SnapshotMeta) {
        *self.current.lock() = Some(meta.clone());
        let mut kept = self.shared.kept.lock();
        *kept = kept.max(meta.last_log_id.as_ref().map(id_to));
    }

    fn apply_one(&self, id: LogId, payload: EntryPayloadOf) -> io::Result<Option<Applied>> {
        let mut applied = None;
        match payload {
            EntryPayload::Blank => self.shared.inner.write().applied = Some(id),
            EntryPayload::Membership(membership) => {
                let mut inner = self.shared.inner.write();
                inner.membership = StoredMembership::new(Some(id), membership);
                inner.applied = Some(id);
                drop(inner);
                // No fact says so: whoever cares for the members looks.
                self.tell(Revision(id.index()), &[]);
            }
            EntryPayload::Normal(proposal) => {
                let command = proposal.command().map_err(|why| {
                    let what = format!("entry {}", id.index());
                    self.shared.stop(Cause::Undecodable { what, why })
                })?;
                let mut inner = self.shared.inner.write();
                let revision = Revision(id.index());
                let recorded = domain::apply(&mut inner.state, revision, &command);
                inner.applied = Some(id);
                drop(inner);
                self.shared.audited.lock().applied(id.index(), recorded.line.head);
                if let Some(audit) = &self.audit {
                    audit.command(recorded.line);
                }
                applied = Some(recorded.applied);
                self.count(proposal.bytes.len());
            }
        }
        Ok(applied)
    }

    fn count(&self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let before = self.shared.bytes.fetch_add(bytes, Ordering::Relaxed);
        if before.saturating_add(bytes) >= SNAPSHOT_BYTES {
            self.shared.bytes.store(0, Ordering::Relaxed);
            self.shared.snapshot_due.notify_one();
        }
    }

    fn tell(&self, revision: Revision, facts: &[Fact]) {
        // Nobody listens before the manager is up; it looks at everything then.
        self.shared.facts.send((revision, facts.into())).ok();
    }

    /// Runs what blocks on a thread that may.
    async fn blocking<T: Send + 'static>(
        &self,
        act: impl FnOnce(&Self) -> Result<T, Cause> + Send + 'static,
    ) -> io::Result<T> {
        let machine = self.clone();
        let done = tokio::task::spawn_blocking(move || act(&machine)).await;
        let done = done.map_err(io::Error::other)?;
        done.map_err(|cause| self.shared.stop(cause))
    }
}

type EntryPayloadOf = <TypeConfig as openraft::RaftTypeConfig>::Payload;

impl RaftStateMachine<TypeConfig> for Machine {
    type SnapshotData = SnapshotState;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        let inner = self.shared.inner.read();
        Ok((inner.applied, inner.membership.clone()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> io::Result<()>
    where
        Strm: Stream<Item = io::Result<EntryResponder<TypeConfig>>> + Unpin + OptionalSend,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            let id = entry.log_id;
            let applied = self.apply_one(id, entry.payload)?;
            if let Some(applied) = applied.as_ref().filter(|applied| !applied.facts.is_empty()) {
                self.tell(Revision(id.index()), &applied.facts);
            }
            if let Some(responder) = responder {
                responder.send(applied);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        let inner = self.shared.inner.read();
        let meta =
            SnapshotMeta { last_log_id: inner.applied, last_membership: inner.membership.clone() };
        self.shared.bytes.store(0, Ordering::Relaxed);
        // Values are shared, so this copies maps and not secrets; applying goes on.
        Builder { machine: self.clone(), meta, state: Arc::new(inner.state.clone()) }
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        data: SnapshotState,
    ) -> io::Result<()> {
        let wanted = meta.clone();
        self.blocking(move |machine| {
            let state = snapshot::decode(data)?;
            let known = machine.current.lock().as_ref() == Some(&wanted);
            if !known {
                machine.save(&wanted, &state).map_err(Cause::Store)?;
            }
            machine.put(&wanted, state);
            Ok(())
        })
        .await?;
        // No fact says what changed: whoever listens looks at everything.
        self.tell(Revision(meta.last_log_id.map_or(0, |id| id.index())), &[]);
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        self.blocking(|machine| machine.newest().map_err(Cause::Store)).await
    }
}

/// A view of the state that does not change any more.
pub(super) struct Builder {
    machine: Machine,
    meta: SnapshotMeta,
    state: Arc<State>,
}

impl RaftSnapshotBuilder<TypeConfig> for Builder {
    type SnapshotData = SnapshotState;

    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        let (meta, state) = (self.meta.clone(), Arc::clone(&self.state));
        self.machine
            .blocking(move |machine| {
                // What the snapshot covers is not replayed: its lines must be there before.
                if let Some(Err(why)) = machine.audit.as_ref().map(AuditLog::sync_blocking) {
                    tracing::warn!(event = "audit_log_not_synced", %why);
                }
                machine.save(&meta, &state).map_err(Cause::Store)?;
                let newest = machine.newest().map_err(Cause::Store)?;
                // It was written a moment ago.
                newest.ok_or(Cause::Store(StoreError::Closed))
            })
            .await
    }
}
