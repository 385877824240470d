//! What makes a data folder a manager's: its key file, and the names beside it.
//!
//! It is sealed and written here alone, by `init` and by `join`. A key file that is to be
//! replaced (other recipients, another certificate) will be written here too.

use std::sync::Arc;

use crate::manager::life::folder::NodeFile;
use crate::manager::life::lifecycle::Lifecycle;
use crate::manager::problem;
use skep_client::ca::PrivateKey;
use skep_client::transport::Problem;
use skep_core::base::{ClusterId, Dice, Key32, NodeId, SecretBytes};
use skep_core::seal::{
    BoxKey, Dek, HelloSecret, KeyFile, KeyFileBody, KeyFileHeader, RecipientKey, SealError,
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
    /// What is in the key file.
    pub body: KeyFileBody,
}

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
            deks: vec![Dek::draw(dice)],
        };
        let key_file = KeyFile::seal(dice, cluster, node, FIRST, recipients, &body)?;
        Ok(Self { key_file, node_file, body })
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
    ) -> Result<(KeyFileHeader, KeyFileBody), Problem> {
        let Self { key_file, node_file, body } = self;
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
        Ok((key_file.header().clone(), body))
    }
}
