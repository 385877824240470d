//! Becoming a member: a token once, then an identity on disk.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use skep_client::ca::{
    CaError, CertificateRole, Identity, IdentityError, JoinToken, PrivateKey, certificate_request,
    key_digest, verify_chain,
};
use skep_client::transport::rpc::api::membership_client::MembershipClient;
use skep_client::transport::{ClientTls, ConnectError, Expect, connect, read_problem};
use skep_core::base::{ClusterId, Disk, Exit, Name, NodeId, SecretBytes, Stamp};
use skep_core::seal::HelloKey;
use skep_core::wire::api;

/// One try to connect.
const CONNECT: Duration = Duration::from_secs(2);
/// The answer to a join: it is committed by then.
const ANSWER: Duration = Duration::from_secs(15);
/// Managers asked in one round, those that were pointed at included.
const HOPS: usize = 16;
/// Bytes of an identity file.
const IDENTITY_BYTES: u64 = 64 * 1024;
/// The file's name in the data directory.
const IDENTITY: &str = "identity";
/// The key of a join that was not answered yet: PKCS#8 DER.
const JOINING: &str = "joining";
/// Bytes of that.
const KEY_BYTES: u64 = 1024;

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
    /// When its certificate ends.
    pub ends: Stamp,
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

/// An identity on disk that is of no use.
#[derive(Debug, thiserror::Error)]
pub enum BadIdentity {
    /// The system says.
    #[error("cannot be read: {0}")]
    Unreadable(#[from] std::io::Error),
    /// Not an identity.
    #[error("{0}")]
    Text(#[from] IdentityError),
    /// Its certificate.
    #[error("its certificate {0}")]
    Chain(CaError),
    /// Past its end.
    #[error("its certificate has expired")]
    Expired,
    /// Not an agent's.
    #[error("is not an agent's")]
    Role,
}

impl Application {
    /// Asks the managers in turn, once round, following where they point to.
    ///
    /// # Errors
    /// [`JoinError`].
    pub async fn ask(&self, clock: &Arc<dyn skep_core::base::Clock>) -> Result<Member, JoinError> {
        let mut asked: Vec<String> = Vec::new();
        let mut to_ask: Vec<String> = self.managers.iter().rev().cloned().collect();
        let mut last = JoinError::Unreachable("no address is known".to_owned());
        while let Some(address) = to_ask.pop() {
            if asked.contains(&address) || asked.len() >= HOPS {
                continue;
            }
            asked.push(address.clone());
            match self.ask_one(&address, clock).await {
                Ok(reply) => return self.member(reply, clock.now()),
                Err(Answered::Elsewhere(addresses)) => {
                    last = JoinError::NotNow("no manager leads".to_owned());
                    to_ask.extend(addresses.into_iter().rev());
                }
                Err(Answered::No(error @ (JoinError::Unreachable(_) | JoinError::NotNow(_)))) => {
                    last = error;
                }
                Err(Answered::No(error)) => return Err(error),
            }
        }
        Err(last)
    }

    async fn ask_one(
        &self,
        address: &str,
        clock: &Arc<dyn skep_core::base::Clock>,
    ) -> Result<api::JoinReply, Answered> {
        let tls = ClientTls::anonymous(self.token.fingerprint, Arc::clone(clock));
        let (channel, _) = connect(address, &tls, Expect::AnyManager, CONNECT).await?;
        let request = api::JoinRequest {
            token_id: self.token.id.as_bytes().to_vec(),
            token_secret: self.token.secret.expose().to_vec(),
            role: "worker".to_owned(),
            name: self.name.to_string(),
            public_key: self.key.public(),
            proof: certificate_request(&self.key).map_err(JoinError::Key)?,
            box_key: Vec::new(),
            addresses: Vec::new(),
        };
        let mut client = MembershipClient::new(channel);
        match tokio::time::timeout(ANSWER, client.join(request)).await {
            Ok(Ok(reply)) => Ok(reply.into_inner()),
            Ok(Err(status)) => Err(answered(&status)),
            Err(_) => Err(JoinError::Unreachable(format!("{address}: no answer in time")).into()),
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
            chain: reply.chain,
            key,
            hello,
        };
        let (name, cluster) = (leaf.subject.name, leaf.subject.cluster);
        Ok(Member { identity, node, name, cluster, ends: leaf.ends })
    }
}

/// What a manager said to a join that was not "yes".
enum Answered {
    Elsewhere(Vec<String>),
    No(JoinError),
}

impl From<JoinError> for Answered {
    fn from(error: JoinError) -> Self {
        Self::No(error)
    }
}

impl From<ConnectError> for Answered {
    fn from(error: ConnectError) -> Self {
        Self::No(match error {
            ConnectError::Unreachable { .. } => JoinError::Unreachable(error.to_string()),
            ConnectError::Refused { address, why } => JoinError::Refused {
                text: format!("{address}: {why}"),
                hint: "the token names another cluster than this manager's: check both".to_owned(),
            },
        })
    }
}

fn answered(status: &tonic::Status) -> Answered {
    use tonic::Code;
    let (text, hint, exit) = match read_problem(status) {
        Some(problem) if !problem.leader_addresses.is_empty() => {
            return Answered::Elsewhere(problem.leader_addresses);
        }
        Some(problem) => (problem.text, problem.hint, problem.exit),
        None => (status.message().to_owned(), String::new(), Exit::Refused),
    };
    // What a manager says about the application is final; about itself, it is not.
    let about_us = matches!(exit, Exit::Done | Exit::Refused | Exit::Usage)
        && matches!(
            status.code(),
            Code::PermissionDenied
                | Code::Unauthenticated
                | Code::InvalidArgument
                | Code::AlreadyExists
                | Code::FailedPrecondition
                | Code::Unimplemented
        );
    if about_us {
        Answered::No(JoinError::Refused { text, hint })
    } else {
        Answered::No(JoinError::NotNow(text))
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
        let leaf = verify_chain(&identity.chain, identity.fingerprint, now).map_err(|error| {
            if error == CaError::Expired { BadIdentity::Expired } else { BadIdentity::Chain(error) }
        })?;
        let CertificateRole::Worker(node) = leaf.subject.role else {
            return Err(BadIdentity::Role);
        };
        let (name, cluster) = (leaf.subject.name, leaf.subject.cluster);
        Ok(Some(Self { identity, node, name, cluster, ends: leaf.ends }))
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
        disk.sync_folder(folder)
    }
}
