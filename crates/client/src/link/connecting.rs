//! One connection: to the first manager that answers, or to this machine's own.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;
use tonic::transport::Channel;

use crate::error::CallError;
use crate::transport::{ClientTls, ConnectError, Expect, Peer, connect, connect_local};

/// How long one manager may take to accept a connection.
pub(super) const CONNECT: Duration = Duration::from_secs(2);
/// How long one may be silent before the next is tried beside it.
const SILENCE: Duration = Duration::from_millis(250);

/// The first manager that answers, which of the addresses it has, and who it is. Each is tried once the
/// one before has failed, or is silent for a moment: addresses that swallow what is sent to them
/// are waited for together.
pub(super) async fn first_of(
    addresses: &[String],
    tls: &ClientTls,
) -> Result<(Channel, Peer, usize), CallError> {
    let mut trying = JoinSet::new();
    let mut left = addresses.iter().cloned().enumerate();
    let (mut tried, mut locked, mut clock) = (BTreeMap::new(), false, false);
    loop {
        match left.next() {
            Some((at, address)) => {
                let tls = tls.clone();
                // It ends with the set, at the latest.
                trying.spawn(async move {
                    let connected = connect(&address, &tls, Expect::AnyManager, CONNECT).await;
                    (at, connected)
                });
            }
            None if trying.is_empty() => break,
            None => {}
        }
        let silence = if left.len() == 0 { CONNECT * 2 } else { SILENCE };
        match timeout(silence, trying.join_next()).await {
            Ok(Some(Ok((at, Ok((channel, peer)))))) => return Ok((channel, peer, at)),
            Ok(Some(Ok((at, Err(error))))) => {
                locked |= matches!(error, ConnectError::Locked { .. });
                clock |= error.may_be_the_clock();
                tried.insert(at, error.to_string());
            }
            Ok(Some(Err(_panicked))) => return Err(CallError::Bug("a try to connect ended")),
            Ok(None) => {}
            Err(_elapsed) => {}
        }
    }
    Err(CallError::NotReached { tried: tried.into_values().collect(), locked, clock })
}

/// To the control socket of this machine's manager.
pub(super) async fn local(socket: &Path) -> Result<Channel, CallError> {
    let connected = timeout(CONNECT, connect_local(socket)).await;
    let error = match connected {
        Ok(Ok(channel)) => return Ok(channel),
        Ok(Err(error)) => error,
        Err(_elapsed) => std::io::ErrorKind::TimedOut.into(),
    };
    let socket = socket.to_owned();
    Err(match error.kind() {
        std::io::ErrorKind::PermissionDenied => CallError::SocketDenied { socket },
        _ => CallError::SocketNotReached { socket, why: error.to_string() },
    })
}
