//! The thread that gives out work on the mounts: a queue and a thread for each service, so
//! that one whose files hang keeps nobody else waiting, and between jobs what time asks for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::book::Book;
use super::hands::{End, Hands, said};
use super::lanes::{Busy, Lanes, Part, Putting, Round};
use crate::agent::machine::Workload;
use crate::agent::mount::{MountError, Mounts};
use crate::agent::session::{Done, Job};
use crate::agent::vault::{Fresh, Guests, HookDue, Party, Shelf};
use skep_core::base::{BootTime, Clock, ClusterId, ServiceId};
use skep_core::domain::MountKind;
use skep_core::seal::SessionKey;
use skep_core::wire::delivery::{Confirmed, Failed, Push};

/// Longest wait between two looks at the clock: boot time runs on while a
/// machine sleeps, timers do not.
const LOOK: Duration = Duration::from_secs(5);
/// Wait between two looks at work that goes on for long.
const WATCH: Duration = Duration::from_millis(100);
/// Milliseconds that a push waits for one service's part. Then that service is reported as
/// not done, and the leader asks again.
const PART_MS: u64 = 3_000;
/// Milliseconds that the last wipe of all may take.
const LAST_MS: u64 = 10_000;
/// Milliseconds after which somebody who is at a service's files is said to hang; doubled
/// each time it is said.
const HANGS_MS: u64 = 5_000;
/// Milliseconds that a wipe waits behind somebody before the files are emptied by what is
/// held of them.
const PATIENCE_MS: u64 = 500;
/// Services whose workloads are shown their files again at once: that goes into places that
/// workloads control.
const SHOWING: usize = 64;

/// What the worker answers.
#[derive(Debug)]
pub enum Report {
    /// A job is done.
    Done(Done),
    /// Something else changed what is on this machine: this is what is here now.
    Changed(Shelf),
    /// A set came into place in another one's stead, and no job waits for it.
    Replaced(HookDue),
}

/// The worker's other end. The thread ends when the last of these is dropped.
#[derive(Clone, Debug)]
pub struct Worker {
    orders: Arc<Orders>,
    /// Services about which a note waits.
    noting: Arc<Mutex<BTreeSet<ServiceId>>>,
    /// What the thread has; gone with it.
    hands: Weak<Hands>,
}

#[derive(Debug)]
struct Orders(Sender<Order>);

impl Drop for Orders {
    fn drop(&mut self) {
        // One that has ended needs no telling.
        self.0.send(Order::End).ok();
    }
}

enum Order {
    Job(Job),
    /// What opens values from here on.
    OpenWith(Option<Arc<SessionKey>>),
    End,
    Note {
        service: ServiceId,
        guests: Guests,
    },
    Finished {
        service: ServiceId,
        end: End,
        hook: Option<HookDue>,
        changed: bool,
        put: bool,
    },
    Shown(ServiceId),
}

/// What the thread has. The reports are dropped last: when they end, the mounts are let go.
struct Foreman {
    hands: Arc<Hands>,
    book: Book,
    lanes: Lanes,
    /// Which start of the machine this is.
    boot_id: String,
    /// This session's, while there is one.
    key: Option<Arc<SessionKey>>,
    /// The job that is under way.
    round: Option<Round>,
    /// Whose view of a service's files may have to be shown again.
    using: BTreeMap<ServiceId, Vec<Workload>>,
    /// Where that is under way; whether it is to be done once more.
    showing: BTreeMap<ServiceId, bool>,
    /// Parts tell here that they are done.
    orders: Sender<Order>,
    noting: Arc<Mutex<BTreeSet<ServiceId>>>,
    reports: mpsc::UnboundedSender<Report>,
}

impl Worker {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub fn start(
        mounts: Mounts,
        book: Book,
        clock: Arc<dyn Clock>,
        cluster: ClusterId,
        boot_id: String,
    ) -> std::io::Result<(Self, mpsc::UnboundedReceiver<Report>)> {
        let (orders, taken) = channel();
        let (reports, reported) = mpsc::unbounded_channel();
        let noting = Arc::<Mutex<_>>::default();
        let hands = Arc::new(Hands { mounts, clock, cluster });
        let looking = Arc::downgrade(&hands);
        let foreman = Foreman {
            hands,
            book,
            lanes: Lanes::default(),
            boot_id,
            key: None,
            round: None,
            using: BTreeMap::new(),
            showing: BTreeMap::new(),
            orders: orders.clone(),
            noting: Arc::clone(&noting),
            reports,
        };
        let thread = std::thread::Builder::new().name("mounts".to_owned());
        thread.spawn(move || foreman.work(&taken))?;
        let orders = Arc::new(Orders(orders));
        Ok((Self { orders, noting, hands: looking }, reported))
    }

    /// Has a job done; a [`Report::Done`] follows. False: the worker is gone.
    #[must_use]
    pub fn give(&self, job: Job) -> bool {
        self.orders.0.send(Order::Job(job)).is_ok()
    }

    /// From here on values come under this key; `None`: there is no session. What was given
    /// before is still opened with the one before.
    pub fn open_with(&self, key: Option<Arc<SessionKey>>) {
        // A worker that is gone opens nothing.
        self.orders.0.send(Order::OpenWith(key)).ok();
    }

    /// Has the thread end after what was given to it; its reports then end too.
    pub fn end(&self) {
        // One that has ended needs no telling.
        self.orders.0.send(Order::End).ok();
    }

    /// Looks at what is in place, on the calling thread, which it may keep for a moment. `None`:
    /// the worker is gone.
    pub(super) fn look<T>(&self, look: impl FnOnce(&Mounts) -> T) -> Option<T> {
        self.hands.upgrade().map(|hands| look(&hands.mounts))
    }

    /// Has noted in a service's mount who uses it, as `guests` say when the worker gets to
    /// it: notes of one service that wait are one.
    pub fn note(&self, service: ServiceId, guests: &Guests) {
        if self.noting.lock().insert(service) {
            // A worker that is gone keeps no mounts.
            self.orders.0.send(Order::Note { service, guests: guests.clone() }).ok();
        }
    }
}

impl Foreman {
    fn work(mut self, taken: &Receiver<Order>) {
        // What an earlier agent put in place, and did not get to tell of.
        for service in self.hands.mounts.known() {
            self.lanes.give(service, Part::Tick);
        }
        loop {
            let ended = match taken.recv_timeout(self.until()) {
                Ok(order) => self.order(order),
                Err(RecvTimeoutError::Timeout) => false,
                Err(RecvTimeoutError::Disconnected) => true,
            };
            if ended || !self.go_on() {
                return self.end(taken);
            }
        }
    }

    /// Takes an order; true: it is the last one.
    fn order(&mut self, order: Order) -> bool {
        match order {
            Order::Job(job) => self.job(job),
            Order::OpenWith(key) => self.key = key,
            Order::Note { service, guests } => {
                self.noting.lock().remove(&service);
                let using = guests.of(service, Party::using);
                if using.is_empty() {
                    self.using.remove(&service);
                } else {
                    self.using.insert(service, using.clone());
                }
                self.lanes.give(service, Part::Workloads(using));
            }
            Order::Finished { service, end, hook, changed, put } => {
                self.finished(service, (end, hook), changed, put);
            }
            Order::Shown(service) => {
                if self.showing.remove(&service) == Some(true) {
                    self.show_again(service);
                }
            }
            Order::End => return true,
        }
        false
    }

    /// What follows from anything. False: nobody listens any more.
    fn go_on(&mut self) -> bool {
        let now = self.hands.clock.boot();
        for service in self.hands.mounts.look_after(now) {
            self.show_again(service);
        }
        let due: Vec<ServiceId> = self
            .hands
            .mounts
            .next_due()
            .filter(|(_, at)| *at <= now)
            .map(|(service, _)| service)
            .collect();
        for service in due {
            if self.lanes.busy(service).is_none() {
                self.lanes.give(service, Part::Tick);
            }
        }
        self.watch(now);
        while let Some((service, part, here)) = self.lanes.begin(now) {
            self.begin(service, part, here);
        }
        for warning in self.hands.mounts.take_warnings() {
            tracing::warn!(event = "mount", "{warning}");
        }
        self.close_round(now)
    }

    fn until(&self) -> Duration {
        let now = self.hands.clock.boot();
        let idle = self.lanes.is_idle() && self.round.is_none();
        let most = if idle { LOOK } else { WATCH };
        let next = self.hands.mounts.next_due().map(|(_, at)| at).min();
        next.map_or(most, |next| {
            let wait = Duration::from_millis(next.0.saturating_sub(now.0)).min(most);
            // What is due is being done, or waits for whoever is at it.
            if wait.is_zero() { WATCH } else { wait }
        })
    }

    fn job(&mut self, job: Job) {
        let mut round = Round {
            waiting: BTreeMap::new(),
            failed: Vec::new(),
            unchanged: BTreeSet::new(),
            changed: Vec::new(),
            until: self.after(PART_MS),
            last: false,
        };
        match job {
            Job::Deliver(push) => self.deliver(push, &mut round),
            Job::Confirm(confirmed) => self.confirm(confirmed),
            Job::WipeBut(kept) => self.wipe_but(&kept, &mut round),
            Job::Offline(since) => {
                for service in self.hands.mounts.known() {
                    self.lanes.give(service, Part::Offline(since));
                }
            }
            Job::Remember(memory) => self.book.save(&memory),
        }
        self.round = Some(round);
    }

    fn after(&self, milliseconds: u64) -> BootTime {
        BootTime(self.hands.clock.boot().0.saturating_add(milliseconds))
    }

    /// Nothing that goes wrong with one service keeps another one's part from being done.
    fn deliver(&mut self, push: Push, round: &mut Round) {
        for bad in push.unreadable {
            round.failed.push(Failed::whole(bad.service, bad.why.to_string(), true));
        }
        for service in push.gone {
            self.give(service, Part::Wipe, round);
        }
        let values = push.values.into_iter().map(|value| (value.version, value));
        let values = Arc::new(values.collect());
        for set in push.sets {
            let (service, values, key) = (set.service, Arc::clone(&values), self.key.clone());
            self.give(service, Part::Put(Box::new(Putting { set, values, key })), round);
        }
    }

    /// Nobody waits for it: where somebody is at the files, it is asked again soon.
    fn confirm(&mut self, confirmed: Confirmed) {
        for (service, digest) in confirmed.sets {
            let fresh = Fresh {
                revision: confirmed.revision,
                boot_id: self.boot_id.clone(),
                asked: confirmed.asked,
            };
            self.lanes.give(service, Part::Confirm(digest, fresh));
        }
    }

    fn wipe_but(&mut self, kept: &BTreeSet<ServiceId>, round: &mut Round) {
        round.until = self.after(LAST_MS);
        round.last = kept.is_empty();
        for service in self.hands.mounts.known() {
            if !kept.contains(&service) {
                let part = if round.last { Part::Remove } else { Part::Wipe };
                self.give(service, part, round);
            }
        }
    }

    /// Has a part done that the round waits for, unless it is known to wait in vain.
    fn give(&mut self, service: ServiceId, part: Part, round: &mut Round) {
        self.hands.mounts.begin(service);
        let hangs = self.lanes.busy(service).filter(|busy| {
            let since = busy.since.0.saturating_add(PART_MS);
            since <= self.hands.clock.boot().0
        });
        let failed = hangs.map(|busy| still_busy(service, Some(busy)));
        let ticket = self.lanes.give(service, part);
        match failed {
            Some(failed) => round.failed.push(failed),
            None => drop(round.waiting.insert(service, ticket)),
        }
    }

    fn begin(&mut self, service: ServiceId, part: Part, here: crate::agent::mount::Whereabouts) {
        let (hands, orders) = (Arc::clone(&self.hands), self.orders.clone());
        let put = matches!(&part, Part::Put(putting) if putting.set.mount == MountKind::Fuse);
        let thread = std::thread::Builder::new().name("files".to_owned());
        let started = thread.spawn(move || {
            here.follow();
            let before = hands.mounts.held_of(service);
            let end = hands.part(service, part);
            let hook = hands.change_of(service);
            let changed = hands.mounts.held_of(service) != before;
            let put = put && !matches!(end, End::Failed(_));
            // Let go before it is told: with the last of them the mounts are let go.
            drop(hands);
            orders.send(Order::Finished { service, end, hook, changed, put }).ok();
        });
        if let Err(error) = started {
            let why = format!("there is no thread to be had: {error}");
            let failed = End::Failed(Failed::whole(service, why, false));
            self.finished(service, (failed, None), true, false);
        }
    }

    fn finished(
        &mut self,
        service: ServiceId,
        (end, hook): (End, Option<HookDue>),
        changed: bool,
        put: bool,
    ) {
        let Some(busy) = self.lanes.finished(service) else { return };
        if busy.say > busy.since {
            tracing::info!(event = "mount_goes_on", ends = "mount_hangs", %service);
        }
        let ours = self.round.as_mut().filter(|round| {
            round.waiting.get(&service).is_some_and(|ticket| *ticket == busy.ticket)
        });
        if let Some(round) = ours {
            round.waiting.remove(&service);
            round.changed.extend(hook);
            match end {
                End::Done => {}
                End::Unchanged => drop(round.unchanged.insert(service)),
                End::Failed(failed) => round.failed.push(failed),
            }
        } else {
            // Whoever listened is gone when the agent ends.
            let shelf = changed.then(|| Report::Changed(self.hands.mounts.held()));
            for report in shelf.into_iter().chain(hook.map(Report::Replaced)) {
                self.reports.send(report).ok();
            }
        }
        if put {
            self.show_again(service);
        }
    }

    /// Names what hangs, and empties by other means what is to be wiped meanwhile.
    fn watch(&mut self, now: BootTime) {
        let mut stuck = Vec::new();
        for (service, busy, wiping) in self.lanes.all_busy() {
            let for_ms = now.0.saturating_sub(busy.since.0);
            if wiping && for_ms >= PATIENCE_MS && !busy.emptied {
                busy.emptied = true;
                stuck.push(service);
            }
            let said_for = busy.say.0.saturating_sub(busy.since.0);
            if for_ms >= HANGS_MS.max(said_for.saturating_mul(2)) {
                busy.say = now;
                let call = busy.here.text().unwrap_or_default();
                tracing::error!(event = "mount_hangs", %service, seconds = for_ms / 1000, call);
            }
        }
        for service in stuck {
            let hands = Arc::clone(&self.hands);
            let thread = std::thread::Builder::new().name("empty".to_owned());
            if let Err(error) = thread.spawn(move || hands.mounts.empty_now(service)) {
                tracing::warn!(event = "not_emptied", %service, %error);
            }
        }
    }

    /// Answers the job when all its parts are done, or have taken too long.
    fn close_round(&mut self, now: BootTime) -> bool {
        let over = |round: &mut Round| round.waiting.is_empty() || round.until <= now;
        let Some(round) = self.round.take_if(over) else { return true };
        let mut failed = round.failed;
        for service in round.waiting.into_keys() {
            failed.push(still_busy(service, self.lanes.busy(service)));
        }
        if round.last
            && failed.is_empty()
            && let Err(error) = self.hands.mounts.remove_folder()
        {
            tracing::warn!(event = "mounts_not_removed", %error);
        }
        let (unchanged, changed) = (round.unchanged, round.changed);
        let done = Done { shelf: self.hands.mounts.held(), failed, unchanged, changed };
        self.reports.send(Report::Done(done)).is_ok()
    }

    fn show_again(&mut self, service: ServiceId) {
        if let Some(again) = self.showing.get_mut(&service) {
            *again = true;
            return;
        }
        let using = self.using.get(&service).cloned().unwrap_or_default();
        if using.is_empty() || self.showing.len() >= SHOWING {
            return;
        }
        self.showing.insert(service, false);
        let (hands, orders) = (Arc::clone(&self.hands), self.orders.clone());
        let thread = std::thread::Builder::new().name("views".to_owned());
        let started = thread.spawn(move || {
            hands.show_again(service, &using);
            drop(hands);
            orders.send(Order::Shown(service)).ok();
        });
        if let Err(error) = started {
            self.showing.remove(&service);
            tracing::warn!(event = "not_shown_again", %service, %error);
        }
    }

    /// Waits for what is under way, as long as the last wipe may take.
    fn end(mut self, taken: &Receiver<Order>) {
        let until = self.after(LAST_MS);
        while !self.lanes.is_idle() && self.hands.clock.boot() < until {
            let now = self.hands.clock.boot();
            while let Some((service, part, here)) = self.lanes.begin(now) {
                self.begin(service, part, here);
            }
            if let Ok(Order::Finished { service, end, hook, changed, put }) =
                taken.recv_timeout(WATCH)
            {
                self.finished(service, (end, hook), changed, put);
            }
        }
        self.hands.mounts.end();
    }
}

fn still_busy(service: ServiceId, busy: Option<&Busy>) -> Failed {
    let why = said(&MountError::Busy(busy.and_then(|busy| busy.here.text())));
    Failed::whole(service, why, false)
}
