//! Connecting to a manager.

use std::future::ready;
use std::io;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::{AlertDescription, CertificateError, OtherError};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::Request;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic_prost::ProstCodec;

use super::clocks::{Clocks, OutOfTime, Said};
use super::exchange::KeyExchange;
use super::peer::Expect;
use super::served::{HEADER_BYTES, KEEP_ALIVE, KEEP_ALIVE_ANSWER};
use super::verify::NotAccepted;
use super::whereabouts::NamedTime;
use super::{ClientTls, Peer};

/// Bytes under way to us on one call.
const STREAM_WINDOW: u32 = 1024 * 1024;
/// Bytes under way to us on a connection: a manager is trusted with the memory.
const WINDOW: u32 = 4 * 1024 * 1024;
/// Calls that wait for their turn on a channel.
const QUEUE: usize = 256;

/// What is called to hear what time it is.
const TIME: &str = "/skep.Membership/Time";

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Name not resolved, refused, timed out, closed.
    #[error("{address}: {source}")]
    Unreachable {
        /// What was tried.
        address: String,
        /// What the system says.
        source: io::Error,
    },
    /// Somebody there says that the manager is locked: nothing proves it, for a locked
    /// manager has no key to prove anything with.
    #[error("{address}: says that it is locked (not proven)")]
    Locked {
        /// What was tried.
        address: String,
    },
    /// Reached, and a certificate is right but for the time.
    #[error("{address}: {clocks}")]
    OutOfTime {
        /// What was tried.
        address: String,
        /// Whose, and what the clocks have to do with it.
        clocks: Clocks,
    },
    /// Reached, but not whom we expected, or it did not accept us.
    #[error("{address}: {why}")]
    Refused {
        /// What was tried.
        address: String,
        /// Why.
        why: String,
    },
}

impl ConnectError {
    /// Whether the clock of this machine has to be looked at.
    #[must_use]
    pub fn may_be_the_clock(&self) -> bool {
        matches!(self, Self::OutOfTime { clocks, .. } if clocks.may_differ())
    }

    /// Whether the manager was there and closed the connection: among many strangers that
    /// is the lot of the oldest, and trying again helps.
    #[must_use]
    pub fn was_closed(&self) -> bool {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
        let closed = [BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof];
        matches!(self, Self::Unreachable { source, .. } if closed.contains(&source.kind()))
    }
}

/// Connects to `host:port` within `timeout` and answers the channel and who is there.
/// The handshake is done when this returns, and the manager has accepted our
/// certificate; the channel does not reconnect.
///
/// # Errors
/// [`ConnectError`].
pub async fn connect(
    address: &str,
    tls: &ClientTls,
    expect: Expect,
    timeout: Duration,
) -> Result<(Channel, Peer), ConnectError> {
    let late = || io::Error::new(io::ErrorKind::TimedOut, "no answer in time");
    let connected = tokio::time::timeout(timeout, handshake(address, tls, expect));
    let failure = match connected.await.unwrap_or_else(|_| Err(Failure::Io(late()))) {
        Ok(connected) => return Ok(connected),
        Err(failure) => failure,
    };
    let said = match failure {
        Failure::OutOfTime(_) if tls.asks_time => {
            let asked = tokio::time::timeout(timeout, ask_time(address, tls, expect)).await;
            asked.ok().flatten()
        }
        _ => None,
    };
    Err(failure.at(address, said))
}

enum Failure {
    Io(io::Error),
    Locked,
    OutOfTime(OutOfTime),
    Refused(String),
}

impl Failure {
    fn at(self, address: &str, said: Option<Said>) -> ConnectError {
        let address = address.to_owned();
        match self {
            Self::OutOfTime(certificate) => {
                ConnectError::OutOfTime { address, clocks: Clocks { certificate, said } }
            }
            Self::Io(source) => ConnectError::Unreachable { address, source },
            Self::Locked => ConnectError::Locked { address },
            Self::Refused(why) => ConnectError::Refused { address, why },
        }
    }
}

impl From<io::Error> for Failure {
    /// rustls reports through `io::Error`; what TLS says is a refusal.
    fn from(error: io::Error) -> Self {
        let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match tls {
            Some(error) => {
                out_of_time(error).map_or_else(|| Self::Refused(reason(error)), Self::OutOfTime)
            }
            None => Self::Io(error),
        }
    }
}

/// Whether it is only the time for which a certificate was refused.
fn out_of_time(error: &rustls::Error) -> Option<OutOfTime> {
    if let rustls::Error::InvalidCertificate(refusal) = error {
        return OutOfTime::read(refusal);
    }
    let ours = rustls::Error::AlertReceived(AlertDescription::CertificateExpired);
    (*error == ours).then_some(OutOfTime::Ours)
}

/// What a TLS error means here.
fn reason(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(inner))) => {
            match inner.downcast_ref::<NotAccepted>() {
                Some(refused) => format!("not the expected manager: {refused}"),
                None => "its certificate is not right".to_owned(),
            }
        }
        // Certificates come later: here they have no group, or no suite, in common.
        rustls::Error::AlertReceived(AlertDescription::HandshakeFailure) => {
            "no key exchange that both ends take: one of them requires X25519MLKEM768, and the \
             other doesn't have it"
                .to_owned()
        }
        rustls::Error::AlertReceived(alert) => {
            format!("it does not accept our certificate or protocol (TLS alert {alert:?})")
        }
        other => format!("it does not speak our protocol ({other})"),
    }
}

fn is_alert(error: &io::Error, wanted: AlertDescription) -> bool {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(tls, Some(rustls::Error::AlertReceived(alert)) if *alert == wanted)
}

async fn handshake(
    address: &str,
    tls: &ClientTls,
    expect: Expect,
) -> Result<(Channel, Peer), Failure> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    // Only now: a hello is of one moment.
    let (config, hello) =
        tls.connection(expect).map_err(|error| Failure::Refused(reason(&error)))?;
    let shaken = TlsConnector::from(config).connect(hello, stream).await;
    let mut stream = BufReader::new(shaken.map_err(|error| {
        // Before anybody has proven anything: a manager that runs never says so here.
        let locked = is_alert(&error, AlertDescription::AccessDenied);
        if locked { Failure::Locked } else { error.into() }
    })?);
    accepted(&mut stream).await?;
    let (_, connection) = stream.get_ref().get_ref();
    let chain = connection.peer_certificates().unwrap_or_default();
    let peer =
        tls.verifier.manager(chain.iter(), &expect.name()).map_err(|refused| match refused {
            NotAccepted::OutOfTime(out, _) => Failure::OutOfTime(out),
            other => Failure::Refused(format!("not the expected manager: {other}")),
        })?;
    let exchange = KeyExchange::of(connection.negotiated_key_exchange_group());
    Ok((channel(stream).await?, peer.over(exchange)))
}

/// What time it is at a manager, which proves its key as ever; nothing else is asked, and
/// nothing shown. There is no such method, and the refusal names the time.
async fn ask_time(address: &str, tls: &ClientTls, expect: Expect) -> Option<Said> {
    let stream = TcpStream::connect(address).await.ok()?;
    let (config, name) = tls.connection_for_time(expect).ok()?;
    let stream = TlsConnector::from(config).connect(name, stream).await.ok()?;
    let mut stream = BufReader::new(stream);
    accepted(&mut stream).await.ok()?;
    let chain = stream.get_ref().get_ref().1.peer_certificates().unwrap_or_default();
    let peer = tls.verifier.manager_of_any_time(chain.iter(), &expect.name()).ok()?;
    let mut client = Grpc::new(channel(stream).await.ok()?);
    client.ready().await.ok()?;
    let (request, path) = (Request::new(()), PathAndQuery::from_static(TIME));
    let answer = client.unary(request, path, ProstCodec::<(), ()>::default()).await;
    let refused = answer.err()?;
    let there = NamedTime::read(refused.metadata())?;
    Some(Said::new(peer.leaf().key, there, tls.verifier.now()))
}

/// Waits for the server's first bytes. In TLS 1.3 a client is done before the
/// server has looked at its certificate; a server of ours speaks first, so
/// that an answer means that we are accepted.
async fn accepted(stream: &mut BufReader<TlsStream<TcpStream>>) -> io::Result<()> {
    if stream.fill_buf().await?.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::ConnectionAborted,
            "closed by the manager: it may be busy or stopping",
        ));
    }
    Ok(())
}

/// A channel over this connection alone.
pub(super) async fn channel<S>(stream: S) -> io::Result<Channel>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut only = Some(TokioIo::new(stream));
    let connector = tower::service_fn(move |_| {
        let closed = || io::Error::from(io::ErrorKind::NotConnected);
        ready(only.take().ok_or_else(closed))
    });
    // The name is never resolved: the connector has its connection already.
    Endpoint::from_static("http://manager.skep.internal")
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(WINDOW)
        .http2_max_header_list_size(HEADER_BYTES)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE_ANSWER)
        .keep_alive_while_idle(true)
        .buffer_size(QUEUE)
        .connect_with_connector(connector)
        .await
        .map_err(io::Error::other)
}
