//! The agent's socket: what the processes of this machine may ask.
//!
//! Everybody may connect; who may do what is decided call by call from the
//! caller's uid as the kernel gives it, before a byte of the call's body is read.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tonic::{Request, Response, Status};

use crate::agent::docker::{Container, DockerView, EngineState};
use crate::agent::problem;
use crate::agent::run::{Handle, NotCarried, Puts, RecordEnd, SealedPut, Stage};
use crate::agent::session::{
    CLAIMS, CLAIMS_OF_OTHERS, CLAIMS_PER_USER, LinkState, Refused, ServiceState, View,
};
use crate::agent::vault::Told;
use skep_client::transport::rpc::local::agent_server::{Agent, AgentServer};
use skep_client::transport::{Doors, Gate, LocalCaller, Most, local_caller};
use skep_core::base::{BadId, BadName, Clock, Name, SealedValue, Target, limits};
use skep_core::wire::local;

/// The longest that a call may wait.
const WAIT_MOST: Duration = Duration::from_hours(24);
/// Bytes of a message with a name and two numbers: names have 64 characters, and the rest
/// is for fields that a later version adds.
const NAMED_BYTES: usize = 1_024;
/// Bytes of a message that names files: the most of them, with the longest names.
const PUT_KEY_BYTES: usize = limits::PUT_FILES * 300 + NAMED_BYTES;
/// Bytes of a message without fields.
const PLAIN_BYTES: usize = 64;
/// Calls at a time on one connection: a command makes one.
const STREAMS: u32 = 8;
/// Header bytes of a call: ours have some 200.
const HEADER_BYTES: u32 = 4 * 1024;
/// Connections of one user, where there are places for more: one for each claim that waits.
const CONNECTIONS_PER_USER: usize = CLAIMS_PER_USER;
/// How long the few bytes of a call may take to come.
const BODY_TIME: Duration = Duration::from_secs(5);

/// The service `skep.local.v1.Agent`.
pub struct LocalService {
    stage: watch::Receiver<Stage>,
    clock: Arc<dyn Clock>,
    /// How it is with the container engine, where there is one.
    docker: Option<watch::Receiver<DockerView>>,
}

impl std::fmt::Debug for LocalService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LocalService")
    }
}

impl LocalService {
    /// Answers for the stage that stands when it is asked.
    #[must_use]
    pub fn routes(
        stage: watch::Receiver<Stage>,
        clock: Arc<dyn Clock>,
        docker: Option<watch::Receiver<DockerView>>,
    ) -> tonic::service::Routes {
        tonic::service::Routes::new(AgentServer::new(Self { stage, clock, docker }))
    }

    /// What the agent's socket lets in: as many calls as claims may wait, of their size.
    #[must_use]
    pub fn doors() -> Doors {
        let gate: Gate = Arc::new(|caller, path| {
            let (root, bytes) = match path {
                "/skep.local.v1.Agent/Exec" | "/skep.local.v1.Agent/Anchor" => (false, NAMED_BYTES),
                "/skep.local.v1.Agent/PutKey" => (false, PUT_KEY_BYTES),
                "/skep.local.v1.Agent/Put" => (false, limits::PUT_BYTES),
                "/skep.local.v1.Agent/ServiceUp" | "/skep.local.v1.Agent/ServiceDown" => {
                    (true, NAMED_BYTES)
                }
                "/skep.local.v1.Agent/Status" | "/skep.local.v1.Agent/Leave" => (true, PLAIN_BYTES),
                _ => return Err(problem::not_served().into()),
            };
            if root {
                root_only(caller)?;
            }
            Ok(bytes)
        });
        let trusted = CLAIMS.saturating_sub(CLAIMS_OF_OTHERS);
        let calls = Most { per_user: CLAIMS_PER_USER, others: CLAIMS_OF_OTHERS, trusted };
        let bytes = |calls: usize, puts: usize| {
            let puts = limits::PUT_BYTES.saturating_mul(puts);
            calls.saturating_mul(NAMED_BYTES).saturating_add(puts)
        };
        Doors {
            gate,
            streams: STREAMS,
            header_bytes: HEADER_BYTES,
            connections_per_user: CONNECTIONS_PER_USER,
            calls,
            bytes: Most {
                per_user: bytes(calls.per_user, 2),
                others: bytes(calls.others, 8),
                trusted: bytes(calls.trusted, 4),
            },
            body_time: BODY_TIME,
        }
    }

    fn puts(&self) -> Result<Puts, Status> {
        match &*self.stage.borrow() {
            Stage::Serving { puts, .. } => Ok(puts.clone()),
            Stage::Joining(why) => Err(problem::not_joined(why).into()),
        }
    }

    fn handle(&self) -> Result<Handle, Status> {
        match &*self.stage.borrow() {
            Stage::Serving { handle, .. } => Ok(handle.clone()),
            Stage::Joining(why) => Err(problem::not_joined(why).into()),
        }
    }
}

#[tonic::async_trait]
impl Agent for LocalService {
    async fn status(
        &self,
        request: Request<local::StatusRequest>,
    ) -> Result<Response<local::StatusReply>, Status> {
        root_only(&caller(&request)?)?;
        let stage = self.stage.borrow().clone();
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let (node, name, own, handle) = match stage {
            Stage::Joining(why) => {
                let state = local::AgentState::Joining.into();
                let reply = local::StatusReply { version, state, why, ..Default::default() };
                return Ok(Response::new(reply));
            }
            Stage::Serving { node, name, own, handle, puts: _ } => (node, name, own, handle),
        };
        let view = handle.view().await.ok_or_else(problem::stopping)?;
        let mut reply = reply_of(view, self.clock.as_ref());
        reply.version = version;
        reply.node_id = node.as_bytes().to_vec();
        reply.node_name = name.to_string();
        reply.certificate_ends = own.leaf().ends.0;
        if let Some(docker) = &self.docker {
            tell_docker(&mut reply, &docker.borrow());
        }
        Ok(Response::new(reply))
    }

    async fn service_up(
        &self,
        request: Request<local::ServiceUpRequest>,
    ) -> Result<Response<local::ServiceUpReply>, Status> {
        root_only(&caller(&request)?)?;
        let handle = self.handle()?;
        let request = request.into_inner();
        let name = service(&request.name)?;
        let path = handle
            .up(name.to_string(), wait(request.timeout_ms))
            .await
            .map_err(|refused| status_of(&refused))?;
        Ok(Response::new(local::ServiceUpReply { path: path.display().to_string() }))
    }

    async fn service_down(
        &self,
        request: Request<local::ServiceDownRequest>,
    ) -> Result<Response<local::ServiceDownReply>, Status> {
        root_only(&caller(&request)?)?;
        let name = service(&request.into_inner().name)?;
        self.handle()?.down(name.to_string()).await.map_err(|refused| status_of(&refused))?;
        Ok(Response::new(local::ServiceDownReply {}))
    }

    async fn exec(
        &self,
        request: Request<local::ExecRequest>,
    ) -> Result<Response<local::ExecReply>, Status> {
        let caller = caller(&request)?;
        let handle = self.handle()?;
        let request = request.into_inner();
        if request.inside {
            let wish = wish(&request.on_change)?;
            handle
                .enclosed(caller.uid(), caller.pid(), wish)
                .await
                .map_err(|refused| status_of(&refused))?;
            return Ok(Response::new(local::ExecReply::default()));
        }
        let name = service(&request.service)?;
        let (uid, pid) = (caller.uid(), caller.pid());
        let ready = handle
            .exec(name.to_string(), uid, pid, wait(request.timeout_ms))
            .await
            .map_err(|refused| status_of(&refused))?;
        let path = ready.path.display().to_string();
        Ok(Response::new(local::ExecReply { path, generation: ready.generation }))
    }

    async fn put_key(
        &self,
        request: Request<local::PutKeyRequest>,
    ) -> Result<Response<local::PutKeyReply>, Status> {
        let caller = caller(&request)?;
        let puts = self.puts()?;
        let request = request.into_inner();
        let name = service(&request.service)?;
        let targets = targets(&request.targets)?;
        let found = puts.places((caller.uid(), caller.pid()), name, targets, &request.generation);
        let found = found.await.map_err(|refused| status_of(&refused))?;
        let places = found
            .places
            .into_iter()
            .map(|(secret, number)| local::PutPlace { secret: secret.as_bytes().to_vec(), number });
        Ok(Response::new(local::PutKeyReply {
            cluster_id: found.cluster.as_bytes().to_vec(),
            put_public: found.public.to_vec(),
            places: places.collect(),
        }))
    }

    async fn put(
        &self,
        request: Request<local::PutRequest>,
    ) -> Result<Response<local::PutReply>, Status> {
        let caller = caller(&request)?;
        let puts = self.puts()?;
        let request = request.into_inner();
        let name = service(&request.service)?;
        let values = sealed(request.values)?;
        let put = puts.put((caller.uid(), caller.pid()), name, values, request.wait).await;
        let reply = put.map_err(not_put)?;
        let numbers = reply.versions.iter().map(|version| version.number).collect();
        let (revision, in_place) = (reply.revision, reply.in_place);
        let waiting_for = reply.waiting_for;
        Ok(Response::new(local::PutReply { revision, numbers, in_place, waiting_for }))
    }

    async fn anchor(
        &self,
        request: Request<local::AnchorRequest>,
    ) -> Result<Response<local::AnchorReply>, Status> {
        let caller = caller(&request)?;
        let puts = self.puts()?;
        let request = request.into_inner();
        let name = service(&request.service)?;
        let end = record_end(&request)?;
        let anchored = puts.anchor((caller.uid(), caller.pid()), name, end).await;
        anchored.map_err(not_anchored)?;
        Ok(Response::new(local::AnchorReply {}))
    }

    async fn leave(
        &self,
        request: Request<local::LeaveRequest>,
    ) -> Result<Response<local::LeaveReply>, Status> {
        root_only(&caller(&request)?)?;
        self.handle()?.leave().await.map_err(|refused| status_of(&refused))?;
        Ok(Response::new(local::LeaveReply {}))
    }
}

fn caller<T>(request: &Request<T>) -> Result<LocalCaller, Status> {
    let caller = local_caller(request.extensions());
    caller.ok_or_else(|| problem::no_caller().into())
}

fn root_only(caller: &LocalCaller) -> Result<(), Status> {
    let uid = caller.uid();
    if uid == 0 {
        return Ok(());
    }
    tracing::warn!(event = "call_refused", uid);
    Err(problem::root_only().into())
}

/// A service's name, before anything is done with it.
fn service(text: &str) -> Result<Name, Status> {
    text.parse().map_err(|error| problem::bad_service(error).into())
}

fn targets(named: &[String]) -> Result<Vec<Target>, Status> {
    if !(1..=limits::PUT_FILES).contains(&named.len()) {
        return Err(problem::bad_put("no files, or too many").into());
    }
    let read = |name: &String| name.parse();
    let targets: Result<_, BadName> = named.iter().map(read).collect();
    targets.map_err(|error| problem::bad_put(&error.to_string()).into())
}

fn sealed(values: Vec<local::PutValue>) -> Result<Vec<SealedPut>, Status> {
    if !(1..=limits::PUT_FILES).contains(&values.len()) {
        return Err(problem::bad_put("no files, or too many").into());
    }
    let one = |of: local::PutValue| {
        Ok(SealedPut {
            secret: of.secret.as_slice().try_into()?,
            expect: of.expect,
            version: of.version.as_slice().try_into()?,
            size: of.size,
            value: SealedValue(of.sealed_value.as_ref().into()),
            boxed_key: of.boxed_key,
        })
    };
    let values: Result<_, BadId> = values.into_iter().map(one).collect();
    values.map_err(|error| problem::bad_put(&error.to_string()).into())
}

fn not_put(why: NotCarried) -> Status {
    match why {
        NotCarried::Refused(refused) => status_of(&refused),
        NotCarried::Told(status) => status,
        NotCarried::TooOften => problem::puts_too_often().into(),
        NotCarried::Unsound(error) => problem::bad_put(&error.to_string()).into(),
        NotCarried::NotSent => problem::put_not_sent().into(),
        NotCarried::Unknown => problem::put_unknown().into(),
    }
}

fn record_end(asked: &local::AnchorRequest) -> Result<RecordEnd, Status> {
    let record = asked.record.parse().map_err(|bad: BadName| problem::bad_record(&bad))?;
    let head = asked.head.as_slice().try_into();
    let head = head.map_err(|_| problem::bad_record(&"its head has no 32 bytes"))?;
    Ok(RecordEnd { record, lines: asked.lines, head })
}

fn not_anchored(why: NotCarried) -> Status {
    match why {
        NotCarried::TooOften => problem::anchors_too_often().into(),
        NotCarried::NotSent => problem::anchor_not_sent().into(),
        other => not_put(other),
    }
}

/// How a process wants to be told of changes.
fn wish(text: &str) -> Result<Option<Told>, Status> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|error| problem::bad_wish(error).into())
}

fn wait(timeout_ms: u64) -> Duration {
    Duration::from_millis(timeout_ms).min(WAIT_MOST)
}

fn status_of(refused: &Refused) -> Status {
    problem::refused(refused).into()
}

fn agent_state(state: LinkState) -> local::AgentState {
    match state {
        LinkState::Connected => local::AgentState::Connected,
        LinkState::Offline => local::AgentState::Offline,
        LinkState::Refused => local::AgentState::Refused,
    }
}

fn service_state(state: ServiceState) -> local::ServiceState {
    match state {
        ServiceState::Idle => local::ServiceState::Idle,
        ServiceState::Waiting => local::ServiceState::Waiting,
        ServiceState::InPlace => local::ServiceState::InPlace,
        ServiceState::Failed => local::ServiceState::Failed,
    }
}

fn tell_docker(reply: &mut local::StatusReply, view: &DockerView) {
    reply.engine = match &view.engine {
        EngineState::Unasked => "not asked yet".to_owned(),
        EngineState::Reached => "reached".to_owned(),
        EngineState::Away(why) => format!("not reached ({why})"),
    };
    let shown = |container: &Container| local::WaitingContainer {
        id: container.id.clone(),
        name: container.name.clone(),
        volume: container.volume.clone(),
        why: container.why.clone(),
    };
    reply.containers = view.waiting.iter().map(shown).collect();
}

fn reply_of(view: View, clock: &dyn Clock) -> local::StatusReply {
    let since = view.offline_since.filter(|_| view.state != LinkState::Connected);
    let offline_since = since
        .map_or(0, |since| clock.now().0.saturating_sub(clock.boot().0.saturating_sub(since.0)));
    let services = view.services.into_iter().map(|service| local::ServiceStatus {
        id: service.id.as_bytes().to_vec(),
        name: service.name,
        placed: service.placed,
        workloads: service.workloads,
        state: service_state(service.state).into(),
        generation: service.generation,
        files: service.files,
        path: service.path.map(|path| path.display().to_string()).unwrap_or_default(),
        why: service.why,
        hook: service.hook,
    });
    local::StatusReply {
        state: agent_state(view.state).into(),
        cluster_name: view.cluster,
        manager: view.manager,
        revision: view.revision.0,
        why: view.why,
        services: services.collect(),
        offline_since,
        ..Default::default()
    }
}
