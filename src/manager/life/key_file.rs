//! What makes a data folder a manager's: its key file, and the names beside it.
//!
//! It is sealed and written here alone: by `init`, by `join`, and where this manager has another
//! certificate.

use std::io;
use std::sync::Arc;

use crate::manager::life::folder::NodeFile;
use crate::manager::life::lifecycle::Lifecycle;
use crate::manager::own::Write;
use crate::manager::problem;
use skep_client::ca::PrivateKey;
use skep_client::transport::Problem;
use skep_core::base::{ClusterId, Dice, Key32, NodeId, SecretBytes};
use skep_core::seal::{
    BoxKey, Dek, FileKey, HelloSecret, KeyFile, KeyFileBody, KeyFileHeader, RecipientKey, SealError,
};

/// The number of a manager's first key file.
const FIRST: u64 = 1;

/// What a manager keeps of itself.
pub(in crate::manager) struct OwnKeys<'a> {
    /// Its TLS key.
    pub tls: &'a PrivateKey,
    /// Its certificates, from its own to the root.
    pub chain: Vec<Vec<u8>>,
    /// The key to which the cluster key is boxed for it.
    pub box_key: &'a BoxKey,
    /// By which members are told from strangers.
    pub hello: HelloSecret,
}

/// A key file and the names beside it, sealed and not yet written.
pub(in crate::manager) struct KeyFiles {
    key_file: KeyFile,
    node_file: NodeFile,
    file_key: FileKey,
    /// What is in the key file.
    pub body: KeyFileBody,
}

/// What was written, opened.
pub(in crate::manager) type Written = (KeyFileHeader, KeyFileBody, FileKey);

/// Whether what is written is a whole manager already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::manager) enum Makes {
    /// An `init` that goes on: a mark says so until its first command is applied.
    Beginning,
    /// A manager that was admitted.
    Whole,
}

impl KeyFiles {
    /// The first key file of a manager, for those who may unlock it.
    ///
    /// # Errors
    /// A recipient's key to which nothing can be sealed.
    pub(in crate::manager) fn seal(
        dice: &mut dyn Dice,
        (cluster, node): (ClusterId, NodeId),
        recipients: &[RecipientKey],
        keys: OwnKeys<'_>,
        node_file: NodeFile,
    ) -> Result<Self, SealError> {
        let body = KeyFileBody {
            tls_key: SecretBytes::copy_of(keys.tls.expose()),
            chain: keys.chain,
            box_private: Key32::take(&mut { *keys.box_key.expose() }),
            hello: keys.hello,
            audit: Dek::draw(dice),
            deks: vec![Dek::draw(dice)],
        };
        let sealed = KeyFile::seal_keeping(dice, cluster, node, FIRST, recipients, &body)?;
        let (key_file, file_key) = sealed;
        let node_file = node_file.until(body.chain.first());
        Ok(Self { key_file, node_file, file_key, body })
    }

    /// Writes both into the data folder: what was written, opened. `hint` says what is to be
    /// done where it fails.
    ///
    /// # Errors
    /// The disk: the manager is not there, though its names may be.
    pub(in crate::manager) async fn write(
        self,
        life: &Arc<Lifecycle>,
        makes: Makes,
        hint: &str,
    ) -> Result<Written, Problem> {
        let Self { key_file, node_file, file_key, body } = self;
        let bytes = key_file.to_bytes();
        let writing = move |life: &Lifecycle| {
            if makes == Makes::Beginning {
                life.folder.begin_init()?;
            }
            life.folder.write_identity(&bytes, &node_file)
        };
        life.on_disk(writing)
            .await
            .map_err(|error| problem::life::not_written(life.folder.path(), &error, hint))?;
        Ok((key_file.header().clone(), body, file_key))
    }
}

/// Writes another certificate into the key file, as long as the manager is there. The boxes of
/// those who may unlock it stay as they are.
pub(in crate::manager) fn chain_writer(life: &Arc<Lifecycle>, file_key: FileKey) -> Box<Write> {
    let life = Arc::downgrade(life);
    Box::new(move |chain| {
        let life = life.upgrade().ok_or(io::ErrorKind::NotConnected)?;
        let bytes = life.folder.key_file()?.ok_or(io::ErrorKind::NotFound)?;
        let replaced = KeyFile::parse(&bytes)
            .and_then(|file| file.with_chain(&mut *life.dice(), &file_key, chain.to_vec()));
        let replaced = replaced.map_err(io::Error::other)?;
        life.folder.replace_key_file(&replaced.to_bytes())?;
        // For display alone: what fails here is shown late.
        let node = life.folder.node_file().until(chain.first());
        life.folder.write_node(&node).or_else(|error| {
            tracing::warn!(event = "node_file_stays", why = %error);
            Ok(())
        })
    })
}
