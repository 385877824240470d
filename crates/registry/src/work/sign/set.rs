//! One generation of the signer's files (docs/registry/formats.md), without its private keys:
//! of those only the names are known here.

use std::io;
use std::path::Path;

use skep_core::base::BootTime;
use zeroize::Zeroizing;

use crate::proto::bearer::Verifier;
use crate::proto::place::WebPlace;
use crate::rules::login::Host;
use crate::rules::sign_settings::SignSettings;
use crate::work::carried::in_generation;
use crate::work::folder::{FILE_BYTES, Folder, KEY_BYTES, Unready, text, tls_pair};
use crate::work::look::{Loaded, Reads};
use crate::work::remote::{RemoteRegistry, RemoteUser, TrustedRoots};

const SETTINGS: &str = "sign.toml";
const CHAIN: &str = "signer.crt";
/// Whom TLS believes at the registry and the token server; without it what the machine believes.
const ROOTS: &str = "ca.crt";
/// What the files of keys begin with.
const KEY: &str = "key.";
/// Keys of one signer.
const KEYS: usize = 64;
/// Files of a set that are looked at.
const FILES: usize = 16_384;
const SETTINGS_BYTES: usize = 64 * 1024;

/// A private key that can be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeyFile {
    /// Behind `key.`.
    pub(super) name: String,
    /// The file's.
    pub(super) file: String,
}

/// A set that signs.
#[derive(Debug)]
pub(in crate::work) struct SignSet {
    pub(super) settings: SignSettings,
    /// Where the registry is asked, and whether by TLS.
    api: (Host, bool),
    pub(super) realm: WebPlace,
    /// Whose tokens are taken; nobody's where it is missing.
    pub(super) verifier: Option<Verifier>,
    pub(super) keys: Vec<KeyFile>,
    roots: Option<TrustedRoots>,
    robot: Option<(String, Zeroizing<String>)>,
}

impl SignSet {
    /// A registry that nothing was asked of yet.
    ///
    /// # Errors
    /// This machine believes no certificates.
    pub(super) fn registry(&self) -> Result<RemoteRegistry, String> {
        let (host, tls) = self.api.clone();
        let roots = match (&self.roots, tls || self.realm.tls) {
            (Some(roots), _) => Some(roots.clone()),
            (None, true) => Some(TrustedRoots::of_machine().map_err(|bad| bad.to_string())?),
            (None, false) => None,
        };
        let asker = self.robot.as_ref().map(|(name, password)| {
            RemoteUser::new(name, password.clone()).map_err(|bad| bad.to_string())
        });
        let registry = RemoteRegistry::new(host, roots, asker.transpose()?);
        Ok(if tls { registry } else { registry.plain() })
    }
}

/// Reads generations of a signer.
pub(super) struct SignFiles;

impl Reads for SignFiles {
    type Set = SignSet;

    fn read(
        &mut self,
        folder: &Path,
        _before: Option<&SignSet>,
        _now: BootTime,
    ) -> io::Result<Loaded<SignSet>> {
        let files = Folder::of(folder)?;
        let (tls, bad_tls) = match tls_pair(&files)? {
            Ok(pair) => (pair, None),
            Err(bad) => (None, Some(bad)),
        };
        let set = settle(&files)?;
        let set = bad_tls.map_or(set, Err);
        Ok(Loaded { generation: String::new(), set, tls, refused: Vec::new() })
    }

    /// A key that was taken away can't be opened, whatever a manager confirmed.
    fn stale_limit_s(_set: &SignSet) -> Option<u64> {
        None
    }
}

fn settle(files: &Folder<'_>) -> io::Result<Result<SignSet, Unready>> {
    let settings = files.needed(SETTINGS, SETTINGS_BYTES)?;
    let chain = files.read(CHAIN, KEY_BYTES * 2)?.transpose();
    let roots = files.read(ROOTS, FILE_BYTES)?.transpose();
    let carried = in_generation(files.path())?;
    let mut keys = Vec::new();
    for file in files.names(FILES)? {
        if let Some(name) = file.strip_prefix(KEY).filter(|name| !name.is_empty()) {
            keys.push(KeyFile { name: name.to_owned(), file: file.clone() });
        }
    }
    keys.sort_unstable_by(|one, other| one.name.cmp(&other.name));
    Ok((|| {
        let settings = settings?;
        let settings = SignSettings::read(text(SETTINGS, &settings)?)
            .map_err(|bad| Unready::damaged(SETTINGS, bad))?;
        if keys.len() > KEYS {
            return Err(Unready::new("there are more than 64 keys", keys.len()));
        }
        let no_place = |what: &str| Unready::damaged(SETTINGS, format!("`{what}` is no address"));
        let realm = WebPlace::read(&settings.realm).map_err(|_| no_place("realm"))?;
        let api = match &settings.api {
            None => (settings.registry.clone(), true),
            Some(api) => {
                let place = WebPlace::read(api).map_err(|_| no_place("api"))?;
                if place.path() != "/" {
                    return Err(no_place("api"));
                }
                (place.host.clone(), place.tls)
            }
        };
        let verifier = chain?.and_then(|chain| Verifier::read(&chain));
        let roots = roots?.map(|pem| TrustedRoots::of_file(&pem)).transpose();
        let roots = roots.map_err(|bad| Unready::damaged(ROOTS, bad))?;
        if let Some(bad) = carried.bad.into_iter().next() {
            return Err(Unready::new("the signer's own robot doesn't read", bad));
        }
        let robot = carried.logins.first().map(|login| {
            let password = Zeroizing::new(login.expose_password().to_owned());
            (login.account().as_str().to_owned(), password)
        });
        Ok(SignSet { settings, api, realm, verifier, keys, roots, robot })
    })())
}
