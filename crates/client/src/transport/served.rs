//! An accepted connection: a stream that knows its caller, holds its places
//! and can be cut.

use std::any::Any;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;
use tokio::time::{Sleep, sleep, timeout};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::body::Body;
use tonic::codegen::http;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::{Connected, TcpConnectInfo};
use tower::util::MapRequestLayer;

use super::{Caller, KeepSeat, KeptAgreement};

/// Header bytes of a request.
pub(super) const HEADER_BYTES: u32 = 16 * 1024;
/// How often an idle connection is asked whether it is alive.
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// How long the answer may take. With [`KEEP_ALIVE`]: gone is noticed within
/// [`skep_core::base::limits::DOWN_MS`].
pub(super) const KEEP_ALIVE_ANSWER: Duration = Duration::from_secs(5);
/// How long connections may take to notice that they were cut.
const AFTER_CUT: Duration = Duration::from_secs(1);
/// How long a caller may take for its first [`GREETING`] bytes: from then on it is asked
/// whether it is alive, before it isn't.
const GREETS: Duration = Duration::from_secs(10);
/// Bytes with which every connection of HTTP/2 begins.
const GREETING: usize = 24;
/// Connections that are accepted and not yet served.
const QUEUE: usize = 16;

/// What stays taken while a connection lives.
pub(super) type Held = Box<dyn Any + Send + Sync>;

/// A connection and who is at its other end.
pub(super) struct Served<S, C> {
    stream: S,
    caller: C,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    ends: Option<Pin<Box<Sleep>>>,
    /// Until the greeting is there: when it must be.
    greets: Option<Pin<Box<Sleep>>>,
    greeting: usize,
    _held: Held,
}

impl<S, C> Served<S, C> {
    /// `cut` ends it at once, and so does `stays`, when that time is over.
    pub(super) fn new(
        stream: S,
        caller: C,
        cut: &CancellationToken,
        stays: Option<Duration>,
        held: Held,
    ) -> Self {
        let cut = Box::pin(cut.clone().cancelled_owned());
        let ends = stays.map(|time| Box::pin(sleep(time)));
        let greets = Some(Box::pin(sleep(GREETS)));
        Self { stream, caller, cut, ends, greets, greeting: 0, _held: held }
    }

    fn is_over(&mut self, context: &mut Context<'_>) -> bool {
        let late = self.ends.as_mut().is_some_and(|ends| ends.as_mut().poll(context).is_ready());
        let silent = self.greets.as_mut().is_some_and(|end| end.as_mut().poll(context).is_ready());
        late || silent || self.cut.as_mut().poll(context).is_ready()
    }
}

fn over() -> io::Error {
    io::ErrorKind::ConnectionAborted.into()
}

impl<S: AsyncRead + Unpin, C: Unpin> AsyncRead for Served<S, C> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.is_over(context) {
            return Poll::Ready(Err(over()));
        }
        let before = into.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, into);
        if self.greets.is_some() {
            self.greeting += into.filled().len() - before;
            if self.greeting >= GREETING {
                self.greets = None;
            }
        }
        read
    }
}

impl<S: AsyncWrite + Unpin, C: Unpin> AsyncWrite for Served<S, C> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.is_over(context) {
            return Poll::Ready(Err(over()));
        }
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_over(context) {
            return Poll::Ready(Err(over()));
        }
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_over(context) {
            return Poll::Ready(Ok(()));
        }
        let done = ready!(Pin::new(&mut self.stream).poll_shutdown(context));
        Poll::Ready(done)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.is_over(context) {
            return Poll::Ready(Err(over()));
        }
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

impl<S, C: Clone + Send + Sync + 'static> Connected for Served<S, C> {
    type ConnectInfo = C;

    fn connect_info(&self) -> C {
        self.caller.clone()
    }
}

/// Who is at the other end of an mTLS connection, and where.
#[derive(Clone, Debug)]
pub(super) struct Arrived {
    caller: Caller,
    address: SocketAddr,
    /// A guest's place.
    seat: Option<KeepSeat>,
    agreement: KeptAgreement,
}

impl Arrived {
    /// Over a new connection, of which nothing is kept yet.
    pub(super) fn new(caller: Caller, address: SocketAddr, seat: Option<KeepSeat>) -> Self {
        Self { caller, address, seat, agreement: KeptAgreement::default() }
    }
}

/// Puts what tonic keeps of a connection where handlers look for it.
fn unpacked(mut request: http::Request<Body>) -> http::Request<Body> {
    if let Some(Arrived { caller, address, seat, agreement }) = request.extensions_mut().remove() {
        let from = TcpConnectInfo { local_addr: None, remote_addr: Some(address) };
        request.extensions_mut().insert(from);
        request.extensions_mut().insert(caller);
        request.extensions_mut().insert(agreement);
        if let Some(seat) = seat {
            request.extensions_mut().insert(seat);
        }
    }
    request
}

/// Where accepted connections go to be served.
pub(super) type Ready<S, C> = mpsc::Sender<Served<S, C>>;

/// Boxed: tonic's is too large to be moved about on the stack.
pub(super) type Serving = Pin<Box<dyn Future<Output = io::Result<()>> + Send>>;

/// Serves what comes through the sender that is answered, until `stopping` is
/// cancelled and all connections have ended.
pub(super) fn serve_ready<S, C>(
    server: Server,
    routes: Routes,
    stopping: CancellationToken,
) -> (Ready<S, C>, Serving)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    C: Clone + Send + Sync + Unpin + 'static,
{
    let (ready, incoming) = mpsc::channel(QUEUE);
    let incoming = ReceiverStream::new(incoming).map(Ok::<_, io::Error>);
    let unpack: fn(http::Request<Body>) -> http::Request<Body> = unpacked;
    let bound = server.layer(MapRequestLayer::new(unpack)).add_routes(routes);
    let serving = async move {
        bound
            .serve_with_incoming_shutdown(incoming, stopping.cancelled_owned())
            .await
            .map_err(io::Error::other)
    };
    (ready, Box::pin(serving))
}

/// A server with the limits that all have, for `streams` calls at a time on one
/// connection and `window` bytes under way on it.
pub(super) fn bounded(streams: u32, stream_window: u32, window: u32) -> Server {
    Server::builder()
        .max_concurrent_streams(streams)
        .initial_stream_window_size(stream_window)
        .initial_connection_window_size(window)
        .http2_max_header_list_size(HEADER_BYTES)
        .http2_max_pending_accept_reset_streams(Some(32))
        .http2_max_local_error_reset_streams(Some(32))
        .http2_keepalive_interval(Some(KEEP_ALIVE))
        .http2_keepalive_timeout(Some(KEEP_ALIVE_ANSWER))
}

/// Accepts and serves until `stop`, then drains: connections have `drain` to
/// end, and are cut then. Dropping it cuts them as well.
pub(super) async fn run(
    accepting: impl Future<Output = io::Result<()>> + Send,
    mut serving: Serving,
    stop: impl Future<Output = ()> + Send,
    stopping: CancellationToken,
    cut: CancellationToken,
    drain: Duration,
) -> io::Result<()> {
    let _cut_at_last = cut.clone().drop_guard();
    {
        // Dropped at the end of this block, and the listener with it.
        let accepting = std::pin::pin!(accepting);
        tokio::select! {
            result = accepting => return result,
            result = &mut serving => return result,
            () = stop => {}
        }
    }
    stopping.cancel();
    if let Ok(result) = timeout(drain, &mut serving).await {
        return result;
    }
    cut.cancel();
    timeout(AFTER_CUT, &mut serving).await.unwrap_or(Ok(()))
}
