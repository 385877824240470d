//! What the cluster knows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::opened::{Lapsed, Opened, Reporter, Span};
use super::public::PublicPart;
use super::put::WrittenBy;
use super::scope::Scope;
use super::spec::{Constraint, Grant, OfflinePolicy, ServiceSpec};
use crate::base::{
    ClusterId, Epoch, Fingerprint, Labels, Name, NameKey, NodeId, OperatorId, RecipientId,
    RequestId, Revision, SealedValue, SecretId, ServiceId, Stamp, TokenId, VersionId, WrappedKey,
    limits,
};

/// The whole replicated state. Ordered maps, so that every replica walks it alike.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// The behaviour in force; 0 before `init`, 1 from it on.
    pub level: u32,
    /// What holds for the cluster as a whole; `None` before `init`.
    pub cluster: Option<Arc<Cluster>>,
    /// The newest stamp applied: time never runs backwards here.
    pub stamp: Stamp,
    /// The index of the newest command applied.
    pub revision: Revision,
    /// The hash of the last line of the audit log: every command applied has one (see `audit`).
    pub audit_head: [u8; 32],
    /// Managers and agents.
    pub nodes: BTreeMap<NodeId, Arc<Node>>,
    /// Operators.
    pub operators: BTreeMap<OperatorId, Arc<Operator>>,
    /// Join tokens.
    pub tokens: BTreeMap<TokenId, Arc<Token>>,
    /// Secrets.
    pub secrets: BTreeMap<SecretId, Arc<Secret>>,
    /// Services.
    pub services: BTreeMap<ServiceId, Arc<Service>>,
    /// (node, service) pairs to which bytes were sent and whose wipe is not confirmed.
    pub exposed: BTreeMap<(NodeId, ServiceId), Exposure>,
    /// When a service lost a secret for the last time, as long as one of its pairs is pending.
    pub taken: BTreeMap<(ServiceId, SecretId), Revision>,
    /// What was opened on the nodes, as they handed it in: oldest first, none of them empty.
    pub opened: BTreeMap<(NodeId, Revision), Arc<[Opened]>>,
    /// How far each node has handed in.
    pub reporters: BTreeMap<NodeId, Reporter>,
    /// What ended within `limits::OPENED_LATE_MS`.
    pub lapsed: BTreeMap<Lapsed, Span>,
    /// Answers remembered until their deadline; not those of acts that are the same twice.
    pub answers: BTreeMap<RequestId, Answer>,
    /// What is derived from the above; never stored, rebuilt by `Indexes::of`.
    pub indexes: super::indexes::Indexes,
    /// Bytes of the state as counted against `limits::STATE_BYTES`.
    pub bytes: u64,
}

/// What holds for the cluster as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// The cluster's id, drawn by the CLI at `init`.
    pub id: ClusterId,
    /// Its name, for people.
    pub name: Name,
    /// Which history this is.
    pub epoch: Epoch,
    /// When `init` was.
    pub created: Stamp,
    /// The root certificate, DER.
    pub root: Arc<[u8]>,
    /// The root's private key, sealed to the recipients; only the CLI opens it.
    pub sealed_root_key: Arc<[u8]>,
    /// The issuing CA's certificate, DER.
    pub issuing: Arc<[u8]>,
    /// The issuing CA's private key (PKCS#8 DER), wrapped under the wrap key.
    pub issuing_key: WrappedKey,
    /// Who can unlock: public keys and what people call them.
    pub recipients: BTreeMap<RecipientId, Recipient>,
    /// The cluster key in use.
    pub cluster_key: ClusterKey,
    /// Managers removed lately, and when: a member that is behind would take the
    /// young certificate of one of them for that of a manager it does not know yet.
    pub removed_managers: BTreeMap<NodeId, Stamp>,
    /// From when on the issuing CA in use is valid, and with it the oldest one whose
    /// certificates are accepted.
    pub issuers: Issuers,
    /// How the cluster came out of a loss of its majority, until operators have seen it.
    pub recovered: Option<Arc<Recovered>>,
    /// How far each manager's own chain of the audit log is known to reach.
    pub anchors: BTreeMap<NodeId, Anchor>,
}

/// How far a chain of the audit log reaches: the number of a line, and its hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// Which line.
    pub number: u64,
    /// Its hash.
    pub head: [u8; 32],
}

/// Which issuing CAs there are. One is told from another by the beginning of its validity: a
/// later one begins later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Issuers {
    /// That in use begins here.
    pub current: Stamp,
    /// Certificates of those that begin earlier are refused.
    pub oldest: Stamp,
    /// Since when all leaves are being renewed under the one in use; `None`: they are.
    pub rotating: Option<Stamp>,
}

/// What a recovery left behind. Nothing is delivered as long as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// When it was.
    pub at: Stamp,
    /// The newest revision that the survivor had: what was acknowledged later is lost.
    pub revision: Revision,
    /// The managers that were dropped.
    pub managers: Vec<Name>,
    /// The ids of the join tokens that ended with it.
    pub tokens: Vec<TokenId>,
}

/// How a member's certificate is renewed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Renewal {
    /// BLAKE3 of the public key (SPKI DER) that it renews to, until it was seen with it; both
    /// are listed until then.
    pub next_key: Option<[u8; 32]>,
    /// The beginning of the issuing CA that signed its newest certificate.
    pub issuer: Stamp,
    /// Until when it may renew a certificate whose grace is over.
    pub readmitted_until: Option<Stamp>,
}

/// Whoever has a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Member {
    /// A manager or an agent.
    Node(NodeId),
    /// An operator.
    Operator(OperatorId),
}

impl Cluster {
    /// The hash of the root certificate.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of_root(&self.root)
    }
}

/// A public key to which managers seal their key files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient {
    /// X25519 public key, not of low order.
    pub public: [u8; 32],
    /// What people call it.
    pub label: String,
    /// The one manager it unlocks; `None`: all.
    pub only: Option<NodeId>,
}

/// The numbered cluster key as it stands in the state: one box per manager.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterKey {
    /// 1 at `init`.
    pub number: u64,
    /// The intake public key (X25519) derived from it.
    pub intake: [u8; 32],
    /// The cluster key boxed to each manager's box key.
    pub boxes: BTreeMap<NodeId, Vec<u8>>,
    /// Older cluster keys by number, without a gap up to this one, each under the
    /// wrap key of the next.
    pub previous: BTreeMap<u64, WrappedKey>,
}

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NodeRole {
    /// A Raft member.
    Manager,
    /// A machine that runs workloads.
    Worker,
}

/// What may arrive on a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Availability {
    /// Everything due.
    #[default]
    Active,
    /// Nothing new; what is there stays and is still revoked.
    Pause,
    /// Nothing: what is there is wiped.
    Drain,
}

/// A member of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its name: fixed at join, unique, in the certificate.
    pub name: Name,
    /// Manager or worker.
    pub role: NodeRole,
    /// BLAKE3 of the public key (SPKI DER) that its certificate holds.
    pub key: [u8; 32],
    /// What managers wrote; constraints read these.
    pub labels: Labels,
    /// What may arrive.
    pub availability: Availability,
    /// For managers: the X25519 public key to which cluster keys are boxed.
    pub box_key: Option<[u8; 32]>,
    /// For managers: where peers, agents and operators reach it (`host:port`).
    pub addresses: Vec<String>,
    /// When it joined.
    pub joined: Stamp,
    /// When its certificate ends: the newest that was signed.
    pub certificate_ends: Stamp,
    /// How that is renewed.
    pub renewal: Renewal,
    /// A manager that never votes.
    pub learner: bool,
}

impl Node {
    /// Whether it is known by this key: the one of its certificate, or the one that it
    /// renews to.
    #[must_use]
    pub fn shows(&self, key: &[u8; 32]) -> bool {
        self.key == *key || self.renewal.next_key.as_ref() == Some(key)
    }
}

/// What an operator may do ([`super::Policy`] is the table).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OperatorRole {
    /// Everything.
    Admin,
    /// Secrets and services.
    Editor,
    /// Reads.
    Viewer,
    /// Reads and the audit log.
    Auditor,
}

/// A person or CI job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operator {
    /// Its name, unique among operators.
    pub name: Name,
    /// What it may do.
    pub role: OperatorRole,
    /// BLAKE3 of the public key (SPKI DER) that its certificate holds.
    pub key: [u8; 32],
    /// When it was created.
    pub created: Stamp,
    /// When its certificate ends: the newest that was signed.
    pub certificate_ends: Stamp,
    /// How that is renewed.
    pub renewal: Renewal,
    /// It may do nothing until a recovery is resumed.
    pub suspended: bool,
    /// Within which names it stays.
    pub scope: Scope,
    /// What holds for every node on which it places services; without any it places none, where
    /// it has a scope.
    pub constraints: Vec<Constraint>,
    /// From when on it may do nothing any more; `None`: never.
    pub ends: Option<Stamp>,
    /// It was made by an unlock key.
    pub recovered: bool,
}

impl Operator {
    /// Whether an unlock key made it lately: that is to be seen, also once it was removed.
    #[must_use]
    pub fn is_recovered(&self, now: Stamp) -> bool {
        self.recovered && now < self.created.plus_ms(limits::RECOVERED_MS)
    }

    /// Whether its time is over: whatever certificate it has, it may do nothing.
    #[must_use]
    pub fn has_ended(&self, now: Stamp) -> bool {
        self.ends.is_some_and(|ends| ends <= now)
    }
}

/// A join token: what a machine gives once to get its certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// BLAKE3 of the token's secret part.
    pub digest: [u8; 32],
    /// What a machine becomes by it.
    pub role: NodeRole,
    /// Labels that the joining node gets.
    pub labels: Labels,
    /// Names that may join by it, `*` stands for any characters; `None`: any name.
    pub name_pattern: Option<String>,
    /// When it was created.
    pub created: Stamp,
    /// When it ends.
    pub ends: Stamp,
    /// How many joins are left; `None`: any number until it ends.
    pub uses_left: Option<u32>,
}

impl Token {
    /// The one name that may join by it, if it is for one.
    #[must_use]
    pub fn only_name(&self) -> Option<Name> {
        self.name_pattern.as_deref()?.parse().ok()
    }
}

/// A name with numbered values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secret {
    /// Its name, unique among secrets ignoring case.
    pub name: Name,
    /// What operators wrote.
    pub labels: Labels,
    /// When it was created.
    pub created: Stamp,
    /// When it changed last.
    pub updated: Stamp,
    /// At which revision it changed last.
    pub revision: Revision,
    /// Whether older versions of it are used no more, as it was created: it is neither rolled
    /// back nor are grants of it pinned.
    pub forward_only: bool,
    /// The number of the version that `current` means: the newest.
    pub current: u32,
    /// The versions kept, by number; numbers start at 1 and are never reused.
    pub versions: BTreeMap<u32, Arc<Version>>,
}

/// One sealed value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// Its id, drawn by the client.
    pub id: VersionId,
    /// Bytes of the value.
    pub size: u32,
    /// The value, sealed under the data key.
    pub value: SealedValue,
    /// The data key, wrapped under the wrap key.
    pub data_key: WrappedKey,
    /// When it was created.
    pub created: Stamp,
    /// The version that it repeats, id and value, where it came by a rollback: never one that
    /// repeats another itself. It need not be kept any more.
    pub repeats: Option<u32>,
    /// What is public of it.
    pub public: Option<PublicPart>,
    /// The workload that wrote it; `None`: an operator.
    pub written_by: Option<WrittenBy>,
}

/// A named workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its name, unique among services ignoring case.
    pub name: Name,
    /// Where it may run and how its secrets are mounted.
    pub spec: ServiceSpec,
    /// Which secrets it has, by target.
    pub grants: BTreeMap<crate::base::Target, Grant>,
    /// When it was created.
    pub created: Stamp,
    /// When it changed last.
    pub updated: Stamp,
    /// At which revision it changed last.
    pub revision: Revision,
}

impl Service {
    /// Its offline policy.
    #[must_use]
    pub fn offline(&self) -> OfflinePolicy {
        self.spec.offline
    }
}

/// A pair to which bytes have been sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exposure {
    /// Since which revision.
    pub since: Revision,
    /// The time of that.
    pub began: Stamp,
    /// The newest revision at which something was taken from this pair and has
    /// not been confirmed by the node: then the pair is *pending*.
    pub behind: Option<Revision>,
    /// The newest revision at which something was taken from this pair and has been confirmed;
    /// `since`, where there was none.
    pub clear: Revision,
}

/// A remembered answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Until when it is remembered.
    pub deadline: Stamp,
    /// The revision at which the command was applied.
    pub revision: Revision,
    /// Who asked.
    pub actor: super::Actor,
    /// What was answered.
    pub outcome: Result<super::Outcome, super::Refusal>,
}

/// Names to ids, for the three kinds of named things.
pub type NameIndex<Id> = BTreeMap<NameKey, Id>;
/// A set of nodes.
pub type Nodes = BTreeSet<NodeId>;
