//! `skep registry acl set` and `acl import`: the rules of a registry, put in force.

use std::collections::HashSet;
use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use skep_client::lookup;
use skep_core::base::{Exit, Failure, Name, SecretBytes, SecretId, draw};
use skep_core::wire::api::SecretView;
use skep_program::{Screen, WaitArgs, Way, WayArgs};

use super::act::Act;
use super::site::{Site, registry_name};
use super::user::{NewAccount, credential, put_account, rights_text};
use crate::rules::acl::ACL_BYTES;
use crate::rules::credential::{RightsAsked, Tag, Verifier};
use crate::rules::import::{Imported, ImportedUser};
use crate::rules::{Acl, shown};
use crate::words::file::read_text;
use crate::words::import::read_docker_auth;

/// Accounts of one act: each is four changes, and there are 64 to an act.
const AT_ONCE: usize = 15;
/// Names that are shown.
const SHOWN: usize = 10;
const RULES: &str = "acl.toml";

#[derive(Args, Debug)]
pub(in crate::words) struct SetArgs {
    /// The registry
    #[arg(value_name = "NAME", value_parser = registry_name)]
    registry: Name,
    /// The rules
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    wait: WaitArgs,
    #[command(flatten)]
    way: WayArgs,
}

#[derive(Args, Debug)]
pub(in crate::words) struct AclImportArgs {
    /// The registry
    #[arg(value_name = "NAME", value_parser = registry_name)]
    registry: Name,
    /// The configuration of `docker_auth`, in YAML
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Leave users that are there as they are, and bring over the others
    #[arg(long)]
    keep_existing: bool,
    #[command(flatten)]
    wait: WaitArgs,
    #[command(flatten)]
    way: WayArgs,
}

/// The secret of a registry's rules, as it is now.
async fn rules_of(way: &mut Way, site: &Site) -> Result<(SecretId, u32), Failure> {
    let name = format!("{}.{RULES}", site.name);
    let view: Option<SecretView> =
        lookup::maybe(&mut way.link, &name).await.map_err(|error| error.failure())?;
    let view = view.ok_or_else(|| {
        Failure::new(Exit::Refused, format!("there is no secret {name}"))
            .hint("`skep secret ls` lists what is there")
    })?;
    let id = lookup::id(&view.id).map_err(|error| error.failure())?;
    Ok((id, view.current))
}

/// Puts rules in force that read; others change nothing.
pub(super) async fn set(screen: &mut Screen, args: SetArgs) -> Result<(), Failure> {
    let text = read_text(&args.file, ACL_BYTES)?;
    let acl = Acl::parse(&text).map_err(|bad| {
        let text = format!("{}: {bad}", args.file.display());
        Failure::new(Exit::Configuration, text).hint(&bad.hint)
    })?;
    let mut way = Way::open(screen, args.way)?;
    let site = Site::find(&mut way, args.registry).await?;
    let (secret, current) = rules_of(&mut way, &site).await?;
    let mut act = Act::default();
    act.update(secret, current, SecretBytes::take(text.into_bytes()));
    let look = format!("skep secret versions {}.{RULES}", site.name);
    let revision = act.apply(&mut way, &look).await?;
    screen.data(&format!("rules: {}", acl.len()))?;
    way.wait(screen, args.wait, revision, vec![site.auth.as_bytes().to_vec()], false).await
}

/// Users first, then the rules: nobody may do anything before there are rules for it.
pub(super) async fn import(screen: &mut Screen, args: AclImportArgs) -> Result<(), Failure> {
    let imported = read_docker_auth(screen, &args.file)?;
    let mut way = Way::open(screen, args.way)?;
    let site = Site::find(&mut way, args.registry).await?;
    let (secret, current) = rules_of(&mut way, &site).await?;
    let users = to_make(&mut way, &site, &imported, args.keep_existing).await?;
    let (mut made, all) = (0, users.len());
    let look = format!("skep registry user ls {}", site.name);
    let mut batches = users.chunks(AT_ONCE).peekable();
    let mut revision = 0;
    loop {
        let batch = batches.next().unwrap_or_default();
        let mut act = Act::default();
        for user in batch {
            put_user(&mut act, &mut way, &site, user)?;
        }
        let last = batches.peek().is_none();
        if last {
            act.update(secret, current, SecretBytes::copy_of(imported.acl.as_bytes()));
        }
        revision = act
            .apply(&mut way, &look)
            .await
            .map_err(|mut failure| {
                if made > 0 {
                    let more = format!("; {made} of {all} users came over before it, and no rules");
                    failure.text.push_str(&more);
                    failure = failure.hint("repeat it with --keep-existing, which brings the rest");
                }
                failure
            })?
            .max(revision);
        made += batch.len();
        if last {
            break;
        }
    }
    screen.data(&format!("users: {made}, rules: {}", imported.rules))?;
    told(screen, &site, &imported);
    way.wait(screen, args.wait, revision, vec![site.auth.as_bytes().to_vec()], false).await
}

/// The users that are not there yet.
async fn to_make<'i>(
    way: &mut Way,
    site: &Site,
    imported: &'i Imported,
    keep: bool,
) -> Result<Vec<&'i ImportedUser>, Failure> {
    let all: Vec<SecretView> =
        lookup::all(&mut way.link, false).await.map_err(|error| error.failure())?;
    let names: HashSet<String> =
        all.into_iter().map(|view| view.name.to_ascii_lowercase()).collect();
    let is_there = |user: &&ImportedUser| {
        let parts = ["user", "rights"].map(|part| site.secret_name(part, &user.account));
        parts.iter().any(|name| names.contains(&name.to_ascii_lowercase()))
    };
    let (there, new): (Vec<_>, Vec<_>) = imported.users.iter().partition(is_there);
    if there.is_empty() || keep {
        return Ok(new);
    }
    let named: Vec<_> = there.iter().take(SHOWN).map(|user| shown(user.account.as_str())).collect();
    let more = there.len().saturating_sub(SHOWN);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let text = format!("users exist already: {}{more}; nothing was changed", named.join(", "));
    Err(Failure::new(Exit::Refused, text)
        .hint("remove them, or leave them as they are with --keep-existing"))
}

fn put_user(act: &mut Act, way: &mut Way, site: &Site, user: &ImportedUser) -> Result<(), Failure> {
    let labels = user.labels.clone();
    let rights = rights_text(&RightsAsked { labels, ..RightsAsked::default() })?;
    let verifier = Verifier::read("bcrypt", user.hash.clone())
        .map_err(|error| Failure::new(Exit::Bug, error))?;
    let id = Tag::from_bytes(draw::<16>(&mut way.dice));
    let credential = credential(way, id, verifier, 0);
    let new = NewAccount { account: &user.account, kind: "user", rights: &rights, ends_s: None };
    put_account(act, way, site, new, &credential)
}

/// What has to be done by hand.
fn told(screen: &mut Screen, site: &Site, imported: &Imported) {
    let mut settings = json!({});
    if let Some(keys) = settings.as_object_mut() {
        if imported.anonymous {
            keys.insert("anonymous".to_owned(), json!(true));
        }
        if let Some(issuer) = &imported.issuer {
            keys.insert("issuer".to_owned(), json!(shown(issuer)));
        }
    }
    for (key, value) in settings.as_object().into_iter().flatten() {
        screen.say(&format!(
            "auth.toml had {key} = {value}: `skep secret update {}.auth.toml FILE`",
            site.name
        ));
    }
    if !imported.anew.is_empty() {
        screen.say(&format!("made anew, so not taken over: {}", imported.anew.join(", ")));
    }
}
