//! One request at a time over one connection, bounded in bytes and time.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, USER_AGENT};
use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Body as _;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::trust::TrustedRoots;
use crate::proto::place::WebPlace;

/// How long a name, an address and a handshake take, each.
const CONNECT: Duration = Duration::from_secs(5);
/// How long an answer takes: some registries walk through all that they have for a list.
const ANSWER: Duration = Duration::from_mins(1);
/// Addresses of a name that are tried.
const ADDRESSES: usize = 4;
/// Bytes of an answer's head, and lines of it.
const HEAD_BYTES: usize = 64 * 1024;
const HEADERS: usize = 64;
/// Bytes of an answer: some registries send all of a repository's tags at once.
const BODY_BYTES: usize = 16 * 1024 * 1024;
const AGENT: &str = concat!("skep-registry/", env!("CARGO_PKG_VERSION"));

/// Why nothing came back.
#[derive(Debug, thiserror::Error)]
pub enum BadLine {
    /// The name, the connection, or it broke.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// In time.
    #[error("no whole answer in {} seconds", .0.as_secs())]
    Slow(Duration),
    /// Without TLS.
    #[error("{0} is not this machine, and without TLS nothing is sent elsewhere")]
    Plain(SocketAddr),
    /// TLS, most often a certificate that nobody here believes.
    #[error("TLS: {0}")]
    Tls(io::Error),
    /// What is no HTTP.
    #[error("{0}")]
    Http(#[from] hyper::Error),
    /// More than is read.
    #[error("an answer has {0} bytes at most")]
    TooLarge(usize),
    /// A bug: what was checked can't be sent.
    #[error("it can't be asked for")]
    Unsendable,
}

/// What came back.
pub(super) struct Answered {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Zeroizing<Vec<u8>>,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// What is sent.
#[derive(Clone, Debug)]
pub(super) struct Asking<'a> {
    pub(super) method: Method,
    pub(super) place: &'a WebPlace,
    pub(super) pass: Option<HeaderValue>,
    /// What is taken as an answer.
    pub(super) accept: &'static str,
    /// A body, and what it is.
    pub(super) content: Option<(HeaderValue, Bytes)>,
    /// Bytes of the answer.
    pub(super) most: usize,
}

impl<'a> Asking<'a> {
    /// Asks for what is there, in JSON.
    pub(super) fn get(place: &'a WebPlace, pass: Option<HeaderValue>) -> Self {
        let (method, accept) = (Method::GET, "application/json");
        Self { method, place, pass, accept, content: None, most: BODY_BYTES }
    }

    /// Sends a form, which something is changed by.
    fn form(place: &'a WebPlace, pass: HeaderValue, form: Zeroizing<Vec<u8>>) -> Self {
        let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
        let content = Some((kind, Bytes::from_owner(form)));
        Self { method: Method::POST, content, ..Self::get(place, Some(pass)) }
    }
}

/// A connection that may be used again.
#[derive(Debug)]
struct Kept {
    to: WebPlace,
    sender: SendRequest<Full<Bytes>>,
    task: JoinHandle<()>,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The connection of the last request, if it is still good, and how long an answer may take.
#[derive(Debug)]
pub(super) struct Line {
    kept: Option<Kept>,
    patience: Duration,
}

impl Default for Line {
    fn default() -> Self {
        Self::patient(ANSWER)
    }
}

impl Line {
    /// Nothing is connected yet; whole answers have so long.
    pub(super) fn patient(patience: Duration) -> Self {
        Self { kept: None, patience }
    }

    /// Asks for what may be asked for twice.
    pub(super) async fn send(
        &mut self,
        asking: &Asking<'_>,
        roots: Option<&TrustedRoots>,
    ) -> Result<Answered, BadLine> {
        let kept = self.kept.take().filter(|kept| kept.to.is_beside(asking.place));
        if let Some(kept) = kept.filter(|kept| kept.sender.is_ready()) {
            match self.ask(kept, asking.clone()).await {
                // The other side may have closed it meanwhile; asking twice changes nothing there.
                Err(BadLine::Http(error)) if !error.is_parse() => {}
                done => return done,
            }
        }
        let fresh = connect(asking.place, roots).await?;
        self.ask(fresh, asking.clone()).await
    }

    /// Connects anew, for what must not be asked twice.
    pub(super) async fn begin(
        &mut self,
        place: &WebPlace,
        roots: Option<&TrustedRoots>,
    ) -> Result<(), BadLine> {
        self.kept = Some(connect(place, roots).await?);
        Ok(())
    }

    /// Sends a form, once, over the connection that was begun. After any failure it may have
    /// been taken.
    pub(super) async fn post(
        &mut self,
        place: &WebPlace,
        pass: HeaderValue,
        form: Zeroizing<Vec<u8>>,
    ) -> Result<Answered, BadLine> {
        let kept = self.kept.take().filter(|kept| kept.to.is_beside(place));
        let kept = kept.ok_or(BadLine::Unsendable)?;
        self.ask(kept, Asking::form(place, pass, form)).await
    }

    async fn ask(&mut self, mut kept: Kept, asking: Asking<'_>) -> Result<Answered, BadLine> {
        let Asking { method, place, pass, accept, content, most } = asking;
        let mut request = Request::builder()
            .method(method)
            .uri(place.path())
            .header(HOST, place.host.as_str())
            .header(USER_AGENT, AGENT)
            .header(ACCEPT, accept);
        if let Some(pass) = pass {
            request = request.header(AUTHORIZATION, pass);
        }
        let mut body = Bytes::new();
        if let Some((kind, content)) = content {
            request = request.header(CONTENT_TYPE, kind);
            body = content;
        }
        let request = request.body(Full::new(body)).map_err(|_| BadLine::Unsendable)?;
        let answered = timeout(self.patience, async {
            let (parts, body) = kept.sender.send_request(request).await?.into_parts();
            // What says itself that it is too large is not waited for.
            let said = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
            if said > most {
                return Err(BadLine::TooLarge(most));
            }
            let body = Limited::new(body, most).collect().await;
            let body = body.map_err(|error| match error.downcast::<hyper::Error>() {
                Ok(error) => BadLine::Http(*error),
                Err(_) => BadLine::TooLarge(most),
            })?;
            let body = Zeroizing::new(body.to_bytes().to_vec());
            Ok::<_, BadLine>(Answered { status: parts.status, headers: parts.headers, body })
        });
        let answered = answered.await.map_err(|_| BadLine::Slow(self.patience))??;
        self.kept = Some(kept);
        Ok(answered)
    }
}

async fn connect(place: &WebPlace, roots: Option<&TrustedRoots>) -> Result<Kept, BadLine> {
    let stream = reach(place).await?;
    // A kernel that doesn't know it is asked all the same.
    drop(stream.set_nodelay(true));
    let stream: Box<dyn Stream> = match (place.tls, roots) {
        (false, _) => Box::new(stream),
        (true, None) => return Err(BadLine::Unsendable),
        (true, Some(roots)) => {
            let name = ServerName::try_from(place.host.name().to_owned());
            let name = name.map_err(|_| BadLine::Unsendable)?;
            let handshake = timeout(CONNECT, roots.connector().connect(name, stream)).await;
            let stream = handshake.map_err(|_| BadLine::Slow(CONNECT))?;
            Box::new(stream.map_err(BadLine::Tls)?)
        }
    };
    let mut http = Builder::new();
    http.max_buf_size(HEAD_BYTES).max_header_size(HEAD_BYTES).max_headers(HEADERS);
    let (sender, connection) = http.handshake(TokioIo::new(stream)).await?;
    let task = tokio::spawn(async move {
        // Whoever asked is told by the request.
        drop(connection.await);
    });
    Ok(Kept { to: place.clone(), sender, task })
}

/// Tries the addresses of a name in their order.
async fn reach(place: &WebPlace) -> Result<TcpStream, BadLine> {
    let asked = tokio::net::lookup_host((place.host.name(), place.port()));
    let found = timeout(CONNECT, asked).await.map_err(|_| BadLine::Slow(CONNECT))??;
    let mut last = BadLine::Io(io::Error::other("the name has no address"));
    for address in found.take(ADDRESSES) {
        if !place.tls && !address.ip().to_canonical().is_loopback() {
            last = BadLine::Plain(address);
            continue;
        }
        match timeout(CONNECT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = BadLine::Io(error),
            Err(_) => last = BadLine::Slow(CONNECT),
        }
    }
    Err(last)
}
