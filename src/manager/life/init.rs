//! From nothing to a cluster of one manager.
//!
//! All that can be refused is refused before the first byte is written. Then the
//! key file comes first, consensus second, the first command last; whatever
//! fails in between is taken back, and a process that dies in between leaves its
//! mark (see `folder`).

use crate::manager::problem::{self, Explain};
use skep_core::base::{
    ClusterId, Dice, Epoch, Fingerprint, Labels, Name, NodeId, OperatorId, RequestId, Stamp, draw,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::consensus::ProposeError;
use crate::manager::LEAF_MS;
use crate::manager::admit::local::LocalUser;
use crate::manager::keys::ISSUING_KEY;
use crate::manager::life::begin::begin;
use crate::manager::life::folder::NodeFile;
use crate::manager::life::key_file::{KeyFiles, Makes, OwnKeys};
use crate::manager::life::lifecycle::{Lifecycle, Manager};
use crate::manager::life::phase::Needs;
use crate::manager::life::prepared::Prepared;
use crate::manager::running::Started;
use crate::manager::task::to_the_end;
use skep_client::ca::{
    CertificateRole, Issuer, PrivateKey, Subject, issuer_begins, key_digest, verify_chain,
};
use skep_client::transport::Problem;
use skep_core::domain::{
    Act, Actor, Availability, Cluster, Genesis, Issuers, Node, NodeRole, Operator, OperatorRole,
    Recipient, Renewal, Scope,
};
use skep_core::seal::{BoxKey, ClusterKey, HelloPlace, HelloSecret, RecipientKey, box_cluster_key};
use skep_core::wire::{api, convert::read_id};

/// Bytes of a certificate or of the sealed root key: far more than any has.
const PART_BYTES: usize = 16 * 1024;
/// How long the only voter may take to lead.
const LEAD_WAIT: Duration = Duration::from_secs(10);

/// A cluster ready to be founded: checked, signed and sealed, not yet written.
struct Founding {
    files: KeyFiles,
    fingerprint: Fingerprint,
    genesis: Genesis,
    reply: api::CommitInitReply,
}

impl Manager {
    /// Makes the issuing key, this manager's TLS key and its id. A second call
    /// makes others.
    pub(in crate::manager) async fn prepare_init(&self) -> Result<api::PrepareInitReply, Problem> {
        let _turn = self.0.turn.lock().await;
        self.phase().admits(Needs::New)?;
        let failed = problem::life::no_key_pair;
        let prepared = Prepared {
            issuing: PrivateKey::generate().map_err(failed)?,
            tls: PrivateKey::generate().map_err(failed)?,
            node: NodeId::draw(&mut *self.0.dice()),
        };
        let reply = api::PrepareInitReply {
            issuing_public: prepared.issuing.public(),
            node_id: prepared.node.as_bytes().to_vec(),
            default_name: self.0.setup.name.to_string(),
            addresses: self.0.addresses(),
        };
        self.0.prepare(prepared);
        Ok(reply)
    }

    /// Founds the cluster. Goes on to its end also when the caller is gone.
    pub(in crate::manager) async fn commit_init(
        &self,
        user: LocalUser,
        request: api::CommitInitRequest,
    ) -> Result<api::CommitInitReply, Problem> {
        to_the_end("init", self.clone().found(user, request)).await
    }

    async fn found(
        self,
        user: LocalUser,
        request: api::CommitInitRequest,
    ) -> Result<api::CommitInitReply, Problem> {
        let _turn = self.0.turn.lock().await;
        self.phase().admits(Needs::New)?;
        let prepared = self.0.take_prepared().ok_or_else(problem::life::not_prepared)?;
        let node = prepared.node;
        let founding = Founding::new(&self.0, *prepared, &request)?;
        let listener = self.0.listen()?;
        let actor = user.acting(node).actor()?;
        let reply = founding.reply.clone();
        match self.0.carry_out(founding, actor).await {
            Ok(started) => {
                tracing::info!(event = "cluster_founded", node = %node);
                self.run(started, listener);
                Ok(reply)
            }
            Err(problem) => Err(self.0.take_back(problem).await),
        }
    }
}

impl Lifecycle {
    async fn carry_out(
        self: &Arc<Self>,
        founding: Founding,
        actor: Actor,
    ) -> Result<Started, Problem> {
        let Founding { files, fingerprint, genesis, .. } = founding;
        let (header, body, file_key) =
            files.write(self, Makes::Beginning, problem::life::INIT_AGAIN).await?;
        let started =
            begin(self, &header, body, file_key, fingerprint).await.map_err(Explain::explain)?;
        if let Err(problem) = first_command(&started, genesis, actor).await {
            started.core.consensus.shutdown().await;
            return Err(problem);
        }
        if let Err(error) = self.on_disk(|life| life.folder.finish_init()).await {
            // The cluster is whole; the next unlock sees that and tries again.
            tracing::warn!(event = "init_mark_stays", why = %error);
        }
        Ok(started)
    }

    async fn take_back(self: &Arc<Self>, problem: Problem) -> Problem {
        match self.on_disk(|life| life.folder.forget_init()).await {
            Ok(()) => problem,
            Err(error) => problem::life::not_taken_back(&problem, self.folder.path(), &error),
        }
    }
}

async fn first_command(started: &Started, genesis: Genesis, actor: Actor) -> Result<(), Problem> {
    let core = &started.core;
    let nobody = |error: ProposeError| problem::of_proposal(error, |_| Vec::new());
    core.consensus.found().await.map_err(nobody)?;
    let mut leadership = core.consensus.leadership();
    let leads = async { leadership.wait_for(|seen| seen.own).await.is_ok() };
    if !tokio::time::timeout(LEAD_WAIT, leads).await.unwrap_or(false) {
        return Err(nobody(ProposeError::NotLeader(None)));
    }
    let request = RequestId::draw(&mut *(core.dice)());
    let act = Act::Genesis(Box::new(genesis));
    let unproposed = |error| problem::of_proposal(error, |_| Vec::new());
    core.propose(request, actor, act)
        .await
        .map_err(unproposed)?
        .outcome
        .map_err(Explain::explain)?;
    Ok(())
}

impl Founding {
    fn new(
        life: &Lifecycle,
        prepared: Prepared,
        request: &api::CommitInitRequest,
    ) -> Result<Self, Problem> {
        let dice = &mut *life.dice();
        let now = life.setup.clock.now();
        let asked = Asked::read(request)?;
        let ends = now.plus_ms(LEAF_MS);
        let node = prepared.node;
        let name = life.setup.name.clone();

        let cluster_key = ClusterKey::draw(dice, asked.cluster, 1);
        let box_key = BoxKey::draw(dice);
        let sealing = |error: skep_core::seal::SealError| problem::request::bad("a key", error);
        let boxed =
            box_cluster_key(dice, &cluster_key, node, &box_key.public()).map_err(sealing)?;
        let secret = skep_core::base::SecretBytes::copy_of(prepared.issuing.expose());
        let issuing_key =
            cluster_key.wrap_key().wrap_secret(dice, ISSUING_KEY, &secret).map_err(sealing)?;

        let hello = HelloSecret::of_issuing_key(&secret, asked.cluster);

        let leaves = Leaves::sign(prepared, &asked, request, name.clone(), dice, now, ends)?;
        let own = hello.key_of(HelloPlace::Operator, leaves.operator.as_bytes());
        let hello_key = own.map_err(sealing)?.to_bytes().expose().to_vec();
        let keys =
            OwnKeys { tls: &leaves.tls, chain: leaves.own.clone(), box_key: &box_key, hello };
        let node_file = NodeFile::of(node, &name, asked.name.as_str());
        let recipients = [asked.recipient];
        let files = KeyFiles::seal(dice, (asked.cluster, node), &recipients, keys, node_file);
        let files = files.map_err(sealing)?;

        let begins = issuer_begins(&request.issuing)
            .map_err(|error| problem::request::bad("the issuing CA", error))?;
        let issuers = Issuers { current: begins, oldest: begins, rotating: None };
        let renewal = Renewal { issuer: begins, ..Renewal::default() };
        let cluster = Cluster {
            id: asked.cluster,
            name: asked.name.clone(),
            epoch: Epoch { counter: 1, tail: draw(dice) },
            created: now,
            root: request.root.as_slice().into(),
            sealed_root_key: request.sealed_root_key.as_slice().into(),
            issuing: request.issuing.as_slice().into(),
            issuing_key,
            recipients: BTreeMap::from([(
                asked.recipient.id(),
                Recipient {
                    public: *asked.recipient.as_bytes(),
                    label: "init".to_owned(),
                    only: None,
                },
            )]),
            cluster_key: skep_core::domain::ClusterKey {
                number: 1,
                intake: cluster_key.intake().public,
                previous: BTreeMap::new(),
                boxes: BTreeMap::from([(node, boxed)]),
            },
            removed_managers: BTreeMap::new(),
            anchors: BTreeMap::new(),
            issuers,
            recovered: None,
        };
        let addresses = life.addresses();
        let genesis = Genesis {
            cluster,
            manager: node,
            node: Node {
                name: name.clone(),
                role: NodeRole::Manager,
                key: key_digest(&leaves.tls.public()),
                labels: Labels::default(),
                availability: Availability::Active,
                box_key: Some(box_key.public()),
                addresses: addresses.clone(),
                joined: now,
                certificate_ends: ends,
                renewal,
                learner: false,
            },
            operator: leaves.operator,
            admin: Operator {
                name: asked.operator_name,
                role: OperatorRole::Admin,
                key: key_digest(&request.operator_public),
                created: now,
                certificate_ends: ends,
                renewal,
                suspended: false,
                scope: Scope::everything(),
                constraints: Vec::new(),
                ends: None,
                recovered: false,
            },
        };
        let reply = api::CommitInitReply {
            operator_id: leaves.operator.as_bytes().to_vec(),
            operator_chain: leaves.admin,
            addresses,
            node_id: node.as_bytes().to_vec(),
            node_name: name.to_string(),
            hello_key,
        };
        Ok(Self { files, fingerprint: asked.fingerprint, genesis, reply })
    }
}

/// What the CLI sent, checked field by field.
struct Asked {
    cluster: ClusterId,
    name: Name,
    operator_name: Name,
    recipient: RecipientKey,
    fingerprint: Fingerprint,
}

impl Asked {
    fn read(request: &api::CommitInitRequest) -> Result<Self, Problem> {
        let parts = [&request.root, &request.issuing, &request.sealed_root_key];
        if parts.iter().any(|part| part.is_empty() || part.len() > PART_BYTES) {
            return Err(problem::request::bad_founding());
        }
        let name = |whose: &str, text: &str| {
            text.parse::<Name>().map_err(|error| problem::request::bad_name(whose, error))
        };
        let operator = &request.operator_name;
        let recipient: [u8; 32] = request.recipient.as_slice().try_into().map_err(|_| {
            problem::request::bad("the recipient", "is not a public key of 32 bytes")
        })?;
        Ok(Self {
            cluster: read_id("cluster_id", &request.cluster_id).map_err(Explain::explain)?,
            name: name("the cluster's name", &request.name)?,
            operator_name: name(
                "the operator's name",
                if operator.is_empty() { "admin" } else { operator },
            )?,
            recipient: RecipientKey::new(recipient)
                .map_err(|error| problem::request::bad("the recipient", error))?,
            fingerprint: Fingerprint::of_root(&request.root),
        })
    }
}

/// The first two leaves and whose they are.
struct Leaves {
    tls: PrivateKey,
    own: Vec<Vec<u8>>,
    admin: Vec<Vec<u8>>,
    operator: OperatorId,
}

impl Leaves {
    /// Signs both and verifies them against the root that was sent: an issuing
    /// certificate that is not for our key, or not by that root, ends here.
    fn sign(
        prepared: Prepared,
        asked: &Asked,
        request: &api::CommitInitRequest,
        name: Name,
        dice: &mut dyn Dice,
        now: Stamp,
        ends: Stamp,
    ) -> Result<Self, Problem> {
        let bad = |what: &str, error: skep_client::ca::CaError| problem::request::bad(what, error);
        let issuer = Issuer::new(request.issuing.clone(), prepared.issuing)
            .map_err(|error| bad("issuing certificate", error))?;
        let operator = OperatorId::draw(dice);
        let leaf = |spki: &[u8], role, name: Name| {
            let subject = Subject { cluster: asked.cluster, role, name };
            let leaf = issuer.sign_leaf(spki, &subject, now, ends)?;
            let chain = vec![leaf, request.issuing.clone(), request.root.clone()];
            verify_chain(&chain, asked.fingerprint, now)?;
            Ok(chain)
        };
        let own = leaf(&prepared.tls.public(), CertificateRole::Manager(prepared.node), name)
            .map_err(|error| bad("issuing certificate", error))?;
        let role = CertificateRole::Operator(operator);
        let admin = leaf(&request.operator_public, role, asked.operator_name.clone())
            .map_err(|error| bad("operator's key", error))?;
        Ok(Self { tls: prepared.tls, own, admin, operator })
    }
}
