//! `store::Log` as openraft wants it.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use futures_util::{Stream, stream};
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use openraft::type_config::alias::EntryOf;
use openraft::vote::leader_id_std::LeaderId;
use openraft::vote::{RaftLeaderId, RaftVote};
use openraft::{OptionalSend, entry::RaftEntry};
use parking_lot::Mutex;
use prost::Message;
use tokio::sync::oneshot;

use super::convert;
use super::recent::Recent;
use super::types::{LogEntry, LogId, TypeConfig, Vote};
use crate::store::{self, Done, Log, StoreError};
use skep_core::wire::raft as proto;

/// Bytes of payload read for one message to a peer.
const READ_BYTES: u64 = 4 * 1024 * 1024;

/// Openraft's view of the log. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct LogStore {
    log: Log,
    recent: Arc<Mutex<Recent>>,
}

pub(super) fn id_to(id: &LogId) -> store::LogId {
    store::LogId { term: **id.committed_leader_id(), index: id.index() }
}

pub(super) fn id_from(id: store::LogId) -> LogId {
    LogId::new_term_index(id.term, id.index)
}

fn vote_to(vote: &Vote) -> store::Vote {
    store::Vote {
        term: vote.leader_id().term(),
        node: *vote.leader_id().node_id(),
        committed: vote.is_committed(),
    }
}

fn vote_from(vote: store::Vote) -> Vote {
    Vote::from_leader_id(LeaderId::new(vote.term, vote.node), vote.committed)
}

fn entry_to(entry: &LogEntry) -> store::LogEntry {
    let message = proto::Entry { id: None, payload: Some(convert::payload_to(entry)) };
    store::LogEntry { id: id_to(&entry.log_id()), payload: message.encode_to_vec().into() }
}

pub(super) fn entry_from(entry: store::LogEntry) -> io::Result<LogEntry> {
    let message = proto::Entry::decode(entry.payload).map_err(io::Error::other)?;
    convert::entry_at(id_from(entry.id), message).map_err(io::Error::other)
}

/// A callback, and what to wait for until it was called.
fn waiting() -> (Done, oneshot::Receiver<Result<(), StoreError>>) {
    let (send, receive) = oneshot::channel();
    let done = move |result| {
        // Nobody waits any more where openraft was stopped.
        send.send(result).ok();
    };
    (Box::new(done), receive)
}

async fn durable(wait: oneshot::Receiver<Result<(), StoreError>>) -> io::Result<()> {
    Ok(wait.await.unwrap_or(Err(StoreError::Closed))?)
}

impl LogStore {
    pub(super) fn new(log: Log) -> Self {
        Self { log, recent: Arc::default() }
    }

    /// What was appended lately, from memory; else reads on a thread that may block: the disk is
    /// asked for what memory lacks.
    async fn read(&self, from: u64, to: u64, most: u64) -> io::Result<Vec<LogEntry>> {
        if from >= to {
            return Ok(Vec::new());
        }
        if let Some(entries) = self.recent.lock().get(from, to, most) {
            return Ok(entries);
        }
        let log = self.log.clone();
        let read = tokio::task::spawn_blocking(move || log.read(from, to, most));
        let entries = read.await.map_err(io::Error::other)??;
        entries.into_iter().map(entry_from).collect()
    }
}

fn bounds(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let from = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(start) => start.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let to = match range.end_bound() {
        Bound::Included(end) => end.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    (from, to)
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> io::Result<Vec<EntryOf<TypeConfig>>> {
        let (from, to) = bounds(&range);
        self.read(from, to, u64::MAX).await
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<LogEntry>> {
        self.read(start, end, READ_BYTES).await
    }

    async fn entries_stream<RB>(
        &mut self,
        range: RB,
    ) -> impl Stream<Item = io::Result<LogEntry>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (from, to) = bounds(&range);
        let start = (self.clone(), from, Vec::new().into_iter());
        let next = move |(log, from, mut ready): (Self, u64, std::vec::IntoIter<LogEntry>)| async move {
            if let Some(entry) = ready.next() {
                let from = entry.log_id().index() + 1;
                return Ok(Some((entry, (log, from, ready))));
            }
            let mut more = log.read(from, to, READ_BYTES).await?.into_iter();
            let Some(entry) = more.next() else { return Ok(None) };
            let from = entry.log_id().index() + 1;
            Ok(Some((entry, (log, from, more))))
        };
        Box::pin(stream::try_unfold(start, next))
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        Ok(self.log.vote().map(vote_from))
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<TypeConfig>> {
        let (purged, last) = self.log.ends();
        Ok(LogState { last_purged_log_id: purged.map(id_from), last_log_id: last.map(id_from) })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        let (done, wait) = waiting();
        self.log.save_vote(vote_to(vote), done).await?;
        durable(wait).await
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        Ok(self.log.commit(committed.as_ref().map(id_to)).await?)
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        Ok(self.log.committed().map(id_from))
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> io::Result<()>
    where
        I: IntoIterator<Item = LogEntry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<LogEntry> = entries.into_iter().collect();
        let stored = entries.iter().map(entry_to).collect();
        let done = Box::new(|result: Result<(), StoreError>| {
            callback.io_completed(result.map_err(io::Error::from));
        });
        self.log.append(stored, done).await?;
        let mut recent = self.recent.lock();
        for entry in entries {
            recent.push(entry);
        }
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        let (done, wait) = waiting();
        self.recent.lock().truncate(last);
        self.log.truncate(last.as_ref().map(id_to), done).await?;
        durable(wait).await
    }

    async fn purge(&mut self, upto: LogId) -> io::Result<()> {
        let (done, wait) = waiting();
        self.recent.lock().purge(upto.index());
        self.log.purge(id_to(&upto), done).await?;
        durable(wait).await
    }
}
