//! What a tag is at: its manifest, and those that an index names. Each byte of them was checked
//! against its digest when it came.

use std::collections::HashSet;

use super::upstream;
use crate::proto::sign::{SignAsked, SignRefused};
use crate::rules::image::Digest;
use crate::rules::manifest::Manifest;
use crate::work::remote::{Fetched, Repository};

/// Manifests that are signed at once: an index with its images.
const MANIFESTS: usize = 256;
/// Indexes within each other.
const DEPTH: usize = 3;

/// A manifest to be signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Subject {
    pub(super) digest: Digest,
    pub(super) media_type: String,
    pub(super) size: u64,
}

/// What a tag is at.
pub(super) async fn top(
    repository: &mut Repository<'_>,
    tag: &str,
) -> Result<Fetched, SignRefused> {
    let found = repository.manifest(tag).await.map_err(|error| upstream(&error))?;
    found.ok_or_else(|| SignRefused::NoSuchImage(format!("tag {tag} there")))
}

/// All that is to be signed: what an index names before the index itself, so that an image
/// whose signature is there is signed as a whole.
pub(super) async fn all(
    repository: &mut Repository<'_>,
    asked: &SignAsked,
) -> Result<Vec<Subject>, SignRefused> {
    let found = top(repository, &asked.tag).await?;
    if found.digest != asked.digest {
        return Err(SignRefused::Moved(found.digest));
    }
    let (mut seen, mut subjects) = (HashSet::from([found.digest]), Vec::new());
    let mut waiting = vec![(found, 1)];
    while let Some((found, depth)) = waiting.pop() {
        let digest = found.digest;
        let unsignable = |why: String| SignRefused::Unsignable(format!("{digest}: {why}"));
        let manifest = Manifest::read(&found.media_type, &found.bytes);
        let manifest = manifest.map_err(|bad| unsignable(bad.to_string()))?;
        let size = u64::try_from(found.bytes.len()).unwrap_or(u64::MAX);
        subjects.push(Subject { digest, media_type: found.media_type, size });
        let Manifest::Index(children) = manifest else { continue };
        if depth == DEPTH && !children.is_empty() {
            return Err(unsignable(format!("more than {DEPTH} indexes within each other")));
        }
        for child in children {
            if !seen.insert(child) {
                continue;
            }
            if seen.len() > MANIFESTS {
                return Err(unsignable(format!("it has more than {MANIFESTS} manifests")));
            }
            let found =
                repository.manifest(&child.to_string()).await.map_err(|error| upstream(&error))?;
            let missing = || unsignable(format!("it names {child}, which is not there"));
            waiting.push((found.ok_or_else(missing)?, depth + 1));
        }
    }
    subjects.reverse();
    Ok(subjects)
}
