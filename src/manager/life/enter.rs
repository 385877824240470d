//! From nothing to one more manager of a cluster that is there.
//!
//! The keys are made here and their private halves stay here. Once the leader has
//! admitted this manager it writes its key file and starts as a member that has
//! nothing: the leader brings it the log and lets it vote when it has caught up.

use crate::manager::problem::{self, Explain};
use skep_core::base::{Exit, Name, NodeId, SecretBytes};
use skep_core::domain::NodeRole;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::manager::end::End;
use crate::manager::life::begin::begin;
use crate::manager::life::folder::NodeFile;
use crate::manager::life::key_file::{KeyFiles, Makes, OwnKeys};
use crate::manager::life::lifecycle::Manager;
use crate::manager::life::phase::Needs;
use crate::manager::life::repair::votes;
use crate::manager::task::to_the_end;
use skep_client::ca::{CertificateRole, JoinToken, Leaf, PrivateKey, key_digest, verify_chain};
use skep_client::join;
use skep_client::transport::Problem;
use skep_core::seal::{BoxKey, HelloSecret, RecipientKey, SealError};
use skep_core::wire::{api, convert::read_id};

/// How long it goes on asking where managers close its connections: among many strangers
/// the oldest gives its place.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two rounds.
const PAUSE: Duration = Duration::from_millis(250);
/// Addresses that a caller may name.
const ADDRESSES: usize = 16;

/// What this manager asks with; the private halves stay.
struct Application {
    token: JoinToken,
    name: Name,
    tls: PrivateKey,
    box_key: BoxKey,
    addresses: Vec<String>,
    learner: bool,
}

impl Manager {
    /// Joins the cluster that the token is of. Goes on to its end also when the
    /// caller is gone.
    pub(in crate::manager) async fn join_cluster(
        &self,
        request: api::JoinClusterRequest,
    ) -> Result<api::JoinClusterReply, Problem> {
        let manager = self.clone();
        let entering = async move {
            let joining = Joining(&manager.0.joining);
            let entered = manager.clone().enter(request).await;
            drop(joining);
            entered
        };
        to_the_end("join", entering).await
    }

    async fn enter(
        self,
        request: api::JoinClusterRequest,
    ) -> Result<api::JoinClusterReply, Problem> {
        let turn = self.0.turn.lock().await;
        self.phase().admits(Needs::New)?;
        let asked = request.addresses.clone();
        if !(1..=ADDRESSES).contains(&asked.len()) {
            return Err(problem::request::addresses_to_join(ADDRESSES));
        }
        let application = Application::new(&self, request)?;
        self.0.joining.store(true, Ordering::Relaxed);
        let listener = self.0.listen()?;
        let reply = application.ask(&self, asked).await?;
        let fingerprint = application.token.fingerprint;
        let member = application.accepted(&self, &reply)?;
        let node = member.node;
        let (header, body, file_key) =
            member.files.write(&self.0, Makes::Whole, problem::life::LISTED_THERE).await?;
        let started = match begin(&self.0, &header, body, file_key, fingerprint).await {
            Ok(started) => started,
            Err(error) => {
                let problem = error.explain();
                self.end(End::Failed(problem.exit, problem.text.clone()));
                return Err(problem);
            }
        };
        let running = self.run(started, listener);
        drop(turn);
        tracing::info!(event = "joined", %node, cluster = reply.cluster_name);
        votes(&running).await;
        Ok(api::JoinClusterReply {
            node_id: reply.node_id,
            node_name: reply.node_name,
            cluster_name: reply.cluster_name,
            state: api::ManagerState::from(running.word()).into(),
        })
    }
}

/// Says that this manager is joining no more, however that ended.
struct Joining<'a>(&'a AtomicBool);

impl Drop for Joining<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// All that a manager has once it is admitted.
struct NewMember {
    node: NodeId,
    files: KeyFiles,
}

impl Application {
    fn new(manager: &Manager, request: api::JoinClusterRequest) -> Result<Self, Problem> {
        let text = SecretBytes::take(request.token);
        let token = JoinToken::parse(text.expose()).map_err(problem::request::bad_token)?;
        let name = if request.name.is_empty() {
            manager.0.setup.name.clone()
        } else {
            request
                .name
                .parse()
                .map_err(|error| problem::request::bad_name("the manager's name", error))?
        };
        Ok(Self {
            token,
            name,
            tls: PrivateKey::generate().map_err(problem::life::no_key_pair)?,
            box_key: BoxKey::draw(&mut *manager.0.dice()),
            addresses: manager.0.addresses(),
            learner: request.learner,
        })
    }

    /// Asks the managers, and again where they close the connections. Asked again with the
    /// same keys they answer the same.
    async fn ask(
        &self,
        manager: &Manager,
        addresses: Vec<String>,
    ) -> Result<api::JoinReply, Problem> {
        let application = join::Application {
            token: &self.token,
            role: NodeRole::Manager,
            name: &self.name,
            key: &self.tls,
            box_key: Some(self.box_key.public()),
            addresses: self.addresses.clone(),
            learner: self.learner,
        };
        let until = tokio::time::Instant::now() + PATIENCE;
        let mut maybe_done = false;
        loop {
            let round = match application.ask_round(&addresses, &manager.0.setup.clock).await {
                Ok(reply) => return Ok(reply),
                Err(round) => round,
            };
            let problem = round.why.explain();
            maybe_done |= problem.exit == Exit::Unknown;
            if !round.closed || tokio::time::Instant::now() >= until {
                // What may have been done remains so, whoever can't be reached after that.
                let hidden = maybe_done && problem.exit == Exit::Unreachable;
                return Err(if hidden { problem::unknown() } else { problem });
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Checks the answer and makes the key file of it.
    fn accepted(self, manager: &Manager, reply: &api::JoinReply) -> Result<NewMember, Problem> {
        let odd = problem::life::odd_join;
        let node = read_id("node_id", &reply.node_id).map_err(Explain::explain)?;
        let cluster = read_id("cluster_id", &reply.cluster_id).map_err(Explain::explain)?;
        let now = manager.0.setup.clock.now();
        let leaf: Leaf = verify_chain(&reply.chain, self.token.fingerprint, now)
            .map_err(|error| odd(&format!("its certificate {error}")))?;
        let own = leaf.subject.role == CertificateRole::Manager(node)
            && leaf.subject.cluster == cluster
            && leaf.key == key_digest(&self.tls.public());
        if !own {
            return Err(odd("its certificate is for somebody else"));
        }
        let sealed = |error: SealError| odd(&format!("a recipient {error}"));
        let mut recipients = Vec::new();
        for view in &reply.recipients {
            if !view.only.is_empty() && view.only != reply.node_id {
                continue;
            }
            let public: [u8; 32] = view
                .public
                .as_slice()
                .try_into()
                .map_err(|_| odd("a recipient is no public key"))?;
            recipients.push(RecipientKey::new(public).map_err(sealed)?);
        }
        let hello = HelloSecret::open(&reply.hello_secret, cluster, node, &self.box_key)
            .map_err(|error| odd(&format!("the hello secret {error}")))?;
        let dice = &mut *manager.0.dice();
        let keys =
            OwnKeys { tls: &self.tls, chain: reply.chain.clone(), box_key: &self.box_key, hello };
        let node_file = NodeFile::of(node, &leaf.subject.name, &reply.cluster_name);
        let files = KeyFiles::seal(dice, (cluster, node), &recipients, keys, node_file);
        Ok(NewMember { node, files: files.map_err(sealed)? })
    }
}
