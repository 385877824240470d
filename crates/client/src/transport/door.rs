//! The door: who comes is sorted by its first message, before any other work is done.
//!
//! From `accept` on everybody is a stranger and has one of the strangers' places. Whose
//! hello is a member's goes on among members, where it has places of its own; whoever has
//! none goes on among strangers, whose handshakes have one thread. Nobody waits for a
//! stranger: one that takes its time is displaced.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use parking_lot::Mutex;
use rustix::net::sockopt::set_socket_linger;
use rustls::ServerConfig;
use rustls::server::{Accepted, Acceptor};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_rustls::server::TlsStream;
use tokio_rustls::{LazyConfigAcceptor, StartHandshake};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, warn};

use super::bounds::{Bounds, Counts, Place};
use super::crowd::{Crowd, Seat};
use super::exchange::KeyExchange;
use super::hello::id_of;
use super::served::{Arrived, Ready, Served};
use super::{Caller, ServerTls};
use crate::ca::CertificateRole;

/// Bytes of a first message: ours has about 1,800, most of them a key of ML-KEM.
const HELLO_BYTES: usize = 16 * 1024;
/// After `accept` failed (no descriptors, no memory) the listener rests so long.
const REST: Duration = Duration::from_millis(100);
/// Members whose turns are remembered before those that have none under way are forgotten.
const MOST_TURNS: usize = 16_384;

type Stream = TlsStream<TcpStream>;
type Why = &'static str;

/// Where connections of one kind shake hands, and who serves them there.
pub(super) struct Serving {
    pub(super) ready: Ready<Stream, Arrived>,
    pub(super) on: Handle,
}

/// Those of each kind.
pub(super) struct Lanes {
    /// Members, and managers for what they ask each other.
    pub(super) members: Serving,
    /// Managers, for messages of Raft.
    pub(super) raft: Serving,
    /// Whoever nobody knows.
    pub(super) guests: Serving,
}

/// What stands between the listener and the services.
pub(super) struct Door {
    bounds: Bounds,
    config: Arc<ServerConfig>,
    tls: ServerTls,
    /// Strangers until their handshake begins: silent, or waiting for their turn.
    strangers: Crowd<Waiting>,
    /// Their sockets, of those too that lost their place and are not closed yet.
    sockets: Arc<Semaphore>,
    /// Told when somebody waits for a turn.
    waits: Notify,
    /// Strangers whose handshake has begun, and their sockets.
    shaking: Crowd,
    shaking_sockets: Arc<Semaphore>,
    guests: Crowd,
    guest_sockets: Arc<Semaphore>,
    managers: Lane,
    known: Lane,
    cut: CancellationToken,
    serving: Lanes,
}

impl Lanes {
    /// That of a member.
    fn of(&self, raft: bool) -> &Serving {
        if raft { &self.raft } else { &self.members }
    }
}

/// Places of one kind of member.
struct Lane {
    most: usize,
    in_all: Counts<()>,
    each: usize,
    by_member: Counts<[u8; 16]>,
    turns: Turns,
}

/// What a member's connection holds.
type Places = (Place<()>, Place<[u8; 16]>);

impl Lane {
    fn new(most: usize, each: usize, bounds: &Bounds) -> Self {
        let turns = Turns::new(bounds.handshakes, bounds.handshakes_each);
        Self { most, in_all: Counts::new(), each, by_member: Counts::new(), turns }
    }

    fn take(&self, id: [u8; 16]) -> Result<Places, Why> {
        let all = self.in_all.take((), self.most).ok_or("too many of its kind")?;
        let own = self.by_member.take(id, self.each);
        Ok((all, own.ok_or("too many connections of this member")?))
    }
}

/// Whose turn it is to shake hands: so many of each member, and so many of all.
struct Turns {
    in_all: Arc<Semaphore>,
    each: usize,
    by_member: Mutex<HashMap<[u8; 16], Arc<Semaphore>>>,
}

impl Turns {
    fn new(most: usize, each: usize) -> Self {
        Self { in_all: Arc::new(Semaphore::new(most)), each, by_member: Mutex::default() }
    }

    /// Waits behind the others of this member first: it keeps nobody else from a turn.
    async fn turn(&self, id: [u8; 16]) -> Result<[OwnedSemaphorePermit; 2], Why> {
        let own = {
            let mut all = self.by_member.lock();
            if all.len() >= MOST_TURNS {
                all.retain(|_, own| Arc::strong_count(own) > 1);
            }
            Arc::clone(all.entry(id).or_insert_with(|| Arc::new(Semaphore::new(self.each))))
        };
        let stopping = |_| "the server is stopping";
        let own = own.acquire_owned().await.map_err(stopping)?;
        let all = Arc::clone(&self.in_all).acquire_owned().await.map_err(stopping)?;
        Ok([own, all])
    }
}

/// A connection whose first message is there.
struct Begun {
    accepted: Accepted,
    stream: TcpStream,
    address: SocketAddr,
}

/// A stranger that waits for its turn.
struct Waiting {
    begun: Begun,
    _socket: OwnedSemaphorePermit,
}

/// Who a connection says it is, and what it holds for that.
struct Said {
    role: CertificateRole,
    /// For messages of Raft.
    raft: bool,
    places: Places,
}

impl Door {
    pub(super) fn new(
        bounds: Bounds,
        config: Arc<ServerConfig>,
        tls: ServerTls,
        cut: CancellationToken,
        serving: Lanes,
    ) -> Self {
        let (waiting, shaking) = bounds.of_strangers();
        Self {
            config,
            tls,
            strangers: Crowd::new(Bounds::seats(waiting)),
            sockets: Arc::new(Semaphore::new(waiting)),
            waits: Notify::new(),
            shaking: Crowd::new(Bounds::seats(shaking)),
            shaking_sockets: Arc::new(Semaphore::new(shaking)),
            guests: Crowd::new(Bounds::seats(bounds.guests)),
            guest_sockets: Arc::new(Semaphore::new(bounds.guests)),
            managers: Lane::new(bounds.managers, bounds.per_manager, &bounds),
            known: Lane::new(bounds.known, bounds.per_known, &bounds),
            cut,
            serving,
            bounds,
        }
    }

    /// Accepts for ever. It waits for sockets that were given up and are not closed yet,
    /// which this very thread does, and for nothing else.
    pub(super) async fn accept(self: Arc<Self>, listener: TcpListener) -> io::Result<()> {
        let door = Arc::clone(&self);
        let shaking = self.serving.guests.on.spawn(async move { door.take_turns().await });
        let _ends_with_this = AbortOnDropHandle::new(shaking);
        loop {
            let socket = Arc::clone(&self.sockets).acquire_owned().await;
            let socket = socket.map_err(io::Error::other)?;
            let (stream, address) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    debug!(event = "not_accepted", %error);
                    sleep(REST).await;
                    continue;
                }
            };
            let seat = self.strangers.enter(address.ip(), CancellationToken::new());
            let door = Arc::clone(&self);
            tokio::spawn(async move { door.sort(stream, address, seat, socket).await });
        }
    }

    /// Waits for the first message and sends the connection on to its lane.
    async fn sort(
        self: Arc<Self>,
        stream: TcpStream,
        address: SocketAddr,
        seat: Seat<Waiting>,
        socket: OwnedSemaphorePermit,
    ) {
        // A silent one that is closed leaves nothing behind in the kernel.
        let _gone_already = set_socket_linger(&stream, Some(Duration::ZERO)).is_err();
        let hello = timeout(self.bounds.hello_time, first_message(stream));
        let first = tokio::select! {
            () = seat.cut.cancelled() => return not_admitted(address, "its place was taken"),
            first = hello => first.unwrap_or(Err("its first message took too long")),
        };
        let (accepted, stream) = match first {
            Ok(first) => first,
            Err(why) => return not_admitted(address, why),
        };
        let member = self.tls.recognition.as_ref().and_then(|recognition| {
            let hello = accepted.client_hello();
            hello.server_name().and_then(|name| recognition.member(name))
        });
        let begun = Begun { accepted, stream, address };
        match member.map(|(role, raft)| (role, raft, self.lane(role).take(id_of(role)))) {
            Some((role, raft, Ok(places))) => {
                let said = Said { role, raft, places };
                let on = self.serving.of(raft).on.clone();
                // Its place among strangers is free from here on.
                on.spawn(async move { self.member(begun, said).await });
            }
            Some((_, _, Err(why))) => not_admitted(address, why),
            None => {
                // From here on it is dropped at once where it loses its place, whatever the
                // strangers' thread does.
                seat.wait(Waiting { begun, _socket: socket });
                self.waits.notify_one();
            }
        }
    }

    fn lane(&self, role: CertificateRole) -> &Lane {
        match role {
            CertificateRole::Manager(_) => &self.managers,
            CertificateRole::Worker(_) | CertificateRole::Operator(_) => &self.known,
        }
    }

    async fn member(&self, begun: Begun, said: Said) {
        let (address, role) = (begun.address, said.role);
        let handshake = timeout(self.bounds.handshake_time, async {
            let _turn = self.lane(role).turns.turn(id_of(role)).await?;
            self.shake_hands(begun).await
        });
        let arrived = async {
            let stream = handshake.await.map_err(|_| "the handshake took too long")??;
            self.arrived(stream, address, Some(said)).await
        };
        let ended = tokio::select! {
            () = self.cut.cancelled() => Err("the server is stopping"),
            ended = arrived => ended,
        };
        ended.unwrap_or_else(|why| not_admitted(address, why));
    }

    /// Strangers' turns, on their thread: it takes the next one when it gets to it. One whose
    /// handshake has begun and goes on slowly is displaced as well.
    async fn take_turns(self: Arc<Self>) {
        loop {
            let Ok(socket) = Arc::clone(&self.shaking_sockets).acquire_owned().await else {
                return;
            };
            let next = loop {
                match self.strangers.next() {
                    Some(next) => break next,
                    None => self.waits.notified().await,
                }
            };
            let begun = next.begun;
            let seat = self.shaking.enter(begun.address.ip(), CancellationToken::new());
            let door = Arc::clone(&self);
            tokio::spawn(async move { door.stranger(begun, seat, socket).await });
            // The others on this thread have their turn.
            tokio::task::yield_now().await;
        }
    }

    async fn stranger(&self, begun: Begun, seat: Seat, socket: OwnedSemaphorePermit) {
        let address = begun.address;
        let handshake = timeout(self.bounds.stranger_time, self.shake_hands(begun));
        let arrived = async {
            let stream = handshake.await.map_err(|_| "the handshake took too long")??;
            self.arrived(stream, address, None).await
        };
        let ended = tokio::select! {
            () = self.cut.cancelled() => Err("the server is stopping"),
            () = seat.cut.cancelled() => Err("its place was taken"),
            ended = arrived => ended,
        };
        drop((seat, socket));
        ended.unwrap_or_else(|why| not_admitted(address, why));
    }

    /// In the runtime that is to serve it, which watches the socket from here on.
    async fn shake_hands(&self, begun: Begun) -> Result<Stream, Why> {
        let gone = |_| "it has gone";
        let stream = begun.stream.into_std().and_then(TcpStream::from_std).map_err(gone)?;
        stream.set_nodelay(true).map_err(gone)?;
        // What is sent to it before it is closed arrives from here on.
        set_socket_linger(&stream, None).map_err(|_| "it has gone")?;
        let handshake = StartHandshake::from_parts(begun.accepted, stream);
        let stream = handshake.into_stream(Arc::clone(&self.config)).await;
        stream
            .map_err(|error| if is_not_begun(&error) { NOT_BEGUN } else { "the handshake failed" })
    }

    /// Finds out by its certificate who it is, and hands the connection on.
    async fn arrived(
        &self,
        stream: Stream,
        address: SocketAddr,
        said: Option<Said>,
    ) -> Result<(), Why> {
        let (_, connection) = stream.get_ref();
        let chain = connection.peer_certificates().unwrap_or_default();
        let caller =
            self.tls.verifier.caller(chain.iter()).map_err(|_| "its certificate is not right")?;
        let caller = caller.over(KeyExchange::of(connection.negotiated_key_exchange_group()));
        let may_be = |role| self.tls.recognition.as_ref().is_none_or(|known| known.may_be(role));
        let member = match &caller {
            Caller::Peer(peer) => {
                let leaf = peer.leaf();
                Some((leaf.subject.role, leaf.ends)).filter(|(role, _)| may_be(*role))
            }
            Caller::Anonymous | Caller::Expired(_) => None,
        };
        // Its handshake was made where it is served.
        let members = self.serving.of(said.as_ref().is_some_and(|said| said.raft));
        let (serving, served) = if let Some((role, ends)) = member {
            let places = match said.filter(|said| said.role == role) {
                Some(said) => said.places,
                None => self.lane(role).take(id_of(role))?,
            };
            let entry = self.tls.cuts.enter(id_of(role), ends, &self.cut);
            let cut = entry.token.clone();
            let arrived = Arrived::new(caller, address, None);
            (members, Served::new(stream, arrived, &cut, None, Box::new((places, entry))))
        } else {
            drop(said);
            let socket = Arc::clone(&self.guest_sockets).acquire_owned().await;
            let socket = socket.map_err(|_| "the server is stopping")?;
            let seat = self.guests.enter(address.ip(), self.cut.child_token());
            let (cut, keeper) = (seat.cut.clone(), seat.keeper());
            let arrived = Arrived::new(caller, address, Some(keeper));
            let stays = Some(self.bounds.guest_time);
            (
                &self.serving.guests,
                Served::new(stream, arrived, &cut, stays, Box::new((seat, socket))),
            )
        };
        serving.ready.send(served).await.map_err(|_| "the server is stopping")
    }
}

/// Why a member is not admitted whose certificate is right, and begins later.
const NOT_BEGUN: Why = "its certificate has not begun: by the clock of the one that signed it, this \
                        machine's clock is behind";

fn is_not_begun(error: &std::io::Error) -> bool {
    use rustls::{CertificateError::NotValidYetContext, Error::InvalidCertificate};
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(tls, Some(InvalidCertificate(NotValidYetContext { .. })))
}

fn not_admitted(address: SocketAddr, why: Why) {
    if why == NOT_BEGUN {
        warn!(event = "certificate_not_begun", %address, why);
    }
    debug!(event = "not_admitted", %address, why);
}

/// Reads a hello, of bounded length, and nothing is answered to it yet.
async fn first_message(stream: TcpStream) -> Result<(Accepted, TcpStream), Why> {
    let stream = Opening { stream, left: HELLO_BYTES };
    let begun = LazyConfigAcceptor::new(Acceptor::default(), stream).await;
    let begun = begun.map_err(|_| "its first message is none")?;
    Ok((begun.accepted, begun.io.stream))
}

/// A stream of which so many bytes may be read.
struct Opening {
    stream: TcpStream,
    left: usize,
}

impl AsyncRead for Opening {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, into);
        let came = into.filled().len().saturating_sub(before);
        match self.left.checked_sub(came) {
            Some(left) => {
                self.left = left;
                read
            }
            None => Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
        }
    }
}

impl AsyncWrite for Opening {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
