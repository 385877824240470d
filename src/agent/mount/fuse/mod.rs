//! The agent as a file system: one kernel mount for all its services, with a folder for each.
//!
//! The folders and their changes are made through the mount itself, by the same
//! code and in the same layout as on a tmpfs, so watchers see the same. Only bytes go another
//! way: they are sealed in this process and opened for one read at a time. It deliberately
//! doesn't know where a value comes from, and never waits for anything but its own
//! memory.

mod content;
mod gate;
mod server;
mod share;
mod tree;

use std::fs::OpenOptions;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{SyncSender, sync_channel};

use fuser::{Config, Session, SessionACL};

use super::calls::run;
use super::error::MountError;
use super::{files, system};
use crate::agent::vault::layout::SERVED;
use crate::agent::vault::{Guests, Reads};
pub(in crate::agent) use gate::is_of_workload;
use server::Server;
pub(super) use share::{Acting, Share};
use skep_core::base::{Clock, Dice};

/// The kernel's way to this process.
const DEVICE: &str = "/dev/fuse";
/// Threads that answer: while one opens a large value the other one is there.
const THREADS: usize = 2;

/// What serving files takes beside the files.
#[derive(Clone)]
pub struct Needs {
    /// Makes dice, for the key and the nonces.
    pub dice: fn() -> Box<dyn Dice>,
    /// The machine's clock.
    pub clock: Arc<dyn Clock>,
    /// Who belongs to which service.
    pub guests: Guests,
    /// Where opens are written down.
    pub reads: Reads,
    /// The program of the guard that looks after a stopped agent; none: nobody does.
    pub guard: Option<PathBuf>,
}

impl std::fmt::Debug for Needs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Needs")
    }
}

/// The kernel mount. The connection ends with it, as it ends with the process.
#[derive(Debug)]
pub(super) struct Fuse {
    share: Arc<Share>,
    /// `R/.mounts/fuse`
    point: PathBuf,
    /// Ends with its standard input.
    guard: Option<Child>,
}

impl Fuse {
    /// Mounts below `mounts` and begins to serve.
    pub(super) fn start(mounts: &Path, needs: Needs) -> Result<Self, MountError> {
        let point = mounts.join(SERVED);
        if !Path::new(DEVICE).exists() {
            return Err(MountError::NoFuse);
        }
        let guard = needs.guard.clone();
        let mut fuse = Self { share: Arc::new(Share::new(needs)), point, guard: None };
        fuse.mount()?;
        if let Some(program) = guard {
            fuse.guard = Some(fuse.start_guard(&program)?);
        }
        Ok(fuse)
    }

    fn start_guard(&self, program: &Path) -> Result<Child, MountError> {
        let mut command = Command::new(program);
        command.arg0("skep").args(["agent", "guard"]).arg(&self.point);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).env_clear();
        run("start a guard for", &self.point, || command.spawn())
    }

    fn mount(&self) -> Result<(), MountError> {
        files::folder(&self.point, 0o700)?;
        let (tell, told) = sync_channel(1);
        let (share, point) = (Arc::clone(&self.share), self.point.clone());
        let thread = std::thread::Builder::new().name("fuse".to_owned());
        run("start a thread for", &self.point, || {
            thread.spawn(move || serve(&share, &point, &tell))
        })?;
        // A thread that ended without a word dropped its end.
        run("serve files at", &self.point, || {
            told.recv().unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::BrokenPipe)))
        })?;
        system::keep_private(&self.point)
    }

    /// Mounts again what a stopped connection ended. What was shown is there again, at the
    /// same paths; views made before stay dead.
    pub(super) fn restart(&self) -> Result<(), MountError> {
        system::detach(&self.point)?;
        self.share.tree.write().forget_all();
        self.share.ended.store(false, Ordering::SeqCst);
        self.mount()
    }

    /// Whether the connection has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.share.ended.load(Ordering::SeqCst)
    }

    pub(super) fn share(&self) -> &Arc<Share> {
        &self.share
    }

    pub(super) fn point(&self) -> &Path {
        &self.point
    }

    /// Unmounts: nothing is shown any more. Where somebody still has a view, the threads go
    /// on serving its emptiness until that is gone.
    pub(super) fn end(&self) -> Result<(), MountError> {
        system::detach(&self.point)?;
        files::remove_folder(&self.point)
    }
}

impl Drop for Fuse {
    fn drop(&mut self) {
        system::cut(&self.point);
        if let Some(mut guard) = self.guard.take() {
            drop(guard.stdin.take());
            if let Err(error) = guard.wait() {
                tracing::warn!(event = "guard_lost", %error);
            }
        }
    }
}

/// The first of the serving threads.
///
/// It and those that it starts have a descriptor table of their own. The agent's thread makes
/// its changes through the mount, so it waits for these threads; if the process is
/// killed meanwhile, the kernel keeps that thread waiting as long as the connection is
/// open. With a shared table the waiting thread itself would keep it open, for ever.
fn serve(share: &Arc<Share>, point: &Path, tell: &SyncSender<io::Result<()>>) {
    let session = match begin(share, point) {
        Ok(session) => session,
        Err(error) => {
            // Whoever started this waits for it.
            tell.send(Err(error)).ok();
            return;
        }
    };
    tell.send(Ok(())).ok();
    if let Err(error) = session.run() {
        tracing::error!(event = "fuse_ended", %error);
    }
    share.ended.store(true, Ordering::SeqCst);
}

fn begin(share: &Arc<Share>, point: &Path) -> io::Result<Session<Server>> {
    locked_pages::own_descriptors()?;
    let device = OpenOptions::new().read(true).write(true).open(DEVICE)?;
    system::mount_fuse(point, device.as_raw_fd(), content::READ_MOST)?;
    let mut config = Config::default();
    config.acl = SessionACL::All;
    config.n_threads = Some(THREADS);
    config.clone_fd = true;
    Session::from_fd(Server(Arc::clone(share)), device.into(), SessionACL::All, config)
}
