//! What waits for events, asks the session's core, and does what it says:
//! select, then step.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::handle::{Answer, Asked, Call, Granted, Handle};
use super::link::{Link, LinkEvent, Links};
use super::worker::{Report, Worker};
use super::workloads::{Claimed, Workloads};
use crate::agent::hook::{HookEnd, HookRunner};
use crate::agent::session::{
    Act, CLAIMS, Claim, ClaimId, Claimant, Ending, Event, Ready, Refused, Session, WorkloadId,
};
use skep_core::base::{Clock, ServiceId};

/// Calls from this machine that may wait to be taken: all that the socket lets in.
const CALLS: usize = CLAIMS;
/// For what was opened last to be handed in, at the end.
const REST: Duration = Duration::from_secs(3);
/// Longest wait between two looks at the clock.
const LOOK: Duration = Duration::from_secs(5);

/// The parts of a driver.
#[derive(Debug)]
pub struct Driver {
    session: Session,
    links: Links,
    worker: Worker,
    reports: mpsc::UnboundedReceiver<Report>,
    workloads: Workloads,
    ended: mpsc::UnboundedReceiver<WorkloadId>,
    hooks: HookRunner,
    hooked: mpsc::UnboundedReceiver<HookEnd>,
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
    Hooked(Option<HookEnd>),
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
        hooks: (HookRunner, mpsc::UnboundedReceiver<HookEnd>),
        clock: Arc<dyn Clock>,
    ) -> (Self, Handle) {
        let (sender, calls) = mpsc::channel(CALLS);
        let (hung_up, withdrawn) = mpsc::unbounded_channel();
        let handle = Handle::new(sender, hung_up, workloads.0.clone());
        let driver = Self {
            session,
            links,
            worker: worker.0,
            reports: worker.1,
            workloads: workloads.0,
            ended: workloads.1,
            hooks: hooks.0,
            hooked: hooks.1,
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
            end = self.hooked.recv() => Heard::Hooked(end),
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
            Heard::Report(Some(Report::Replaced(due))) => Some(Event::Changed(vec![due])),
            Heard::Report(None) => return Err(Broken),
            Heard::Ended(Some(workload)) => Some(Event::Ended(workload)),
            Heard::Hooked(Some(HookEnd { service, generation, failed })) => {
                Some(Event::Hooked { service, generation, failed })
            }
            Heard::Call(Some(call)) => self.call(call),
            // One that was answered meanwhile is withdrawn in vain.
            Heard::Withdrawn(Some(claim)) => {
                self.waiting.remove(&claim).map(|_| Event::Withdrawn(claim))
            }
            Heard::Hooked(None)
            | Heard::Ended(None)
            | Heard::Withdrawn(None)
            | Heard::Call(None)
            | Heard::Time => Some(Event::Tick),
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
            Call::Claim { of, uid, wait, who, asked } => {
                let what =
                    who.as_ref().map_or(Claimant::Manual, |who| Claimant::Workload(who.id()));
                let id = self.wait_for(asked, who)?;
                let wait = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
                let now = self.clock.0.boot();
                let until = skep_core::base::BootTime(now.0.saturating_add(wait));
                Some(Event::Claimed(Claim { id, of, uid, until, what }))
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
            Act::Hooks(stands) => self.say(|link| link.hooks(&stands)),
            Act::Hook(due) => {
                let aims = self.workloads.aims(due.service);
                self.hooks.begin(due, aims);
            }
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
