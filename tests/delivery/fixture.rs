//! A cluster of one manager that delivers over real TLS, and what operators do to it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use skep::consensus::{Consensus, Start};
use skep::host::RealDisk;
use skep::manager::{Core, Dispatch, KeyHolder, WatchAsked};
use skep_client::ca::{CertificateRole, Issuer, PrivateKey, Root, Subject, key_digest};
use skep_client::machine::{OsDice, SystemClock, os_dice};
use skep_client::transport::{ClientTls, Credentials, ServerTls, serve};
use skep_core::base::{
    Clock, ClusterId, Epoch, Fingerprint, Labels, ManagerPlaces, Name, NodeId, OperatorId,
    RecipientId, RequestId, Revision, SecretBytes, SecretId, ServiceId, TokenId, VersionId,
    WrappedKey,
};
use skep_core::domain::{
    Act, Actor, Availability, Change, Cluster as ClusterRecord, ClusterKey as ClusterKeyRecord,
    Command, Genesis, Grant, Issuers, Join, NewVersion, Node, NodeRole, Operator, OperatorRole,
    Outcome, Placement, Recipient, Renewal, ServiceSpec, Token,
};
use skep_core::seal::{
    BoxKey, ClusterKey, DataKey, Dek, IntakeAgreement, IntakePublic, ValueContext, box_cluster_key,
    seal_value,
};
use skep_core::wire::api;

/// How long anything here may take.
pub(crate) const LONG: Duration = Duration::from_secs(20);
const YEAR_MS: u64 = 365 * 24 * 3_600_000;

/// Awaits with a deadline.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(LONG, what).await.expect("in time")
}

/// The cluster.
pub(crate) struct Cluster {
    pub(crate) core: Arc<Core>,
    pub(crate) dispatch: Dispatch,
    pub(crate) address: String,
    pub(crate) fingerprint: Fingerprint,
    root: Vec<u8>,
    issuing: Vec<u8>,
    issuer: Issuer,
    intake: IntakePublic,
    token: TokenId,
    _data: tempfile::TempDir,
}

/// A certificate and what it is good for.
pub(crate) struct Machine {
    pub(crate) node: NodeId,
    pub(crate) tls: ClientTls,
}

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

impl Cluster {
    pub(crate) async fn start() -> Self {
        let dice = &mut OsDice;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let now = clock.now();
        let (cluster, node) = (ClusterId::draw(dice), NodeId::draw(dice));
        let root = Root::generate(cluster, &name("prod"), now).expect("a root");
        let issuing_key = PrivateKey::generate().expect("a key");
        let issuing = root.sign_issuing(&issuing_key.public(), cluster, now).expect("signed");
        let issuer = Issuer::new(issuing.clone(), issuing_key).expect("an issuer");

        let data = tempfile::tempdir().expect("a folder");
        let consensus = Consensus::start(Start {
            audit: None,
            cluster,
            node,
            addresses: vec!["127.0.0.1:1".to_owned()],
            data: data.path().to_owned(),
            deks: vec![Dek::draw(dice)],
            disk: Arc::new(RealDisk),
            dice: os_dice,
            tls: None,
        });
        let consensus = soon(consensus).await.expect("started");
        soon(consensus.found()).await.expect("founded");

        let box_key = BoxKey::draw(dice);
        let key = ClusterKey::draw(dice, cluster, 1);
        let boxed = box_cluster_key(dice, &key, node, &box_key.public()).expect("boxed");
        let stands = ClusterKeyRecord {
            number: 1,
            intake: key.intake().public,
            previous: BTreeMap::new(),
            boxes: BTreeMap::from([(node, boxed)]),
        };
        let intake = key.intake();
        let box_public = box_key.public();
        let keys = KeyHolder::new(cluster, node, box_key);
        keys.follow(&stands).expect("opened");
        let core = Arc::new(Core::new(consensus, Arc::new(keys), clock, os_dice, node, cluster));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let dispatch = Dispatch::start(Arc::clone(&core));
        let mut this = Self {
            dispatch,
            address,
            fingerprint: Fingerprint::of_root(&root.certificate),
            root: root.certificate,
            issuing,
            issuer,
            intake,
            token: TokenId::draw(dice),
            _data: data,
            core,
        };
        this.genesis(stands, box_public).await;
        this.serve(listener);
        this
    }

    async fn genesis(&mut self, cluster_key: ClusterKeyRecord, box_key: [u8; 32]) {
        let now = self.core.clock.now();
        let recipient = Recipient { public: [9; 32], label: "first".to_owned(), only: None };
        let issuer = self.issuer.begins();
        let renewal = Renewal { issuer, ..Renewal::default() };
        let cluster = ClusterRecord {
            anchors: BTreeMap::new(),
            removed_managers: BTreeMap::new(),
            id: self.core.cluster,
            name: name("prod"),
            epoch: Epoch { counter: 1, tail: [7; 16] },
            created: now,
            root: self.root.clone().into(),
            sealed_root_key: Arc::default(),
            issuing: self.issuing.clone().into(),
            issuing_key: WrappedKey { number: 1, bytes: Vec::new() },
            recipients: BTreeMap::from([(RecipientId::draw(&mut OsDice), recipient)]),
            cluster_key,
            issuers: Issuers { current: issuer, oldest: issuer, rotating: None },
            recovered: None,
        };
        let node = Node {
            name: name("manager-1"),
            role: NodeRole::Manager,
            key: [1; 32],
            labels: Labels::default(),
            availability: Availability::Active,
            box_key: Some(box_key),
            addresses: vec![self.address.clone()],
            joined: now,
            certificate_ends: now.plus_ms(YEAR_MS),
            renewal,
            learner: false,
        };
        let admin = Operator {
            name: name("admin"),
            role: OperatorRole::Admin,
            key: [2; 32],
            created: now,
            certificate_ends: now.plus_ms(YEAR_MS),
            renewal,
            suspended: false,
            scope: skep_core::domain::Scope::everything(),
            constraints: Vec::new(),
            ends: None,
            recovered: false,
        };
        let operator = OperatorId::draw(&mut OsDice);
        let genesis = Genesis { cluster, manager: self.core.node, node, operator, admin };
        self.propose(Act::Genesis(Box::new(genesis))).await;
        let token = Token {
            digest: [3; 32],
            role: NodeRole::Worker,
            labels: Labels::default(),
            name_pattern: None,
            created: now,
            ends: now.plus_ms(YEAR_MS),
            uses_left: None,
        };
        self.change(Change::CreateToken { id: self.token, token }).await;
    }

    fn serve(&self, listener: tokio::net::TcpListener) {
        let role = CertificateRole::Manager(self.core.node);
        let credentials = self.credentials(role, "manager-1").0;
        let tls = ServerTls::new(&credentials, self.fingerprint, Arc::clone(&self.core.clock));
        let routes = self.dispatch.routes();
        tokio::spawn(async move {
            let places = ManagerPlaces::default();
            serve(listener, tls, routes, &places, std::future::pending()).await
        });
    }

    /// A certificate for this role, and its key's digest.
    pub(crate) fn credentials(
        &self,
        role: CertificateRole,
        called: &str,
    ) -> (Credentials, [u8; 32]) {
        let key = PrivateKey::generate().expect("a key");
        let subject = Subject { cluster: self.core.cluster, role, name: name(called) };
        let now = self.core.clock.now();
        let ends = now.plus_ms(YEAR_MS / 12);
        let leaf = self.issuer.sign_leaf(&key.public(), &subject, now, ends).expect("signed");
        let chain = [leaf, self.issuing.clone(), self.root.clone()];
        let secret = SecretBytes::copy_of(key.expose());
        (Credentials::new(&chain, &secret).expect("a pair"), key_digest(&key.public()))
    }

    /// What a client with these credentials needs.
    pub(crate) fn client(&self, credentials: &Credentials) -> ClientTls {
        ClientTls::new(credentials, self.fingerprint, Arc::clone(&self.core.clock))
    }

    /// Proposes, and expects no refusal.
    pub(crate) async fn propose(&self, act: Act) -> (Revision, Outcome) {
        let stamp = self.core.clock.now();
        let command = Command {
            from: None,
            request: RequestId::draw(&mut OsDice),
            stamp,
            deadline: stamp.plus_ms(30_000),
            actor: Actor::Leader(self.core.node),
            act,
        };
        let applied = soon(self.core.consensus.propose(command)).await.expect("proposed");
        (applied.revision, applied.outcome.expect("not refused"))
    }

    pub(crate) async fn change(&self, change: Change) -> Revision {
        self.propose(Act::Change(vec![change])).await.0
    }

    /// A worker joins.
    pub(crate) async fn join(&self, called: &str) -> Machine {
        let node = NodeId::draw(&mut OsDice);
        let (credentials, key) = self.credentials(CertificateRole::Worker(node), called);
        let join = Join {
            token: self.token,
            digest: [3; 32],
            node,
            name: name(called),
            role: NodeRole::Worker,
            key,
            box_key: None,
            cluster_key_box: None,
            addresses: Vec::new(),
            certificate_ends: self.core.clock.now().plus_ms(YEAR_MS / 12),
            issuer: self.issuer.begins(),
            learner: false,
        };
        self.propose(Act::Join(Box::new(join))).await;
        Machine { node, tls: self.client(&credentials) }
    }

    /// A value, sealed as the CLI does it and taken in as the leader does.
    pub(crate) fn version(&self, secret: SecretId, value: &[u8]) -> NewVersion {
        let dice = &mut OsDice;
        let id = VersionId::draw(dice);
        let size = u32::try_from(value.len()).expect("a size");
        let context = ValueContext { cluster: self.core.cluster, secret, version: id, size };
        let key = DataKey::draw(dice);
        let client = IntakeAgreement::draw(dice, &self.intake).expect("agreed");
        let sent = client.seal(dice, &key, &context).expect("sealed");
        let data_key = self.core.keys.rewrap(dice, &sent, &context, &mut None).expect("rewrapped");
        let value = SecretBytes::copy_of(value);
        let value = seal_value(dice, &key, &context, &value).expect("sealed");
        NewVersion { id, size, value, data_key, public: None }
    }

    pub(crate) async fn secret(&self, called: &str, value: &[u8]) -> SecretId {
        let id = SecretId::draw(&mut OsDice);
        let version = self.version(id, value);
        let labels = Labels::default();
        self.change(Change::CreateSecret {
            id,
            name: name(called),
            labels,
            forward_only: false,
            version,
        })
        .await;
        id
    }

    pub(crate) async fn update(&self, id: SecretId, value: &[u8]) -> Revision {
        let version = self.version(id, value);
        self.change(Change::UpdateSecret { id, expect: None, version }).await
    }

    /// A service that may run everywhere.
    pub(crate) async fn service(&self, called: &str) -> ServiceId {
        let id = ServiceId::draw(&mut OsDice);
        let placement = Placement { everywhere: true, ..Placement::default() };
        let spec = ServiceSpec { placement, ..ServiceSpec::default() };
        self.change(Change::CreateService { id, name: name(called), spec }).await;
        id
    }

    pub(crate) async fn grant(
        &self,
        service: ServiceId,
        secret: SecretId,
        target: &str,
    ) -> Revision {
        let target = target.parse().expect("a target");
        let grant = Grant { secret, target, uid: 0, gid: 0, mode: 0o444, pin: None, write: false };
        self.change(Change::Grant { service, grant: grant.into() }).await
    }

    /// Whether the cluster records that this node may hold bytes of the service.
    pub(crate) fn exposed(&self, node: NodeId, service: ServiceId) -> bool {
        self.core.consensus.read(|state| state.exposed.contains_key(&(node, service)))
    }

    /// Waits as the leader's own user would.
    pub(crate) fn watch<const S: usize, const N: usize>(
        &self,
        revision: Revision,
        services: [ServiceId; S],
        nodes: [NodeId; N],
    ) -> mpsc::Receiver<api::DeliveryProgress> {
        let actor = Actor::Local { uid: 0, manager: self.core.node };
        let watch = {
            let (services, nodes) = (services.into(), nodes.into());
            let asked = WatchAsked { revision, services, nodes, ..WatchAsked::default() };
            self.dispatch.watch(actor, asked)
        };
        watch.expect("few wait")
    }

    /// Waits for everything of a service, and answers the last progress.
    pub(crate) async fn delivered(
        &self,
        revision: Revision,
        service: ServiceId,
    ) -> api::DeliveryProgress {
        let mut watch = self.watch(revision, [service], []);
        let mut last = None;
        while let Some(progress) = soon(watch.recv()).await {
            last = Some(progress);
        }
        last.expect("at least one message")
    }
}
