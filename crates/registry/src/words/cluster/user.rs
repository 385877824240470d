//! `skep registry user`: people's accounts.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _};

use clap::{Args, Subcommand};
use serde_json::json;
use skep_client::lookup;
use skep_client::machine::{hidden_twice, stdin_once, without_line_end};
use skep_core::base::{Failure, Name, SecretBytes, draw};

use super::act::{Act, FileOf};
use super::ends::ends_label;
use super::site::{
    self, ACCOUNT, ENDS, ID, KIND, REGISTRY, Site, account_name, label, registry_name,
};
use super::usage;
use crate::rules::credential::{Credential, Rights, RightsAsked, Tag, Verifier};
use crate::rules::password::{PERSON, unfit};
use crate::rules::slug::Account;
use skep_program::Screen;
use skep_program::{WaitArgs, Way, WayArgs};

/// People's accounts
#[derive(Debug, Subcommand)]
pub(in crate::words) enum UserCommand {
    /// Add a user; the password comes from standard input, or is asked for twice
    #[command(after_help = "Examples:
  skep registry user add web alice < password.txt
  skep registry user add web bob --label team=ops --from 10.0.0.0/8
  skep registry user add web carol --htpasswd < htpasswd.txt")]
    Add(AddArgs),
    /// Give a user another password; the old one and refresh tokens end at once
    #[command(after_help = "Examples:
  skep registry user passwd web alice < password.txt
  skep registry user passwd web carol --htpasswd < htpasswd.txt")]
    Passwd(PasswdArgs),
    /// Remove a user
    #[command(after_help = "Examples:
  skep registry user rm web alice
  skep registry user rm web alice --detach")]
    Rm(AccountArgs),
    /// List users
    #[command(after_help = "Examples:
  skep registry user ls web
  skep registry user ls web --format json")]
    Ls(LsArgs),
}

#[derive(Args, Debug)]
pub(in crate::words) struct AddArgs {
    /// The registry
    #[arg(value_name = "NAME", value_parser = registry_name)]
    registry: Name,
    /// The user
    #[arg(value_name = "USER", value_parser = account_name)]
    user: Account,
    /// Read a bcrypt hash, as htpasswd -B writes it, in place of a password
    #[arg(long)]
    htpasswd: bool,
    /// A label that rules may ask for, as often as there are values
    #[arg(short, long = "label", value_name = "K=V")]
    labels: Vec<String>,
    /// Give tokens to this network or address alone; may be given several times
    #[arg(long, value_name = "CIDR")]
    from: Vec<String>,
    #[command(flatten)]
    wait: WaitArgs,
    #[command(flatten)]
    way: WayArgs,
}

#[derive(Args, Debug)]
pub(in crate::words) struct PasswdArgs {
    /// The registry
    #[arg(value_name = "NAME", value_parser = registry_name)]
    registry: Name,
    /// The user
    #[arg(value_name = "USER", value_parser = account_name)]
    user: Account,
    /// Read a bcrypt hash, as htpasswd -B writes it, in place of a password
    #[arg(long)]
    htpasswd: bool,
    #[command(flatten)]
    wait: WaitArgs,
    #[command(flatten)]
    way: WayArgs,
}

/// One account, to be removed.
#[derive(Args, Debug)]
pub(in crate::words) struct AccountArgs {
    /// The registry
    #[arg(value_name = "NAME", value_parser = registry_name)]
    pub(super) registry: Name,
    /// The account
    #[arg(value_name = "ACCOUNT", value_parser = account_name)]
    pub(super) account: Account,
    #[command(flatten)]
    pub(super) wait: WaitArgs,
    #[command(flatten)]
    pub(super) way: WayArgs,
}

/// A list.
#[derive(Args, Debug)]
pub(in crate::words) struct LsArgs {
    /// The registry
    #[arg(value_name = "NAME", value_parser = registry_name)]
    pub(super) registry: Name,
    /// How it is shown
    #[arg(long, value_name = "FORMAT", value_parser = ["text", "json"], default_value = "text")]
    pub(super) format: String,
    #[command(flatten)]
    pub(super) way: WayArgs,
}

pub(super) async fn run(screen: &mut Screen, command: UserCommand) -> Result<(), Failure> {
    match command {
        UserCommand::Add(args) => add(screen, args).await,
        UserCommand::Passwd(args) => passwd(screen, args).await,
        UserCommand::Rm(args) => remove(screen, args, "user").await,
        UserCommand::Ls(args) => list(screen, args, "user").await,
    }
}

async fn add(screen: &mut Screen, args: AddArgs) -> Result<(), Failure> {
    if args.user.owner().is_some() {
        return Err(usage("a name with '+' is a robot's", "see `skep registry robot --help`"));
    }
    let labels = labels_of(&args.labels)?;
    let asked = RightsAsked { labels, from: args.from, ..RightsAsked::default() };
    let rights = rights_text(&asked)?;
    let mut way = Way::open(screen, args.way)?;
    let site = Site::find(&mut way, args.registry).await?;
    site.absent(&mut way, &args.user).await?;
    let id = Tag::from_bytes(draw::<16>(&mut way.dice));
    let verifier = verifier(&mut way, &args.user, args.htpasswd)?;
    let credential = credential(&mut way, id, verifier, 0);
    let mut act = Act::default();
    let new = NewAccount { account: &args.user, kind: "user", rights: &rights, ends_s: None };
    put_account(&mut act, &mut way, &site, new, &credential)?;
    let look = format!("skep registry user ls {}", site.name);
    let revision = act.apply(&mut way, &look).await?;
    let auth = site.auth.as_bytes().to_vec();
    way.wait(screen, args.wait, revision, vec![auth], false).await
}

/// An account to be made.
#[derive(Clone, Copy, Debug)]
pub(super) struct NewAccount<'n> {
    pub(super) account: &'n Account,
    /// `user` or `robot`.
    pub(super) kind: &'n str,
    /// The text of its rights.
    pub(super) rights: &'n str,
    /// Seconds since 1970, as its rights say too: for managers, who see none.
    pub(super) ends_s: Option<u64>,
}

/// The verifier and the rights of a new account, granted to the token servers.
pub(super) fn put_account(
    act: &mut Act,
    way: &mut Way,
    site: &Site,
    new: NewAccount<'_>,
    credential: &Credential,
) -> Result<(), Failure> {
    let NewAccount { account, kind, rights, ends_s } = new;
    let ends = ends_s.map(ends_label);
    let id = credential.id.to_string();
    let registry = (REGISTRY, site.name.as_str());
    let named = (ACCOUNT, account.as_str());
    let slug = account.slug();
    let text = SecretBytes::take(credential.text().into_bytes());
    for (part, kind, value) in
        [("rights", "rights", SecretBytes::copy_of(rights.as_bytes())), ("user", kind, text)]
    {
        let name = site.secret_name(part, account);
        let mut labels = vec![registry, (KIND, kind), named];
        if part == "user" {
            labels.push((ID, &id));
            labels.extend(ends.as_deref().map(|ends| (ENDS, ends)));
        }
        let secret = act.create_forward_only(&mut way.dice, &name, &labels, value)?;
        // What people write themselves: who they are, and never what they may.
        let write = (site.self_service && part == "user" && kind == "user").then_some(true);
        let of = FileOf { write, ..FileOf::default() };
        act.grant(site.auth, secret, &format!("{part}.{slug}"), of)?;
    }
    Ok(())
}

/// A credential that was never there before.
pub(super) fn credential(way: &mut Way, id: Tag, verifier: Verifier, overlap_s: u32) -> Credential {
    let generation = Tag::from_bytes(draw::<16>(&mut way.dice));
    Credential { id, generation, verifier, overlap_s }
}

async fn passwd(screen: &mut Screen, args: PasswdArgs) -> Result<(), Failure> {
    let mut way = Way::open(screen, args.way)?;
    let site = Site::find(&mut way, args.registry).await?;
    let view = site.verifier(&mut way, &args.user, "user").await?;
    let id = site::id_of(&view)?;
    let verifier = verifier(&mut way, &args.user, args.htpasswd)?;
    let credential = credential(&mut way, id, verifier, 0);
    let secret = lookup::id(&view.id).map_err(|error| error.failure())?;
    let mut act = Act::default();
    act.update(secret, view.current, SecretBytes::take(credential.text().into_bytes()));
    let revision = act.apply(&mut way, &format!("skep secret inspect {}", view.name)).await?;
    let auth = site.auth.as_bytes().to_vec();
    way.wait(screen, args.wait, revision, vec![auth], false).await
}

/// Removes an account of this kind.
pub(super) async fn remove(
    screen: &mut Screen,
    args: AccountArgs,
    kind: &str,
) -> Result<(), Failure> {
    let mut way = Way::open(screen, args.way)?;
    let site = Site::find(&mut way, args.registry).await?;
    let _there = site.verifier(&mut way, &args.account, kind).await?;
    let (revision, services) = site.remove(&mut way, &args.account).await?;
    way.wait(screen, args.wait, revision, services, true).await
}

/// Lists accounts of this kind.
pub(super) async fn list(screen: &mut Screen, args: LsArgs, kind: &str) -> Result<(), Failure> {
    let mut way = Way::open(screen, args.way)?;
    let site = Site::find(&mut way, args.registry).await?;
    for view in site.accounts(&mut way, kind).await? {
        let name = label(&view.labels, ACCOUNT).unwrap_or_default();
        // Whose name it isn't is found by its file's name, and not by what a label claims.
        let is_its = name.parse::<Account>().is_ok_and(|account| {
            view.name.eq_ignore_ascii_case(&site.secret_name("user", &account))
        });
        let name = if is_its { name } else { "" };
        if args.format == "json" {
            let owner = name.split_once('+').map(|(owner, _)| owner);
            let line = json!({
                "account": name, "owner": owner, "secret": view.name,
                "version": view.current, "created": view.created, "updated": view.updated,
            });
            screen.data(&line.to_string())?;
        } else if is_its {
            screen.data(name)?;
        } else {
            screen.say(&format!("warning: secret {}: its label `account` was changed", view.name));
        }
    }
    Ok(())
}

/// Labels as they were typed.
fn labels_of(typed: &[String]) -> Result<BTreeMap<String, Vec<String>>, Failure> {
    let mut labels: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for text in typed {
        let pair = text.split_once('=').filter(|(key, _)| !key.is_empty());
        let Some((key, value)) = pair else {
            return Err(usage("a label is written KEY=VALUE", "for example --label team=web"));
        };
        labels.entry(key.to_owned()).or_default().push(value.to_owned());
    }
    Ok(labels)
}

/// What bounds an account, or why it can't be.
pub(super) fn rights_text(asked: &RightsAsked) -> Result<String, Failure> {
    Rights::text(asked).map_err(|error| {
        usage(
            error,
            "scopes are written repository:web/*:pull,push, networks 10.0.0.0/8; at most 64 each",
        )
    })
}

/// What compares with the password, or the hash, on standard input.
fn verifier(way: &mut Way, user: &Account, htpasswd: bool) -> Result<Verifier, Failure> {
    if htpasswd {
        return of_htpasswd(user);
    }
    let most = PERSON.end() + 2;
    let read =
        if io::stdin().is_terminal() { hidden_twice("Password: ", most) } else { stdin_once(most) };
    let hint = "pipe the password in, or type it on a terminal: it is never an argument";
    let password = read.map_err(|error| match error.kind() {
        io::ErrorKind::FileTooLarge => usage("a password has 8 to 256 bytes", hint),
        _ => usage(format!("no password: {error}"), hint),
    })?;
    let password = without_line_end(password);
    let bytes = password.expose();
    if let Some(why) = unfit(bytes) {
        return Err(usage(why, hint));
    }
    let salt = draw::<16>(&mut way.dice);
    Verifier::of_password(bytes, &salt).map_err(|error| usage(error, hint))
}

/// A bcrypt hash: alone, or behind the user's name as in a line of htpasswd.
fn of_htpasswd(user: &Account) -> Result<Verifier, Failure> {
    let hint = "write it with `htpasswd -nB USER`; the cost is 4 to 14";
    let read = stdin_once(1024);
    let text = read.map_err(|error| usage(format!("no hash: {error}"), hint))?;
    let text = std::str::from_utf8(text.expose()).unwrap_or_default().trim();
    let hash = match text.rsplit_once(':') {
        Some((name, hash)) if name == user.as_str() => hash,
        Some(_) => return Err(usage("the hash is another user's", hint)),
        None => text,
    };
    Verifier::read("bcrypt", hash.to_owned())
        .map_err(|_bad| usage("that is no hash of bcrypt, or its cost is out of bounds", hint))
}
