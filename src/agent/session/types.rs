//! What goes into the session's core and what comes out of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use crate::agent::vault::{HookDue, Shelf, UnitAsks};
use skep_core::base::{BootTime, Epoch, Name, Revision, ServiceId};
use skep_core::wire::delivery::{
    Ack, Confirmed, Failed, HookStand, Placed, Push, SentValue, Welcome,
};

/// One running instance of a service on this machine, while this agent runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkloadId(pub u64);

/// One local call that waits for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClaimId(pub u64);

/// Something happened. The driver says so; [`super::Session::step`] decides.
#[derive(Debug)]
pub enum Event {
    /// The agent starts: go and connect.
    Begin,
    /// A manager was reached; nothing has been said yet.
    Connected {
        /// Where.
        address: String,
    },
    /// The leader answered the hello.
    Welcome(Welcome),
    /// Where all managers are now, as the leader says.
    Managers(Vec<String>),
    /// Values ahead of push `number`.
    Values {
        /// The push that follows.
        number: u64,
        /// Sealed.
        values: Vec<SentValue>,
    },
    /// The leader pushed.
    Push(Push),
    /// The leader answered what was asked.
    Confirmed(Confirmed),
    /// There is no connection, or none any more.
    Disconnected {
        /// Why.
        cause: Cause,
        /// A random number, so that a fleet does not return in step.
        jitter: u16,
    },
    /// A workload of before this agent's start was found alive.
    Adopted {
        /// Its id here.
        workload: WorkloadId,
        /// Of which service.
        service: ServiceId,
    },
    /// Something else changed what is on this machine: an offline time is over.
    Shelf(Shelf),
    /// Somebody on this machine wants a service's secrets.
    Claimed(Claim),
    /// Whoever claimed has hung up.
    Withdrawn(ClaimId),
    /// The last process of a workload is gone.
    Ended(WorkloadId),
    /// A service is no longer wanted up by hand.
    Down {
        /// Who asks.
        claim: ClaimId,
        /// Its name.
        name: String,
    },
    /// The worker did its job.
    Done(Done),
    /// Sets came into place in others' stead, and nobody waits for these.
    Changed(Vec<HookDue>),
    /// A hook is over; why it failed.
    Hooked {
        /// Of which service.
        service: ServiceId,
        /// Of which generation.
        generation: u64,
        /// In one line that names no value.
        failed: Option<String>,
    },
    /// Time passed.
    Tick,
    /// This machine is to leave the cluster.
    Leave(ClaimId),
    /// What the leader said to that.
    Left(Result<(), Refused>),
    /// A clean stop; with `wipe` nothing stays.
    Stop {
        /// Also what live workloads use.
        wipe: bool,
    },
}

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Not reached, or lost.
    Lost(String),
    /// Reached a manager that does not lead; where the leader is, if it knew.
    NotLeader(Vec<String>),
    /// It does not accept this agent now.
    Refused(String),
    /// This node is no member any more, says the leader.
    Removed(Refused),
    /// Its certificate ended so long ago that it is not renewed, says the leader.
    Over(Refused),
}

/// Why a caller does not get what it asked for: what is wrong and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// What is wrong.
    pub text: String,
    /// What to do.
    pub hint: String,
    /// Which kind, for the caller's status.
    pub kind: RefusedKind,
}

/// The kinds of refusals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusedKind {
    /// Not allowed, not placed, not possible.
    No,
    /// Not in time.
    Late,
    /// No manager at hand.
    Away,
    /// What was to be replaced is there no more.
    Changed,
}

/// A claim on a service's secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Whom to answer.
    pub id: ClaimId,
    /// Of which service.
    pub of: Wants,
    /// Who claims, as the kernel says.
    pub uid: u32,
    /// Until when it waits.
    pub until: BootTime,
    /// What runs.
    pub what: Claimant,
}

/// Which service is claimed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wants {
    /// The one of this name, in any case.
    Named(String),
    /// The one that a unit of systemd means by a credential's name.
    Unit(UnitAsks),
}

/// What claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claimant {
    /// A process, or a container's mount of a volume; it counts from the claim on.
    Workload(WorkloadId),
    /// An operator: up until further notice.
    Manual,
}

/// A set that is in place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ready {
    /// Which service.
    pub service: ServiceId,
    /// Its name.
    pub name: Name,
    /// The directory: for a process what it is to bind, else the one on the host.
    pub path: PathBuf,
    /// Which generation.
    pub generation: u64,
}

/// What the driver is to do, in this order.
#[derive(Debug, PartialEq)]
pub enum Act {
    /// Connect to `address`, `after_ms` from now; one connection at a time.
    Connect {
        /// `host:port`.
        address: String,
        /// Milliseconds to wait before.
        after_ms: u64,
    },
    /// Say hello; the driver adds the session key's half and what it knows of the machine.
    Hello(Hello),
    /// Tell the whole list of running services.
    Running(BTreeSet<ServiceId>),
    /// Acknowledge a push.
    Ack(Ack),
    /// Ask whether what is here is what is due.
    Ask(BootTime),
    /// Do this; [`Event::Hooked`] must follow.
    Hook(HookDue),
    /// Tell the whole list of hooks that run or have failed.
    Hooks(BTreeMap<ServiceId, HookStand>),
    /// End the connection; [`Event::Disconnected`] with this cause must follow.
    Disconnect(Cause),
    /// Have this done; [`Event::Done`] must follow. Never two at a time.
    Work(Job),
    /// Answer a claim that got what it asked for.
    Grant(ClaimId, Ready),
    /// Answer a call that has nothing more to say.
    Agree(ClaimId),
    /// Refuse a call.
    Refuse(ClaimId, Refused),
    /// Ask the leader to let this node go; [`Event::Left`] must follow.
    Leave,
    /// The agent ends.
    End(Ending),
}

/// How an agent ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It was asked to.
    Stopped,
    /// It left the cluster; its identity is of no more use.
    Left,
    /// Its identity was removed.
    Removed(Refused),
    /// Its certificate is good for nothing any more; what is here stays.
    Over(Refused),
}

/// What the core puts into a hello.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Services that run.
    pub running: BTreeSet<ServiceId>,
    /// The newest epoch seen.
    pub epoch: Epoch,
    /// The newest revision taken in that epoch.
    pub revision: Revision,
    /// What is still there.
    pub held: Shelf,
}

/// Work that takes time: one at a time, in order.
#[derive(Debug, PartialEq)]
pub enum Job {
    /// Carry out a push: what is taken first, then what is given.
    Deliver(Push),
    /// Write down what the leader confirmed.
    Confirm(Confirmed),
    /// Wipe everything but what these services have.
    WipeBut(BTreeSet<ServiceId>),
    /// Note since when no manager is there; none: one is.
    Offline(Option<BootTime>),
    /// Keep this across restarts.
    Remember(Memory),
}

/// What survives a restart beside the mounts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// The newest epoch seen.
    pub epoch: Epoch,
    /// The newest revision taken.
    pub revision: Revision,
    /// Known managers, `host:port`.
    pub managers: Vec<String>,
    /// The cluster's name, for people.
    pub cluster: String,
    /// What the leader last said is placed here; none: it never said.
    pub placed: Option<Vec<Placed>>,
    /// Services that are up by hand, with the names they had then.
    pub manual: BTreeMap<ServiceId, Name>,
}

/// What came of a job.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Done {
    /// Everything that is on this machine now.
    pub shelf: Shelf,
    /// What a push could not put in place or take away.
    pub failed: Vec<Failed>,
    /// Services to which a push brought nothing but what they show already.
    pub unchanged: BTreeSet<ServiceId>,
    /// Sets that came into place in others' stead.
    pub changed: Vec<HookDue>,
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Lost(why) => f.write_str(why),
            Self::NotLeader(_) => f.write_str("that manager does not lead"),
            Self::Refused(why) => write!(f, "refused: {why}"),
            Self::Removed(refused) => write!(f, "removed: {}", refused.text),
            Self::Over(refused) => write!(f, "refused: {}", refused.text),
        }
    }
}
