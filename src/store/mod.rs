//! How sealed records lie on disk and come back (docs/formats.md).
//!
//! One sequence of sealed records per manager holds entries, votes, truncations,
//! purges and commits alike; a thread of its own writes them in batches, one
//! `fdatasync` each, and calls back. The first failed write ends it for ever.
//! It deliberately knows nothing of Raft's rules, nor what a payload means.

mod ahead;
mod audit;
mod cursor;
mod error;
mod header;
mod index;
mod log;
mod log_id;
mod manifest;
mod memory;
mod options;
mod reached;
mod record;
mod recover;
mod renewal;
mod segment;
mod snapshot;
mod writer;

pub use audit::{
    AuditLog, AuditOptions, AuditStanding, Base, Begins, Cursor as AuditCursor, From as AuditFrom,
    Item as AuditItem, LockedLines, NotRecorded, Page as AuditPage, Place, Retention,
};
pub use error::StoreError;
pub use header::Keys;
pub use log::Log;
pub use log_id::LogId;
pub use memory::{Incarnation, Memory, PEERS};
pub use options::{Covered, Done, Options};
pub use record::{LogEntry, Vote};
pub use renewal::Renewal;
pub use snapshot::{SnapshotReader, Snapshots};

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
