//! What signatures lie in: manifests and indexes of OCI, read within bounds, and written anew
//! with everything in them that is somebody else's.

use std::collections::BTreeMap;

use data_encoding::HEXLOWER;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::json::{Fields, read, write};
use crate::rules::hold::is_digest;

/// A manifest of OCI.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// An index of OCI.
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// The configuration of what has none.
pub const EMPTY: &str = "application/vnd.oci.empty.v1+json";
/// A manifest of Docker, which cosign writes where it is told to.
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Bytes of a manifest or an index.
pub const MANIFEST_BYTES: usize = 4 * 1024 * 1024;
/// Layers of a manifest, and entries of an index.
pub const LAYERS: usize = 1000;
/// Annotations of one layer.
const ANNOTATIONS: usize = 64;

/// Why a manifest is not taken. It holds nothing of the manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadManifest {
    /// Too much.
    #[error("the manifest is larger than {MANIFEST_BYTES} bytes")]
    Size,
    /// No JSON, or a key that stands twice.
    #[error("the manifest doesn't read, at line {line}, column {column}")]
    Json {
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
    },
    /// A part of another kind than it has to be.
    #[error("the manifest has no sound `{0}`")]
    Part(&'static str),
    /// More than a manifest of signatures may have.
    #[error("the manifest has more than {LAYERS} layers")]
    TooMany,
}

impl From<serde_json::Error> for BadManifest {
    fn from(error: serde_json::Error) -> Self {
        Self::Json { line: error.line(), column: error.column() }
    }
}

/// The digest of these bytes: `sha256:` and 64 lower-case digits.
#[must_use]
pub fn digest_of(bytes: &[u8]) -> String {
    format!("sha256:{}", HEXLOWER.encode(&Sha256::digest(bytes)))
}

/// The tag of what belongs to a digest: `sha256-`, its digits, and an ending such as `.sig`.
#[must_use]
pub fn tag_of(digest: &str, ending: &str) -> String {
    format!("{}{ending}", digest.replacen(':', "-", 1))
}

/// Something that is pushed before what names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    /// `sha256:` and 64 digits.
    pub digest: String,
    /// The content.
    pub bytes: Vec<u8>,
}

impl Blob {
    /// Of these bytes.
    #[must_use]
    pub fn of(bytes: Vec<u8>) -> Self {
        Self { digest: digest_of(&bytes), bytes }
    }

    /// `{}`, which stands where something has no configuration.
    #[must_use]
    pub fn empty() -> Self {
        Self::of(b"{}".to_vec())
    }

    /// How it is named.
    #[must_use]
    pub fn descriptor(&self, media_type: &str) -> Value {
        json!({ "digest": self.digest, "mediaType": media_type, "size": self.bytes.len() })
    }
}

/// A manifest with everything in it that has to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merged {
    /// Its bytes.
    pub manifest: Vec<u8>,
    /// Its type.
    pub media_type: String,
    /// False where what was there had everything already: its bytes are those that were given.
    pub changed: bool,
    /// What has to be pushed before it.
    pub blobs: Vec<Blob>,
}

/// What a manifest or an index names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// Its type.
    pub media_type: String,
    /// Its digest.
    pub digest: String,
    /// Its bytes.
    pub size: u64,
    /// What is said of it.
    pub annotations: BTreeMap<String, String>,
}

impl Descriptor {
    /// Reads one.
    ///
    /// # Errors
    /// It has no type, no digest or no size, or an annotation that is no text.
    pub fn read(value: &Value) -> Result<Self, BadManifest> {
        let text = |key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
        let media_type = text("mediaType").ok_or(BadManifest::Part("mediaType"))?;
        let digest = text("digest").filter(|digest| is_digest(digest));
        let digest = digest.ok_or(BadManifest::Part("digest"))?;
        let size = value.get("size").and_then(Value::as_u64).ok_or(BadManifest::Part("size"))?;
        let annotations = match value.get("annotations") {
            None | Some(Value::Null) => BTreeMap::new(),
            Some(Value::Object(map)) if map.len() <= ANNOTATIONS => {
                let pair = |(key, value): (&String, &Value)| {
                    value.as_str().map(|value| (key.clone(), value.to_owned()))
                };
                let all: Option<BTreeMap<_, _>> = map.iter().map(pair).collect();
                all.ok_or(BadManifest::Part("annotations"))?
            }
            Some(_) => return Err(BadManifest::Part("annotations")),
        };
        Ok(Self { media_type, digest, size, annotations })
    }
}

/// A manifest or an index: its list, and what stands beside it.
#[derive(Debug)]
pub(super) struct Listing {
    rest: Map<String, Value>,
    key: &'static str,
    pub(super) list: Vec<Value>,
}

impl Listing {
    /// A manifest without layers, with this type of artifact where it has one.
    pub(super) fn manifest(artifact: Option<&str>) -> Self {
        let mut rest = Map::new();
        rest.insert("schemaVersion".to_owned(), Value::from(2));
        rest.insert("mediaType".to_owned(), Value::from(MANIFEST));
        if let Some(artifact) = artifact {
            rest.insert("artifactType".to_owned(), Value::from(artifact));
        }
        Self { rest, key: "layers", list: Vec::new() }
    }

    /// An index without entries.
    pub(super) fn index() -> Self {
        let mut rest = Map::new();
        rest.insert("schemaVersion".to_owned(), Value::from(2));
        rest.insert("mediaType".to_owned(), Value::from(INDEX));
        Self { rest, key: "manifests", list: Vec::new() }
    }

    /// Reads a manifest.
    pub(super) fn read_manifest(bytes: &[u8]) -> Result<Self, BadManifest> {
        Self::read(bytes, "layers", &[MANIFEST, DOCKER_MANIFEST])
    }

    /// Reads an index.
    pub(super) fn read_index(bytes: &[u8]) -> Result<Self, BadManifest> {
        Self::read(bytes, "manifests", &[INDEX])
    }

    fn read(bytes: &[u8], key: &'static str, types: &[&str]) -> Result<Self, BadManifest> {
        if bytes.len() > MANIFEST_BYTES {
            return Err(BadManifest::Size);
        }
        let mut fields = Fields::of(read(bytes)?).ok_or(BadManifest::Part("content"))?;
        let list = fields.list(key).ok_or(BadManifest::Part(key))?;
        if list.len() > LAYERS {
            return Err(BadManifest::TooMany);
        }
        for entry in &list {
            Descriptor::read(entry)?;
        }
        let rest = fields.rest();
        let is_known = match rest.get("mediaType") {
            None => true, // which OCI allows
            Some(Value::String(text)) => types.contains(&text.as_str()),
            Some(_) => false,
        };
        if !is_known {
            return Err(BadManifest::Part("mediaType"));
        }
        if rest.get("schemaVersion").and_then(Value::as_u64) != Some(2) {
            return Err(BadManifest::Part("schemaVersion"));
        }
        Ok(Self { rest, key, list })
    }

    /// What is named.
    pub(super) fn descriptors(&self) -> Result<Vec<Descriptor>, BadManifest> {
        self.list.iter().map(Descriptor::read).collect()
    }

    /// What stands beside the list.
    pub(super) fn beside(&self, key: &str) -> Option<&Value> {
        self.rest.get(key)
    }

    /// Puts something beside the list.
    pub(super) fn put(&mut self, key: &str, value: Value) {
        self.rest.insert(key.to_owned(), value);
    }

    /// Its bytes and its type.
    ///
    /// # Errors
    /// [`BadManifest::TooMany`] or [`BadManifest::Size`]: it would not be read.
    pub(super) fn write(mut self) -> Result<(Vec<u8>, String), BadManifest> {
        if self.list.len() > LAYERS {
            return Err(BadManifest::TooMany);
        }
        let said = self.rest.get("mediaType").and_then(Value::as_str);
        let default = if self.key == "layers" { MANIFEST } else { INDEX };
        let media_type = said.unwrap_or(default).to_owned();
        self.rest.insert(self.key.to_owned(), Value::Array(self.list));
        let bytes = write(&Value::Object(self.rest));
        if bytes.len() > MANIFEST_BYTES { Err(BadManifest::Size) } else { Ok((bytes, media_type)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(of: u8) -> Value {
        Blob::of(vec![of]).descriptor("application/x")
    }

    #[test]
    fn what_is_somebody_elses_stays() {
        let text = json!({
            "schemaVersion": 2, "config": layer(0), "layers": [layer(1)], "annotations": {"a": "b"},
            "subject": layer(2), "new": [1, {"x": null}],
        });
        let read = Listing::read_manifest(text.to_string().as_bytes()).expect("a manifest");
        let (bytes, media_type) = read.write().expect("a manifest");
        assert_eq!(media_type, MANIFEST);
        assert_eq!(serde_json::from_slice::<Value>(&bytes).expect("JSON"), text);
    }

    #[test]
    fn what_is_no_manifest_is_refused() {
        let part = |key: &'static str, value: Value| {
            let mut text = json!({ "schemaVersion": 2, "mediaType": MANIFEST, "layers": [] });
            text.as_object_mut().expect("an object").insert(key.to_owned(), value);
            Listing::read_manifest(text.to_string().as_bytes()).map(|_| ())
        };
        assert_eq!(part("x", json!(1)), Ok(()));
        assert_eq!(part("mediaType", json!(DOCKER_MANIFEST)), Ok(()));
        for (key, value) in [
            ("mediaType", json!(INDEX)),
            ("mediaType", json!(null)),
            ("schemaVersion", json!(1)),
            ("schemaVersion", json!("2")),
            ("layers", json!({})),
            ("layers", json!(null)),
        ] {
            assert_eq!(part(key, value.clone()), Err(BadManifest::Part(key)), "{value}");
        }
        for (key, value) in [
            ("mediaType", json!(1)),
            ("digest", json!("sha256:0")),
            ("digest", json!("../../etc")),
            ("size", json!(-1)),
            ("size", json!("1")),
            ("annotations", json!([])),
            ("annotations", json!({ "a": 1 })),
        ] {
            let mut bad = layer(1);
            bad.as_object_mut().expect("an object").insert(key.to_owned(), value.clone());
            let refused = Err(BadManifest::Part(key));
            assert_eq!(part("layers", json!([layer(0), bad])), refused, "{value}");
        }
        let many = vec![layer(0); 10_000];
        assert_eq!(part("layers", json!(many)), Err(BadManifest::TooMany));
        let large = " ".repeat(MANIFEST_BYTES + 1);
        assert!(matches!(Listing::read_manifest(large.as_bytes()), Err(BadManifest::Size)));
        for bad in ["", "[]", "{\"layers\":[],\"layers\":[]}", "\u{0}", "null"] {
            assert!(Listing::read_manifest(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_tag_is_told_by_the_digest() {
        let digest = digest_of(b"abc");
        assert!(digest.starts_with("sha256:ba7816bf"), "{digest}");
        assert_eq!(tag_of(&digest, ".sig"), format!("sha256-{}.sig", digest.split_at(7).1));
    }
}
