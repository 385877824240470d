//! A manager under test, and the CLI's part of what is asked of it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tonic::Status;
use tonic::transport::Channel;

use crate::host::RealDisk;
use crate::manager::{End, FolderError, LocalRules, Manager, OpenError, Setup, control};
use skep_client::ca::{JoinToken, PrivateKey, Root, certificate_request};
use skep_client::machine::bind;
use skep_client::machine::{SystemClock, os_dice};
use skep_client::transport::rpc::api::control_client::ControlClient;
use skep_client::transport::rpc::api::membership_client::MembershipClient;
use skep_client::transport::{
    ClientTls, Credentials, Expect, connect, connect_local, read_problem, serve_local,
};
use skep_core::base::{
    BootTime, Clock, ClusterId, Exit, Fingerprint, Labels, NodeId, RequestId, SecretBytes,
    SecretId, Stamp, VersionId,
};
use skep_core::domain::{Change, NewVersion};
use skep_core::seal::{
    DataKey, IntakeAgreement, KeyFileHeader, SealedToRecipients, UnlockKey, ValueContext,
    seal_value,
};
use skep_core::wire::api;
use skep_core::wire::convert::{read_intake, write_change};

const SECONDS: Duration = Duration::from_secs(10);
/// For what a manager does by itself every few seconds.
const PATIENCE: Duration = Duration::from_secs(40);

/// A manager that serves its control socket.
pub(super) struct Fixture {
    folder: tempfile::TempDir,
    manager: Manager,
    serving: JoinHandle<std::io::Result<()>>,
    stop: tokio::sync::oneshot::Sender<()>,
}

/// A folder that a manager has left.
pub(super) struct Left(tempfile::TempDir);

/// What the CLI keeps of an `init`.
pub(super) struct Founded {
    pub(super) unlock_key: UnlockKey,
    pub(super) admin: PrivateKey,
    pub(super) admin_chain: Vec<Vec<u8>>,
}

/// An empty folder, as a manager wants it.
pub(super) fn private_folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let own = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    std::fs::set_permissions(folder.path(), own).expect("chmod");
    folder
}

pub(super) fn setup(data: &Path) -> Setup {
    Setup {
        data: data.to_owned(),
        listen: ([127, 0, 0, 1], 0).into(),
        advertise: Vec::new(),
        name: "m1".parse().expect("a name"),
        local: LocalRules { uid: rustix::process::geteuid().as_raw(), groups: Vec::new() },
        audit: crate::manager::AuditSettings::default(),
        clock: Arc::new(SystemClock),
        dice: os_dice,
        disk: Arc::new(RealDisk),
        places: skep_core::base::ManagerPlaces::default(),
    }
}

/// The machine's clock, as far off as a test says.
#[derive(Default)]
pub(super) struct Shifted(std::sync::atomic::AtomicU64);

impl Shifted {
    pub(super) fn set_ahead(&self, ms: u64) {
        self.0.store(ms, std::sync::atomic::Ordering::Relaxed);
    }
}

impl Clock for Shifted {
    fn now(&self) -> Stamp {
        SystemClock.now().plus_ms(self.0.load(std::sync::atomic::Ordering::Relaxed))
    }
    fn boot(&self) -> BootTime {
        SystemClock.boot()
    }
}

/// The status that the CLI would end with.
pub(super) fn exit_of(status: &Status) -> Exit {
    read_problem(status).unwrap_or_else(|| panic!("no problem in {status:?}")).exit
}

impl Fixture {
    pub(super) async fn start() -> Self {
        Left(private_folder()).start_again().await
    }
    pub(super) async fn start_at(clock: Arc<dyn Clock>) -> Self {
        Left(private_folder()).start_again_at(clock).await
    }
    /// Lets it enter the cluster of another one.
    pub(super) async fn enter(&self, first: &Self, name: &str) {
        let address = first.manager.address().to_string();
        self.enter_by(first, name, address).await;
    }
    /// The same with another address of the first one.
    pub(super) async fn enter_by(&self, first: &Self, name: &str, address: String) {
        let role = api::NodeRole::Manager.into();
        let request = api::CreateTokenRequest { role, ..api::CreateTokenRequest::default() };
        let token = first.control().await.create_token(request).await.expect("a token");
        let request = api::JoinClusterRequest {
            token: token.into_inner().token.into_bytes(),
            addresses: vec![address],
            name: name.to_owned(),
            learner: false,
        };
        self.control().await.join_cluster(request).await.expect("enters");
    }
    pub(super) async fn status(&self) -> api::StatusReply {
        let mut control = self.control().await;
        control.status(api::StatusRequest {}).await.expect("a status").into_inner()
    }
    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }
    pub(super) fn socket(&self) -> PathBuf {
        self.folder().join("control.sock")
    }
    pub(super) fn manager(&self) -> &Manager {
        &self.manager
    }
    pub(super) async fn control(&self) -> ControlClient<Channel> {
        ControlClient::new(connect_local(&self.socket()).await.expect("connects"))
    }
    /// Over mTLS, with this certificate.
    pub(super) async fn remote(
        &self,
        founded: &Founded,
        chain: &[Vec<u8>],
        key: &PrivateKey,
    ) -> ControlClient<Channel> {
        let key = SecretBytes::copy_of(key.expose());
        let credentials = Credentials::new(chain, &key).expect("credentials");
        let fingerprint = founded.unlock_key.fingerprint();
        let tls = ClientTls::new(&credentials, fingerprint, Arc::new(SystemClock));
        let address = self.manager.address().to_string();
        let (channel, _) =
            connect(&address, &tls, Expect::AnyManager, SECONDS).await.expect("connects");
        ControlClient::new(channel)
    }
    /// Over TLS without a certificate.
    pub(super) async fn join(
        &self,
        founded: &Founded,
        request: api::JoinRequest,
    ) -> Result<api::JoinReply, Status> {
        let tls = ClientTls::anonymous(founded.unlock_key.fingerprint(), Arc::new(SystemClock));
        let address = self.manager.address().to_string();
        let (channel, _) =
            connect(&address, &tls, Expect::AnyManager, SECONDS).await.expect("connects");
        Ok(MembershipClient::new(channel).join(request).await?.into_inner())
    }
    pub(super) async fn init(&self) -> Founded {
        let mut control = self.control().await;
        let prepared = control.prepare_init(api::PrepareInitRequest {}).await.expect("prepared");
        let (mut founded, request) = Founded::found(&prepared.into_inner());
        let reply = control.commit_init(request).await.expect("founded").into_inner();
        founded.admin_chain = reply.operator_chain;
        founded
    }
    pub(super) async fn unlock(&self, key: &UnlockKey) -> Result<api::UnlockReply, Status> {
        let mut control = self.control().await;
        let header = control.unlock_header(api::UnlockHeaderRequest {}).await?.into_inner();
        let header = KeyFileHeader::parse(&header.header).expect("a header");
        let file_key = header.open_file_key(key).expect("a recipient");
        let request = api::UnlockRequest {
            file_key: file_key.0.expose().to_vec(),
            fingerprint: key.fingerprint().0.to_vec(),
            generation: header.generation,
            of_header: true,
        };
        Ok(control.unlock(request).await?.into_inner())
    }
    pub(super) async fn stop(self) -> Left {
        self.manager.end(End::Asked);
        let _gone = self.stop.send(()).is_err();
        self.manager.shut(SECONDS).await;
        let served = tokio::time::timeout(SECONDS, self.serving).await.expect("drains");
        served.expect("did not panic").expect("served");
        // The folder's lock ends with the last of them.
        let folder = self.folder;
        drop(self.manager);
        Left(folder)
    }
    pub(super) async fn restart(self) -> Self {
        self.stop().await.start_again().await
    }
    pub(super) async fn end(self) {
        drop(self.stop().await);
    }
}

impl Left {
    pub(super) async fn start_again(self) -> Fixture {
        self.start_again_at(Arc::new(SystemClock)).await
    }
    async fn start_again_at(self, clock: Arc<dyn Clock>) -> Fixture {
        let folder = self.0;
        let deadline = tokio::time::Instant::now() + SECONDS;
        let manager = loop {
            let setup = Setup { clock: clock.clone(), ..setup(folder.path()) };
            match Manager::open(setup) {
                Ok(manager) => break manager,
                // Connections that are being closed hold the folder a moment longer.
                Err(OpenError::Folder(FolderError::InUse(_)))
                    if tokio::time::Instant::now() < deadline => {}
                Err(error) => panic!("{error}"),
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        let socket = bind(&folder.path().join("control.sock"), 0o600).expect("a socket");
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let stopping = async move { drop(stopped.await) };
        let serving = tokio::spawn(serve_local(socket, control(&manager), 64, stopping));
        Fixture { folder, manager, serving, stop }
    }
}

impl Founded {
    /// The CLI's part of `init`.
    pub(super) fn found(prepared: &api::PrepareInitReply) -> (Self, api::CommitInitRequest) {
        let dice = &mut *os_dice();
        let now = super::clock();
        let cluster = ClusterId::draw(dice);
        let name = "prod".parse().expect("a name");
        let root = Root::generate(cluster, &name, now).expect("a root");
        let issuing = root.sign_issuing(&prepared.issuing_public, cluster, now).expect("signed");
        let unlock_key = UnlockKey::draw(dice, Fingerprint::of_root(&root.certificate));
        let mut context = b"root key".to_vec();
        context.extend_from_slice(cluster.as_bytes());
        let root_key = SecretBytes::copy_of(root.key.expose());
        let recipients = [unlock_key.recipient()];
        let sealed = SealedToRecipients::seal(dice, &recipients, &context, &root_key);
        let admin = PrivateKey::generate().expect("a key");
        let request = api::CommitInitRequest {
            cluster_id: cluster.as_bytes().to_vec(),
            name: name.to_string(),
            root: root.certificate.clone(),
            sealed_root_key: sealed.expect("sealed"),
            issuing,
            recipient: unlock_key.recipient().as_bytes().to_vec(),
            operator_public: admin.public(),
            operator_name: "admin".into(),
        };
        (Self { unlock_key, admin, admin_chain: Vec::new() }, request)
    }
}

/// The CLI's part of `secret create`.
pub(super) async fn create_secret(
    control: &mut ControlClient<Channel>,
    name: &str,
    value: &[u8],
) -> Result<api::ApplyReply, Status> {
    let intake = control.intake(api::IntakeRequest {}).await?.into_inner();
    let change = {
        let dice = &mut *os_dice();
        let (secret, version) = (SecretId::draw(dice), VersionId::draw(dice));
        let cluster = ClusterId::try_from(intake.cluster_id.as_slice()).expect("an id");
        let size = u32::try_from(value.len()).expect("short");
        let context = ValueContext { cluster, secret, version, size };
        let key = DataKey::draw(dice);
        let sealed = seal_value(dice, &key, &context, &SecretBytes::copy_of(value));
        let public = read_intake(&intake).expect("a key");
        let client = IntakeAgreement::draw(dice, &public).expect("agreed");
        let sent = client.seal(dice, &key, &context);
        Change::CreateSecret {
            id: secret,
            name: name.parse().expect("a name"),
            labels: Labels::default(),
            forward_only: false,
            version: NewVersion {
                id: version,
                size,
                value: sealed.expect("sealed"),
                data_key: sent.expect("sealed"),
                public: None,
            },
        }
    };
    let changes = vec![write_change(&change).expect("a change that is sent")];
    apply(control, changes).await
}

pub(super) async fn remove_node(
    control: &mut ControlClient<Channel>,
    node: NodeId,
) -> Result<api::ApplyReply, Status> {
    let change = Change::RemoveNode { id: node, force: false };
    apply(control, vec![write_change(&change).expect("a change that is sent")]).await
}

async fn apply(
    control: &mut ControlClient<Channel>,
    changes: Vec<api::Change>,
) -> Result<api::ApplyReply, Status> {
    let request_id = RequestId::draw(&mut *os_dice()).as_bytes().to_vec();
    Ok(control.apply(api::ApplyRequest { request_id, changes }).await?.into_inner())
}

pub(super) fn join_request(token: &JoinToken, key: &PrivateKey, name: &str) -> api::JoinRequest {
    api::JoinRequest {
        token_id: token.id.as_bytes().to_vec(),
        token_secret: token.secret.expose().to_vec(),
        role: api::NodeRole::Worker.into(),
        name: name.to_owned(),
        public_key: key.public(),
        proof: certificate_request(key).expect("a request"),
        box_key: Vec::new(),
        addresses: Vec::new(),
        learner: false,
    }
}

/// The control socket of a process that is just starting.
pub(super) async fn patient_control(socket: &Path) -> ControlClient<Channel> {
    let mut found = None;
    until(async || {
        found = connect_local(socket).await.ok();
        found.is_some()
    })
    .await;
    ControlClient::new(found.expect("connects"))
}

/// Waits until something holds.
pub(super) async fn until(mut holds: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !holds().await {
        assert!(tokio::time::Instant::now() < deadline, "it did not come to that");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Waits until a manager leads.
pub(super) async fn leads(control: &mut ControlClient<Channel>) {
    until(async || {
        let status = control.status(api::StatusRequest {}).await.expect("a status");
        status.into_inner().state() == api::ManagerState::Leader
    })
    .await;
}
