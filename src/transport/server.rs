//! The mTLS listener.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tracing::debug;

use super::bounds::{Bounds, Counts, Rate, Source};
use super::served::{self, Arrived, Held, Ready, Served};
use super::{Caller, ServerTls};
use crate::base::ManagerPlaces;
use crate::ca::CertificateRole;

/// Calls at a time on a peer's connection.
const STREAMS: u32 = 256;
/// Bytes under way to us on one call of a peer.
const STREAM_WINDOW: u32 = 256 * 1024;
/// Bytes under way to us on a peer's connection.
const WINDOW: u32 = 1024 * 1024;
/// Calls at a time on a guest's connection.
const GUEST_STREAMS: u32 = 2;
/// Bytes under way to us on a guest's connection; HTTP/2 begins with these.
const GUEST_WINDOW: u32 = 65_535;
/// After `accept` failed (no descriptors, no memory) the listener rests so long.
const REST: Duration = Duration::from_millis(100);

/// Serves `routes` until `stop` resolves, then drains. Bounded: handshakes under
/// way at once (and per source address), handshake time, connections (and per
/// peer), streams, header and window sizes. Callers without a valid certificate
/// have limits of their own, a rate per source and a minute's time.
/// Each request carries a [`super::Caller`] in its extensions, and the address it
/// came from where tonic looks for it.
///
/// # Errors
/// What the listener says.
pub async fn serve(
    listener: TcpListener,
    tls: ServerTls,
    routes: Routes,
    places: &ManagerPlaces,
    stop: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    serve_within(Bounds::within(places), listener, tls, routes, stop).await
}

/// [`serve`] with other limits.
pub(super) async fn serve_within(
    bounds: Bounds,
    listener: TcpListener,
    tls: ServerTls,
    routes: Routes,
    stop: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    let config = tls.config.clone().map_err(io::Error::other)?;
    let (stopping, cut) = (CancellationToken::new(), CancellationToken::new());
    let peers = served::bounded(STREAMS, STREAM_WINDOW, WINDOW);
    let guests = served::bounded(GUEST_STREAMS, GUEST_WINDOW, GUEST_WINDOW);
    let (peers, serving_peers) = served::serve_ready(peers, routes.clone(), stopping.clone());
    let (guests, serving_guests) = served::serve_ready(guests, routes, stopping.clone());
    let gate = Arc::new(Gate {
        acceptor: TlsAcceptor::from(config),
        tls,
        handshakes: Arc::new(Semaphore::new(bounds.handshakes)),
        handshakes_by_source: Counts::new(),
        peers_in_all: Counts::new(),
        by_peer: Counts::new(),
        guests_in_all: Counts::new(),
        guests_by_source: Counts::new(),
        anonymous: Rate::new(bounds.anonymous_burst, bounds.anonymous_rate),
        bounds,
        cut: cut.clone(),
        peers,
        guests,
    });
    let serving = Box::pin(async {
        let (first, second) = tokio::join!(serving_peers, serving_guests);
        first.and(second)
    });
    served::run(accept(listener, gate), serving, stop, stopping, cut, bounds.drain_time).await
}

type Stream = TlsStream<TcpStream>;

/// What stands between the listener and the services.
struct Gate {
    bounds: Bounds,
    acceptor: TlsAcceptor,
    tls: ServerTls,
    handshakes: Arc<Semaphore>,
    handshakes_by_source: Counts<Source>,
    peers_in_all: Counts<()>,
    by_peer: Counts<[u8; 16]>,
    guests_in_all: Counts<()>,
    guests_by_source: Counts<Source>,
    anonymous: Rate,
    cut: CancellationToken,
    peers: Ready<Stream, Arrived>,
    guests: Ready<Stream, Arrived>,
}

async fn accept(listener: TcpListener, gate: Arc<Gate>) -> io::Result<()> {
    let mut handshakes = JoinSet::new();
    loop {
        while handshakes.try_join_next().is_some() {}
        let permit = Arc::clone(&gate.handshakes).acquire_owned().await;
        let permit = permit.map_err(io::Error::other)?;
        let (stream, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                debug!(event = "not_accepted", %error);
                sleep(REST).await;
                continue;
            }
        };
        let source = Source::of(address.ip());
        let most = gate.bounds.handshakes_per_source;
        let Some(place) = gate.handshakes_by_source.take(source, most) else {
            continue;
        };
        let gate = Arc::clone(&gate);
        handshakes.spawn(async move {
            if let Err(why) = gate.admit(stream, address).await {
                debug!(event = "not_admitted", %address, why);
            }
            drop((permit, place));
        });
    }
}

impl Gate {
    /// Shakes hands, finds out who it is, and hands the connection on.
    async fn admit(&self, stream: TcpStream, address: SocketAddr) -> Result<(), &'static str> {
        stream.set_nodelay(true).map_err(|_| "it has gone")?;
        let stream = timeout(self.bounds.handshake_time, self.acceptor.accept(stream))
            .await
            .map_err(|_| "the handshake took too long")?
            .map_err(|_| "the handshake failed")?;
        let (_, connection) = stream.get_ref();
        let chain = connection.peer_certificates().unwrap_or_default();
        let caller =
            self.tls.verifier.caller(chain.iter()).map_err(|_| "its certificate is not right")?;
        let source = Source::of(address.ip());
        let (ready, held, stays, cut): (_, Held, _, _) = match &caller {
            Caller::Peer(peer) => {
                let all = self.peers_in_all.take((), self.bounds.peers).ok_or("too many peers")?;
                let id = match peer.leaf().subject.role {
                    CertificateRole::Manager(id) | CertificateRole::Worker(id) => *id.as_bytes(),
                    CertificateRole::Operator(id) => *id.as_bytes(),
                };
                let own = self.by_peer.take(id, self.bounds.per_peer);
                let own = own.ok_or("too many connections of this peer")?;
                let entry = self.tls.cuts.enter(id, &self.cut);
                let cut = entry.token.clone();
                (&self.peers, Box::new((all, own, entry)), None, cut)
            }
            Caller::Anonymous | Caller::Expired(_) => {
                if caller == Caller::Anonymous && !self.anonymous.admits(source) {
                    return Err("too many anonymous connections in this time");
                }
                let all =
                    self.guests_in_all.take((), self.bounds.guests).ok_or("too many guests")?;
                let most = self.bounds.guests_per_source;
                let own = self.guests_by_source.take(source, most);
                let own = own.ok_or("too many guests from this source")?;
                (&self.guests, Box::new((all, own)), Some(self.bounds.guest_time), self.cut.clone())
            }
        };
        let arrived = Arrived { caller, address };
        let served = Served::new(stream, arrived, &cut, stays, held);
        ready.send(served).await.map_err(|_| "the server is stopping")
    }
}
