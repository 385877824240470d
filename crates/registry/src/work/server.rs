//! Connections: bounded in number, time and bytes; TLS where there is a certificate; the end.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::{HeaderValue, Response, StatusCode, header};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use zeroize::Zeroizing;

use super::opened::Opened;
use super::tls;

/// Connections of one address.
const OF_ONE: usize = 512;
/// Bytes of a request's head, and of its body.
const HEAD_BYTES: usize = 16 * 1024;
const BODY_BYTES: usize = 16 * 1024;
/// Lines of a head.
const HEADERS: usize = 64;
/// How long a handshake, a head (also the next one of a kept connection) and a body take.
const HANDSHAKE: Duration = Duration::from_secs(10);
const HEAD: Duration = Duration::from_secs(20);
const BODY: Duration = Duration::from_secs(10);
/// How long the kernel keeps what nobody takes, in milliseconds.
const UNTAKEN_MS: u32 = 20_000;
/// How long connections have to end.
const DRAIN: Duration = Duration::from_secs(10);
/// The pause after the machine could not accept.
const PAUSE: Duration = Duration::from_millis(50);

/// Where a server listens.
#[derive(Debug)]
pub struct Door {
    /// Bound and listening.
    pub listener: TcpListener,
    /// Whether connections begin with TLS.
    pub tls: bool,
    /// Connections at once.
    pub connections: usize,
}

/// A request whose head has come, and an answer as a whole.
pub(super) type WebRequest = hyper::Request<Incoming>;
pub(super) type WebAnswer = Response<Full<Bytes>>;

/// What answers.
pub(super) trait Answers: Send + Sync + 'static {
    /// What the set in the folder is read as.
    type Set: fmt::Debug + Send + Sync + 'static;

    /// The folder, with the certificate that connections begin with.
    fn opened(&self) -> &Opened<Self::Set>;

    /// Answers one request.
    fn respond(&self, request: WebRequest, peer: IpAddr) -> impl Future<Output = WebAnswer> + Send;
}

/// Connections by address.
type Counts = Arc<Mutex<HashMap<IpAddr, usize>>>;

/// A connection's place; it is given back when this is dropped.
struct Place(Counts, IpAddr);

impl Place {
    fn take(counts: &Counts, address: IpAddr) -> Option<Self> {
        let mut all = counts.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = all.entry(address).or_insert(0);
        if *taken >= OF_ONE {
            return None;
        }
        *taken += 1;
        Some(Self(Arc::clone(counts), address))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(taken) = all.get_mut(&self.1) {
            *taken -= 1;
            if *taken == 0 {
                all.remove(&self.1);
            }
        }
    }
}

/// Serves until `ended` says so, then lets what is under way come to its end.
///
/// # Errors
/// TLS can't be set up.
pub(super) async fn serve<A: Answers>(
    door: Door,
    answers: Arc<A>,
    mut ended: watch::Receiver<bool>,
) -> io::Result<()> {
    let config = tls::config(Arc::clone(&answers.opened().shown)).map_err(io::Error::other)?;
    let acceptor = door.tls.then(|| TlsAcceptor::from(Arc::new(config)));
    let counts = Counts::default();
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = door.listener.accept() => accepted,
            _ = ended.wait_for(|ended| *ended) => break,
        };
        while connections.try_join_next().is_some() {}
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(event = "accept_failed", %error);
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        if connections.len() >= door.connections {
            continue; // It is closed.
        }
        let Some(place) = Place::take(&counts, peer.ip().to_canonical()) else { continue };
        let (answers, acceptor, ended) = (Arc::clone(&answers), acceptor.clone(), ended.clone());
        connections.spawn(async move {
            connection(stream, peer, &answers, acceptor, ended).await;
            drop(place);
        });
    }
    drop(door);
    let all = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN, all).await.is_err() {
        tracing::warn!(event = "drain_cut");
    }
    Ok(())
}

async fn connection<A: Answers>(
    stream: TcpStream,
    peer: SocketAddr,
    answers: &Arc<A>,
    acceptor: Option<TlsAcceptor>,
    ended: watch::Receiver<bool>,
) {
    // A kernel that knows neither serves all the same.
    drop(stream.set_nodelay(true));
    let _unknown = rustix::net::sockopt::set_tcp_user_timeout(&stream, UNTAKEN_MS);
    let Some(acceptor) = acceptor else { return speak(stream, peer, answers, ended).await };
    // The certificate may have been replaced since the last connection.
    drop(answers.opened().ready().await);
    if let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
        speak(stream, peer, answers, ended).await;
    }
}

async fn speak<A: Answers>(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    peer: SocketAddr,
    answers: &Arc<A>,
    mut ended: watch::Receiver<bool>,
) {
    let service = service_fn(|request| async move {
        Ok::<_, Infallible>(answers.respond(request, peer.ip()).await)
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD);
    http.max_buf_size(HEAD_BYTES).max_headers(HEADERS);
    let connection = http.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    tokio::select! {
        // What a client does wrong is answered, or its end.
        _ended = connection.as_mut() => return,
        _ = ended.wait_for(|ended| *ended) => connection.as_mut().graceful_shutdown(),
    }
    drop(connection.await);
}

/// Why a body is not taken.
#[derive(Clone, Copy, Debug)]
pub(super) enum BadBody {
    /// More than 16 KiB.
    TooLarge,
    /// It broke off, or takes too long.
    Absent,
}

/// Reads a request's body.
pub(super) async fn read(body: Incoming) -> Result<Zeroizing<Vec<u8>>, BadBody> {
    let whole = Limited::new(body, BODY_BYTES).collect();
    match tokio::time::timeout(BODY, whole).await {
        Ok(Ok(whole)) => Ok(Zeroizing::new(whole.to_bytes().to_vec())),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => Err(BadBody::TooLarge),
        Ok(Err(_)) | Err(_) => Err(BadBody::Absent),
    }
}

/// An answer in JSON that nobody keeps.
pub(super) fn response(status: StatusCode, body: Vec<u8>) -> WebAnswer {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    response
}
