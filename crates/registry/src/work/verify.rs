//! What a registry has of an image and its signatures. It judges nothing.

use super::remote::{RemoteError, Repository};
use crate::rules::image::Digest;
use crate::rules::signing::cosign::{self, Signed};
use crate::rules::signing::openpgp::{MESSAGE_BYTES, artifact};
use crate::rules::signing::payload::PAYLOAD_BYTES;

/// Signatures of cosign's, and messages of OpenPGP, that are looked at.
const MOST: usize = 128;

/// Signatures that were found for an image.
#[derive(Clone, Debug, Default)]
pub struct FoundSignatures {
    /// Messages of OpenPGP.
    pub openpgp: Vec<Vec<u8>>,
    /// Payloads and signatures of cosign's.
    pub cosign: Vec<Signed>,
}

impl FoundSignatures {
    /// Those that stand in the image's repository. What is no manifest there has none; of several
    /// hundred the first ones are looked at.
    ///
    /// # Errors
    /// [`RemoteError`].
    pub async fn in_repository(
        repository: &mut Repository<'_>,
        digest: &Digest,
    ) -> Result<Self, RemoteError> {
        let mut found = Self::default();
        let there = repository.manifest(&digest.tag(cosign::ENDING)).await?;
        let named = there.and_then(|there| cosign::signatures(&there.bytes).ok());
        for named in named.unwrap_or_default().into_iter().take(MOST) {
            if let Some(payload) = blob(repository, &named.payload, PAYLOAD_BYTES).await? {
                found.cosign.push(Signed { payload, signature: named.signature });
            }
        }
        let there = repository.manifest(&digest.tag(artifact::ENDING)).await?;
        let kept = there.and_then(|there| artifact::messages(&there.bytes).ok());
        for kept in kept.unwrap_or_default().into_iter().take(MOST) {
            found.openpgp.extend(blob(repository, &kept.digest, MESSAGE_BYTES).await?);
        }
        Ok(found)
    }
}

/// A blob that a manifest names, if it is there and named by a digest that is known here.
async fn blob(
    repository: &mut Repository<'_>,
    digest: &str,
    most: usize,
) -> Result<Option<Vec<u8>>, RemoteError> {
    let Ok(digest) = digest.parse::<Digest>() else { return Ok(None) };
    Ok(repository.blob(&digest, most).await?.map(|bytes| bytes.to_vec()))
}
