//! One manager in one process, from its start to its end: its folder, its phase
//! and what ends it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tokio::net::{TcpListener, TcpSocket};
use tokio_util::task::AbortOnDropHandle;

use crate::manager::admit::local::LocalRules;
use crate::manager::audit::{Audit, AuditSettings};
use crate::manager::end::{End, Ends};
use crate::manager::life::audit;
use crate::manager::life::folder::{Folder, FolderError};
use crate::manager::life::phase::{Needs, Phase};
use crate::manager::life::prepared::Prepared;
use crate::manager::problem;
use crate::manager::running::{Running, Started};
use crate::manager::word::Word;
use skep_client::transport::{Problem, say_locked};
use skep_core::base::{Clock, Dice, Disk, ManagerPlaces, Name, OtherFormat, Stamp};
use skep_core::seal::{KeyFile, KeyFileHeader};

/// Connections that wait to be accepted.
const BACKLOG: u32 = 4096;

/// What a manager is told and given when it starts.
pub struct Setup {
    /// The data folder.
    pub data: PathBuf,
    /// Where to listen; port 0 takes any.
    pub listen: SocketAddr,
    /// Where others reach it (`host:port`); empty: where it listens.
    pub advertise: Vec<String>,
    /// The machine's name: a new manager's.
    pub name: Name,
    /// Who may use the control socket.
    pub local: LocalRules,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Makes dice.
    pub dice: fn() -> Box<dyn Dice>,
    /// The disk.
    pub disk: Arc<dyn Disk>,
    /// How many connections of each kind there may be.
    pub places: ManagerPlaces,
    /// How the audit log is kept.
    pub audit: AuditSettings,
}

impl std::fmt::Debug for Setup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Setup({})", self.data.display())
    }
}

/// Why a manager did not start. Says the daemon's exit status.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The data folder.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The key file is no key file: status 20.
    #[error("{0} is damaged: its header {1}")]
    KeyFile(PathBuf, skep_core::seal::SealError),
    /// The key file is of another format: status 23 or 25.
    #[error("{0} was {1}")]
    Format(PathBuf, OtherFormat),
    /// The address: status 22 where it is in use, else 23.
    #[error("{0}: {1}")]
    Listen(SocketAddr, std::io::Error),
}

/// What the phase holds.
pub(in crate::manager) enum Life {
    New(Option<Box<Prepared>>),
    Locked(Box<KeyFileHeader>),
    Expired(Box<KeyFileHeader>, Stamp),
    Running(Arc<Running>),
}

/// A manager. Cheap to clone.
#[derive(Clone)]
pub struct Manager(pub(in crate::manager) Arc<Lifecycle>);

/// How an unlocked manager is brought to serve: known to `start` alone, and told to each
/// manager when it is opened.
pub(in crate::manager) type Serve = fn(&Manager, Started, TcpListener) -> Arc<Running>;

/// What a manager is made of in every phase.
pub(in crate::manager) struct Lifecycle {
    pub(in crate::manager) setup: Setup,
    pub(in crate::manager) folder: Folder,
    pub(in crate::manager) started: Stamp,
    /// Held by whoever changes the phase, for as long as that takes.
    pub(in crate::manager) turn: tokio::sync::Mutex<()>,
    /// Another manager is asked to admit this one.
    pub(in crate::manager) joining: AtomicBool,
    life: RwLock<Life>,
    port: Mutex<Port>,
    address: SocketAddr,
    pub(in crate::manager) ends: Ends,
    serve: Serve,
}

impl std::fmt::Debug for Manager {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Manager({})", self.0.setup.data.display())
    }
}

impl Manager {
    /// Opens the data folder, reads the key file's header and takes the port. Once it is
    /// unlocked, it is brought to serve by `serve`.
    ///
    /// # Errors
    /// [`OpenError`].
    pub(in crate::manager) fn closed(setup: Setup, serve: Serve) -> Result<Self, OpenError> {
        let folder = Folder::open(&setup.data, setup.local.uid, setup.disk.clone())?;
        let key_file = folder.key_file().map_err(|error| folder.no_key_file(error))?;
        let life = match key_file {
            None => Life::New(None),
            Some(bytes) => {
                let path = || setup.data.join("manager.key");
                KeyFile::format(&bytes).map_err(|format| OpenError::Format(path(), format))?;
                let header = header(&bytes).map_err(|error| OpenError::KeyFile(path(), error))?;
                Life::Locked(Box::new(header))
            }
        };
        let bound = bind(setup.listen).map_err(|error| OpenError::Listen(setup.listen, error))?;
        let address = bound.local_addr().map_err(|error| OpenError::Listen(setup.listen, error))?;
        let port = match life {
            Life::Locked(_) => {
                Port::locked(bound).map_err(|error| OpenError::Listen(setup.listen, error))?
            }
            _ => Port::Bound(bound),
        };
        Ok(Self(Arc::new(Lifecycle {
            started: setup.clock.now(),
            turn: tokio::sync::Mutex::new(()),
            joining: AtomicBool::new(false),
            life: RwLock::new(life),
            port: Mutex::new(port),
            address,
            ends: Ends::new(),
            serve,
            setup,
            folder,
        })))
    }
    /// Where it listens, or will once it is unlocked.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.0.address
    }
    /// Where it is in its life.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.0.phase()
    }
    /// Its state in one word.
    #[must_use]
    pub fn word(&self) -> Word {
        self.0.word()
    }
    /// Whether an operator locked it: then an unlock key on this machine does not
    /// open it.
    #[must_use]
    pub fn stays_locked(&self) -> bool {
        self.0.folder.stays_locked()
    }
    /// Whether it was found to be removed from the cluster when it ran last.
    #[must_use]
    pub fn was_removed(&self) -> bool {
        self.0.folder.was_removed()
    }
    /// Keeps for the next start that it was removed.
    pub async fn mark_removed(&self) {
        if let Err(error) = self.0.on_disk(|life| life.folder.mark_removed()).await {
            tracing::warn!(event = "removal_not_marked", why = %error);
        }
    }
    /// Opens the cluster key, begins to serve and says that this manager runs.
    pub(in crate::manager) fn run(&self, started: Started, listener: TcpListener) -> Arc<Running> {
        started.core.open_key();
        let running = (self.0.serve)(self, started, listener);
        *self.0.life.write() = Life::Running(running.clone());
        running
    }
    /// Waits until something ends it.
    pub async fn ended(&self) -> End {
        self.0.ends.ended().await
    }
    /// Asks it to end; the first reason given stands.
    pub fn end(&self, end: End) {
        self.0.ends.say(end);
    }
    /// Stops serving peers and brings consensus to rest: everything written is
    /// synced. Waits for calls under way `grace` at most.
    pub async fn shut(&self, grace: Duration) {
        if let Some(running) = self.0.unlocked() {
            running.shut(grace).await;
            running.core.audit.settle(true).await;
            if let Some(log) = running.core.audit.log() {
                log.close().await;
            }
        }
    }
}

impl Lifecycle {
    pub(in crate::manager) fn phase(&self) -> Phase {
        match &*self.life.read() {
            Life::New(_) => Phase::New,
            Life::Locked(_) => Phase::Locked,
            Life::Expired(..) => Phase::Expired,
            Life::Running(running) if running.is_behind() => Phase::RolledBack,
            Life::Running(_) => Phase::Running,
        }
    }
    /// Its state in one word.
    pub(in crate::manager) fn word(&self) -> Word {
        match &*self.life.read() {
            Life::New(_) if self.joining.load(Ordering::Relaxed) => Word::Joining,
            Life::New(_) => Word::New,
            Life::Locked(_) if self.folder.was_removed() => Word::Removed,
            Life::Locked(_) => Word::Locked,
            Life::Expired(..) => Word::Expired,
            Life::Running(running) => running.word(),
        }
    }
    /// The running manager, or what a caller that needs one is told.
    pub(in crate::manager) fn running(&self) -> Result<Arc<Running>, Problem> {
        self.phase().admits(Needs::Running)?;
        self.unlocked().ok_or_else(problem::life::being_locked)
    }
    /// The manager once it is unlocked, also where its disk is behind.
    pub(in crate::manager) fn unlocked(&self) -> Option<Arc<Running>> {
        match &*self.life.read() {
            Life::Running(running) => Some(running.clone()),
            Life::New(_) | Life::Locked(_) | Life::Expired(..) => None,
        }
    }
    /// Where this manager's acts are recorded now.
    pub(in crate::manager) fn audit(&self) -> Audit {
        let (clock, dice) = (self.setup.clock.clone(), self.setup.dice);
        match &*self.life.read() {
            Life::New(_) => Audit::nowhere(clock, dice),
            Life::Running(running) => running.core.audit.clone(),
            Life::Locked(header) | Life::Expired(header, _) => {
                let place = audit::Place {
                    data: self.folder.path(),
                    cluster: header.cluster,
                    node: header.node,
                    disk: &self.setup.disk,
                    clock: &self.setup.clock,
                    dice,
                };
                let sealed = (place.locked_lines(), header.box_public);
                Audit::locked(header.node, sealed, clock, dice)
            }
        }
    }
    /// The header of the key file, where there is one and it is closed.
    pub(in crate::manager) fn closed_header(&self) -> Option<(KeyFileHeader, Option<Stamp>)> {
        match &*self.life.read() {
            Life::Locked(header) => Some((KeyFileHeader::clone(header), None)),
            Life::Expired(header, ended) => Some((KeyFileHeader::clone(header), Some(*ended))),
            Life::New(_) | Life::Running(_) => None,
        }
    }
    pub(in crate::manager) fn prepare(&self, prepared: Prepared) {
        if let Life::New(place) = &mut *self.life.write() {
            *place = Some(Box::new(prepared));
        }
    }
    pub(in crate::manager) fn take_prepared(&self) -> Option<Box<Prepared>> {
        match &mut *self.life.write() {
            Life::New(place) => place.take(),
            Life::Locked(_) | Life::Expired(..) | Life::Running(_) => None,
        }
    }
    pub(in crate::manager) fn become_new(&self) {
        *self.life.write() = Life::New(None);
    }
    pub(in crate::manager) fn become_expired(&self, header: KeyFileHeader, ended: Stamp) {
        *self.life.write() = Life::Expired(Box::new(header), ended);
        // It is not locked any more.
        *self.port.lock() = Port::Given;
    }
    /// Starts to listen where [`Manager::open`] took the port.
    pub(in crate::manager) fn listen(&self) -> Result<TcpListener, Problem> {
        let port = std::mem::replace(&mut *self.port.lock(), Port::Given);
        let listening = match port {
            Port::Bound(socket) => socket.listen(BACKLOG),
            Port::Locked(listener, _says_so) => TcpListener::from_std(listener),
            Port::Given => bind(self.address).and_then(|socket| socket.listen(BACKLOG)),
        };
        listening.map_err(|error| problem::life::no_port(self.address, error))
    }
    /// Where others reach this manager.
    pub(in crate::manager) fn addresses(&self) -> Vec<String> {
        if self.setup.advertise.is_empty() {
            vec![self.address.to_string()]
        } else {
            self.setup.advertise.clone()
        }
    }
    /// Blocking work on the data folder.
    pub(in crate::manager) async fn on_disk(
        self: &Arc<Self>,
        work: impl FnOnce(&Lifecycle) -> std::io::Result<()> + Send + 'static,
    ) -> std::io::Result<()> {
        let life = self.clone();
        let task = tokio::task::spawn_blocking(move || work(&life));
        task.await.unwrap_or_else(|error| Err(std::io::Error::other(error)))
    }
    /// Draws with the machine's dice.
    pub(in crate::manager) fn dice(&self) -> Box<dyn Dice> {
        (self.setup.dice)()
    }
}

/// The port, until this manager serves on it.
enum Port {
    /// Taken. Whoever connects is refused.
    Bound(TcpSocket),
    /// Whoever connects is told that the manager is locked, as long as this stands.
    Locked(std::net::TcpListener, AbortOnDropHandle<()>),
    /// It serves, or did.
    Given,
}

impl Port {
    fn locked(bound: TcpSocket) -> std::io::Result<Self> {
        let listener = bound.listen(BACKLOG)?.into_std()?;
        let notice = TcpListener::from_std(listener.try_clone()?)?;
        let says_so = AbortOnDropHandle::new(tokio::spawn(say_locked(notice)));
        Ok(Self::Locked(listener, says_so))
    }
}

/// Takes the port and does not listen yet: a manager says at its start where another
/// process listens there.
fn bind(address: SocketAddr) -> std::io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

fn header(bytes: &[u8]) -> Result<KeyFileHeader, skep_core::seal::SealError> {
    Ok(KeyFile::parse(bytes)?.header().clone())
}
