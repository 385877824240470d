//! Why a command was refused: the same on every replica, shown to the caller.

use std::fmt;

use super::named::{Counted, Stays, Thing, Unfit};
use super::spec::NO_ONE;
use super::state::NodeRole;
use super::weight::long;
use crate::base::{Name, Target};

/// A refusal. Texts are Docker Swarm's where it has one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A second `init`.
    #[error("this cluster was initialised already")]
    AlreadyInitialised,
    /// Anything before `init`.
    #[error("this cluster is not initialised")]
    NotInitialised,
    /// Past its deadline.
    #[error("the request came too late: its deadline had passed")]
    TooLate,
    /// Not 1 to 64 changes, or more than 4 MiB.
    #[error("an act holds 1 to 64 changes and at most 4 MiB")]
    BadAct,
    /// A thing of that kind and name stands.
    #[error("{thing} {name} already exists")]
    Exists {
        /// What is named so.
        thing: Thing,
        /// The name asked for.
        name: Name,
    },
    /// No such thing.
    #[error("{thing} {what} not found")]
    NotFound {
        /// What there is none of.
        thing: Thing,
        /// Its id, name or number as text.
        what: String,
    },
    /// A granted secret can't be removed.
    #[error("secret '{secret}' is in use by the following {}: {}", plural(.services.count()), .services)]
    InUse {
        /// The secret.
        secret: Name,
        /// The services that have it.
        services: Few,
    },
    /// The current or a pinned version can't be removed.
    #[error("version {number} of secret {secret} is {why}")]
    VersionInUse {
        /// The secret.
        secret: Name,
        /// The version.
        number: u32,
        /// What keeps it.
        why: Stays,
    },
    /// `--expect` did not hold.
    #[error("{what} has changed: expected {expected}, found {found}")]
    Conflict {
        /// The secret or service.
        what: String,
        /// What the caller expected.
        expected: u64,
        /// What stands.
        found: u64,
    },
    /// Two secrets under one target.
    #[error("target {target} of service {service} is taken by secret {secret}")]
    TargetTaken {
        /// The service.
        service: Name,
        /// The file name.
        target: Target,
        /// Who has it.
        secret: Name,
    },
    /// A revoke of what the service doesn't have, and no node still has of it.
    #[error("secret {secret} is not granted to service {service}{}", under(.target.as_ref()))]
    NotGranted {
        /// The service.
        service: Name,
        /// The secret.
        secret: Name,
        /// Under which target, if one was named.
        target: Option<Target>,
    },
    /// A workload writes what its service was granted to read alone.
    #[error("service {service} may read secret {secret} and not write it")]
    NotWritable {
        /// The service.
        service: Name,
        /// The secret.
        secret: Name,
    },
    /// An older version of a secret that was created so that none is used again.
    #[error(
        "secret {secret} is forward-only: it can't be rolled back, nor a grant of it be pinned"
    )]
    ForwardOnly {
        /// The secret.
        secret: Name,
    },
    /// A name that reads as an id would stand for two things.
    #[error("the name {name} reads as an id")]
    NameIsId {
        /// The name asked for.
        name: Name,
    },
    /// The name is given only by a token that was made for it.
    #[error(
        "the name {name} is reserved: services are placed by it, or a join token is made for it"
    )]
    Reserved {
        /// The name asked for.
        name: Name,
    },
    /// A limit of `base::limits`.
    #[error("too many {what}: at most {limit}")]
    Limit {
        /// What is counted.
        what: Counted,
        /// The limit.
        limit: u64,
    },
    /// The token is unknown, ended, used up, or not for this.
    #[error("the join token {why}")]
    Token {
        /// As what the machine wanted to join.
        role: NodeRole,
        /// Which of these.
        why: Unfit,
    },
    /// The node may still hold secrets.
    #[error("node {node} may still hold secrets of {services}")]
    Holds {
        /// The node.
        node: Name,
        /// Exposed services.
        services: Few,
    },
    /// The last manager can't go.
    #[error("node {node} is the last manager")]
    LastManager {
        /// The node.
        node: Name,
    },
    /// The last admin of all can't go.
    #[error("operator {operator} is the last admin that may do everything and does not end")]
    LastAdmin {
        /// The operator.
        operator: Name,
    },
    /// Whoever asked may not.
    #[error("{0}")]
    NotAllowed(String),
    /// What was asked for lies outside of whoever asked.
    #[error("{thing} {name} lies outside of this identity's scope")]
    OutOfScope {
        /// What is named so.
        thing: Thing,
        /// The name asked for.
        name: Name,
    },
    /// A service has a secret from outside of the scope of whoever asked.
    #[error("service {service} is granted secrets from outside of this identity's scope")]
    HoldsOutside {
        /// The service.
        service: Name,
    },
    /// A target is taken, and whoever asked doesn't hear by what.
    #[error(
        "target {target} of service {service} is taken by a secret outside of this identity's scope"
    )]
    TargetTakenOutside {
        /// The service.
        service: Name,
        /// The file name.
        target: Target,
    },
    /// This caller, or all together, have asked for so much lately that no more answers are
    /// remembered. Nothing was done; within a minute there is room again.
    #[error("too many {what}: at most {limit}")]
    Busy {
        /// What is counted.
        what: Counted,
        /// The limit.
        limit: u64,
    },
    /// A value that the rules of its field exclude.
    #[error("{0}")]
    Invalid(String),
    /// A key sealed under another number of the cluster key than the one in use.
    #[error("the cluster key has changed: {found} was used and {wanted} is in use")]
    Retired {
        /// The number that was used.
        found: u64,
        /// The number in use, or the next one where a next one was asked for.
        wanted: u64,
    },
}

impl Refusal {
    pub(super) fn not_found(thing: Thing, what: impl fmt::Display) -> Self {
        Self::NotFound { thing, what: what.to_string() }
    }

    pub(super) fn limit(what: Counted, limit: usize) -> Self {
        Self::Limit { what, limit: long(limit) }
    }

    /// An id drawn at random is not new: a mistake of whoever drew it.
    pub(super) fn id_taken() -> Self {
        Self::Invalid("the id is taken: draw another".to_owned())
    }

    /// `chown` takes that number for "leave it as it is", so no node could give it a file.
    pub(super) fn no_one() -> Self {
        Self::Invalid(format!("{NO_ONE} is no user or group: a file can't belong to it"))
    }

    /// Its number in the hash of an answer and in stored answers, where texts may change.
    #[must_use]
    pub fn code(&self) -> u32 {
        match self {
            Self::AlreadyInitialised => 1,
            Self::NotInitialised => 2,
            Self::TooLate => 3,
            Self::BadAct => 4,
            Self::Exists { .. } => 5,
            Self::NotFound { .. } => 6,
            Self::InUse { .. } => 7,
            Self::VersionInUse { .. } => 8,
            Self::Conflict { .. } => 9,
            Self::TargetTaken { .. } => 10,
            Self::Limit { .. } => 11,
            Self::Token { .. } => 12,
            Self::Holds { .. } => 13,
            Self::LastManager { .. } => 14,
            Self::Invalid(_) => 15,
            Self::Retired { .. } => 16,
            Self::Busy { .. } => 17,
            Self::NotGranted { .. } => 18,
            Self::NameIsId { .. } => 19,
            Self::Reserved { .. } => 20,
            Self::NotWritable { .. } => 21,
            Self::ForwardOnly { .. } => 22,
            Self::LastAdmin { .. } => 30,
            Self::NotAllowed(_) => 31,
            Self::OutOfScope { .. } => 32,
            Self::HoldsOutside { .. } => 33,
            Self::TargetTakenOutside { .. } => 34,
        }
    }

    /// The same as a word, for the audit log: it never changes.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::AlreadyInitialised => "initialised",
            Self::NotInitialised => "not-initialised",
            Self::TooLate => "too-late",
            Self::BadAct => "bad-act",
            Self::Exists { .. } => "exists",
            Self::NotFound { .. } => "not-found",
            Self::InUse { .. } => "in-use",
            Self::VersionInUse { .. } => "version-in-use",
            Self::Conflict { .. } => "conflict",
            Self::TargetTaken { .. } => "target-taken",
            Self::Limit { .. } => "limit",
            Self::Token { .. } => "token",
            Self::Holds { .. } => "holds",
            Self::LastManager { .. } => "last-manager",
            Self::Invalid(_) => "invalid",
            Self::Retired { .. } => "retired",
            Self::Busy { .. } => "busy",
            Self::NotGranted { .. } => "not-granted",
            Self::NameIsId { .. } => "name-is-id",
            Self::Reserved { .. } => "reserved",
            Self::NotWritable { .. } => "not-writable",
            Self::ForwardOnly { .. } => "forward-only",
            Self::LastAdmin { .. } => "last-admin",
            Self::NotAllowed(_) => "not-allowed",
            Self::OutOfScope { .. } => "out-of-scope",
            Self::HoldsOutside { .. } => "holds-outside",
            Self::TargetTakenOutside { .. } => "target-taken-outside",
        }
    }
}

fn under(target: Option<&Target>) -> String {
    target.map_or_else(String::new, |target| format!(" as {target}"))
}

fn plural(count: u64) -> &'static str {
    if count == 1 { "service" } else { "services" }
}

/// A few of many names, and how many they are: a refusal stays small whatever it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Few {
    names: Vec<Name>,
    count: u64,
}

impl Few {
    /// Names that are told.
    pub const NAMED: usize = 10;

    /// The first ones of `count` names, sorted: where they come from their order says nothing.
    #[must_use]
    pub fn of(names: impl IntoIterator<Item = Name>, count: usize) -> Self {
        let mut names: Vec<Name> = names.into_iter().take(Self::NAMED).collect();
        names.sort_by_cached_key(Name::key);
        let count = long(count.max(names.len()));
        Self { names, count }
    }

    /// As they were written; `None` for more names than are ever told, or than were counted.
    #[must_use]
    pub fn read(names: Vec<Name>, count: u64) -> Option<Self> {
        let sound = names.len() <= Self::NAMED && long(names.len()) <= count;
        sound.then_some(Self { names, count })
    }

    /// The same, of which only these are told.
    #[must_use]
    pub fn only(self, told: impl Fn(&Name) -> bool) -> Self {
        let Self { mut names, count } = self;
        names.retain(told);
        Self { names, count }
    }

    /// Those that are told.
    #[must_use]
    pub fn names(&self) -> &[Name] {
        &self.names
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }
}

impl fmt::Display for Few {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, name) in self.names.iter().enumerate() {
            write!(f, "{}{name}", if n == 0 { "" } else { ", " })?;
        }
        match self.count.saturating_sub(long(self.names.len())) {
            0 => Ok(()),
            more if self.names.is_empty() => write!(f, "{more}"),
            more => write!(f, " and {more} more"),
        }
    }
}
