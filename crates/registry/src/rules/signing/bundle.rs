//! The signature as cosign 3 and sigstore's libraries take it: a bundle of version 0.3 with a
//! statement of in-toto in a DSSE envelope, as an artifact of OCI 1.1 that names the image it is
//! about; and the index that stands in where a registry has no list of such artifacts.

use std::collections::BTreeMap;

use data_encoding::BASE64;
use serde_json::{Value, json};

use super::cosign_key::{CosignKey, CosignPublic};
use super::json::{read, write};
use super::oci::{BadManifest, Blob, EMPTY, Listing, MANIFEST, Merged};

/// The type of a bundle.
pub const BUNDLE_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
/// What cosign 3 says of an image: that it is signed.
pub const PREDICATE_TYPE: &str = "https://sigstore.dev/cosign/sign/v1";
/// Bytes of a bundle.
pub const BUNDLE_BYTES: usize = 256 * 1024;
const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
const CONTENT: &str = "dev.sigstore.bundle.content";
const PREDICATE: &str = "dev.sigstore.bundle.predicateType";

/// Why a bundle is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadBundle {
    /// Too much.
    #[error("the bundle is larger than {BUNDLE_BYTES} bytes")]
    Size,
    /// Not one statement with one signature, or of another type.
    #[error("the bundle has no sound `{0}`")]
    Part(&'static str),
    /// By another key, or over another text.
    #[error("the bundle is not signed by this key")]
    Key,
    /// It is about another image.
    #[error("the bundle is about another digest")]
    Digest,
}

/// The statement that is signed: that the image with this digest (`sha256:` and 64 digits) is
/// signed, with these annotations.
fn statement(digest: &str, annotations: &BTreeMap<String, String>) -> Vec<u8> {
    let digits = digest.strip_prefix("sha256:").unwrap_or(digest);
    let mut subject = json!({ "digest": { "sha256": digits } });
    if let Some(keys) = subject.as_object_mut()
        && !annotations.is_empty()
    {
        keys.insert("annotations".to_owned(), json!(annotations));
    }
    write(&json!({
        "_type": STATEMENT_TYPE, "predicate": {}, "predicateType": PREDICATE_TYPE,
        "subject": [subject],
    }))
}

/// What is signed of a DSSE envelope: its type and its payload, each behind its length.
fn signed_bytes(payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {PAYLOAD_TYPE} {} ", PAYLOAD_TYPE.len(), payload.len());
    [head.as_bytes(), payload].concat()
}

/// The bundle of this key for the image with this digest. The same bytes each time.
#[must_use]
pub fn sign(key: &CosignKey, digest: &str, annotations: &BTreeMap<String, String>) -> Vec<u8> {
    let payload = statement(digest, annotations);
    let signature = key.sign(&signed_bytes(&payload));
    write(&json!({
        "mediaType": BUNDLE_TYPE,
        "dsseEnvelope": {
            "payload": BASE64.encode(&payload), "payloadType": PAYLOAD_TYPE,
            "signatures": [{ "sig": BASE64.encode(&signature) }],
        },
        "verificationMaterial": { "publicKey": { "hint": key.public().hint() } },
    }))
}

/// Whether a bundle says, signed by this key, that the image with this digest is signed; what
/// annotations it has.
///
/// # Errors
/// [`BadBundle`].
pub fn verify(
    bundle: &[u8],
    key: &CosignPublic,
    digest: &str,
) -> Result<BTreeMap<String, String>, BadBundle> {
    if bundle.len() > BUNDLE_BYTES {
        return Err(BadBundle::Size);
    }
    let bundle = read(bundle).map_err(|_| BadBundle::Part("content"))?;
    let text =
        |value: &Value, at: &str| value.pointer(at).and_then(Value::as_str).map(str::to_owned);
    let is = |value: &Value, at: &str, said: &str| text(value, at).as_deref() == Some(said);
    let bytes = |value: &Value, at: &str| {
        text(value, at).and_then(|text| BASE64.decode(text.as_bytes()).ok())
    };
    if !is(&bundle, "/mediaType", BUNDLE_TYPE) {
        return Err(BadBundle::Part("mediaType"));
    }
    let envelope = bundle.get("dsseEnvelope").ok_or(BadBundle::Part("dsseEnvelope"))?;
    if !is(envelope, "/payloadType", PAYLOAD_TYPE) {
        return Err(BadBundle::Part("payloadType"));
    }
    let count = envelope.get("signatures").and_then(Value::as_array).map(Vec::len);
    let signature = bytes(envelope, "/signatures/0/sig").filter(|_| count == Some(1));
    let signature = signature.ok_or(BadBundle::Part("signatures"))?;
    let payload = bytes(envelope, "/payload").ok_or(BadBundle::Part("payload"))?;
    if !key.verify(&signed_bytes(&payload), &signature) {
        return Err(BadBundle::Key);
    }
    let statement = read(&payload).map_err(|_| BadBundle::Part("payload"))?;
    if !is(&statement, "/_type", STATEMENT_TYPE)
        || !is(&statement, "/predicateType", PREDICATE_TYPE)
    {
        return Err(BadBundle::Part("predicateType"));
    }
    let subjects = statement.get("subject").and_then(Value::as_array);
    let Some([subject]) = subjects.map(Vec::as_slice) else {
        return Err(BadBundle::Part("subject"));
    };
    let said = text(subject, "/digest/sha256").ok_or(BadBundle::Part("subject"))?;
    if digest.strip_prefix("sha256:") != Some(said.as_str()) {
        return Err(BadBundle::Digest);
    }
    let annotations = subject.get("annotations").and_then(Value::as_object).into_iter().flatten();
    let pair = |(key, value): (&String, &Value)| Some((key.clone(), value.as_str()?.to_owned()));
    Ok(annotations.filter_map(pair).collect())
}

/// The manifest of an image that an artifact is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// Its type.
    pub media_type: String,
    /// Its digest.
    pub digest: String,
    /// Its bytes.
    pub size: u64,
}

/// A bundle as it lies in a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artifact {
    /// Its manifest, whose type is that of OCI: it is pushed under its own digest.
    pub manifest: Blob,
    /// What has to be pushed before it.
    pub blobs: Vec<Blob>,
    /// How an index names it.
    entry: Value,
}

/// The artifact of a bundle about this image. The same bytes each time: cosign says here when it
/// was made, and nobody reads it.
///
/// # Errors
/// [`BadManifest`]: none in practice.
pub fn artifact(bundle: &[u8], subject: &Subject) -> Result<Artifact, BadManifest> {
    let (bundle, empty) = (Blob::of(bundle.to_vec()), Blob::empty());
    let annotations = json!({ CONTENT: "dsse-envelope", PREDICATE: PREDICATE_TYPE });
    let mut listing = Listing::manifest(Some(BUNDLE_TYPE));
    listing.put("config", empty.descriptor(EMPTY));
    listing.list.push(bundle.descriptor(BUNDLE_TYPE));
    let Subject { media_type, digest, size } = subject;
    listing.put("subject", json!({ "digest": digest, "mediaType": media_type, "size": size }));
    listing.put("annotations", annotations.clone());
    let (bytes, _) = listing.write()?;
    let manifest = Blob::of(bytes);
    let mut entry = manifest.descriptor(MANIFEST);
    if let Some(keys) = entry.as_object_mut() {
        keys.insert("artifactType".to_owned(), Value::from(BUNDLE_TYPE));
        keys.insert("annotations".to_owned(), annotations);
    }
    Ok(Artifact { manifest, blobs: vec![bundle, empty], entry })
}

/// The index under the tag `sha256-<digits>` with these artifacts in it, for a registry that has
/// no list of them. What it names already stays as it is.
///
/// # Errors
/// What is there is no index, or has no room.
pub fn fallback(existing: Option<&[u8]>, new: &[Artifact]) -> Result<Merged, BadManifest> {
    let mut listing = match existing {
        Some(bytes) => Listing::read_index(bytes)?,
        None => Listing::index(),
    };
    let known = listing.descriptors()?;
    let mut changed = existing.is_none();
    for Artifact { manifest, entry, .. } in new {
        let same =
            |entry: &Value| entry.get("digest").and_then(Value::as_str) == Some(&manifest.digest);
        if !known.iter().any(|known| known.digest == manifest.digest)
            && !listing.list.iter().any(same)
        {
            listing.list.push(entry.clone());
            changed = true;
        }
    }
    let (bytes, media_type) = listing.write()?;
    let manifest = existing.filter(|_| !changed).map_or(bytes, <[u8]>::to_vec);
    Ok(Merged { manifest, media_type, changed, blobs: Vec::new() })
}

/// What an index, or the list of a registry, names as bundles that say that an image is signed.
///
/// # Errors
/// It is no index.
pub fn bundles(index: &[u8]) -> Result<Vec<(String, u64)>, BadManifest> {
    let listing = Listing::read_index(index)?;
    let named = listing.list.iter().zip(listing.descriptors()?);
    let ours = named.filter(|(entry, named)| {
        let kind = entry.get("artifactType").and_then(Value::as_str);
        let predicate = named.annotations.get(PREDICATE);
        // cosign itself leaves the annotations out of an index of its own.
        kind == Some(BUNDLE_TYPE) && predicate.is_none_or(|said| said == PREDICATE_TYPE)
    });
    Ok(ours.map(|(_, named)| (named.digest, named.size)).collect())
}

/// Where the bundle of an artifact is, and how many bytes it has.
///
/// # Errors
/// It is no artifact with one bundle that is about this digest.
pub fn bundle_of(manifest: &[u8], subject: &str) -> Result<(String, u64), BadManifest> {
    let listing = Listing::read_manifest(manifest)?;
    let about = listing.beside("subject").and_then(|subject| subject.get("digest"));
    if about.and_then(Value::as_str) != Some(subject) {
        return Err(BadManifest::Part("subject"));
    }
    match listing.descriptors()?.as_slice() {
        [bundle] if bundle.media_type == BUNDLE_TYPE => Ok((bundle.digest.clone(), bundle.size)),
        _ => Err(BadManifest::Part("layers")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::signing::cosign_key::tests::key;
    use crate::rules::signing::oci::{INDEX, digest_of};

    fn image() -> String {
        digest_of(b"image")
    }

    fn subject() -> Subject {
        Subject { media_type: MANIFEST.to_owned(), digest: image(), size: 5 }
    }

    fn none() -> BTreeMap<String, String> {
        BTreeMap::new()
    }

    #[test]
    fn a_bundle_is_of_its_key_and_its_image() {
        let said = BTreeMap::from([("account".to_owned(), "ci".to_owned())]);
        let bundle = sign(&key(1), &image(), &said);
        assert_eq!(sign(&key(1), &image(), &said), bundle, "the same bytes each time");
        let public = key(1).public();
        assert_eq!(verify(&bundle, &public, &image()), Ok(said));
        assert_eq!(verify(&bundle, &key(2).public(), &image()), Err(BadBundle::Key));
        assert_eq!(verify(&bundle, &public, &digest_of(b"other")), Err(BadBundle::Digest));
        let text = String::from_utf8(bundle.clone()).expect("text");
        let material = text.find("verificationMaterial").expect("what says the key");
        for place in 0..bundle.len() {
            let mut changed = bundle.clone();
            changed[place] ^= 1;
            let verified = verify(&changed, &public, &image());
            // The hint says which key it may be, and proves nothing.
            assert!(verified.is_err() || place >= material, "changed at {place}");
            assert!(verify(&bundle[..place], &public, &image()).is_err(), "cut at {place}");
        }
        assert_eq!(verify(&vec![b' '; BUNDLE_BYTES + 1], &public, &image()), Err(BadBundle::Size));
    }

    #[test]
    fn the_statement_is_the_one_of_cosign() {
        let statement = String::from_utf8(statement(&image(), &none())).expect("text");
        let digits = image().replacen("sha256:", "", 1);
        let known = format!(
            "{{\"_type\":\"https://in-toto.io/Statement/v1\",\"predicate\":{{}},\
             \"predicateType\":\"https://sigstore.dev/cosign/sign/v1\",\
             \"subject\":[{{\"digest\":{{\"sha256\":\"{digits}\"}}}}]}}"
        );
        assert_eq!(statement, known);
        let pae = String::from_utf8(signed_bytes(b"{}")).expect("text");
        assert_eq!(pae, "DSSEv1 28 application/vnd.in-toto+json 2 {}");
    }

    #[test]
    fn an_artifact_names_its_image_and_an_index_names_it_once() {
        let bundle = sign(&key(1), &image(), &none());
        let one = artifact(&bundle, &subject()).expect("an artifact");
        assert_eq!(artifact(&bundle, &subject()).as_ref(), Ok(&one));
        assert_eq!(
            bundle_of(&one.manifest.bytes, &image()).map(|(at, _)| at),
            Ok(digest_of(&bundle))
        );
        let other = bundle_of(&one.manifest.bytes, &digest_of(b"other"));
        assert_eq!(other, Err(BadManifest::Part("subject")));
        let index = fallback(None, std::slice::from_ref(&one)).expect("an index");
        assert_eq!((index.changed, index.media_type.as_str()), (true, INDEX));
        let again = fallback(Some(&index.manifest), &[one.clone(), one.clone()]).expect("an index");
        assert_eq!((again.changed, &again.manifest), (false, &index.manifest));
        let two = artifact(&sign(&key(2), &image(), &none()), &subject()).expect("an artifact");
        let both = fallback(Some(&index.manifest), &[one.clone(), two.clone()]).expect("an index");
        let named: Vec<_> =
            bundles(&both.manifest).expect("an index").into_iter().map(|(at, _)| at).collect();
        assert_eq!(named, [one.manifest.digest, two.manifest.digest]);
    }

    #[test]
    fn an_index_of_others_is_kept() {
        let foreign = Blob::of(vec![1]).descriptor(MANIFEST);
        let mut bare = Blob::of(vec![2]).descriptor(MANIFEST);
        bare["artifactType"] = json!(BUNDLE_TYPE);
        let mut attestation = Blob::of(vec![3]).descriptor(MANIFEST);
        attestation["artifactType"] = json!(BUNDLE_TYPE);
        attestation["annotations"] = json!({ PREDICATE: "https://slsa.dev/provenance/v1" });
        let index = json!({
            "schemaVersion": 2, "mediaType": INDEX, "manifests": [foreign, bare, attestation],
            "annotations": { "a": "b" },
        });
        let one = artifact(b"bundle", &subject()).expect("an artifact");
        let merged = fallback(Some(index.to_string().as_bytes()), &[one]).expect("an index");
        let parsed: Value = serde_json::from_slice(&merged.manifest).expect("JSON");
        assert_eq!(parsed["manifests"].as_array().map(Vec::len), Some(4));
        assert_eq!(parsed["manifests"][2], attestation);
        assert_eq!(parsed["annotations"], index["annotations"]);
        assert_eq!(bundles(&merged.manifest).map(|named| named.len()), Ok(2));
        assert!(fallback(Some(b"[]"), &[]).is_err());
        let many = json!({ "schemaVersion": 2, "manifests": vec![foreign; 10_000] });
        assert_eq!(bundles(many.to_string().as_bytes()), Err(BadManifest::TooMany));
    }
}
