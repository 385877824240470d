//! The real registry (Debian's docker-registry 2.8.2) takes the tokens, and skopeo uses them.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::server::{Server, until};
use crate::site::{Robot, Site};

struct Registry {
    child: Child,
    address: SocketAddr,
    folder: TempDir,
}

fn put(path: &Path, text: &[u8]) {
    std::io::Write::write_all(&mut fs::File::create(path).unwrap(), text).unwrap();
}

impl Registry {
    fn start(site: &Site, realm: SocketAddr) -> Self {
        let folder = TempDir::new().unwrap();
        let at = |name: &str| folder.path().join(name);
        put(&at("root.crt"), site.authority.root.as_bytes());
        let config = format!(
            "version: 0.1
log: {{accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {}}}}}
http: {{addr: '127.0.0.1:0'}}
auth:
  token:
    realm: http://{realm}/auth
    service: registry
    issuer: skep
    rootcertbundle: {}
",
            at("data").display(),
            at("root.crt").display()
        );
        put(&at("config.yml"), config.as_bytes());
        let log = at("log");
        let file = fs::File::create(&log).unwrap();
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", "docker-registry", "serve"]);
        command.arg(at("config.yml")).stdin(Stdio::null());
        let mut child = command.stdout(file.try_clone().unwrap()).stderr(file).spawn().unwrap();
        let address = until("a registry", || {
            let said = fs::read_to_string(&log).unwrap();
            assert!(child.try_wait().unwrap().is_none(), "it ended: {said}");
            let rest = said.split("listening on ").nth(1)?;
            rest.split(['"', ' ', '\n', ',']).next()?.parse().ok()
        });
        Self { child, address, folder }
    }

    /// Copies an image there, or from there.
    fn push(&self, robot: &Robot, image: &str) -> Result<(), String> {
        let from = format!("oci:{}:1", self.image().display());
        let creds = format!("{}:{}", robot.name, robot.password);
        let to = format!("docker://{}/{image}", self.address);
        skopeo(&["copy", "--dest-tls-verify=false", "--dest-creds", &creds, &from, &to])
    }

    fn pull(&self, robot: &Robot, image: &str) -> Result<(), String> {
        let to = TempDir::new().unwrap();
        let creds = format!("{}:{}", robot.name, robot.password);
        let from = format!("docker://{}/{image}", self.address);
        let to = format!("dir:{}", to.path().display());
        skopeo(&["copy", "--src-tls-verify=false", "--src-creds", &creds, &from, &to])
    }

    /// An OCI image of one empty layer.
    fn image(&self) -> PathBuf {
        let folder = self.folder.path().join("image");
        let blobs = folder.join("blobs/sha256");
        fs::create_dir_all(&blobs).unwrap();
        let blob = |bytes: &[u8]| {
            let digest = data_encoding::HEXLOWER.encode(&Sha256::digest(bytes));
            put(&blobs.join(&digest), bytes);
            (format!("sha256:{digest}"), bytes.len())
        };
        let (layer, layer_size) = blob(&[0; 1024]);
        let (config, config_size) = blob(format!(
            r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":["{layer}"]}},"config":{{}}}}"#
        ).as_bytes());
        let (manifest, manifest_size) = blob(format!(
            r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{config}","size":{config_size}}},"layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"{layer}","size":{layer_size}}}]}}"#
        ).as_bytes());
        put(&folder.join("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#);
        put(&folder.join("index.json"), format!(
            r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{manifest}","size":{manifest_size},"annotations":{{"org.opencontainers.image.ref.name":"1"}}}}]}}"#
        ).as_bytes());
        folder
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn skopeo(args: &[&str]) -> Result<(), String> {
    let home = TempDir::new().unwrap();
    let mut command = Command::new("skopeo");
    command.args(["--insecure-policy"]).args(args).stdin(Stdio::null());
    command.env("HOME", home.path()).env("XDG_RUNTIME_DIR", home.path());
    let out = command.output().expect("skopeo is installed (scripts/lib.sh)");
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    if out.status.success() { Ok(()) } else { Err(said) }
}

#[test]
fn a_real_registry_takes_what_is_granted_and_no_more() {
    let mut site = Site::new();
    let pusher = site.robot("ci", r#","scopes":["repository:web/*:pull,push"]"#);
    let puller = site.robot("node", r#","scopes":["repository:web/*:pull"]"#);
    site.flip();
    let server = Server::start(&site, &[]);
    let registry = Registry::start(&site, server.address);
    registry.push(&pusher, "web/app:1").unwrap();
    registry.pull(&puller, "web/app:1").unwrap();
    let refused = registry.push(&puller, "web/app:2").unwrap_err();
    assert!(refused.contains("denied") || refused.contains("unauthorized"), "{refused}");
    let _ = registry.push(&pusher, "other/app:1").unwrap_err();
    // Key and chain change as one act; the registry knows the root alone and runs on.
    let (key, chain) = site.authority.leaf();
    site.set("signer.key", &key);
    site.set("signer.crt", &chain);
    site.flip();
    registry.push(&pusher, "web/app:3").unwrap();
    registry.pull(&puller, "web/app:3").unwrap();
    site.forget("node");
    site.flip();
    let _ = registry.pull(&puller, "web/app:3").unwrap_err();
    registry.pull(&pusher, "web/app:3").unwrap();
    // One of another root signs nothing that counts.
    let (key, chain) = crate::site::Authority::new().leaf();
    site.set("signer.key", &key);
    site.set("signer.crt", &chain);
    site.flip();
    let _ = registry.pull(&pusher, "web/app:3").unwrap_err();
}
