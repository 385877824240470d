//! The next certificate of a member: when it is time, and how the leader is asked for it.
//!
//! The same for agents, operators and managers. Whoever asks has its next key durable before;
//! until the leader has seen it with that one, both keys are good.

use std::time::Duration;

use tonic::Status;
use tonic::transport::Channel;

use crate::ca::{
    CaError, Leaf, PrivateKey, START_TOLERANCE_MS, certificate_request, key_digest, verify_chain,
};
use crate::transport::rpc::api::membership_client::MembershipClient;
use crate::transport::{Problem, read_problem};
use skep_core::base::{Fingerprint, Stamp};
use skep_core::wire::api;
use skep_core::wire::convert::read_managers;

/// The answer to a renewal: it is committed by then.
const ANSWER: Duration = Duration::from_secs(15);

/// When a certificate is renewed that begins and ends so: between 50 and 80 % of its life,
/// as `drawn` says, so that those that joined together don't come back together.
#[must_use]
pub fn due(starts: Stamp, ends: Stamp, drawn: u16) -> Stamp {
    let life = u128::from(ends.0.saturating_sub(starts.0));
    let part = u128::from(u16::MAX) * 5 + 3 * u128::from(drawn);
    let after = life * part / (u128::from(u16::MAX) * 10);
    starts.plus_ms(u64::try_from(after).unwrap_or(u64::MAX))
}

/// The same for a certificate that says by itself when: whoever reads it, and how often, finds
/// the same moment, and there is nothing to be kept.
#[must_use]
pub fn due_of(leaf: &Leaf) -> Stamp {
    let mut hash = blake3::Hasher::new();
    hash.update(&leaf.key).update(&leaf.starts.0.to_le_bytes());
    let mut drawn = [0; 2];
    hash.finalize_xof().fill(&mut drawn);
    due(leaf.starts, leaf.ends, u16::from_le_bytes(drawn))
}

/// How a certificate stands in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Age {
    /// It is good, and its next is not due.
    Young,
    /// It is good, and it is time for the next.
    Due,
    /// It has ended.
    Ended,
    /// It begins later than a clock of the cluster's may be ahead.
    NotBegun,
}

impl Age {
    /// At `now`.
    #[must_use]
    pub fn of(leaf: &Leaf, now: Stamp) -> Self {
        if now >= leaf.ends {
            Self::Ended
        } else if now.plus_ms(START_TOLERANCE_MS) < leaf.starts {
            Self::NotBegun
        } else if now >= due_of(leaf) {
            Self::Due
        } else {
            Self::Young
        }
    }
    /// Whether it opens anything.
    #[must_use]
    pub fn is_good(self) -> bool {
        matches!(self, Self::Young | Self::Due)
    }
}

/// What the leader answered, checked: it is for whom it was asked, and for its key.
#[derive(Debug)]
pub struct Next {
    /// Leaf, issuing CA, root (DER).
    pub chain: Vec<Vec<u8>>,
    /// What the leaf says.
    pub leaf: Leaf,
    /// Where managers are, each `host:port`.
    pub addresses: Vec<String>,
    /// The oldest issuing CA (by when it begins) that a manager's certificate may be of.
    pub oldest_issuer: Stamp,
}

/// Why there is no next certificate.
#[derive(Debug, thiserror::Error)]
pub enum NotRenewed {
    /// What the manager says.
    #[error("{0}")]
    Said(Problem),
    /// The connection broke, or nothing came in time: it may have been signed. Asked again
    /// with the same key the answer is as good.
    #[error("{0}")]
    NoAnswer(String),
    /// An answer that no manager of ours gives.
    #[error("the manager's answer does not fit: its certificate {0}")]
    Answer(CaError),
    /// No proof of the key could be made.
    #[error("{0}")]
    NoProof(CaError),
}

impl From<Status> for NotRenewed {
    fn from(status: Status) -> Self {
        match read_problem(&status) {
            Some(problem) => Self::Said(problem),
            None => Self::NoAnswer(status.message().to_owned()),
        }
    }
}

async fn in_time<T>(
    call: impl Future<Output = Result<tonic::Response<T>, Status>>,
) -> Result<T, NotRenewed> {
    match tokio::time::timeout(ANSWER, call).await {
        Ok(answer) => Ok(answer?.into_inner()),
        Err(_late) => Err(NotRenewed::NoAnswer("no answer in time".to_owned())),
    }
}

/// Asks over a connection that shows the certificate `shown` for one for `key`: the same key,
/// or another one that is durable already.
///
/// # Errors
/// [`NotRenewed`].
pub async fn ask(
    channel: Channel,
    shown: &Leaf,
    key: &PrivateKey,
    fingerprint: Fingerprint,
    now: Stamp,
) -> Result<Next, NotRenewed> {
    let public_key = key.public();
    let proof = certificate_request(key).map_err(NotRenewed::NoProof)?;
    let digest = key_digest(&public_key);
    let request = api::RenewRequest { public_key, proof };
    let reply = in_time(MembershipClient::new(channel).renew(request)).await?;
    let leaf = verify_chain(&reply.chain, fingerprint, now).map_err(NotRenewed::Answer)?;
    if leaf.subject != shown.subject || leaf.key != digest {
        return Err(NotRenewed::Answer(CaError::Malformed("certificate of this member")));
    }
    let (addresses, oldest_issuer) = (read_managers(reply.addresses), Stamp(reply.oldest_issuer));
    Ok(Next { chain: reply.chain, leaf, addresses, oldest_issuer })
}

/// Shows the next certificate, over a connection that was made with it: the key before it is
/// listed no more.
///
/// # Errors
/// [`NotRenewed`].
pub async fn seen(channel: Channel) -> Result<(), NotRenewed> {
    let shown = in_time(MembershipClient::new(channel).renewed(api::RenewedRequest {})).await;
    shown.map(|api::RenewedReply {}| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_due_between_half_and_four_fifths_of_its_life() {
        let (starts, ends) = (Stamp(1_000), Stamp(101_000));
        assert_eq!(due(starts, ends, 0), Stamp(51_000));
        assert_eq!(due(starts, ends, u16::MAX), Stamp(81_000));
        assert_eq!(due(starts, ends, u16::MAX / 2).0 / 100, 659);
        let all: Vec<_> = (0..=u16::MAX).map(|drawn| due(starts, ends, drawn)).collect();
        assert!(all.is_sorted());
        assert_eq!(due(ends, starts, 9), ends, "no life at all");
        assert!(due(Stamp(0), Stamp(u64::MAX), u16::MAX) < Stamp(u64::MAX));
    }
}
