//! Unix sockets: the caller is who the kernel says.

use std::future::Future;
use std::io;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::Channel;
use tracing::debug;

use super::bounds::Counts;
use super::client::channel;
use super::served::{self, Ready, Served};

/// Who called, from `SO_PEERCRED` and `SO_PEERGROUPS`. In the extensions of every local request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalCaller {
    uid: u32,
    gid: u32,
    groups: Arc<[u32]>,
    pid: i32,
}

impl LocalCaller {
    /// User id.
    #[must_use]
    pub fn uid(&self) -> u32 {
        self.uid
    }
    /// Group id.
    #[must_use]
    pub fn gid(&self) -> u32 {
        self.gid
    }
    /// Supplementary group ids.
    #[must_use]
    pub fn groups(&self) -> &[u32] {
        &self.groups
    }
    /// Process id, as this process's pid namespace shows it.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// A caller for tests of what stands above.
    #[cfg(test)]
    pub(crate) fn stand_in(uid: u32, gid: u32, pid: i32) -> Self {
        Self { uid, gid, groups: Arc::default(), pid }
    }

    /// What the kernel wrote down when the other end connected.
    fn of(stream: &UnixStream) -> Option<Self> {
        let peer = stream.peer_cred().ok()?;
        let groups = Arc::from(locked_pages::peer_groups(stream.as_fd()).ok()?);
        Some(Self { uid: peer.uid(), gid: peer.gid(), groups, pid: peer.pid()? })
    }
}

/// Who called over a local socket. None where a request came another way.
#[must_use]
pub fn local_caller(extensions: &tonic::Extensions) -> Option<LocalCaller> {
    extensions.get().cloned()
}

/// Connections of one user, where there are places for more.
const PER_USER: usize = 256;
/// Calls at a time on one connection.
const STREAMS: u32 = 64;
/// Bytes under way to us on one call, and on one connection.
const WINDOW: u32 = 1024 * 1024;
/// After `accept` failed (no descriptors, no memory) the listener rests so long.
const REST: Duration = Duration::from_millis(100);
/// How long connections may take to end once the listener stops.
const DRAIN: Duration = Duration::from_secs(5);

/// Serves `routes` on a socket until `stop` resolves, then drains. There are `places` for
/// connections; a quarter is for root and
/// the process's own user alone, and no other user has more than a quarter.
/// Each request carries a [`LocalCaller`] in its extensions.
///
/// # Errors
/// What the listener says.
pub async fn serve_local(
    listener: UnixListener,
    routes: Routes,
    places: usize,
    stop: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    let (stopping, cut) = (CancellationToken::new(), CancellationToken::new());
    let server = served::bounded(STREAMS, WINDOW, WINDOW);
    let (ready, serving) = served::serve_ready(server, routes, stopping.clone());
    let accepting = accept(listener, places, ready, cut.clone());
    served::run(accepting, serving, stop, stopping, cut, DRAIN).await
}

async fn accept(
    listener: UnixListener,
    places: usize,
    ready: Ready<UnixStream, LocalCaller>,
    cut: CancellationToken,
) -> io::Result<()> {
    let process = rustix::process::geteuid().as_raw();
    let (in_all, by_user) = (Counts::new(), Counts::new());
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
        // Other users together can't keep the machine's owner out.
        let (most, own) = if caller.uid == 0 || caller.uid == process {
            (places, places)
        } else {
            (places - places / 4, (places / 4).min(PER_USER))
        };
        let taken = in_all.take((), most).zip(by_user.take(caller.uid, own));
        let Some(taken) = taken else {
            debug!(event = "too_many_connections", uid = caller.uid);
            continue;
        };
        let served = Served::new(stream, caller, &cut, None, Box::new(taken));
        if ready.send(served).await.is_err() {
            return Ok(());
        }
    }
}

/// Connects to a local socket. The channel does not reconnect.
///
/// # Errors
/// What the system says.
pub async fn connect_local(socket: &Path) -> io::Result<Channel> {
    channel(UnixStream::connect(socket).await?).await
}
