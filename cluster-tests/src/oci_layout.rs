//! Images in a folder, as skopeo copies them to a registry.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// A folder with one image, which is called `1` there.
#[derive(Debug)]
pub struct OciLayout {
    folder: PathBuf,
    /// The digest of what `1` is.
    pub digest: String,
}

impl OciLayout {
    /// An image of one layer with this content.
    ///
    /// # Panics
    /// When the folder can't be written.
    #[must_use]
    pub fn image(folder: &Path, content: &str) -> Self {
        let folder = folder.to_owned();
        let of = Self { folder, digest: String::new() };
        let manifest = of.manifest(content, "amd64");
        of.called(&manifest)
    }

    /// An index of an image for each of these architectures.
    ///
    /// # Panics
    /// When the folder can't be written.
    #[must_use]
    pub fn index(folder: &Path, architectures: &[&str]) -> Self {
        let of = Self { folder: folder.to_owned(), digest: String::new() };
        let manifests: Vec<Value> = architectures
            .iter()
            .map(|architecture| {
                let mut manifest = of.manifest(architecture, architecture);
                manifest["platform"] = json!({ "architecture": architecture, "os": "linux" });
                manifest
            })
            .collect();
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests });
        let index = of.blob(index.to_string().as_bytes(), INDEX);
        of.called(&index)
    }

    /// As skopeo names it.
    #[must_use]
    pub fn source(&self) -> String {
        format!("oci:{}:1", self.folder.display())
    }

    fn manifest(&self, content: &str, architecture: &str) -> Value {
        let layer = self.blob(content.as_bytes(), LAYER);
        let config = json!({ "architecture": architecture, "os": "linux", "config": {},
            "rootfs": { "type": "layers", "diff_ids": [layer["digest"]] } });
        let config = self.blob(config.to_string().as_bytes(), CONFIG);
        let manifest = json!({ "schemaVersion": 2, "mediaType": MANIFEST,
            "config": config, "layers": [layer] });
        self.blob(manifest.to_string().as_bytes(), MANIFEST)
    }

    /// Writes a blob; how it is named.
    fn blob(&self, bytes: &[u8], media_type: &str) -> Value {
        let hex = data_encoding::HEXLOWER.encode(&Sha256::digest(bytes));
        let blobs = self.folder.join("blobs/sha256");
        fs::create_dir_all(&blobs).expect("a folder");
        fs::write(blobs.join(&hex), bytes).expect("a blob");
        json!({ "mediaType": media_type, "digest": format!("sha256:{hex}"), "size": bytes.len() })
    }

    fn called(self, manifest: &Value) -> Self {
        let write = |name: &str, value: Value| {
            fs::write(self.folder.join(name), value.to_string()).expect("a file");
        };
        let mut named = manifest.clone();
        named["annotations"] = json!({ "org.opencontainers.image.ref.name": "1" });
        write("oci-layout", json!({ "imageLayoutVersion": "1.0.0" }));
        write("index.json", json!({ "schemaVersion": 2, "manifests": [named] }));
        let digest = manifest["digest"].as_str().expect("a digest").to_owned();
        Self { digest, ..self }
    }
}
