//! OpenPGP signatures by the addresses at which containers/image looks for them:
//! `/sigstore/REPOSITORY@sha256=HEX/signature-N`, N from 1 on until one is missing.
//!
//! They are read from the registry each time but for some seconds. Whoever knows a digest may
//! read what signs it: clients of the lookaside protocol show no name.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use moka::sync::Cache;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::{SignDesk, upstream};
use crate::proto::sign::SignRefused;
use crate::rules::image::Digest;
use crate::rules::scope::is_repository;
use crate::rules::signing::openpgp::MESSAGE_BYTES;
use crate::rules::signing::openpgp::artifact;

/// What the path begins with.
pub(super) const PATH: &str = "/sigstore/";
/// Signatures of one digest.
const SIGNATURES: usize = 16;
/// How long an answer is remembered, also that there is none, and how many bytes of them.
const REMEMBERED: Duration = Duration::from_secs(10);
const BYTES: u64 = 16 * 1024 * 1024;
/// Digests that are asked for at the registry at once.
const AT_ONCE: usize = 16;
/// How long one waits for that.
const PATIENCE: Duration = Duration::from_secs(10);

type Known = Arc<Vec<Bytes>>;

/// Answers of the last seconds.
pub(super) struct Lookaside {
    known: Cache<(String, Digest), Known>,
    at_once: Semaphore,
}

impl Default for Lookaside {
    fn default() -> Self {
        let weigh = |(name, _): &(String, Digest), all: &Known| {
            let bytes: usize = all.iter().map(Bytes::len).sum();
            u32::try_from(bytes + name.len() + 128).unwrap_or(u32::MAX)
        };
        let known = Cache::builder().max_capacity(BYTES).weigher(weigh).time_to_live(REMEMBERED);
        Self { known: known.build(), at_once: Semaphore::new(AT_ONCE) }
    }
}

impl Lookaside {
    /// Something else stands there now.
    pub(super) fn forget(&self, repository: &str, digest: Digest) {
        self.known.invalidate(&(repository.to_owned(), digest));
    }
}

/// What a path asks for: repository, digest and number.
fn read(path: &str) -> Option<(&str, Digest, usize)> {
    let rest = path.strip_prefix(PATH)?;
    let (image, number) = rest.rsplit_once("/signature-")?;
    let (repository, digits) = image.split_once("@sha256=")?;
    let number = number.parse::<usize>().ok().filter(|read| read.to_string() == number)?;
    let digest = format!("sha256:{digits}").parse().ok()?;
    is_repository(repository).then_some((repository, digest, number))
}

impl SignDesk {
    /// One signature.
    pub(super) async fn lookaside(&self, path: &str) -> Result<Bytes, SignRefused> {
        let (repository, digest, number) = read(path).ok_or(SignRefused::NoSuchPath)?;
        let place = (repository.to_owned(), digest);
        let known = if let Some(known) = self.lookaside.known.get(&place) {
            known
        } else {
            let wait = timeout(PATIENCE, self.lookaside.at_once.acquire()).await;
            let _place = wait.ok().and_then(Result::ok).ok_or(SignRefused::SlowDown)?;
            let slow = || SignRefused::Upstream("the registry is too slow".to_owned());
            let found = timeout(self.patience.answer, self.kept(repository, &digest)).await;
            let found = Arc::new(found.map_err(|_| slow())??);
            self.lookaside.known.insert(place, Arc::clone(&found));
            found
        };
        let found = number.checked_sub(1).and_then(|place| known.get(place)).cloned();
        found.ok_or_else(|| SignRefused::NoSuchImage(format!("signature {number} of that")))
    }

    async fn kept(&self, repository: &str, digest: &Digest) -> Result<Vec<Bytes>, SignRefused> {
        let seen = self.look().await?;
        let mut registry = self.registry(&seen)?;
        let mut at = registry.repository(repository, "pull,push");
        let manifest =
            at.manifest(&digest.tag(artifact::ENDING)).await.map_err(|error| upstream(&error))?;
        let mut found = Vec::new();
        if let Some(manifest) = manifest {
            let messages = artifact::messages(&manifest.bytes);
            let messages = messages.map_err(|bad| SignRefused::Upstream(bad.to_string()))?;
            for message in messages.into_iter().take(SIGNATURES) {
                let Ok(digest) = message.digest.parse() else { continue };
                let blob =
                    at.blob(&digest, MESSAGE_BYTES).await.map_err(|error| upstream(&error))?;
                found.extend(blob);
            }
        }
        self.give_back(seen, registry);
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_exact_paths_are_asked_for() {
        let digest = Digest::of(b"x");
        let hex = digest.hex();
        let path = format!("/sigstore/team/app@sha256={hex}/signature-2");
        assert_eq!(read(&path), Some(("team/app", digest, 2)));
        for bad in [
            format!("/sigstore/team/app@sha256={hex}/signature-02"),
            format!("/sigstore/team/app@sha256={hex}/signature-"),
            format!("/sigstore/team/app@sha256={hex}/signature--1"),
            format!("/sigstore/team/app@sha512={hex}/signature-1"),
            format!("/sigstore/team/../app@sha256={hex}/signature-1"),
            format!("/sigstore/Team@sha256={hex}/signature-1"),
            format!("/sigstore/@sha256={hex}/signature-1"),
            "/sigstore/team/app:1/signature-1".to_owned(),
            "/sigstore/".to_owned(),
        ] {
            assert_eq!(read(&bad), None, "{bad}");
        }
    }
}
