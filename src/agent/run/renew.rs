//! The certificate of this node, renewed over its connection to the leader.
//!
//! One that has ended is renewed before anything else is said. One that is due, or for which
//! the leader asks, is renewed beside the session, which goes on.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tonic::transport::Channel;

use super::cause::{self, Never};
use crate::agent::member::Own;
use crate::agent::session::Cause;
use crate::agent::session::problem;
use skep_client::renew::{NotRenewed, ask, seen};
use skep_client::transport::{ConnectError, Expect, Peer, SET_THE_CLOCK, connect};
use skep_core::base::{Dice, Exit, draw};

/// One try to connect.
const CONNECT: Duration = Duration::from_secs(2);
/// Connections that are made before a session: to renew, to show the next certificate.
const CONNECTIONS: usize = 4;
/// Between two looks whether it is time.
const LOOK: Duration = Duration::from_secs(30);
/// Milliseconds after which it is tried again; doubled each time.
const FIRST_MS: u64 = 10_000;
/// Milliseconds at most.
const MOST_MS: u64 = 3_600_000;
/// Milliseconds within which nodes come that are asked together.
const TOGETHER_MS: u64 = 3_000;

/// Connects with a certificate that is good: renewed first where it has ended, and shown to the
/// leader where that has not seen it yet.
pub(super) async fn reach(own: &Own, address: &str) -> Result<(Channel, Peer), Cause> {
    for _ in 0..CONNECTIONS {
        let (channel, peer) = reach_as_is(own, address).await?;
        if own.comes_first() {
            renew(own, channel).await?;
        } else if !own.is_unseen() || show(own, channel.clone()).await? {
            return Ok((channel, peer));
        }
    }
    Err(Cause::Lost("the next certificate is not taken".to_owned()))
}

async fn reach_as_is(own: &Own, address: &str) -> Result<(Channel, Peer), Cause> {
    let connected = connect(address, own.tls(), Expect::AnyManager, CONNECT).await;
    connected.map_err(|error| match error {
        ConnectError::Unreachable { .. } | ConnectError::Locked { .. } => {
            Cause::Lost(error.to_string())
        }
        ConnectError::OutOfTime { .. } if error.may_be_the_clock() => {
            Cause::Refused(format!("{error}; {SET_THE_CLOCK}"))
        }
        ConnectError::OutOfTime { .. } | ConnectError::Refused { .. } => {
            Cause::Refused(error.to_string())
        }
    })
}

/// Gets the next certificate, and takes it into use.
async fn renew(own: &Own, channel: Channel) -> Result<(), Cause> {
    let keeping = own.clone();
    let key = on_disk(move || keeping.next_key().map_err(|error| error.to_string())).await?;
    let shown = own.leaf();
    let asked = ask(channel, &shown, &key, own.fingerprint(), own.clock()).await;
    let next = asked.map_err(cause_of)?;
    let ends = next.leaf.ends.0;
    let keeping = own.clone();
    on_disk(move || keeping.adopt(next, key).map_err(|error| error.to_string())).await?;
    tracing::info!(event = "certificate_renewed", ends_at = ends, before = shown.ends.0);
    Ok(())
}

/// Shows the next certificate. False: it is not listed, and the one before is back in use.
async fn show(own: &Own, channel: Channel) -> Result<bool, Cause> {
    let keeping = own.clone();
    match seen(channel).await {
        Ok(()) => {
            on_disk(move || keeping.settled().map_err(|error| error.to_string())).await?;
            Ok(true)
        }
        Err(NotRenewed::Said(problem))
            if problem.exit == Exit::IdentityEnded && !problem.is_certificate_over() =>
        {
            let back = on_disk(move || keeping.go_back().map_err(|error| error.to_string()));
            if back.await? {
                tracing::warn!(event = "certificate_put_back", why = %problem);
                return Ok(false);
            }
            Err(Cause::Removed(problem::of_manager(problem.text, problem.hint)))
        }
        Err(why) => Err(cause_of(why)),
    }
}

async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, Cause> {
    let done = tokio::task::spawn_blocking(work).await;
    let done = done.unwrap_or_else(|_| Err("a thread ended unexpectedly".to_owned()));
    done.map_err(|why| Cause::Lost(format!("the next certificate can't be kept: {why}")))
}

fn cause_of(why: NotRenewed) -> Cause {
    match why {
        NotRenewed::Said(problem) => cause::cause_of(&problem.into()),
        NotRenewed::NoAnswer(_) => Cause::Lost(format!("the certificate was not renewed: {why}")),
        NotRenewed::Answer(_) | NotRenewed::NoProof(_) => Cause::Refused(why.to_string()),
    }
}

/// Renews beside a session.
pub(super) struct Renewer {
    own: Own,
    /// Where the leader is with which there is a session.
    address: String,
    dice: fn() -> Box<dyn Dice>,
    /// The connection for what is asked beside the session.
    newest: watch::Sender<Channel>,
    asked: Arc<Notify>,
}

impl Renewer {
    pub(super) fn new(
        own: Own,
        address: String,
        dice: fn() -> Box<dyn Dice>,
        newest: watch::Sender<Channel>,
    ) -> Self {
        Self { own, address, dice, newest, asked: Arc::default() }
    }

    /// The leader asks for it.
    pub(super) fn asked(&self) {
        self.asked.notify_one();
    }

    /// Renews whenever it is time, as long as the session lasts.
    pub(super) async fn keep(&self) -> Never {
        let mut failed: u32 = 0;
        let (mut wanted, mut looked) = (false, false);
        loop {
            let wait = match (failed, wanted || !looked) {
                (0, false) => LOOK,
                (0, true) => Duration::from_millis(self.up_to(TOGETHER_MS)),
                _ => {
                    let whole = FIRST_MS.saturating_mul(1 << failed.min(10)).min(MOST_MS);
                    Duration::from_millis(whole / 2 + self.up_to(whole / 2))
                }
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.asked.notified(), if !wanted => {
                    wanted = true;
                    continue;
                }
            }
            looked = true;
            if !(wanted || self.own.is_due() || self.own.is_unseen()) {
                continue;
            }
            match self.once().await {
                Ok(()) => (failed, wanted) = (0, false),
                Err(cause) => {
                    failed = failed.saturating_add(1);
                    tracing::warn!(event = "certificate_not_renewed", why = %cause);
                }
            }
        }
    }

    /// Renews, unless only the last step is left, and shows the next certificate over a
    /// connection that is made with it.
    async fn once(&self) -> Result<(), Cause> {
        if !self.own.is_unseen() {
            let over = self.newest.borrow().clone();
            renew(&self.own, over).await?;
        }
        let (channel, _) = reach_as_is(&self.own, &self.address).await?;
        if !show(&self.own, channel.clone()).await? {
            return Err(Cause::Lost("it is not listed".to_owned()));
        }
        self.newest.send_replace(channel);
        Ok(())
    }

    fn up_to(&self, most: u64) -> u64 {
        let drawn = u64::from(u16::from_be_bytes(draw((self.dice)().as_mut())));
        most.saturating_mul(drawn) / u64::from(u16::MAX)
    }
}
