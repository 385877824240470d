//! Waiting until nodes confirm a change. A time-out undoes nothing.

use std::time::Duration;

use humantime::format_duration;
use tokio::time::{Instant, sleep, timeout_at};
use tonic::Streaming;

use crate::answer::Answer;
use crate::error::CallError;
use crate::link::Link;
use skep_core::base::{Exit, Failure};
use skep_core::wire::api::{DeliveryProgress, WatchDeliveryRequest};

/// Between two tries to watch.
const PAUSE: Duration = Duration::from_millis(200);

/// Why a change that is committed is not known to be delivered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotConfirmed {
    /// Not within this time.
    #[error("not confirmed within {}", format_duration(*.0))]
    InTime(Duration),
    /// A manager refuses to tell.
    #[error("waiting was refused: {0}")]
    Refused(String),
    /// A node says that it can't take what is due.
    #[error("a node cannot take it")]
    NodeFailed,
}

/// Waits until everything that `request` asks about is in place; each report of how far it is
/// goes to `told`. It takes the link's time at most, and a lost manager or a new leader ends
/// nothing.
///
/// # Errors
/// [`NotConfirmed`]: nothing is undone, and delivery goes on.
pub async fn until_delivered(
    link: &mut Link,
    request: &WatchDeliveryRequest,
    mut told: impl FnMut(&DeliveryProgress),
) -> Result<(), NotConfirmed> {
    let within = link.timeout();
    let deadline = Instant::now() + within.min(Duration::from_hours(24));
    let too_late = NotConfirmed::InTime(within);
    loop {
        let Ok(opened) = timeout_at(deadline, open(link, request)).await else {
            return Err(too_late);
        };
        let answer = match opened {
            Ok(mut stream) => {
                let followed = follow(&mut stream, &mut told);
                let Ok(end) = timeout_at(deadline, followed).await else {
                    return Err(too_late);
                };
                end?
            }
            Err(answer) => Some(answer),
        };
        match answer {
            None => return Ok(()),
            Some(Answer::Refused(failure)) => return Err(NotConfirmed::Refused(failure.text)),
            Some(answer) => link.follow(&answer),
        }
        if Instant::now() + PAUSE >= deadline {
            return Err(too_late);
        }
        sleep(PAUSE).await;
    }
}

/// Takes what is told; `None`: done.
async fn follow(
    stream: &mut Streaming<DeliveryProgress>,
    told: &mut impl FnMut(&DeliveryProgress),
) -> Result<Option<Answer>, NotConfirmed> {
    loop {
        let progress = match stream.message().await {
            Ok(Some(progress)) => progress,
            Ok(None) => return Ok(Some(Answer::Lost("the answer was cut".to_owned()))),
            Err(status) => return Ok(Some(Answer::read(&status))),
        };
        told(&progress);
        if progress.failed {
            return Err(NotConfirmed::NodeFailed);
        }
        if progress.done {
            return Ok(None);
        }
    }
}

async fn open(
    link: &mut Link,
    request: &WatchDeliveryRequest,
) -> Result<Streaming<DeliveryProgress>, Answer> {
    let unreached = |error: CallError| Failure::new(Exit::Unreachable, error);
    let mut client = link.client().await.map_err(|error| Answer::NoLeader(unreached(error)))?;
    match client.watch_delivery(request.clone()).await {
        Ok(opened) => return Ok(opened.into_inner()),
        Err(status) if link.wants_renewal(&status) => link.renew().await?,
        Err(status) => return Err(Answer::read(&status)),
    }
    let mut client = link.client().await.map_err(|error| Answer::NoLeader(unreached(error)))?;
    let opened = client.watch_delivery(request.clone()).await;
    opened.map(tonic::Response::into_inner).map_err(|status| Answer::read(&status))
}
