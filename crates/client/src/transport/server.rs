//! The mTLS listener.

use std::future::Future;
use std::io;
use std::sync::Arc;

use rustix::process::setpriority_process;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tonic::service::Routes;

use super::bounds::Bounds;
use super::door::{Door, Lanes, Serving};
use super::{ServerTls, served};
use skep_core::base::ManagerPlaces;

/// Calls at a time on a peer's connection.
const STREAMS: u32 = 256;
/// Bytes under way to us on one call of a peer.
const STREAM_WINDOW: u32 = 256 * 1024;
/// Bytes under way to us on a peer's connection.
const WINDOW: u32 = 1024 * 1024;
/// How far strangers' thread stands back for the others where all want the machine: it has
/// a tenth then of what each of them has, as nice values go.
const STRANGERS_NICE: i32 = 10;
/// Calls at a time on a guest's connection.
const GUEST_STREAMS: u32 = 2;
/// Bytes under way to us on a guest's connection; HTTP/2 begins with these.
const GUEST_WINDOW: u32 = 65_535;

/// Serves `routes` until `stop` resolves, then drains. Bounded: places of strangers, of
/// guests, of managers, of nodes and operators, and of each of those; time for a hello and
/// for a handshake; streams, header and window sizes. Strangers' handshakes and calls have
/// one thread, whatever they do; a thread of its own accepts and sorts.
/// Each request carries a [`super::Caller`] in its extensions, and the address it
/// came from where tonic looks for it; a guest's a [`super::KeepSeat`].
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
    serve_apart(listener, tls, routes, places, Handle::current(), stop).await
}

/// [`serve`], where connections for Raft's messages, as their hello says, have a runtime of
/// their own: that of Raft itself, so that no message goes from one thread to another before it
/// is where it is meant for, and none waits for what else is asked here.
///
/// # Errors
/// What the listener says.
pub async fn serve_apart(
    listener: TcpListener,
    tls: ServerTls,
    routes: Routes,
    places: &ManagerPlaces,
    raft: Handle,
    stop: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    serve_within(Bounds::within(places), listener, tls, routes, raft, stop).await
}

/// The same with other limits.
pub(super) async fn serve_within(
    bounds: Bounds,
    listener: TcpListener,
    tls: ServerTls,
    routes: Routes,
    raft: Handle,
    stop: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    let config = tls.config.clone().map_err(io::Error::other)?;
    let door = Thread::named("skep-door", 0)?;
    let strangers = Thread::named("skep-strangers", STRANGERS_NICE)?;
    let (stopping, cut) = (CancellationToken::new(), CancellationToken::new());
    let lane = |server, on: Handle| {
        let (ready, serving) = served::serve_ready(server, routes.clone(), stopping.clone());
        (Serving { ready, on: on.clone() }, spawned(on, serving))
    };
    let peers = || served::bounded(STREAMS, STREAM_WINDOW, WINDOW);
    let guests = served::bounded(GUEST_STREAMS, GUEST_WINDOW, GUEST_WINDOW);
    let (members, serving_members) = lane(peers(), Handle::current());
    let (raft, serving_raft) = lane(peers(), raft);
    let (guests, serving_guests) = lane(guests, strangers.handle());
    let served = Lanes { members, raft, guests };
    let at = Arc::new(Door::new(bounds, config, tls, cut.clone(), served));
    let listener = listener.into_std()?;
    let (closed, is_closed) = oneshot::channel::<()>();
    let accept = async move {
        let _closed = closed;
        at.accept(TcpListener::from_std(listener)?).await
    };
    let accepting = spawned(door.handle(), accept);
    let serving = Box::pin(async {
        let (members, raft, guests) = tokio::join!(serving_members, serving_raft, serving_guests);
        members.and(raft).and(guests)
    });
    let end = served::run(accepting, serving, stop, stopping, cut, bounds.drain_time).await;
    // The port is free when this returns.
    let _closed = is_closed.await.is_err();
    end
}

/// A thread that does one kind of work and nothing else, as long as this lives.
struct Thread(Option<Runtime>, Handle);

impl Thread {
    fn named(name: &str, nice: i32) -> io::Result<Self> {
        let mut runtime = Builder::new_multi_thread();
        runtime.worker_threads(1).thread_name(name).enable_all();
        if nice > 0 {
            runtime.on_thread_start(move || {
                // On Linux it is this thread's alone. Where it is not allowed nothing is lost.
                let _as_it_was = setpriority_process(None, nice).is_err();
            });
        }
        let runtime = runtime.build()?;
        let handle = runtime.handle().clone();
        Ok(Self(Some(runtime), handle))
    }

    fn handle(&self) -> Handle {
        self.1.clone()
    }
}

/// Runs to its end there, or until this is dropped.
async fn spawned(
    on: Handle,
    task: impl Future<Output = io::Result<()>> + Send + 'static,
) -> io::Result<()> {
    AbortOnDropHandle::new(on.spawn(task)).await.map_err(io::Error::other)?
}

impl Drop for Thread {
    fn drop(&mut self) {
        // Where it is dropped nobody may wait.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
