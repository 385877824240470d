//! The manifest that keeps signed messages in a registry, under the tag `sha256-<digits>.pgp`: a
//! layer a message. What a lookaside serves is read from it.

use serde_json::json;

use crate::rules::signing::oci::{BadManifest, Blob, EMPTY, Listing, Merged};

/// What follows the digest in the tag.
pub const ENDING: &str = ".pgp";
/// The type of the artifact.
pub const ARTIFACT_TYPE: &str = "application/vnd.skep.openpgp.signatures.v1";
/// The type of a layer: a signed message of OpenPGP.
pub const MESSAGE_TYPE: &str = "application/vnd.skep.openpgp.signature.v1";
/// The annotation with the fingerprint of the key that signed.
pub const KEY: &str = "skep.key";
/// The annotation with the reference that was signed.
pub const REFERENCE: &str = "skep.reference";

/// A message to be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewMessage {
    /// Its bytes.
    pub message: Vec<u8>,
    /// The fingerprint of the key that signed it.
    pub fingerprint: String,
    /// The reference that it is about.
    pub reference: String,
}

/// A message that a manifest names. What it says of it is a hint, and proves nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptMessage {
    /// Where it is.
    pub digest: String,
    /// How many bytes it has.
    pub size: u64,
    /// Whose it is said to be.
    pub fingerprint: Option<String>,
    /// What it is said to be about.
    pub reference: Option<String>,
}

/// The manifest with these messages in it. Of one key and one reference one message stays: a new
/// one takes the place of what is there, so whoever signs again looks first whether what is
/// there is sound. Layers of others are kept.
///
/// # Errors
/// What is there is no manifest, or has no room.
pub fn merge(existing: Option<&[u8]>, new: &[NewMessage]) -> Result<Merged, BadManifest> {
    let mut listing = match existing {
        Some(bytes) => Listing::read_manifest(bytes)?,
        None => Listing::manifest(Some(ARTIFACT_TYPE)),
    };
    let before = listing.list.clone();
    let mut blobs = Vec::new();
    for NewMessage { message, fingerprint, reference } in new {
        let blob = Blob::of(message.clone());
        let mut layer = blob.descriptor(MESSAGE_TYPE);
        if let Some(keys) = layer.as_object_mut() {
            let said = json!({ KEY: fingerprint, REFERENCE: reference });
            keys.insert("annotations".to_owned(), said);
        }
        let kept = listing.descriptors()?;
        let is_same = |at: usize| {
            kept.get(at).is_some_and(|kept| {
                kept.media_type == MESSAGE_TYPE
                    && kept.annotations.get(KEY) == Some(fingerprint)
                    && kept.annotations.get(REFERENCE) == Some(reference)
            })
        };
        let same: Vec<usize> = (0..kept.len()).filter(|at| is_same(*at)).collect();
        for at in same.iter().rev() {
            listing.list.remove(*at);
        }
        let at = same.first().copied().unwrap_or(listing.list.len());
        listing.list.insert(at, layer);
        blobs.push(blob);
    }
    if let Some(bytes) = existing
        && listing.list == before
    {
        let (_, media_type) = listing.write()?;
        return Ok(Merged { manifest: bytes.to_vec(), media_type, changed: false, blobs: vec![] });
    }
    if listing.beside("config").is_none() {
        let empty = Blob::empty();
        listing.put("config", empty.descriptor(EMPTY));
        blobs.push(empty);
    }
    let (manifest, media_type) = listing.write()?;
    Ok(Merged { manifest, media_type, changed: true, blobs })
}

/// The messages that a manifest names, in their order; layers of other types are passed over.
///
/// # Errors
/// It is no manifest.
pub fn messages(manifest: &[u8]) -> Result<Vec<KeptMessage>, BadManifest> {
    let layers = Listing::read_manifest(manifest)?.descriptors()?;
    let layers = layers.into_iter().filter(|layer| layer.media_type == MESSAGE_TYPE);
    let kept = layers.map(|mut layer| KeptMessage {
        fingerprint: layer.annotations.remove(KEY),
        reference: layer.annotations.remove(REFERENCE),
        digest: layer.digest,
        size: layer.size,
    });
    Ok(kept.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn message(of: &str, fingerprint: &str, reference: &str) -> NewMessage {
        let (fingerprint, reference) = (fingerprint.to_owned(), reference.to_owned());
        NewMessage { message: of.as_bytes().to_vec(), fingerprint, reference }
    }

    #[test]
    fn of_one_key_and_one_reference_one_message_stays() {
        let first = merge(None, &[message("1", "A", "h/a:1"), message("2", "B", "h/a:1")]);
        let first = first.expect("a manifest");
        let parsed: Value = serde_json::from_slice(&first.manifest).expect("JSON");
        assert_eq!(parsed["artifactType"], ARTIFACT_TYPE);
        assert_eq!(parsed["config"]["digest"], Blob::empty().digest.as_str());
        assert_eq!(first.blobs.len(), 3);
        let again = merge(Some(&first.manifest), &[message("1", "A", "h/a:1")]);
        let again = again.expect("a manifest");
        assert_eq!((again.changed, &again.manifest), (false, &first.manifest));
        let newer = [message("3", "A", "h/a:1"), message("4", "A", "h/a:2")];
        let newer = merge(Some(&first.manifest), &newer).expect("a manifest");
        let kept = messages(&newer.manifest).expect("a manifest");
        let said: Vec<_> = kept.iter().map(|kept| kept.digest.clone()).collect();
        assert_eq!(said, ["3", "2", "4"].map(|of| Blob::of(of.as_bytes().to_vec()).digest));
        assert_eq!(kept[2].reference.as_deref(), Some("h/a:2"));
        assert_eq!(newer.blobs.len(), 2);
    }

    #[test]
    fn what_others_wrote_stays() {
        let foreign = Blob::of(vec![1]).descriptor("application/x");
        let bare = Blob::of(vec![2]).descriptor(MESSAGE_TYPE);
        let config = Blob::of(vec![3]).descriptor("application/y");
        let manifest = json!({ "schemaVersion": 2, "config": config, "layers": [foreign, bare] });
        let merged = merge(Some(manifest.to_string().as_bytes()), &[message("1", "A", "r")]);
        let merged = merged.expect("a manifest");
        let parsed: Value = serde_json::from_slice(&merged.manifest).expect("JSON");
        assert_eq!(parsed["config"], config);
        assert_eq!(parsed["layers"].as_array().map(Vec::len), Some(3));
        assert_eq!([&parsed["layers"][0], &parsed["layers"][1]], [&foreign, &bare]);
        assert_eq!(messages(&merged.manifest).map(|kept| kept.len()), Ok(2));
        assert!(merge(Some(b"{}"), &[]).is_err());
    }
}
