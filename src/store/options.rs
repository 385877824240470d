//! What a log is opened with.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use super::error::StoreError;
use super::header::Keys;
use super::log_id::LogId;
use skep_core::base::{Dice, Disk};

/// Called when what it came with is durable, or will never be.
pub type Done = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// What a log needs.
#[derive(Clone)]
pub struct Options {
    /// The disk.
    pub disk: Arc<dyn Disk>,
    /// Where the segments lie.
    pub folder: PathBuf,
    /// Whose they are, and what seals them.
    pub keys: Arc<Keys>,
    /// Makes dice for the writer's thread.
    pub dice: fn() -> Box<dyn Dice>,
    /// Bytes of a segment: 16 MiB, less in tests.
    pub segment_bytes: u64,
    /// Bytes of payloads kept in memory.
    pub cache_bytes: usize,
}

impl Options {
    /// The usual sizes: 16 MiB segments (preallocated at once, dropped whole), and
    /// 8 MiB of payloads in memory, for followers that are a little late.
    pub fn new(
        disk: Arc<dyn Disk>,
        folder: PathBuf,
        keys: Arc<Keys>,
        dice: fn() -> Box<dyn Dice>,
    ) -> Self {
        let (segment_bytes, cache_bytes) = (16 * 1024 * 1024, 8 * 1024 * 1024);
        Self { disk, folder, keys, dice, segment_bytes, cache_bytes }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Options({})", self.folder.display())
    }
}

/// What the newest snapshot proves of the log.
#[derive(Clone, Debug)]
pub struct Covered {
    /// The snapshot's file; a folder's name where there is none.
    pub file: String,
    /// The last entry that it holds.
    pub last: Option<LogId>,
    /// It was made here, of entries that stood in this log: this manager is the only voter.
    pub alone: bool,
}
