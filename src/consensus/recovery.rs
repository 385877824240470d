//! A member's disk, read without taking part, and made the disk of the only member.
//!
//! Every entry that the log holds is applied, also those that this member never heard to be
//! committed: a majority may have acknowledged them, and then nobody but the survivor is left
//! to know. What comes of it is written beside the old log and snapshots, which stay as they
//! are: whoever calls puts the one in the place of the other.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use openraft::EntryPayload;

use super::cause::Cause;
use super::errors::StartError;
use super::given::Start;
use super::log_store::{entry_from, id_from};
use super::machine::{Machine, Replica};
use super::peers::durably;
use super::snapshot;
use super::start::{Parts, Tuning};
use super::types::{Addresses, Membership, SnapshotMeta, StoredMembership};
use crate::store::{self, AuditLog, Incarnation, Log, LogId, Renewal, Snapshots, StoreError};
use skep_core::base::Revision;
use skep_core::domain::{self, Command, Refusal, State};
use skep_core::wire::stored::encode_state;

/// Bytes of payload that are read at once.
const READ_BYTES: u64 = 16 * 1024 * 1024;

/// Why no cluster of one member was made.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// What lies there can't be read, or nothing can be written.
    #[error(transparent)]
    Disk(#[from] StartError),
    /// The command was refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

impl From<StoreError> for RecoveryError {
    fn from(error: StoreError) -> Self {
        Self::Disk(error.into())
    }
}

/// All that a member's disk holds.
pub struct Survivor {
    parts: Parts,
    state: State,
    last: LogId,
    term: u64,
    start: Option<Incarnation>,
}

impl std::fmt::Debug for Survivor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Survivor({})", self.parts.node)
    }
}

impl Survivor {
    /// Reads log and snapshot. Nothing is changed but leftovers of interrupted acts.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn read(start: Start) -> Result<Self, StartError> {
        let parts = Parts::of(start, Tuning::default())?;
        let reading = tokio::task::spawn_blocking(move || Self::open(parts)).await;
        let (survivor, log) =
            reading.map_err(|error| StartError::Disk(std::io::Error::other(error)))??;
        log.close().await;
        Ok(survivor)
    }

    fn open(parts: Parts) -> Result<(Self, Log), StartError> {
        if Renewal::find(&parts.options("log"))?.is_some() {
            let why = "this manager's log was given up by a repair that did not come to its end";
            return Err(StartError::Damaged(why.to_owned()));
        }
        let snapshots = Snapshots::open(parts.options("snapshots"))?;
        let machine = Machine::new(Replica::new().into(), snapshots.into(), None);
        let found = machine.newest().map_err(Cause::Store)?;
        let head = found.as_ref().map(|snapshot| &snapshot.meta);
        let covered = machine.covered(parts.node, head);
        let mut last = covered.last;
        let mut state = match found {
            Some(found) => snapshot::decode(found.snapshot)?,
            None => State::default(),
        };
        let log = Log::open_under(parts.options("log"), Some(&covered))?;
        let end = log.ends().1.map_or(0, |id| id.index.saturating_add(1));
        let mut next = last.map_or(0, |id| id.index.saturating_add(1));
        while next < end {
            let entries = log.read(next, end, READ_BYTES)?;
            let hole = || StartError::Damaged(format!("entry {next} is missing in the log"));
            if entries.first().is_none_or(|entry| entry.id.index != next) {
                return Err(hole());
            }
            for entry in entries {
                last = Some(entry.id);
                next = entry.id.index.saturating_add(1);
                apply(&mut state, entry, parts.audit.as_ref())?;
            }
        }
        let Some(last) = last else {
            return Err(StartError::Damaged("neither log nor snapshot holds anything".to_owned()));
        };
        let term = log.vote().map_or(last.term, |vote| vote.term.max(last.term));
        let start = log.incarnation();
        Ok((Self { parts, state, last, term, start }, log))
    }

    /// What it knows.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Applies `command`, and writes what comes of it as log and snapshots below `into`, of a
    /// cluster whose only member is this one, at `addresses`. When this returns it is durable.
    ///
    /// # Errors
    /// [`RecoveryError`]; what lies in `into` is of no use then.
    pub async fn alone(
        mut self,
        command: Command,
        addresses: Vec<String>,
        into: &Path,
    ) -> Result<(), RecoveryError> {
        let index = self.last.index.saturating_add(1);
        let term = self.term.saturating_add(1);
        let applied = domain::apply(&mut self.state, Revision(index), &command);
        applied.applied.outcome?;
        if let Some(audit) = &self.parts.audit {
            audit.command(applied.line);
        }
        let at = LogId { term, index };
        let voters = vec![BTreeSet::from([self.parts.node])];
        let nodes = BTreeMap::from([(self.parts.node, Addresses(addresses))]);
        let membership = Membership::new(voters, nodes)
            .map_err(|error| StartError::Disk(std::io::Error::other(error.to_string())))?;
        let meta = SnapshotMeta {
            last_log_id: Some(id_from(at)),
            last_membership: StoredMembership::new(Some(id_from(at)), membership),
        };
        let parts = self.parts.below(into);
        let (state, own) = (self.state, parts.clone());
        let writing = tokio::task::spawn_blocking(move || -> Result<Log, StartError> {
            let snapshots = Snapshots::open(own.options("snapshots"))?;
            snapshots.save(&snapshot::head_of(&meta, &state), encode_state(&state))?;
            Ok(Log::open(own.options("log"))?)
        });
        let log =
            writing.await.map_err(|error| StartError::Disk(std::io::Error::other(error)))??;
        let vote = store::Vote { term, node: parts.node, committed: false };
        if let Some(start) = self.start {
            durably(|done| log.note_start(start, done)).await?;
        }
        durably(|done| log.save_vote(vote, done)).await?;
        durably(|done| log.purge(at, done)).await?;
        log.close().await;
        let failure = log.failure().borrow().clone();
        failure.map_or(Ok(()), |error| Err(error.into()))
    }
}

/// Follows one entry, committed or not.
fn apply(
    state: &mut State,
    entry: store::LogEntry,
    audit: Option<&AuditLog>,
) -> Result<(), StartError> {
    let id = entry.id;
    let broken = |error: std::io::Error| {
        StartError::Damaged(format!("entry {} of the log: {error}", id.index))
    };
    let entry = entry_from(entry).map_err(broken)?;
    if let EntryPayload::Normal(proposal) = entry.payload {
        let command = proposal.command().map_err(|why| {
            let what = format!("entry {}", id.index);
            StartError::from(Cause::Undecodable { what, why })
        })?;
        // What the command came to is in the state; whoever asked for it is gone.
        let recorded = domain::apply(state, Revision(id.index), &command);
        if let Some(audit) = audit {
            audit.command(recorded.line);
        }
    }
    Ok(())
}
