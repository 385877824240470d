//! Docker's volumes: the plug-in by which a container engine shows a service's files in its
//! containers, each volume being the service that has its name.
//!
//! `plugin` reads requests and words answers (pure), `door` is the socket on which an engine
//! asks, `shelf` knows which volumes there are and which are mounted, `engine` asks the engine
//! itself, `keeper` starts the containers that were refused once their secrets are here, and
//! `hooks` tells those that run of changes.
//! It deliberately decides nothing about secrets: a mount is a claim on the session like any
//! other, and what is mounted is one workload for each id that the engine gives.

mod door;
mod engine;
mod hooks;
mod keeper;
mod plugin;
mod shelf;
#[cfg(test)]
mod tests;
mod words;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::UnixListener;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;

use self::door::VolumeDoor;
use self::engine::EngineApi;
use self::hooks::ContainerTeller;
use self::keeper::Keeper;
pub use self::keeper::{Container, DockerView, EngineState};
pub use self::shelf::VolumeShelf;
use crate::agent::hook::ContainerHooks;
use crate::agent::run::Stage;
use skep_core::base::Clock;

/// Where engines look for a plug-in of the name that the file has.
pub const PLUGIN: &str = "/run/docker/plugins/skep.sock";
/// Where the engine itself listens.
pub const ENGINE: &str = "/run/docker.sock";

/// What serves an engine, until it is dropped.
#[derive(Debug)]
pub struct DockerDoor {
    tasks: [AbortHandle; 2],
    view: watch::Receiver<DockerView>,
    hooks: ContainerTeller,
}

impl DockerDoor {
    /// Answers the engine on `listener`, whose file has the driver's name, and asks it on the
    /// socket `engine`.
    #[must_use]
    pub fn open(
        (listener, plugin): (UnixListener, &Path),
        engine: PathBuf,
        shelf: &VolumeShelf,
        stage: &watch::Receiver<Stage>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let refused = Arc::new(Notify::new());
        let door = VolumeDoor {
            shelf: shelf.clone(),
            stage: stage.clone(),
            clock,
            refused: Arc::clone(&refused),
        };
        let driver = plugin.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let (tell, view) = watch::channel(DockerView::default());
        let engine = EngineApi::new(engine);
        let (shelf, hooked) = (shelf.clone(), driver.clone());
        let hooks =
            ContainerTeller { engine: engine.clone(), driver: hooked, shelf: shelf.clone() };
        let keeper = Keeper::new(engine, driver, shelf, refused, tell);
        let serving = tokio::spawn(door::serve(listener, Arc::new(door)));
        let keeping = tokio::spawn(keeper.run(stage.clone()));
        Self { tasks: [serving.abort_handle(), keeping.abort_handle()], view, hooks }
    }

    /// What reaches its containers.
    #[must_use]
    pub fn hooks(&self) -> Arc<dyn ContainerHooks> {
        Arc::new(self.hooks.clone())
    }

    /// How it is with the engine.
    #[must_use]
    pub fn view(&self) -> watch::Receiver<DockerView> {
        self.view.clone()
    }
}

impl Drop for DockerDoor {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}
