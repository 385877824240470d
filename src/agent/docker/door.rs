//! The plug-in's socket: HTTP/1.1, one request a connection, each bounded in bytes and time.
//!
//! Root's alone (0600): an engine runs as root, and to ask here is to be told where files are.

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::Value;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::{Instant, timeout, timeout_at};

use super::plugin::{self, VolumeAsk};
use super::shelf::{ShelfChange, VolumeShelf};
use super::words;
use crate::agent::run::{Handle, Stage};
use crate::agent::workload::VolumeMount;
use skep_core::base::Clock;

/// Connections at a time: an engine that starts mounts for all its containers at once, and
/// what is more waits in the socket's queue.
const CONNECTIONS: usize = 512;
/// Bytes of a request's head, its lines, and bytes of its body: a name, an id, options.
const HEAD_BYTES: usize = 16 * 1024;
const HEADERS: usize = 64;
const BODY_BYTES: usize = 64 * 1024;
/// How long a head and a body may take to come.
const HEAD_TIME: Duration = Duration::from_secs(5);
const BODY_TIME: Duration = Duration::from_secs(5);
/// How long a mount waits for its secrets: an engine that starts serves nobody meanwhile.
const MOUNT_TIME: Duration = Duration::from_secs(8);
/// How long an answer waits until it is written down what it says.
const NOTE_TIME: Duration = Duration::from_secs(1);
/// How long an unmount waits for an agent that starts.
const START_TIME: Duration = Duration::from_secs(5);
/// The pause after the machine could not accept.
const PAUSE: Duration = Duration::from_millis(50);
/// What engines send and expect.
const CONTENT: HeaderValue = HeaderValue::from_static("application/vnd.docker.plugins.v1.1+json");

/// What answers.
pub(super) struct VolumeDoor {
    pub(super) shelf: VolumeShelf,
    pub(super) stage: watch::Receiver<Stage>,
    pub(super) clock: Arc<dyn Clock>,
    /// Told when a mount was refused.
    pub(super) refused: Arc<Notify>,
}

/// Answers until it is aborted, and what it answers with it.
pub(super) async fn serve(listener: UnixListener, door: Arc<VolumeDoor>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = tokio::task::JoinSet::new();
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) => {
                let door = Arc::clone(&door);
                connections.spawn(async move {
                    connection(stream, &door).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(event = "accept_failed", %error);
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn connection(stream: UnixStream, door: &VolumeDoor) {
    let service = service_fn(|request| async { Ok::<_, Infallible>(door.respond(request).await) });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME).keep_alive(false);
    http.max_buf_size(HEAD_BYTES).max_headers(HEADERS);
    // What a client does wrong is answered, or its end.
    drop(http.serve_connection(TokioIo::new(stream), service).await);
}

impl VolumeDoor {
    async fn respond(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (parts, body) = request.into_parts();
        let (status, value) = if parts.method == Method::POST {
            match self.answer(parts.uri.path(), body).await {
                Ok(value) => (StatusCode::OK, value),
                Err(why) => (StatusCode::INTERNAL_SERVER_ERROR, plugin::failed(&why)),
            }
        } else {
            (StatusCode::METHOD_NOT_ALLOWED, plugin::failed(&words::unknown()))
        };
        let mut response = Response::new(Full::new(Bytes::from(value.to_string())));
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, CONTENT);
        response
    }

    async fn answer(&self, path: &str, body: Incoming) -> Result<Value, String> {
        let body = timeout(BODY_TIME, Limited::new(body, BODY_BYTES).collect()).await;
        let body = match body {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) if error.is::<LengthLimitError>() => return Err(words::too_large()),
            Ok(Err(_)) | Err(_) => return Err(words::no_body()),
        };
        match plugin::read(path, &body)? {
            VolumeAsk::Activate => Ok(plugin::activated()),
            VolumeAsk::Capabilities => Ok(plugin::capabilities()),
            VolumeAsk::Create(volume) => {
                if let Some(change) = self.shelf.create(&volume, self.clock.now())? {
                    self.note(change).await;
                }
                Ok(plugin::done())
            }
            VolumeAsk::Remove(volume) => {
                self.note(self.shelf.remove(&volume)?).await;
                Ok(plugin::done())
            }
            VolumeAsk::Get(volume) => {
                let shown = self.shelf.shown(Some(&volume));
                shown.first().map(plugin::volume).ok_or_else(|| words::no_volume(&volume))
            }
            VolumeAsk::Path(volume) => {
                let shown = self.shelf.shown(Some(&volume));
                let shown = shown.first().ok_or_else(|| words::no_volume(&volume))?;
                Ok(plugin::at(shown.at.as_ref()))
            }
            VolumeAsk::List => Ok(plugin::volumes(&self.shelf.shown(None))),
            VolumeAsk::Mount(mount) => {
                let mounted = self.mount(&mount).await;
                if let Err(why) = &mounted {
                    tracing::warn!(event = "volume_refused", volume = %mount.volume, %why);
                    self.refused.notify_one();
                }
                mounted.map(|path| plugin::at(&path))
            }
            VolumeAsk::Unmount(mount) => {
                self.unmount(&mount).await;
                Ok(plugin::done())
            }
        }
    }

    /// Answers within ten seconds.
    async fn mount(&self, mount: &VolumeMount) -> Result<PathBuf, String> {
        let until = Instant::now() + MOUNT_TIME;
        if !self.shelf.has_room() {
            return Err(words::too_many());
        }
        let handle = self.serving(until).await?;
        let wait = until.saturating_duration_since(Instant::now());
        let mounted = handle.mount(mount.volume.to_string(), wait).await;
        let mounted = mounted.map_err(|refused| words::refused(&refused))?;
        let path = mounted.ready.path.clone();
        let (change, before) = self.shelf.mounted(mount, mounted, self.clock.now());
        if let Some(before) = before {
            handle.unmount(before);
        }
        tracing::info!(event = "volume_mounted", volume = %mount.volume, id = %mount.id);
        self.note(change).await;
        Ok(path)
    }

    async fn unmount(&self, mount: &VolumeMount) {
        // Whatever is mounted was mounted by an agent that serves.
        let handle = self.serving(Instant::now() + START_TIME).await.ok();
        let (change, gone) = self.shelf.unmounted(mount);
        if let (Some(gone), Some(handle)) = (gone, handle) {
            handle.unmount(gone);
        }
        tracing::info!(event = "volume_unmounted", volume = %mount.volume, id = %mount.id);
        self.note(change).await;
    }

    /// The driver, as soon as this machine is a member.
    async fn serving(&self, until: Instant) -> Result<Handle, String> {
        let mut stage = self.stage.clone();
        let serves = |stage: &Stage| matches!(stage, Stage::Serving { .. });
        match timeout_at(until, stage.wait_for(serves)).await {
            Ok(Ok(_)) | Err(_) => {}
            Ok(Err(_ended)) => return Err(words::stopping()),
        }
        match &*self.stage.borrow() {
            Stage::Serving { handle, .. } => Ok(handle.clone()),
            Stage::Joining(why) => Err(words::not_joined(why)),
        }
    }

    /// It is written down in any case; a disk that hangs keeps no container waiting.
    async fn note(&self, change: ShelfChange) {
        let shelf = self.shelf.clone();
        let writing = tokio::spawn(async move { shelf.write(change).await });
        if timeout(NOTE_TIME, writing).await.is_err() {
            tracing::warn!(event = "state_not_written_in_time");
        }
    }
}
