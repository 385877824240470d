//! From an opened key file to consensus that runs.

use std::sync::Arc;

use crate::consensus::{Consensus, Start, StartError};
use crate::manager::audit::Audit;
use crate::manager::core::Core;
use crate::manager::end::exit_of;
use crate::manager::keys::KeyHolder;
use crate::manager::life::audit;
use crate::manager::life::folder::FolderError;
use crate::manager::life::key_file;
use crate::manager::life::lifecycle::Lifecycle;
use crate::manager::own::Own;
use crate::manager::problem::{self, Explain};
use crate::manager::running::{Identity, Started};
use crate::store::StoreError;
use skep_client::ca::{CaError, CertificateRole};
use skep_client::transport::{ClientTls, Greeting, Problem, ServerTls};
use skep_core::base::Fingerprint;
use skep_core::seal::{BoxKey, FileKey, HelloPlace, KeyFileBody, KeyFileHeader};

/// Why consensus does not run.
pub(in crate::manager) enum NotStarted {
    /// The key file's chain or key is not sound.
    Identity(CaError),
    /// What is kept of issuing CAs that are in use no more.
    Floor(FolderError),
    /// Log or snapshots.
    Consensus(StartError),
    /// The audit log.
    Audit(StoreError),
}

impl From<CaError> for NotStarted {
    fn from(error: CaError) -> Self {
        Self::Identity(error)
    }
}

impl From<FolderError> for NotStarted {
    fn from(error: FolderError) -> Self {
        Self::Floor(error)
    }
}

impl Explain for NotStarted {
    fn explain(self) -> Problem {
        match self {
            NotStarted::Identity(error) => {
                problem::life::not_own(format!("this manager's certificate {error}"))
            }
            NotStarted::Floor(error) => problem::life::floor_damaged(error),
            NotStarted::Audit(error) => problem::audit::not_read(error),
            NotStarted::Consensus(error) => problem::life::not_started(exit_of(&error), error),
        }
    }
}

/// Starts consensus with what an opened key file holds, whose chain must end in
/// `fingerprint`.
///
/// # Errors
/// [`NotStarted`].
pub(in crate::manager) async fn begin(
    life: &Arc<Lifecycle>,
    header: &KeyFileHeader,
    body: KeyFileBody,
    file_key: FileKey,
    fingerprint: Fingerprint,
) -> Result<Started, NotStarted> {
    let (clock, dice) = (life.setup.clock.clone(), life.setup.dice);
    let writes = key_file::chain_writer(life, file_key);
    let own = Arc::new(Own::new(&body.chain, &body.tls_key, fingerprint, writes)?);
    let (hello, role) = (Arc::new(body.hello), CertificateRole::Manager(header.node));
    let key = hello.key_of(HelloPlace::Manager, header.node.as_bytes());
    let key = key.map_err(|_| CaError::Malformed("hello secret"))?;
    let client = ClientTls::new(own.credentials(), fingerprint, clock.clone());
    let client = client.greeting(Greeting::new(key, role, dice));
    let floor = client.floor().clone();
    floor.raise(life.folder.floor()?);
    let place = audit::Place {
        data: life.folder.path(),
        cluster: header.cluster,
        node: header.node,
        disk: &life.setup.disk,
        clock: &life.setup.clock,
        dice,
    };
    let settings = life.setup.audit;
    let log = place.open(body.audit, settings.retention).await.map_err(NotStarted::Audit)?;
    let start = Start {
        cluster: header.cluster,
        node: header.node,
        addresses: life.addresses(),
        data: life.folder.path().to_owned(),
        deks: body.deks,
        disk: life.setup.disk.clone(),
        dice,
        tls: Some(client.of_raft()),
        audit: Some(log.clone()),
    };
    let consensus = Consensus::start(start).await.map_err(NotStarted::Consensus)?;
    let box_key = BoxKey::new(body.box_private);
    let audit = Audit::open(header.node, log, settings.on_failure, clock.clone(), dice);
    place.take_up(&box_key, &audit).await;
    let keys = KeyHolder::new(header.cluster, header.node, box_key);
    let identity = Identity {
        fingerprint,
        generation: header.generation,
        server: ServerTls::new(own.credentials(), fingerprint, clock.clone()),
        own,
        client,
        hello,
    };
    let core = Core::new(consensus, Arc::new(keys), clock, dice, header.node, header.cluster);
    let core = core.refusing(floor).recording(audit);
    Ok(Started { core: Arc::new(core), identity })
}
