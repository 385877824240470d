//! What an engine asks and is told, without one.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::watch;

use super::engine::{EngineApi, SeenContainer};
use super::keeper::why_refused;
use super::plugin::{VolumeAsk, read};
use super::*;
use crate::agent::workload::VolumeMount;
use crate::host::RealDisk;
use skep_client::machine::SystemClock;
use skep_core::base::Name;

const DEADLINE: Duration = Duration::from_secs(30);

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

#[test]
fn requests_are_read_and_nothing_else_is() {
    let ask = |path: &str, body: &str| read(path, body.as_bytes());
    assert_eq!(ask("/Plugin.Activate", ""), Ok(VolumeAsk::Activate));
    assert_eq!(ask("/VolumeDriver.List", "{}"), Ok(VolumeAsk::List));
    assert_eq!(
        ask("/VolumeDriver.Create", r#"{"Name":"web","Opts":{}}"#),
        Ok(VolumeAsk::Create(name("web")))
    );
    let mount = VolumeMount { volume: name("web"), id: "a1".parse().expect("an id") };
    let body = r#"{"Name":"web","ID":"a1"}"#;
    assert_eq!(ask("/VolumeDriver.Mount", body), Ok(VolumeAsk::Mount(mount.clone())));
    assert_eq!(ask("/VolumeDriver.Unmount", body), Ok(VolumeAsk::Unmount(mount)));
    for (path, body, why) in [
        ("/VolumeDriver.Create", r#"{"Name":"web","Opts":{"size":"1m"}}"#, "unknown option"),
        ("/VolumeDriver.Create", r#"{"Name":"../web"}"#, "called as the service"),
        ("/VolumeDriver.Create", "", "not JSON"),
        ("/VolumeDriver.Mount", r#"{"Name":"web"}"#, "a mount's id"),
        ("/VolumeDriver.Mount", r#"{"Name":"web","ID":"a b"}"#, "a mount's id"),
        ("/VolumeDriver.Mount", r#"{"Name":7,"ID":"a"}"#, "not JSON"),
        ("/VolumeDriver.Other", body, "no such method"),
        ("/NetworkDriver.Join", body, "no such method"),
        ("/", body, "no such method"),
    ] {
        let error = ask(path, body).expect_err(path);
        assert!(error.starts_with("skep: ") && error.contains(why), "{path} {body}: {error}");
    }
}

fn seen(policy: &str, status: &str, error: &str) -> SeenContainer {
    let json = json!({
        "Id": "1", "State": { "Status": status, "Error": error },
        "HostConfig": { "RestartPolicy": { "Name": policy, "MaximumRetryCount": 0 } },
    });
    serde_json::from_value(json).expect("a container")
}

#[test]
fn only_a_container_that_was_refused_by_this_driver_waits() {
    let ours = "error while mounting volume '/x': VolumeDriver.Mount: skep: no manager was reached";
    let why = |policy, status, error: &str| why_refused(&seen(policy, status, error), "skep");
    for policy in ["always", "unless-stopped", "on-failure"] {
        assert_eq!(why(policy, "exited", ours).as_deref(), Some("no manager was reached"));
    }
    assert!(why("always", "created", ours).is_some());
    assert_eq!(why("no", "exited", ours), None);
    assert_eq!(why("always", "running", ours), None);
    assert_eq!(why("always", "exited", ""), None);
    let others = "error while mounting volume '/x': VolumeDriver.Mount: nfs: skep off";
    assert_eq!(why("always", "exited", others), None);
    let absent = "dial unix /run/docker/plugins/skep.sock: connect: no such file or directory";
    assert_eq!(why("always", "exited", absent).as_deref(), Some(absent));
    assert_eq!(why("always", "exited", "exec: \"sh\": not found"), None);
}

/// A plug-in whose agent has not joined, and its folder.
struct Plugin {
    folder: tempfile::TempDir,
    _door: DockerDoor,
    _stage: watch::Sender<Stage>,
}

impl Plugin {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        Self::start_in(folder)
    }

    fn start_in(folder: tempfile::TempDir) -> Self {
        let path = folder.path().join("skep.sock");
        std::fs::remove_file(&path).ok();
        let shelf = VolumeShelf::open(Arc::new(RealDisk), folder.path(), "b".to_owned());
        let listener = tokio::net::UnixListener::bind(&path).expect("binds");
        let (sender, stage) = watch::channel(Stage::Joining("no token".to_owned()));
        let engine = folder.path().join("engine.sock");
        let (shelf, clock) = (shelf.expect("opens"), Arc::new(SystemClock));
        let door = DockerDoor::open((listener, &path), engine, &shelf, &stage, clock);
        Self { folder, _door: door, _stage: sender }
    }

    async fn raw(&self, text: &[u8]) -> String {
        raw(&self.folder.path().join("skep.sock"), text).await
    }

    async fn ask(&self, method: &str, body: &Value) -> (u16, Value) {
        let body = body.to_string();
        let length = body.len();
        let head =
            format!("POST /{method} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n");
        let said = self.raw(format!("{head}{body}").as_bytes()).await;
        let status = said.split(' ').nth(1).and_then(|status| status.parse().ok());
        let (_, json) = said.split_once("\r\n\r\n").expect("a body");
        (status.expect("a status"), serde_json::from_str(json).expect("JSON"))
    }
}

async fn raw(path: &Path, text: &[u8]) -> String {
    let asked = async {
        let mut stream = UnixStream::connect(path).await.expect("connects");
        stream.write_all(text).await.expect("written");
        let mut said = Vec::new();
        // One that is put out may be reset.
        drop(stream.read_to_end(&mut said).await);
        String::from_utf8_lossy(&said).into_owned()
    };
    tokio::time::timeout(DEADLINE, asked).await.expect("in time")
}

#[tokio::test]
async fn volumes_are_made_shown_and_removed_and_outlive_the_agent() {
    let plugin = Plugin::start();
    let activated = plugin.ask("Plugin.Activate", &json!({})).await;
    assert_eq!(activated, (200, json!({ "Implements": ["VolumeDriver"] })));
    let web = json!({ "Name": "web" });
    let (status, said) = plugin.ask("VolumeDriver.Get", &web).await;
    assert_eq!(status, 500, "a volume that nobody made is nobody's: {said}");
    assert_eq!(plugin.ask("VolumeDriver.Create", &web).await.0, 200);
    assert_eq!(plugin.ask("VolumeDriver.Create", &web).await.0, 200, "again");
    let again = Plugin::start_in(plugin.folder);
    let (status, said) = again.ask("VolumeDriver.Get", &web).await;
    assert_eq!((status, &said["Volume"]["Name"]), (200, &json!("web")), "{said}");
    let (_, list) = again.ask("VolumeDriver.List", &json!({})).await;
    assert_eq!(list["Volumes"].as_array().map(Vec::len), Some(1));
    assert_eq!(again.ask("VolumeDriver.Path", &web).await.1["Mountpoint"], "");
    assert_eq!(again.ask("VolumeDriver.Remove", &web).await.0, 200);
    assert_eq!(again.ask("VolumeDriver.Remove", &web).await.0, 500);
}

#[tokio::test]
async fn what_is_no_request_is_answered_and_kept_short() {
    let plugin = Plugin::start();
    assert!(
        plugin.raw(b"GET /Plugin.Activate HTTP/1.1\r\nHost: x\r\n\r\n").await.contains(" 405 ")
    );
    assert!(plugin.raw(b"\0\0\0\0\r\n\r\n").await.starts_with("HTTP/1.1 400"));
    let large = "x".repeat(100 * 1024);
    let (status, said) = plugin.ask("VolumeDriver.Create", &json!({ "Name": large })).await;
    assert_eq!((status, &said["Err"]), (500, &json!("skep: the request is too large")));
    let head = format!("POST / HTTP/1.1\r\nX: {large}\r\n\r\n");
    assert!(plugin.raw(head.as_bytes()).await.starts_with("HTTP/1.1 431"));
}

#[tokio::test]
async fn a_mount_before_the_agent_has_joined_is_refused_in_time() {
    let plugin = Plugin::start();
    let begun = std::time::Instant::now();
    let mount = json!({ "Name": "web", "ID": "a" });
    let (status, said) = plugin.ask("VolumeDriver.Mount", &mount).await;
    assert_eq!(status, 500);
    let why = said["Err"].as_str().unwrap_or_default();
    assert!(why.contains("has not joined a cluster yet: no token"), "{why}");
    assert!(begun.elapsed() < Duration::from_secs(10));
}

/// Answers one connection with this.
fn engine_that_says(folder: &Path, said: &'static [u8]) -> EngineApi {
    let path = folder.join("engine.sock");
    let listener = tokio::net::UnixListener::bind(&path).expect("binds");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut asked = [0; 4096];
            drop(stream.read(&mut asked).await);
            drop(stream.write_all(said).await);
        }
    });
    EngineApi::new(path)
}

#[tokio::test]
async fn an_engine_that_answers_nonsense_is_not_reached() {
    for said in [
        &b""[..],
        b"\0\0",
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnull",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n[{\"Id\":7}]",
        b"HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n[",
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let engine = engine_that_says(folder.path(), said);
        engine.containers().await.expect_err("nonsense");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let said = b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n[{\"Id\":\"\"}]";
    let engine = engine_that_says(folder.path(), said);
    assert_eq!(engine.containers().await.map(|all| all.len()), Ok(1));
    for id in ["", "../../version", "a?b", "a b", &"f".repeat(65)] {
        engine.start(id).await.expect_err("no id");
        engine.container(id).await.expect_err("no id");
    }
    let other = tempfile::tempdir().expect("a folder");
    let said = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
    let engine = engine_that_says(other.path(), said);
    engine.introduce("skep").await.expect_err("no information");
    let absent = EngineApi::new(folder.path().join("nobody"));
    let error = absent.containers().await.expect_err("nobody").to_string();
    assert!(error.contains("nobody") && error.contains("No such file"), "{error}");
}
