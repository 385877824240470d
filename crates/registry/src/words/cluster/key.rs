//! `skep registry key`: the keys that sign a registry's images. Each is a secret of its own,
//! granted to the service NAME.sign alone; its public half stands beside each version.

use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;
use skep_client::machine::{hidden, read_file, stdin_once, without_line_end};
use skep_client::{Drawn, Generate, lookup};
use skep_core::base::{Exit, Failure, Name, SecretBytes, SecretId, ServiceId};
use skep_core::domain::PublicPart;
use skep_core::wire::api::{SecretView, VersionView};
use skep_program::{Screen, WaitArgs, Way, WayArgs};

use super::act::{Act, FileOf};
use super::ends::now_s;
use super::site::{self, FORM, KIND, REGISTRY, Site, label, registry_name, take_away};
use super::usage;
use super::user::LsArgs;
use crate::rules::shown;
use crate::rules::signing::key::{KEY_BYTES, PublicKey, SigningKey};
use crate::rules::signing::openpgp::OpenPgpKey;
use crate::rules::signing::sealed;

/// What the label `kind` says of a key.
pub(super) const SIGN_KEY: &str = "sign-key";
/// The label with a key's name.
pub(super) const KEY: &str = "key";
/// Characters of a key's name.
const NAME_CHARS: usize = 32;
/// Bytes of a password.
const PASSWORD: usize = 1024;

/// The keys that sign images
#[derive(Debug, Subcommand)]
pub(in crate::words) enum KeyCommand {
    /// Draw a key that signs images, and print its public half
    ///
    /// It is granted to the service NAME.sign and shown to nobody. cosign's kind signs
    /// for cosign and sigstore's libraries, openpgp for skopeo and podman.
    #[command(after_help = "Examples:
  skep registry key create web release
  skep registry key create web release-pgp --kind openpgp")]
    Create(CreateArgs),
    /// Take over a key: a file of cosign's, PKCS#8 in PEM, or a private key of OpenPGP
    ///
    /// The password of a file of cosign's is asked for, or read from standard input or
    /// --password-file. Remove the file afterwards.
    #[command(after_help = "Examples:
  skep registry key import web release cosign.key
  skep registry key import web release cosign.key --password-file p.txt")]
    Import(ImportArgs),
    /// Sign with another key from now on, and print its public half
    ///
    /// What was signed stays good where a policy has the public half of the key
    /// before, as `skep registry policy` writes it while that version is kept.
    #[command(after_help = "Examples:
  skep registry key rotate web release
  skep registry key rotate web release --detach")]
    Rotate(KeyArgs),
    /// List the keys: name, kind, fingerprint, since when, versions that are kept, and the end
    #[command(after_help = "Examples:
  skep registry key ls web
  skep registry key ls web --format json")]
    Ls(LsArgs),
    /// Remove a key from the service that signs, with all its versions
    #[command(after_help = "Examples:
  skep registry key rm web release
  skep registry key rm web release --detach")]
    Rm(KeyArgs),
}

/// Which kind of key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum KeyForm {
    Cosign,
    Openpgp,
}

impl KeyForm {
    fn text(self) -> &'static str {
        match self {
            Self::Cosign => "cosign",
            Self::Openpgp => "openpgp",
        }
    }
}

/// One key of a registry.
#[derive(Args, Debug)]
struct KeyAt {
    /// The registry
    #[arg(value_name = "NAME", value_parser = registry_name)]
    registry: Name,
    /// What the key is called: at most 32 characters of a-z 0-9 -
    #[arg(value_name = "KEY", value_parser = key_name)]
    key: String,
}

#[derive(Args, Debug)]
pub(in crate::words) struct CreateArgs {
    #[command(flatten)]
    at: KeyAt,
    /// Which kind of key
    #[arg(long, value_enum, default_value_t = KeyForm::Cosign)]
    kind: KeyForm,
    /// Of openpgp: whose key it says that it is [default: NAME.key.KEY]
    #[arg(long, value_name = "TEXT")]
    user_id: Option<String>,
    #[command(flatten)]
    wait: WaitArgs,
    #[command(flatten)]
    way: WayArgs,
}

#[derive(Args, Debug)]
pub(in crate::words) struct ImportArgs {
    #[command(flatten)]
    at: KeyAt,
    /// The file with the private key
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The file with the password of a file of cosign's
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    #[command(flatten)]
    wait: WaitArgs,
    #[command(flatten)]
    way: WayArgs,
}

#[derive(Args, Debug)]
pub(in crate::words) struct KeyArgs {
    #[command(flatten)]
    at: KeyAt,
    #[command(flatten)]
    wait: WaitArgs,
    #[command(flatten)]
    way: WayArgs,
}

/// The name of a key, as it was typed.
fn key_name(text: &str) -> Result<String, String> {
    let sound = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let ends = !text.starts_with('-') && !text.ends_with('-');
    if (1..=NAME_CHARS).contains(&text.len()) && text.chars().all(sound) && ends {
        return Ok(text.to_owned());
    }
    Err(format!("has 1 to {NAME_CHARS} characters of a-z 0-9 -, and no - at its ends"))
}

/// What the file of a key is called, in the set of the service that signs.
fn file_name(key: &str) -> String {
    format!("key.{key}")
}

fn secret_name(site: &Site, key: &str) -> String {
    format!("{}.{}", site.name, file_name(key))
}

pub(super) async fn run(screen: &mut Screen, command: KeyCommand) -> Result<(), Failure> {
    match command {
        KeyCommand::Create(args) => create(screen, args).await,
        KeyCommand::Import(args) => import(screen, args).await,
        KeyCommand::Rotate(args) => rotate(screen, args).await,
        KeyCommand::Ls(args) => list(screen, args).await,
        KeyCommand::Rm(args) => remove(screen, args).await,
    }
}

/// Draws a key of this kind.
fn draw(way: &mut Way, kind: KeyForm, user_id: &str) -> Result<Drawn, Failure> {
    match kind {
        KeyForm::Cosign => {
            let drawn = Generate::Cosign.draw(&mut way.dice);
            drawn.map_err(|error| Failure::new(Exit::Bug, error))
        }
        KeyForm::Openpgp => {
            let key = OpenPgpKey::draw(user_id, now_s(), &mut way.dice)
                .map_err(|bad| usage(bad, "give a name or an address: --user-id TEXT"))?;
            drawn_of(&SigningKey::OpenPgp(Box::new(key)))
        }
    }
}

/// A key with its public half.
fn drawn_of(key: &SigningKey) -> Result<Drawn, Failure> {
    let value = key.text().map_err(|bad| Failure::new(Exit::Bug, bad))?;
    let public = key.public_text().parse::<PublicPart>().map_err(|bad| {
        usage(
            format!("the key's public half is too large to be kept: {bad}"),
            "export it anew with one short user id",
        )
    })?;
    Ok(Drawn { value, public: Some(public) })
}

async fn create(screen: &mut Screen, args: CreateArgs) -> Result<(), Failure> {
    let CreateArgs { at, kind, user_id, wait, way } = args;
    if user_id.is_some() && kind == KeyForm::Cosign {
        return Err(usage("--user-id is for --kind openpgp", "a key of cosign's has no name"));
    }
    let mut way = Way::open(screen, way)?;
    let (site, sign) = there(&mut way, &at).await?;
    let name = secret_name(&site, &at.key);
    let drawn = draw(&mut way, kind, user_id.as_deref().unwrap_or(&name))?;
    put(screen, &mut way, (&site, sign), &at.key, kind, drawn, wait).await
}

async fn import(screen: &mut Screen, args: ImportArgs) -> Result<(), Failure> {
    let ImportArgs { at, file, password_file, wait, way } = args;
    let key = read_key(&file, password_file.as_deref())?;
    let kind = match &key {
        SigningKey::Cosign(_) => KeyForm::Cosign,
        SigningKey::OpenPgp(_) => KeyForm::Openpgp,
    };
    let drawn = drawn_of(&key)?;
    drop(key);
    let mut way = Way::open(screen, way)?;
    let (site, sign) = there(&mut way, &at).await?;
    put(screen, &mut way, (&site, sign), &at.key, kind, drawn, wait).await
}

/// The key in a file, which may be sealed with a password.
fn read_key(file: &Path, password_file: Option<&Path>) -> Result<SigningKey, Failure> {
    let at = file.display();
    let hint = "give cosign's key file, PKCS#8 in PEM, or a private key of OpenPGP without \
                passphrase";
    let bytes = read_file(file, KEY_BYTES).map_err(|error| match error.kind() {
        io::ErrorKind::FileTooLarge => usage(format!("{at}: it is too large for a key"), hint),
        io::ErrorKind::NotFound => {
            usage(format!("{at}: it does not exist"), "name a file that you may read")
        }
        _ => usage(format!("{at}: {error}"), "name a file that you may read"),
    })?;
    if sealed::is_sealed(bytes.expose()) {
        let password = password(password_file)?;
        let opened = sealed::open(bytes.expose(), password.expose());
        return opened.map(SigningKey::Cosign).map_err(|bad| {
            let hint = "the password is that of `cosign generate-key-pair` or `import-key-pair`";
            usage(format!("{at}: {bad}"), hint)
        });
    }
    if password_file.is_some() {
        let hint = "leave --password-file out";
        return Err(usage(format!("{at}: it takes no password"), hint));
    }
    SigningKey::read(bytes.expose()).map_err(|bad| usage(format!("{at}: {bad}"), hint))
}

fn password(file: Option<&Path>) -> Result<SecretBytes, Failure> {
    let read = match file {
        Some(file) => read_file(file, PASSWORD),
        None if io::stdin().is_terminal() => hidden("Password of the key file: ", PASSWORD),
        None => stdin_once(PASSWORD),
    };
    let read = read.map_err(|error| {
        let hint = "type it on a terminal, pipe it in, or name its file: it is never an argument";
        usage(format!("no password: {error}"), hint)
    });
    read.map(without_line_end)
}

/// The registry, and the service that signs; the key itself is not there.
async fn there(way: &mut Way, at: &KeyAt) -> Result<(Site, ServiceId), Failure> {
    let site = Site::find(way, at.registry.clone()).await?;
    let service = signers(way, &site).await?;
    let name = secret_name(&site, &at.key);
    let view: Option<SecretView> =
        lookup::maybe(&mut way.link, &name).await.map_err(|error| error.failure())?;
    if view.is_none() {
        return Ok((site, service));
    }
    let hint = format!("`skep registry key rotate {} {}` signs with another", site.name, at.key);
    Err(Failure::new(Exit::Refused, format!("there is a key {} already", at.key)).hint(hint))
}

/// The service that signs.
async fn signers(way: &mut Way, site: &Site) -> Result<ServiceId, Failure> {
    let name = format!("{}.sign", site.name);
    let Some(view) = site::service(way, &name).await? else {
        let text = format!("nobody signs for the registry {}: no service {name}", site.name);
        let hint = format!(
            "`skep service create --mount fuse --node NODE {name}` makes it; a setup does by --sign"
        );
        return Err(Failure::new(Exit::Refused, text).hint(hint));
    };
    lookup::id(&view.id).map_err(|error| error.failure())
}

async fn put(
    screen: &mut Screen,
    way: &mut Way,
    (site, sign): (&Site, ServiceId),
    key: &str,
    kind: KeyForm,
    drawn: Drawn,
    wait: WaitArgs,
) -> Result<(), Failure> {
    let public = drawn.public.clone();
    let labels =
        [(REGISTRY, site.name.as_str()), (KIND, SIGN_KEY), (KEY, key), (FORM, kind.text())];
    let name = secret_name(site, key);
    let mut act = Act::default();
    let secret = act.create_key(&mut way.dice, &name, &labels, drawn)?;
    act.grant(sign, secret, &file_name(key), FileOf::default())?;
    let revision = act.apply(way, &format!("skep registry key ls {}", site.name)).await?;
    tell(screen, public.as_ref())?;
    way.wait(screen, wait, revision, vec![sign.as_bytes().to_vec()], false).await
}

fn tell(screen: &mut Screen, public: Option<&PublicPart>) -> Result<(), Failure> {
    public.map_or(Ok(()), |public| screen.data(public.as_str().trim_end()))
}

/// A key that is there.
async fn find(way: &mut Way, at: KeyAt) -> Result<(Site, SecretView), Failure> {
    let site = Site::find(way, at.registry).await?;
    let name = secret_name(&site, &at.key);
    let view: Option<SecretView> =
        lookup::maybe(&mut way.link, &name).await.map_err(|error| error.failure())?;
    let view = view.filter(|view| label(&view.labels, KIND) == Some(SIGN_KEY));
    let view = view.ok_or_else(|| {
        let hint = format!("`skep registry key ls {}` lists all", site.name);
        Failure::new(Exit::Refused, format!("there is no key {}", at.key)).hint(hint)
    })?;
    Ok((site, view))
}

async fn rotate(screen: &mut Screen, args: KeyArgs) -> Result<(), Failure> {
    let mut way = Way::open(screen, args.way)?;
    let (site, view) = find(&mut way, args.at).await?;
    let kind = match label(&view.labels, FORM) {
        Some("cosign") => KeyForm::Cosign,
        Some("openpgp") => KeyForm::Openpgp,
        _ => {
            let text = format!("the label `{FORM}` of the secret {} is gone or changed", view.name);
            return Err(usage(text, "put it back: cosign or openpgp"));
        }
    };
    // The next key is called as this one.
    let before = view.versions.iter().find(|version| version.number == view.current);
    let user_id = before.and_then(public_of).and_then(|key| match key {
        PublicKey::OpenPgp(key) => key.user_id().map(str::to_owned),
        PublicKey::Cosign(_) => None,
    });
    let drawn = draw(&mut way, kind, user_id.as_deref().unwrap_or(&view.name))?;
    let public = drawn.public.clone();
    let secret: SecretId = lookup::id(&view.id).map_err(|error| error.failure())?;
    let mut act = Act::default();
    act.update_key(secret, view.current, drawn);
    let revision = act.apply(&mut way, &format!("skep secret versions {}", view.name)).await?;
    tell(screen, public.as_ref())?;
    screen.say(&format!("next: `skep registry policy {} --out DIR`", site.name));
    let services = services_of(&mut way, &view).await?;
    way.wait(screen, args.wait, revision, services, false).await
}

/// The services that have it.
async fn services_of(way: &mut Way, view: &SecretView) -> Result<Vec<Vec<u8>>, Failure> {
    let mut services = Vec::new();
    for name in &view.services {
        if let Some(service) = site::service(way, name).await? {
            services.push(service.id);
        }
    }
    Ok(services)
}

/// What is public of a version, if it reads.
pub(super) fn public_of(version: &VersionView) -> Option<PublicKey> {
    PublicKey::read(version.public.as_deref()?).ok()
}

async fn list(screen: &mut Screen, args: LsArgs) -> Result<(), Failure> {
    let mut way = Way::open(screen, args.way)?;
    let site = Site::find(&mut way, args.registry).await?;
    let mut keys = site.accounts(&mut way, SIGN_KEY).await?;
    keys.sort_by(|one, other| one.name.cmp(&other.name));
    for view in keys {
        let name = label(&view.labels, KEY).unwrap_or_default().to_owned();
        if !view.name.eq_ignore_ascii_case(&secret_name(&site, &name)) {
            screen.say(&format!("warning: secret {}: its label `{KEY}` was changed", view.name));
            continue;
        }
        let current = view.versions.iter().find(|version| version.number == view.current);
        let public = current.and_then(public_of);
        let kind = public.as_ref().map_or("unknown", |key| key.kind().text());
        let fingerprint = public.as_ref().map(PublicKey::fingerprint);
        let since = current.map(|version| version.created).unwrap_or_default();
        let versions = view.versions.len();
        let ends = public.as_ref().and_then(PublicKey::ends_s).map(super::ends::ends_label);
        if args.format == "json" {
            let line = json!({
                "key": name, "kind": kind, "fingerprint": fingerprint, "secret": view.name,
                "version": view.current, "versions": versions, "since": since, "ends": ends,
            });
            screen.data(&line.to_string())?;
        } else {
            let fingerprint = fingerprint.as_deref().unwrap_or("unknown");
            let since = super::ends::ends_label(since / 1_000);
            let ends = ends.as_deref().unwrap_or("-");
            let line = format!("{} {kind} {fingerprint} {since} {versions} {ends}", shown(&name));
            screen.data(&line)?;
        }
    }
    Ok(())
}

async fn remove(screen: &mut Screen, args: KeyArgs) -> Result<(), Failure> {
    let mut way = Way::open(screen, args.way)?;
    let (site, view) = find(&mut way, args.at).await?;
    let (mut act, mut services) = (Act::default(), Vec::new());
    take_away(&mut way, &mut act, &view, &mut services).await?;
    let revision = act.apply(&mut way, &format!("skep registry key ls {}", site.name)).await?;
    way.wait(screen, args.wait, revision, services, true).await
}
