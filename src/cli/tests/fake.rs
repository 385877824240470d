//! A manager that does what a test says, on a control socket of its own.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio_stream::Iter;
use tonic::{Request, Response, Status};

use crate::cli::shell::tests::captured;
use skep_client::machine::OsDice;
use skep_client::transport::rpc::api::control_server::{Control, ControlServer};
use skep_client::transport::{Problem, serve_local};
use skep_core::base::{ClusterId, Dice, Exit};
use skep_core::seal::ClusterKey;
use skep_core::wire::api::{
    AnchorReply, AnchorRequest, ApplyReply, ApplyRequest, BelongingReply, BelongingRequest,
    CommitInitReply, CommitInitRequest, CommitIssuerReply, CommitIssuerRequest,
    CreateOperatorReply, CreateOperatorRequest, CreateTokenReply, CreateTokenRequest,
    DeliveryProgress, IntakeReply, IntakeRequest, JoinClusterReply, JoinClusterRequest,
    LeaveClusterReply, LeaveClusterRequest, ListHoldersReply, ListHoldersRequest, ListNodesReply,
    ListOperatorsReply, ListReadsReply, ListReadsRequest, ListRequest, ListSecretsReply,
    ListServicesReply, ListTokensReply, LockReply, LockRequest, MoveManagerReply,
    MoveManagerRequest, MoveReply, MoveRequest, PrepareInitReply, PrepareInitRequest,
    PrepareIssuerReply, PrepareIssuerRequest, PrepareRecoverReply, PrepareRecoverRequest,
    ReadAuditReply, ReadAuditRequest, RecipientsReply, RecipientsRequest, RecoverOperatorRequest,
    RepairReply, RepairRequest, ResetTimeReply, ResetTimeRequest, ResumeReply, ResumeRequest,
    SecretView, ServiceView, ShowCaReply, ShowCaRequest, StatusReply, StatusRequest, StepDownReply,
    StepDownRequest, UnlockHeaderReply, UnlockHeaderRequest, UnlockReply, UnlockRequest,
    WatchDeliveryRequest,
};

/// What the manager answers and what it was asked.
#[derive(Default)]
pub(super) struct Script {
    /// Answers to `Apply`, in order; then all succeed.
    pub(super) applies: VecDeque<Result<(), Status>>,
    /// What was sent to `Apply`.
    pub(super) applied: Vec<ApplyRequest>,
    /// Streams of `WatchDelivery`, in order; then the last one again.
    pub(super) progress: VecDeque<Vec<Result<DeliveryProgress, Status>>>,
    /// What was sent to `WatchDelivery`.
    pub(super) watched: Vec<WatchDeliveryRequest>,
    /// The cluster keys, one an `Intake` while there are several.
    pub(super) keys: VecDeque<ClusterKey>,
    pub(super) secrets: Vec<SecretView>,
    pub(super) services: Vec<ServiceView>,
    /// Every call is refused so.
    pub(super) closed: Option<Status>,
}

/// Cluster of the fake manager.
pub(super) fn cluster() -> ClusterId {
    ClusterId::from_bytes([7; 16])
}

pub(super) fn key(number: u64) -> ClusterKey {
    let dice: &mut dyn Dice = &mut OsDice;
    ClusterKey::draw(dice, cluster(), number)
}

/// A status with this exit status, as managers send it.
pub(super) fn problem(exit: Exit, text: &str) -> Status {
    Problem { exit, ..Problem::refused(text).hint("do something") }.into()
}

struct Fake(Arc<Mutex<Script>>);

/// As `async_trait` writes it: that one does not look into macros.
macro_rules! unserved {
    ($($name:ident: $request:ident -> $reply:ident),* $(,)?) => {
        $(fn $name<'a, 'b>(&'a self, _: Request<$request>) -> Answer<'b, $reply>
        where
            'a: 'b,
            Self: 'b,
        {
            Box::pin(async { Err(Status::unimplemented("")) })
        })*
    };
}

type Answer<'b, R> =
    std::pin::Pin<Box<dyn Future<Output = Result<Response<R>, Status>> + Send + 'b>>;

fn page<T>(what: &str, all: Vec<T>, name: impl Fn(&T) -> (&[u8], &str)) -> Vec<T> {
    let fits = |thing: &T| {
        let (id, name) = name(thing);
        let id = crate::cli::render::id(id);
        what.is_empty() || name.eq_ignore_ascii_case(what) || id.starts_with(what)
    };
    all.into_iter().filter(fits).collect()
}

#[tonic::async_trait]
impl Control for Fake {
    type WatchDeliveryStream = Iter<std::vec::IntoIter<Result<DeliveryProgress, Status>>>;

    async fn intake(&self, _: Request<IntakeRequest>) -> Result<Response<IntakeReply>, Status> {
        let mut script = self.0.lock();
        if let Some(closed) = &script.closed {
            return Err(closed.clone());
        }
        let key = script.keys.front().expect("a key");
        let reply = IntakeReply {
            cluster_id: cluster().as_bytes().to_vec(),
            number: key.number(),
            intake: key.intake().public.to_vec(),
            fingerprint: vec![0; 32],
        };
        if script.keys.len() > 1 {
            script.keys.pop_front();
        }
        Ok(Response::new(reply))
    }

    async fn apply(&self, request: Request<ApplyRequest>) -> Result<Response<ApplyReply>, Status> {
        let mut script = self.0.lock();
        if let Some(closed) = &script.closed {
            return Err(closed.clone());
        }
        script.applied.push(request.into_inner());
        script.applies.pop_front().unwrap_or(Ok(()))?;
        Ok(Response::new(ApplyReply { revision: 9, changed: Vec::new() }))
    }

    async fn watch_delivery(
        &self,
        request: Request<WatchDeliveryRequest>,
    ) -> Result<Response<Self::WatchDeliveryStream>, Status> {
        let mut script = self.0.lock();
        script.watched.push(request.into_inner());
        let told = if script.progress.len() > 1 {
            script.progress.pop_front()
        } else {
            script.progress.front().cloned()
        };
        Ok(Response::new(tokio_stream::iter(told.unwrap_or_default())))
    }

    async fn read_audit(
        &self,
        _: Request<ReadAuditRequest>,
    ) -> Result<Response<ReadAuditReply>, Status> {
        Err(Status::unimplemented("not scripted"))
    }

    async fn anchor(&self, _: Request<AnchorRequest>) -> Result<Response<AnchorReply>, Status> {
        Err(Status::unimplemented("not scripted"))
    }

    async fn list_secrets(
        &self,
        request: Request<ListRequest>,
    ) -> Result<Response<ListSecretsReply>, Status> {
        let script = self.0.lock();
        if let Some(closed) = &script.closed {
            return Err(closed.clone());
        }
        let what = request.into_inner().what;
        let secrets = page(&what, script.secrets.clone(), |one| (&one.id, &one.name));
        Ok(Response::new(ListSecretsReply { revision: 1, secrets, more: false }))
    }

    async fn list_services(
        &self,
        request: Request<ListRequest>,
    ) -> Result<Response<ListServicesReply>, Status> {
        let what = request.into_inner().what;
        let services = page(&what, self.0.lock().services.clone(), |one| (&one.id, &one.name));
        Ok(Response::new(ListServicesReply { revision: 1, services, more: false }))
    }

    unserved! {
        status: StatusRequest -> StatusReply,
        prepare_init: PrepareInitRequest -> PrepareInitReply,
        commit_init: CommitInitRequest -> CommitInitReply,
        unlock_header: UnlockHeaderRequest -> UnlockHeaderReply,
        unlock: UnlockRequest -> UnlockReply,
        lock: LockRequest -> LockReply,
        join_cluster: JoinClusterRequest -> JoinClusterReply,
        leave_cluster: LeaveClusterRequest -> LeaveClusterReply,
        belonging: BelongingRequest -> BelongingReply,
        r#move: MoveRequest -> MoveReply,
        step_down: StepDownRequest -> StepDownReply,
        move_manager: MoveManagerRequest -> MoveManagerReply,
        reset_time: ResetTimeRequest -> ResetTimeReply,
        resume: ResumeRequest -> ResumeReply,
        repair: RepairRequest -> RepairReply,
        create_token: CreateTokenRequest -> CreateTokenReply,
        create_operator: CreateOperatorRequest -> CreateOperatorReply,
        prepare_recover: PrepareRecoverRequest -> PrepareRecoverReply,
        recover_operator: RecoverOperatorRequest -> CreateOperatorReply,
        list_operators: ListRequest -> ListOperatorsReply,
        list_nodes: ListRequest -> ListNodesReply,
        list_tokens: ListRequest -> ListTokensReply,
        list_holders: ListHoldersRequest -> ListHoldersReply,
        list_reads: ListReadsRequest -> ListReadsReply,
        recipients: RecipientsRequest -> RecipientsReply,
        prepare_issuer: PrepareIssuerRequest -> PrepareIssuerReply,
        commit_issuer: CommitIssuerRequest -> CommitIssuerReply,
        show_ca: ShowCaRequest -> ShowCaReply,
    }
}

/// The manager, its socket, and a value in a file.
pub(super) struct Stage {
    pub(super) script: Arc<Mutex<Script>>,
    folder: tempfile::TempDir,
    _runtime: tokio::runtime::Runtime,
}

/// What a command came to.
pub(super) struct Ran {
    pub(super) exit: Exit,
    pub(super) out: String,
    pub(super) err: String,
}

impl Stage {
    pub(super) fn new(script: Script) -> Self {
        let script = Arc::new(Mutex::new(script));
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::File::create(folder.path().join("value"))
            .and_then(|mut file| std::io::Write::write_all(&mut file, b"hunter2"))
            .expect("a value");
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let routes = tonic::service::Routes::new(ControlServer::new(Fake(Arc::clone(&script))));
        let socket = folder.path().join("socket");
        let listener = {
            let _inside = runtime.enter();
            tokio::net::UnixListener::bind(socket).expect("a socket")
        };
        runtime.spawn(serve_local(listener, routes, 64, std::future::pending()));
        Self { script, folder, _runtime: runtime }
    }

    pub(super) fn value(&self) -> PathBuf {
        self.folder.path().join("value")
    }

    /// Runs words, over the socket.
    pub(super) fn run(&self, words: &[&str]) -> Ran {
        let socket = self.folder.path().join("socket").display().to_string();
        let value = self.value().display().to_string();
        let mut all = vec!["skep".to_owned()];
        all.extend(words.iter().map(|word| word.replace("VALUE", &value)));
        all.extend(["--socket".to_owned(), socket]);
        let (mut shell, out, err) = captured();
        let exit = {
            let words: Vec<std::ffi::OsString> = all.into_iter().map(Into::into).collect();
            crate::cli::run(&mut shell, &words)
        };
        Ran { exit, out: out.text(), err: err.text() }
    }
}
