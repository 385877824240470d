//! The socket at which systemd asks for credentials: `LoadCredential=ID:SOCKET`.
//!
//! A connection is one question; which one stands in the name of its other end. The answer is
//! the value's bytes and the connection's end. There is no way to say that there is none, and
//! an end without a byte is an empty value: a connection is held until the secret is there, and
//! where that can't be, the answer is larger than systemd takes, so that the unit doesn't start.
//! Where the agent is killed meanwhile, systemd holds it for the next one (`held`).

use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::{JoinHandle, JoinSet};

use super::held::HeldConnection;
use crate::agent::machine::Process;
use crate::agent::run::Handle;
use crate::agent::vault::UnitAsks;
use skep_core::base::SecretBytes;

/// Connections that are held at once; others wait to be taken.
const HELD: usize = 128;
/// How long one is held: systemd gives up on a unit's start long before, unless it is told
/// otherwise.
const WAIT: Duration = Duration::from_mins(10);
/// How long an answer may take to be read.
const WRITE: Duration = Duration::from_secs(10);
/// Bytes that systemd takes for a credential at most.
const MOST: usize = 1024 * 1024;
/// What it reads no further than.
static TOO_MUCH: [u8; MOST + 1] = [0; MOST + 1];
/// Between two tries where the machine has no descriptor for a connection.
const PAUSE: Duration = Duration::from_millis(200);

/// What answers, until it is closed or dropped.
#[derive(Debug)]
pub struct CredentialDoor {
    end: oneshot::Sender<()>,
    serving: JoinHandle<()>,
}

impl CredentialDoor {
    /// Answers those who wait already, and at this socket, which is root's alone, at most so
    /// many at a time.
    #[must_use]
    pub fn open(
        (listener, waiting): (UnixListener, Vec<HeldConnection>),
        handle: Handle,
        most: usize,
    ) -> Self {
        let (end, ended) = oneshot::channel();
        let serving = serve((listener, waiting), handle, most.min(HELD), ended);
        Self { end, serving: tokio::spawn(serving) }
    }

    /// Takes nobody any more, and waits until everybody who was held has an answer: a
    /// connection that just ended would be an empty value. To be called once the driver has
    /// ended, which refuses whatever waits.
    pub async fn close(self) {
        drop(self.end);
        if tokio::time::timeout(WRITE, self.serving).await.is_err() {
            tracing::warn!(event = "credentials_cut");
        }
    }
}

async fn serve(
    (listener, waiting): (UnixListener, Vec<HeldConnection>),
    handle: Handle,
    most: usize,
    mut ended: oneshot::Receiver<()>,
) {
    let places = Arc::new(Semaphore::new(most));
    let mut held = JoinSet::new();
    for connection in waiting {
        // There are as many at most as an agent holds, and nobody else is here yet.
        let place = Arc::clone(&places).try_acquire_owned();
        let handle = handle.clone();
        held.spawn(async move {
            answer(connection, &handle).await;
            drop(place);
        });
    }
    loop {
        while held.try_join_next().is_some() {}
        let taken = async {
            let place = Arc::clone(&places).acquire_owned().await.ok()?;
            Some((listener.accept().await, place))
        };
        let taken = tokio::select! {
            taken = taken => taken,
            // Sent or dropped.
            _ = &mut ended => break,
        };
        match taken {
            Some((Ok((stream, _)), place)) => {
                let handle = handle.clone();
                held.spawn(async move {
                    answer(HeldConnection::new(stream), &handle).await;
                    drop(place);
                });
            }
            Some((Err(error), _)) => {
                tracing::warn!(event = "accept_failed", %error);
                tokio::time::sleep(PAUSE).await;
            }
            None => break,
        }
    }
    // The kernel resets those who wait to be taken: that is no value either.
    drop(listener);
    while held.join_next().await.is_some() {}
}

/// Answers one question, or fails closed.
async fn answer(connection: HeldConnection, handle: &Handle) {
    let value = match asked(&connection.stream) {
        Ok((asks, pid)) => given(asks, pid, handle).await,
        Err(NotAsked::User(uid)) => {
            tracing::warn!(event = "credential_refused", uid, why = "only root may ask");
            None
        }
        Err(NotAsked::Form(why)) => {
            tracing::error!(event = "credential_refused", why);
            None
        }
    };
    let bytes = value.as_ref().map_or(TOO_MUCH.as_slice(), SecretBytes::expose);
    let mut stream = connection.into_answered();
    let written = async {
        stream.write_all(bytes).await?;
        stream.shutdown().await
    };
    // Whoever hangs up has nothing of it; that is the unit's failure.
    match tokio::time::timeout(WRITE, written).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(event = "credential_unread", %error),
        Err(_late) => tracing::warn!(event = "credential_unread", why = "it was not read in time"),
    }
}

/// Why it is not known what is asked.
enum NotAsked {
    /// Somebody else than root asks.
    User(u32),
    /// Not as systemd does.
    Form(String),
}

/// What is asked, and by which process. Anybody may give a socket such a name: the kernel says
/// who it was.
fn asked(stream: &UnixStream) -> Result<(UnitAsks, i32), NotAsked> {
    let unknown = |error: std::io::Error| NotAsked::Form(error.to_string());
    let peer = stream.peer_cred().map_err(unknown)?;
    let (0, Some(pid)) = (peer.uid(), peer.pid()) else { return Err(NotAsked::User(peer.uid())) };
    let name = stream.peer_addr().map_err(unknown)?;
    let asks = name.as_abstract_name().and_then(UnitAsks::read);
    let strange = || format!("process {pid} asks by a name that systemd gives to no socket");
    Ok((asks.ok_or_else(|| NotAsked::Form(strange()))?, pid))
}

/// The value, once it is here; `None`: it can't be had.
async fn given(asks: UnitAsks, pid: i32, handle: &Handle) -> Option<SecretBytes> {
    let (unit, credential) = (asks.unit.to_string(), asks.id.to_string());
    match value(asks, pid, handle).await {
        Ok(value) => {
            let ends = "credential_refused";
            tracing::info!(event = "credential_given", ends, always = true, unit, credential);
            Some(value)
        }
        Err(why) => {
            tracing::error!(event = "credential_refused", unit, credential, why);
            None
        }
    }
}

/// Waits until the value is here.
async fn value(asks: UnitAsks, pid: i32, handle: &Handle) -> Result<SecretBytes, String> {
    let process = Process::open(pid).map_err(|error| format!("process {pid}: {error}"))?;
    tokio::select! {
        value = handle.credential(asks, pid, WAIT) => value,
        _ = process.gone() => Err("whoever asked is gone".to_owned()),
    }
}
