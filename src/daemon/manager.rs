//! A manager as a process: from its settings to its exit status.

use std::ffi::OsString;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;

use super::config::ManagerConfig;
use super::{Shutdown, too_few_descriptors};
use crate::host::{RealDisk, give_back_open_files, harden, raise_open_files};
use crate::manager::{End, FolderError, LocalRules, Manager, OpenError, Phase, Setup, control};
use locked_pages::FreeMemory;
use skep_client::machine::{SystemClock, bind, os_dice};
use skep_client::transport::{Problem, serve_local};
use skep_core::base::{Exit, Failure, ManagerPlaces, Name, SecretBytes};
use skep_core::seal::UnlockKey;

#[cfg(test)]
mod tests;

/// How long calls under way may take when the manager ends.
const GRACE: Duration = Duration::from_secs(10);
/// How often the word told to systemd is looked at.
const WORD_EVERY: Duration = Duration::from_secs(1);
/// How often free memory is given back to the system, where there is more than [`FREE`].
const GIVES_BACK: Duration = Duration::from_secs(5);
/// Bytes that the allocator may keep beside.
const FREE: usize = 16 * 1024 * 1024;
/// Bytes of an unlock key's file: the key and its line end are a tenth of it.
const UNLOCK_KEY_BYTES: usize = 4096;

/// How a manager's process goes on when the manager has ended.
#[derive(Debug, PartialEq, Eq)]
enum After {
    /// It ends with this status.
    Exit(Exit),
    /// It starts anew, locked: the old address space is gone.
    Anew,
}

/// Runs a manager until it is told to end, or can't go on; then its log has said
/// why. Logging was started by whoever calls.
///
/// # Errors
/// Why it didn't start.
pub fn run(config: ManagerConfig) -> Result<Exit, Failure> {
    match start(config)? {
        After::Exit(exit) => Ok(exit),
        After::Anew => Ok(anew()),
    }
}

fn start(config: ManagerConfig) -> Result<After, Failure> {
    harden().map_err(|error| {
        Failure::new(Exit::MachineLimit, format!("can't forbid core dumps: {error}"))
    })?;
    let descriptors = raise_open_files().map_err(|error| {
        Failure::new(Exit::MachineLimit, format!("can't raise the limit of open files: {error}"))
    })?;
    let places = descriptors.of_manager().map_err(too_few_descriptors)?;
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.enable_all().build().map_err(|error| {
        Failure::new(Exit::MachineLimit, format!("no threads: {error}"))
            .hint("raise the limit of processes and open files")
    })?;
    runtime.block_on(async {
        let shutdown = Shutdown::on_signals().map_err(|error| {
            Failure::new(Exit::MachineLimit, format!("can't listen to signals: {error}"))
        })?;
        live(config, places, shutdown).await
    })
}

/// From the open data folder to the last synced byte.
async fn live(
    config: ManagerConfig,
    places: ManagerPlaces,
    shutdown: Shutdown,
) -> Result<After, Failure> {
    let manager = Manager::open(setup(&config, places)?).map_err(not_opened)?;
    // Who calls the kernel tells; the mode only spares others the way.
    let mode = if config.socket_roles.is_empty() { 0o600 } else { 0o666 };
    let socket = bind(&config.socket, mode)?;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let stopping = {
        let mut stopped = stopped.clone();
        async move { drop(stopped.wait_for(|stop| *stop).await) }
    };
    let control = control(&manager);
    let mut serving = tokio::spawn(serve_local(socket, control, places.local, stopping));
    let unlocking = unlock_at_start(&manager, config.unlock_key_file.as_deref()).await;
    if let Err(failure) = unlocking {
        manager.shut(GRACE).await;
        return Err(failure);
    }
    tell(&[NotifyState::Ready]);
    tracing::info!(event = "manager_started", state = %manager.word(), listen = %manager.address());
    let end = tokio::select! {
        end = manager.ended() => end,
        () = shutdown.drain() => End::Asked,
        served = &mut serving => {
            tracing::error!(event = "control_socket_failed", why = ?served);
            End::Failed(Exit::MachineLimit, "the control socket failed".to_owned())
        }
        () = follow_word(&manager) => End::Asked,
        () = give_back_memory() => End::Asked,
    };
    tell(&[NotifyState::Stopping]);
    tracing::info!(event = "manager_ending");
    if matches!(end, End::Failed(Exit::IdentityEnded, _)) {
        manager.mark_removed().await;
    }
    let draining = async {
        let _told = stop.send(true).is_ok();
        manager.shut(GRACE).await;
        if !serving.is_finished() {
            drop(tokio::time::timeout(GRACE, serving).await);
        }
    };
    tokio::select! {
        () = draining => {}
        () = shutdown.stop() => tracing::warn!(event = "manager_stopped_at_once"),
    }
    if end != End::Locked {
        // Of a manager that starts anew the socket stays, and is taken over.
        drop(std::fs::remove_file(&config.socket));
    }
    Ok(after(end))
}

fn after(end: End) -> After {
    match end {
        End::Asked => After::Exit(Exit::Done),
        End::Locked => After::Anew,
        End::Failed(status, why) => {
            tracing::error!(event = "manager_failed", status = status.code(), "{why}");
            After::Exit(status)
        }
    }
}

fn setup(config: &ManagerConfig, places: ManagerPlaces) -> Result<Setup, Failure> {
    let groups = config.socket_roles.iter().map(|role| (role.gid, role.role)).collect();
    Ok(Setup {
        data: config.data_dir.clone(),
        listen: config.listen,
        advertise: config.advertise.clone(),
        name: config.name.clone().map_or_else(machine_name, Ok)?,
        local: LocalRules { uid: rustix::process::geteuid().as_raw(), groups },
        clock: Arc::new(SystemClock),
        dice: os_dice,
        disk: Arc::new(RealDisk),
        places,
        audit: config.audit,
    })
}

/// The machine's host name up to its first dot, as a name.
fn machine_name() -> Result<Name, Failure> {
    let system = rustix::system::uname();
    let text = system.nodename().to_string_lossy();
    let host = text.split('.').next().unwrap_or_default();
    host.parse().map_err(|_not_a_name| {
        Failure::new(Exit::Configuration, format!("the host name {text:?} can't name a manager"))
            .hint("give it a name of letters, digits and '-': --name")
    })
}

pub(super) fn not_opened(error: OpenError) -> Failure {
    let text = error.to_string();
    match error {
        OpenError::Folder(FolderError::InUse(_)) => Failure::new(Exit::InUse, text)
            .hint("another manager runs on it; give --data-dir for a second one"),
        OpenError::Folder(FolderError::Permissions(..)) => Failure::new(Exit::Configuration, text)
            .hint("chmod 0700 it, chown it to the user that runs the manager"),
        OpenError::Folder(FolderError::KeyMissing(_)) => Failure::new(Exit::Damaged, text)
            .hint("put manager.key back from a copy: without it the log can't be opened"),
        OpenError::Folder(FolderError::Unusable(_, error))
            if error.kind() == ErrorKind::StorageFull =>
        {
            Failure::new(Exit::WriteFailed, text).hint("make room on that disk")
        }
        OpenError::Folder(FolderError::Unusable(..)) => Failure::new(Exit::Configuration, text)
            .hint("the user that runs the manager must be able to write there; --data-dir names another folder"),
        OpenError::Folder(FolderError::Disk(_, error)) => match error.kind() {
            ErrorKind::PermissionDenied => Failure::new(Exit::Configuration, text)
                .hint("the user that runs the manager must be able to read and write there"),
            ErrorKind::IsADirectory | ErrorKind::InvalidData | ErrorKind::FileTooLarge => {
                Failure::new(Exit::Damaged, text).hint("put it back from a copy")
            }
            _ => Failure::new(Exit::WriteFailed, text)
                .hint("see what the system logs of that disk"),
        },
        OpenError::Folder(FolderError::Floor(_)) => Failure::new(Exit::Damaged, text)
            .hint("remove that file: it is written anew as soon as this manager is in touch"),
        OpenError::KeyFile(..) => {
            Failure::new(Exit::Damaged, text).hint("put manager.key back from a copy")
        }
        OpenError::Folder(FolderError::Format(_, format)) | OpenError::Format(_, format) => {
            Failure::of_format(format, text)
        }
        OpenError::Listen(_, error) if error.kind() == ErrorKind::AddrInUse => {
            Failure::new(Exit::InUse, text).hint("give --listen another address or port")
        }
        OpenError::Listen(..) => Failure::new(Exit::Configuration, text)
            .hint("--listen takes an address of this machine"),
    }
}

/// Opens the key file with an unlock key that lies on this machine, if one was
/// named and there is something to unlock.
async fn unlock_at_start(manager: &Manager, file: Option<&Path>) -> Result<(), Failure> {
    if manager.was_removed() {
        tracing::warn!(
            event = "removed",
            "this manager was removed from the cluster: `skep leave` erases what is here, then it \
             can join again"
        );
        return Ok(());
    }
    let Some(file) = file else { return Ok(()) };
    if manager.phase() == Phase::New {
        tracing::info!(event = "nothing_to_unlock");
        return Ok(());
    }
    if manager.stays_locked() {
        tracing::warn!(
            event = "locked_by_operator",
            "an operator locked this manager; it stays so"
        );
        return Ok(());
    }
    let key = read_unlock_key(file)?;
    match manager.unlock_with(&key).await {
        Ok(()) => Ok(()),
        Err(problem) if manager.phase() == Phase::Expired => {
            tracing::error!(event = "expired", "{}", &problem.text);
            Ok(())
        }
        Err(problem) => Err(not_unlocked(&problem)),
    }
}

fn not_unlocked(problem: &Problem) -> Failure {
    // What a caller would be told by a status below 20 is, for a daemon, a wrong file.
    let exit = if problem.exit.ends_a_daemon() { problem.exit } else { Exit::Configuration };
    Failure::new(exit, &problem.text).hint(&problem.hint)
}

/// Reads an unlock key straight into memory that is wiped.
///
/// # Errors
/// [`Exit::Configuration`] where it is not there, is none, or where others can read it.
pub fn read_unlock_key(path: &Path) -> Result<UnlockKey, Failure> {
    let bad = |why: &dyn std::fmt::Display| {
        Failure::new(Exit::Configuration, format!("--unlock-key-file {}: {why}", path.display()))
            .hint(
                "name a file that `skep init --unlock-key-out FILE` or `skep unlock-key generate --out FILE` wrote",
            )
    };
    let mut file = std::fs::File::open(path).map_err(|error| bad(&error))?;
    let mode = file.metadata().map_err(|error| bad(&error))?.mode();
    if mode & 0o077 != 0 {
        return Err(bad(&"other users can read it").hint("chmod 0600 it, and change the key"));
    }
    let mut text = SecretBytes::zeroed(UNLOCK_KEY_BYTES);
    let mut length = 0;
    while let Some(rest) = text.expose_mut().get_mut(length..).filter(|rest| !rest.is_empty()) {
        match file.read(rest) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(bad(&error)),
        }
    }
    UnlockKey::parse(text.truncated(length).expose()).map_err(|error| bad(&error))
}

/// Tells systemd the state's word whenever it is another. Goes on for ever.
async fn follow_word(manager: &Manager) {
    let mut every = tokio::time::interval(WORD_EVERY);
    let mut told = String::new();
    loop {
        every.tick().await;
        let word = manager.word().to_string();
        if word != told {
            tracing::info!(event = "state", state = word);
            tell(&[NotifyState::Status(&word)]);
            told = word;
        }
    }
}

/// Memory follows what lives: what old values left between others goes back to the system.
async fn give_back_memory() {
    let mut every = tokio::time::interval(GIVES_BACK);
    let mut free = FreeMemory::default();
    loop {
        every.tick().await;
        let look = move || {
            free.give_back(FREE);
            free
        };
        // Its only error is that of a runtime that ends.
        let Ok(looked) = tokio::task::spawn_blocking(look).await else { return };
        free = looked;
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(event = "systemd_not_told", why = %error);
    }
}

/// Starts this program anew with the same words; comes back only if it can't.
fn anew() -> Exit {
    let own = std::env::current_exe().ok().filter(|path| path.exists());
    // A program that was replaced meanwhile still has this name.
    let own = own.unwrap_or_else(|| "/proc/self/exe".into());
    if let Err(error) = give_back_open_files() {
        tracing::debug!(event = "limit_not_given_back", %error);
    }
    super::logging::flush();
    let mut words = std::env::args_os();
    let name = words.next().unwrap_or_else(|| OsString::from("skep"));
    let error = std::process::Command::new(own).arg0(name).args(words).exec();
    tracing::error!(event = "not_started_anew", why = %error);
    Exit::MachineLimit
}
