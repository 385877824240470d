//! Becoming a member: a token once, then an identity on disk.

use std::path::Path;
use std::sync::Arc;

use super::identity::{BadIdentity, IDENTITY, IDENTITY_BYTES, KEY_BYTES, forget, leaf_of};
use skep_client::ca::{
    CaError, CertificateRole, Identity, JoinToken, PrivateKey, key_digest, verify_chain,
};
use skep_client::join::{self, NotAdmitted};
use skep_client::transport::{ConnectError, SET_THE_CLOCK};
use skep_core::base::{Clock, ClusterId, Disk, Name, NodeId, SecretBytes, Stamp};
use skep_core::domain::NodeRole;
use skep_core::seal::HelloKey;
use skep_core::wire::api;

/// The key of a join that was not answered yet: PKCS#8 DER.
const JOINING: &str = "joining";
/// Why the agent is no member (yet).
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// None could be reached; trying again may help.
    #[error("no manager could be reached: {0}")]
    Unreachable(String),
    /// Reached, and not now; trying again may help.
    #[error("the managers cannot admit anybody now: {0}")]
    NotNow(String),
    /// Refused for good.
    #[error("not admitted: {text}")]
    Refused {
        /// What the leader says.
        text: String,
        /// What it says to do.
        hint: String,
    },
    /// An answer that no manager of ours gives.
    #[error("the manager's answer to the join does not fit: {0}")]
    Answer(String),
    /// The system's.
    #[error("a key or certificate could not be made: {0}")]
    Key(#[from] CaError),
}

/// What is asked for.
#[derive(Debug)]
pub struct Application {
    /// The token.
    pub token: JoinToken,
    /// Managers to ask, `host:port`.
    pub managers: Vec<String>,
    /// The name asked for.
    pub name: Name,
    /// Whoever asks again with the same one is the node that it became the first time.
    pub key: PrivateKey,
}

/// A member's identity and what its certificate says.
#[derive(Debug)]
pub struct Member {
    /// Certificate, key, managers.
    pub identity: Identity,
    /// This node.
    pub node: NodeId,
    /// Its name.
    pub name: Name,
    /// Its cluster.
    pub cluster: ClusterId,
}

/// A key of a join that is of no use.
#[derive(Debug, thiserror::Error)]
pub enum BadJoining {
    /// The system says.
    #[error("cannot be read: {0}")]
    Unreadable(std::io::Error),
    /// The system says.
    #[error("cannot be written: {0}")]
    Unwritten(std::io::Error),
    /// Not a key, or none could be made.
    #[error("{0}")]
    Key(#[from] CaError),
}

impl Application {
    /// Asks the managers in turn, once round, following where they point to.
    ///
    /// # Errors
    /// [`JoinError`].
    pub async fn ask(&self, clock: &Arc<dyn Clock>) -> Result<Member, JoinError> {
        let application = join::Application {
            token: &self.token,
            role: NodeRole::Worker,
            name: &self.name,
            key: &self.key,
            box_key: None,
            addresses: Vec::new(),
            learner: false,
        };
        match application.ask_round(&self.managers, clock).await {
            Ok(reply) => self.member(reply, clock.now()),
            Err(round) => Err(round.why.into()),
        }
    }

    fn member(&self, reply: api::JoinReply, now: Stamp) -> Result<Member, JoinError> {
        let odd = |what: &str| JoinError::Answer(what.to_owned());
        let leaf = verify_chain(&reply.chain, self.token.fingerprint, now)
            .map_err(|error| JoinError::Answer(format!("its certificate {error}")))?;
        let CertificateRole::Worker(node) = leaf.subject.role else {
            return Err(odd("its certificate is not an agent's"));
        };
        if leaf.key != key_digest(&self.key.public()) {
            return Err(odd("its certificate is for another key"));
        }
        let key = PrivateKey::from_pkcs8(SecretBytes::copy_of(self.key.expose()))?;
        let hello = HelloKey::parse(&SecretBytes::take(reply.hello_key))
            .map_err(|_| odd("its hello key is none"))?;
        let mut addresses = reply.addresses;
        addresses.extend(self.managers.iter().cloned());
        addresses.dedup();
        let identity = Identity {
            cluster: reply.cluster_name.parse().map_err(|_| odd("cluster name"))?,
            fingerprint: self.token.fingerprint,
            addresses,
            oldest_issuer: Stamp(reply.oldest_issuer),
            chain: reply.chain,
            key,
            hello,
            sealed: None,
        };
        let (name, cluster) = (leaf.subject.name, leaf.subject.cluster);
        Ok(Member { identity, node, name, cluster })
    }
}

impl From<NotAdmitted> for JoinError {
    fn from(why: NotAdmitted) -> Self {
        match why {
            NotAdmitted::NotReached(ConnectError::Refused { address, why }) => Self::Refused {
                text: format!("{address}: {why}"),
                hint: "the token names another cluster than this manager's: check both".to_owned(),
            },
            NotAdmitted::NotReached(error) if error.may_be_the_clock() => {
                Self::Unreachable(format!("{error}; {SET_THE_CLOCK}"))
            }
            NotAdmitted::Nobody | NotAdmitted::NotReached(_) | NotAdmitted::Unknown { .. } => {
                Self::Unreachable(why.to_string())
            }
            NotAdmitted::NotNow(problem) => Self::NotNow(problem.text),
            NotAdmitted::Refused(problem) => {
                Self::Refused { text: problem.text, hint: problem.hint }
            }
            NotAdmitted::NoProof(error) => Self::Key(error),
        }
    }
}

/// The key to join with: that of an attempt whose answer was not heard, or a new one, which is
/// kept until it is.
///
/// # Errors
/// [`BadJoining`]: damaged is never taken for absent.
pub fn joining_key(disk: &dyn Disk, folder: &Path) -> Result<PrivateKey, BadJoining> {
    let path = folder.join(JOINING);
    match disk.read(&path, KEY_BYTES) {
        Ok(der) => Ok(PrivateKey::from_pkcs8(SecretBytes::take(der))?),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let key = PrivateKey::generate()?;
            disk.replace(&path, key.expose()).map_err(BadJoining::Unwritten)?;
            Ok(key)
        }
        Err(error) => Err(BadJoining::Unreadable(error)),
    }
}

/// The join was answered: its key is in the identity, or of no use.
///
/// # Errors
/// What the disk says.
pub fn forget_joining(disk: &dyn Disk, folder: &Path) -> std::io::Result<()> {
    match disk.remove(&folder.join(JOINING)) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        removed => removed.and_then(|()| disk.sync_folder(folder)),
    }
}

impl Member {
    /// The identity in this data directory; none before the first join.
    ///
    /// # Errors
    /// [`BadIdentity`]: damaged is never taken for absent.
    pub fn load(disk: &dyn Disk, folder: &Path, now: Stamp) -> Result<Option<Self>, BadIdentity> {
        let text = match disk.read(&folder.join(IDENTITY), IDENTITY_BYTES) {
            Ok(text) => zeroize::Zeroizing::new(text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let identity = Identity::parse(&text)?;
        let leaf = leaf_of(&identity, now)?;
        let CertificateRole::Worker(node) = leaf.subject.role else {
            return Err(BadIdentity::Role);
        };
        let (name, cluster) = (leaf.subject.name, leaf.subject.cluster);
        Ok(Some(Self { identity, node, name, cluster }))
    }

    /// Keeps the identity, mode 0600.
    ///
    /// # Errors
    /// What the disk says.
    pub fn save(&self, disk: &dyn Disk, folder: &Path) -> std::io::Result<()> {
        disk.replace(&folder.join(IDENTITY), self.identity.to_text().expose())
    }

    /// Forgets an identity that is of no more use.
    ///
    /// # Errors
    /// What the disk says.
    pub fn forget(disk: &dyn Disk, folder: &Path) -> std::io::Result<()> {
        disk.remove(&folder.join(IDENTITY))?;
        forget(disk, folder)
    }
}
