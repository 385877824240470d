//! A key is opened for one signature, and let go: its opening is on the node's record.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::OnceLock;

use super::image::Subject;
use super::set::KeyFile;
use crate::proto::sign::{Made, SignRefused};
use crate::rules::signing::bundle::{self, Artifact};
use crate::rules::signing::cosign::Signed;
use crate::rules::signing::key::{BadKey, PublicKey, SigningKey};
use crate::rules::signing::openpgp::artifact::NewMessage;
use crate::rules::signing::payload::{Payload, PayloadKind};
use crate::work::folder::{Folder, KEY_BYTES};

/// What signed messages say that they were made by.
const CREATOR: &str = concat!("skep-registry ", env!("CARGO_PKG_VERSION"));

/// What is to be signed, and by which keys.
pub(super) struct Making {
    /// The generation's folder.
    pub(super) folder: PathBuf,
    pub(super) keys: Vec<KeyFile>,
    /// HOST/REPOSITORY:TAG.
    pub(super) reference: String,
    pub(super) annotations: BTreeMap<String, String>,
    /// Seconds since 1970.
    pub(super) at_s: u64,
}

/// The signatures of one manifest.
#[derive(Debug)]
pub(super) struct Signatures {
    pub(super) subject: Subject,
    pub(super) cosign: Vec<(String, Signed)>,
    pub(super) bundles: Vec<(String, Artifact)>,
    pub(super) openpgp: Vec<Message>,
    /// Whether the registry lists artifacts with their subject, once it was asked.
    pub(super) listed: OnceLock<bool>,
}

/// A signed message of OpenPGP, and what it takes to know another one that says the same.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) key: String,
    pub(super) new: NewMessage,
    pub(super) public: PublicKey,
}

impl Signatures {
    /// What stands in the registry once they are published.
    pub(super) fn made(&self) -> Vec<Made> {
        let digest = self.subject.digest.to_string();
        let made = |key: &String, form: &str| Made {
            key: key.clone(),
            form: form.to_owned(),
            digest: digest.clone(),
        };
        let cosign = self.cosign.iter().map(|(key, _)| made(key, "cosign"));
        let bundles = self.bundles.iter().map(|(key, _)| made(key, "bundle"));
        let openpgp = self.openpgp.iter().map(|message| made(&message.key, "openpgp"));
        cosign.chain(bundles).chain(openpgp).collect()
    }
}

impl Making {
    /// Signs all of these by all keys. It may take a while, and is done beside everything else.
    pub(super) async fn sign(self, all: Vec<Subject>) -> Result<Vec<Signatures>, SignRefused> {
        let signed = tokio::task::spawn_blocking(move || {
            all.into_iter().map(|subject| self.one(subject)).collect()
        });
        let broken = || SignRefused::Unavailable("signing broke off".to_owned());
        signed.await.map_err(|_| broken())?
    }

    fn one(&self, subject: Subject) -> Result<Signatures, SignRefused> {
        let (cosign, bundles, openpgp) = (Vec::new(), Vec::new(), Vec::new());
        let mut all = Signatures { subject, cosign, bundles, openpgp, listed: OnceLock::new() };
        for key in &self.keys {
            self.by(key, &mut all)?;
        }
        Ok(all)
    }

    /// The key's signatures of one manifest.
    fn by(&self, file: &KeyFile, all: &mut Signatures) -> Result<(), SignRefused> {
        let unavailable = |why: &str| SignRefused::Unavailable(format!("{} {why}", file.file));
        let read = Folder::of(&self.folder).and_then(|it| it.read(&file.file, KEY_BYTES));
        let bytes = read.map_err(|_| unavailable("is not readable at the moment"))?;
        let bytes = bytes.ok_or_else(|| unavailable("is not granted any more"))?;
        let damaged = |bad: BadKey| unavailable(&format!("does not sign: {bad}"));
        let bytes = bytes.map_err(|unready| SignRefused::Unavailable(unready.what))?;
        let key = SigningKey::read(&bytes).map_err(damaged)?;
        let digest = all.subject.digest.to_string();
        let payload = |kind| {
            Payload::new(kind, &self.reference, &digest)
                .map_err(|bad| SignRefused::Unsignable(bad.to_string()))
        };
        match key {
            SigningKey::Cosign(key) => {
                let mut payload = payload(PayloadKind::Cosign)?;
                for (name, value) in &self.annotations {
                    payload = payload.with(name, value);
                }
                let payload = payload.bytes();
                let signature = key.sign(&payload);
                all.cosign.push((file.name.clone(), Signed { payload, signature }));
                let bundle = bundle::sign(&key, &digest, &self.annotations);
                let about = bundle::Subject {
                    media_type: all.subject.media_type.clone(),
                    digest,
                    size: all.subject.size,
                };
                let artifact = bundle::artifact(&bundle, &about);
                let artifact = artifact.map_err(|bad| SignRefused::Unsignable(bad.to_string()))?;
                all.bundles.push((file.name.clone(), artifact));
            }
            SigningKey::OpenPgp(key) => {
                let payload = payload(PayloadKind::OpenPgp)?.made(CREATOR, self.at_s);
                let message = key.sign(&payload.bytes(), self.at_s).map_err(damaged)?;
                let public = PublicKey::read(key.public_text()).map_err(damaged)?;
                let fingerprint = key.fingerprint().to_owned();
                let new = NewMessage { message, fingerprint, reference: self.reference.clone() };
                all.openpgp.push(Message { key: file.name.clone(), new, public });
            }
        }
        Ok(())
    }
}
