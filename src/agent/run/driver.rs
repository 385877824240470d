//! What waits for events, asks the session's core, and does what it says:
//! select, then step.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::link::{Link, LinkEvent, Links};
use super::worker::{Report, Worker};
use super::workloads::{Claimed, Workloads};
use crate::agent::session::problem;
use crate::agent::session::{
    Act, CLAIMS, Claim, ClaimId, Claimant, Ending, Event, Ready, Refused, Session, View, WorkloadId,
};
use skep_core::base::{Clock, ServiceId};

/// Calls from this machine that may wait to be taken: all that the socket lets in.
const CALLS: usize = CLAIMS;
/// For what was opened last to be handed in, at the end.
const REST: Duration = Duration::from_secs(3);
/// Longest wait between two looks at the clock.
const LOOK: Duration = Duration::from_secs(5);

/// What the processes of this machine may ask of the driver.
#[derive(Clone, Debug)]
pub struct Handle {
    calls: mpsc::Sender<Call>,
    /// Told of calls that ended before they were answered: each once.
    withdrawn: mpsc::UnboundedSender<ClaimId>,
    asked: Arc<AtomicU64>,
    workloads: Workloads,
}

enum Call {
    Claim { name: String, uid: u32, wait: Duration, who: Option<Claimed>, asked: Asked },
    Down { name: String, asked: Asked },
    Leave { asked: Asked },
    View { answer: oneshot::Sender<View> },
    Stop { wipe: bool },
}

/// Whom to answer.
struct Asked {
    id: ClaimId,
    answer: Answer,
}

type Answer = oneshot::Sender<Result<Granted, Refused>>;

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
    noted: Option<oneshot::Receiver<()>>,
    /// Who claimed.
    who: Option<Claimed>,
}

/// A volume that may be mounted into a container.
#[derive(Debug)]
pub struct MountedVolume {
    /// As what it counts, until [`Handle::unmount`].
    pub workload: WorkloadId,
    /// What it shows.
    pub ready: Ready,
}

/// The parts of a driver.
#[derive(Debug)]
pub struct Driver {
    session: Session,
    links: Links,
    worker: Worker,
    reports: mpsc::UnboundedReceiver<Report>,
    workloads: Workloads,
    ended: mpsc::UnboundedReceiver<WorkloadId>,
    calls: mpsc::Receiver<Call>,
    withdrawn: mpsc::UnboundedReceiver<ClaimId>,
    clock: Timekeeper,
    waiting: BTreeMap<ClaimId, Waiting>,
    link: Option<Link>,
    /// What the acts of a step led to at once.
    soon: Vec<Event>,
    ending: Option<Ending>,
}

struct Timekeeper(Arc<dyn Clock>);

impl std::fmt::Debug for Timekeeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Timekeeper")
    }
}

#[derive(Debug)]
struct Waiting {
    answer: Answer,
    who: Option<Claimed>,
}

enum Heard {
    Link(Option<LinkEvent>),
    Report(Option<Report>),
    Ended(Option<WorkloadId>),
    Withdrawn(Option<ClaimId>),
    Call(Option<Call>),
    Time,
}

/// The agent's own machinery broke: a thread that must live is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the thread that keeps the mounts has ended")]
pub struct Broken;

impl Driver {
    /// Puts the parts together.
    #[must_use]
    pub fn new(
        session: Session,
        links: Links,
        worker: (Worker, mpsc::UnboundedReceiver<Report>),
        workloads: (Workloads, mpsc::UnboundedReceiver<WorkloadId>),
        clock: Arc<dyn Clock>,
    ) -> (Self, Handle) {
        let (sender, calls) = mpsc::channel(CALLS);
        let (hung_up, withdrawn) = mpsc::unbounded_channel();
        let handle = Handle {
            calls: sender,
            withdrawn: hung_up,
            asked: Arc::default(),
            workloads: workloads.0.clone(),
        };
        let driver = Self {
            session,
            links,
            worker: worker.0,
            reports: worker.1,
            workloads: workloads.0,
            ended: workloads.1,
            calls,
            withdrawn,
            clock: Timekeeper(clock),
            waiting: BTreeMap::new(),
            link: None,
            soon: Vec::new(),
            ending: None,
        };
        (driver, handle)
    }

    /// Drives until the agent ends.
    ///
    /// # Errors
    /// [`Broken`]: a bug.
    pub async fn run(mut self, adopted: Vec<(WorkloadId, ServiceId)>) -> Result<Ending, Broken> {
        for (workload, service) in adopted {
            self.step(Event::Adopted { workload, service })?;
        }
        self.step(Event::Begin)?;
        loop {
            if let Some(ending) = self.ending.take() {
                self.worker.end();
                while self.reports.recv().await.is_some() {}
                self.hand_in_the_rest().await;
                self.workloads.close().await;
                return Ok(ending);
            }
            let heard = self.listen().await;
            let Some(event) = self.event(heard)? else { continue };
            self.step(event)?;
        }
    }

    /// What was opened and no manager has on record would be gone with this process.
    async fn hand_in_the_rest(&self) {
        let connected = self.link.is_some() && self.session.is_open();
        if connected && tokio::time::timeout(REST, self.links.reads.gone()).await.is_err() {
            tracing::warn!(event = "opens_lost", why = "no manager took them in time");
        }
    }

    /// Waits and changes nothing.
    async fn listen(&mut self) -> Heard {
        let wait = self.session.next_tick().map_or(LOOK, |next| {
            Duration::from_millis(next.0.saturating_sub(self.clock.0.boot().0)).min(LOOK)
        });
        tokio::select! {
            biased;
            event = Link::listen(self.link.as_mut()) => Heard::Link(event),
            report = self.reports.recv() => Heard::Report(report),
            ended = self.ended.recv() => Heard::Ended(ended),
            claim = self.withdrawn.recv() => Heard::Withdrawn(claim),
            call = self.calls.recv() => Heard::Call(call),
            () = tokio::time::sleep(wait) => Heard::Time,
        }
    }

    fn event(&mut self, heard: Heard) -> Result<Option<Event>, Broken> {
        Ok(match heard {
            Heard::Link(Some(event)) => Some(self.link_event(event)),
            Heard::Link(None) => {
                self.link = None;
                let cause = crate::agent::session::Cause::Lost("the connection ended".to_owned());
                Some(self.disconnected(cause))
            }
            Heard::Report(Some(Report::Done(done))) => Some(Event::Done(done)),
            Heard::Report(Some(Report::Changed(shelf))) => Some(Event::Shelf(shelf)),
            Heard::Report(None) => return Err(Broken),
            Heard::Ended(Some(workload)) => Some(Event::Ended(workload)),
            Heard::Call(Some(call)) => self.call(call),
            // One that was answered meanwhile is withdrawn in vain.
            Heard::Withdrawn(Some(claim)) => {
                self.waiting.remove(&claim).map(|_| Event::Withdrawn(claim))
            }
            Heard::Ended(None) | Heard::Withdrawn(None) | Heard::Call(None) | Heard::Time => {
                Some(Event::Tick)
            }
        })
    }

    fn link_event(&mut self, event: LinkEvent) -> Event {
        match event {
            LinkEvent::Reached { address } => Event::Connected { address },
            LinkEvent::Welcome { welcome, key } => {
                tracing::info!(
                    event = "connected",
                    ends = "disconnected",
                    always = true,
                    leader = %welcome.leader
                );
                self.worker.open_with(Some(key));
                Event::Welcome(welcome)
            }
            LinkEvent::Managers(addresses) => Event::Managers(addresses),
            LinkEvent::Values { number, values } => Event::Values { number, values },
            LinkEvent::Push(push) => Event::Push(push),
            LinkEvent::Confirmed(confirmed) => Event::Confirmed(confirmed),
            LinkEvent::Ended(cause) => self.disconnected(cause),
            LinkEvent::Left(answer) => Event::Left(answer),
        }
    }

    fn disconnected(&mut self, cause: crate::agent::session::Cause) -> Event {
        tracing::warn!(event = "disconnected", cause = %cause);
        self.link = None;
        self.worker.open_with(None);
        Event::Disconnected { cause, jitter: self.links.jitter() }
    }

    fn call(&mut self, call: Call) -> Option<Event> {
        match call {
            Call::Claim { name, uid, wait, who, asked } => {
                let what =
                    who.as_ref().map_or(Claimant::Manual, |who| Claimant::Workload(who.id()));
                let id = self.wait_for(asked, who)?;
                let wait = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
                let now = self.clock.0.boot();
                let until = skep_core::base::BootTime(now.0.saturating_add(wait));
                Some(Event::Claimed(Claim { id, name, uid, until, what }))
            }
            Call::Down { name, asked } => {
                Some(Event::Down { claim: self.wait_for(asked, None)?, name })
            }
            Call::Leave { asked } => Some(Event::Leave(self.wait_for(asked, None)?)),
            Call::View { answer } => {
                // Whoever asked may have gone.
                answer.send(self.session.view()).ok();
                None
            }
            Call::Stop { wipe } => Some(Event::Stop { wipe }),
        }
    }

    /// None: whoever asked has hung up.
    fn wait_for(&mut self, asked: Asked, who: Option<Claimed>) -> Option<ClaimId> {
        if asked.answer.is_closed() {
            return None;
        }
        self.waiting.insert(asked.id, Waiting { answer: asked.answer, who });
        Some(asked.id)
    }

    /// Changes and waits for nothing.
    fn step(&mut self, event: Event) -> Result<(), Broken> {
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            let acts = self.session.step(self.clock.0.boot(), event);
            for act in acts {
                self.act(act)?;
            }
            events.append(&mut self.soon);
        }
        self.workloads.set_manual(&self.session.manual());
        Ok(())
    }

    fn act(&mut self, act: Act) -> Result<(), Broken> {
        match act {
            Act::Connect { address, after_ms } => {
                let after = Duration::from_millis(after_ms);
                self.link = Some(self.links.connect(address, after));
            }
            Act::Hello(hello) => self.say(|link| link.hello(hello)),
            Act::Running(running) => self.say(|link| link.running(&running)),
            Act::Ack(ack) => self.say(|link| link.ack(ack)),
            Act::Ask(now) => self.say(|link| link.ask(now)),
            Act::Leave => self.say(Link::leave),
            Act::Disconnect(cause) => {
                let event = self.disconnected(cause);
                self.soon.push(event);
            }
            Act::Work(job) => {
                if !self.worker.give(job) {
                    return Err(Broken);
                }
            }
            Act::Grant(claim, ready) => self.grant(claim, Some(ready)),
            Act::Agree(claim) => self.grant(claim, None),
            Act::Refuse(claim, refused) => self.refuse(claim, refused),
            Act::End(ending) => self.ending = Some(ending),
        }
        Ok(())
    }

    /// Says something over the connection; one that takes nothing more is ended.
    fn say(&mut self, what: impl FnOnce(&Link) -> bool) {
        if !self.link.as_ref().is_some_and(what) {
            let cause =
                crate::agent::session::Cause::Lost("the connection takes nothing more".to_owned());
            let event = self.disconnected(cause);
            self.soon.push(event);
        }
    }

    fn grant(&mut self, claim: ClaimId, ready: Option<Ready>) {
        let Some(Waiting { answer, who }) = self.waiting.remove(&claim) else { return };
        let noted = match (&who, &ready) {
            (Some(who), Some(ready)) => Some(who.assign(ready.service, &ready.path)),
            _ => None,
        };
        // A caller that went away is noticed by its process's end; a volume ends with this.
        answer.send(Ok(Granted { ready, noted, who })).ok();
    }

    fn refuse(&mut self, claim: ClaimId, refused: Refused) {
        let Some(waiting) = self.waiting.remove(&claim) else { return };
        tracing::warn!(event = "claim_refused", why = %refused.text);
        waiting.answer.send(Err(refused)).ok();
    }
}

impl Handle {
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
        let who = Some(who);
        let granted = self.ask(|asked| Call::Claim { name, uid, wait, who, asked }).await?;
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
    pub async fn enclosed(&self, uid: u32, pid: i32) -> Result<(), Refused> {
        let noted = self.workloads.enclose(uid, pid).await.map_err(problem::not_enclosed)?;
        noted.await.ok();
        Ok(())
    }

    /// Claims a service for a container that has it as a volume, and waits until its whole
    /// set is in place.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn mount(&self, name: String, wait: Duration) -> Result<MountedVolume, Refused> {
        let who = Some(self.workloads.claim_volume());
        let granted = self.ask(|asked| Call::Claim { name, uid: 0, wait, who, asked }).await?;
        let (Some(ready), Some(who)) = (granted.ready, granted.who) else { return Err(gone()) };
        Ok(MountedVolume { workload: who.keep_volume(), ready })
    }

    /// A container has a volume mounted no more.
    pub fn unmount(&self, workload: WorkloadId) {
        self.workloads.volume_ended(workload);
    }

    /// Puts a service up until further notice, and waits until its set is in place.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn up(&self, name: String, wait: Duration) -> Result<PathBuf, Refused> {
        let who = None;
        let granted = self.ask(|asked| Call::Claim { name, uid: 0, wait, who, asked }).await?;
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
