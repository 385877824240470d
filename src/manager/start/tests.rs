//! Every method that is served, called over a real connection that has no gate before it.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixListener;
use tonic::codegen::Service as _;
use tonic::codegen::http::Request;
use tonic::transport::Channel;
use tonic::{Code, Status, body::Body};

use super::services;
use crate::host::RealDisk;
use crate::manager::admit::local::LocalRules;
use crate::manager::admit::tests::{dispatch, every_method, parts};
use crate::manager::{Dispatch, Manager, Setup};
use skep_client::machine::{SystemClock, os_dice};
use skep_client::transport::{connect_local, read_problem, serve_local};
use skep_core::base::{Exit, ManagerPlaces};

const LONG: Duration = Duration::from_secs(20);

/// A folder of our own, a manager in it that is new, and the dispatch of another that runs.
async fn made() -> (tempfile::TempDir, Manager, Dispatch) {
    let folder = tempfile::tempdir().expect("a folder");
    let own = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    let data = folder.path().join("data");
    std::fs::create_dir(&data).expect("a data folder");
    std::fs::set_permissions(&data, own).expect("chmod");
    let dispatch = dispatch(&folder.path().join("running")).await;
    let setup = Setup {
        data,
        listen: ([127, 0, 0, 1], 0).into(),
        advertise: Vec::new(),
        name: "m1".parse().expect("a name"),
        local: LocalRules { uid: rustix::process::geteuid().as_raw(), groups: Vec::new() },
        audit: crate::manager::AuditSettings::default(),
        clock: Arc::new(SystemClock),
        dice: os_dice,
        disk: Arc::new(RealDisk),
        places: ManagerPlaces::default(),
    };
    let manager = Manager::open(setup).expect("a manager");
    (folder, manager, dispatch)
}

/// Calls a method with one message that says nothing.
async fn call(channel: &mut Channel, path: &str) -> Status {
    let request = Request::post(format!("http://localhost{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Body::new(parts(&[0; 5], 5, true)))
        .expect("a request");
    poll_fn(|context| channel.poll_ready(context)).await.expect("a connection");
    let answer = channel.call(request).await.expect("an answer");
    let refused = Status::from_header_map(answer.headers());
    refused.unwrap_or_else(|| panic!("{path} served a call that nobody admitted"))
}

#[tokio::test]
async fn no_handler_serves_a_call_that_the_gate_did_not_admit() {
    let (folder, manager, dispatch) = made().await;
    let socket = folder.path().join("socket");
    let listener = UnixListener::bind(&socket).expect("a socket");
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let stopping = async move { drop(stopped.await) };
    let serving = serve_local(listener, services(&manager, &dispatch), 4, stopping);
    let serving = tokio::spawn(serving);
    let mut channel = connect_local(&socket).await.expect("a connection");
    let methods = every_method();
    assert!(methods.len() > 20, "the .proto files were read");
    for method in &methods {
        let path = method.trim_end_matches(" stream");
        let status = tokio::time::timeout(LONG, call(&mut channel, path)).await.expect("in time");
        if path.starts_with("/skep.raft.v1.Raft/") {
            // Consensus knows no gate: it looks at the certificate itself, each time.
            assert_eq!(status.code(), Code::PermissionDenied, "{path}: {status:?}");
            continue;
        }
        let problem = read_problem(&status).unwrap_or_else(|| panic!("{path}: {status:?}"));
        assert_eq!(problem.exit, Exit::Bug, "{path}: {problem:?}");
        assert!(problem.text.ends_with("was not admitted"), "{path}: {problem:?}");
    }
    drop(channel);
    stop.send(()).expect("it serves");
    tokio::time::timeout(LONG, serving).await.expect("in time").expect("ended").expect("served");
    dispatch.core().consensus.shutdown().await;
}
