//! What the processes of this machine ask of the driver, and how they wait for its answers.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::workloads::{Claimed, Workloads};
use crate::agent::session::problem;
use crate::agent::session::{ClaimId, Ready, Refused, View, Wants, WorkloadId};
use crate::agent::vault::{Told, UnitAsks};
use skep_core::base::SecretBytes;

/// What the processes of this machine may ask of the driver.
#[derive(Clone, Debug)]
pub struct Handle {
    calls: mpsc::Sender<Call>,
    /// Told of calls that ended before they were answered: each once.
    withdrawn: mpsc::UnboundedSender<ClaimId>,
    asked: Arc<AtomicU64>,
    workloads: Workloads,
}

pub(super) enum Call {
    Claim { of: Wants, uid: u32, wait: Duration, who: Option<Claimed>, asked: Asked },
    Down { name: String, asked: Asked },
    Leave { asked: Asked },
    View { answer: oneshot::Sender<View> },
    Stop { wipe: bool },
}

/// Whom to answer.
pub(super) struct Asked {
    pub(super) id: ClaimId,
    pub(super) answer: Answer,
}

pub(super) type Answer = oneshot::Sender<Result<Granted, Refused>>;

/// Waits for an answer. Dropped before, the claim is withdrawn: it ends with its call.
struct Asking {
    id: ClaimId,
    answered: Option<oneshot::Receiver<Result<Granted, Refused>>>,
    withdrawn: mpsc::UnboundedSender<ClaimId>,
}

impl Asking {
    async fn answer(mut self) -> Result<Granted, Refused> {
        let answer = match &mut self.answered {
            Some(answered) => answered.await.unwrap_or_else(|_| Err(gone())),
            None => Err(gone()),
        };
        self.answered = None;
        answer
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        // Closed first: a driver that takes the call up later sees that.
        if self.answered.take().is_some() {
            self.withdrawn.send(self.id).ok();
        }
    }
}

/// What a call got.
#[derive(Debug)]
pub struct Granted {
    /// The set, where the call was about one.
    pub ready: Option<Ready>,
    /// Resolves once it is written down who uses it.
    pub(super) noted: Option<oneshot::Receiver<()>>,
    /// Who claimed.
    pub(super) who: Option<Claimed>,
}

/// A volume that may be mounted into a container.
#[derive(Debug)]
pub struct MountedVolume {
    /// As what it counts, until [`Handle::unmount`].
    pub workload: WorkloadId,
    /// What it shows.
    pub ready: Ready,
}

impl Handle {
    pub(super) fn new(
        calls: mpsc::Sender<Call>,
        withdrawn: mpsc::UnboundedSender<ClaimId>,
        workloads: Workloads,
    ) -> Self {
        Self { calls, withdrawn, asked: Arc::default(), workloads }
    }

    /// Claims a service for the process `pid` of `uid`, and waits until its whole
    /// set is in place.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn exec(
        &self,
        name: String,
        uid: u32,
        pid: i32,
        wait: Duration,
    ) -> Result<Ready, Refused> {
        let who = self
            .workloads
            .claim(uid, pid)
            .await
            .map_err(|error| problem::not_followed(&error, error.hint()))?;
        let (of, who) = (Wants::Named(name), Some(who));
        let granted = self.ask(|asked| Call::Claim { of, uid, wait, who, asked }).await?;
        if let Some(noted) = granted.noted {
            // Written down or logged: the process counts in either case.
            noted.await.ok();
        }
        granted.ready.ok_or_else(gone)
    }

    /// The process `pid` of `uid`, which was granted a service, stands in its private
    /// mount namespace now: from here on everything in there counts.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn enclosed(&self, uid: u32, pid: i32, wish: Option<Told>) -> Result<(), Refused> {
        let noted = self.workloads.enclose(uid, pid, wish).await;
        let noted = noted.map_err(problem::not_enclosed)?;
        noted.await.ok();
        Ok(())
    }

    /// Claims a service for a container that has it as a volume, and waits until its whole
    /// set is in place.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn mount(&self, name: String, wait: Duration) -> Result<MountedVolume, Refused> {
        let (of, who) = (Wants::Named(name), Some(self.workloads.claim_volume()));
        let granted = self.ask(|asked| Call::Claim { of, uid: 0, wait, who, asked }).await?;
        let (Some(ready), Some(who)) = (granted.ready, granted.who) else { return Err(gone()) };
        Ok(MountedVolume { workload: who.keep_volume(), ready })
    }

    /// A container has a volume mounted no more.
    pub fn unmount(&self, workload: WorkloadId) {
        self.workloads.volume_ended(workload);
    }

    /// Claims the service that a unit means by a credential's name, for the unit, whose process
    /// `pid` asks, waits until its whole set is in place, and reads the file that is meant.
    ///
    /// # Errors
    /// Why there is none, in one line.
    pub async fn credential(
        &self,
        asks: UnitAsks,
        pid: i32,
        wait: Duration,
    ) -> Result<SecretBytes, String> {
        let ready = self.unit(asks.clone(), pid, wait).await.map_err(|refused| refused.text)?;
        let name = ready.name;
        let value = self.workloads.value(ready.service, asks.targets(name.as_str())).await;
        value.map_err(|why| format!("service {name}: {why}"))
    }

    async fn unit(&self, asks: UnitAsks, pid: i32, wait: Duration) -> Result<Ready, Refused> {
        let who = self.workloads.claim_unit(pid, &asks.unit).await;
        let who = who.map_err(|error| problem::not_followed(&error, error.hint()))?;
        let (of, who) = (Wants::Unit(asks), Some(who));
        let granted = self.ask(|asked| Call::Claim { of, uid: 0, wait, who, asked }).await?;
        granted.ready.ok_or_else(gone)
    }

    /// Puts a service up until further notice, and waits until its set is in place.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn up(&self, name: String, wait: Duration) -> Result<PathBuf, Refused> {
        let (of, who) = (Wants::Named(name), None);
        let granted = self.ask(|asked| Call::Claim { of, uid: 0, wait, who, asked }).await?;
        granted.ready.map(|ready| ready.path).ok_or_else(gone)
    }

    /// Ends that.
    ///
    /// # Errors
    /// [`Refused`]: it was not up.
    pub async fn down(&self, name: String) -> Result<(), Refused> {
        self.ask(|asked| Call::Down { name, asked }).await.map(|_| ())
    }

    /// Wipes everything and leaves the cluster.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn leave(&self) -> Result<(), Refused> {
        self.ask(|asked| Call::Leave { asked }).await.map(|_| ())
    }

    /// How things stand; none once the agent has ended.
    pub async fn view(&self) -> Option<View> {
        let (answer, view) = oneshot::channel();
        self.calls.send(Call::View { answer }).await.ok()?;
        view.await.ok()
    }

    /// Has the agent end.
    pub async fn stop(&self, wipe: bool) {
        // A driver that is gone has ended already.
        self.calls.send(Call::Stop { wipe }).await.ok();
    }

    async fn ask(&self, call: impl FnOnce(Asked) -> Call) -> Result<Granted, Refused> {
        let id = ClaimId(self.asked.fetch_add(1, Ordering::Relaxed));
        let (answer, answered) = oneshot::channel();
        let withdrawn = self.withdrawn.clone();
        let asking = Asking { id, answered: Some(answered), withdrawn };
        self.calls.send(call(Asked { id, answer })).await.map_err(|_| gone())?;
        asking.answer().await
    }
}

fn gone() -> Refused {
    problem::stopping()
}
