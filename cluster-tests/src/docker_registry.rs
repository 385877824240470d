//! Debian's docker-registry, which takes the tokens of a token server.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::{TokenServer, until};

/// Debian's docker-registry; its log has a line for each request.
#[derive(Debug)]
pub struct DockerRegistry {
    child: Child,
    /// Where it listens.
    pub address: String,
    /// Its log.
    pub log: PathBuf,
}

impl DockerRegistry {
    /// Starts it below this folder, with the root that a setup wrote to `out`; its tokens are
    /// for `service`, and come from that server.
    ///
    /// # Panics
    /// When it ends, or doesn't listen in time.
    #[must_use]
    pub fn start(site: &Path, address: &str, service: &str, realm: &TokenServer) -> Self {
        let at = |name: &str| site.join(name).display().to_string();
        let (data, root) = (at("images"), at("out/root.crt"));
        let config = format!(
            "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {data}}}}}\n\
             http: {{addr: '{address}'}}\nauth:\n  token:\n    realm: http://{}/auth\n    \
             service: '{service}'\n    issuer: '{service}'\n    rootcertbundle: {root}\n",
            realm.address()
        );
        let file = site.join(format!("registry-{address}.yml"));
        fs::write(&file, config).expect("settings");
        let log = site.join(format!("registry-{address}.log"));
        let out = File::create(&log).expect("a log");
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", "docker-registry", "serve"]).arg(file);
        command.stdin(Stdio::null()).stdout(out.try_clone().expect("a log")).stderr(out);
        let mut child = command.spawn().expect("docker-registry");
        until("a registry", || {
            let said = fs::read_to_string(&log).expect("a log");
            assert!(child.try_wait().expect("a child").is_none(), "it ended: {said}");
            said.contains("listening on").then_some(())
        });
        Self { child, address: address.to_owned(), log }
    }

    /// An image's whole name.
    #[must_use]
    pub fn image(&self, name: &str) -> String {
        format!("{}/{name}", self.address)
    }
}

impl Drop for DockerRegistry {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
