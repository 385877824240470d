//! `skep dev` from its start to its end.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use rustix::thread::{CapabilitySet, capabilities};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep};

use super::plan::counts;
use super::{
    Cluster, Ended, Event, Folder, Launcher, Layout, Member, Plan, Process, Stays, free_ports,
    look, start, unmount_below,
};
use crate::daemon::Shutdown;
use skep_core::base::{Exit, Failure};

/// Managers, if nothing else is asked for.
pub const MANAGERS: usize = 3;
/// Agents, if nothing else is asked for.
pub const AGENTS: usize = 2;
/// How long agents may take to wipe what they show.
const AGENTS_END: Duration = Duration::from_secs(8);
/// How long managers may take to sync what they wrote.
const MANAGERS_END: Duration = Duration::from_secs(4);
/// Between two looks at those that end.
const LOOK: Duration = Duration::from_millis(20);

/// What `skep dev` was told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DevConfig {
    /// Managers; `None`: as many as the folder holds, else [`MANAGERS`].
    pub managers: Option<usize>,
    /// Agents; `None`: as many as the folder holds, else [`AGENTS`].
    pub agents: Option<usize>,
    /// The folder, which stays; `None`: a temporary one.
    pub folder: Option<PathBuf>,
    /// A temporary folder stays too.
    pub keep: bool,
}

/// Starts a cluster, tells when it is up, watches it, and ends it when asked to.
/// Call it in a runtime of the process's first thread alone: the daemons end with
/// the thread.
///
/// # Errors
/// Why it didn't start; everything that was started has ended.
pub async fn run(
    config: &DevConfig,
    launcher: &Launcher,
    shutdown: &Shutdown,
    tell: &mut dyn FnMut(Event<'_>),
) -> Result<(), Failure> {
    let wanted = config.agents.unwrap_or(AGENTS);
    counts(config.managers.unwrap_or(MANAGERS), wanted)?;
    if config.folder.is_none() {
        may_mount(wanted)?;
    }
    let (folder, layout) = match &config.folder {
        Some(path) => Folder::open(path)?,
        None => (Folder::temporary()?, Layout::Fresh),
    };
    let layout = match layout {
        Layout::Leftover { members } => {
            alone(folder.path(), &members).await?;
            folder.clear().map_err(|error| {
                let (shown, why) = (folder.path().display(), "what an earlier start left stays");
                Failure::new(Exit::Configuration, format!("{shown}: {why}: {error}"))
                    .hint("name another --dir")
            })?;
            tell(Event::Cleared { folder: folder.path() });
            Layout::Fresh
        }
        layout => layout,
    };
    let lived = live(config, launcher, shutdown, (&folder, layout), tell).await;
    unmount_below(folder.path());
    let path = folder.path().to_owned();
    let members = lived.as_ref().map(|plan| in_use(plan.members())).unwrap_or_default();
    let stays = if config.folder.is_some() || config.keep {
        stays(config, folder, &lived, members)
    } else if members.is_empty() {
        folder.remove().err().map(|error| Stays::NotRemoved(error.to_string()))
    } else {
        Some(Stays::InUse(members))
    };
    tell(Event::Over { folder: &path, stays });
    lived.map(drop)
}

/// What becomes of a folder that is to stay: what never was complete stays there only for the
/// logs in it.
fn stays(
    config: &DevConfig,
    folder: Folder,
    lived: &Result<Plan, Failure>,
    members: Vec<String>,
) -> Option<Stays> {
    if folder.is_complete() {
        return Some(Stays::Asked);
    }
    if !members.is_empty() {
        return Some(Stays::InUse(members));
    }
    let has_logs = lived.is_err() && folder.has_logs();
    if config.folder.is_none() || has_logs {
        return Some(Stays::Incomplete);
    }
    match folder.undo() {
        Ok(true) => None,
        Ok(false) => Some(Stays::Emptied),
        Err(error) => Some(Stays::NotRemoved(error.to_string())),
    }
}

/// From the folder to the last process's end.
async fn live(
    config: &DevConfig,
    launcher: &Launcher,
    shutdown: &Shutdown,
    (folder, layout): (&Folder, Layout),
    tell: &mut dyn FnMut(Event<'_>),
) -> Result<Plan, Failure> {
    let (plan, again) = plan(config, folder, layout)?;
    may_mount(plan.agents.len())?;
    alone(&plan.folder, plan.members()).await?;
    let starting = start(&plan, launcher, again, tell);
    let mut cluster = tokio::select! {
        started = starting => started?,
        () = shutdown.drain() => return Ok(plan),
    };
    for member in &plan.agents {
        // It has served its purpose.
        std::fs::remove_file(member.token()).ok();
    }
    folder.complete(&plan)?;
    tell(Event::Up(&plan));
    let watched = watch(&plan, &mut cluster, shutdown, tell).await;
    tell(Event::Ending);
    tokio::select! {
        () = end(&mut cluster) => {}
        () = shutdown.stop() => {}
    }
    drop(cluster);
    watched.map_err(|error| {
        Failure::new(Exit::MachineLimit, format!("cannot wait for processes: {error}"))
    })?;
    Ok(plan)
}

/// What stands where, and whether it stands there already.
fn plan(config: &DevConfig, folder: &Folder, layout: Layout) -> Result<(Plan, bool), Failure> {
    let (ports, agents, again) = match layout {
        Layout::Fresh | Layout::Leftover { .. } => {
            let ports = free_ports(config.managers.unwrap_or(MANAGERS))?;
            (ports, config.agents.unwrap_or(AGENTS), false)
        }
        Layout::Again { ports, agents } => {
            let other = |asked: Option<usize>, there| asked.is_some_and(|asked| asked != there);
            if other(config.managers, ports.len()) || other(config.agents, agents) {
                let (shown, managers) = (folder.path().display(), ports.len());
                return Err(Failure::new(
                    Exit::Refused,
                    format!("{shown} holds a cluster of {managers} managers and {agents} agents"),
                )
                .hint(
                    "leave out --managers and --agents to bring it back, or name another --dir",
                ));
            }
            (ports, agents, true)
        }
    };
    Ok((Plan::new(folder.path(), &ports, agents)?, again))
}

/// Agents mount: without that right they would end one after the other.
fn may_mount(agents: usize) -> Result<(), Failure> {
    let own = capabilities(None).map_err(|error| {
        Failure::new(Exit::MachineLimit, format!("this process's capabilities: {error}"))
    })?;
    if agents == 0 || own.effective.contains(CapabilitySet::SYS_ADMIN) {
        return Ok(());
    }
    Err(Failure::new(Exit::Configuration, "agents mount file systems, and this process may not")
        .hint("run it as root, or run managers alone: `skep dev --agents 0`"))
}

/// Waits for members of a run that was killed: they may still be ending.
async fn alone<'a>(
    folder: &Path,
    members: impl IntoIterator<Item = &'a Member, IntoIter: Clone>,
) -> Result<(), Failure> {
    let members = members.into_iter();
    let deadline = Instant::now() + AGENTS_END;
    loop {
        let running = in_use(members.clone());
        if running.is_empty() {
            return Ok(());
        }
        if Instant::now() >= deadline {
            let (shown, running) = (folder.display(), running.join(", "));
            return Err(Failure::new(Exit::InUse, format!("{running} in {shown} still runs"))
                .hint("stop what was started on it by hand"));
        }
        sleep(LOOK).await;
    }
}

/// Waits until it is to end, and tells of members that end before.
async fn watch(
    plan: &Plan,
    cluster: &mut Cluster,
    shutdown: &Shutdown,
    tell: &mut dyn FnMut(Event<'_>),
) -> io::Result<()> {
    let mut child = signal(SignalKind::child())?;
    let mut told = vec![false; plan.members().count()];
    loop {
        let processes = cluster.managers.iter_mut().chain(&mut cluster.agents);
        for ((member, process), told) in plan.members().zip(processes).zip(&mut told) {
            if let (false, Some(status)) = (*told, process.ended()) {
                *told = true;
                tell(Event::Ended(member, &Ended::of(member, status)));
            }
        }
        tokio::select! {
            // A signal that came between is kept: none is missed.
            _ = child.recv() => {}
            () = shutdown.drain() => return Ok(()),
        }
    }
}

/// Agents first: they tell the leader and wipe what they show. Managers are told
/// again and again, and so don't wait for each other to take the lead.
async fn end(cluster: &mut Cluster) {
    for agent in &mut cluster.agents {
        agent.signal(Signal::TERM);
    }
    let deadline = Instant::now() + AGENTS_END;
    while running(&mut cluster.agents) && Instant::now() < deadline {
        sleep(LOOK).await;
    }
    let deadline = Instant::now() + MANAGERS_END;
    while running(&mut cluster.managers) && Instant::now() < deadline {
        for manager in &mut cluster.managers {
            manager.signal(Signal::TERM);
        }
        sleep(LOOK).await;
    }
}

fn running(processes: &mut [Process]) -> bool {
    processes.iter_mut().any(|process| process.ended().is_none())
}

/// Members that run, whoever started them.
fn in_use<'a>(members: impl IntoIterator<Item = &'a Member>) -> Vec<String> {
    let alive = |member: &&Member| {
        UnixStream::connect(member.socket()).is_ok() || look::runs_on(&member.settings())
    };
    members.into_iter().filter(alive).map(|member| member.name.clone()).collect()
}
