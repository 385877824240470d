//! `skep registry hold`: a digest that nobody is to pull for the time being.

use clap::{Args, Subcommand};
use serde_json::json;
use skep_client::lookup;
use skep_core::base::{Exit, Failure, Name, SecretBytes};
use skep_core::wire::api::SecretView;
use skep_program::{Screen, WaitArgs, Way, WayArgs};

use super::act::{Act, FileOf};
use super::site::{KIND, REGISTRY, Site, label, registry_name, take_away};
use super::usage;
use super::user::LsArgs;
use crate::rules::hold::Hold;
use crate::rules::shown;

/// The file's name, and a part of the secret's.
const HOLD: &str = "hold";
/// Labels of it, so that lists ask managers alone.
const REPOSITORY: &str = "repository";
const DIGEST: &str = "digest";
const WHY: &str = "why";

/// Digests that nobody is to pull for the time being
#[derive(Debug, Subcommand)]
pub(in crate::words) enum HoldCommand {
    /// Hold a digest: its repository is pulled by nobody without the action view-held
    ///
    /// A token can't name a digest, so the token servers refuse pull of the whole
    /// repository. Tokens that are out are good for a few minutes yet.
    #[command(after_help = "Examples:
  skep registry hold add web team/app sha256:0123… --why leaked-key
  skep registry hold add web team/app sha256:0123… --why CVE-2026-1 --detach")]
    Add(HoldAddArgs),
    /// Let a digest go
    #[command(after_help = "Examples:
  skep registry hold rm web team/app sha256:0123…
  skep registry hold rm web team/app sha256:0123… --detach")]
    Rm(HoldRmArgs),
    /// List what is held, and why
    #[command(after_help = "Examples:
  skep registry hold ls web
  skep registry hold ls web --format json")]
    Ls(LsArgs),
}

/// What is held where.
#[derive(Args, Debug)]
struct HeldArgs {
    /// The registry
    #[arg(value_name = "NAME", value_parser = registry_name)]
    registry: Name,
    /// The repository, for example team/app
    #[arg(value_name = "REPOSITORY")]
    repository: String,
    /// The digest, for example sha256:0123…
    #[arg(value_name = "DIGEST")]
    digest: String,
}

#[derive(Args, Debug)]
pub(in crate::words) struct HoldAddArgs {
    #[command(flatten)]
    what: HeldArgs,
    /// Why, for those who list it
    #[arg(long, value_name = "TEXT")]
    why: String,
    #[command(flatten)]
    wait: WaitArgs,
    #[command(flatten)]
    way: WayArgs,
}

#[derive(Args, Debug)]
pub(in crate::words) struct HoldRmArgs {
    #[command(flatten)]
    what: HeldArgs,
    #[command(flatten)]
    wait: WaitArgs,
    #[command(flatten)]
    way: WayArgs,
}

pub(super) async fn run(screen: &mut Screen, command: HoldCommand) -> Result<(), Failure> {
    match command {
        HoldCommand::Add(args) => add(screen, args).await,
        HoldCommand::Rm(args) => remove(screen, args).await,
        HoldCommand::Ls(args) => list(screen, args).await,
    }
}

fn held(what: &HeldArgs, why: &str) -> Result<Hold, Failure> {
    let hold = Hold::new(&what.repository, &what.digest, why);
    hold.map_err(|bad| usage(bad, "for example team/app and sha256:…, as engines show it"))
}

async fn find(way: &mut Way, site: &Site, hold: &Hold) -> Result<Option<SecretView>, Failure> {
    let name = format!("{}.{HOLD}.{}", site.name, hold.slug());
    lookup::maybe(&mut way.link, &name).await.map_err(|error| error.failure())
}

async fn add(screen: &mut Screen, args: HoldAddArgs) -> Result<(), Failure> {
    let hold = held(&args.what, &args.why)?;
    let mut way = Way::open(screen, args.way)?;
    let site = Site::find(&mut way, args.what.registry).await?;
    if find(&mut way, &site, &hold).await?.is_some() {
        let text = format!("{}@{} is held already", hold.repository(), hold.digest());
        let hint = format!("`skep registry hold ls {}` says why", site.name);
        return Err(Failure::new(Exit::Refused, text).hint(hint));
    }
    let mut act = Act::default();
    let labels = [
        (REGISTRY, site.name.as_str()),
        (KIND, HOLD),
        (REPOSITORY, hold.repository()),
        (DIGEST, hold.digest()),
        (WHY, hold.why()),
    ];
    let (name, file) =
        (format!("{}.{HOLD}.{}", site.name, hold.slug()), format!("{HOLD}.{}", hold.slug()));
    let value = SecretBytes::take(hold.text().into_bytes());
    let secret = act.create(&mut way.dice, &name, &labels, value)?;
    act.grant(site.auth, secret, &file, FileOf::default())?;
    let revision = act.apply(&mut way, &format!("skep registry hold ls {}", site.name)).await?;
    way.wait(screen, args.wait, revision, vec![site.auth.as_bytes().to_vec()], false).await
}

async fn remove(screen: &mut Screen, args: HoldRmArgs) -> Result<(), Failure> {
    let hold = held(&args.what, "-")?;
    let mut way = Way::open(screen, args.way)?;
    let site = Site::find(&mut way, args.what.registry).await?;
    let Some(view) = find(&mut way, &site, &hold).await? else {
        let text = format!("{}@{} is not held", hold.repository(), hold.digest());
        let hint = format!("`skep registry hold ls {}` lists what is", site.name);
        return Err(Failure::new(Exit::Refused, text).hint(hint));
    };
    let (mut act, mut services) = (Act::default(), Vec::new());
    take_away(&mut way, &mut act, &view, &mut services).await?;
    let revision = act.apply(&mut way, &format!("skep registry hold ls {}", site.name)).await?;
    way.wait(screen, args.wait, revision, services, true).await
}

async fn list(screen: &mut Screen, args: LsArgs) -> Result<(), Failure> {
    let mut way = Way::open(screen, args.way)?;
    let site = Site::find(&mut way, args.registry).await?;
    for view in site.accounts(&mut way, HOLD).await? {
        let part = |key: &str| label(&view.labels, key).unwrap_or_default().to_owned();
        let (repository, digest, why) = (part(REPOSITORY), part(DIGEST), part(WHY));
        if args.format == "json" {
            let line = json!({
                "repository": repository, "digest": digest, "why": why, "secret": view.name,
                "since": view.created,
            });
            screen.data(&line.to_string())?;
        } else {
            screen.data(&format!("{}@{digest} {}", shown(&repository), shown(&why)))?;
        }
    }
    Ok(())
}
