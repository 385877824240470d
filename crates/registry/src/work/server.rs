//! Connections: bounded in number, time and bytes; TLS where there is a certificate; the end.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::{HeaderValue, Method, Response, StatusCode, header};
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

use super::auth::{Desk, Request};
use super::tls;
use crate::proto::answer::Refused;

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

/// Where tokens are asked for.
#[derive(Debug)]
pub struct Door {
    /// Bound and listening.
    pub listener: TcpListener,
    /// Whether connections begin with TLS.
    pub tls: bool,
    /// Connections at once.
    pub connections: usize,
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
pub async fn serve(
    door: Door,
    desk: Arc<Desk>,
    mut ended: watch::Receiver<bool>,
) -> io::Result<()> {
    let config = tls::config(Arc::clone(&desk.shown)).map_err(io::Error::other)?;
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
        let (desk, acceptor, ended) = (Arc::clone(&desk), acceptor.clone(), ended.clone());
        connections.spawn(async move {
            connection(stream, peer, &desk, acceptor, ended).await;
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

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    desk: &Arc<Desk>,
    acceptor: Option<TlsAcceptor>,
    ended: watch::Receiver<bool>,
) {
    // A kernel that knows neither serves all the same.
    drop(stream.set_nodelay(true));
    let _unknown = rustix::net::sockopt::set_tcp_user_timeout(&stream, UNTAKEN_MS);
    let Some(acceptor) = acceptor else { return speak(stream, peer, desk, ended).await };
    // The certificate of now: somebody may have replaced it since the last request.
    drop(desk.ready().await);
    if let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
        speak(stream, peer, desk, ended).await;
    }
}

async fn speak(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    peer: SocketAddr,
    desk: &Arc<Desk>,
    mut ended: watch::Receiver<bool>,
) {
    let service = service_fn(|request| async move {
        Ok::<_, Infallible>(respond(request, peer.ip(), desk).await)
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

async fn respond(
    request: hyper::Request<Incoming>,
    peer: IpAddr,
    desk: &Desk,
) -> Response<Full<Bytes>> {
    let (parts, body) = request.into_parts();
    if parts.uri.path() == "/health" {
        return health(desk).await;
    }
    if parts.uri.path() == "/password" {
        return password(&parts, body, peer, desk).await;
    }
    let answer = async {
        if !matches!(parts.uri.path(), "/auth" | "/token") {
            return Err(Refused::NoSuchPath);
        }
        if !matches!(parts.method, Method::GET | Method::POST) {
            return Err(Refused::NoSuchMethod);
        }
        let body = read(body).await?;
        let query = parts.uri.query().unwrap_or_default();
        let (method, headers) = (&parts.method, &parts.headers);
        desk.answer(&Request { peer, method, query, headers, body: &body }).await
    };
    match answer.await {
        Ok(answer) => {
            let body = serde_json::to_vec(&answer).unwrap_or_default();
            response(StatusCode::OK, body)
        }
        Err(refused) => refusal(&refused),
    }
}

/// A password that its owner changes.
async fn password(
    parts: &axum::http::request::Parts,
    body: Incoming,
    peer: IpAddr,
    desk: &Desk,
) -> Response<Full<Bytes>> {
    let changed = async {
        if parts.method != Method::POST {
            return Err(Refused::NoSuchMethod);
        }
        let body = read(body).await?;
        let query = parts.uri.query().unwrap_or_default();
        let (method, headers) = (&parts.method, &parts.headers);
        desk.change(&Request { peer, method, query, headers, body: &body }).await
    };
    match changed.await {
        Ok(changed) => response(changed.status(), changed.body()),
        Err(refused) => refusal(&refused),
    }
}

fn refusal(refused: &Refused) -> Response<Full<Bytes>> {
    let mut response = response(refused.status(), refused.body());
    response.headers_mut().extend(refused.headers());
    response
}

async fn read(body: Incoming) -> Result<zeroize::Zeroizing<Vec<u8>>, Refused> {
    let whole = Limited::new(body, BODY_BYTES).collect();
    match tokio::time::timeout(BODY, whole).await {
        Ok(Ok(whole)) => Ok(zeroize::Zeroizing::new(whole.to_bytes().to_vec())),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => Err(Refused::TooLarge),
        Ok(Err(_)) | Err(_) => Err(Refused::invalid("the body does not arrive")),
    }
}

async fn health(desk: &Desk) -> Response<Full<Bytes>> {
    match desk.ready().await {
        Ok(()) => response(StatusCode::OK, b"{\"status\":\"ok\"}".to_vec()),
        Err(unready) => {
            let refused = Refused::Unavailable(unready.what);
            response(refused.status(), refused.body())
        }
    }
}

fn response(status: StatusCode, body: Vec<u8>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    response
}
