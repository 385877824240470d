//! What is asked of the engine itself, over its own socket: whether it knows the driver, which
//! containers there are, why one doesn't run, to start it, and to tell or restart one that runs. Each question has a connection, bounded in bytes and time.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::time::timeout;

use skep_core::base::Name;
use skep_core::domain::HookSignal;

/// Bytes of an answer: a list of thousands of containers.
const ANSWER_BYTES: usize = 32 * 1024 * 1024;
/// How long an answer may take, and that to a start or restart: the engine asks for the volume
/// meanwhile, and gives whoever is to stop its time.
const ANSWER_TIME: Duration = Duration::from_secs(10);
const START_TIME: Duration = Duration::from_mins(1);
/// What an engine says of a container that has ended, or is gone.
const NOT_RUNNING: &str = " is not running";
/// Characters of a container's id.
const ID_CHARACTERS: usize = 64;

/// The engine.
#[derive(Clone, Debug)]
pub(super) struct EngineApi {
    socket: PathBuf,
}

/// A container in the engine's list.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListedContainer {
    pub(super) id: String,
    #[serde(default)]
    pub(super) names: Vec<String>,
    #[serde(default)]
    pub(super) state: String,
    #[serde(default)]
    pub(super) mounts: Vec<ListedMount>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListedMount {
    #[serde(default)]
    pub(super) name: String,
    #[serde(default)]
    pub(super) driver: String,
}

/// A container that was looked at.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct SeenContainer {
    pub(super) state: SeenState,
    pub(super) host_config: SeenSettings,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct SeenState {
    #[serde(default)]
    pub(super) status: String,
    #[serde(default)]
    pub(super) error: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct SeenSettings {
    pub(super) restart_policy: SeenPolicy,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct SeenPolicy {
    #[serde(default)]
    pub(super) name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Info {
    plugins: InfoPlugins,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct InfoPlugins {
    volume: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Message {
    message: String,
}

/// Why the engine's answer is of no use, in words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct NoAnswer(pub(super) String);

impl ListedContainer {
    /// What people call it.
    pub(super) fn name(&self) -> String {
        let name = self.names.first().map_or(self.id.as_str(), String::as_str);
        name.trim_start_matches('/').to_owned()
    }

    /// Whether there is a main process to be told.
    pub(super) fn is_up(&self) -> bool {
        self.state == "running" || self.is_paused()
    }

    /// Whether its processes stand still.
    pub(super) fn is_paused(&self) -> bool {
        self.state == "paused"
    }

    /// Whether its processes are there, or may be: what it has mounted stays.
    pub(super) fn may_live(&self) -> bool {
        !["created", "exited", "dead"].contains(&self.state.as_str())
    }
}

impl EngineApi {
    pub(super) fn new(socket: PathBuf) -> Self {
        Self { socket }
    }

    /// Has it know the driver, whose name is a plain word: an engine finds one when it is asked
    /// for it first, and a swarm gives its node nothing before.
    pub(super) async fn introduce(&self, driver: &str) -> Result<(), NoAnswer> {
        let (_, body) = in_time(ANSWER_TIME, self.ask(Method::GET, "/info")).await?;
        let known = read::<Info>(&body)?.plugins.volume.unwrap_or_default();
        if !known.iter().any(|known| known == driver) {
            let path = format!("/volumes?filters=%7B%22driver%22%3A%5B%22{driver}%22%5D%7D");
            in_time(ANSWER_TIME, self.ask(Method::GET, &path)).await?;
        }
        Ok(())
    }

    /// All containers, also those that don't run.
    pub(super) async fn containers(&self) -> Result<Vec<ListedContainer>, NoAnswer> {
        let asked = self.ask(Method::GET, "/containers/json?all=1");
        let (_, body) = in_time(ANSWER_TIME, asked).await?;
        read(&body)
    }

    /// Those that run and have one of these volumes, or something else that is called so.
    pub(super) async fn with_volumes(
        &self,
        volumes: &BTreeSet<Name>,
    ) -> Result<Vec<ListedContainer>, NoAnswer> {
        // Names are plain words: only the JSON around them has to be written otherwise.
        let named: Vec<String> = volumes.iter().map(|name| format!("%22{name}%22")).collect();
        let filter = format!("%7B%22volume%22%3A%5B{}%5D%7D", named.join("%2C"));
        let path = format!("/containers/json?filters={filter}");
        let (_, body) = in_time(ANSWER_TIME, self.ask(Method::GET, &path)).await?;
        read(&body)
    }

    /// One of them; `None`: it is gone.
    pub(super) async fn container(&self, id: &str) -> Result<Option<SeenContainer>, NoAnswer> {
        let path = format!("/containers/{}/json", checked(id)?);
        let (status, body) = in_time(ANSWER_TIME, self.ask(Method::GET, &path)).await?;
        if status == StatusCode::NOT_FOUND { Ok(None) } else { read(&body).map(Some) }
    }

    /// Starts one, unless it runs.
    pub(super) async fn start(&self, id: &str) -> Result<(), NoAnswer> {
        let path = format!("/containers/{}/start", checked(id)?);
        self.act(START_TIME, &path).await
    }

    /// Sends a signal to the main process of one. One that has ended has nothing to hear.
    pub(super) async fn kill(&self, id: &str, signal: HookSignal) -> Result<(), NoAnswer> {
        let path = format!("/containers/{}/kill?signal={signal}", checked(id)?);
        match self.act(ANSWER_TIME, &path).await {
            Err(NoAnswer(text)) if text.contains(NOT_RUNNING) => Ok(()),
            answer => answer,
        }
    }

    /// Stops one and starts it again.
    pub(super) async fn restart(&self, id: &str) -> Result<(), NoAnswer> {
        let path = format!("/containers/{}/restart", checked(id)?);
        self.act(START_TIME, &path).await
    }

    /// Asks for something to be done; it is, or was before.
    async fn act(&self, time: Duration, path: &str) -> Result<(), NoAnswer> {
        let (status, body) = in_time(time, self.ask(Method::POST, path)).await?;
        if status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED {
            return Ok(());
        }
        let said = read::<Message>(&body).map(|said| said.message);
        Err(said.map_or_else(|error| error, NoAnswer))
    }

    async fn ask(&self, method: Method, path: &str) -> Result<(StatusCode, Bytes), NoAnswer> {
        let failed = |error: &dyn std::fmt::Display| NoAnswer(error.to_string());
        let stream = UnixStream::connect(&self.socket).await;
        let stream =
            stream.map_err(|error| NoAnswer(format!("{}: {error}", self.socket.display())))?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| failed(&error))?;
        // It ends with the sender, and says what went wrong through it.
        let driving = tokio::spawn(async move { drop(connection.await) });
        let _ended = Ended(driving.abort_handle());
        let request = Request::builder().method(method).uri(path).header(HOST, "docker");
        let request = request.body(Empty::<Bytes>::new()).map_err(|error| failed(&error))?;
        let response = sender.send_request(request).await.map_err(|error| failed(&error))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES).collect().await;
        let body = body.map_err(|error| {
            let large = error.is::<LengthLimitError>();
            NoAnswer(if large { "its answer is too large".to_owned() } else { error.to_string() })
        })?;
        Ok((status, body.to_bytes()))
    }
}

/// Ends a connection's task.
struct Ended(tokio::task::AbortHandle);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn in_time<T>(
    time: Duration,
    asked: impl Future<Output = Result<T, NoAnswer>>,
) -> Result<T, NoAnswer> {
    match timeout(time, asked).await {
        Ok(answer) => answer,
        Err(_elapsed) => Err(NoAnswer(format!("no answer within {} s", time.as_secs()))),
    }
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, NoAnswer> {
    serde_json::from_slice(body)
        .map_err(|_unread| NoAnswer("it answers as no Docker engine does".to_owned()))
}

/// An id goes into a path: it comes from whoever serves the socket.
fn checked(id: &str) -> Result<&str, NoAnswer> {
    let plain = id.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if plain && !id.is_empty() && id.len() <= ID_CHARACTERS {
        Ok(id)
    } else {
        Err(NoAnswer("it names a container as no Docker engine does".to_owned()))
    }
}
