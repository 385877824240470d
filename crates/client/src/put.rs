//! What a workload writes by itself: next values of files that its service was granted to write.
//!
//! It asks its machine's agent, which knows by the kernel who asks. A value is sealed here, so
//! that it stands open in no other process; the agent sees that it opens and boxes its key to
//! the managers.

use std::path::Path;
use std::time::Duration;

use tokio::time::timeout;
use tonic::Status;
use tonic::transport::Channel;

use skep_core::base::{Dice, Exit, Failure, Name, SecretBytes, SecretId, Target, VersionId};
use skep_core::seal::{DataKey, SealError, ValueContext, open_value, seal_value};
use skep_core::wire::local;

use crate::answer::Answer;
use crate::machine::OsDice;
use crate::transport::rpc::local::agent_client::AgentClient;
use crate::transport::{connect_local, read_problem};

/// Between a process and its agent.
const CONNECT: Duration = Duration::from_secs(5);

/// A next value.
#[derive(Debug)]
pub struct NextValue {
    /// Of which file below `/run/secrets`.
    pub target: Target,
    /// 1 byte to 511,999 bytes.
    pub value: SecretBytes,
}

/// How a put is to be answered.
#[derive(Clone, Copy, Debug)]
pub struct Answering {
    /// How long the agent may take, for each of two questions.
    pub within: Duration,
    /// Whether it is answered once the nodes of all services that are granted them have the values,
    /// or some seconds later; else once managers have them.
    pub wait: bool,
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutDone {
    /// As of which revision.
    pub revision: u64,
    /// The new versions' numbers, in the order of the values.
    pub numbers: Vec<u32>,
    /// Of one that waited: whether every node of every service that is granted them has them.
    pub in_place: bool,
    /// Else the nodes that had not, as far as it is known.
    pub waiting_for: Vec<String>,
}

/// Why nothing was written, or may have been.
#[derive(Debug, thiserror::Error)]
pub enum NotPut {
    /// Somebody else wrote in between: read again, and decide again.
    #[error("{}", .0.text)]
    Changed(Failure),
    /// The service's or the node's share is used up: later.
    #[error("{}", .0.text)]
    TooOften(Failure),
    /// Refused; nobody reached, and nothing done; or, with [`Exit::Unknown`], it may have been
    /// done: the file shows it.
    #[error("{}", .0.text)]
    Failed(Failure),
}

impl NotPut {
    /// With the status of a process that ends for it.
    #[must_use]
    pub fn failure(self) -> Failure {
        match self {
            Self::Changed(failure) | Self::TooOften(failure) | Self::Failed(failure) => failure,
        }
    }
}

/// Writes next values as one act, by the agent that listens at `socket`. `generation` is what
/// `/run/secrets/..data` named when the caller read what it replaces, as in `..17`; without one
/// the set that is in place when this is called is replaced, whatever it holds.
///
/// # Errors
/// [`NotPut`].
pub async fn put(
    socket: &Path,
    service: &Name,
    generation: Option<&str>,
    values: &[NextValue],
    answering: Answering,
) -> Result<PutDone, NotPut> {
    let Answering { within, wait } = answering;
    let mut agent = agent(socket).await?;
    let asked = local::PutKeyRequest {
        service: service.to_string(),
        targets: values.iter().map(|next| next.target.to_string()).collect(),
        generation: generation.unwrap_or_default().to_owned(),
    };
    let reply = answered(timeout(within, agent.put_key(asked)).await, false)?;
    let sealed = seal_all(&mut OsDice, &reply, values)
        .map_err(|error| NotPut::Failed(Failure::new(Exit::Bug, format!("a value: {error}"))))?;
    let request = local::PutRequest { service: service.to_string(), values: sealed, wait };
    let reply = answered(timeout(within, agent.put(request)).await, true)?;
    let local::PutReply { revision, numbers, in_place, waiting_for } = reply;
    Ok(PutDone { revision, numbers, in_place, waiting_for })
}

/// How far a record reaches that a workload keeps by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordReach {
    /// What it is called.
    pub record: Name,
    /// Lines of its newest file.
    pub lines: u64,
    /// The head of the last of them.
    pub head: [u8; 32],
}

/// Has managers put on record how far a record reaches, by the agent that listens at `socket`.
/// Whoever shortens it afterwards is found out.
///
/// # Errors
/// [`NotPut`]: it was not, or perhaps not; it is to be said again.
pub async fn anchor(
    socket: &Path,
    service: &Name,
    reach: &RecordReach,
    within: Duration,
) -> Result<(), NotPut> {
    let mut agent = agent(socket).await?;
    let asked = local::AnchorRequest {
        service: service.to_string(),
        record: reach.record.to_string(),
        lines: reach.lines,
        head: reach.head.to_vec(),
    };
    answered(timeout(within, agent.anchor(asked)).await, false).map(drop)
}

async fn agent(socket: &Path) -> Result<AgentClient<Channel>, NotPut> {
    let connected = timeout(CONNECT, connect_local(socket)).await;
    let late = |_| std::io::Error::from(std::io::ErrorKind::TimedOut);
    let channel = connected.map_err(late).flatten().map_err(|error| {
        let text = format!("no agent reached: {}: {error}", socket.display());
        NotPut::Failed(Failure::new(Exit::Unreachable, text).hint(
            "is `skep agent run` running here? --agent-socket or SKEP_AGENT names its socket",
        ))
    })?;
    Ok(AgentClient::new(channel))
}

/// Nothing was done by a question that was lost on the way; what was `sent` may have been.
fn answered<T>(
    answer: Result<Result<tonic::Response<T>, Status>, tokio::time::error::Elapsed>,
    sent: bool,
) -> Result<T, NotPut> {
    let lost = |why: String| {
        let failure = if sent {
            Failure::new(Exit::Unknown, format!("the outcome is unknown: {why}"))
                .hint("it may have been done: look at the file before repeating")
        } else {
            Failure::new(Exit::Unreachable, why).hint("nothing was done; repeat it")
        };
        NotPut::Failed(failure)
    };
    let status = match answer {
        Ok(Ok(reply)) => return Ok(reply.into_inner()),
        Ok(Err(status)) => status,
        Err(_elapsed) => return Err(lost("the agent did not answer in time".to_owned())),
    };
    let failure = match Answer::read(&status) {
        Answer::Lost(why) => return Err(lost(format!("the connection to the agent broke: {why}"))),
        Answer::Refused(failure)
        | Answer::Unknown(failure)
        | Answer::NoLeader(failure)
        | Answer::Busy(failure)
        | Answer::LeaderIsAt(_, failure) => failure,
    };
    Err(match read_problem(&status) {
        Some(problem) if problem.is_newer() => NotPut::Changed(failure),
        Some(problem) if problem.is_too_often() => NotPut::TooOften(failure),
        _ => NotPut::Failed(failure),
    })
}

fn seal_all(
    dice: &mut dyn Dice,
    reply: &local::PutKeyReply,
    values: &[NextValue],
) -> Result<Vec<local::PutValue>, SealError> {
    let malformed = |_| SealError::Malformed;
    let cluster = reply.cluster_id.as_slice().try_into().map_err(|_bad| SealError::Malformed)?;
    let public = reply.put_public.as_slice().try_into().map_err(malformed)?;
    if reply.places.len() != values.len() {
        return Err(SealError::Malformed);
    }
    let each = values.iter().zip(&reply.places).map(|(next, place)| {
        let size = u32::try_from(next.value.len()).map_err(|_too_long| SealError::Malformed)?;
        let secret = SecretId::try_from(place.secret.as_slice());
        let secret = secret.map_err(|_bad| SealError::Malformed)?;
        let version = VersionId::draw(dice);
        let context = ValueContext { cluster, secret, version, size };
        let key = DataKey::draw(dice);
        let sealed = seal_value(dice, &key, &context, &next.value)?;
        if open_value(&key, &context, &sealed.0)?.expose() != next.value.expose() {
            return Err(SealError::DoesNotOpen);
        }
        Ok(local::PutValue {
            secret: secret.as_bytes().to_vec(),
            expect: place.number,
            version: version.as_bytes().to_vec(),
            size,
            sealed_value: sealed.0.to_vec().into(),
            boxed_key: key.box_to(dice, &public, &context)?,
        })
    });
    each.collect()
}
