//! Bodies that are measured as they pass: a message says its length first, and takes so
//! many bytes of its caller's share before it is let in.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep};
use tonic::Status;

use super::budget::{Taken, Ticket};
use super::table::Row;
use crate::manager::problem;
use skep_client::transport::Problem;
use skep_core::base::limits;

/// Bytes before a message in gRPC: whether it is compressed, and its length.
const PREFIX: usize = 5;
/// How long a message that has begun may stay away.
const STALLED: Duration = Duration::from_secs(10);
/// How long a message may take in all: what it asks for is too late by then.
const WHOLE: Duration = Duration::from_millis(limits::DEADLINE_MS);
/// Bytes of an answer that are given to a connection at once: whatever its caller does
/// not take stays in the answer, which is counted.
const PIECE: usize = 16 * 1024;

/// Any error of a body.
pub(super) type Anything = Box<dyn std::error::Error + Send + Sync>;

type Taking = Pin<Box<dyn Future<Output = Result<Taken, Problem>> + Send>>;

/// A request's body.
pub(super) struct Measured<B> {
    body: Pin<Box<B>>,
    row: &'static Row,
    ticket: Arc<Ticket>,
    /// What came and was not handed on yet.
    came: Bytes,
    prefix: [u8; PREFIX],
    /// Bytes of the prefix that are there.
    begun: usize,
    /// Bytes of the message that are still to come.
    left: usize,
    messages: u64,
    taking: Option<Taking>,
    taken: Option<Taken>,
    times: Times,
    stalls: Pin<Box<Sleep>>,
    ends: Pin<Box<Sleep>>,
}

/// How long a message may be under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// Without a byte more of it.
    pub(super) stalled: Duration,
    /// In all.
    pub(super) whole: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self { stalled: STALLED, whole: WHOLE }
    }
}

impl<B> Measured<B> {
    pub(super) fn new(body: B, row: &'static Row, ticket: Arc<Ticket>, times: Times) -> Self {
        Self {
            body: Box::pin(body),
            row,
            ticket,
            came: Bytes::new(),
            prefix: [0; PREFIX],
            begun: 0,
            left: 0,
            messages: 0,
            taking: None,
            taken: None,
            times,
            stalls: Box::pin(sleep(times.stalled)),
            ends: Box::pin(sleep(times.whole)),
        }
    }

    /// Whether more must come, and soon. Between two messages of a stream any time may
    /// pass: what it waits for, whoever reads the stream knows.
    fn waits(&self) -> bool {
        !self.row.stream || self.begun > 0 || self.left > 0
    }

    fn moved(&mut self) {
        self.stalls.as_mut().reset(Instant::now() + self.times.stalled);
    }

    /// Looks at what came, and hands on what may be.
    fn pass(&mut self) -> Result<Option<Bytes>, Status> {
        if self.begun == PREFIX {
            self.begun = 0;
            self.let_go();
            return Ok(Some(Bytes::copy_from_slice(&self.prefix)));
        }
        if self.left == 0 && !self.came.is_empty() {
            if self.messages > 0 && !self.row.stream {
                return Err(problem::access::body_goes_on().into());
            }
            if self.row.stream && self.begun == 0 {
                self.ends.as_mut().reset(Instant::now() + self.times.whole);
            }
            // The prefix is kept until it is whole, and handed on with what follows.
            while self.begun < PREFIX && self.came.has_remaining() {
                let byte = self.came.get_u8();
                if let Some(place) = self.prefix.get_mut(self.begun) {
                    *place = byte;
                }
                self.begun += 1;
            }
            if self.begun < PREFIX {
                return Ok(None);
            }
            self.begin()?;
            return Ok(None);
        }
        if self.came.is_empty() {
            return Ok(None);
        }
        let part = self.came.split_to(self.left.min(self.came.len()));
        self.left -= part.len();
        self.let_go();
        Ok(Some(part))
    }

    /// A message that was handed on whole counts no more, where others follow.
    fn let_go(&mut self) {
        if self.left == 0 && self.row.stream {
            self.taken = None;
        }
    }

    /// The prefix of a message is whole: the message may come once its bytes are free.
    fn begin(&mut self) -> Result<(), Status> {
        let [_, a, b, c, d] = self.prefix;
        let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
        if length > self.row.message {
            return Err(problem::access::message_too_large(length, self.row.message).into());
        }
        let price = length.saturating_add(self.row.reply);
        self.taking = Some(Box::pin(self.ticket.clone().take(price)));
        self.left = length;
        self.messages += 1;
        Ok(())
    }
}

impl<B> HttpBody for Measured<B>
where
    B: HttpBody<Data = Bytes>,
    B::Error: Into<Anything>,
{
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        loop {
            if let Some(taking) = &mut this.taking {
                let taken = ready!(taking.as_mut().poll(context));
                this.taking = None;
                match taken {
                    Ok(taken) if this.row.stream => this.taken = Some(taken),
                    Ok(taken) => this.ticket.keep(taken),
                    Err(problem) => return Poll::Ready(Some(Err(problem.into()))),
                }
                this.moved();
            }
            match this.pass() {
                Ok(Some(part)) => return Poll::Ready(Some(Ok(Frame::data(part)))),
                Ok(None) if this.taking.is_some() => continue,
                Ok(None) => {}
                Err(status) => return Poll::Ready(Some(Err(status))),
            }
            match this.body.as_mut().poll_frame(context) {
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Ready(Some(Err(error))) => {
                    return Poll::Ready(Some(Err(Status::from_error(error.into()))));
                }
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => {
                        if !data.is_empty() {
                            this.moved();
                        }
                        this.came = data;
                    }
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                Poll::Pending => {
                    let late = this.waits()
                        && (this.stalls.as_mut().poll(context).is_ready()
                            || this.ends.as_mut().poll(context).is_ready());
                    if late {
                        return Poll::Ready(Some(Err(problem::access::body_too_slow().into())));
                    }
                    return Poll::Pending;
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.came.is_empty() && self.begun == 0 && self.body.is_end_stream()
    }
}

/// An answer's body: it goes out in pieces, and its call is under way until it has gone.
pub(super) struct Reply<B> {
    body: Pin<Box<B>>,
    rest: Bytes,
    _ticket: Arc<Ticket>,
}

impl<B> Reply<B> {
    pub(super) fn new(body: B, ticket: Arc<Ticket>) -> Self {
        Self { body: Box::pin(body), rest: Bytes::new(), _ticket: ticket }
    }
}

impl<B: HttpBody<Data = Bytes>> HttpBody for Reply<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = &mut *self;
        if this.rest.is_empty() {
            let frame = match ready!(this.body.as_mut().poll_frame(context)) {
                Some(Ok(frame)) => frame,
                end => return Poll::Ready(end),
            };
            match frame.into_data() {
                Ok(data) => this.rest = data,
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            }
        }
        let piece = this.rest.split_to(PIECE.min(this.rest.len()));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}
