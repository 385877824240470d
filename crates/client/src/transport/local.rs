//! Unix sockets: the caller is who the kernel says.

use std::future::Future;
use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::Channel;
use tracing::debug;

use super::client::channel;
use super::doors::{Doors, DoorsLayer};
use super::peer::LocalCaller;
use super::served::{self, Ready, Served};
use super::shares::{Most, Shares};

/// Bytes under way to us on one call, and on one connection: the least that HTTP/2 knows.
const WINDOW: u32 = 64 * 1024 - 1;
/// After `accept` failed (no descriptors, no memory) the listener rests so long.
const REST: Duration = Duration::from_millis(100);
/// How long connections may take to end once the listener stops.
const DRAIN: Duration = Duration::from_secs(5);
/// Connections that are accepted and not yet served.
const QUEUE: usize = 16;
/// How long a caller tries to connect while the listener's queue is full.
const CONNECTS: Duration = Duration::from_secs(10);
/// Between two tries.
const AGAIN: Duration = Duration::from_millis(10);

/// Serves `routes` on a manager's control socket until `stop` resolves, then drains. See
/// [`serve_local_behind`].
///
/// # Errors
/// What the listener says.
pub async fn serve_local(
    listener: UnixListener,
    routes: Routes,
    places: usize,
    stop: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    serve_local_behind(Doors::default(), listener, routes, places, stop).await
}

/// Serves `routes` on a socket until `stop` resolves, then drains. There are `places` for
/// connections; a quarter is for root and the process's own user alone. What else callers
/// may have at a time, and who may call what, `doors` say.
/// Each request carries a [`LocalCaller`] in its extensions.
///
/// # Errors
/// What the listener says.
pub async fn serve_local_behind(
    doors: Doors,
    listener: UnixListener,
    routes: Routes,
    places: usize,
    stop: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    let (stopping, cut) = (CancellationToken::new(), CancellationToken::new());
    let connections = Shares::new(Most::of(places, doors.connections_per_user));
    let mut server = served::bounded(doors.streams, WINDOW, WINDOW)
        .http2_max_header_list_size(doors.header_bytes)
        .layer(DoorsLayer::new(doors));
    let (ready, incoming) = mpsc::channel(QUEUE);
    let incoming = ReceiverStream::new(incoming).map(Ok::<_, io::Error>);
    let bound = server.add_routes(routes);
    let stopped = stopping.clone().cancelled_owned();
    let serving = Box::pin(async move {
        bound.serve_with_incoming_shutdown(incoming, stopped).await.map_err(io::Error::other)
    });
    let accepting = accept(listener, connections, ready, cut.clone());
    served::run(accepting, serving, stop, stopping, cut, DRAIN).await
}

async fn accept(
    listener: UnixListener,
    connections: Shares,
    ready: Ready<UnixStream, LocalCaller>,
    cut: CancellationToken,
) -> io::Result<()> {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                debug!(event = "not_accepted", %error);
                sleep(REST).await;
                continue;
            }
        };
        let Some(caller) = LocalCaller::of(&stream) else {
            debug!(event = "caller_unknown");
            continue;
        };
        let Some(place) = connections.take(caller.uid(), 1) else {
            debug!(event = "too_many_connections", uid = caller.uid());
            continue;
        };
        let served = Served::new(stream, caller, &cut, None, Box::new(place));
        if ready.send(served).await.is_err() {
            return Ok(());
        }
    }
}

/// Connects to a local socket. The channel does not reconnect. A listener whose queue
/// others have filled is asked again.
///
/// # Errors
/// What the system says.
pub async fn connect_local(socket: &Path) -> io::Result<Channel> {
    let connecting = async {
        loop {
            match UnixStream::connect(socket).await {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => sleep(AGAIN).await,
                done => return done,
            }
        }
    };
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, "its queue stays full");
    channel(timeout(CONNECTS, connecting).await.map_err(late)??).await
}
