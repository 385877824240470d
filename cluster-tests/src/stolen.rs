//! What somebody has who got at a manager's disk and an unlock key: its identity, and the key
//! that signs certificates.

use std::path::Path;
use std::sync::Arc;

use skep::host::RealDisk;
use skep::manager::KeyHolder;
use skep::store::{Keys, Log, Options};
use skep_client::ca::{CertificateRole, Issuer, PrivateKey, Subject};
use skep_client::machine::{SystemClock, os_dice};
use skep_client::transport::{ClientTls, Credentials, ServerTls};
use skep_core::base::{Clock as _, ClusterId, Fingerprint, NodeId, SecretBytes};
use skep_core::domain::Act;
use skep_core::seal::{BoxKey, KeyFile, KeyFileBody, UnlockKey};
use skep_core::wire::raft::{Entry, entry::Payload};
use skep_core::wire::stored::decode_command;

use super::Manager;

/// How long what is signed here lasts.
const LIFE_MS: u64 = 3_600_000;

/// A manager's key file, opened.
#[derive(Debug)]
pub struct KeyFileOpened {
    /// Its cluster.
    pub cluster: ClusterId,
    /// The manager.
    pub node: NodeId,
    /// What it holds.
    pub body: KeyFileBody,
    fingerprint: Fingerprint,
}

impl KeyFileOpened {
    /// Of this manager, by the unlock key in that file.
    ///
    /// # Panics
    /// Where either is not what it should be.
    #[must_use]
    pub fn of(manager: &Manager, unlock_key: &Path) -> Self {
        let text = std::fs::read(unlock_key).expect("an unlock key");
        let key = UnlockKey::parse(&text).expect("an unlock key");
        let bytes = std::fs::read(manager.data().join("manager.key")).expect("a key file");
        let file = KeyFile::parse(&bytes).expect("a key file");
        let opened = file.header().open_file_key(&key).expect("its box");
        let body = file.open(&opened).expect("its body");
        let (cluster, node) = (file.header().cluster, file.header().node);
        Self { cluster, node, body, fingerprint: key.fingerprint() }
    }

    /// Speaks as that manager.
    ///
    /// # Panics
    /// Where its parts don't belong together.
    #[must_use]
    pub fn tls(&self) -> ClientTls {
        tls(&self.body.chain, &self.body.tls_key, self.fingerprint)
    }
}

fn tls(chain: &[Vec<u8>], key: &SecretBytes, fingerprint: Fingerprint) -> ClientTls {
    let credentials = Credentials::new(chain, key).expect("credentials");
    ClientTls::new(&credentials, fingerprint, Arc::new(SystemClock))
}

/// The key that signs the certificates of a cluster.
#[derive(Debug)]
pub struct StolenIssuer {
    issuer: Issuer,
    cluster: ClusterId,
    fingerprint: Fingerprint,
    /// The issuing CA's certificate and the root's.
    above: Vec<Vec<u8>>,
}

impl StolenIssuer {
    /// From the disk of the manager that founded the cluster, copied into this folder while it
    /// runs, before its first snapshot.
    ///
    /// # Panics
    /// Where that does not open.
    #[must_use]
    pub fn of(founder: &Manager, unlock_key: &Path, copy: &Path) -> Self {
        let opened = KeyFileOpened::of(founder, unlock_key);
        founder.freeze();
        let mut copied = std::process::Command::new("cp");
        let copied = copied.arg("-a").arg(founder.data()).arg(copy).status();
        founder.resume();
        assert!(copied.expect("cp").success(), "a copy of its disk");
        let KeyFileOpened { cluster, node, body, fingerprint } = opened;
        let keys = Keys::new(cluster, node, body.deks).expect("keys of its log");
        let disk = Arc::new(RealDisk);
        let log = Log::open(Options::new(disk, copy.join("log"), Arc::new(keys), os_dice));
        let entries = log.expect("its log").read(0, 8, u64::MAX).expect("its first entries");
        let genesis = entries.into_iter().find_map(|entry| {
            let entry: Entry = prost::Message::decode(entry.payload).expect("an entry");
            let Some(Payload::Command(command)) = entry.payload else { return None };
            match decode_command(&command).expect("a command").act {
                Act::Genesis(genesis) => Some(genesis),
                _ => None,
            }
        });
        let state = genesis.expect("the founding of the cluster").cluster;
        let holder = KeyHolder::new(cluster, node, BoxKey::new(body.box_private));
        holder.follow(&state.cluster_key).expect("the cluster key");
        let issuer = holder.issuer(&state).expect("the issuing key");
        let above = body.chain.into_iter().skip(1).collect();
        Self { issuer, cluster, fingerprint, above }
    }

    /// Speaks as somebody of that role, with this key or a new one, by a certificate that the
    /// cluster never gave out.
    ///
    /// # Panics
    /// Where it can't be signed.
    #[must_use]
    pub fn tls(&self, role: CertificateRole, name: &str, key: Option<&SecretBytes>) -> ClientTls {
        let (chain, key) = self.mint(role, name, key);
        tls(&chain, &key, self.fingerprint)
    }

    /// Serves as somebody of that role.
    ///
    /// # Panics
    /// Where its certificate can't be signed.
    #[must_use]
    pub fn server(&self, role: CertificateRole, name: &str, key: &SecretBytes) -> ServerTls {
        let (chain, key) = self.mint(role, name, Some(key));
        let credentials = Credentials::new(&chain, &key).expect("credentials");
        ServerTls::new(&credentials, self.fingerprint, Arc::new(SystemClock))
    }

    fn mint(
        &self,
        role: CertificateRole,
        name: &str,
        key: Option<&SecretBytes>,
    ) -> (Vec<Vec<u8>>, SecretBytes) {
        let key = match key {
            Some(key) => PrivateKey::from_pkcs8(SecretBytes::copy_of(key.expose())),
            None => PrivateKey::generate(),
        };
        let key = key.expect("a key");
        let name = name.parse().expect("a name");
        let subject = Subject { cluster: self.cluster, role, name };
        let now = SystemClock.now();
        let leaf = self.issuer.sign_leaf(&key.public(), &subject, now, now.plus_ms(LIFE_MS));
        let mut chain = vec![leaf.expect("a certificate")];
        chain.extend(self.above.iter().cloned());
        (chain, SecretBytes::copy_of(key.expose()))
    }
}
