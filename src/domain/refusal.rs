//! Why a command was refused: the same on every replica, shown to the caller.

use std::fmt;

use crate::base::{Name, Target};

/// The words that refusals name things by. Stored answers hold them, so that one
/// may be added here and none changed.
pub mod words {
    use super::super::weight::long;
    use super::Refusal;

    /// A kind.
    pub const SECRET: &str = "secret";
    /// A kind.
    pub const SERVICE: &str = "service";
    /// A kind.
    pub const NODE: &str = "node";
    /// A kind.
    pub const OPERATOR: &str = "operator";
    /// A kind.
    pub const TOKEN: &str = "token";
    /// A kind.
    pub const VERSION: &str = "version";
    /// A count.
    pub const SECRETS: &str = "secrets";
    /// A count.
    pub const VERSIONS: &str = "versions of a secret";
    /// A count.
    pub const SERVICES: &str = "services";
    /// A count.
    pub const PLACEMENT_NODES: &str = "nodes named by a service";
    /// A count.
    pub const CONSTRAINTS: &str = "constraints of a service";
    /// A count.
    pub const GRANTS: &str = "grants of a service";
    /// A count of bytes.
    pub const SERVICE_BYTES: &str = "bytes of secrets of a service";
    /// A count.
    pub const NODES: &str = "nodes";
    /// A count.
    pub const MANAGERS: &str = "managers";
    /// A count.
    pub const TOKENS: &str = "join tokens";
    /// A count.
    pub const RECIPIENTS: &str = "recipients";
    /// A count.
    pub const PAIRS: &str = "pairs in one act";
    /// A count.
    pub const ANSWERS: &str = "commands within a minute";
    /// A count.
    pub const CLUSTER_KEYS: &str = "older cluster keys in use";
    /// A count.
    pub const OPENED: &str = "records of opens in one act";
    /// A count of bytes.
    pub const STATE_BYTES: &str = "bytes in the cluster's state";

    const ALL: [&str; 22] = [
        SECRET,
        SERVICE,
        NODE,
        OPERATOR,
        TOKEN,
        VERSION,
        SECRETS,
        VERSIONS,
        SERVICES,
        PLACEMENT_NODES,
        CONSTRAINTS,
        GRANTS,
        SERVICE_BYTES,
        NODES,
        MANAGERS,
        TOKENS,
        RECIPIENTS,
        PAIRS,
        ANSWERS,
        CLUSTER_KEYS,
        OPENED,
        STATE_BYTES,
    ];

    /// The word that reads so.
    #[must_use]
    pub fn known(text: &str) -> Option<&'static str> {
        ALL.into_iter().find(|word| *word == text)
    }

    impl Refusal {
        pub(in crate::domain) fn limit(what: &'static str, limit: usize) -> Self {
            Self::Limit { what, limit: long(limit) }
        }
    }
}

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
    #[error("{kind} {name} already exists")]
    Exists {
        /// `secret`, `service`, `node`, `operator`.
        kind: &'static str,
        /// The name asked for.
        name: Name,
    },
    /// No such thing.
    #[error("{kind} {what} not found")]
    NotFound {
        /// `secret`, `service`, `node`, `token`, `version`.
        kind: &'static str,
        /// Its id, name or number as text.
        what: String,
    },
    /// A granted secret can't be removed.
    #[error("secret '{secret}' is in use by the following {}: {}", plural(.services.len()), join(.services))]
    InUse {
        /// The secret.
        secret: Name,
        /// The services that have it.
        services: Vec<Name>,
    },
    /// The current or a pinned version can't be removed.
    #[error("version {number} of secret {secret} is {why}")]
    VersionInUse {
        /// The secret.
        secret: Name,
        /// The version.
        number: u32,
        /// `the current one`, or `pinned by service web`.
        why: String,
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
    /// A limit of `base::limits`.
    #[error("too many {what}: at most {limit}")]
    Limit {
        /// What is counted, with its unit.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// The token is unknown, ended, used up, or not for this.
    #[error("the join token {why}")]
    Token {
        /// `is not known`, `has ended`, `is used up`, `is for a worker`, `is not for the name x`.
        why: String,
    },
    /// The node may still hold secrets.
    #[error("node {node} may still hold secrets of {}", join(.services))]
    Holds {
        /// The node.
        node: Name,
        /// Exposed services.
        services: Vec<Name>,
    },
    /// The last manager can't go.
    #[error("node {node} is the last manager")]
    LastManager {
        /// The node.
        node: Name,
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
    pub(super) fn not_found(kind: &'static str, what: impl fmt::Display) -> Self {
        Self::NotFound { kind, what: what.to_string() }
    }

    /// An id drawn at random is not new: a mistake of whoever drew it.
    pub(super) fn id_taken() -> Self {
        Self::Invalid("the id is taken: draw another".to_owned())
    }

    /// Its number in the audit head and in stored answers, where texts may change.
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
        }
    }
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "service" } else { "services" }
}

fn join(names: &[Name]) -> String {
    names.iter().map(Name::as_str).collect::<Vec<_>>().join(", ")
}
