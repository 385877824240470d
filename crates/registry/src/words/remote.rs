//! `skep registry token`, `catalog` and `tags`: what people ask a registry by hand.

use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use skep_client::machine::{hidden, read_file, stdin_once, without_line_end};
use skep_core::base::{Exit, Failure};
use skep_program::{Screen, WayArgs};
use zeroize::Zeroizing;

use super::cluster::{registry_name, runtime, whereabouts};
use super::file::read_text;
use super::helper;
use crate::proto::place::WebPlace;
use crate::rules::login::Host;
use crate::rules::scope::{NAME_BYTES, is_repository};
use crate::rules::{Scope, shown};
use crate::work::carried::carried;
use crate::work::remote::{BadLine, RemoteError, RemoteRegistry, RemoteUser, TrustedRoots};

/// Bytes of a password, with an end of line.
const PASSWORD: usize = 4_096 + 2;
/// Bytes of a file of certificates.
const CERTIFICATES: usize = 4 * 1024 * 1024;
/// Scopes of one token.
const SCOPES: usize = 64;

/// Which registry, and whom TLS believes.
#[derive(Args, Debug)]
pub(super) struct RegistryAt {
    /// The registry: HOST[:PORT], or its name here, of which managers know where it is
    #[arg(value_name = "REGISTRY")]
    registry: String,
    /// Believe the certificates of this file [default: what this machine believes]
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Speak without TLS, to a registry of this machine alone
    #[arg(long, conflicts_with = "ca")]
    plain_http: bool,
    #[command(flatten)]
    way: WayArgs,
}

/// Which registry, and who asks.
#[derive(Args, Debug)]
struct RemoteArgs {
    #[command(flatten)]
    at: RegistryAt,
    /// Ask by this name; the password comes from standard input, or is asked for [default: the
    /// robot that this machine was granted]
    #[arg(short, long, value_name = "USER")]
    user: Option<String>,
    /// Read the password from this file
    #[arg(long, value_name = "FILE", requires = "user")]
    password_file: Option<PathBuf>,
}

/// Who asks, where the image names the registry.
#[derive(Args, Debug)]
pub(super) struct AskerArgs {
    /// Believe the certificates of this file [default: what this machine believes]
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Speak without TLS, to a registry of this machine alone
    #[arg(long, conflicts_with = "ca")]
    plain_http: bool,
    /// Ask by this name; the password comes from standard input, or is asked for [default: the
    /// robot that this machine was granted]
    #[arg(short, long, value_name = "USER")]
    user: Option<String>,
    /// Read the password from this file
    #[arg(long, value_name = "FILE", requires = "user")]
    password_file: Option<PathBuf>,
}

impl AskerArgs {
    /// Whether anything of it was typed.
    pub(super) fn is_said(&self) -> bool {
        self.ca.is_some() || self.plain_http || self.user.is_some()
    }

    /// A registry that nothing was asked of yet, and whom TLS believes: there, and at `beside`,
    /// which may speak TLS where the registry doesn't.
    pub(super) fn open(
        self,
        screen: &mut Screen,
        host: Host,
        beside: Option<&WebPlace>,
    ) -> Result<(RemoteRegistry, Option<TrustedRoots>), Failure> {
        let roots = trusted(self.ca.as_deref(), self.plain_http)?;
        let asker = asker(screen, self.user.as_deref(), self.password_file.as_deref(), &host)?;
        let tls = roots.is_some();
        let roots = match roots {
            None if beside.is_some_and(|place| place.tls) => trusted(None, false)?,
            roots => roots,
        };
        let registry = RemoteRegistry::new(host, roots.clone(), asker);
        Ok((if tls { registry } else { registry.plain() }, roots))
    }
}

/// How a list is shown.
#[derive(Args, Debug)]
struct ListedArgs {
    /// table or json
    #[arg(long, value_name = "FORMAT", value_parser = ["table", "json"], default_value = "table")]
    format: String,
    /// Print names only
    #[arg(short, long)]
    quiet: bool,
}

/// Get a token, as an engine does
///
/// It is printed, and good for a few minutes: whoever has it may do what it grants.
/// The password is sent to the token server that the registry names, over TLS, and
/// nowhere else.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  skep registry token registry.example.com --user alice \\
      --scope repository:web/app:pull,push
  skep registry token web --scope registry:catalog:* --ca ca.crt")]
pub(super) struct AccessArgs {
    #[command(flatten)]
    remote: RemoteArgs,
    /// What it is for, as TYPE:NAME:ACTIONS; may be given several times
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
}

/// List the repositories of a registry
///
/// All of its pages are read. It takes a rule that gives registry:catalog:*.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  skep registry catalog web
  skep registry catalog registry.example.com -u alice -q < password.txt")]
pub(super) struct CatalogArgs {
    #[command(flatten)]
    remote: RemoteArgs,
    #[command(flatten)]
    listed: ListedArgs,
}

/// List the tags of a repository
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  skep registry tags web team/app
  skep registry tags registry.example.com:5000 team/app --format json")]
pub(super) struct TagsArgs {
    #[command(flatten)]
    remote: RemoteArgs,
    /// The repository
    #[arg(value_name = "REPOSITORY", value_parser = repository)]
    repository: String,
    #[command(flatten)]
    listed: ListedArgs,
}

fn repository(text: &str) -> Result<String, String> {
    if is_repository(text) {
        return Ok(text.to_owned());
    }
    Err(format!("is no repository, for example team/app; at most {NAME_BYTES} bytes"))
}

fn usage(text: impl std::fmt::Display, hint: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Usage, text).hint(hint)
}

pub(super) fn token(screen: &mut Screen, args: AccessArgs) -> Result<(), Failure> {
    let example = "for example repository:team/app:pull,push or registry:catalog:*";
    if args.scopes.len() > SCOPES {
        return Err(usage(format!("a token has {SCOPES} scopes at most"), "ask several times"));
    }
    for scope in &args.scopes {
        let _reads = Scope::parse(scope).map_err(|bad| usage(bad, example))?;
    }
    runtime()?.block_on(async {
        let mut registry = open(screen, args.remote).await?;
        let token = registry.token(&args.scopes).await.map_err(|error| failure(&error))?;
        screen.data(&token)
    })
}

pub(super) fn catalog(screen: &mut Screen, args: CatalogArgs) -> Result<(), Failure> {
    runtime()?.block_on(async {
        let mut registry = open(screen, args.remote).await?;
        let mut shown = Shown::new(screen, &args.listed, "REPOSITORY");
        let line = |name: &str| json!({ "repository": name }).to_string();
        let done = registry.catalog(|names| shown.take(names, line)).await;
        shown.end(done)
    })
}

pub(super) fn tags(screen: &mut Screen, args: TagsArgs) -> Result<(), Failure> {
    runtime()?.block_on(async {
        let mut registry = open(screen, args.remote).await?;
        let mut shown = Shown::new(screen, &args.listed, "TAG");
        let repository = args.repository;
        let line = |tag: &str| json!({ "repository": repository, "tag": tag }).to_string();
        let done = registry.tags(&repository, |names| shown.take(names, line)).await;
        shown.end(done)
    })
}

/// A list as it comes, page by page.
struct Shown<'s> {
    screen: &'s mut Screen,
    json: bool,
    head: Option<&'static str>,
    done: Result<(), Failure>,
}

impl<'s> Shown<'s> {
    fn new(screen: &'s mut Screen, listed: &ListedArgs, head: &'static str) -> Self {
        let json = listed.format == "json" && !listed.quiet;
        let head = (!json && !listed.quiet).then_some(head);
        Self { screen, json, head, done: Ok(()) }
    }

    /// Shows a page; whether more of it can be shown.
    fn take(&mut self, names: &[String], line: impl Fn(&str) -> String) -> bool {
        let head = self.head.take().map_or(Ok(()), |head| self.screen.data(head));
        self.done = head.and_then(|()| {
            names.iter().try_for_each(|name| {
                if self.json { self.screen.data(&line(name)) } else { self.screen.data(name) }
            })
        });
        self.done.is_ok()
    }

    fn end(self, done: Result<(), RemoteError>) -> Result<(), Failure> {
        self.done?;
        done.map_err(|error| failure(&error))
    }
}

/// A registry that nothing was asked of yet.
async fn open(screen: &mut Screen, args: RemoteArgs) -> Result<RemoteRegistry, Failure> {
    let (roots, host) = found(screen, &args.at).await?;
    let asker = asker(screen, args.user.as_deref(), args.password_file.as_deref(), &host)?;
    Ok(RemoteRegistry::new(host, roots, asker))
}

/// Who asks: somebody with a password, or this machine's own robot.
fn asker(
    screen: &mut Screen,
    user: Option<&str>,
    password_file: Option<&Path>,
    host: &Host,
) -> Result<Option<RemoteUser>, Failure> {
    match user {
        Some(user) => by_password(user, password_file).map(Some),
        None => own(screen, host),
    }
}

/// Where a registry is, and whom TLS believes there.
pub(super) async fn found(
    screen: &mut Screen,
    at: &RegistryAt,
) -> Result<(Option<TrustedRoots>, Host), Failure> {
    let roots = trusted(at.ca.as_deref(), at.plain_http)?;
    let host = host(screen, at).await?;
    Ok((roots, host))
}

/// Whom TLS believes.
fn trusted(ca: Option<&Path>, plain_http: bool) -> Result<Option<TrustedRoots>, Failure> {
    Ok(match (ca, plain_http) {
        (_, true) => None,
        (Some(path), false) => {
            let text = read_text(path, CERTIFICATES)?;
            let roots = TrustedRoots::of_file(text.as_bytes()).map_err(|bad| {
                let text = format!("{}: {bad}", path.display());
                usage(text, "name the CA of the registry's TLS, in PEM")
            })?;
            Some(roots)
        }
        (None, false) => Some(TrustedRoots::of_machine().map_err(|bad| {
            Failure::new(Exit::Configuration, bad).hint("name the registry's CA with --ca FILE")
        })?),
    })
}

/// A host has a dot or a port, as image names have it; a name here has neither.
async fn host(screen: &mut Screen, at: &RegistryAt) -> Result<Host, Failure> {
    let text = at.registry.as_str();
    if text.contains(['.', ':']) || text == "localhost" {
        let host = text.parse::<Host>();
        return host.map_err(|bad| usage(format!("{}: {bad}", shown(text)), "HOST[:PORT]"));
    }
    let name = registry_name(text).map_err(|bad| {
        usage(format!("{}: {bad}", shown(text)), "give HOST[:PORT], or what it is called here")
    })?;
    whereabouts(screen, at.way.clone(), name).await
}

/// Somebody whose password is typed, piped or in a file: it is never an argument.
fn by_password(user: &str, file: Option<&Path>) -> Result<RemoteUser, Failure> {
    let read = match file {
        Some(path) => read_file(path, PASSWORD),
        None if io::stdin().is_terminal() => hidden("Password: ", PASSWORD),
        None => stdin_once(PASSWORD),
    };
    let hint =
        "pipe the password in, type it on a terminal, or name its file: --password-file FILE";
    let password = read.map_err(|error| match (file, error.kind()) {
        (_, io::ErrorKind::FileTooLarge) => usage("that is too long for a password", hint),
        (Some(path), _) => usage(format!("{}: {error}", path.display()), hint),
        (None, _) => usage(format!("no password: {error}"), hint),
    })?;
    let password = without_line_end(password);
    let text = std::str::from_utf8(password.expose());
    let text = text.map_err(|_| usage("a password is one line of text in UTF-8", hint))?;
    RemoteUser::new(user, Zeroizing::new(text.to_owned())).map_err(|bad| usage(bad, hint))
}

/// This machine's own robot, as docker gets it from its helper; nobody where it has none.
fn own(screen: &mut Screen, host: &Host) -> Result<Option<RemoteUser>, Failure> {
    let found = carried(&helper::folders()?);
    let Some(login) = found.logins.iter().find(|login| login.hosts().contains(host)) else {
        // What doesn't read may have been its own.
        if let Some(bad) = found.bad.first() {
            return Err(Failure::new(Exit::Refused, format!("no credential: {bad}"))
                .hint("read it as a user who may, or give a name with --user"));
        }
        screen.say(&format!("this machine has no robot for {host}: it is asked without a name"));
        return Ok(None);
    };
    let password = Zeroizing::new(login.expose_password().to_owned());
    let asker = RemoteUser::new(login.account().as_str(), password);
    asker.map(Some).map_err(|bad| Failure::new(Exit::Refused, bad))
}

/// What is wrong, and what to do.
pub(super) fn failure(error: &RemoteError) -> Failure {
    let exit = match error {
        RemoteError::Unsure(..) => Exit::Unknown,
        RemoteError::NotSigned(_, status, _) if status.as_u16() == 400 => Exit::Usage,
        error if error.is_refusal() => Exit::Refused,
        _ => Exit::Unreachable,
    };
    let hint = match error {
        RemoteError::Line(_, BadLine::Tls(_)) => {
            "name the CA of its certificate: --ca FILE; or is it without TLS? --plain-http"
        }
        RemoteError::Line(_, BadLine::Plain(_)) => "leave out --plain-http: TLS is for all others",
        RemoteError::Line(..) => "is it the right host and port, and does it run?",
        RemoteError::Challenge(..) | RemoteError::Listing(..) | RemoteError::Endless(_) => {
            "is it a registry?"
        }
        RemoteError::PlainRealm(..) => "give the token server TLS, and the registry its realm",
        RemoteError::NoTokens(..) => "ask it without one: `skep registry catalog --help`",
        RemoteError::Unauthorized(..) => {
            "give another name with --user; a robot's password ends when it is rotated or removed"
        }
        RemoteError::NotChanged(..) => {
            "the password is as before; after wrong ones it takes a while until one is taken again"
        }
        RemoteError::NoChanges(..) => {
            "an operator changes it: `skep registry user passwd`; or set up with --self-service"
        }
        RemoteError::Unsure(..) => "try the new one, then the old one, before you repeat it",
        RemoteError::Denied(..) => {
            "a rule must give it, and say so: `skep registry acl explain --help`"
        }
        RemoteError::Unknown(..) => "`skep registry catalog --help` says how to list what is there",
        RemoteError::Redirect(..) => "name the host that it sends to, if that is the registry",
        RemoteError::TooOften(..) => "wait, and repeat it",
        RemoteError::Status(..) => "its log says more",
        RemoteError::Place(_) => "ask for fewer scopes at once",
        RemoteError::Mismatch(..) | RemoteError::Upload(_) => {
            "ask the registry's operator: what it stores is damaged, or it is configured wrongly"
        }
        RemoteError::NotSigned(_, status, _) => match status.as_u16() {
            400 => "sign.toml of the signer lists the annotations",
            401 | 403 => "a rule must give `sign`: `skep registry acl explain --help`",
            404 => "push it first; `skep registry tags --help` says how to list tags",
            409 => "sign what the tag is at now, or another tag",
            422 => "sign.toml binds keys to repositories; the registry keeps the rest",
            429 => "wait, and repeat it",
            _ => "its log says more",
        },
        RemoteError::OtherRealm(..) => {
            "is it the signer of that registry? `realm` in its sign.toml is the registry's"
        }
        RemoteError::Stopped => "repeat it",
    };
    Failure::new(exit, error).hint(hint)
}
