//! The thread that writes the audit log, and what waits for it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::chain::Chained;
use super::segment::Begins;
use super::types::{AuditStanding, CLOSED, NotRecorded, PATIENCE, Place, Retention};
use crate::store::error::StoreError;
use skep_core::audit::{Chain, Deed, Doer, Line, Written, moment};
use skep_core::base::{Clock, Dice};

/// Acts that may wait.
const ACTS: usize = 4096;
/// Bytes of commands that may wait; beyond that they are not written here.
const COMMAND_BYTES: usize = 16 * 1024 * 1024;
/// How long lines of commands are gathered before they are written, and how many bytes of them:
/// nobody waits for them, and until a snapshot covers it each command is in Raft's log too.
const GATHER: Duration = Duration::from_millis(5);
const GATHERED: usize = 256 * 1024;
/// How often what was written is synced, and what could not be written is tried again.
const TURN: Duration = Duration::from_secs(1);

/// Why an act does not wait.
pub(super) enum Refused {
    /// It would be in vain.
    Fails(NotRecorded),
    /// Too many wait: it is given back.
    Full(Waiting),
}

/// An act, and whom to tell.
pub(super) type Waiting = Box<(Line, Done)>;

pub(super) type Done = Box<dyn FnOnce(Result<(), NotRecorded>) + Send>;

/// What the chain of commands is told.
pub(super) enum Job {
    Line(Written),
    Stands(Place),
    Reaches(Place),
}

#[derive(Default)]
struct Queue {
    acts: VecDeque<(Line, Done)>,
    jobs: VecDeque<Job>,
    bytes: usize,
    /// The thread gathers lines of commands: none of them wakes it.
    gathers: bool,
    syncs: Vec<Done>,
    lost: u64,
    closing: Option<Done>,
    closed: bool,
}

/// What the thread shares with whoever records.
#[derive(Default)]
pub(super) struct Inbox {
    queue: Mutex<Queue>,
    wake: Condvar,
    standing: Mutex<AuditStanding>,
    /// Since when the thread is at what it took.
    busy: Mutex<Option<Instant>>,
}

impl Inbox {
    /// An act waits for its line.
    pub(super) fn act(&self, waits: Waiting) -> Result<(), Refused> {
        if self.busy.lock().is_some_and(|since| since.elapsed() >= PATIENCE) {
            return Err(Refused::Fails(self.hangs()));
        }
        let mut queue = self.queue.lock();
        if queue.closed {
            return Err(Refused::Fails(NotRecorded(CLOSED.to_owned())));
        }
        if queue.acts.len() >= ACTS {
            return Err(Refused::Full(waits));
        }
        queue.acts.push_back(*waits);
        self.wake.notify_one();
        Ok(())
    }

    pub(super) fn command(&self, job: Job) {
        let mut queue = self.queue.lock();
        let bytes = if let Job::Line(line) = &job { line.text.len() } else { 0 };
        // What has no room is missing here: the next line says so.
        if queue.bytes.saturating_add(bytes) <= COMMAND_BYTES {
            queue.bytes = queue.bytes.saturating_add(bytes);
            queue.jobs.push_back(job);
            if !queue.gathers || queue.bytes >= GATHERED {
                self.wake.notify_one();
            }
        }
    }

    pub(super) fn sync(&self, done: Done) -> Result<(), NotRecorded> {
        let mut queue = self.queue.lock();
        if queue.closed {
            return Err(NotRecorded(CLOSED.to_owned()));
        }
        queue.syncs.push(done);
        self.wake.notify_one();
        Ok(())
    }

    pub(super) fn lose(&self, acts: u64) {
        let mut standing = self.standing.lock();
        standing.lost = standing.lost.saturating_add(acts);
        drop(standing);
        let mut queue = self.queue.lock();
        queue.lost = queue.lost.saturating_add(acts);
    }

    /// Whether there is a thread that will end.
    pub(super) fn close(&self, done: Done) -> bool {
        let mut queue = self.queue.lock();
        if queue.closed || queue.closing.is_some() {
            return false;
        }
        queue.closing = Some(done);
        self.wake.notify_one();
        true
    }

    pub(super) fn hangs(&self) -> NotRecorded {
        let why = "the disk of the audit log does not answer".to_owned();
        self.standing.lock().failing = Some(why.clone());
        NotRecorded(why)
    }

    pub(super) fn standing(&self) -> AuditStanding {
        self.standing.lock().clone()
    }
}

/// What the thread took to do.
struct Turn {
    acts: VecDeque<(Line, Done)>,
    jobs: VecDeque<Job>,
    syncs: Vec<Done>,
    lost: u64,
    closing: Option<Done>,
}

/// The thread.
pub(super) struct Writer {
    pub(super) commands: Chained,
    pub(super) acts: Chained,
    pub(super) shared: Arc<Inbox>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) dice: Box<dyn Dice>,
    pub(super) retention: Retention,
    pub(super) manager: String,
    /// Lines of commands that could not be written yet.
    pub(super) again: Vec<Written>,
}

impl Writer {
    pub(super) fn run(mut self) {
        let mut synced = Instant::now();
        loop {
            let turn = self.wait();
            *self.shared.busy.lock() = Some(Instant::now());
            let closing = self.turn(turn, &mut synced);
            *self.shared.busy.lock() = None;
            if let Some(done) = closing {
                self.end(done);
                return;
            }
        }
    }

    fn wait(&self) -> Turn {
        let mut queue = self.shared.queue.lock();
        let idle = |queue: &Queue| {
            queue.acts.is_empty()
                && queue.jobs.is_empty()
                && queue.syncs.is_empty()
                && queue.closing.is_none()
        };
        let pending = self.commands.is_dirty()
            || self.acts.is_dirty()
            || !self.again.is_empty()
            || self.shared.standing().failing.is_some();
        while idle(&queue) {
            if pending {
                if self.shared.wake.wait_for(&mut queue, TURN).timed_out() {
                    break;
                }
            } else {
                self.shared.wake.wait(&mut queue);
            }
        }
        self.gather(&mut queue);
        Turn {
            acts: std::mem::take(&mut queue.acts),
            jobs: std::mem::take(&mut queue.jobs),
            syncs: std::mem::take(&mut queue.syncs),
            lost: std::mem::take(&mut queue.lost),
            closing: queue.closing.take(),
        }
    }

    /// Waits a little for more lines of commands, where nothing else is to be done.
    fn gather(&self, queue: &mut MutexGuard<'_, Queue>) {
        let until = Instant::now() + GATHER;
        let commands = |queue: &Queue| {
            !queue.jobs.is_empty()
                && queue.bytes < GATHERED
                && queue.acts.is_empty()
                && queue.syncs.is_empty()
                && queue.closing.is_none()
        };
        while commands(queue) {
            queue.gathers = true;
            if self.shared.wake.wait_until(queue, until).timed_out() {
                break;
            }
        }
        queue.gathers = false;
    }

    fn turn(&mut self, turn: Turn, synced: &mut Instant) -> Option<Done> {
        let Turn { acts, jobs, syncs, lost, closing } = turn;
        let commands = self.take_jobs(jobs);
        let recorded = self.take_acts(acts, lost);
        let mut result = commands.and(recorded);
        let due = synced.elapsed() >= TURN;
        if result.is_ok() && (due || !syncs.is_empty() || closing.is_some()) {
            result = self.commands.sync().and_then(|()| self.acts.sync());
            *synced = Instant::now();
        }
        if result.is_ok() {
            result = self.retire();
        }
        let result = result.map_err(|error| NotRecorded(error.to_string()));
        self.stands(result.as_ref().err());
        for done in syncs {
            done(result.clone());
        }
        closing
    }

    fn stands(&self, failing: Option<&NotRecorded>) {
        let mut standing = self.shared.standing.lock();
        let failing = failing.map(|error| error.0.clone());
        if standing.failing != failing {
            if let Some(why) = &failing {
                tracing::error!(event = "audit_log_fails", why);
            } else {
                tracing::info!(event = "audit_log_goes_on");
            }
            standing.failing = failing;
        }
    }

    fn take_jobs(&mut self, jobs: VecDeque<Job>) -> Result<(), StoreError> {
        let mut lines = std::mem::take(&mut self.again);
        let mut last = lines.last().map_or(self.commands.last(), place);
        let mut result = Ok(());
        for job in jobs {
            match job {
                Job::Line(line) => {
                    if line.number < last.number || place(&line) == last {
                        continue;
                    }
                    let follows = line.prev == last.head && line.number > last.number;
                    if !follows {
                        result = self.write(&mut lines);
                        let number = line.number.saturating_sub(1);
                        self.commands.jump(Place { number, head: line.prev }, Begins::Gap);
                    }
                    last = place(&line);
                    lines.push(line);
                }
                Job::Stands(at)
                    if at.number > last.number || at.number == last.number && at != last =>
                {
                    result = self.write(&mut lines);
                    let begins =
                        if at.number > last.number { Begins::Snapshot } else { Begins::Gap };
                    self.commands.jump(at, begins);
                    last = at;
                }
                Job::Reaches(at) => {
                    let own = self.acts.last();
                    if own.number < at.number || own.number == at.number && own != at {
                        self.acts.jump(at, Begins::Gap);
                    }
                }
                Job::Stands(_) => {}
            }
        }
        self.write(&mut lines).and(result)
    }

    /// Writes lines of commands; those that can't be stay for the next turn, as far as there is
    /// room.
    fn write(&mut self, lines: &mut Vec<Written>) -> Result<(), StoreError> {
        let result = self.commands.append(lines, self.clock.now(), &mut *self.dice);
        let written = self.commands.last();
        let gone: usize = lines.iter().map(|line| line.text.len()).sum();
        if result.is_ok() {
            lines.clear();
        } else {
            lines.retain(|line| line.number > written.number);
        }
        let kept: usize = lines.iter().map(|line| line.text.len()).sum();
        let mut queue = self.shared.queue.lock();
        queue.bytes = queue.bytes.saturating_sub(gone - kept);
        drop(queue);
        self.again.append(lines);
        result
    }

    fn take_acts(&mut self, acts: VecDeque<(Line, Done)>, lost: u64) -> Result<(), StoreError> {
        let mut last = self.acts.last();
        let mut written = Vec::with_capacity(acts.len() + 1);
        let mut waiting = Vec::with_capacity(acts.len());
        let mut add = |mut line: Line, written: &mut Vec<Written>| {
            line.n = last.number.saturating_add(1);
            let line = line.write(last.head);
            last = place(&line);
            written.push(line);
        };
        if lost > 0 {
            add(self.own("audit.lost", lost.to_string()), &mut written);
        }
        let first = written.len();
        for (line, done) in acts {
            add(line, &mut written);
            waiting.push(done);
        }
        if written.is_empty() && self.shared.standing().failing.is_some() {
            // Nobody records anything meanwhile: whether it can be written is tried.
            add(self.own("audit.goes-on", String::new()), &mut written);
        }
        let result = self.acts.append(&written, self.clock.now(), &mut *self.dice);
        let stands = self.acts.last().number;
        if lost > 0 && written.first().is_some_and(|line| line.number > stands) {
            let mut queue = self.shared.queue.lock();
            queue.lost = queue.lost.saturating_add(lost);
        }
        let error = result.as_ref().err().map(|error| NotRecorded(error.to_string()));
        // Whoever is told that it was not written sees why.
        self.stands(error.as_ref());
        for (line, done) in written.iter().skip(first).zip(waiting) {
            match &error {
                Some(error) if line.number > stands => done(Err(error.clone())),
                _ => done(Ok(())),
            }
        }
        result
    }

    /// A line of this log's own making.
    fn own(&self, act: &str, detail: String) -> Line {
        Line {
            v: 0,
            chain: Chain::Acts,
            manager: self.manager.clone(),
            n: 0,
            at: moment(self.clock.now()),
            who: Doer { kind: "manager".to_owned(), ..Doer::default() },
            from: String::new(),
            acts: vec![Deed { detail, ..Deed::new(act) }],
            more: 0,
            times: 0,
            outcome: "done".to_owned(),
            why: String::new(),
            revision: 0,
            command: String::new(),
            answer: String::new(),
            prev: String::new(),
        }
    }

    /// Removes what is too much or too old, and says so.
    fn retire(&mut self) -> Result<(), StoreError> {
        let too_old = self.retention.oldest(self.clock.now());
        loop {
            let (commands, acts) = (self.commands.bytes(), self.acts.bytes());
            let too_many = commands.saturating_add(acts) > self.retention.bytes;
            let old = |chain: &Chained| too_old.is_some_and(|at| chain.has_older_than(at));
            let chain = if old(&self.commands) || too_many && commands >= acts {
                &mut self.commands
            } else if old(&self.acts) || too_many {
                &mut self.acts
            } else {
                return Ok(());
            };
            let called = if chain.chain == Chain::Commands { "commands" } else { "acts" };
            let Some(through) = chain.drop_oldest()? else { return Ok(()) };
            let detail = format!("{called} to {through}");
            tracing::info!(event = "audit_log_retired", chain = called, through);
            let mut line = self.own("audit.retire", detail);
            let last = self.acts.last();
            line.n = last.number.saturating_add(1);
            self.acts.append(&[line.write(last.head)], self.clock.now(), &mut *self.dice)?;
        }
    }

    fn end(mut self, done: Done) {
        let mut queue = self.shared.queue.lock();
        queue.closed = true;
        let rest = std::mem::take(&mut *queue);
        queue.closed = true;
        drop(queue);
        for (_, done) in rest.acts {
            done(Err(NotRecorded(CLOSED.to_owned())));
        }
        for done in rest.syncs {
            done(Err(NotRecorded(CLOSED.to_owned())));
        }
        let closed = self.commands.close().and_then(|()| self.acts.close());
        done(closed.map_err(|error| NotRecorded(error.to_string())));
    }
}

fn place(line: &Written) -> Place {
    Place { number: line.number, head: line.head }
}
