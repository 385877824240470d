//! What workloads write: who may ask is decided here by what the kernel says of the caller, and
//! whether the service may write it, by the managers.
//!
//! A value comes sealed by the process that writes it. The agent sees that it opens, so that
//! nobody is sent what nobody can open, and boxes its key to the managers; it keeps nothing.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota, RateLimiter};
use tokio::sync::Semaphore;
use tonic::{Code, Status};

use super::upward::Upward;
use super::worker::Worker;
use crate::agent::machine::Process;
use crate::agent::mount::{InPlace, Mounts, NotTold, is_of_workload};
use crate::agent::session::{Refused, problem};
use crate::agent::vault::Guests;
use skep_client::transport::read_problem;
use skep_client::transport::rpc::api::writing_client::WritingClient;
use skep_core::base::{
    ClusterId, Dice, Name, RequestId, SealedValue, SecretId, ServiceId, Target, VersionId,
};
use skep_core::domain::{NewVersion, PutValue};
use skep_core::seal::{IntakeAgreement, PutKey, SealError, ValueContext};
use skep_core::wire::api;
use skep_core::wire::convert::{read_intake, write_put_value};

/// Puts of a service's workloads on this node within a second.
const PUTS: NonZeroU32 = NonZeroU32::MIN;
/// The same at once.
const AT_ONCE: NonZeroU32 = NonZeroU32::MIN.saturating_add(15);
/// How often within a second a service's workloads on this node may say how far their records
/// reach.
const ANCHORS: NonZeroU32 = NonZeroU32::MIN;
/// The same at once.
const ANCHORS_AT_ONCE: NonZeroU32 = NonZeroU32::MIN.saturating_add(7);
/// Threads that look at callers at a time, of root and of all others.
const LOOKING: usize = 2;
/// How long a put may take, a change of the leader included.
const WITHIN: Duration = Duration::from_secs(20);
/// How long one question to the leader may take.
const ANSWER: Duration = Duration::from_secs(8);
/// Between two tries.
const AGAIN: Duration = Duration::from_millis(200);

/// Why nothing was written, or may have been.
#[derive(Debug)]
pub enum NotCarried {
    /// This agent refuses it.
    Refused(Refused),
    /// The leader does, in its own words.
    Told(Status),
    /// The service's share is used up for now.
    TooOften,
    /// What was sealed doesn't open, or is none of it.
    Unsound(SealError),
    /// No leader was reached in time.
    NotSent,
    /// No leader answered in time.
    Unknown,
}

impl std::fmt::Display for NotCarried {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused(refused) => f.write_str(&refused.text),
            Self::Told(status) => f.write_str(status.message()),
            Self::TooOften => f.write_str("too often"),
            Self::Unsound(error) => error.fmt(f),
            Self::NotSent => f.write_str("no leader was reached in time"),
            Self::Unknown => f.write_str("no leader answered in time"),
        }
    }
}

/// Carries upward what workloads write. Clones see the same.
#[derive(Clone)]
pub struct Puts(pub(super) Arc<PutParts>);

pub(super) struct PutParts {
    cluster: ClusterId,
    worker: Worker,
    guests: Guests,
    pub(super) upward: Upward,
    dice: fn() -> Box<dyn Dice>,
    key: PutKey,
    rate: DefaultKeyedRateLimiter<ServiceId>,
    /// How often they may say how far their records reach.
    pub(super) anchors: DefaultKeyedRateLimiter<ServiceId>,
    /// How often it is logged that they say it more often, and how often they did.
    pub(super) anchors_said: DefaultDirectRateLimiter,
    pub(super) anchors_dropped: AtomicU64,
    roots: Semaphore,
    others: Semaphore,
}

impl std::fmt::Debug for Puts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Puts")
    }
}

/// What a workload seals to, and what it replaces.
#[derive(Clone, Debug)]
pub struct PutPlaces {
    /// The cluster.
    pub cluster: ClusterId,
    /// The agent's public half.
    pub public: [u8; 32],
    /// Of each file: which secret, and the number of the version in place.
    pub places: Vec<(SecretId, u32)>,
}

/// A next value as a workload sealed it.
#[derive(Debug)]
pub struct SealedPut {
    /// Of which secret.
    pub secret: SecretId,
    /// The number of the version that it replaces.
    pub expect: u32,
    /// The new version.
    pub version: VersionId,
    /// Bytes of the value.
    pub size: u32,
    /// The value under its data key.
    pub value: SealedValue,
    /// The data key, boxed to [`PutPlaces::public`].
    pub boxed_key: Vec<u8>,
}

impl Puts {
    /// By what `worker` has in place and whom `guests` name, `upward` to the leader.
    #[must_use]
    pub fn new(
        cluster: ClusterId,
        (worker, guests): (Worker, Guests),
        upward: Upward,
        dice: fn() -> Box<dyn Dice>,
    ) -> Self {
        Self(Arc::new(PutParts {
            cluster,
            worker,
            guests,
            upward,
            dice,
            key: PutKey::draw(&mut *dice()),
            rate: RateLimiter::keyed(Quota::per_second(PUTS).allow_burst(AT_ONCE)),
            anchors: RateLimiter::keyed(Quota::per_second(ANCHORS).allow_burst(ANCHORS_AT_ONCE)),
            anchors_said: RateLimiter::direct(Quota::per_minute(NonZeroU32::MIN)),
            anchors_dropped: AtomicU64::new(0),
            roots: Semaphore::new(LOOKING),
            others: Semaphore::new(LOOKING),
        }))
    }

    /// What a process that may write for a service seals to. `generation` is what `..data`
    /// named when it read what it replaces; empty: the set that is in place now.
    ///
    /// # Errors
    /// What the caller is told.
    pub async fn places(
        &self,
        who: (u32, i32),
        service: Name,
        targets: Vec<Target>,
        generation: &str,
    ) -> Result<PutPlaces, Refused> {
        let (_, found) = self.admit(who, service, targets).await?;
        if !(generation.is_empty() || generation == found.generation) {
            return Err(problem::set_has_changed());
        }
        let (cluster, public) = (self.0.cluster, self.0.key.public());
        Ok(PutPlaces { cluster, public, places: found.files })
    }

    /// Gives secrets the next values that a process of a service's workload sealed, all or none;
    /// to `wait` is to be answered once nodes have them, or some seconds later.
    ///
    /// # Errors
    /// What the caller is told: by this agent, or by the leader in its own words.
    pub async fn put(
        &self,
        who: (u32, i32),
        service: Name,
        values: Vec<SealedPut>,
        wait: bool,
    ) -> Result<api::PutReply, NotCarried> {
        let done = self.try_put(who, service.clone(), &values, wait).await;
        let (uid, pid) = who;
        match &done {
            Ok(_) => {
                tracing::info!(event = "put", %service, files = values.len(), uid, pid);
            }
            Err(why) => tracing::warn!(event = "put_refused", %service, uid, pid, %why),
        }
        done
    }

    async fn try_put(
        &self,
        who: (u32, i32),
        service: Name,
        values: &[SealedPut],
        wait: bool,
    ) -> Result<api::PutReply, NotCarried> {
        let admitted = self.admit(who, service, Vec::new()).await;
        let (id, _) = admitted.map_err(NotCarried::Refused)?;
        if self.0.rate.check_key(&id).is_err() {
            return Err(NotCarried::TooOften);
        }
        // Whatever was sent may have been done.
        let sent = AtomicBool::new(false);
        let carried = tokio::time::timeout(WITHIN, self.carry(id, (values, wait), &sent)).await;
        carried.unwrap_or_else(|_late| {
            Err(if sent.load(Ordering::Relaxed) {
                NotCarried::Unknown
            } else {
                NotCarried::NotSent
            })
        })
    }

    /// The service, where the caller is a process of one of its workloads, and its owner or root.
    pub(super) async fn admit(
        &self,
        (uid, pid): (u32, i32),
        name: Name,
        targets: Vec<Target>,
    ) -> Result<(ServiceId, InPlace), Refused> {
        let threads = if uid == 0 { &self.0.roots } else { &self.0.others };
        let _turn = threads.acquire().await.map_err(|_closed| problem::stopping())?;
        let parts = Arc::clone(&self.0);
        let looked = tokio::task::spawn_blocking(move || {
            let look = |mounts: &Mounts| {
                let service = mounts.named(&name).ok_or(NotTold::Nothing)?;
                Ok((service, mounts.in_place(service, &targets)?))
            };
            let found: Result<(ServiceId, InPlace), NotTold> =
                parts.worker.look(look).ok_or_else(problem::stopping)?;
            let (service, found) = found.map_err(|why| match why {
                NotTold::Busy => problem::files_busy(&name),
                NotTold::Nothing => problem::nothing_in_place(&name),
                NotTold::NoFile(target) => problem::no_such_file(&name, &target),
            })?;
            let may = uid == 0 || uid == found.owner_uid;
            if !(may && parts.is_workload(service, pid)) {
                return Err(problem::no_workload(&name, found.owner_uid, uid));
            }
            Ok((service, found))
        });
        looked.await.unwrap_or_else(|_panicked| Err(problem::stopping()))
    }

    /// Asks the leader, and again where that helps: under the same id where it may have been
    /// done, and sealed anew where the managers' key has changed.
    async fn carry(
        &self,
        service: ServiceId,
        (values, wait): (&[SealedPut], bool),
        sent: &AtomicBool,
    ) -> Result<api::PutReply, NotCarried> {
        let mut request = RequestId::draw(&mut *(self.0.dice)());
        loop {
            let mut leader = WritingClient::new(self.0.upward.channel().await);
            let intake = leader.put_intake(api::IntakeRequest {});
            let intake = match tokio::time::timeout(ANSWER, intake).await {
                Ok(Ok(intake)) => intake.into_inner(),
                Ok(Err(status)) if !is_over(&status) => return Err(NotCarried::Told(status)),
                Ok(Err(_)) | Err(_) => {
                    tokio::time::sleep(AGAIN).await;
                    continue;
                }
            };
            let handed = self.hand_on(&intake, values).map_err(NotCarried::Unsound)?;
            let asked = api::PutRequest {
                request_id: request.as_bytes().to_vec(),
                service: service.as_bytes().to_vec(),
                values: handed,
                wait,
            };
            let answer = tokio::time::timeout(ANSWER, leader.put(asked)).await;
            let told = match answer {
                Ok(Ok(reply)) => return Ok(reply.into_inner()),
                Ok(Err(status)) => Some(status),
                Err(_late) => None,
            };
            let code = told.as_ref().and_then(read_problem).map(|problem| problem.code);
            match (code, told) {
                (Some(Code::Aborted), _) => request = RequestId::draw(&mut *(self.0.dice)()),
                (Some(Code::Unavailable), _) => {}
                (Some(code), Some(status)) if code != Code::Unknown => {
                    return Err(NotCarried::Told(status));
                }
                // Whoever should have answered may have done it.
                (_, _) => sent.store(true, Ordering::Relaxed),
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    fn hand_on(
        &self,
        intake: &api::IntakeReply,
        values: &[SealedPut],
    ) -> Result<Vec<api::PutValue>, SealError> {
        let intake = read_intake(intake).map_err(|_bad| SealError::Malformed)?;
        let mut dice = (self.0.dice)();
        let managers = IntakeAgreement::draw(&mut *dice, &intake)?;
        let each = values.iter().map(|of| {
            let (secret, version, size) = (of.secret, of.version, of.size);
            let context = ValueContext { cluster: self.0.cluster, secret, version, size };
            let sealed = (of.boxed_key.as_slice(), &of.value);
            let data_key = self.0.key.hand_on(&mut *dice, sealed, &managers, &context)?;
            let value = of.value.clone();
            let version = NewVersion { id: version, size, value, data_key, public: None };
            Ok(write_put_value(&PutValue { secret, expect: of.expect, version }))
        });
        each.collect()
    }
}

/// Whether another try may do better: the connection broke, or there is no leader now.
fn is_over(status: &Status) -> bool {
    read_problem(status).is_none_or(|problem| problem.code == Code::Unavailable)
}

impl PutParts {
    fn is_workload(&self, service: ServiceId, pid: i32) -> bool {
        // Held while it is looked at: the number is nobody else's meanwhile.
        let Ok(process) = Process::open(pid) else { return false };
        let number = process.id.pid;
        let found = self.guests.of(service, |party| is_of_workload(number, party));
        found && process.is_gone().is_ok_and(|gone| !gone)
    }
}
