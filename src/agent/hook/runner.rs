//! Carries one hook out, and says what came of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt as _};
use rustix::process::Signal;
use tokio::sync::mpsc;

use super::containers::{ContainerAct, ContainerHooks};
use super::program;
use crate::agent::machine::{Process, Workload};
use crate::agent::vault::{HookDue, Told};
use skep_core::base::ServiceId;
use skep_core::domain::{HookPath, HookSignal, OnChange, UnitName};

/// Units that are told at once.
const AT_ONCE: usize = 8;

/// Somebody who may have to be told.
#[derive(Clone, Debug)]
pub enum Aim {
    /// A command.
    Processes {
        /// Its main process, or who is left of it.
        processes: Vec<Workload>,
        /// How it wants to be told; `None`: as its service's operators want.
        wish: Option<Told>,
    },
    /// A unit of systemd.
    Unit(UnitName),
    /// Containers that have it mounted: their engine knows which.
    Containers,
}

/// What came of a hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookEnd {
    /// Of which service.
    pub service: ServiceId,
    /// Of which generation.
    pub generation: u64,
    /// Why it failed, in one line that names no value.
    pub failed: Option<String>,
}

/// Carries hooks out. Clones see the same.
#[derive(Clone, Debug)]
pub struct HookRunner {
    /// The programs that this node lets be run.
    allowed: Arc<BTreeSet<HookPath>>,
    /// The containers of this machine, where their engine is served.
    containers: Option<Arc<dyn ContainerHooks>>,
    ended: mpsc::UnboundedSender<HookEnd>,
}

impl HookRunner {
    /// One that runs no programs but these, reaches these containers, and says what came of
    /// each hook to `ended`.
    #[must_use]
    pub fn new(
        allowed: impl IntoIterator<Item = HookPath>,
        containers: Option<Arc<dyn ContainerHooks>>,
        ended: mpsc::UnboundedSender<HookEnd>,
    ) -> Self {
        Self { allowed: Arc::new(allowed.into_iter().collect()), containers, ended }
    }

    /// Begins a hook, and waits for nothing. What it ends with is said, unless nobody wanted
    /// anything.
    pub fn begin(&self, due: HookDue, aims: Vec<Aim>) {
        let idle = due.on_change == OnChange::Nothing
            && aims.iter().all(|aim| !matches!(aim, Aim::Processes { wish: Some(_), .. }));
        if idle {
            return;
        }
        let this = self.clone();
        tokio::spawn(async move {
            let failed = this.carry_out(&due, &aims).await.err();
            let (service, generation) = (due.service, due.generation);
            let hook = &due.on_change;
            if let Some(why) = &failed {
                tracing::error!(event = "hook_failed", service = %due.name, %hook, why);
            } else {
                tracing::info!(
                    event = "hook_done",
                    ends = "hook_failed",
                    always = true,
                    service = %due.name,
                    %hook,
                    generation
                );
            }
            // Nobody listens once the agent ends.
            this.ended.send(HookEnd { service, generation, failed }).ok();
        });
    }

    async fn carry_out(&self, due: &HookDue, aims: &[Aim]) -> Result<(), String> {
        let telling: Vec<_> = aims.iter().map(|aim| self.tell(due, aim)).collect();
        let told: Vec<_> = stream::iter(telling).buffered(AT_ONCE).collect().await;
        if let OnChange::Exec(path) = &due.on_change {
            if !self.allowed.contains(path) {
                let path = path.as_str();
                return Err(format!("{path} is not allowed on this node: `--allow-hook {path}`"));
            }
            program::run_hook(path.as_str(), due).await?;
        }
        told.into_iter().collect()
    }

    async fn tell(&self, due: &HookDue, aim: &Aim) -> Result<(), String> {
        match (aim, &self.containers) {
            (Aim::Processes { processes, wish }, _) => signal(due, processes, *wish),
            (Aim::Unit(unit), _) => manage(due, unit).await,
            (Aim::Containers, None) => Ok(()),
            (Aim::Containers, Some(containers)) => match &due.on_change {
                OnChange::Signal(signal) => {
                    containers.tell(due.service, ContainerAct::Signal(*signal)).await
                }
                OnChange::Restart => containers.tell(due.service, ContainerAct::Restart).await,
                OnChange::Nothing | OnChange::Exec(_) | OnChange::Reload => Ok(()),
            },
        }
    }
}

/// Sends a command's processes what they, or else the service's operators, want.
fn signal(due: &HookDue, processes: &[Workload], wish: Option<Told>) -> Result<(), String> {
    let signal = match (wish, &due.on_change) {
        (Some(Told::Signal(signal)), _) => number(signal),
        (None, OnChange::Signal(signal)) => number(*signal),
        (Some(Told::Restarts), _) => RESTART,
        (None, OnChange::Nothing | OnChange::Exec(_) | OnChange::Reload | OnChange::Restart) => {
            return Ok(());
        }
    };
    let mut told = Ok(());
    for process in processes {
        if let Err(error) = send(*process, signal) {
            told = Err(format!("process {} cannot be signalled: {error}", process.pid));
        }
    }
    told
}

/// Has systemd do with a unit what the service's operators want.
async fn manage(due: &HookDue, unit: &UnitName) -> Result<(), String> {
    let signal;
    let words: &[&str] = match &due.on_change {
        OnChange::Nothing | OnChange::Exec(_) => return Ok(()),
        OnChange::Reload => &["reload"],
        // One that has stopped meanwhile stays so.
        OnChange::Restart => &["try-restart"],
        OnChange::Signal(name) => {
            signal = format!("--signal={name}");
            &["kill", "--kill-who=main", &signal]
        }
    };
    program::run_systemctl(words, unit, due).await
}

/// By which a `skep exec` that starts its command again is told: nobody ends by it who
/// doesn't listen.
pub const RESTART: Signal = Signal::URG;

/// A process that is gone has nothing to hear.
fn send(process: Workload, signal: Signal) -> std::io::Result<()> {
    Process::again(process).map_or(Ok(()), |process| process.signal(signal))
}

const fn number(signal: HookSignal) -> Signal {
    match signal {
        HookSignal::Hup => Signal::HUP,
        HookSignal::Int => Signal::INT,
        HookSignal::Quit => Signal::QUIT,
        HookSignal::Usr1 => Signal::USR1,
        HookSignal::Usr2 => Signal::USR2,
        HookSignal::Term => Signal::TERM,
        HookSignal::Winch => Signal::WINCH,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;
    use std::time::Duration;

    fn due(hook: &str) -> HookDue {
        HookDue {
            service: ServiceId::from_bytes([1; 16]),
            name: "web".parse().unwrap(),
            generation: 7,
            on_change: hook.parse().unwrap(),
            path: Some("/run/secrets/web".into()),
        }
    }

    async fn ends(allowed: &[&str], due: HookDue, aims: Vec<Aim>) -> Option<String> {
        let (sender, mut ended) = mpsc::unbounded_channel();
        let allowed = allowed.iter().map(|path| path.parse().unwrap());
        HookRunner::new(allowed, None, sender).begin(due, aims);
        let end = tokio::time::timeout(Duration::from_mins(1), ended.recv()).await;
        let end = end.expect("in time").expect("an end");
        assert_eq!((end.service, end.generation), (ServiceId::from_bytes([1; 16]), 7));
        end.failed
    }

    #[expect(clippy::disallowed_methods, reason = "half a script is seen by whoever runs it")]
    fn script(folder: &Path, text: &str) -> String {
        let path = folder.join("hook");
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path.to_str().unwrap().to_owned()
    }

    #[tokio::test]
    async fn a_program_is_run_where_it_is_allowed_with_nothing_of_the_agents_around_it() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        let path = script(folder.path(), &format!("env | sort > {0}; pwd >> {0}", out.display()));
        let hook = format!("exec:{path}");
        let refused = ends(&[], due(&hook), Vec::new()).await.expect("refused");
        assert!(refused.contains("not allowed on this node"), "{refused}");
        assert!(!out.exists());
        assert_eq!(ends(&[&path], due(&hook), Vec::new()).await, None);
        let said = std::fs::read_to_string(&out).unwrap();
        let of_ours: Vec<&str> = said
            .lines()
            .filter(|line| !line.starts_with("_=") && !line.starts_with("PWD="))
            .collect();
        assert_eq!(
            of_ours,
            [
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "SKEP_GENERATION=7",
                "SKEP_PATH=/run/secrets/web",
                "SKEP_SERVICE=web",
                "/",
            ]
        );
    }

    #[tokio::test]
    async fn how_a_program_ended_is_said_and_what_it_said_is_not() {
        let folder = tempfile::tempdir().unwrap();
        for (text, said) in [
            ("echo hunter2; exit 3", "ended with status 3"),
            ("kill -9 $$", "ended by signal 9"),
            // More than a pipe holds.
            ("head -c 300000 /dev/zero; exit 4", "ended with status 4"),
        ] {
            let path = script(folder.path(), text);
            let failed = ends(&[&path], due(&format!("exec:{path}")), Vec::new()).await;
            let failed = failed.expect("it failed");
            assert!(failed.ends_with(said) && !failed.contains("hunter2"), "{failed}");
        }
        let path = folder.path().join("absent");
        let path = path.to_str().unwrap();
        let failed = ends(&[path], due(&format!("exec:{path}")), Vec::new()).await;
        assert!(failed.is_some_and(|why| why.contains("No such file")));
    }

    #[tokio::test]
    async fn a_program_that_others_may_change_is_not_run() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        let path = script(folder.path(), &format!("touch {}", out.display()));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777)).unwrap();
        let failed = ends(&[&path], due(&format!("exec:{path}")), Vec::new()).await;
        assert!(failed.is_some_and(|why| why.contains("others than root may change it")));
        assert!(!out.exists());
    }

    #[tokio::test]
    async fn signals_go_to_whom_they_are_meant_for() {
        let folder = tempfile::tempdir().unwrap();
        let mut told = Vec::new();
        let mut aims = Vec::new();
        for (name, wish) in
            [("a", None), ("b", Some(Told::Signal(HookSignal::Usr2))), ("c", Some(Told::Restarts))]
        {
            let out = folder.path().join(name);
            let shown = out.display();
            let text = format!(
                "for s in HUP USR2 URG; do trap \"echo $s >> {shown}\" $s; done; \
                 echo up >> {shown}; while :; do sleep 0.05; done"
            );
            let child = tokio::process::Command::new("bash")
                .args(["-c", &text])
                .kill_on_drop(true)
                .spawn()
                .unwrap();
            let pid = i32::try_from(child.id().unwrap()).unwrap();
            aims.push(Aim::Processes { processes: vec![Process::open(pid).unwrap().id], wish });
            told.push((out, child));
        }
        let gone = Workload { pid: u32::try_from(i32::MAX).unwrap(), started: 1 };
        aims.push(Aim::Processes { processes: vec![gone], wish: None });
        let reads = |at: usize| std::fs::read_to_string(&told[at].0).unwrap_or_default();
        let wait = async |what: &[&str]| {
            let all = || what.iter().enumerate().all(|(at, text)| reads(at) == *text);
            let until = tokio::time::Instant::now() + Duration::from_secs(30);
            while !all() {
                assert!(
                    tokio::time::Instant::now() < until,
                    "{:?}",
                    [reads(0), reads(1), reads(2)]
                );
                tokio::task::yield_now().await;
            }
        };
        wait(&["up\n", "up\n", "up\n"]).await;
        assert_eq!(ends(&[], due("signal:HUP"), aims.clone()).await, None);
        wait(&["up\nHUP\n", "up\nUSR2\n", "up\nURG\n"]).await;
        // Operators want nothing; who asked for it is told all the same.
        assert_eq!(ends(&[], due("none"), aims).await, None);
        wait(&["up\nHUP\n", "up\nUSR2\nUSR2\n", "up\nURG\nURG\n"]).await;
    }
}
