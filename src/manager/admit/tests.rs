//! The gate's own parts, before services that read whatever they are given, and who stands
//! in a state for the tests beside it.

mod year;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::poll_fn;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame};
use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tonic::{Code, Status};
use tower::{Layer as _, Service};

use super::body::{Measured, Reply, Times};
use super::budget::{Budget, Key, Lane, Ticket};
use super::table::{self, Row};
use crate::consensus::{Consensus, Start};
use crate::host::RealDisk;
use crate::manager::admit::Gate;
use crate::manager::testing::NOW;
use crate::manager::{Core, Dispatch, KeyHolder};
use skep_client::ca::{CertificateRole, Leaf, Subject};
use skep_client::machine::{OsDice, SystemClock, os_dice};
use skep_client::transport::Caller;
use skep_core::base::{ClusterId, NodeId, OperatorId, Stamp};
use skep_core::domain::{Method, Operator, OperatorRole, Renewal, Scope, State};
use skep_core::seal::{BoxKey, Dek};

const QUICK: Times =
    Times { stalled: Duration::from_millis(50), whole: Duration::from_millis(200) };

/// A body that comes in these parts, and then no more and no end.
pub(in crate::manager) struct Parts {
    parts: VecDeque<Bytes>,
    ends: bool,
}

impl HttpBody for Parts {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.parts.pop_front() {
            Some(part) => Poll::Ready(Some(Ok(Frame::data(part)))),
            None if self.ends => Poll::Ready(None),
            None => Poll::Pending,
        }
    }
}

/// Yields a byte as often as it is asked, for ever.
struct Drip;

impl HttpBody for Drip {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

fn framed(length: usize) -> Vec<u8> {
    let announced = u32::try_from(length).expect("a length").to_be_bytes();
    [&[0][..], &announced, &vec![7; length]].concat()
}

fn row(path: &str) -> &'static Row {
    table::find(path).expect("a row")
}

fn ticket() -> Arc<Ticket> {
    Budget::default().enter(Lane::Operators, Key::Source(None)).expect("a place")
}

async fn read<B>(body: B) -> Result<Vec<u8>, Status>
where
    B: HttpBody<Data = Bytes, Error = Status>,
{
    let mut body = Box::pin(body);
    let mut all = Vec::new();
    while let Some(frame) = poll_fn(|context| body.as_mut().poll_frame(context)).await {
        if let Ok(data) = frame?.into_data() {
            all.extend_from_slice(&data);
        }
    }
    Ok(all)
}

pub(in crate::manager) fn parts(bytes: &[u8], size: usize, ends: bool) -> Parts {
    Parts { parts: bytes.chunks(size).map(Bytes::copy_from_slice).collect(), ends }
}

async fn through(path: &str, body: Parts) -> Result<Vec<u8>, Code> {
    let measured = Measured::new(body, row(path), ticket(), QUICK);
    read(measured).await.map_err(|status| status.code())
}

const SMALL: &str = "/skep.api.v1.Control/Intake";
const STREAM: &str = "/skep.api.v1.Delivery/Session";

#[tokio::test]
async fn a_message_passes_as_it_is_in_whatever_parts_it_comes() {
    let one = framed(100);
    let three = [framed(9), framed(0), framed(70)].concat();
    for size in 1..=one.len() {
        assert_eq!(through(SMALL, parts(&one, size, true)).await.as_ref(), Ok(&one), "{size}");
        let stream = through(STREAM, parts(&three, size, true)).await;
        assert_eq!(stream.as_ref(), Ok(&three), "{size}");
    }
    assert_eq!(through(SMALL, parts(&framed(0), 1, true)).await, Ok(framed(0)));
    assert_eq!(through(SMALL, parts(b"", 1, true)).await, Ok(Vec::new()));
}

#[tokio::test]
async fn what_is_too_large_is_refused_by_its_first_bytes() {
    for path in [SMALL, STREAM] {
        let announced = u32::try_from(row(path).message + 1).expect("a length").to_be_bytes();
        let begun = [&[0][..], &announced].concat();
        assert_eq!(through(path, parts(&begun, 9, false)).await, Err(Code::OutOfRange), "{path}");
    }
}

#[tokio::test]
async fn a_call_of_one_message_has_one() {
    let two = [framed(9), framed(9)].concat();
    assert_eq!(through(SMALL, parts(&two, 5, true)).await, Err(Code::InvalidArgument));
}

#[tokio::test]
async fn what_does_not_go_on_ends() {
    let whole = framed(100);
    for come in [0, 1, 5, 50, whole.len()] {
        let body = parts(&whole[..come], 1, false);
        assert_eq!(through(SMALL, body).await, Err(Code::DeadlineExceeded), "{come}");
    }
    // Between two messages of a stream any time may pass.
    let body = parts(&whole, 1, false);
    let waiting = tokio::time::timeout(QUICK.whole * 3, through(STREAM, body)).await;
    assert!(waiting.is_err(), "it goes on");
    let body = parts(&whole[..50], 1, false);
    assert_eq!(through(STREAM, body).await, Err(Code::DeadlineExceeded));
    let slow = Measured::new(Drip, row(SMALL), ticket(), QUICK);
    assert_eq!(read(slow).await.expect_err("an end").code(), Code::DeadlineExceeded);
}

/// Whether a body gives something at once.
async fn asked(body: &mut Pin<Box<Measured<Parts>>>) -> bool {
    let first = poll_fn(|context| body.as_mut().poll_frame(context));
    tokio::time::timeout(Duration::from_millis(20), first).await.is_ok()
}

#[tokio::test]
async fn a_message_is_let_in_when_its_bytes_are_free() {
    const ACT: &str = "/skep.api.v1.Control/Apply";
    let (budget, key) = (Budget::default(), Key::Identity([1; 16]));
    let enter = || budget.enter(Lane::Operators, key).expect("a place");
    let begun = |bytes: usize| {
        let body = parts(&framed(bytes)[..6], 6, false);
        Box::pin(Measured::new(body, row(ACT), enter(), Times::default()))
    };
    let large = row(ACT).message;
    let (mut first, mut second, mut third) = (begun(large), begun(large), begun(large));
    assert!(asked(&mut first).await && asked(&mut second).await);
    assert!(!asked(&mut third).await, "a third would be more than its share");
    drop(first);
    assert!(asked(&mut third).await);
}

#[tokio::test]
async fn an_answer_goes_out_in_pieces() {
    let whole = vec![7; 100_000];
    let mut reply = Box::pin(Reply::new(parts(&whole, whole.len(), true), ticket()));
    let mut pieces = Vec::new();
    while let Some(frame) = poll_fn(|context| reply.as_mut().poll_frame(context)).await {
        let Ok(data) = frame.expect("no error").into_data() else { continue };
        assert!(!reply.is_end_stream() || pieces.len() == 6);
        pieces.push(data);
    }
    assert!(pieces.iter().all(|piece| piece.len() <= 16 * 1024));
    assert_eq!(pieces.concat(), whole);
}

pub(super) const CLUSTER: ClusterId = ClusterId::from_bytes([1; 16]);
pub(super) const NODE: NodeId = NodeId::from_bytes([2; 16]);
pub(super) const OPERATOR: OperatorId = OperatorId::from_bytes([3; 16]);

pub(super) fn leaf(role: CertificateRole, key: [u8; 32]) -> Leaf {
    let name = "x".parse().expect("a name");
    let subject = Subject { cluster: CLUSTER, role, name };
    Leaf { subject, key, starts: Stamp(0), ends: NOW }
}

pub(super) fn state() -> State {
    let mut state = State::default();
    state.nodes.insert(NODE, Arc::new(skep_core::domain::testing::worker("w1")));
    let operator = Operator {
        name: "ops".parse().expect("a name"),
        role: OperatorRole::Editor,
        key: [7; 32],
        created: Stamp(0),
        certificate_ends: NOW,
        renewal: Renewal::default(),
        suspended: false,
        scope: Scope::everything(),
        constraints: Vec::new(),
        ends: None,
        recovered: false,
    };
    state.operators.insert(OPERATOR, Arc::new(operator));
    state
}

/// The methods of a .proto file, as both ends are generated from it.
fn methods(proto: &str) -> Vec<String> {
    let (mut package, mut service, mut found) = (String::new(), String::new(), Vec::new());
    for line in proto.lines().map(str::trim) {
        let word = |word: &str| line.strip_prefix(word).map(str::trim_start);
        if let Some(rest) = word("package ") {
            package = rest.trim_end_matches(';').to_owned();
        } else if let Some(rest) = word("service ") {
            service = rest.split_whitespace().next().unwrap_or_default().to_owned();
        } else if let Some((name, rest)) = word("rpc ").and_then(|rest| rest.split_once('(')) {
            let stream = if rest.starts_with("stream ") { " stream" } else { "" };
            found.push(format!("/{package}.{service}/{name}{stream}"));
        }
    }
    found
}

/// The paths of all methods of the .proto files; those asked by a stream end in ` stream`.
pub(in crate::manager) fn every_method() -> Vec<String> {
    let api = methods(include_str!("../../../crates/core/src/wire/proto/api.proto"));
    let raft = methods(include_str!("../../../crates/core/src/wire/proto/raft.proto"));
    api.into_iter().chain(raft).collect()
}

/// The dispatch of a manager that was never founded, in a folder that is made.
pub(in crate::manager) async fn dispatch(data: &Path) -> Dispatch {
    let dice = &mut OsDice;
    let (cluster, node) = (ClusterId::draw(dice), NodeId::draw(dice));
    std::fs::create_dir(data).expect("a data folder");
    let start = Start {
        audit: None,
        cluster,
        node,
        addresses: vec!["127.0.0.1:1".to_owned()],
        data: data.to_owned(),
        deks: vec![Dek::draw(dice)],
        disk: Arc::new(RealDisk),
        dice: os_dice,
        tls: None,
    };
    let consensus = Consensus::start(start).await.expect("started");
    let keys = Arc::new(KeyHolder::new(cluster, node, BoxKey::draw(dice)));
    let core = Core::new(consensus, keys, Arc::new(SystemClock), os_dice, node, cluster);
    Dispatch::start(Arc::new(core))
}

/// What is behind a gate that lets nothing pass.
#[derive(Clone)]
struct Behind;

impl Service<Request<Body>> for Behind {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        panic!("{} was let in", request.uri())
    }
}

#[tokio::test]
async fn whatever_the_gate_refuses_it_counts_once_agents_calls_included() {
    let folder = tempfile::tempdir().expect("a folder");
    let dispatch = dispatch(&folder.path().join("running")).await;
    let gate = Gate::port(&dispatch);
    let mut gated = gate.clone().layer(Behind);
    let mut refused = 0;
    for method in every_method() {
        let path = method.trim_end_matches(" stream");
        if table::find(path).is_some_and(|row| row.method == Method::Join) {
            // For this nobody needs a certificate.
            continue;
        }
        let mut request = Request::post(path).body(parts(&[0; 5], 5, true)).expect("a request");
        request.extensions_mut().insert(Caller::Anonymous);
        let answer = gated.call(request).await.expect("an answer");
        let status = Status::from_header_map(answer.headers()).expect("a refusal");
        assert_eq!(status.code(), Code::PermissionDenied, "{path}");
        refused += 1;
        assert_eq!(gate.refused(), refused, "{path}");
    }
    dispatch.core().consensus.shutdown().await;
}
