//! The audit log of one manager on its disk (docs/formats.md): two chains of lines, what the
//! cluster applied and what this manager did, each in sealed files of its own.
//!
//! A thread of its own writes what waits, many lines at once. Whoever records an act waits until
//! its line is written, for a bounded time; what the state machine applies waits for nobody, for
//! its lines come again when the log is replayed, unless a snapshot was made meanwhile: that
//! waits for them. Lines are synced each second, before a snapshot, and before the chain is
//! anchored. It deliberately does not know what a line says, nor what is done where none can be
//! written.

mod chain;
mod locked;
mod segment;
mod types;
mod writer;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;

use self::chain::{Chained, Index};
use self::types::{CLOSED, PATIENCE, ROOM};
use self::writer::{Inbox, Job, Refused, Waiting, Writer};
use super::error::StoreError;
use super::header::Keys;
use super::options::Options;
use skep_core::audit::{Chain, Line, Written};
use skep_core::base::{Clock, Dice, Disk, NodeId};

pub use chain::{Cursor, From, Item};
pub use locked::LockedLines;
pub use segment::{Base, Begins};
pub use types::{AuditStanding, NotRecorded, Place, Retention};

/// With what the log is opened.
#[derive(Clone)]
pub struct AuditOptions {
    /// The disk.
    pub disk: Arc<dyn Disk>,
    /// Where the chains' folders lie.
    pub folder: PathBuf,
    /// The manager, as its lines name it.
    pub manager: NodeId,
    /// Whose they are, and what seals them.
    pub keys: Arc<Keys>,
    /// Makes dice for the writer's thread.
    pub dice: fn() -> Box<dyn Dice>,
    /// When files are begun.
    pub clock: Arc<dyn Clock>,
    /// For how long lines are kept.
    pub retention: Retention,
    /// Bytes of a file: 4 MiB, less in tests.
    pub file_bytes: u64,
}

impl AuditOptions {
    /// The usual size of files.
    pub const FILE_BYTES: u64 = 4 * 1024 * 1024;

    fn chain(&self, folder: &str) -> Arc<Options> {
        let (disk, keys) = (Arc::clone(&self.disk), Arc::clone(&self.keys));
        let mut options = Options::new(disk, self.folder.join(folder), keys, self.dice);
        options.segment_bytes = self.file_bytes;
        Arc::new(options)
    }
}

impl fmt::Debug for AuditOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AuditOptions({})", self.folder.display())
    }
}

/// The audit log. Clones are the same.
#[derive(Clone)]
pub struct AuditLog {
    commands: (Arc<Options>, Arc<Mutex<Index>>),
    acts: (Arc<Options>, Arc<Mutex<Index>>),
    shared: Arc<Ends>,
}

/// Ends the thread where nobody records any more.
struct Ends(Arc<Inbox>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.close(Box::new(drop));
    }
}

impl std::ops::Deref for Ends {
    type Target = Inbox;

    fn deref(&self) -> &Inbox {
        &self.0
    }
}

impl fmt::Debug for AuditLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuditLog")
    }
}

/// Some of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// In their order.
    pub items: Vec<Item>,
    /// From where to read on.
    pub next: Cursor,
    /// Whether there is more now.
    pub more: bool,
}

impl AuditLog {
    /// Looks at what is there and starts the thread that writes. What is damaged there stays as
    /// it is: lines go on in files of their own.
    ///
    /// # Errors
    /// [`StoreError::Disk`].
    pub fn open(options: &AuditOptions) -> Result<Self, StoreError> {
        let made = |name: &str| (options.chain(name), Arc::<Mutex<Index>>::default());
        let (commands, acts) = (made("commands"), made("acts"));
        let open = |of: &(Arc<Options>, Arc<Mutex<Index>>), chain| {
            Chained::open(Arc::clone(&of.0), chain, Arc::clone(&of.1))
        };
        let shared = Arc::<Inbox>::default();
        let writer = Writer {
            commands: open(&commands, Chain::Commands)?,
            acts: open(&acts, Chain::Acts)?,
            shared: Arc::clone(&shared),
            clock: Arc::clone(&options.clock),
            dice: (options.dice)(),
            retention: options.retention,
            manager: options.manager.to_string(),
            again: Vec::new(),
        };
        let thread = std::thread::Builder::new().name("skep-audit".to_owned());
        thread
            .spawn(move || writer.run())
            .map_err(StoreError::disk("cannot start the thread that writes the audit log"))?;
        Ok(Self { commands, acts, shared: Arc::new(Ends(shared)) })
    }

    fn of(&self, chain: Chain) -> &(Arc<Options>, Arc<Mutex<Index>>) {
        match chain {
            Chain::Commands => &self.commands,
            Chain::Acts => &self.acts,
        }
    }

    /// Records an act: number and hash are given it here. When this returns, it is written.
    ///
    /// # Errors
    /// [`NotRecorded`], after [`PATIENCE`] at the latest.
    pub async fn record(&self, line: Line) -> Result<(), NotRecorded> {
        let (done, written) = tokio::sync::oneshot::channel();
        let mut waits: Waiting = Box::new((line, Box::new(move |result| drop(done.send(result)))));
        let recording = async {
            loop {
                waits = match self.shared.act(waits) {
                    Ok(()) => break,
                    Err(Refused::Fails(why)) => return Err(why),
                    Err(Refused::Full(waits)) => waits,
                };
                tokio::time::sleep(ROOM).await;
            }
            written.await.unwrap_or_else(|_closed| Err(NotRecorded(CLOSED.to_owned())))
        };
        let recorded = tokio::time::timeout(PATIENCE, recording).await;
        recorded.unwrap_or_else(|_elapsed| Err(self.shared.hangs()))
    }

    /// A command was applied. It is written soon.
    pub fn command(&self, line: Written) {
        self.shared.command(Job::Line(line));
    }

    /// The state is this far, by a snapshot: no line will come of what was applied before.
    pub fn stands_at(&self, place: Place) {
        self.shared.command(Job::Stands(place));
    }

    /// The cluster knows that this manager's own chain has come this far.
    pub fn reaches(&self, place: Place) {
        self.shared.command(Job::Reaches(place));
    }

    /// Acts that happened and can't be recorded.
    pub fn lose(&self, acts: u64) {
        self.shared.lose(acts);
    }

    /// Has everything that waits written and synced; this far this manager's own chain has come
    /// then.
    ///
    /// # Errors
    /// [`NotRecorded`], after [`PATIENCE`] at the latest.
    pub async fn sync(&self) -> Result<Place, NotRecorded> {
        let (done, synced) = tokio::sync::oneshot::channel();
        self.shared.sync(Box::new(move |result| drop(done.send(result))))?;
        match tokio::time::timeout(PATIENCE, synced).await {
            Ok(Ok(result)) => result.map(|()| self.last(Chain::Acts)),
            Ok(Err(_closed)) => Err(NotRecorded(CLOSED.to_owned())),
            Err(_elapsed) => Err(self.shared.hangs()),
        }
    }

    /// The same for a thread that may block.
    ///
    /// # Errors
    /// [`NotRecorded`], after [`PATIENCE`] at the latest.
    pub fn sync_blocking(&self) -> Result<(), NotRecorded> {
        let (done, synced) = std::sync::mpsc::channel();
        self.shared.sync(Box::new(move |result| drop(done.send(result))))?;
        synced.recv_timeout(PATIENCE).map_err(|_| self.shared.hangs())?
    }

    /// The last line of a chain.
    #[must_use]
    pub fn last(&self, chain: Chain) -> Place {
        self.of(chain).1.lock().last
    }

    /// How it does.
    #[must_use]
    pub fn standing(&self) -> AuditStanding {
        self.shared.standing()
    }

    /// Reads some lines of a chain; what does not read is named among them. Blocks on the disk.
    #[must_use]
    pub fn read(&self, chain: Chain, from: From, most: usize) -> Page {
        let (options, index) = self.of(chain);
        let index = index.lock().clone();
        let (items, next) = chain::read(options, chain, &index, from, most);
        let filled = items.iter().map(|item| match item {
            Item::Line(text) => text.len(),
            Item::Base(_) | Item::Bad(_) => 0,
        });
        let more = filled.sum::<usize>() >= most;
        Page { items, next, more }
    }

    /// Writes what waits and ends the thread.
    pub async fn close(&self) {
        let (done, closed) = tokio::sync::oneshot::channel();
        if self.shared.close(Box::new(move |result| drop(done.send(result)))) {
            tokio::time::timeout(PATIENCE, closed).await.ok();
        }
    }
}

#[cfg(test)]
mod tests;
