//! Calls over connections of one's own: to any method, also with what no client sends.

use std::path::Path;
use std::sync::Arc;

use http_body_util::{BodyExt as _, Full};
use tonic::body::Body;
use tonic::client::{Grpc, GrpcService as _};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::codegen::http::{HeaderMap, Request as HttpRequest};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

use super::DEADLINE;
use skep_client::ca::Identity;
use skep_client::machine::{SystemClock, os_dice};
use skep_client::transport::{ClientTls, Expect, connect, connect_local};

/// Where calls of a test wait.
///
/// # Panics
/// Where the system has no threads.
pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Runtime::new().expect("a runtime")
}

/// The identity in a file.
///
/// # Panics
/// Where it holds none.
pub fn identity(path: &Path) -> Identity {
    Identity::parse(&std::fs::read(path).expect("an identity file")).expect("an identity")
}

/// Speaks to managers as this one.
///
/// # Panics
/// Where its certificate is not right.
pub fn tls(identity: &Identity) -> ClientTls {
    ClientTls::of(identity, Arc::new(SystemClock), os_dice).expect("credentials")
}

/// A connection to a manager's port.
///
/// # Panics
/// Where there is none to be had.
pub async fn channel(address: &str, tls: &ClientTls) -> Channel {
    connect(address, tls, Expect::AnyManager, DEADLINE).await.expect("a connection").0
}

/// A connection to a local socket.
///
/// # Panics
/// Where there is none to be had.
pub async fn local_channel(socket: &Path) -> Channel {
    connect_local(socket).await.expect("a connection")
}

/// Calls a method with an empty message and answers how it ended at first.
///
/// # Panics
/// Where the connection is dead before.
pub async fn call(channel: &Channel, path: &str) -> Code {
    let mut grpc = Grpc::new(channel.clone());
    grpc.ready().await.expect("a live connection");
    let path: PathAndQuery = path.parse().expect("a path");
    let nothing = Request::new(tokio_stream::iter([()]));
    match grpc.streaming(nothing, path, ProstCodec::<(), ()>::default()).await {
        Ok(_) => Code::Ok,
        Err(status) => status.code(),
    }
}

/// Calls a method with a body that no message is, and answers how it ended: nothing is done.
///
/// # Panics
/// Where nothing comes in time.
pub async fn broken_call(channel: &Channel, path: &str) -> Code {
    let headers = [("content-type", "application/grpc"), ("te", "trailers")];
    let said = ask(channel, path, &headers, framed(&[0xff; 3])).await;
    let mut all = (0..=16).map(Code::from_i32);
    let code = |code: &Code| said.starts_with(&format!("{code:?}: "));
    all.find(code).unwrap_or_else(|| panic!("{path}: {said}"))
}

/// A message in the frame in which gRPC sends it.
#[must_use]
pub fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).expect("a message");
    [&[0], &length.to_be_bytes()[..], message].concat()
}

/// Sends a body as it is, and answers `CODE: message`, or what else came back.
///
/// # Panics
/// Where nothing comes in time.
pub async fn ask(
    channel: &Channel,
    path: &str,
    headers: &[(&'static str, &str)],
    body: Vec<u8>,
) -> String {
    let mut request = HttpRequest::builder().method("POST").uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::new(Full::new(body.into()))).expect("a request");
    let mut channel = channel.clone();
    let answer = async {
        std::future::poll_fn(|context| channel.poll_ready(context)).await?;
        channel.call(request).await
    };
    let answer = tokio::time::timeout(DEADLINE, answer).await.expect("an answer in time");
    let response = match answer {
        Ok(response) => response,
        Err(error) => return chain(&error),
    };
    let (head, body) = response.into_parts();
    if let Some(said) = said(&head.headers) {
        return said;
    }
    let rest = tokio::time::timeout(DEADLINE, body.collect()).await.expect("an end in time");
    match rest {
        Ok(rest) => {
            rest.trailers().and_then(said).unwrap_or_else(|| format!("HTTP {}", head.status))
        }
        Err(status) => format!("{:?}: {}", status.code(), status.message()),
    }
}

fn said(headers: &HeaderMap) -> Option<String> {
    let status = Status::from_header_map(headers)?;
    Some(format!("{:?}: {}", status.code(), status.message()))
}

fn chain(error: &dyn std::error::Error) -> String {
    let rest = error.source().map(chain).unwrap_or_default();
    format!("{error}: {rest}")
}
