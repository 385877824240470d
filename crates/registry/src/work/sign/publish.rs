//! Signatures are put into the registry, read back and put there again until they stay.
//!
//! A registry has no compare-and-set: of two that write the manifest of one tag at a time the
//! later one wins. Whoever writes therefore reads what is there, adds to it, writes, and begins
//! again until a read shows that nothing is missing.

use std::time::Duration;

use bytes::Bytes;
use skep_client::machine::OsDice;
use skep_core::base::draw;

use super::keys::{Message, Signatures};
use super::upstream;
use crate::proto::sign::SignRefused;
use crate::rules::image::Digest;
use crate::rules::manifest::{OCI_INDEX, OCI_MANIFEST};
use crate::rules::signing::bundle::{self, Artifact};
use crate::rules::signing::cosign::{self, Signed};
use crate::rules::signing::key::PublicKey;
use crate::rules::signing::oci::{BadManifest, Blob, MANIFEST, Merged};
use crate::rules::signing::openpgp::artifact::{self, NewMessage};
use crate::rules::signing::openpgp::{MESSAGE_BYTES, Ring};
use crate::rules::signing::payload::{Payload, PayloadKind};
use crate::work::remote::Repository;

/// Times that others may write in between.
const TRIES: usize = 24;
/// The longest pause after somebody did, in milliseconds.
const PAUSE_MS: u64 = 250;

/// One manifest's signatures on their way.
pub(super) struct Publish<'p, 'r> {
    pub(super) repository: &'p mut Repository<'r>,
    pub(super) signatures: &'p Signatures,
    /// Seconds since 1970.
    pub(super) now_s: u64,
}

impl Publish<'_, '_> {
    /// Puts all of them there. Answers how many manifests had to be written.
    pub(super) async fn all(mut self) -> Result<usize, SignRefused> {
        let signatures = self.signatures;
        let subject = signatures.subject.digest;
        let mut written = 0;
        let cosign: Vec<Signed> = signatures.cosign.iter().map(|(_, one)| one.clone()).collect();
        if !cosign.is_empty() {
            let tag = subject.tag(cosign::ENDING);
            written += self.settle(&tag, |there| cosign::merge(there, &cosign)).await?;
        }
        let bundles: Vec<Artifact> =
            signatures.bundles.iter().map(|(_, one)| one.clone()).collect();
        if !bundles.is_empty() {
            written += self.bundles(&subject, &bundles).await?;
        }
        if !signatures.openpgp.is_empty() {
            written += self.messages(&subject).await?;
        }
        Ok(written)
    }

    /// Reads, merges, writes, until what is read has everything.
    async fn settle(
        &mut self,
        tag: &str,
        merge: impl Fn(Option<&[u8]>) -> Result<Merged, BadManifest>,
    ) -> Result<usize, SignRefused> {
        for written in 0..TRIES {
            let there = self.repository.manifest(tag).await.map_err(|error| upstream(&error))?;
            let merged = merge(there.as_ref().map(|there| &there.bytes[..]));
            let merged = merged.map_err(|bad| occupied(tag, &bad))?;
            if !merged.changed {
                return Ok(written);
            }
            self.write(tag, merged).await?;
            pause(written).await;
        }
        Err(restless(tag))
    }

    async fn write(&mut self, tag: &str, merged: Merged) -> Result<(), SignRefused> {
        for blob in merged.blobs {
            self.repository
                .put_blob(Bytes::from(blob.bytes))
                .await
                .map_err(|error| upstream(&error))?;
        }
        let kind = if merged.media_type == MANIFEST { OCI_MANIFEST } else { OCI_INDEX };
        let put = self.repository.put_manifest(tag, kind, Bytes::from(merged.manifest)).await;
        put.map(drop).map_err(|error| upstream(&error))
    }

    /// Bundles are artifacts of their own, which name their subject. Where the registry has no
    /// list of those, an index of ours is one.
    async fn bundles(&mut self, subject: &Digest, all: &[Artifact]) -> Result<usize, SignRefused> {
        let known = self.signatures.listed.get().copied();
        let (mut written, mut listed) = (0, known.unwrap_or(true));
        for artifact in all {
            let there = self.repository.manifest(&artifact.manifest.digest).await;
            match (there.map_err(|error| upstream(&error))?, known) {
                (Some(_), Some(_)) => continue,
                (Some(_), None) => {}
                (None, _) => written += 1,
            }
            for Blob { bytes, .. } in &artifact.blobs {
                let bytes = Bytes::from(bytes.clone());
                self.repository.put_blob(bytes).await.map_err(|error| upstream(&error))?;
            }
            // Only the answer to this says whether the registry lists it.
            let bytes = Bytes::from(artifact.manifest.bytes.clone());
            let digest = &artifact.manifest.digest;
            let put = self.repository.put_manifest(digest, OCI_MANIFEST, bytes).await;
            listed &= put.map_err(|error| upstream(&error))?;
        }
        let _known = self.signatures.listed.set(listed);
        if !listed {
            let tag = subject.tag("");
            written += self.settle(&tag, |there| bundle::fallback(there, all)).await?;
        }
        Ok(written)
    }

    /// Of each key and reference one message stays, whoever wrote it.
    async fn messages(&mut self, subject: &Digest) -> Result<usize, SignRefused> {
        let tag = subject.tag(artifact::ENDING);
        for written in 0..TRIES {
            let there = self.repository.manifest(&tag).await.map_err(|error| upstream(&error))?;
            let there = there.as_ref().map(|there| &there.bytes[..]);
            let mut missing: Vec<NewMessage> = Vec::new();
            for message in &self.signatures.openpgp {
                if !self.stands(there, message, &tag).await? {
                    missing.push(message.new.clone());
                }
            }
            if missing.is_empty() {
                return Ok(written);
            }
            let merged = artifact::merge(there, &missing).map_err(|bad| occupied(&tag, &bad))?;
            self.write(&tag, merged).await?;
            pause(written).await;
        }
        Err(restless(&tag))
    }

    /// Whether a message of this key about this reference is there and is what it says.
    async fn stands(
        &mut self,
        there: Option<&[u8]>,
        message: &Message,
        tag: &str,
    ) -> Result<bool, SignRefused> {
        let Some(there) = there else { return Ok(false) };
        let kept = artifact::messages(there).map_err(|bad| occupied(tag, &bad))?;
        let PublicKey::OpenPgp(certificate) = &message.public else { return Ok(false) };
        let ring = Ring { certificates: vec![(**certificate).clone()] };
        let NewMessage { fingerprint, reference, .. } = &message.new;
        for kept in kept {
            let same = kept.fingerprint.as_ref() == Some(fingerprint)
                && kept.reference.as_ref() == Some(reference);
            let Some(digest) = kept.digest.parse().ok().filter(|_| same) else { continue };
            let blob = self
                .repository
                .blob(&digest, MESSAGE_BYTES)
                .await
                .map_err(|error| upstream(&error))?;
            let Some(blob) = blob else { continue };
            let subject = &self.signatures.subject.digest;
            if says((&ring, self.now_s), &blob, reference, subject) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn says((ring, now_s): (&Ring, u64), message: &[u8], reference: &str, subject: &Digest) -> bool {
    let Ok(verified) = ring.verify(message, now_s) else { return false };
    let payload = Payload::read(&verified.payload, PayloadKind::OpenPgp);
    payload.is_ok_and(|payload| {
        payload.reference() == reference && payload.digest() == subject.to_string()
    })
}

/// After somebody else's write a pause of some length: two that write don't go on in step.
async fn pause(written: usize) {
    if written > 0 {
        let [drawn] = draw::<1>(&mut OsDice);
        let pause_ms = PAUSE_MS * u64::from(drawn) / 256;
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
    }
}

fn occupied(tag: &str, bad: &BadManifest) -> SignRefused {
    SignRefused::Unsignable(format!("what stands at {tag} is in the way: {bad}"))
}

fn restless(tag: &str) -> SignRefused {
    SignRefused::Upstream(format!("others write {tag} all the time"))
}
