//! Tells the containers that have a service mounted of its changes, as its operators want.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{StreamExt as _, stream};
use tokio::time::timeout;

use super::engine::{EngineApi, ListedContainer, NoAnswer};
use super::shelf::VolumeShelf;
use crate::agent::hook::{ContainerAct, ContainerHooks};
use skep_core::base::{Name, ServiceId};

/// Containers that are told at a time.
const AT_A_TIME: usize = 16;
/// How long all of one service may take.
const ALL_TIME: Duration = Duration::from_mins(5);
/// Characters of an engine's text that are shown.
const SHOWN: usize = 256;

/// Reaches containers by their engine.
#[derive(Clone, Debug)]
pub(super) struct ContainerTeller {
    pub(super) engine: EngineApi,
    pub(super) driver: String,
    pub(super) shelf: VolumeShelf,
}

impl ContainerHooks for ContainerTeller {
    fn tell(&self, service: ServiceId, act: ContainerAct) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async move {
            let told = timeout(ALL_TIME, self.tell_all(service, act)).await;
            let late = || format!("not all containers were told within {} s", ALL_TIME.as_secs());
            told.unwrap_or_else(|_late| Err(late()))
        })
    }
}

impl ContainerTeller {
    async fn tell_all(&self, service: ServiceId, act: ContainerAct) -> Result<(), String> {
        let volumes = self.shelf.volumes_of(service);
        if volumes.is_empty() {
            return Ok(());
        }
        let listed = self.engine.with_volumes(&volumes).await;
        let mut listed = listed.map_err(|error| shown("the container engine", &error))?;
        listed.retain(|one| one.is_up() && self.has_mounted(one, &volumes));
        let telling: Vec<_> =
            listed.into_iter().map(|one| tell(self.engine.clone(), one, act)).collect();
        let told = stream::iter(telling).buffer_unordered(AT_A_TIME);
        let told: Vec<Result<(), String>> = told.collect().await;
        told.into_iter().collect()
    }

    fn has_mounted(&self, container: &ListedContainer, volumes: &BTreeSet<Name>) -> bool {
        let ours = container.mounts.iter().filter(|mount| mount.driver == self.driver);
        ours.into_iter().any(|mount| volumes.iter().any(|name| name.as_str() == mount.name))
    }
}

async fn tell(engine: EngineApi, one: ListedContainer, act: ContainerAct) -> Result<(), String> {
    let told = match act {
        // An engine would have it go on, which whoever stopped it doesn't want.
        _ if one.is_paused() => Err(NoAnswer("it is paused".to_owned())),
        ContainerAct::Signal(signal) => engine.kill(&one.id, signal).await,
        ContainerAct::Restart => engine.restart(&one.id).await,
    };
    told.map_err(|error| shown(&format!("container {}", one.name()), &error))
}

/// An engine's text is shown as one line of characters that show themselves.
fn shown(what: &str, error: &NoAnswer) -> String {
    let text = format!("{what}: {error}");
    text.chars().filter(|c| !c.is_control()).take(SHOWN).collect()
}
