//! Manifests and indexes, read as far as signing and verifying need it. What a registry sends
//! is hostile: everything is bounded, and what isn't known is refused.

use serde::Deserialize;

use super::image::Digest;

/// Bytes of a manifest, as the distribution project bounds them.
pub const MANIFEST_BYTES: usize = 4 * 1024 * 1024;
/// Manifests of an index, and layers of an image.
pub const CHILDREN: usize = 1_024;

/// The kinds of manifest that are asked for and signed.
pub const ACCEPTED: &str = "application/vnd.oci.image.manifest.v1+json, \
    application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json, \
    application/vnd.docker.distribution.manifest.list.v2+json";

/// What an OCI image manifest is called.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// What an OCI image index is called.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// Why bytes are no manifest that is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadManifest {
    /// Of a kind that isn't known: schema 1 among them, whose digest leaves part of it out.
    #[error("it is a manifest of a kind that is not signed")]
    Kind,
    /// No JSON, or not of this shape.
    #[error("it is no manifest")]
    Shape,
    /// A digest in it, or one that is not SHA-256.
    #[error("a digest in it is no sha256 digest")]
    Digest,
    /// Too many of something.
    #[error("it has more than {CHILDREN} parts")]
    Parts,
}

/// A manifest that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Manifest {
    /// One image, or an artifact.
    Image,
    /// Several: their digests, each once, in their order.
    Index(Vec<Digest>),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    schema_version: u32,
    media_type: Option<String>,
    config: Option<Part>,
    layers: Option<Vec<Part>>,
    manifests: Option<Vec<Part>>,
}

#[derive(Deserialize)]
struct Part {
    digest: String,
}

impl Manifest {
    /// Reads one that was sent as `media_type`. The kind that it says itself must be the same,
    /// and it may not be both kinds at once: else two programs could take it for two things.
    ///
    /// # Errors
    /// [`BadManifest`].
    pub fn read(media_type: &str, bytes: &[u8]) -> Result<Self, BadManifest> {
        let shape: Shape = serde_json::from_slice(bytes).map_err(|_| BadManifest::Shape)?;
        if shape.schema_version != 2 || shape.media_type.is_some_and(|own| own != media_type) {
            return Err(BadManifest::Kind);
        }
        match (media_type, shape.manifests, shape.config, shape.layers) {
            (OCI_INDEX | DOCKER_LIST, Some(parts), None, None) => {
                let mut children = digests(parts)?;
                let mut seen = std::collections::HashSet::new();
                children.retain(|child| seen.insert(*child));
                Ok(Self::Index(children))
            }
            (OCI_MANIFEST | DOCKER_MANIFEST, None, Some(config), Some(layers)) => {
                let _known: Digest = config.digest.parse().map_err(|_| BadManifest::Digest)?;
                digests(layers).map(|_| Self::Image)
            }
            (OCI_INDEX | DOCKER_LIST | OCI_MANIFEST | DOCKER_MANIFEST, ..) => {
                Err(BadManifest::Shape)
            }
            _ => Err(BadManifest::Kind),
        }
    }
}

fn digests(parts: Vec<Part>) -> Result<Vec<Digest>, BadManifest> {
    if parts.len() > CHILDREN {
        return Err(BadManifest::Parts);
    }
    let read = |part: Part| part.digest.parse().map_err(|_| BadManifest::Digest);
    parts.into_iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn part(of: &str) -> Value {
        json!({ "mediaType": "x", "size": 1, "digest": Digest::of(of.as_bytes()).to_string() })
    }

    fn read(media_type: &str, value: &Value) -> Result<Manifest, BadManifest> {
        Manifest::read(media_type, value.to_string().as_bytes())
    }

    #[test]
    fn images_and_indexes_are_read() {
        let image = json!({ "schemaVersion": 2, "config": part("c"), "layers": [part("l")] });
        assert_eq!(read(OCI_MANIFEST, &image), Ok(Manifest::Image));
        assert_eq!(read(DOCKER_MANIFEST, &image), Ok(Manifest::Image));
        let index = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX,
            "manifests": [part("a"), part("b"), part("a")] });
        let both = vec![Digest::of(b"a"), Digest::of(b"b")];
        assert_eq!(read(OCI_INDEX, &index), Ok(Manifest::Index(both)));
    }

    #[test]
    fn what_is_neither_or_both_is_refused() {
        let image = json!({ "schemaVersion": 2, "config": part("c"), "layers": [part("l")] });
        let with = |key: &str, value: Value| {
            let mut changed = image.clone();
            changed[key] = value;
            changed
        };
        let many: Vec<Value> = (0..=CHILDREN).map(|n| part(&n.to_string())).collect();
        for (kind, value, bad) in [
            ("application/vnd.docker.distribution.manifest.v1+json", &image, BadManifest::Kind),
            ("text/html", &image, BadManifest::Kind),
            (OCI_INDEX, &image, BadManifest::Shape),
            (OCI_MANIFEST, &json!([]), BadManifest::Shape),
            (OCI_MANIFEST, &json!({}), BadManifest::Shape),
            (OCI_MANIFEST, &with("schemaVersion", json!(1)), BadManifest::Kind),
            (OCI_MANIFEST, &with("mediaType", json!(OCI_INDEX)), BadManifest::Kind),
            (OCI_MANIFEST, &with("manifests", json!([part("a")])), BadManifest::Shape),
            (OCI_MANIFEST, &with("config", json!({ "digest": "sha512:00" })), BadManifest::Digest),
            (OCI_MANIFEST, &with("layers", json!([{ "digest": "../x" }])), BadManifest::Digest),
            (OCI_MANIFEST, &with("layers", json!(many)), BadManifest::Parts),
        ] {
            assert_eq!(read(kind, value), Err(bad), "{kind} {value:.120}");
        }
        assert_eq!(Manifest::read(OCI_MANIFEST, b"\xff{"), Err(BadManifest::Shape));
    }
}
