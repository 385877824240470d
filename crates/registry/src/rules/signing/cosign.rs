//! The manifest that cosign keeps signatures in, under the tag `sha256-<digits>.sig`: a layer a
//! signature, whose content is the payload and whose annotation is the signature. Signatures
//! are added to it; what is there stays.

use std::collections::{BTreeMap, BTreeSet};

use data_encoding::BASE64;
use serde_json::{Value, json};

use super::json::write;
use super::oci::{BadManifest, Blob, Listing, Merged};

/// What follows the digest in the tag.
pub const ENDING: &str = ".sig";
/// The type of a payload.
pub const PAYLOAD_TYPE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// The annotation that holds the signature.
pub const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
/// Bytes of a signature, as base64.
const SIGNATURE_TEXT: usize = 8 * 1024;
const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";
const DOCKER_CONFIG_TYPE: &str = "application/vnd.docker.container.image.v1+json";
/// The time that cosign writes where there is none: the same bytes each time.
const NO_TIME: &str = "0001-01-01T00:00:00Z";

/// A signature to be added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// The payload's bytes.
    pub payload: Vec<u8>,
    /// The signature over them, ASN.1 in DER.
    pub signature: Vec<u8>,
}

/// A signature that a manifest names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Where its payload is.
    pub payload: String,
    /// How many bytes that has.
    pub size: u64,
    /// The signature, ASN.1 in DER as it should be.
    pub signature: Vec<u8>,
    /// What else stands beside it, such as a certificate.
    pub annotations: BTreeMap<String, String>,
}

/// The manifest with these signatures in it. Those that it has already are not added twice, and
/// where it has all of them it is given back as it is. Layers of others, and what stands beside
/// them, are kept.
///
/// # Errors
/// What is there is no manifest, or has no room.
pub fn merge(existing: Option<&[u8]>, new: &[Signed]) -> Result<Merged, BadManifest> {
    let mut listing = match existing {
        Some(bytes) => Listing::read_manifest(bytes)?,
        None => Listing::manifest(None),
    };
    let mut known: BTreeSet<(String, Option<String>)> = BTreeSet::new();
    for layer in listing.descriptors()? {
        known.insert((layer.digest, layer.annotations.get(SIGNATURE).cloned()));
    }
    let mut blobs: Vec<Blob> = Vec::new();
    for Signed { payload, signature } in new {
        let blob = Blob::of(payload.clone());
        let text = BASE64.encode(signature);
        if !known.insert((blob.digest.clone(), Some(text.clone()))) {
            continue;
        }
        let mut layer = blob.descriptor(PAYLOAD_TYPE);
        if let Some(keys) = layer.as_object_mut() {
            keys.insert("annotations".to_owned(), json!({ SIGNATURE: text }));
        }
        listing.list.push(layer);
        if !blobs.contains(&blob) {
            blobs.push(blob);
        }
    }
    if blobs.is_empty()
        && let Some(bytes) = existing
    {
        let (_, media_type) = listing.write()?;
        return Ok(Merged { manifest: bytes.to_vec(), media_type, changed: false, blobs });
    }
    blobs.extend(configure(&mut listing)?);
    let (manifest, media_type) = listing.write()?;
    Ok(Merged { manifest, media_type, changed: true, blobs })
}

/// Gives the manifest a configuration that has a line for each layer: cosign goes by it when it
/// adds one. A configuration of another type says nothing of layers, and stays.
fn configure(listing: &mut Listing) -> Result<Option<Blob>, BadManifest> {
    let said = match listing.beside("config") {
        None => CONFIG_TYPE.to_owned(),
        Some(config) => {
            let said = config.get("mediaType").and_then(Value::as_str);
            said.ok_or(BadManifest::Part("config"))?.to_owned()
        }
    };
    if ![CONFIG_TYPE, DOCKER_CONFIG_TYPE].contains(&said.as_str()) {
        return Ok(None);
    }
    let layers = listing.descriptors()?;
    let digests: Vec<&str> = layers.iter().map(|layer| layer.digest.as_str()).collect();
    let history = vec![json!({ "created": NO_TIME }); layers.len()];
    let blob = Blob::of(write(&json!({
        "architecture": "", "config": {}, "created": NO_TIME, "history": history, "os": "",
        "rootfs": { "diff_ids": digests, "type": "layers" },
    })));
    listing.put("config", blob.descriptor(&said));
    Ok(Some(blob))
}

/// The signatures that a manifest names, in their order. Layers of other types are passed over,
/// and so is one whose annotation is no base64: it is the signature of nothing.
///
/// # Errors
/// It is no manifest.
pub fn signatures(manifest: &[u8]) -> Result<Vec<Named>, BadManifest> {
    let layers = Listing::read_manifest(manifest)?.descriptors()?;
    let named = layers.into_iter().filter(|layer| layer.media_type == PAYLOAD_TYPE);
    let named = named.filter_map(|mut layer| {
        let text = layer.annotations.remove(SIGNATURE)?;
        let short = text.len() <= SIGNATURE_TEXT;
        let signature = BASE64.decode(text.as_bytes()).ok().filter(|_| short)?;
        let (payload, size, annotations) = (layer.digest, layer.size, layer.annotations);
        Some(Named { payload, size, signature, annotations })
    });
    Ok(named.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::signing::oci::{LAYERS, MANIFEST, digest_of};

    fn signed(of: u8) -> Signed {
        Signed { payload: vec![b'p', of], signature: vec![b's', of] }
    }

    fn parsed(bytes: &[u8]) -> Value {
        serde_json::from_slice(bytes).expect("JSON")
    }

    #[test]
    fn signatures_are_added_once() {
        let one = merge(None, &[signed(1), signed(1)]).expect("a manifest");
        assert_eq!((one.changed, one.media_type.as_str()), (true, MANIFEST));
        let again = merge(Some(&one.manifest), &[signed(1)]).expect("a manifest");
        assert_eq!((again.changed, again.blobs.len()), (false, 0));
        assert_eq!(again.manifest, one.manifest);
        let two = merge(Some(&one.manifest), &[signed(2), signed(1)]).expect("a manifest");
        assert_eq!(two, merge(Some(&one.manifest), &[signed(2)]).expect("a manifest"));
        let named = signatures(&two.manifest).expect("a manifest");
        let found: Vec<_> = named.iter().map(|named| named.signature.as_slice()).collect();
        assert_eq!(found, [[b's', 1], [b's', 2]]);
        assert_eq!(named[1].payload, digest_of(b"p\x02"));
        // Two keys over one payload are two layers, and one blob.
        let other = Signed { signature: b"other".to_vec(), ..signed(1) };
        let both = merge(Some(&one.manifest), &[other.clone(), signed(1)]).expect("a manifest");
        assert_eq!(signatures(&both.manifest).expect("a manifest").len(), 2);
        assert_eq!(both.blobs.len(), 2, "a payload and a configuration");
        let config = both.blobs.last().expect("a configuration");
        assert_eq!(parsed(&both.manifest)["config"]["digest"], config.digest.as_str());
        let lines = parsed(&config.bytes)["rootfs"]["diff_ids"].as_array().map(Vec::len);
        assert_eq!(lines, Some(2));
    }

    #[test]
    fn what_others_wrote_stays() {
        let foreign = json!({
            "mediaType": "application/x", "digest": digest_of(b"x"), "size": 1, "urls": ["u"],
            "annotations": { "a": "b" },
        });
        let theirs = json!({
            "mediaType": PAYLOAD_TYPE, "digest": digest_of(b"y"), "size": 1,
            "annotations": { SIGNATURE: "c2ln", "dev.sigstore.cosign/bundle": "{}" },
        });
        let garbage = json!({
            "mediaType": PAYLOAD_TYPE, "digest": digest_of(b"z"), "size": 1,
            "annotations": { SIGNATURE: "%%%" },
        });
        let bare = json!({ "mediaType": PAYLOAD_TYPE, "digest": digest_of(b"0"), "size": 1 });
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "annotations": { "k": "v" },
            "config": Blob::empty().descriptor(CONFIG_TYPE),
            "layers": [foreign, theirs, garbage, bare],
        });
        let merged = merge(Some(manifest.to_string().as_bytes()), &[signed(1)]);
        let merged = parsed(&merged.expect("a manifest").manifest);
        let layers = merged["layers"].as_array().expect("layers");
        assert_eq!(layers.len(), 5);
        assert_eq!(layers[..4], [foreign, theirs, garbage, bare]);
        assert_eq!(merged["annotations"], json!({ "k": "v" }));
        let named = signatures(merged.to_string().as_bytes()).expect("a manifest");
        assert_eq!(named.len(), 2);
        assert_eq!(named[0].signature, b"sig");
        assert_eq!(named[0].annotations.len(), 1);
    }

    #[test]
    fn a_configuration_of_another_type_stays() {
        let config = Blob::empty().descriptor("application/vnd.oci.empty.v1+json");
        let manifest = json!({ "schemaVersion": 2, "config": config, "layers": [] });
        let merged = merge(Some(manifest.to_string().as_bytes()), &[signed(1)]);
        let merged = merged.expect("a manifest");
        assert_eq!(parsed(&merged.manifest)["config"], config);
        assert_eq!(merged.blobs.len(), 1);
    }

    #[test]
    fn there_is_no_room_past_a_thousand() {
        let all = (0..=LAYERS)
            .map(|at| Signed { payload: at.to_string().into_bytes(), signature: b"s".to_vec() });
        let all: Vec<_> = all.collect();
        assert_eq!(merge(None, &all), Err(BadManifest::TooMany));
        let most = merge(None, &all[1..]).expect("a manifest");
        assert_eq!(signatures(&most.manifest).map(|named| named.len()), Ok(LAYERS));
        assert_eq!(merge(Some(&most.manifest), &all[..1]), Err(BadManifest::TooMany));
        let many =
            json!({ "schemaVersion": 2, "layers": vec![Blob::empty().descriptor("x"); 10_000] });
        assert_eq!(signatures(many.to_string().as_bytes()), Err(BadManifest::TooMany));
    }
}
