//! An operator's certificate, renewed: with the key that it is for, so that copies of the
//! identity stay good, or for another key, and then they don't.
//!
//! It comes to that where nothing else is open to the certificate; where a program keeps what
//! comes of it ([`Link::renew_in_time`]), also once that is due, or another issuing CA is in use;
//! and where it is asked for.

use std::time::{Duration, Instant};

use tokio::time::{timeout, timeout_at};
use tonic::Status;

use super::connecting::CONNECT;
use super::tries::Tries;
use super::{CallKind, Link, Managers};
use crate::answer::Answer;
use crate::ca::{CaError, Identity, Leaf, PrivateKey, issuer_begins, read_leaf};
use crate::error::CallError;
use crate::machine::SystemClock;
use crate::renew::{Age, NotRenewed, ask, seen};
use crate::transport::{Credentials, Expect, connect, read_problem};
use skep_core::base::{Clock as _, Exit, Failure, Fingerprint, SecretBytes, Stamp};

/// Managers that are asked: one that follows names the leader.
const ASKED: usize = 8;
/// Between two renewals that are tried in passing.
const EACH: Duration = Duration::from_mins(1);

/// What a link shows, and by what it gets another certificate.
#[derive(Debug)]
pub(super) struct Own {
    credentials: Credentials,
    key: PrivateKey,
    leaf: Leaf,
    fingerprint: Fingerprint,
    /// When its issuing CA begins.
    pub(super) issuer: Stamp,
    /// It is renewed as soon as that is due.
    in_time: bool,
    /// When that was tried last.
    tried: Option<Instant>,
}

/// What takes the place of an identity's certificate.
#[derive(Debug)]
pub(super) struct Next {
    /// Leaf, issuing CA, root.
    pub(super) chain: Vec<Vec<u8>>,
    /// BLAKE3 of the public key that the identity had, and the key that it has now; none: that one.
    pub(super) key: Option<([u8; 32], PrivateKey)>,
}

fn copy(key: &PrivateKey) -> Result<PrivateKey, CaError> {
    PrivateKey::from_pkcs8(SecretBytes::copy_of(key.expose()))
}

/// What an identity's certificate says, and when its issuing CA begins.
fn read(identity: &Identity) -> Result<(Leaf, Stamp), CaError> {
    let [leaf, issuing, _] = identity.chain.as_slice() else {
        return Err(CaError::Malformed("chain of three certificates"));
    };
    Ok((read_leaf(leaf)?, issuer_begins(issuing)?))
}

/// What an identity's certificate says.
///
/// # Errors
/// It is none.
pub fn leaf_of(identity: &Identity) -> Result<Leaf, CaError> {
    read(identity).map(|(leaf, _)| leaf)
}

/// Whether it is time to renew an identity's certificate, by this machine's clock and by the
/// issuing CA in use, where a manager said which one that is (0: none did). One that has ended is
/// renewed by whatever uses it.
#[must_use]
pub fn is_due(identity: &Identity, issuer: Stamp) -> bool {
    read(identity)
        .is_ok_and(|(leaf, own)| own < issuer || Age::of(&leaf, SystemClock.now()) == Age::Due)
}

impl Own {
    pub(super) fn new(identity: &Identity, credentials: Credentials) -> Result<Self, CaError> {
        let (leaf, issuer) = read(identity)?;
        Ok(Self {
            credentials,
            key: copy(&identity.key)?,
            leaf,
            fingerprint: identity.fingerprint,
            issuer,
            in_time: false,
            tried: None,
        })
    }
}

impl Link {
    /// Has the certificate renewed as soon as that is due, or another issuing CA is in use: for a
    /// program that keeps [`Link::managers`], or runs on.
    pub fn renew_in_time(&mut self) {
        if let Some(own) = &mut self.own {
            own.in_time = true;
        }
    }

    /// Has what this link hears and renews be told by `managers`, beside what that one tells.
    pub fn keep_to(&mut self, managers: &Managers) {
        self.managers = managers.clone();
    }

    /// When the certificate ends that is shown to managers elsewhere.
    #[must_use]
    pub fn own_ends(&self) -> Option<Stamp> {
        self.own.as_ref().map(|own| own.leaf.ends)
    }

    /// Whether it is to be renewed in passing.
    pub(super) fn is_due(&self) -> bool {
        let newest = self.managers.issuer().max(self.known_issuer);
        self.own.as_ref().is_some_and(|own| {
            own.in_time
                && own.tried.is_none_or(|tried| tried.elapsed() >= EACH)
                && (own.issuer < newest || Age::of(&own.leaf, SystemClock.now()) == Age::Due)
        })
    }

    /// Renews it in passing: what fails is tried again later.
    pub(super) async fn renew_in_passing(&mut self) {
        if let Some(own) = &mut self.own {
            own.tried = Some(Instant::now());
        }
        if let Err(why) = self.renew().await {
            tracing::debug!(event = "certificate_not_renewed", ?why);
        }
    }

    /// Whether nothing is open to the certificate that was shown but its renewal.
    pub(crate) fn wants_renewal(&self, status: &Status) -> bool {
        let wants = read_problem(status).is_some_and(|problem| problem.wants_renewal());
        wants && self.own.is_some()
    }

    /// Asks the managers for another certificate, for the same key, and shows it from then on.
    /// What it is says [`Link::managers`], to be kept.
    ///
    /// # Errors
    /// [`CallError`]: what the identity holds is as good as it was.
    pub async fn renew_now(&mut self) -> Result<(), CallError> {
        self.renew_until_answered(None).await
    }

    /// The same for another key. Until [`Link::show`] both are good.
    ///
    /// # Errors
    /// [`CallError`]: what the identity holds is as good as it was.
    pub async fn renew_to(&mut self, key: &PrivateKey) -> Result<(), CallError> {
        self.renew_until_answered(Some(key)).await
    }

    async fn renew_until_answered(&mut self, key: Option<&PrivateKey>) -> Result<(), CallError> {
        let mut tries = Tries::new(CallKind::Read, self.timeout, self.patience.clone());
        // Where nobody is there, that is what there is to be told.
        match timeout_at(tries.deadline, self.client()).await {
            Ok(reached) => drop(reached?),
            Err(_elapsed) => return Err(tries.unasked(self.timeout)),
        }
        loop {
            match timeout_at(tries.deadline, self.ask_all(key)).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(answer)) => tries.answered(answer).await?,
                Err(_elapsed) => return Err(tries.unasked(self.timeout)),
            }
        }
    }

    /// Shows the managers the certificate that was renewed: copies of the identity with the
    /// key before are good no more.
    ///
    /// # Errors
    /// [`CallError`]: both keys are good until the next call.
    pub async fn show(&mut self) -> Result<(), CallError> {
        let shown = timeout(self.timeout, self.tell_all()).await;
        let late = CallError::NotInTime { after: self.timeout, reached: false };
        shown.unwrap_or(Err(late))
    }

    async fn tell_all(&mut self) -> Result<(), CallError> {
        let Some(tls) = &self.tls else { return Err(CallError::NoIdentity) };
        let mut addresses = self.addresses();
        let mut last = nobody();
        for _ in 0..ASKED {
            if addresses.is_empty() {
                break;
            }
            let address = addresses.remove(0);
            let channel = match connect(&address, tls, Expect::AnyManager, CONNECT).await {
                Ok((channel, _)) => channel,
                Err(error) => {
                    last = away(&error.to_string());
                    continue;
                }
            };
            match seen(channel).await {
                Ok(()) => return Ok(()),
                Err(why) => last = not(why, &mut addresses),
            }
        }
        Err(said(last))
    }

    /// Asks the managers for another certificate for the same key.
    ///
    /// # Errors
    /// What came of it: nothing else was done meanwhile.
    pub(crate) async fn renew(&mut self) -> Result<(), Answer> {
        self.ask_all(None).await
    }

    /// Where managers may be, the leader first.
    fn addresses(&self) -> Vec<String> {
        let mut addresses = self.leader.clone();
        addresses.extend(self.route.addresses().iter().cloned());
        addresses.extend(self.managers.addresses());
        let mut known = std::collections::BTreeSet::new();
        addresses.retain(|address| known.insert(address.clone()));
        addresses
    }

    async fn ask_all(&mut self, next: Option<&PrivateKey>) -> Result<(), Answer> {
        let mut addresses = self.addresses();
        let (Some(own), Some(tls)) = (self.own.as_mut(), &self.tls) else {
            let why = CallError::NoIdentity;
            return Err(Answer::Refused(Failure::new(why.exit(), why)));
        };
        let mut last = nobody();
        for _ in 0..ASKED {
            if addresses.is_empty() {
                break;
            }
            let address = addresses.remove(0);
            let (channel, peer) = match connect(&address, tls, Expect::AnyManager, CONNECT).await {
                Ok(connected) => connected,
                Err(error) => {
                    last = away(&error.to_string());
                    continue;
                }
            };
            let (key, now) = (next.unwrap_or(&own.key), SystemClock.now());
            let renewed = match ask(channel, &own.leaf, key, own.fingerprint, now).await {
                Ok(renewed) => renewed,
                Err(why) => {
                    last = not(why, &mut addresses);
                    // Asked elsewhere it is answered the same.
                    if matches!(last, Answer::Refused(_)) {
                        break;
                    }
                    continue;
                }
            };
            let unsound = |error: CaError| Answer::Refused(Failure::new(Exit::Bug, error));
            let pkcs8 = SecretBytes::copy_of(key.expose());
            own.credentials.swap(&renewed.chain, &pkcs8).map_err(unsound)?;
            let before = own.leaf.key;
            let key = match next {
                Some(key) => {
                    own.key = copy(key).map_err(unsound)?;
                    Some((before, copy(key).map_err(unsound)?))
                }
                None => None,
            };
            let issuing = renewed.chain.get(1).and_then(|der| issuer_begins(der).ok());
            own.leaf = renewed.leaf;
            own.issuer = issuing.unwrap_or_default();
            self.known_issuer = self.known_issuer.max(own.issuer).max(peer.issuer());
            self.managers.renewed(Next { chain: renewed.chain, key });
            // The next call shows it.
            self.channel = None;
            return Ok(());
        }
        Err(last)
    }
}

/// Nobody is there to ask.
fn nobody() -> Answer {
    away("no address is known")
}

/// Nobody was asked: later somebody may be.
fn away(why: &str) -> Answer {
    let text = format!("the certificate was not renewed: {why}");
    Answer::NoLeader(Failure::new(Exit::Unreachable, text))
}

/// What a certificate was not signed for.
fn not(why: NotRenewed, addresses: &mut Vec<String>) -> Answer {
    match why {
        NotRenewed::Said(problem) => {
            let answer = Answer::read(&problem.into());
            if let Answer::LeaderIsAt(leader, _) = &answer {
                addresses.splice(0..0, leader.iter().cloned());
            }
            answer
        }
        why @ NotRenewed::NoAnswer(_) => away(&why.to_string()),
        why @ (NotRenewed::Answer(_) | NotRenewed::NoProof(_)) => {
            Answer::Refused(Failure::new(Exit::Bug, why))
        }
    }
}

fn said(answer: Answer) -> CallError {
    match answer {
        Answer::LeaderIsAt(_, failure)
        | Answer::NoLeader(failure)
        | Answer::Busy(failure)
        | Answer::Refused(failure)
        | Answer::Unknown(failure) => CallError::Answered(failure),
        Answer::Lost(why) => CallError::Broken(why),
    }
}
