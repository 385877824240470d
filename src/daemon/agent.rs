//! The agent's process: `skep agent run`.

use std::io::{ErrorKind, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixListener;
use tokio::sync::{mpsc, watch};

use super::config::{AgentConfig, DockerConfig};
use super::data_dir::DataDir;
use super::{Shutdown, too_few_descriptors};
use crate::agent::docker::{DockerDoor, VolumeShelf};
use crate::agent::doors::{CredentialDoor, HeldConnection, LocalService};
use crate::agent::hook::{ContainerHooks, HookRunner};
use crate::agent::machine::boot_id;
use crate::agent::member::{
    Application, BadIdentity, BadJoining, JoinError, Member, Own, forget_joining, joining_key,
};
use crate::agent::mount::{Adopted, MountError, Mounts, Needs, Options};
use crate::agent::run::{
    Book, BookError, Broken, Driver, Links, Machine, Puts, Stage, Upward, Worker, Workloads,
};
use crate::agent::session::{Ending, Session};
use crate::agent::vault::{Guests, Reads};
use crate::host::{RealDisk, raise_open_files};
use skep_client::ca::{IdentityError, JoinToken, START_TOLERANCE_MS, read_leaf};
use skep_client::machine::{SystemClock, bind, os_dice};
use skep_client::transport::{serve_local_behind, span};
use skep_core::base::{AgentPlaces, Clock, Disk, Exit, Failure, Name, OtherFormat, Stamp, draw};

/// Everybody may connect: who may do what is decided call by call.
const SOCKET_MODE: u32 = 0o666;
/// Root alone: whoever asks is believed to be systemd.
const CREDENTIALS_MODE: u32 = 0o600;
/// The plug-in's socket is root's.
const PLUGIN_MODE: u32 = 0o600;
/// Bytes of a token file.
const TOKEN_BYTES: usize = 4 * 1024;
/// Between two rounds of asking to join.
const JOIN_AGAIN: Duration = Duration::from_secs(1);
/// How long open calls on the socket may take once the agent ends.
const DRAIN: Duration = Duration::from_secs(2);

/// The machine, as the agent reaches it.
struct Machinery {
    clock: Arc<dyn Clock>,
    disk: Arc<dyn Disk>,
}

/// What else on this machine asks the agent for secrets, where it is served.
struct Asking {
    volumes: Option<VolumeShelf>,
    containers: Option<Arc<dyn ContainerHooks>>,
    credentials: Option<(UnixListener, Vec<HeldConnection>)>,
}

/// Raises the limit of open files, and says what there is room for. To be called before
/// the runtime is made.
///
/// # Errors
/// [`Exit::MachineLimit`]: there are too few.
pub fn places() -> Result<AgentPlaces, Failure> {
    let descriptors = raise_open_files()
        .map_err(|error| machine("can't raise the limit of open files", &error))?;
    descriptors.of_agent().map_err(too_few_descriptors)
}

/// Runs an agent until it is asked to stop, leaves, or is removed.
///
/// # Errors
/// Why it ended, if it was not asked to.
pub async fn run(
    config: AgentConfig,
    places: AgentPlaces,
    shutdown: Shutdown,
) -> Result<(), Failure> {
    let machinery = Machinery { clock: Arc::new(SystemClock), disk: Arc::new(RealDisk) };
    let _data_dir = DataDir::open(machinery.disk.as_ref(), &config.data_dir)?;
    // Before anything else has a number that was passed.
    let waiting = HeldConnection::of_earlier();
    let listener = bind(&config.socket, SOCKET_MODE)?;
    // Units that ask before this machine is a member wait.
    let asked = config.systemd.as_deref().map(|at| bind(at, CREDENTIALS_MODE)).transpose();
    let credentials =
        asked.map_err(|failure| failure.hint("name another one with --systemd=SOCKET"))?;
    let credentials = credentials.map(|listener| (listener, waiting));
    let (stage, stages) = watch::channel(Stage::Joining(String::new()));
    let docker = serve_docker(&config, &machinery, &stages)?;
    let (volumes, engine) = docker.unzip();
    let view = engine.as_ref().map(DockerDoor::view);
    let containers = engine.as_ref().map(DockerDoor::hooks);
    let asking = Asking { volumes, containers, credentials };
    let routes = LocalService::routes(stages, Arc::clone(&machinery.clock), view);
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let doors = LocalService::doors();
    let socket = tokio::spawn(serve_local_behind(doors, listener, routes, places.local, async {
        // Dropped is as good as sent.
        ended.await.ok();
    }));
    let serving = serve(&config, places, &machinery, (&stage, asking), &shutdown);
    let result = tokio::select! {
        result = Box::pin(serving) => result,
        () = shutdown.stop() => Ok(()),
    };
    notify(&[sd_notify::NotifyState::Stopping]);
    drop((end, engine));
    if tokio::time::timeout(DRAIN, socket).await.is_err() {
        tracing::debug!(event = "socket_cut");
    }
    std::fs::remove_file(&config.socket).ok();
    let others = [config.docker.as_ref().map(|docker| &docker.plugin), config.systemd.as_ref()];
    for path in others.into_iter().flatten() {
        std::fs::remove_file(path).ok();
    }
    result
}

/// Listens for a container engine from the start on: it may ask before this machine is a
/// member, and is to be told so in time.
fn serve_docker(
    config: &AgentConfig,
    machinery: &Machinery,
    stages: &watch::Receiver<Stage>,
) -> Result<Option<(VolumeShelf, DockerDoor)>, Failure> {
    let Some(DockerConfig { plugin, engine }) = &config.docker else { return Ok(None) };
    let boot = boot_id().map_err(|error| machine("boot id", &error))?;
    let volumes = VolumeShelf::open(Arc::clone(&machinery.disk), &config.data_dir, boot)
        .map_err(|error| volumes_failure(&error))?;
    let listener = bind(plugin, PLUGIN_MODE)
        .map_err(|failure| failure.hint("name another one with --docker=SOCKET"))?;
    let clock = Arc::clone(&machinery.clock);
    let door = DockerDoor::open((listener, plugin), engine.clone(), &volumes, stages, clock);
    Ok(Some((volumes, door)))
}

async fn serve(
    config: &AgentConfig,
    places: AgentPlaces,
    machinery: &Machinery,
    (stage, asking): (&watch::Sender<Stage>, Asking),
    shutdown: &Shutdown,
) -> Result<(), Failure> {
    let member = tokio::select! {
        member = become_member(config, machinery, stage) => member?,
        () = shutdown.drain() => return Ok(()),
    };
    let boot = boot_id().map_err(|error| machine("boot id", &error))?;
    let book = Book::new(Arc::clone(&machinery.disk), &config.data_dir);
    let memory = book.load().map_err(|error| book_failure(&error))?;
    let roster = book.load_roster(&boot).map_err(|error| book_failure(&error))?;
    let notes = book.notes(&boot).map_err(|error| machine("a thread", &error))?;
    let guests = Guests::default();
    let reads = Reads::new(draw(&mut *os_dice()));
    let serving = Needs {
        dice: os_dice,
        clock: Arc::clone(&machinery.clock),
        guests: guests.clone(),
        reads: reads.clone(),
        // Whatever stands at the program's path by now, this is the one that runs.
        guard: Some("/proc/self/exe".into()),
    };
    let options = Options { fuse: Some(serving), descriptors: places.files, ..Options::default() };
    let (mounts, adopted) = Mounts::open(&config.root, options, machinery.clock.boot())
        .map_err(|error| mount_failure(&error))?;
    report(&adopted);

    // What an operator gave comes first, and what was heard last before what was heard once.
    let known = config.managers.iter().chain(&memory.managers).chain(&member.identity.addresses);
    let managers: Vec<String> = known.cloned().collect();
    let (node, name, cluster) = (member.node, member.name.clone(), member.cluster);
    let links = links(member, machinery, (&boot, &config.data_dir), reads)?;
    let (own, upward) = (links.own.clone(), links.upward.clone());
    let Asking { volumes, containers, credentials } = asking;
    let placed = memory.placed.clone().filter(|_| credentials.is_some()).unwrap_or_default();
    let session = Session::new(memory, mounts.held(), &managers);
    let clock = Arc::clone(&machinery.clock);
    let (worker, reports) = Worker::start(mounts, book, clock, cluster, boot)
        .map_err(|error| machine("a thread", &error))?;
    let (ended, ends) = mpsc::unbounded_channel();
    let puts = Puts::new(cluster, (worker.clone(), guests.clone()), upward, os_dice);
    let workloads = Workloads::new(worker.clone(), notes, guests, places.workloads, ended);
    // Volumes and units first: a mount that is empty stays only for whoever is known to use it.
    let mut alive = volumes.as_ref().map(|volumes| volumes.adopt(&workloads)).unwrap_or_default();
    alive.extend(workloads.adopt_units(&placed, &adopted));
    alive.extend(workloads.adopt(roster, &adopted));
    let clock = Arc::clone(&machinery.clock);
    let (told, hooked) = mpsc::unbounded_channel();
    let hooks = (HookRunner::new(config.allow_hooks.iter().cloned(), containers, told), hooked);
    let (worker, workloads) = ((worker, reports), (workloads, ends));
    let (driver, handle) = Driver::new(session, links, worker, workloads, hooks, clock);

    let serving = Stage::Serving { node, name: name.clone(), own, handle: handle.clone(), puts };
    stage.send_replace(serving);
    notify(&[sd_notify::NotifyState::Ready]);
    tracing::info!(event = "agent_started", %node, %name);

    let door = credentials.map(|at| CredentialDoor::open(at, handle.clone(), places.local));
    let driving = driver.run(alive);
    tokio::pin!(driving);
    let ending = tokio::select! {
        ending = &mut driving => ending,
        () = shutdown.drain() => {
            handle.stop(config.wipe_on_stop).await;
            driving.await
        }
    };
    if let Some(door) = door {
        door.close().await;
    }
    end(ending, config, machinery)
}

fn end(
    ending: Result<Ending, Broken>,
    config: &AgentConfig,
    machinery: &Machinery,
) -> Result<(), Failure> {
    match ending {
        Ok(Ending::Stopped) => {
            tracing::info!(event = "agent_stopped");
            Ok(())
        }
        Ok(Ending::Left) => {
            tracing::info!(event = "agent_left");
            Member::forget(machinery.disk.as_ref(), &config.data_dir)
                .map_err(|error| Failure::new(Exit::WriteFailed, format!("identity: {error}")))
        }
        Ok(Ending::Over(refused)) => {
            let failure = Failure::new(Exit::IdentityEnded, format!("refused: {}", refused.text));
            let again = "let an admin run `skep node readmit NAME`, then start this agent again";
            Err(failure.hint(if refused.hint.is_empty() { again } else { &refused.hint }))
        }
        Ok(Ending::Removed(refused)) => {
            let failure = Failure::new(Exit::IdentityEnded, refused.text);
            let again = "to join again: remove the data directory, and use a new token";
            Err(failure.hint(if refused.hint.is_empty() { again } else { &refused.hint }))
        }
        Err(broken) => Err(Failure::new(Exit::Bug, broken)),
    }
}

// ---- identity ------------------------------------------------------------

async fn become_member(
    config: &AgentConfig,
    machinery: &Machinery,
    stage: &watch::Sender<Stage>,
) -> Result<Member, Failure> {
    let disk = machinery.disk.as_ref();
    let known = Member::load(disk, &config.data_dir, machinery.clock.now());
    let unsaved = |error| Failure::new(Exit::WriteFailed, format!("identity: {error}"));
    let answered = || forget_joining(disk, &config.data_dir).map_err(unsaved);
    if let Some(member) = known.map_err(|error| identity_failure(&config.data_dir, &error))? {
        answered()?;
        look_at_clock(&member, machinery.clock.now());
        return Ok(member);
    }
    let application = application(config, disk)?;
    loop {
        match application.ask(&machinery.clock).await {
            Ok(member) => {
                member.save(disk, &config.data_dir).map_err(unsaved)?;
                answered()?;
                tracing::info!(event = "joined", node = %member.node, name = %member.name);
                return Ok(member);
            }
            Err(error @ (JoinError::Unreachable(_) | JoinError::NotNow(_))) => {
                tracing::warn!(event = "not_joined_yet", %error);
                stage.send_replace(Stage::Joining(error.to_string()));
            }
            Err(JoinError::Refused { text, hint }) => {
                answered()?;
                let failure = Failure::new(Exit::IdentityEnded, format!("not admitted: {text}"));
                let again = "make a new token with `skep join-token worker`";
                return Err(failure.hint(if hint.is_empty() { again } else { &hint }));
            }
            Err(error) => {
                return Err(Failure::new(Exit::IdentityEnded, error)
                    .hint("do the manager's version and this one's belong together?"));
            }
        }
        tokio::time::sleep(JOIN_AGAIN).await;
    }
}

/// Says so where the node's own certificate begins later than now: no manager may be there to
/// say by how much the clock is wrong.
fn look_at_clock(member: &Member, now: Stamp) {
    let leaf = member.identity.chain.first().and_then(|leaf| read_leaf(leaf).ok());
    let by = leaf.map_or(0, |leaf| leaf.starts.0.saturating_sub(now.0));
    if by > START_TOLERANCE_MS {
        let by = span(by);
        let why = format!("this machine's clock is at least {by} behind the cluster's");
        tracing::error!(event = "clock_behind", why);
    }
}

/// A token's text, from a file or a pipe.
fn read_token(path: &Path) -> std::io::Result<zeroize::Zeroizing<Vec<u8>>> {
    let mut text = zeroize::Zeroizing::new(Vec::with_capacity(TOKEN_BYTES + 1));
    let most = u64::try_from(TOKEN_BYTES + 1).unwrap_or(u64::MAX);
    std::fs::File::open(path)?.take(most).read_to_end(&mut text)?;
    if text.len() > TOKEN_BYTES { Err(ErrorKind::FileTooLarge.into()) } else { Ok(text) }
}

fn application(config: &AgentConfig, disk: &dyn Disk) -> Result<Application, Failure> {
    let bad = |text: String| Failure::new(Exit::Configuration, text);
    let Some(path) = &config.token_file else {
        return Err(bad("this agent has not joined a cluster, and no token was given".into())
            .hint("get one with `skep join-token worker -q` and name its file: --token-file"));
    };
    let shown = path.display();
    let no_token = |why: &dyn std::fmt::Display| {
        bad(format!("token file {shown}: {why}"))
            .hint("it holds one line, as `skep join-token worker -q` prints it")
    };
    let text = read_token(path).map_err(|error| no_token(&error))?;
    let token = JoinToken::parse(&text).map_err(|error| no_token(&error))?;
    if config.managers.is_empty() {
        return Err(bad("no manager was named to join through".into())
            .hint("--manager HOST:4440, as often as there are managers"));
    }
    let name = match &config.name {
        Some(name) => name.clone(),
        None => host_name().ok_or_else(|| {
            bad("this machine's host name cannot be a node's name".into()).hint("--name NAME")
        })?,
    };
    let key = joining_key(disk, &config.data_dir);
    let key = key.map_err(|error| joining_failure(&config.data_dir, &error))?;
    Ok(Application { token, managers: config.managers.clone(), name, key })
}

/// The machine's host name made into a name: its first label, odd characters as `-`.
fn host_name() -> Option<Name> {
    let node = rustix::system::uname().nodename().to_string_lossy().into_owned();
    name_from(&node)
}

fn name_from(host: &str) -> Option<Name> {
    let first = host.split('.').next().unwrap_or_default();
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let text: String = first.chars().take(64).map(|c| if fits(c) { c } else { '-' }).collect();
    text.trim_matches(|c: char| !c.is_ascii_alphanumeric()).parse().ok()
}

fn links(
    member: Member,
    machinery: &Machinery,
    (boot, folder): (&str, &Path),
    reads: Reads,
) -> Result<Links, Failure> {
    let (disk, clock) = (Arc::clone(&machinery.disk), Arc::clone(&machinery.clock));
    let own = Own::new(disk, folder, member.identity, clock, os_dice);
    let own = own.map_err(|error| identity_failure(folder, &error))?;
    let boot_id = start_here(boot, folder).map_err(|error| machine("data directory", &error))?;
    let hostname = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let machine = Machine { boot_id, hostname };
    let upward = Upward::default();
    Ok(Links { own, node: member.node, machine, dice: os_dice, reads, upward })
}

/// What tells this agent from another one with a copy of its identity, for as long as the
/// machine is up: the machine's start, and the folder as the machine counts it. A copy lies
/// elsewhere, also on the same machine.
fn start_here(boot: &str, folder: &Path) -> std::io::Result<Vec<u8>> {
    use std::os::unix::fs::MetadataExt;
    let boot = data_encoding::HEXLOWER.decode(boot.replace('-', "").as_bytes());
    let folder = std::fs::metadata(folder)?;
    let place = [folder.dev().to_be_bytes(), folder.ino().to_be_bytes()].concat();
    Ok([boot.unwrap_or_default(), place].concat())
}

// ---- what goes wrong -----------------------------------------------------

fn identity_failure(folder: &Path, error: &BadIdentity) -> Failure {
    let text = format!("{}: {error}", folder.join("identity").display());
    let again = "restore the data directory, or remove it and join again with a new token";
    match error {
        BadIdentity::Unreadable(source) => unreadable(source, text).hint(again),
        BadIdentity::Text(IdentityError::Format(format)) => Failure::of_format(*format, text),
        BadIdentity::Text(_) | BadIdentity::Chain(_) | BadIdentity::Role => {
            Failure::new(Exit::Damaged, text).hint(again)
        }
    }
}

fn joining_failure(folder: &Path, error: &BadJoining) -> Failure {
    let path = folder.join("joining");
    let text = format!("{}: {error}", path.display());
    let failure = match error {
        BadJoining::Unwritten(_) => return Failure::new(Exit::WriteFailed, text),
        BadJoining::Unreadable(source) => unreadable(source, text),
        BadJoining::Key(_) => Failure::new(Exit::Damaged, text),
    };
    failure.hint("remove it, and this node from the cluster if it is listed: `skep node rm NAME`")
}

/// A stored file that can't be read: not ours to read, or no file any more.
fn unreadable(error: &std::io::Error, text: impl std::fmt::Display) -> Failure {
    let exit = match error.kind() {
        ErrorKind::PermissionDenied => Exit::Configuration,
        _ => Exit::Damaged,
    };
    Failure::new(exit, text)
}

fn book_failure(error: &BookError) -> Failure {
    match error {
        BookError::Unreadable { source, path } => unreadable(source, error)
            .hint(format!("the leader tells again what is in it: move {} away", path.display())),
        BookError::Damaged(path) => Failure::new(Exit::Damaged, error)
            .hint(format!("the leader tells again what is in it: remove {}", path.display())),
        BookError::Format { format, .. } => Failure::of_format(*format, error),
    }
}

fn volumes_failure(error: &BookError) -> Failure {
    let again = "without it containers that run lose their secrets until they are started again";
    match error {
        BookError::Unreadable { .. } | BookError::Damaged(_) => book_failure(error).hint(again),
        BookError::Format { .. } => book_failure(error),
    }
}

fn mount_failure(error: &MountError) -> Failure {
    let exit = match error {
        MountError::InUse(_) => Exit::InUse,
        MountError::Root(_) | MountError::Format { format: OtherFormat::Older(_), .. } => {
            Exit::Configuration
        }
        MountError::Format { format: OtherFormat::Newer(_), .. } => Exit::NewerData,
        _ => Exit::MachineLimit,
    };
    let failure = Failure::new(exit, error);
    match error.hint() {
        Some(hint) => failure.hint(hint),
        None => failure.hint("the agent mounts: it runs as root, with CAP_SYS_ADMIN"),
    }
}

fn machine(what: &str, error: &std::io::Error) -> Failure {
    Failure::new(Exit::MachineLimit, format!("{what}: {error}"))
}

fn report(adopted: &[Adopted]) {
    for service in adopted {
        tracing::info!(
            event = "adopted",
            service = %service.name,
            generation = service.generation,
            workloads = service.workloads.len()
        );
    }
}

/// Tells systemd, where it listens.
fn notify(states: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(event = "not_notified", %error);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names_become_names() {
        let name = |host: &str| name_from(host).map(|name| name.to_string());
        assert_eq!(name("db1.example.net").as_deref(), Some("db1"));
        assert_eq!(name("-böse_").as_deref(), Some("b-se"));
        assert_eq!(name("..."), None);
        assert_eq!(name(&"x".repeat(80)).map(|name| name.len()), Some(64));
    }
}
