//! What reopening a log gives: a prefix that holds everything acknowledged, or a
//! named error. Each file takes one way of going wrong.

mod crash;
mod ordinary;
mod reached;
mod snapshots;
mod starts;
mod tamper;

use tokio::sync::oneshot;

use super::testing::{FaultyDisk, options};
use super::{Done, Log, LogEntry, LogId, StoreError, Vote};
use skep_core::base::NodeId;

/// One act, as a test writes it down.
#[derive(Clone, Debug, PartialEq)]
enum Act {
    Append(u64, Vec<u64>),
    Vote(u64),
    Truncate(Option<u64>),
    Purge(u64),
    Commit(u64),
}

/// What a log says.
#[derive(Clone, Debug, Default, PartialEq)]
struct Said {
    entries: Vec<(LogId, Vec<u8>)>,
    purged: Option<LogId>,
    vote: Option<Vote>,
}

fn payload(term: u64, index: u64) -> Vec<u8> {
    let length = usize::try_from(index * 37 % 200).expect("a length");
    format!("entry {term}.{index} ").into_bytes().repeat(1 + length / 12)
}

fn vote(term: u64) -> Vote {
    Vote { term, node: NodeId::from_bytes([7; 16]), committed: term.is_multiple_of(2) }
}

impl Said {
    /// The model: what the log must say after `act`.
    fn after(mut self, act: &Act) -> Self {
        match act {
            Act::Append(term, indexes) => self.entries.extend(
                indexes.iter().map(|i| (LogId { term: *term, index: *i }, payload(*term, *i))),
            ),
            Act::Vote(term) => self.vote = Some(vote(*term)),
            Act::Truncate(after) => {
                self.entries.retain(|(id, _)| after.is_some_and(|after| id.index <= after));
            }
            Act::Purge(upto) => {
                let last = self.entries.iter().rfind(|(id, _)| id.index <= *upto);
                self.purged = Some(last.expect("an entry").0);
                self.entries.retain(|(id, _)| id.index > *upto);
            }
            Act::Commit(_) => {}
        }
        self
    }
}

/// What `log` says.
fn said(log: &Log) -> Said {
    let entries = log.read(0, u64::MAX, u64::MAX).expect("entries");
    let entries = entries.into_iter().map(|entry| (entry.id, entry.payload.to_vec())).collect();
    Said { entries, purged: log.ends().0, vote: log.vote() }
}

fn waiting() -> (Done, oneshot::Receiver<Result<(), StoreError>>) {
    let (send, receive) = oneshot::channel();
    (Box::new(move |result| drop(send.send(result))), receive)
}

/// Queues one act; what comes back tells when it is durable.
async fn queue(
    log: &Log,
    act: &Act,
) -> Result<oneshot::Receiver<Result<(), StoreError>>, StoreError> {
    let (done, wait) = waiting();
    match act {
        Act::Append(term, indexes) => {
            let entry = |index: &u64| LogEntry {
                id: LogId { term: *term, index: *index },
                payload: payload(*term, *index).into(),
            };
            log.append(indexes.iter().map(entry).collect(), done).await?;
        }
        Act::Vote(term) => log.save_vote(vote(*term), done).await?,
        Act::Truncate(after) => {
            let after = after.map(|index| LogId { term: 1, index });
            log.truncate(after, done).await?;
        }
        Act::Purge(upto) => {
            let found = log.read(*upto, upto + 1, 1)?;
            log.purge(found.first().expect("an entry").id, done).await?;
        }
        Act::Commit(index) => {
            log.commit(Some(LogId { term: 1, index: *index })).await?;
            done(Ok(()));
        }
    }
    Ok(wait)
}

/// Does one act and waits until it is durable.
async fn act(log: &Log, act: &Act) -> Result<(), StoreError> {
    queue(log, act).await?.await.unwrap_or(Err(StoreError::Closed))
}

/// Votes, entries over several segments, a truncation, a purge.
fn script() -> Vec<Act> {
    let mut acts = vec![Act::Vote(1), Act::Append(1, vec![0])];
    for index in (1..40).step_by(3) {
        acts.push(Act::Append(1, vec![index, index + 1, index + 2]));
        acts.push(Act::Commit(index));
    }
    acts.extend([Act::Truncate(Some(37)), Act::Vote(2), Act::Append(2, vec![38, 39])]);
    acts
}

/// A log in which `acts` were done and each was acknowledged; the writer is idle.
async fn written(acts: &[Act]) -> (FaultyDisk, Log, Said) {
    let disk = FaultyDisk::default();
    let log = Log::open(options(&disk)).expect("a new log");
    let mut model = Said::default();
    for step in acts {
        act(&log, step).await.expect("an act");
        model = model.after(step);
    }
    (disk, log, model)
}
