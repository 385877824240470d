//! The one thread that opens values and touches mounts: jobs in their order,
//! and between them what time asks for.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::book::Book;
use super::mount::{MountError, Mounts};
use super::namespace::{self, SECRETS};
use super::session::{Delivery, Done, Failed, Job, Shelf, Shelved};
use super::vault::{ServiceFiles, Workload};
use super::workload::Process;
use crate::base::{BootTime, Clock, ClusterId, SecretBytes, ServiceId, VersionId};
use crate::seal::{SessionKey, ValueContext, open_value};
use crate::wire::api;

/// Longest wait between two looks at the clock: boot time runs on while a
/// machine sleeps, timers do not.
const LOOK: Duration = Duration::from_secs(5);

/// What the worker answers.
#[derive(Debug)]
pub enum Report {
    /// A job is done.
    Done(Done),
    /// An offline time is over: this is what is left.
    Changed(Shelf),
}

/// The worker's other end.
#[derive(Clone, Debug)]
pub struct Worker {
    orders: Sender<Order>,
}

enum Order {
    Job { job: Job, key: Option<Arc<SessionKey>> },
    End,
    Note { service: ServiceId, using: Vec<Workload>, roster: Vec<u8>, noted: oneshot::Sender<()> },
}

/// What the thread has. The reports are dropped last: when they end, the mounts are let go.
struct Hands {
    mounts: Mounts,
    book: Book,
    clock: Arc<dyn Clock>,
    cluster: ClusterId,
    /// Whose view of a service's files may have to be shown again.
    using: BTreeMap<ServiceId, Vec<Workload>>,
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
    ) -> std::io::Result<(Self, mpsc::UnboundedReceiver<Report>)> {
        let (orders, taken) = channel();
        let (reports, reported) = mpsc::unbounded_channel();
        let using = BTreeMap::new();
        let hands = Hands { mounts, book, clock, cluster, using, reports };
        std::thread::Builder::new().name("mounts".to_owned()).spawn(move || hands.work(&taken))?;
        Ok((Self { orders }, reported))
    }

    /// Has a job done; a [`Report::Done`] follows. False: the worker is gone.
    #[must_use]
    pub fn give(&self, job: Job, key: Option<Arc<SessionKey>>) -> bool {
        self.orders.send(Order::Job { job, key }).is_ok()
    }

    /// Has the thread end after what was given to it; its reports then end too.
    pub fn end(&self) {
        // One that has ended needs no telling.
        self.orders.send(Order::End).ok();
    }

    /// Has noted who uses a service's files. Resolves once that is on disk.
    #[must_use]
    pub fn note(
        &self,
        service: ServiceId,
        using: Vec<Workload>,
        roster: Vec<u8>,
    ) -> oneshot::Receiver<()> {
        let (noted, receiver) = oneshot::channel();
        // A worker that is gone drops the sender: the receiver then fails.
        self.orders.send(Order::Note { service, using, roster, noted }).ok();
        receiver
    }
}

/// Everything that is on this machine.
#[must_use]
pub fn shelf_of(mounts: &Mounts) -> Shelf {
    let held = mounts.held().into_iter().map(|held| {
        let service = held.service;
        let shelved = Shelved {
            digest: held.digest,
            versions: held.versions,
            generation: mounts.generation_of(service).unwrap_or_default(),
            files: u32::try_from(mounts.files_of(service)).unwrap_or(u32::MAX),
            path: mounts.path_of(service),
            live: mounts.live_of(service),
        };
        (service, shelved)
    });
    held.collect()
}

impl Hands {
    fn work(mut self, taken: &Receiver<Order>) {
        let mut next = None;
        loop {
            let wait = self.until(next);
            match taken.recv_timeout(wait) {
                Ok(Order::Job { job, key }) => {
                    let failed = self.job(job, key.as_deref());
                    let done = Done { shelf: shelf_of(&self.mounts), failed };
                    if self.reports.send(Report::Done(done)).is_err() {
                        return;
                    }
                }
                Ok(Order::Note { service, using, roster, noted }) => {
                    self.using.insert(service, using.clone());
                    if let Err(error) = self.mounts.set_workloads(service, using) {
                        tracing::warn!(event = "workloads_not_noted", %service, %error);
                    }
                    self.book.save_roster(&roster);
                    // Whoever waited may have gone.
                    noted.send(()).ok();
                }
                Err(RecvTimeoutError::Timeout) => {}
                Ok(Order::End) | Err(RecvTimeoutError::Disconnected) => {
                    return self.mounts.end();
                }
            }
            let ticked = self.mounts.tick(self.clock.boot());
            next = ticked.next;
            for service in &ticked.served_again {
                self.show_again(*service);
            }
            for service in &ticked.expired {
                tracing::warn!(event = "offline_time_over", %service, "wiped");
            }
            if !ticked.expired.is_empty() {
                let changed = Report::Changed(shelf_of(&self.mounts));
                if self.reports.send(changed).is_err() {
                    return;
                }
            }
            for warning in self.mounts.take_warnings() {
                tracing::warn!(event = "mount", "{warning}");
            }
        }
    }

    fn until(&self, next: Option<BootTime>) -> Duration {
        let now = self.clock.boot();
        next.map_or(LOOK, |next| Duration::from_millis(next.0.saturating_sub(now.0)).min(LOOK))
    }

    fn job(&mut self, job: Job, key: Option<&SessionKey>) -> Vec<Failed> {
        match job {
            Job::Deliver(delivery) => self.deliver(&delivery, key),
            Job::WipeBut(kept) => self.wipe_but(&kept),
            Job::Offline(since) => {
                if let Err(error) = self.mounts.set_offline(since) {
                    tracing::warn!(event = "offline_not_noted", %error);
                }
                Vec::new()
            }
            Job::Remember(memory) => {
                self.book.save(&memory);
                Vec::new()
            }
        }
    }

    /// What is taken comes first, and nothing that goes wrong keeps the rest from being done.
    fn deliver(&mut self, delivery: &Delivery, key: Option<&SessionKey>) -> Vec<Failed> {
        let mut failed = Vec::new();
        for service in &delivery.gone {
            self.wipe(*service, &mut failed);
        }
        for bad in &delivery.unreadable {
            failed.push(Failed { service: bad.service, why: bad.why.to_string(), last: true });
        }
        let mut values = BTreeMap::new();
        for value in &delivery.values {
            if let Ok(version) = VersionId::try_from(value.version.as_slice()) {
                values.insert(version, value);
            }
        }
        for set in &delivery.sets {
            if let Err(why) = self.put(set, &values, key) {
                tracing::error!(event = "set_not_in_place", service = %set.name, why = %why.why);
                failed.push(why);
            } else {
                tracing::info!(
                    event = "set_in_place",
                    service = %set.name,
                    files = set.files.len(),
                    revision = delivery.revision.0
                );
                self.show_again(set.service);
            }
        }
        failed
    }

    /// A workload that was there before has a dead view where it was served by an agent that
    /// is gone, or over a connection that was cut.
    fn show_again(&self, service: ServiceId) {
        let Some(files) = self.mounts.live_of(service) else { return };
        for workload in self.using.get(&service).into_iter().flatten() {
            // Another process may have its number by now.
            if Process::again(*workload).is_none() {
                continue;
            }
            match namespace::show_again(&files, Path::new(SECRETS), workload.pid) {
                Ok(true) => tracing::info!(event = "shown_again", %service, pid = workload.pid),
                Ok(false) => {}
                Err(error) => {
                    let pid = workload.pid;
                    tracing::warn!(event = "not_shown_again", %service, pid, %error);
                }
            }
        }
    }

    fn put(
        &mut self,
        set: &ServiceFiles,
        values: &BTreeMap<VersionId, &api::Value>,
        key: Option<&SessionKey>,
    ) -> Result<(), Failed> {
        let cluster = self.cluster;
        let mut unopened = None;
        let mut fresh = |version: VersionId| {
            let value = values.get(&version)?;
            let opened = open(set, version, value, cluster, key);
            if opened.is_none() {
                unopened = Some(version);
            }
            opened
        };
        let applied = self.mounts.apply(set, &mut fresh, self.clock.boot());
        let failed = |why: String, last| Failed { service: set.service, why, last };
        match (applied, unopened) {
            (Ok(()), _) => Ok(()),
            (Err(_), Some(version)) => {
                Err(failed(format!("the value of version {version} does not open"), true))
            }
            (Err(error), None) => Err(failed(said(&error), error.is_final())),
        }
    }

    fn wipe(&mut self, service: ServiceId, failed: &mut Vec<Failed>) {
        match self.mounts.wipe(service) {
            Ok(()) => tracing::info!(event = "wiped", %service),
            Err(error) => {
                tracing::error!(event = "not_wiped", %service, %error);
                failed.push(Failed { service, why: said(&error), last: false });
            }
        }
    }

    fn wipe_but(&mut self, kept: &std::collections::BTreeSet<ServiceId>) -> Vec<Failed> {
        let mut failed = Vec::new();
        for service in self.mounts.services().difference(kept) {
            self.wipe(*service, &mut failed);
        }
        if kept.is_empty()
            && let Err(error) = self.mounts.remove_all()
        {
            tracing::warn!(event = "mounts_not_removed", %error);
        }
        failed
    }
}

/// Opens one value; what binds it comes from the set, not from the message.
fn open(
    set: &ServiceFiles,
    version: VersionId,
    value: &api::Value,
    cluster: ClusterId,
    key: Option<&SessionKey>,
) -> Option<SecretBytes> {
    let file = set.files.iter().find(|file| file.version == version)?;
    let context = ValueContext { cluster, secret: file.secret, version, size: file.size };
    let data_key = key?.open(&value.sealed_key, &context).ok()?;
    open_value(&data_key, &context, &value.sealed_value).ok()
}

fn said(error: &MountError) -> String {
    match error.hint() {
        Some(hint) => format!("{error} ({hint})"),
        None => error.to_string(),
    }
}
