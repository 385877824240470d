//! What stands before every call over a local socket: who calls is known by the kernel, so
//! whether the call is let in, and how large it may be, is decided before a byte of its
//! body is read.
//!
//! Calls and their bytes are counted by user and in all ([`Shares`]), a body has a time
//! in which it must be there, and it is read whole before the call begins: who sends half
//! of one holds one of the places of its own user, for that time.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Body as _;
use tonic::codegen::http::{Request, Response};
use tower::{Layer, Service};

use super::Problem;
use super::peer::LocalCaller;
use super::shares::{Most, Share, Shares};

/// Decides, from who calls and the method's path, how many bytes its message may have.
pub type Gate = Arc<dyn Fn(&LocalCaller, &str) -> Result<usize, Status> + Send + Sync>;

/// Bytes before a message in gRPC: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// What a local socket lets in.
#[derive(Clone)]
pub struct Doors {
    /// Who may call what.
    pub gate: Gate,
    /// Calls at a time on one connection.
    pub streams: u32,
    /// Header bytes of a call.
    pub header_bytes: u32,
    /// Connections of one user, where there are places for more.
    pub connections_per_user: usize,
    /// Calls under way.
    pub calls: Most,
    /// Bytes of their bodies.
    pub bytes: Most,
    /// How long a body may take to come.
    pub body_time: Duration,
}

impl std::fmt::Debug for Doors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Doors").field("calls", &self.calls).finish_non_exhaustive()
    }
}

impl Default for Doors {
    /// A manager's control socket: sealed values come through it.
    fn default() -> Self {
        const MIB: usize = 1024 * 1024;
        // The services on it say more exactly what they take.
        let gate: Gate = Arc::new(|_, _| Ok(8 * MIB));
        Self {
            gate,
            streams: 64,
            header_bytes: super::served::HEADER_BYTES,
            connections_per_user: 64,
            calls: Most { per_user: 128, others: 512, trusted: 1_024 },
            bytes: Most { per_user: 16 * MIB, others: 64 * MIB, trusted: 512 * MIB },
            body_time: Duration::from_secs(30),
        }
    }
}

/// Puts the doors before a server's services.
#[derive(Clone, Debug)]
pub(super) struct DoorsLayer(Arc<Counted>);

#[derive(Debug)]
struct Counted {
    doors: Doors,
    calls: Shares,
    bytes: Shares,
}

impl DoorsLayer {
    pub(super) fn new(doors: Doors) -> Self {
        let (calls, bytes) = (Shares::new(doors.calls), Shares::new(doors.bytes));
        Self(Arc::new(Counted { doors, calls, bytes }))
    }
}

impl<S> Layer<S> for DoorsLayer {
    type Service = Behind<S>;

    fn layer(&self, inner: S) -> Behind<S> {
        Behind { inner, counted: Arc::clone(&self.0) }
    }
}

/// A service behind doors.
#[derive(Clone, Debug)]
pub(super) struct Behind<S> {
    inner: S,
    counted: Arc<Counted>,
}

type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

impl<S> Service<Request<Body>> for Behind<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Answer {
        // The one that was asked whether it is ready is the one that is called.
        let next = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, next);
        let counted = Arc::clone(&self.counted);
        Box::pin(async move {
            match counted.admit(request).await {
                Ok((request, held)) => {
                    let response = inner.call(request).await?;
                    // An answer that goes on counts for as long as it does.
                    Ok(response.map(|body| {
                        Body::new(body.map_frame(move |frame| {
                            let _counts = &held;
                            frame
                        }))
                    }))
                }
                Err(status) => Ok(status.into_http()),
            }
        })
    }
}

impl Counted {
    /// Lets a call in, with its whole body, or not.
    async fn admit(&self, request: Request<Body>) -> Result<(Request<Body>, [Share; 2]), Status> {
        let caller = request.extensions().get::<LocalCaller>();
        let caller = caller.ok_or_else(|| Problem::bug("a call without a caller"))?;
        let uid = caller.uid();
        let most = (self.doors.gate)(caller, request.uri().path())?.saturating_add(PREFIX);
        let call = self.calls.take(uid, 1).ok_or_else(|| too_many(uid, "calls"))?;
        let mut held =
            self.bytes.take(uid, 0).ok_or_else(|| Problem::bug("no share of nothing"))?;
        let (parts, body) = request.into_parts();
        let read = tokio::time::timeout(self.doors.body_time, read(body, most, &mut held));
        let late = |_| Problem::too_slow("the call's body did not come in time");
        let whole = read.await.map_err(late)??;
        Ok((Request::from_parts(parts, Body::new(Full::new(whole))), [call, held]))
    }
}

async fn read(body: Body, most: usize, held: &mut Share) -> Result<Bytes, Status> {
    let mut body = pin!(body);
    let mut whole = BytesMut::new();
    while let Some(frame) = poll_fn(|context| body.as_mut().poll_frame(context)).await {
        let Ok(data) = frame?.into_data() else { continue };
        if whole.len().saturating_add(data.len()) > most {
            let text = format!("the call's body has more than {most} bytes");
            return Err(Problem::too_large(text).into());
        }
        if !held.grow(data.len()) {
            return Err(too_many(held.uid(), "bytes"));
        }
        whole.extend_from_slice(&data);
    }
    Ok(whole.freeze())
}

fn too_many(uid: u32, what: &str) -> Status {
    let text = format!("too many {what} of user {uid} are under way");
    Problem::too_many(text).hint("try again when some calls have ended").into()
}
