//! The socket: connections bounded in number, time and bytes, each with a way to the managers
//! of its own.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, PRAGMA, SERVER};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::Value;
use skep_client::settings::ClientSettings;
use skep_client::{Change, Draft, apply, apply_sealed, lookup};
use skep_core::base::{Label, NodeId, SecretId};
use skep_core::wire::api::SecretView;
use skep_program::Way;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Mutex, watch};
use tokio::task::JoinSet;
use zeroize::Zeroizing;

use crate::engine::{self, API, Ask, Asked, Created, Refused, Secret, Spec, Update};

/// Bytes of a request's head, its lines, and bytes of its body: the longest value takes 682,668
/// in base64, and labels some more.
const HEAD_BYTES: usize = 64 * 1024;
const HEADERS: usize = 64;
const BODY_BYTES: usize = 1024 * 1024;
/// How long a head (also the next one of a kept connection) and a body take.
const HEAD: Duration = Duration::from_mins(1);
const BODY: Duration = Duration::from_secs(30);
/// How long connections have to end.
const DRAIN: Duration = Duration::from_secs(10);
/// The pause after the machine could not accept.
const PAUSE: Duration = Duration::from_millis(50);

/// What is said of the machine.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    pub(crate) name: String,
    pub(crate) kernel: String,
    pub(crate) arch: String,
}

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) settings: ClientSettings,
    pub(crate) machine: Machine,
}

/// Serves until `ended` says so, then lets what is under way come to its end.
pub(crate) async fn serve(
    listener: UnixListener,
    desk: Arc<Desk>,
    most: usize,
    mut ended: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = ended.wait_for(|ended| *ended) => break,
        };
        while connections.try_join_next().is_some() {}
        match accepted {
            // One too many is closed.
            Ok(_) if connections.len() >= most => {}
            Ok((stream, _)) => {
                connections.spawn(connection(stream, Arc::clone(&desk), ended.clone()));
            }
            Err(error) => {
                tracing::warn!(event = "accept_failed", %error);
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    drop(listener);
    let all = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN, all).await.is_err() {
        tracing::warn!(event = "drain_cut");
    }
}

async fn connection(stream: UnixStream, desk: Arc<Desk>, mut ended: watch::Receiver<bool>) {
    let way = Mutex::new(None);
    let service =
        service_fn(|request| async { Ok::<_, Infallible>(respond(request, &desk, &way).await) });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD);
    http.max_buf_size(HEAD_BYTES).max_headers(HEADERS);
    let connection = http.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    tokio::select! {
        // What a client does wrong is answered, or its end.
        _ended = connection.as_mut() => return,
        _ = ended.wait_for(|ended| *ended) => connection.as_mut().graceful_shutdown(),
    }
    drop(connection.await);
}

/// What a request comes to.
enum Answer {
    Text(&'static str),
    Json(StatusCode, Value),
    Empty(StatusCode),
}

async fn respond(
    request: Request<Incoming>,
    desk: &Desk,
    way: &Mutex<Option<Way>>,
) -> Response<Full<Bytes>> {
    let (parts, body) = request.into_parts();
    let head = parts.method == Method::HEAD;
    let query = parts.uri.query().unwrap_or_default();
    let answer = async {
        let asked = Asked::read(&parts.method, parts.uri.path(), query)?;
        let body = read(body).await?;
        match asked.0 {
            Ask::Ping => Ok(Answer::Text("OK")),
            Ask::Version => {
                Ok(Answer::Json(StatusCode::OK, engine::version(&desk.machine.shown())))
            }
            Ask::Info => Ok(Answer::Json(StatusCode::OK, engine::info(&desk.machine.shown()))),
            ask => {
                let mut way = way.lock().await;
                let way = match &mut *way {
                    Some(way) => way,
                    none => none.insert(opened(desk)?),
                };
                of_secrets(ask, &body, way).await
            }
        }
    };
    let answer = answer.await;
    let failed = answer.as_ref().err().map(Refused::status);
    if let Some(status) = failed.filter(StatusCode::is_server_error) {
        tracing::warn!(event = "not_done", status = status.as_u16());
    }
    response(answer, head)
}

fn opened(desk: &Desk) -> Result<Way, Refused> {
    let (way, _of_the_file) =
        Way::by(&desk.settings).map_err(|failure| Refused::Failed(failure.text))?;
    Ok(way)
}

/// What changes or shows secrets.
async fn of_secrets(ask: Ask, body: &[u8], way: &mut Way) -> Result<Answer, Refused> {
    match ask {
        Ask::Ping | Ask::Version | Ask::Info => Err(Refused::NotServed),
        Ask::List(filter) => {
            let all = lookup::all::<SecretView>(&mut way.link, false).await;
            let all = all.map_err(|error| Refused::call(&error, ""))?;
            let shown = all.iter().map(shown).filter(|secret| filter.has(secret));
            json(StatusCode::OK, &shown.collect::<Vec<_>>())
        }
        Ask::Create => create(Spec::read(body)?, way).await,
        Ask::Inspect(what) => json(StatusCode::OK, &shown(&one(way, &what).await?)),
        Ask::Remove(what) => {
            let id = id(&one(way, &what).await?)?;
            changed(way, &what, Change::RemoveSecret { id }).await?;
            Ok(Answer::Empty(StatusCode::NO_CONTENT))
        }
        Ask::Update(what, version) => {
            let update = Update::read(body)?;
            let view = one(way, &what).await?;
            if view.revision != version {
                return Err(Refused::OutOfSequence);
            }
            update.keeps_name(&view.name)?;
            let pairs = update.labels.iter().map(|(key, value)| Label::new(key, value));
            let put: Vec<Label> = pairs.filter_map(Result::ok).collect();
            let gone = view.labels.iter().map(|label| label.key.clone());
            let gone: Vec<_> = gone.filter(|key| update.labels.get(key).is_none()).collect();
            let id = id(&view)?;
            if !(put.is_empty() && gone.is_empty()) {
                changed(way, &what, Change::LabelSecret { id, put, gone }).await?;
            }
            Ok(Answer::Empty(StatusCode::OK))
        }
    }
}

async fn create(spec: Spec, way: &mut Way) -> Result<Answer, Refused> {
    let Spec { name, labels, value } = spec;
    let id = SecretId::draw(&mut way.dice);
    let drafts = [Draft { secret: id, value, public: None }];
    let create = |version| Change::CreateSecret {
        id,
        name: name.clone(),
        labels: labels.clone(),
        forward_only: false,
        version,
    };
    let changes = |versions: Vec<_>| versions.into_iter().map(create).collect();
    let Way { link, dice, .. } = way;
    let applied = apply_sealed(link, dice, "docker secret ls", &drafts, changes).await;
    applied.map_err(|error| Refused::call(&error, name.as_str()))?;
    json(StatusCode::CREATED, &Created { id: id.to_string() })
}

async fn one(way: &mut Way, what: &str) -> Result<SecretView, Refused> {
    let one = lookup::one(&mut way.link, what, false).await;
    one.map_err(|error| Refused::call(&error, what))
}

async fn changed(way: &mut Way, what: &str, change: Change) -> Result<(), Refused> {
    let Way { link, dice, .. } = way;
    let applied = apply(link, dice, "docker secret ls", &[change]).await;
    applied.map(drop).map_err(|error| Refused::call(&error, what))
}

fn id(view: &SecretView) -> Result<SecretId, Refused> {
    lookup::id(&view.id).map_err(|error| Refused::call(&error, &view.name))
}

fn shown(view: &SecretView) -> Secret {
    // Every id is written alike.
    let id = NodeId::try_from(view.id.as_slice()).map(|id| id.to_string()).unwrap_or_default();
    let labels = view.labels.iter().map(|label| (label.key.clone(), label.value.clone()));
    let labels: BTreeMap<String, String> = labels.collect();
    Secret::of(id, view.revision, (view.created, view.updated), view.name.clone(), labels)
}

async fn read(body: Incoming) -> Result<Zeroizing<Vec<u8>>, Refused> {
    let whole = Limited::new(body, BODY_BYTES).collect();
    match tokio::time::timeout(BODY, whole).await {
        Ok(Ok(whole)) => Ok(Zeroizing::new(whole.to_bytes().to_vec())),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Refused::TooLarge),
        Ok(Err(_)) | Err(_) => Err(Refused::NoBody),
    }
}

impl Machine {
    fn shown(&self) -> engine::System<'_> {
        engine::System { name: &self.name, kernel: &self.kernel, arch: &self.arch }
    }
}

fn json(status: StatusCode, answer: &impl serde::Serialize) -> Result<Answer, Refused> {
    let value = serde_json::to_value(answer);
    value.map(|value| Answer::Json(status, value)).map_err(|_| Refused::Failed(String::new()))
}

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

fn response(answer: Result<Answer, Refused>, head: bool) -> Response<Full<Bytes>> {
    let (status, kind, body) = match answer {
        Ok(Answer::Text(text)) => (StatusCode::OK, Some(TEXT), text.as_bytes().to_vec()),
        Ok(Answer::Json(status, value)) => (status, Some(JSON), line(&value)),
        Ok(Answer::Empty(status)) => (status, None, Vec::new()),
        Err(refused) => {
            let value = serde_json::json!({ "message": refused.message() });
            (refused.status(), Some(JSON), line(&value))
        }
    };
    let body = if head { Bytes::new() } else { Bytes::from(body) };
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.extend(kind.map(|kind| (CONTENT_TYPE, kind)));
    if let Ok(version) = HeaderValue::from_str(&API.to_string()) {
        headers.insert(HeaderName::from_static("api-version"), version);
    }
    let fixed = [
        (HeaderName::from_static("docker-experimental"), "false"),
        (HeaderName::from_static("ostype"), "linux"),
        // A client that looks for it asks for a swarm before it asks for secrets.
        (HeaderName::from_static("swarm"), "active/manager"),
        (SERVER, concat!("Skep/", env!("CARGO_PKG_VERSION"), " (linux)")),
        (CACHE_CONTROL, "no-cache, no-store, must-revalidate"),
        (PRAGMA, "no-cache"),
    ];
    headers.extend(fixed.map(|(name, value)| (name, HeaderValue::from_static(value))));
    response
}

fn line(value: &Value) -> Vec<u8> {
    format!("{value}\n").into_bytes()
}
