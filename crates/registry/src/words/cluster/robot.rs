//! `skep registry robot`: machines' accounts. The verifier and the credential reach both ends
//! by one act.

use clap::{Args, Subcommand};
use skep_client::lookup;
use skep_core::base::{Exit, Failure, Name, SecretBytes, ServiceId};
use skep_core::wire::api::SecretView;
use skep_program::{Screen, WaitArgs, Way, WayArgs};

use super::act::Act;
use super::ends::{end_of, now_s};
use super::fleet;
use super::held::{NewRobot, OWNERS, put_robot, service_on, verifier_of, written};
use super::site::{self, FORM, Site, account_name, label, registry_name};
use super::usage;
use super::user::{AccountArgs, LsArgs, credential, list, remove, rights_text};
use crate::rules::credential::RightsAsked;
use crate::rules::login::Form;
use crate::rules::password::draw_robot_password;
use crate::rules::slug::Account;

/// Seconds for which a password that was rotated is still taken: two nodes don't change at one
/// instant.
const OVERLAP_S: u32 = 60;

/// Machines' accounts
#[derive(Debug, Subcommand)]
pub(in crate::words) enum RobotCommand {
    /// Create a robot, and give its password to the service that uses it
    #[command(after_help = "Examples:
  skep registry robot create web ci --node build-1 --scope 'repository:web/*:pull,push'
  skep registry robot create web deploy --service shop --form docker --expires 90d
  skep registry robot create web laptop --owner alice --show --expires 2027-01-31
  skep registry robot create web pull --each-node --scope 'repository:**:pull'")]
    Create(CreateArgs),
    /// Give a robot another password, at both ends in one act
    #[command(after_help = "Examples:
  skep registry robot rotate web ci
  skep registry robot rotate web ci --now")]
    Rotate(RotateArgs),
    /// Remove a robot
    #[command(after_help = "Examples:
  skep registry robot rm web ci
  skep registry robot rm web alice+laptop")]
    Rm(AccountArgs),
    /// List robots
    #[command(after_help = "Examples:
  skep registry robot ls web
  skep registry robot ls web --format json")]
    Ls(LsArgs),
}

/// A form, as it was typed.
fn form(text: &str) -> Result<Form, String> {
    let read = text.parse::<Form>();
    read.map_err(|_| "is none of helper, docker, kubernetes and plain".to_owned())
}

#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("to").args(["node", "each_node", "service", "show"]).required(true).multiple(true))]
pub(in crate::words) struct CreateArgs {
    /// The registry
    #[arg(value_name = "NAME", value_parser = registry_name)]
    registry: Name,
    /// The robot
    #[arg(value_name = "ROBOT")]
    robot: String,
    /// Whose robot it is: it may do no more than that account, and is called OWNER+ROBOT
    #[arg(long, value_name = "USER", value_parser = account_name)]
    owner: Option<Account>,
    /// What it may do at most, as TYPE:NAME:ACTIONS; may be given several times
    #[arg(long, value_name = "SCOPE")]
    scope: Vec<String>,
    /// Give tokens to this network or address alone; may be given several times
    #[arg(long, value_name = "CIDR")]
    from: Vec<String>,
    /// Give no tokens any more after so long, or after that day: 90d, 2027-01-31
    #[arg(long, value_name = "WHEN")]
    expires: Option<String>,
    /// Give the credential to the service NAME.on.NODE, which is made if it isn't there
    #[arg(long, value_name = "NODE", conflicts_with = "service")]
    node: Option<Name>,
    /// Make one for each worker node that has none yet, called ROBOT.NODE
    #[arg(long, conflicts_with_all = ["node", "service", "show"])]
    each_node: bool,
    /// Give the credential to this service
    #[arg(long, value_name = "SERVICE")]
    service: Option<Name>,
    /// Print the credential, once
    #[arg(long)]
    show: bool,
    /// How the credential is written: helper, docker, kubernetes or plain
    #[arg(long, value_name = "FORM", value_parser = form, default_value = "helper")]
    form: Form,
    /// What the credential's file is called [default: as its form has it]
    #[arg(long, value_name = "FILE")]
    target: Option<String>,
    /// The user and group that may read the credential's file [default: 0:0]
    #[arg(long, value_name = "UID:GID", value_parser = uid_gid)]
    file_owner: Option<(u32, u32)>,
    #[command(flatten)]
    wait: WaitArgs,
    #[command(flatten)]
    way: WayArgs,
}

#[derive(Args, Debug)]
pub(in crate::words) struct RotateArgs {
    /// The registry
    #[arg(value_name = "NAME", value_parser = registry_name)]
    registry: Name,
    /// The robot; with an owner OWNER+ROBOT
    #[arg(value_name = "ROBOT", value_parser = account_name)]
    robot: Account,
    /// Take the old password no longer; else for a minute more
    #[arg(long)]
    now: bool,
    /// Print the credential, once
    #[arg(long)]
    show: bool,
    #[command(flatten)]
    wait: WaitArgs,
    #[command(flatten)]
    way: WayArgs,
}

fn uid_gid(text: &str) -> Result<(u32, u32), String> {
    let numbers = text.split_once(':').and_then(|(uid, gid)| {
        let number = |text: &str| text.parse::<u32>().ok().filter(|number| *number != u32::MAX);
        number(uid).zip(number(gid))
    });
    numbers.ok_or_else(|| "is written UID:GID in numbers, for example 999:999".to_owned())
}

pub(super) async fn run(screen: &mut Screen, command: RobotCommand) -> Result<(), Failure> {
    match command {
        RobotCommand::Create(args) => create(screen, args).await,
        RobotCommand::Rotate(args) => rotate(screen, args).await,
        RobotCommand::Rm(args) => remove(screen, args, "robot").await,
        RobotCommand::Ls(args) => list(screen, args, "robot").await,
    }
}

/// The robot's whole name.
fn account(robot: &str, owner: Option<&Account>) -> Result<Account, Failure> {
    let whole = match owner {
        Some(owner) => format!("{owner}+{robot}"),
        None => robot.to_owned(),
    };
    let read = whole.parse::<Account>();
    let read =
        read.map_err(|error| usage(error, "for example ci, or laptop with --owner alice"))?;
    if owner.is_none() && read.owner().is_some() {
        return Err(usage("an owner is given by --owner", "leave out the '+' and what is before"));
    }
    Ok(read)
}

async fn create(screen: &mut Screen, args: CreateArgs) -> Result<(), Failure> {
    let robot = account(&args.robot, args.owner.as_ref())?;
    let ends_s = args.expires.map(|text| end_of(&text, now_s())).transpose()?;
    let rights = rights_text(&RightsAsked {
        scopes: args.scope,
        from: args.from,
        not_after: ends_s,
        ..RightsAsked::default()
    })?;
    let mut way = Way::open(screen, args.way)?;
    let site = Site::find(&mut way, args.registry).await?;
    if let Some(owner) = &args.owner {
        let _there = site.verifier(&mut way, owner, "user").await?;
    }
    let (form, target, file_owner) = (args.form, args.target, args.file_owner);
    let file_mode = OWNERS;
    let new = NewRobot { account: robot, rights, ends_s, form, target, file_owner, file_mode };
    if args.each_node {
        return fleet::create(screen, &mut way, &site, &new, args.wait).await;
    }
    site.absent(&mut way, &new.account).await?;
    let mut act = Act::default();
    let user = match (args.node, args.service) {
        (Some(node), _) => Some(service_on(&mut act, &mut way, &site, node).await?),
        (None, Some(service)) => Some(existing(&mut way, &service).await?),
        (None, None) => None,
    };
    let text = put_robot(&mut act, &mut way, &site, &new, user)?;
    let both = [Some(site.auth), user].into_iter().flatten();
    let services = both.map(|service| service.as_bytes().to_vec()).collect();
    let look = format!("skep registry robot ls {}", site.name);
    let revision = act.apply(&mut way, &look).await?;
    if args.show {
        screen.data(text.trim_end())?;
    }
    way.wait(screen, args.wait, revision, services, false).await
}

async fn existing(way: &mut Way, service: &Name) -> Result<ServiceId, Failure> {
    let Some(view) = site::service(way, service.as_str()).await? else {
        let text = format!("service {service} not found");
        return Err(Failure::new(Exit::Refused, text).hint("`skep service ls` lists all"));
    };
    lookup::id(&view.id).map_err(|error| error.failure())
}

async fn rotate(screen: &mut Screen, args: RotateArgs) -> Result<(), Failure> {
    let mut way = Way::open(screen, args.way)?;
    let site = Site::find(&mut way, args.registry).await?;
    let view = site.verifier(&mut way, &args.robot, "robot").await?;
    let id = site::id_of(&view)?;
    let held = site.part(&mut way, "robot", &args.robot).await?;
    if held.is_none() && !args.show {
        let text = "no service has this robot's credential: its new password would be lost";
        return Err(usage(text, "print it with --show"));
    }
    let form = held.as_ref().map_or(Ok(Form::Helper), form_of)?;
    let password = draw_robot_password(&mut way.dice);
    let text = written(&site, &args.robot, &password, form)?;
    let overlap_s = if args.now { 0 } else { OVERLAP_S };
    let credential = credential(&mut way, id, verifier_of(&password)?, overlap_s);
    let mut act = Act::default();
    let mut services = vec![site.auth.as_bytes().to_vec()];
    let value = SecretBytes::take(credential.text().into_bytes());
    let secret = lookup::id(&view.id).map_err(|error| error.failure())?;
    act.update(secret, view.current, value);
    if let Some(held) = held {
        let secret = lookup::id(&held.id).map_err(|error| error.failure())?;
        act.update(secret, held.current, SecretBytes::copy_of(text.as_bytes()));
        for name in &held.services {
            services.extend(site::service(&mut way, name).await?.map(|view| view.id));
        }
    }
    let look = format!("skep secret inspect {}", view.name);
    let revision = act.apply(&mut way, &look).await?;
    if args.show {
        screen.data(text.trim_end())?;
    }
    way.wait(screen, args.wait, revision, services, false).await
}

/// The form in which a credential was written.
fn form_of(view: &SecretView) -> Result<Form, Failure> {
    let word = label(&view.labels, FORM).unwrap_or_default();
    word.parse::<Form>().map_err(|_unknown| {
        usage(
            format!("the label `{FORM}` of the secret {} is gone or changed", view.name),
            "put it back: helper, docker, kubernetes or plain",
        )
    })
}
