//! `docker-credential-skep`: what docker, skopeo and podman ask for a registry's password.
//!
//! It is executed by them with one word, and an address on standard input. It has no privilege
//! of its own: it reads what its caller may read. Whoever executes it drops what it says, so
//! trouble goes to the machine's log too.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::{Deserialize, Serialize};
use skep_client::harmless;
use skep_core::base::{Exit, Failure};
use skep_program::harden;
use zeroize::Zeroizing;

use super::file::read_text;
use crate::rules::login::Host;
use crate::work::carried::{Carried, carried};

const NAME: &str = "docker-credential-skep";
/// What says that there is none: programs know it by this text.
const NOT_FOUND: &str = "credentials not found in native keychain";
/// It makes none of its own.
const CONNECTIONS: u64 = 16;
/// Bytes on standard input that are read.
const ASKED: u64 = 16 * 1024;
/// Names folders, separated by colons.
const FOLDERS: &str = "SKEP_CREDENTIALS";
/// The settings, in `skep` below the caller's own folder or the machine's.
const SETTINGS: &str = "credentials.toml";
const SETTINGS_BYTES: usize = 64 * 1024;
/// Folders that are looked at.
const MOST_FOLDERS: usize = 64;
/// What is looked at where nothing is set: a command of `skep exec` has its set there.
const DEFAULT: &str = "/run/secrets";
/// The machine's log, and what a line there begins with: a user's error.
const LOG: &str = "/dev/log";
const PRIORITY: &str = "<11>";
/// Bytes of a line there.
const LINE: usize = 1_024;
const USAGE: &str = "\
Gives docker, skopeo and podman the password of a robot that this machine was
granted. They execute it themselves; in config.json:

  {\"credHelpers\": {\"registry.example:5000\": \"skep\"}}

Usage: docker-credential-skep get|list|store|erase|version

It looks into the folders that SKEP_CREDENTIALS names, separated by colons, or
those in ~/.config/skep/credentials.toml, or in /etc/skep/credentials.toml:

  version = 1
  folders = [\"/run/secrets/pull\"]
";

/// The whole process.
#[must_use]
pub fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    let (word, more) = (words.next(), words.next());
    let hardened = harden(CONNECTIONS);
    let done = match (hardened, word.as_ref().and_then(|word| word.to_str()), more) {
        (Err(error), ..) => {
            let text = format!("cannot protect this process: {error}");
            Err(Failure::new(Exit::MachineLimit, text))
        }
        (Ok(_), Some("get"), None) => get(),
        (Ok(_), Some("list"), None) => list(),
        (Ok(_), Some("store" | "erase"), None) => refused(),
        (Ok(_), Some("version" | "--version"), None) => {
            answer(concat!("docker-credential-skep ", env!("CARGO_PKG_VERSION")))
        }
        (Ok(_), Some("help" | "--help" | "-h"), None) => answer(USAGE.trim_end()),
        _ => {
            Err(Failure::new(Exit::Usage, "one word is wanted: get, list, store, erase or version")
                .hint("docker and others execute this themselves: `docker-credential-skep --help`"))
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            told(&failure);
            failure.exit.code().into()
        }
    }
}

/// What docker shows, and what stays where docker shows nothing.
fn told(failure: &Failure) {
    let hint = failure.hint.as_deref();
    if failure.exit != Exit::Usage && failure.text != NOT_FOUND {
        log(&failure.text);
    }
    // They read standard output where the status is not 0; a person reads the other.
    let is_asked = failure.exit == Exit::Refused;
    if is_asked {
        drop(answer(&harmless(&failure.text)));
    }
    if failure.text != NOT_FOUND {
        drop(writeln!(io::stderr(), "error: {}", harmless(&failure.text)));
        drop(hint.map(|hint| writeln!(io::stderr(), "hint: {hint}")));
    }
}

fn answer(line: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let done = out.write_all(line.as_bytes()).and_then(|()| out.write_all(b"\n"));
    done.and_then(|()| out.flush()).map_err(|error| {
        Failure::new(Exit::WriteFailed, format!("standard output: {error}"))
            .hint("make room there, or read it elsewhere")
    })
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Answer<'a> {
    #[serde(rename = "ServerURL")]
    server: &'a str,
    username: &'a str,
    secret: &'a str,
}

fn get() -> Result<(), Failure> {
    let asked = asked()?;
    let asked = asked.trim();
    let Some(host) = Host::of_server(asked) else {
        return Err(Failure::new(Exit::Refused, NOT_FOUND));
    };
    let found = look()?;
    let fits = found.logins.iter().find(|login| login.hosts().contains(&host));
    let Some(login) = fits else { return Err(none(&found)) };
    found.bad.iter().for_each(|bad| log(bad));
    let (username, secret) = (login.account().as_str(), login.expose_password());
    let text = serde_json::to_string(&Answer { server: asked, username, secret });
    answer(&Zeroizing::new(text.unwrap_or_default()))
}

/// Why there is no password for a registry. What could not be read may have been its own.
fn none(found: &Carried) -> Failure {
    match found.bad.first() {
        Some(bad) => Failure::new(Exit::Refused, format!("no credential: {bad}"))
            .hint("mend it in the cluster, or read it as a user who may"),
        None => Failure::new(Exit::Refused, NOT_FOUND),
    }
}

fn list() -> Result<(), Failure> {
    let found = look()?;
    if found.logins.is_empty() && !found.bad.is_empty() {
        return Err(none(&found));
    }
    found.bad.iter().for_each(|bad| log(bad));
    let mut all = serde_json::Map::new();
    for login in &found.logins {
        for host in login.hosts() {
            // The first is the one that `get` gives.
            let name = || login.account().as_str().into();
            let _ = all.entry(host.as_str()).or_insert_with(name);
        }
    }
    answer(&serde_json::Value::Object(all).to_string())
}

/// Nothing is kept here, and what was granted is not this machine's to take away.
fn refused() -> Result<(), Failure> {
    let _ = asked()?;
    let text = "robots' credentials come from Skep: nothing is stored or erased here";
    Err(Failure::new(Exit::Refused, text)
        .hint("no login is needed; a robot is made, rotated and removed in the cluster"))
}

/// What stands on standard input. Some of it may be a password.
fn asked() -> Result<Zeroizing<String>, Failure> {
    let mut bytes = Zeroizing::new(Vec::new());
    let _read = io::stdin()
        .lock()
        .take(ASKED + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::new(Exit::Refused, format!("standard input: {error}")))?;
    let text = std::str::from_utf8(&bytes).map(str::to_owned).map(Zeroizing::new);
    let fits = u64::try_from(bytes.len()).is_ok_and(|length| length <= ASKED);
    text.ok().filter(|_| fits).ok_or_else(|| {
        Failure::new(Exit::Refused, format!("standard input is no text of {ASKED} bytes at most"))
    })
}

/// Reads what there is. A folder without a set is told where nobody looks but an operator.
fn look() -> Result<Carried, Failure> {
    let found = carried(&folders()?);
    for folder in &found.absent {
        let shown = folder.display();
        log(&format!("{shown}: no secrets are in place here; is its service placed on this node?"));
    }
    Ok(found)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    version: u32,
    folders: Vec<PathBuf>,
}

/// Where this machine's robots are looked for.
pub(super) fn folders() -> Result<Vec<PathBuf>, Failure> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    if let Some(named) = set(FOLDERS) {
        return checked(FOLDERS, std::env::split_paths(&named).collect());
    }
    let of_home = |home: OsString| Path::new(&home).join(".config");
    let own = set("XDG_CONFIG_HOME").map(PathBuf::from).or_else(|| set("HOME").map(of_home));
    for folder in own.into_iter().chain([PathBuf::from("/etc")]).filter(|it| it.is_absolute()) {
        let path = folder.join("skep").join(SETTINGS);
        if path.try_exists().unwrap_or(true) {
            return from_file(&path);
        }
    }
    Ok(vec![PathBuf::from(DEFAULT)])
}

fn from_file(path: &Path) -> Result<Vec<PathBuf>, Failure> {
    let refused = |failure: Failure| Failure { exit: Exit::Refused, ..failure };
    let text = read_text(path, SETTINGS_BYTES).map_err(refused)?;
    let shown = path.display().to_string();
    let settings: Settings = toml::from_str(&text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let line = before.split('\n').count();
        bad(&format!("{shown}, line {line}: {}", error.message()))
    })?;
    if settings.version != 1 {
        return Err(bad(&format!("{shown}: it has another version than 1")));
    }
    checked(&shown, settings.folders)
}

fn checked(place: &str, folders: Vec<PathBuf>) -> Result<Vec<PathBuf>, Failure> {
    let sound = |folder: &PathBuf| folder.is_absolute();
    if folders.is_empty() || folders.len() > MOST_FOLDERS || !folders.iter().all(sound) {
        return Err(bad(&format!("{place}: 1 to {MOST_FOLDERS} absolute paths of folders")));
    }
    Ok(folders)
}

fn bad(text: &str) -> Failure {
    let hint = "docs/registry/formats.md says what it may hold";
    Failure::new(Exit::Refused, text).hint(hint)
}

/// A line in the machine's log, if it takes one at once.
fn log(text: &str) {
    let mut line = format!("{PRIORITY}{NAME}[{}]: {}", std::process::id(), harmless(text));
    while line.len() > LINE {
        let _ = line.pop();
    }
    let send = |socket: UnixDatagram| {
        socket.set_nonblocking(true)?;
        socket.send_to(line.as_bytes(), OsStr::new(LOG))
    };
    // There is nobody else to tell.
    drop(UnixDatagram::unbound().and_then(send));
}
