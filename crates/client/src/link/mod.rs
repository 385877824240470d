//! The way to a manager: which one, again where it helps, and what is known of
//! a call that broke.
//!
//! There are three ways: addresses that were asked for (with an identity), the control
//! socket of this machine, the identity's own addresses. A manager that does not lead
//! names the leader, and the call goes there. Where there is no leader, the call
//! is repeated until the time is over.

mod address;
mod agreement;
mod connecting;
mod identity;
mod refresh;
mod renewal;
mod tries;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{timeout, timeout_at};
use tonic::metadata::MetadataMap;
use tonic::transport::Channel;
use tonic::{Response, Status};

use crate::answer::Answer;
use crate::ca::{CaError, Identity};
use crate::error::CallError;
use crate::machine::{SystemClock, os_dice};
use crate::transport::rpc::api::control_client::ControlClient;
use crate::transport::{ClientTls, KeyExchange, Told, age_told, managers_named};
use skep_core::base::{Dice, Fingerprint, Stamp};
use skep_core::seal::{IntakeAgreement, IntakePublic, SealError};
use skep_core::wire::api::AsOf;

pub use address::{BadAddress, PORT, read_address, read_own_address};
pub use identity::{BadIdentityFile, IdentityFile};
pub use renewal::{is_due, leaf_of};

use agreement::Agreed;
use connecting::{first_of, local};
use renewal::{Next, Own};
use tries::{Patience, Tries};

/// How long a renewal may take that nothing waits for.
const IN_PASSING: Duration = Duration::from_secs(5);
/// Renewals in one call: one may be refused that was renewed, while the issuing CA is replaced.
const RENEWALS: usize = 3;

/// The service that managers answer.
pub type Control = ControlClient<Channel>;

/// What may be done about a call that broke.
#[derive(Clone, Debug)]
pub enum CallKind {
    /// It changes nothing: it is sent again.
    Read,
    /// It carries a request id: it is sent again, for a while. Then: how a person looks
    /// what came of it, in the caller's words.
    Repeatable(String),
    /// It is sent once only. Then: how a person looks what came of it.
    Once(String),
}

/// Where managers are looked for.
#[derive(Debug)]
enum Route {
    Local(PathBuf),
    Remote(Vec<String>),
}

/// What managers say of themselves. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Managers(Arc<Mutex<Heard>>);

#[derive(Debug, Default)]
struct Heard {
    told: Told,
    /// What takes the place of the identity's certificate.
    renewed: Option<Next>,
}

impl Route {
    fn addresses(&self) -> &[String] {
        match self {
            Self::Local(_) => &[],
            Self::Remote(addresses) => addresses,
        }
    }
}

impl Managers {
    /// Each `host:port`.
    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        self.0.lock().told.addresses.clone()
    }

    /// When the issuing CA in use begins; 0: nobody said so.
    #[must_use]
    pub fn issuer(&self) -> Stamp {
        self.0.lock().told.issuer
    }

    /// The oldest issuing CA whose certificates are accepted.
    #[must_use]
    pub fn oldest_issuer(&self) -> Stamp {
        self.0.lock().told.oldest_issuer
    }

    /// Whether the identity was renewed.
    #[must_use]
    pub fn renews(&self) -> bool {
        self.0.lock().renewed.is_some()
    }

    fn renewed(&self, next: Next) {
        self.0.lock().renewed = Some(next);
    }

    /// `known` is the newest issuing CA that a verified chain has shown: no floor above it is
    /// believed.
    fn hear(&self, answer: &MetadataMap, known: Stamp) {
        let told = managers_named(answer);
        let all = &mut self.0.lock().told;
        if !told.addresses.is_empty() {
            all.addresses = told.addresses;
        }
        all.issuer = all.issuer.max(told.issuer);
        if told.oldest_issuer <= known {
            all.oldest_issuer = all.oldest_issuer.max(told.oldest_issuer);
        }
    }
}

/// How old the answers may be that need not be up to date, as managers say. Clones are the
/// same.
#[derive(Clone, Debug, Default)]
pub struct Ages(Arc<Mutex<Option<AsOf>>>);

impl Ages {
    /// Of the oldest one; `None` where there was none.
    #[must_use]
    pub fn oldest(&self) -> Option<AsOf> {
        *self.0.lock()
    }

    fn hear(&self, answer: &MetadataMap) {
        let Some(told) = age_told(answer) else { return };
        let mut oldest = self.0.lock();
        if oldest.as_ref().is_none_or(|known| known.age_ms <= told.age_ms) {
            *oldest = Some(told);
        }
    }
}

/// A way to the managers, and the connection in use.
#[derive(Debug)]
pub struct Link {
    route: Route,
    tls: Option<ClientTls>,
    /// By what the certificate is renewed.
    own: Option<Own>,
    fingerprint: Option<Fingerprint>,
    /// The leader, as a manager named it: tried before the route.
    leader: Vec<String>,
    channel: Option<Channel>,
    /// How the keys of the connection in use were agreed on.
    exchange: Option<KeyExchange>,
    /// Where all managers are, as one that answered last said.
    managers: Managers,
    /// The newest issuing CA of a chain that verified: the identity's own, or a manager's.
    known_issuer: Stamp,
    /// How old stale answers were.
    ages: Ages,
    /// With what values were sealed last; it is another one after a manager was removed.
    intake: Option<IntakePublic>,
    /// What was agreed on with it for the connection in use.
    agreed: Agreed,
    timeout: Duration,
    /// Who hears that a call goes on.
    patience: Option<Patience>,
}

impl Link {
    /// A way to the managers at `hosts` (none: at those that the identity names), each
    /// written `host:port`. Nothing is connected yet. Each call takes `timeout` at most.
    ///
    /// # Errors
    /// Where the identity's certificates are not sound.
    pub fn to_managers(
        identity: &Identity,
        hosts: Vec<String>,
        timeout: Duration,
    ) -> Result<Self, CaError> {
        let hosts = if hosts.is_empty() { identity.addresses.clone() } else { hosts };
        Self::new(Route::Remote(hosts), Some(identity), timeout)
    }

    /// A way to the manager of this machine, by its control socket. With an identity,
    /// calls go on to the leader where this manager does not lead. Nothing is connected
    /// yet. Each call takes `timeout` at most.
    ///
    /// # Errors
    /// Where the identity's certificates are not sound.
    pub fn to_socket(
        socket: PathBuf,
        identity: Option<&Identity>,
        timeout: Duration,
    ) -> Result<Self, CaError> {
        Self::new(Route::Local(socket), identity, timeout)
    }

    fn new(route: Route, identity: Option<&Identity>, timeout: Duration) -> Result<Self, CaError> {
        let with = |identity: &Identity| {
            let (tls, own) = ClientTls::renewable(identity, Arc::new(SystemClock), os_dice)?;
            Ok::<_, CaError>((tls, Own::new(identity, own)?))
        };
        let (tls, own) = identity.map(with).transpose()?.unzip();
        Ok(Self {
            route,
            tls,
            known_issuer: own.as_ref().map(|own| own.issuer).unwrap_or_default(),
            own,
            fingerprint: identity.map(|identity| identity.fingerprint),
            leader: Vec::new(),
            channel: None,
            exchange: None,
            managers: Managers::default(),
            ages: Ages::default(),
            intake: None,
            agreed: Agreed::default(),
            timeout,
            patience: None,
        })
    }

    /// Where all managers are, as the one says that answered last, while this link lives and
    /// afterwards: empty until one has.
    #[must_use]
    pub fn managers(&self) -> Managers {
        self.managers.clone()
    }

    /// How old the answers of this link may be that need not be up to date, while it lives and
    /// afterwards.
    #[must_use]
    pub fn ages(&self) -> Ages {
        self.ages.clone()
    }

    /// Whether it leads to the control socket of this machine's manager.
    #[must_use]
    pub fn is_local(&self) -> bool {
        matches!(self.route, Route::Local(_))
    }

    /// How long to try, and to wait.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// How the keys of the connection in use, or of the last one, were agreed on; none over a
    /// control socket.
    #[must_use]
    pub fn key_exchange(&self) -> Option<KeyExchange> {
        self.exchange
    }

    /// The fingerprint that the identity names, if there is one.
    #[must_use]
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        self.fingerprint
    }

    /// With what values were sealed last: good until a manager says otherwise.
    pub(crate) fn intake(&self) -> Option<IntakePublic> {
        self.intake
    }

    /// Keeps it for the next value.
    pub(crate) fn keep_intake(&mut self, intake: IntakePublic) {
        self.intake = Some(intake);
    }

    /// What the connection in use and this intake key agreed on.
    ///
    /// # Errors
    /// Where the key is none that can be agreed with.
    pub(crate) fn agreement(
        &mut self,
        dice: &mut dyn Dice,
        intake: &IntakePublic,
    ) -> Result<&IntakeAgreement, SealError> {
        self.agreed.with(dice, intake)
    }

    /// Has `tell` called once in each call that is still repeated after a second, with why
    /// the last try did not do: a person who waits wants to know that something goes on.
    pub fn tell_of_tries(&mut self, tell: impl Fn(&CallError) + Send + Sync + 'static) {
        self.patience = Some(Patience::new(tell));
    }

    /// Calls until there is an answer that decides, or the time is over.
    ///
    /// # Errors
    /// [`CallError`]; its [`CallError::exit`] says whether it may have been done.
    pub async fn call<Q, R, F>(
        &mut self,
        kind: CallKind,
        request: Q,
        send: F,
    ) -> Result<R, CallError>
    where
        Q: Clone,
        F: AsyncFn(Control, Q) -> Result<Response<R>, Status>,
    {
        let mut tries = Tries::new(kind, self.timeout, self.patience.clone());
        let mut renewed = 0;
        loop {
            let client = match timeout_at(tries.deadline, self.client()).await {
                Ok(Ok(client)) => client,
                Ok(Err(error)) => {
                    tries.not_reached(error).await?;
                    continue;
                }
                // It was not asked this time: what is unknown is so from before.
                Err(_elapsed) => return Err(tries.unasked(self.timeout)),
            };
            if tries.is_late() {
                return Err(tries.unasked(self.timeout));
            }
            let attempt = tries.attempt();
            match timeout_at(attempt, send(client, request.clone())).await {
                Ok(Ok(response)) => {
                    self.managers.hear(response.metadata(), self.known_issuer);
                    if let Some(tls) = &self.tls {
                        tls.floor().raise(self.managers.oldest_issuer());
                    }
                    if self.is_due() {
                        timeout(IN_PASSING, self.renew_in_passing()).await.ok();
                    }
                    self.ages.hear(response.metadata());
                    return Ok(response.into_inner());
                }
                // It was refused before it was read.
                Ok(Err(status)) if renewed < RENEWALS && self.wants_renewal(&status) => {
                    match timeout_at(tries.deadline, self.renew()).await {
                        Ok(Ok(())) => renewed += 1,
                        Ok(Err(answer)) => {
                            self.follow(&answer);
                            tries.answered(answer).await?;
                        }
                        Err(_elapsed) => return Err(tries.unasked(self.timeout)),
                    }
                }
                Ok(Err(status)) => {
                    let answer = Answer::read(&status);
                    self.follow(&answer);
                    tries.answered(answer).await?;
                }
                Err(_elapsed) if attempt >= tries.deadline => {
                    self.channel = None;
                    return Err(tries.silent(self.timeout));
                }
                // It may hang, and another manager lead meanwhile.
                Err(_elapsed) => {
                    let answer = Answer::Lost("the manager does not answer".to_owned());
                    self.follow(&answer);
                    tries.answered(answer).await?;
                }
            }
        }
    }

    /// What an answer means for the connection: the next call goes to the leader.
    pub fn follow(&mut self, answer: &Answer) {
        match answer {
            Answer::LeaderIsAt(addresses, _) if self.tls.is_some() => {
                self.leader.clone_from(addresses);
                self.channel = None;
            }
            // Another manager may know more.
            Answer::LeaderIsAt(..) | Answer::NoLeader(_) | Answer::Lost(_) => {
                self.leader.clear();
                self.channel = None;
                self.turn(1);
            }
            // One that has no room for this caller now has some soon; a handshake would take more.
            Answer::Busy(_) | Answer::Refused(_) | Answer::Unknown(_) => {}
        }
    }

    /// A client over the connection in use, or over a new one.
    ///
    /// # Errors
    /// Where no manager is reached.
    pub async fn client(&mut self) -> Result<Control, CallError> {
        if self.channel.is_none() {
            self.channel = Some(self.connect().await?);
            self.agreed = Agreed::default();
        }
        match &self.channel {
            Some(channel) => Ok(ControlClient::new(channel.clone())),
            None => Err(CallError::Bug("a connection was made and is not there")),
        }
    }

    async fn connect(&mut self) -> Result<Channel, CallError> {
        let leader = std::mem::take(&mut self.leader);
        if let (Some(tls), false) = (&self.tls, leader.is_empty()) {
            match first_of(&leader, tls).await {
                Ok((channel, peer, _)) => {
                    self.exchange = peer.key_exchange();
                    self.known_issuer = self.known_issuer.max(peer.issuer());
                    return Ok(channel);
                }
                // What one manager has on record may be old: another one is asked, or leads.
                Err(_not_there) => self.turn(1),
            }
        }
        let (channel, peer, at) = match (&self.route, &self.tls) {
            (Route::Local(socket), _) => {
                self.exchange = None;
                return local(socket).await;
            }
            (Route::Remote(addresses), Some(tls)) => first_of(addresses, tls).await?,
            (Route::Remote(_), None) => return Err(CallError::NoIdentity),
        };
        self.known_issuer = self.known_issuer.max(peer.issuer());
        // Whoever is asked now stands first, so that the next turn goes on behind it.
        self.turn(at);
        self.exchange = peer.key_exchange();
        Ok(channel)
    }

    /// Has the managers of the route asked in their order, but for these, which come last.
    fn turn(&mut self, past: usize) {
        if let Route::Remote(addresses) = &mut self.route
            && !addresses.is_empty()
        {
            let past = past % addresses.len();
            addresses.rotate_left(past);
        }
    }
}
