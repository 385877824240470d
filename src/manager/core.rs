//! What an unlocked manager has at hand: shared by its api, its leader's work
//! and its dispatch. Whatever is proposed goes through here, and only with a clock
//! that may be believed.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use crate::consensus::{Consensus, ProposeError};
use crate::manager::audit::Audit;
use crate::manager::keys::KeyHolder;
use crate::manager::renewing::Renewing;
use crate::manager::steady::{Doubt, Evidence, Steady};
use crate::manager::unproposed::Unproposed;
use skep_client::ca::IssuerFloor;
use skep_core::base::{BootTime, Clock, ClusterId, Dice, NodeId, RequestId, Stamp, limits};
use skep_core::domain::{Act, Actor, Applied, Command};

/// How long a proposal waits at a manager that has just started for something with which its
/// clock is compared: the others are asked meanwhile.
const FRESH: Duration = Duration::from_secs(3);
/// Between two looks of whoever waits so.
const GLANCE: Duration = Duration::from_millis(20);
/// Milliseconds between two readings of boot time around one of the wall clock: whoever was
/// not run for longer reads again, lest the pause be taken for a step.
const APART_MS: u64 = 100;
/// How often it is read again.
const READINGS: usize = 8;

/// Who asks for a command, and from where.
#[derive(Clone, Debug)]
pub(in crate::manager) struct Origin {
    /// Who.
    pub actor: Actor,
    /// From where, where it came over the network.
    pub from: Option<IpAddr>,
}

impl From<Actor> for Origin {
    fn from(actor: Actor) -> Self {
        Self { actor, from: None }
    }
}

/// An unlocked manager's parts. Cheap to clone through an `Arc`.
pub struct Core {
    /// The replicated state.
    pub consensus: Consensus,
    /// The one holder of opened keys.
    pub keys: Arc<KeyHolder>,
    /// The machine's clock.
    pub clock: Arc<dyn Clock>,
    /// Makes dice.
    pub dice: fn() -> Box<dyn Dice>,
    /// This manager.
    pub node: NodeId,
    /// Its cluster.
    pub cluster: ClusterId,
    time: Time,
    /// Which issuing CAs are in use no more, as far as was ever known here.
    pub(in crate::manager) floor: IssuerFloor,
    /// Milliseconds by which the median of the voters' clocks is ahead of this manager's.
    pub(in crate::manager) off_ms: AtomicI64,
    /// Where this manager's acts are recorded.
    pub(in crate::manager) audit: Audit,
    /// Members that renew their certificates.
    pub(in crate::manager) renewing: Renewing,
}

/// How this manager knows what time it is.
#[derive(Default)]
struct Time {
    steady: Steady,
    /// Read by whoever proposes, and written by whoever sets the cluster's time back: a stamp
    /// that was read before is not proposed after.
    turn: tokio::sync::RwLock<()>,
}

/// A reading of the clock that was compared with boot time. Nobody else makes one.
#[derive(Clone, Copy, Debug)]
pub(in crate::manager) struct Reading(Stamp);

impl Reading {
    /// What the clock says: certificates are judged by clocks.
    pub(in crate::manager) fn clock(self) -> Stamp {
        self.0
    }
}

impl Core {
    /// Its parts. Its clock is compared before the first proposal.
    #[must_use]
    pub fn new(
        consensus: Consensus,
        keys: Arc<KeyHolder>,
        clock: Arc<dyn Clock>,
        dice: fn() -> Box<dyn Dice>,
        node: NodeId,
        cluster: ClusterId,
    ) -> Self {
        Self {
            audit: Audit::nowhere(clock.clone(), dice),
            consensus,
            keys,
            clock,
            dice,
            node,
            cluster,
            time: Time::default(),
            floor: IssuerFloor::default(),
            off_ms: AtomicI64::new(0),
            renewing: Renewing::default(),
        }
    }

    /// The same with what is refused of issuing CAs.
    pub(in crate::manager) fn refusing(self, floor: IssuerFloor) -> Self {
        Self { floor, ..self }
    }

    /// The same with where its acts are recorded.
    pub(in crate::manager) fn recording(self, audit: Audit) -> Self {
        Self { audit, ..self }
    }

    /// Opens this manager's box of the cluster key in use. What fails is written to the log.
    pub(in crate::manager) fn open_key(&self) {
        let open = self.keys.number();
        let stands = self.consensus.read(|state| {
            let stands = state.cluster.as_ref().map(|cluster| &cluster.cluster_key);
            stands.filter(|stands| open != Some(stands.number)).cloned()
        });
        let Some(stands) = stands else { return };
        if let Err(error) = self.keys.follow(&stands) {
            let number = stands.number;
            tracing::error!(event = "cluster_key_closed", number, why = %error);
        }
    }

    /// Reads the clocks at one moment.
    fn clocks(&self) -> (Stamp, BootTime) {
        let mut boot = self.clock.boot();
        for _ in 0..READINGS {
            let (now, after) = (self.clock.now(), self.clock.boot());
            if after.0.saturating_sub(boot.0) <= APART_MS {
                return (now, after);
            }
            boot = after;
        }
        (self.clock.now(), self.clock.boot())
    }

    /// The clock, if it may be believed.
    pub(in crate::manager) fn reading(&self) -> Result<Reading, Doubt> {
        let (now, boot) = self.clocks();
        if self.time.steady.look(now, boot).is_err() {
            self.time.steady.settle(now, boot, self.evidence(None))?;
        }
        Ok(Reading(now))
    }

    /// The same, where a majority was found to share this manager's time at `shared_since`.
    pub(in crate::manager) fn reading_shared(
        &self,
        shared_since: Option<BootTime>,
    ) -> Result<Reading, Doubt> {
        let (now, boot) = self.clocks();
        self.time.steady.settle(now, boot, self.evidence(shared_since))?;
        Ok(Reading(now))
    }

    fn evidence(&self, shared_since: Option<BootTime>) -> Evidence {
        let leads = self.consensus.leadership().borrow().own;
        let stamp = leads.then(|| self.consensus.read(|state| state.stamp));
        Evidence { alone: self.is_alone(), shared_since, stamp }
    }

    /// Whether this manager is the only voter.
    pub(in crate::manager) fn is_alone(&self) -> bool {
        let members = self.consensus.members();
        let mut voters = members.iter().filter(|member| member.voter);
        voters.next().is_some_and(|one| one.node == self.node) && voters.next().is_none()
    }

    /// Since when the clock is in doubt.
    pub(in crate::manager) fn doubtful_since(&self) -> Option<BootTime> {
        self.time.steady.doubtful_since()
    }

    /// Waits until a step of the clock is found.
    pub(in crate::manager) async fn doubted(&self) {
        self.time.steady.doubted.notified().await;
    }

    /// The clock; a manager that has just started is given a moment to compare it.
    pub(in crate::manager) async fn fresh_reading(&self) -> Result<Reading, Doubt> {
        let until = tokio::time::Instant::now() + FRESH;
        loop {
            match self.reading() {
                Err(Doubt::Fresh) if tokio::time::Instant::now() < until => {
                    tokio::time::sleep(GLANCE).await;
                }
                decided => return decided,
            }
        }
    }

    /// As of when something is proposed: never before what is applied, or its
    /// deadline would be over where an earlier leader's clock was ahead. Ends that the
    /// state judges are counted from here.
    pub(in crate::manager) fn stamp(&self, reading: Reading) -> Stamp {
        reading.0.max(self.consensus.read(|state| state.stamp))
    }

    /// Whether everything is applied that was proposed before this manager led: else its
    /// stamp could be from before the cluster's time was set back.
    fn leads_applied(&self) -> Result<(), ProposeError> {
        let leadership = self.consensus.leadership();
        let seen = leadership.borrow();
        if seen.own { Ok(()) } else { Err(ProposeError::NotLeader(seen.leader)) }
    }

    /// Proposes an act as of now, with the longest deadline there is. There is no other way.
    pub(in crate::manager) async fn propose(
        &self,
        request: RequestId,
        origin: impl Into<Origin>,
        act: Act,
    ) -> Result<Applied, Unproposed> {
        let Origin { actor, from } = origin.into();
        let _turn = self.time.turn.read().await;
        self.leads_applied()?;
        let stamp = self.stamp(self.fresh_reading().await?);
        let deadline = stamp.plus_ms(limits::DEADLINE_MS);
        Ok(self.consensus.propose(Command { request, stamp, deadline, actor, from, act }).await?)
    }

    /// Proposes that the cluster's time is set back to this manager's clock. Whatever was
    /// proposed before is decided by then, and nothing is proposed meanwhile.
    pub(in crate::manager) async fn reset_time(
        &self,
        request: RequestId,
        origin: impl Into<Origin>,
    ) -> Result<(Stamp, Applied), Unproposed> {
        let Origin { actor, from } = origin.into();
        let _turn = self.time.turn.write().await;
        self.leads_applied()?;
        let stamp = self.reading()?.clock();
        let deadline = stamp.plus_ms(limits::DEADLINE_MS);
        let command = Command { request, stamp, deadline, actor, from, act: Act::ResetTime };
        Ok((stamp, self.consensus.propose(command).await?))
    }
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Core({})", self.node)
    }
}
