//! How what the cluster knows may change.

use core::net::IpAddr;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::changed::ChangedList;
use super::opened::OpenedList;
use super::public::PublicPart;
use super::put::Put;
use super::spec::{GrantAsked, ServiceSpec};
use super::state::{Anchor, Availability, Cluster, Member, Node, NodeRole, Operator, Token};
use crate::base::{
    Epoch, Label, Labels, Name, NodeId, OperatorId, RequestId, Revision, SealedValue, SecretId,
    ServiceId, Stamp, Target, TokenId, VersionId, WrappedKey,
};

/// One entry of the replicated log. Time, ids, nonces and sealed keys were made
/// by the leader (or the client) before it was proposed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// Which command this is; a second one with the same id gets the first one's answer.
    pub request: RequestId,
    /// The leader's clock when it proposed; `apply` takes the newest of this and the state's,
    /// but for [`Act::ResetTime`].
    pub stamp: Stamp,
    /// Refused after this; at most `limits::DEADLINE_MS` after `stamp`.
    pub deadline: Stamp,
    /// Who asked.
    pub actor: Actor,
    /// From where, where it came over the network.
    pub from: Option<IpAddr>,
    /// What is asked.
    pub act: Act,
}

/// Who asked for a command.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Actor {
    /// The leader itself, reconciling.
    Leader(NodeId),
    /// A user of a manager's control socket.
    Local {
        /// The user.
        uid: u32,
        /// The manager.
        manager: NodeId,
    },
    /// An operator's certificate.
    Operator(OperatorId),
    /// A node's certificate.
    Node(NodeId),
    /// A machine that holds this join token.
    Token(TokenId),
}

/// What a command asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// The first command of a cluster.
    Genesis(Box<Genesis>),
    /// 1 to 64 changes, applied whole or refused whole.
    Change(Vec<Change>),
    /// A machine joins by its token.
    Join(Box<Join>),
    /// Before the first byte is sent to these pairs.
    Expose(Vec<(NodeId, ServiceId)>),
    /// Nodes have confirmed what was taken from these pairs.
    Confirm(Vec<Confirmation>),
    /// A node hands in what was opened on it.
    Opened(OpenedList),
    /// The cluster's time is set back to the command's stamp, where it is ahead of it.
    ResetTime,
    /// A manager is reached elsewhere from now on, as it says itself.
    Move {
        /// Which manager.
        manager: NodeId,
        /// Where, 1 to 16 of `host:port`.
        addresses: Vec<String>,
    },
    /// A member gets another certificate.
    Renew {
        /// Who.
        member: Member,
        /// BLAKE3 of the public key (SPKI DER) that it holds: the one listed, or another, which
        /// is listed beside it from now on.
        key: [u8; 32],
        /// When it ends.
        certificate_ends: Stamp,
        /// The beginning of the issuing CA that signs it: refused unless it is the one in use.
        issuer: Stamp,
    },
    /// A member was seen with the key to which it renews: the one before is listed no more.
    Renewed {
        /// Who.
        member: Member,
        /// BLAKE3 of that key.
        key: [u8; 32],
    },
    /// Another issuing CA takes the place of the one in use.
    RotateIssuer {
        /// Its certificate, DER.
        issuing: Arc<[u8]>,
        /// Its private key (PKCS#8 DER), wrapped under the wrap key.
        issuing_key: WrappedKey,
        /// Its beginning, later than that of the one in use.
        begins: Stamp,
    },
    /// The certificates of all issuing CAs but the one in use, which begins here, are refused
    /// from now on.
    RetireIssuers {
        /// Its beginning.
        begins: Stamp,
    },
    /// A manager goes on alone after the majority was lost.
    Recover(Box<Recover>),
    /// Operators have seen what a recovery left behind: all goes on.
    Resume,
    /// A workload writes next values of what its service was granted to write.
    Put(Box<Put>),
    /// A manager's own chain of the audit log reaches so far: from now on it can't be cut shorter
    /// without its being seen.
    Anchor {
        /// Which manager.
        manager: NodeId,
        /// How far.
        anchor: Anchor,
    },
}

/// A manager goes on alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recover {
    /// Which manager.
    pub survivor: NodeId,
    /// The history that begins here: its counter is the next one.
    pub epoch: Epoch,
    /// The operator that is not suspended, if one is known.
    pub operator: Option<OperatorId>,
    /// The next cluster key, for the survivor alone; `None` where it was alone already.
    pub rekey: Option<Rekey>,
}

/// The first command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Genesis {
    /// The cluster.
    pub cluster: Cluster,
    /// The first manager's id.
    pub manager: NodeId,
    /// The first manager.
    pub node: Node,
    /// The first admin's id.
    pub operator: OperatorId,
    /// The first admin.
    pub admin: Operator,
}

/// A machine's request to join, its token already matched to `token` by digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Join {
    /// The token given.
    pub token: TokenId,
    /// BLAKE3 of the secret part given; compared again by `apply`.
    pub digest: [u8; 32],
    /// The id drawn for the machine.
    pub node: NodeId,
    /// Its name.
    pub name: Name,
    /// Which role it asked for; the token's must be the same.
    pub role: NodeRole,
    /// BLAKE3 of its public key (SPKI DER).
    pub key: [u8; 32],
    /// For managers.
    pub box_key: Option<[u8; 32]>,
    /// For managers: the cluster key of this number boxed to `box_key`.
    pub cluster_key_box: Option<(u64, Vec<u8>)>,
    /// For managers.
    pub addresses: Vec<String>,
    /// When the certificate about to be signed ends.
    pub certificate_ends: Stamp,
    /// The beginning of the issuing CA that signs it: refused unless it is the one in use.
    pub issuer: Stamp,
    /// For managers: it never votes.
    pub learner: bool,
}

/// A node has confirmed a pair up to a revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confirmation {
    /// The node.
    pub node: NodeId,
    /// The service.
    pub service: ServiceId,
    /// What it has in place is what was due at this revision.
    pub revision: Revision,
    /// It holds nothing of the service any more: the pair ends.
    pub gone: bool,
}

/// A new value, sealed by the client. `K` is how its data key is protected:
/// as a client sends it on its way in, wrapped under the wrap key in the state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewVersion<K = WrappedKey> {
    /// Drawn by the client.
    pub id: VersionId,
    /// Bytes of the value.
    pub size: u32,
    /// The value under the data key.
    pub value: SealedValue,
    /// The data key.
    pub data_key: K,
    /// What is public of it.
    pub public: Option<PublicPart>,
}

/// One change of an act.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change<K = WrappedKey> {
    /// A new secret with its first version.
    CreateSecret {
        /// Drawn by the client.
        id: SecretId,
        /// Its name.
        name: Name,
        /// Its labels.
        labels: Labels,
        /// Whether older versions of it are used no more: fixed for good.
        forward_only: bool,
        /// Its first value.
        version: NewVersion<K>,
    },
    /// A new version, which becomes current.
    UpdateSecret {
        /// Which secret.
        id: SecretId,
        /// Refused unless the current version has this number.
        expect: Option<u32>,
        /// The new value.
        version: NewVersion<K>,
    },
    /// An older version is repeated as a new one, which becomes current.
    RollBackSecret {
        /// Which secret.
        id: SecretId,
        /// Refused unless the current version has this number.
        expect: Option<u32>,
        /// The number of the version to repeat.
        to: u32,
    },
    /// What operators wrote of a secret changes, and no version of it.
    LabelSecret {
        /// Which secret.
        id: SecretId,
        /// Labels to set.
        put: Vec<Label>,
        /// Labels to remove.
        gone: Vec<String>,
    },
    /// A secret goes, with all its versions; refused while it is granted.
    RemoveSecret {
        /// Which secret.
        id: SecretId,
    },
    /// One version goes; refused if it is current or pinned.
    RemoveVersion {
        /// Which secret.
        id: SecretId,
        /// Which version.
        number: u32,
    },
    /// A new service without grants.
    CreateService {
        /// Drawn by the client.
        id: ServiceId,
        /// Its name.
        name: Name,
        /// What the operator wrote.
        spec: ServiceSpec,
    },
    /// Another spec for a service.
    UpdateService {
        /// Which service.
        id: ServiceId,
        /// Refused unless the service stands at this revision.
        expect: Option<Revision>,
        /// The whole new spec.
        spec: ServiceSpec,
    },
    /// A service goes: a revoke of all its grants.
    RemoveService {
        /// Which service.
        id: ServiceId,
    },
    /// A service may have a secret; a grant of the same secret under the same target is changed,
    /// another secret under that target is refused unless it is to be replaced.
    Grant {
        /// Which service.
        service: ServiceId,
        /// What it gets.
        grant: GrantAsked,
    },
    /// A service may not have a secret any more. Refused where it doesn't have it, unless that
    /// it was taken is still pending on a node: then it stands already.
    Revoke {
        /// Which service.
        service: ServiceId,
        /// Which secret.
        secret: SecretId,
        /// Under this target alone; `None`: under any.
        target: Option<Target>,
    },
    /// A new join token.
    CreateToken {
        /// Drawn by the leader.
        id: TokenId,
        /// The token.
        token: Token,
    },
    /// A join token goes.
    RemoveToken {
        /// Which token.
        id: TokenId,
    },
    /// What managers say of a node.
    UpdateNode {
        /// Which node.
        id: NodeId,
        /// Labels to set.
        put: Vec<Label>,
        /// Labels to remove.
        gone: Vec<String>,
        /// What may arrive.
        availability: Option<Availability>,
    },
    /// A worker goes. Refused while pairs of it are exposed unless `force`, which
    /// writes them off.
    RemoveNode {
        /// Which node.
        id: NodeId,
        /// Write off what it may still hold.
        force: bool,
    },
    /// A manager goes, and with it the cluster key that it knows. Refused for the
    /// last one.
    RemoveManager {
        /// Which manager.
        id: NodeId,
        /// The next cluster key, for those that stay.
        rekey: Box<Rekey>,
    },
    /// A member whose certificate's grace is over may renew it for a day.
    Readmit {
        /// Who.
        member: Member,
    },
    /// A new operator.
    CreateOperator {
        /// Drawn by the leader.
        id: OperatorId,
        /// The operator.
        operator: Box<Operator>,
    },
    /// An operator goes. Refused for the last admin.
    RemoveOperator {
        /// Which operator.
        id: OperatorId,
    },
}

/// The next cluster key, made by the leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rekey {
    /// Its number: the one after that in use.
    pub number: u64,
    /// Its intake public key.
    pub intake: [u8; 32],
    /// Boxed to each manager that stays.
    pub boxes: BTreeMap<NodeId, Vec<u8>>,
    /// The cluster key in use until now, under the next one's wrap key.
    pub previous: WrappedKey,
    /// The issuing CA's private key, under the next one's wrap key.
    pub issuing_key: WrappedKey,
    /// The beginning of that issuing CA: refused unless it is the one in use.
    pub issuer: Stamp,
}

impl<K> Change<K> {
    /// The same change with the data key of its new version, if it has one,
    /// protected otherwise. `protect` is told secret, version, and bytes of the value.
    ///
    /// # Errors
    /// What `protect` says.
    pub fn with_key<L, E>(
        self,
        protect: impl FnOnce(SecretId, VersionId, u32, K) -> Result<L, E>,
    ) -> Result<Change<L>, E> {
        let version = |secret, new: NewVersion<K>| {
            let NewVersion { id, size, value, data_key, public } = new;
            let data_key = protect(secret, id, size, data_key)?;
            Ok(NewVersion { id, size, value, data_key, public })
        };
        Ok(match self {
            Self::CreateSecret { id, name, labels, forward_only, version: new } => {
                let version = version(id, new)?;
                Change::CreateSecret { id, name, labels, forward_only, version }
            }
            Self::UpdateSecret { id, expect, version: new } => {
                Change::UpdateSecret { id, expect, version: version(id, new)? }
            }
            Self::RollBackSecret { id, expect, to } => Change::RollBackSecret { id, expect, to },
            Self::LabelSecret { id, put, gone } => Change::LabelSecret { id, put, gone },
            Self::RemoveSecret { id } => Change::RemoveSecret { id },
            Self::RemoveVersion { id, number } => Change::RemoveVersion { id, number },
            Self::CreateService { id, name, spec } => Change::CreateService { id, name, spec },
            Self::UpdateService { id, expect, spec } => Change::UpdateService { id, expect, spec },
            Self::RemoveService { id } => Change::RemoveService { id },
            Self::Grant { service, grant } => Change::Grant { service, grant },
            Self::Revoke { service, secret, target } => Change::Revoke { service, secret, target },
            Self::CreateToken { id, token } => Change::CreateToken { id, token },
            Self::RemoveToken { id } => Change::RemoveToken { id },
            Self::UpdateNode { id, put, gone, availability } => {
                Change::UpdateNode { id, put, gone, availability }
            }
            Self::RemoveNode { id, force } => Change::RemoveNode { id, force },
            Self::RemoveManager { id, rekey } => Change::RemoveManager { id, rekey },
            Self::Readmit { member } => Change::Readmit { member },
            Self::CreateOperator { id, operator } => Change::CreateOperator { id, operator },
            Self::RemoveOperator { id } => Change::RemoveOperator { id },
        })
    }
}

/// What an applied command answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done; nothing more to say.
    Done,
    /// What each change of an act came to, in order.
    Changed(ChangedList),
    /// The node that joined.
    Joined(Arc<Node>),
}

/// Where to look after a command. A hint: one may be dropped without harm.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fact {
    /// The cluster began.
    Founded,
    /// What holds for the cluster as a whole changed: its issuing CAs, or a recovery.
    ClusterRevised,
    /// Values or versions of a secret changed.
    SecretRevised(SecretId),
    /// A service was created, changed, granted or removed.
    ServiceRevised(ServiceId),
    /// A service lost a secret.
    GrantRevoked(ServiceId, SecretId),
    /// A node joined or changed.
    NodeRevised(NodeId),
    /// A node went.
    NodeRemoved(NodeId),
    /// Tokens changed.
    TokensRevised,
    /// Operators came, changed or went.
    OperatorsRevised,
    /// A pair was exposed, fell behind, was confirmed or ended, or is placed no more.
    PairRevised(NodeId, ServiceId),
}
