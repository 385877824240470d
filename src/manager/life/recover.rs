//! A manager that outlived the majority, made the only one of its cluster: offline, on its
//! data folder, with an unlock key. Nothing is listened on, and nobody is asked.
//!
//! What it read and what it is about to drop are told before anything is changed.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::consensus::{RecoveryError, Start, StartError, Survivor};
use crate::manager::end::exit_of;
use crate::manager::keys::KeyHolder;
use crate::manager::life::audit;
use crate::manager::life::folder::{Folder, FolderError};
use crate::manager::life::identity::identity;
use crate::manager::problem::{self, Explain};
use crate::store::{AuditLog, Retention};
use skep_client::ca::{CertificateRole, Leaf};
use skep_client::transport::Problem;
use skep_core::base::{
    Clock, Dice, Disk, Epoch, NodeId, OperatorId, RequestId, Stamp, draw, limits,
};
use skep_core::domain::{Act, Actor, Command, NodeRole, Recover, State};
use skep_core::seal::{BoxKey, KeyFile, SealError, UnlockKey};

/// What a recovery is told and given.
pub struct Offline {
    /// The survivor's data folder.
    pub data: PathBuf,
    /// The user that calls.
    pub uid: u32,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Makes dice.
    pub dice: fn() -> Box<dyn Dice>,
    /// The disk.
    pub disk: Arc<dyn Disk>,
}

impl std::fmt::Debug for Offline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Offline({})", self.data.display())
    }
}

/// Why a recovery did not come to its end: nothing was changed, but where the disk failed amid
/// it; then it goes on when the folder is opened next.
#[derive(Debug)]
pub enum NotRecovered {
    /// The data folder.
    Folder(FolderError),
    /// What is told of the rest.
    Told(Problem),
}

impl From<Problem> for NotRecovered {
    fn from(problem: Problem) -> Self {
        Self::Told(problem)
    }
}

impl From<FolderError> for NotRecovered {
    fn from(error: FolderError) -> Self {
        Self::Folder(error)
    }
}

/// What a recovery would drop, and what it would keep.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// The cluster's name.
    pub cluster: String,
    /// The manager that stays.
    pub survivor: String,
    /// The number of the history that ends.
    pub epoch: u64,
    /// The newest revision that is here.
    pub revision: u64,
    /// The cluster's time then.
    pub stamp: Stamp,
    /// Managers that are dropped.
    pub managers: Vec<String>,
    /// Join tokens that end.
    pub tokens: Vec<String>,
    /// Operators that are suspended.
    pub operators: Vec<String>,
    /// Secrets, services and workers that stay.
    pub kept: [usize; 3],
}

/// An opened survivor. Its folder is locked as long as this lives.
#[derive(Debug)]
pub struct Opened {
    folder: Arc<Folder>,
    survivor: Survivor,
    keys: KeyHolder,
    offline: Offline,
    node: NodeId,
    operator: Option<OperatorId>,
    log: AuditLog,
}

impl Opened {
    /// Opens key file, log and snapshots with an unlock key. `kept`: whose identity is not
    /// suspended.
    ///
    /// # Errors
    /// [`NotRecovered`]: nothing was changed.
    pub async fn open(
        offline: Offline,
        key: &UnlockKey,
        kept: Option<&Leaf>,
    ) -> Result<Self, NotRecovered> {
        let folder = Folder::open(&offline.data, offline.uid, offline.disk.clone())?;
        let path = offline.data.join("manager.key");
        let damaged = |why: String| problem::life::key_file_damaged(&path, why);
        let bytes = folder.key_file().map_err(|error| folder.no_key_file(error))?;
        let bytes = bytes.ok_or_else(|| problem::life::nothing_to_recover(&offline.data))?;
        if folder.init_unfinished() {
            return Err(problem::init_unfinished(folder.path()).into());
        }
        let file = KeyFile::parse(&bytes).map_err(|error| damaged(error.to_string()))?;
        let header = file.header().clone();
        let file_key = header.open_file_key(key).map_err(|error| match error {
            SealError::NotARecipient => problem::life::not_a_recipient(error),
            // A box for this very key.
            _ => damaged("is damaged or was tampered with".to_owned()),
        })?;
        let body = file.open(&file_key);
        let body = body.map_err(|_| damaged("is damaged or was tampered with".to_owned()))?;
        identity(&header, &body, key.fingerprint())?;
        let (cluster, node) = (header.cluster, header.node);
        let place = audit::Place {
            data: folder.path(),
            cluster,
            node,
            disk: &offline.disk,
            clock: &offline.clock,
            dice: offline.dice,
        };
        let log = place.open(body.audit, Retention::default()).await;
        let log = log.map_err(problem::audit::not_read)?;
        let start = Start {
            cluster,
            node,
            addresses: Vec::new(),
            data: folder.path().to_owned(),
            deks: body.deks,
            disk: offline.disk.clone(),
            dice: offline.dice,
            tls: None,
            audit: Some(log.clone()),
        };
        let survivor = Survivor::read(start).await.map_err(unread)?;
        let keys = KeyHolder::new(cluster, node, BoxKey::new(body.box_private));
        let state = survivor.state();
        let stands = state.cluster.as_ref().ok_or_else(problem::life::nothing_replicated)?;
        keys.follow(&stands.cluster_key).map_err(Explain::explain)?;
        if state.nodes.get(&node).is_none_or(|of| of.role != NodeRole::Manager) {
            return Err(problem::life::removed().into());
        }
        let operator = kept.map(|leaf| listed(state, leaf)).transpose()?;
        let folder = Arc::new(folder);
        Ok(Self { folder, survivor, keys, offline, node, operator, log })
    }

    /// What would be dropped.
    #[must_use]
    pub fn dropped(&self) -> Dropped {
        let state = self.survivor.state();
        let Some(cluster) = &state.cluster else { return Dropped::default() };
        let managers = state.nodes.iter().filter(|(_, node)| node.role == NodeRole::Manager);
        let (own, others): (Vec<_>, Vec<_>) = managers.partition(|(id, _)| **id == self.node);
        let name = |(_, node): (_, &Arc<skep_core::domain::Node>)| node.name.to_string();
        let workers = state.nodes.values().filter(|node| node.role == NodeRole::Worker).count();
        let suspended = |id: &OperatorId| Some(*id) != self.operator;
        let operators = state.operators.iter().filter(|(id, _)| suspended(id));
        let mut managers: Vec<_> = others.into_iter().map(name).collect();
        managers.sort();
        Dropped {
            cluster: cluster.name.to_string(),
            survivor: own.into_iter().map(name).collect(),
            epoch: cluster.epoch.counter,
            revision: state.revision.0,
            stamp: state.stamp,
            managers,
            tokens: state.tokens.keys().map(ToString::to_string).collect(),
            operators: operators.map(|(_, operator)| operator.name.to_string()).collect(),
            kept: [state.secrets.len(), state.services.len(), workers],
        }
    }

    /// Drops it, and makes this manager the only one of its cluster. The number of the history
    /// that begins.
    ///
    /// # Errors
    /// [`NotRecovered`].
    pub async fn recover(self) -> Result<u64, NotRecovered> {
        let Self { folder, survivor, keys, offline, node, operator, log } = self;
        let state = survivor.state();
        let dice = &mut *(offline.dice)();
        let cluster = state.cluster.clone().ok_or_else(problem::life::nothing_replicated)?;
        let own = state.nodes.get(&node).ok_or_else(problem::life::removed)?;
        let others = state.nodes.iter().any(|(id, of)| *id != node && of.role == NodeRole::Manager);
        let staying: BTreeMap<_, _> =
            own.box_key.map(|public| (node, public)).into_iter().collect();
        let rekey = others.then(|| keys.rekey(dice, &cluster, &staying)).transpose();
        let rekey = rekey.map_err(Explain::explain)?;
        let counter = cluster.epoch.counter.saturating_add(1);
        let epoch = Epoch { counter, tail: draw(dice) };
        let act = Act::Recover(Box::new(Recover { survivor: node, epoch, operator, rekey }));
        let stamp = state.stamp.max(offline.clock.now());
        let command = Command {
            request: RequestId::draw(dice),
            stamp,
            deadline: stamp.plus_ms(limits::DEADLINE_MS),
            actor: Actor::Local { uid: offline.uid, manager: node },
            from: None,
            act,
        };
        let addresses = own.addresses.clone();
        let failed = |error: std::io::Error| {
            problem::life::not_written(folder.path(), &error, problem::life::RECOVER_AGAIN)
        };
        let into = folder.begin_recovery().map_err(failed)?;
        survivor.alone(command, addresses, &into).await.map_err(|error| match error {
            RecoveryError::Disk(error) => unread(error),
            RecoveryError::Refused(refusal) => refusal.explain(),
        })?;
        if let Err(why) = log.sync().await {
            tracing::warn!(event = "audit_log_not_synced", %why);
        }
        log.close().await;
        let deciding = folder.clone();
        let decided = tokio::task::spawn_blocking(move || deciding.decide_recovery()).await;
        decided.unwrap_or_else(|error| Err(std::io::Error::other(error))).map_err(failed)?;
        Ok(counter)
    }
}

fn unread(error: StartError) -> Problem {
    problem::life::not_recovered(exit_of(&error), error)
}

/// The operator with this identity.
fn listed(state: &State, leaf: &Leaf) -> Result<OperatorId, Problem> {
    let stranger = || problem::life::not_an_operator();
    let CertificateRole::Operator(id) = leaf.subject.role else { return Err(stranger()) };
    let own = leaf.key;
    let known = state
        .operators
        .get(&id)
        .is_some_and(|operator| operator.key == own || operator.renewal.next_key == Some(own));
    if known { Ok(id) } else { Err(stranger()) }
}
