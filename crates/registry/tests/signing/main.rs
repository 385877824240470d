//! What others say of keys and signatures that are made here: openssl, sigstore's library,
//! `GnuPG` and Debian's skopeo.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of a test fail it by panicking"
)]

mod gnupg;
mod sigstore;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use skep_client::machine::{OsDice, SystemClock};
use skep_core::base::Clock as _;
use skep_registry::rules::signing::openpgp::OpenPgpKey;
use tempfile::TempDir;

/// Seconds since 1970.
fn now_s() -> u64 {
    SystemClock.now().0 / 1_000
}

/// A folder of the test's own, with files in it.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        std::fs::write(&path, bytes).expect("a file");
        path
    }
}

/// What a program answered; it has to be installed.
fn ran(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// What it said, where it succeeded.
fn done(command: &mut Command) -> Vec<u8> {
    let output = ran(command);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command:?}: {said}");
    output.stdout
}

fn pgp_key(user_id: &str) -> OpenPgpKey {
    OpenPgpKey::draw(user_id, now_s() - 60, &mut OsDice).expect("a key")
}
