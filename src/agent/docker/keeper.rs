//! Starts the containers that were refused a volume once their secrets are here, and finds the
//! mounts that no container has any more.
//!
//! An engine tries a container once and leaves it, also one that is to be restarted always. It
//! remembers why, and that is asked of it: nothing is kept here that could be wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};

use super::engine::{EngineApi, ListedContainer, NoAnswer, SeenContainer};
use super::shelf::VolumeShelf;
use super::words::MARK;
use crate::agent::run::{Handle, Stage};
use crate::agent::session::{LinkState, ServiceState, View};
use crate::agent::workload::VolumeMount;

/// Between two looks at the engine: while something is to be expected, and else.
const LOOK: Duration = Duration::from_secs(3);
const QUIET: Duration = Duration::from_secs(10);
/// How long after a refusal something is to be expected: an engine says what became of the
/// container after it was answered.
const EXPECT: Duration = Duration::from_secs(20);
const SOON: Duration = Duration::from_millis(500);
/// Between two looks at the services of this node while containers wait for them.
const WATCH: Duration = Duration::from_millis(500);
/// A mount that no container has is over when it is so old: an engine mounts before it starts.
const MOUNT_AGE: Duration = Duration::from_secs(30);
/// Containers that are looked at in one look, and how many at a time.
const SEEN: usize = 1_024;
const AT_A_TIME: usize = 16;
/// First and longest wait after a start that failed.
const AGAIN: (Duration, Duration) = (Duration::from_secs(2), Duration::from_mins(1));
/// Characters of an engine's text that are shown.
const SHOWN: usize = 1_024;

/// How it is with the container engine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DockerView {
    /// Whether it answers.
    pub engine: EngineState,
    /// Containers that were refused and are started once their secrets are here.
    pub waiting: Vec<Container>,
}

/// Whether the engine answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum EngineState {
    /// It was not asked yet.
    #[default]
    Unasked,
    /// It does.
    Reached,
    /// It doesn't, and why.
    Away(String),
}

/// A container that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// The engine's id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The volumes that it has of this driver.
    pub volume: String,
    /// Why it was not started.
    pub why: String,
}

#[derive(Debug)]
pub(super) struct Keeper {
    engine: EngineApi,
    driver: String,
    shelf: VolumeShelf,
    refused: Arc<Notify>,
    tell: watch::Sender<DockerView>,
    waiting: Vec<Container>,
    /// Starts that failed: how often, and when it is tried again.
    tries: BTreeMap<String, (u32, Instant)>,
    /// Mounts that no container had when it was looked last, and are old enough.
    lost: BTreeSet<VolumeMount>,
    /// Some mount had no container then, however old it is.
    is_odd: bool,
    expect_until: Instant,
}

impl Keeper {
    pub(super) fn new(
        engine: EngineApi,
        driver: String,
        shelf: VolumeShelf,
        refused: Arc<Notify>,
        tell: watch::Sender<DockerView>,
    ) -> Self {
        Self {
            engine,
            driver,
            shelf,
            refused,
            tell,
            waiting: Vec::new(),
            tries: BTreeMap::new(),
            lost: BTreeSet::new(),
            is_odd: false,
            expect_until: Instant::now() + EXPECT,
        }
    }

    /// Goes on until it is aborted, or the agent has ended.
    pub(super) async fn run(mut self, mut stage: watch::Receiver<Stage>) {
        let handle = match stage.wait_for(|stage| matches!(stage, Stage::Serving { .. })).await {
            Ok(stage) => match &*stage {
                Stage::Serving { handle, .. } => handle.clone(),
                Stage::Joining(_) => return,
            },
            Err(_ended) => return,
        };
        let mut look = Instant::now();
        loop {
            if look <= Instant::now() {
                look = Instant::now() + self.look(&handle).await;
            }
            let Some(view) = self.view(&handle).await else { return };
            if self.start_what_can_be(view.as_ref()).await {
                look = Instant::now();
                continue;
            }
            let watch = Instant::now() + WATCH;
            let next = if self.waiting.is_empty() { look } else { look.min(watch) };
            tokio::select! {
                () = sleep_until(next) => {}
                () = self.refused.notified() => {
                    self.expect_until = Instant::now() + EXPECT;
                    look = look.min(Instant::now() + SOON);
                }
            }
        }
    }

    /// What there is on this node, where anything waits for it; no answer: the agent has ended.
    async fn view(&self, handle: &Handle) -> Option<Option<View>> {
        if self.waiting.is_empty() { Some(None) } else { handle.view().await.map(Some) }
    }

    /// Looks at the engine; says when to look again.
    async fn look(&mut self, handle: &Handle) -> Duration {
        let engine = match self.found().await {
            Ok((listed, waiting)) => {
                self.drop_lost(&listed, handle).await;
                let waits = |id: &String| waiting.iter().any(|one| one.id == *id);
                self.tries.retain(|id, _| waits(id));
                self.waiting = waiting;
                tracing::info!(event = "engine_reached", ends = "engine_not_reached");
                EngineState::Reached
            }
            Err(error) => {
                self.lost.clear();
                tracing::warn!(event = "engine_not_reached", why = %error);
                EngineState::Away(error.to_string())
            }
        };
        let expected = self.expect_until > Instant::now() || self.is_odd;
        let busy = expected || !self.waiting.is_empty() || engine != EngineState::Reached;
        let view = DockerView { engine, waiting: self.waiting.clone() };
        self.tell.send_if_modified(|before| {
            let changed = *before != view;
            *before = view;
            changed
        });
        if busy { LOOK } else { QUIET }
    }

    /// The containers that have volumes of this driver, and those of them that wait.
    async fn found(&self) -> Result<(Vec<ListedContainer>, Vec<Container>), NoAnswer> {
        self.engine.introduce(&self.driver).await?;
        let mut listed = self.engine.containers().await?;
        listed.retain(|one| one.mounts.iter().any(|mount| mount.driver == self.driver));
        let still = listed.iter().filter(|one| !one.may_live()).take(SEEN).cloned();
        let asked: Vec<_> = still.map(|one| see(self.engine.clone(), one)).collect();
        let seen: Vec<_> = stream::iter(asked).buffered(AT_A_TIME).collect().await;
        let mut waiting = Vec::new();
        for (one, seen) in seen {
            if let Some(why) = seen?.and_then(|seen| why_refused(&seen, &self.driver)) {
                let volume = self.volumes(&one).collect::<Vec<_>>().join(", ");
                waiting.push(Container { name: one.name(), id: one.id, volume, why });
            }
        }
        waiting.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
        Ok((listed, waiting))
    }

    fn volumes<'a>(&'a self, container: &'a ListedContainer) -> impl Iterator<Item = &'a str> {
        let ours = container.mounts.iter().filter(|mount| mount.driver == self.driver);
        ours.map(|mount| mount.name.as_str())
    }

    /// What no container had in two looks is over: an engine that was killed, or machines whose
    /// containers were removed while this agent was away, tell of no end.
    async fn drop_lost(&mut self, listed: &[ListedContainer], handle: &Handle) {
        let live = listed.iter().filter(|one| one.may_live());
        let live: BTreeSet<&str> = live.flat_map(|one| self.volumes(one)).collect();
        let lost = |age| -> BTreeSet<VolumeMount> {
            let mut lost = self.shelf.older_than(age);
            lost.retain(|mount| !live.contains(mount.volume.as_str()));
            lost.into_iter().collect()
        };
        let (is_odd, lost) = (!lost(Duration::ZERO).is_empty(), lost(MOUNT_AGE));
        self.is_odd = is_odd;
        for mount in lost.intersection(&self.lost) {
            let (change, gone) = self.shelf.dropped(mount);
            if let Some(gone) = gone {
                handle.unmount(gone);
            }
            tracing::warn!(event = "volume_dropped", volume = %mount.volume, id = %mount.id);
            self.shelf.write(change).await;
        }
        self.lost = lost.difference(&self.lost).cloned().collect();
    }

    /// Starts the containers whose secrets are here, or come with the asking. Says whether
    /// there were any.
    async fn start_what_can_be(&mut self, view: Option<&View>) -> bool {
        let Some(view) = view else { return false };
        let now = Instant::now();
        let due = self.waiting.iter().filter(|container| {
            let rests = self.tries.get(&container.id).is_some_and(|(_, again)| *again > now);
            !rests && container.volume.split(", ").all(|volume| can_be_had(view, volume))
        });
        let starts: Vec<_> = due.cloned().map(|one| start(self.engine.clone(), one)).collect();
        let ended: Vec<_> = stream::iter(starts).buffer_unordered(AT_A_TIME).collect().await;
        for (one, started) in &ended {
            let Container { id, name, .. } = one;
            match started {
                Ok(()) => {
                    self.tries.remove(id);
                    tracing::info!(event = "container_started", always = true, %name, %id);
                }
                Err(error) => {
                    let (times, again) = self.tries.entry(id.clone()).or_insert((0, now));
                    *again = Instant::now() + rest_after(*times);
                    *times = times.saturating_add(1);
                    let why: String = error.to_string().chars().take(SHOWN).collect();
                    tracing::warn!(event = "container_not_started", %name, %id, why);
                }
            }
        }
        !ended.is_empty()
    }
}

async fn see(
    engine: EngineApi,
    one: ListedContainer,
) -> (ListedContainer, Result<Option<SeenContainer>, NoAnswer>) {
    let seen = engine.container(&one.id).await;
    (one, seen)
}

async fn start(engine: EngineApi, one: Container) -> (Container, Result<(), NoAnswer>) {
    let started = engine.start(&one.id).await;
    (one, started)
}

fn rest_after(failures: u32) -> Duration {
    AGAIN.0.saturating_mul(2_u32.saturating_pow(failures)).min(AGAIN.1)
}

/// Whether a mount of this volume could be answered now.
fn can_be_had(view: &View, volume: &str) -> bool {
    let named = view.services.iter().find(|one| one.name.eq_ignore_ascii_case(volume));
    named.is_some_and(|service| match service.state {
        ServiceState::InPlace => true,
        ServiceState::Failed => false,
        ServiceState::Idle | ServiceState::Waiting => {
            service.placed && view.state == LinkState::Connected
        }
    })
}

/// Why a container was not started, where it is to be restarted and it was for a volume of
/// this driver: refused by this agent, or not asked for because no agent was there.
pub(super) fn why_refused(seen: &SeenContainer, driver: &str) -> Option<String> {
    let policy = seen.host_config.restart_policy.name.as_str();
    let restarted = ["always", "unless-stopped", "on-failure"].contains(&policy);
    let stands = ["created", "exited"].contains(&seen.state.status.as_str());
    if !(restarted && stands) {
        return None;
    }
    let error = seen.state.error.as_str();
    let ours = error.find("VolumeDriver.").and_then(|at| error.get(at..));
    let ours = ours.and_then(|text| text.split_once(MARK)).map(|(_, told)| told);
    let absent = || {
        let named = [format!("{driver}.sock"), format!("\"{driver}\""), format!("plugin {driver}")];
        named.iter().any(|name| error.contains(name.as_str())).then_some(error)
    };
    let why = ours.or_else(absent)?;
    Some(why.chars().filter(|c| !c.is_control()).take(SHOWN).collect())
}
