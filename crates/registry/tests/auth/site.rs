//! A folder as the agent makes it: generations `..N`, and the link `..data`, which is flipped.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use skep_registry::rules::password::{draw_robot_password, robot_verifier};
use skep_registry::rules::slug::Account;
use tempfile::TempDir;

/// Who may do what in these tests.
pub(crate) const RULES: &str = include_str!("acl.toml");
/// The least settings.
pub(crate) const SETTINGS: &str = "version = 1\nissuer = \"skep\"\nservices = [\"registry\"]\n";

/// A service's folder.
pub(crate) struct Site {
    folder: TempDir,
    files: BTreeMap<String, Vec<u8>>,
    generation: u32,
    pub(crate) authority: Authority,
}

/// A robot, with its password.
#[derive(Clone)]
pub(crate) struct Robot {
    pub(crate) name: String,
    pub(crate) password: String,
    pub(crate) id: String,
}

fn drawn<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).unwrap();
    bytes
}

pub(crate) fn tag() -> String {
    HEXLOWER.encode(&drawn::<16>())
}

/// A root that signs leaves.
pub(crate) struct Authority {
    key: String,
    pub(crate) root: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, "skep registry test root");
        let root = params.self_signed(&key).unwrap().pem();
        Self { key: key.serialize_pem(), root }
    }

    /// A key and its certificate, good for a month.
    pub(crate) fn leaf(&self) -> (String, String) {
        let issuer = KeyPair::from_pem(&self.key).unwrap();
        let issuer = Issuer::from_ca_cert_pem(&self.root, issuer).unwrap();
        let key = KeyPair::generate().unwrap();
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut params = CertificateParams::new(names).unwrap();
        params.not_before = time::OffsetDateTime::now_utc() - time::Duration::hours(1);
        params.not_after = time::OffsetDateTime::now_utc() + time::Duration::days(30);
        (key.serialize_pem(), params.signed_by(&key, &issuer).unwrap().pem())
    }
}

fn put(path: &Path, bytes: &[u8]) {
    File::create(path).unwrap().write_all(bytes).unwrap();
}

/// The names of an account's files.
pub(crate) fn files_of(name: &str) -> [String; 2] {
    let slug = name.parse::<Account>().unwrap().slug();
    [format!("user.{slug}"), format!("rights.{slug}")]
}

impl Site {
    pub(crate) fn new() -> Self {
        let authority = Authority::new();
        let (key, chain) = authority.leaf();
        let folder = TempDir::new().unwrap();
        let mut site = Self { folder, files: BTreeMap::new(), generation: 0, authority };
        site.set("auth.toml", SETTINGS);
        site.set("acl.toml", RULES);
        site.set("signer.key", &key);
        site.set("signer.crt", &chain);
        site.set("refresh.key", &HEXLOWER.encode(&drawn::<32>()));
        site.flip();
        site
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// Sets a file in the next generation.
    pub(crate) fn set(&mut self, name: &str, text: &str) {
        self.files.insert(name.to_owned(), text.as_bytes().to_vec());
    }

    pub(crate) fn set_bytes(&mut self, name: &str, bytes: &[u8]) {
        self.files.insert(name.to_owned(), bytes.to_vec());
    }

    pub(crate) fn get(&self, name: &str) -> String {
        String::from_utf8(self.files[name].clone()).unwrap()
    }

    pub(crate) fn remove(&mut self, name: &str) {
        self.files.remove(name).unwrap();
    }

    /// Puts the next generation in place; of those before it one stays for those who read it.
    pub(crate) fn flip(&mut self) {
        self.generation += 1;
        let name = format!("..{}", self.generation);
        let folder = self.path().join(&name);
        fs::create_dir(&folder).unwrap();
        for (file, bytes) in &self.files {
            put(&folder.join(file), bytes);
        }
        let (link, data) = (self.path().join("data.new"), self.path().join("..data"));
        symlink(&name, &link).unwrap();
        fs::rename(&link, &data).unwrap();
        if self.generation > 2 {
            fs::remove_dir_all(self.path().join(format!("..{}", self.generation - 2))).unwrap();
        }
    }

    /// A robot, in the next generation.
    pub(crate) fn robot(&mut self, name: &str, more: &str) -> Robot {
        let password = draw_robot_password(&mut skep_client::machine::OsDice).to_string();
        let robot = Robot { name: name.to_owned(), password, id: tag() };
        self.credential(&robot, 0);
        self.rights(name, more);
        robot
    }

    /// Writes a robot's credential, with a new generation.
    pub(crate) fn credential(&mut self, robot: &Robot, overlap_s: u32) {
        let Robot { name, password, id } = robot;
        let (generation, hash) = (tag(), robot_verifier(password.as_bytes()));
        self.set(&files_of(name)[0], &format!(
            r#"{{"version":1,"id":"{id}","gen":"{generation}","kind":"sha256","hash":"{hash}","overlap_s":{overlap_s}}}"#
        ));
    }

    pub(crate) fn rights(&mut self, name: &str, more: &str) {
        self.set(&files_of(name)[1], &format!(r#"{{"version":1,"labels":{{}}{more}}}"#));
    }

    /// A person with a bcrypt hash, in the next generation.
    pub(crate) fn person(&mut self, name: &str, password: &str, cost: u32) {
        let (id, generation, hash) = (tag(), tag(), bcrypt::hash(password, cost).unwrap());
        self.set(&files_of(name)[0], &format!(
            r#"{{"version":1,"id":"{id}","gen":"{generation}","kind":"bcrypt","hash":"{hash}"}}"#
        ));
        self.rights(name, "");
    }

    pub(crate) fn forget(&mut self, name: &str) {
        for file in files_of(name) {
            self.remove(&file);
        }
    }
}
