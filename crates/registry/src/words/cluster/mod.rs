//! Commands that make something of a registry: clients of the managers, as `skep` is one.

mod act;
mod ends;
mod fleet;
mod held;
mod hold;
mod key;
mod keys;
mod policy;
mod robot;
mod root;
mod rules;
mod setup;
mod signer;
mod signing;
mod site;
mod status;
mod texts;
mod user;

use skep_core::base::{Exit, Failure, Name};
use skep_program::{Screen, Way, WayArgs, harden};
use tokio::runtime::Runtime;

pub(super) use ends::now_s;
pub(super) use hold::HoldCommand;
pub(super) use key::KeyCommand;
pub(super) use policy::PolicyArgs;
pub(super) use robot::RobotCommand;
pub(super) use root::RootCommand;
pub(super) use rules::{AclImportArgs, SetArgs};
pub(super) use setup::SetupArgs;
pub(super) use signer::SignerCommand;
pub(super) use site::registry_name;
pub(super) use status::StatusArgs;
pub(super) use user::UserCommand;

use crate::rules::login::Host;
use crate::rules::shown;
use site::Site;

/// Connections at once: one to a manager, or to a registry, and room for the next.
const CONNECTIONS: u64 = 16;

/// What is done of it.
#[derive(Debug)]
pub(super) enum Task {
    Setup(SetupArgs),
    User(UserCommand),
    Robot(RobotCommand),
    Signer(SignerCommand),
    Root(RootCommand),
    Status(StatusArgs),
    Rules(SetArgs),
    Import(AclImportArgs),
    Hold(HoldCommand),
    Key(KeyCommand),
    Policy(PolicyArgs),
}

/// A protected process that can wait.
pub(super) fn runtime() -> Result<Runtime, Failure> {
    harden(CONNECTIONS).map_err(|error| {
        Failure::new(Exit::MachineLimit, format!("cannot protect this process: {error}"))
    })?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Failure::new(Exit::MachineLimit, format!("cannot start: {error}")))
}

/// Where engines find the registry of this name, as managers have it.
pub(super) async fn whereabouts(
    screen: &mut Screen,
    way: WayArgs,
    name: Name,
) -> Result<Host, Failure> {
    let mut way = Way::open(screen, way)?;
    let site = Site::find(&mut way, name).await?;
    site.host()
}

/// Does it.
pub(super) fn run(screen: &mut Screen, task: Task) -> Result<(), Failure> {
    runtime()?.block_on(async {
        match task {
            Task::Setup(args) => setup::run(screen, args).await,
            Task::User(command) => user::run(screen, command).await,
            Task::Robot(command) => robot::run(screen, command).await,
            Task::Signer(command) => signer::run(screen, command).await,
            Task::Root(command) => root::run(screen, command).await,
            Task::Status(args) => status::run(screen, args).await,
            Task::Rules(args) => rules::set(screen, args).await,
            Task::Hold(command) => hold::run(screen, command).await,
            Task::Key(command) => key::run(screen, command).await,
            Task::Policy(args) => policy::run(screen, args).await,
            Task::Import(args) => rules::import(screen, args).await,
        }
    })
}

/// Who has not got a change yet, as far as it is known.
pub(super) fn not_yet_on(nodes: &[String]) -> String {
    if nodes.is_empty() {
        return "which nodes have it is not known".to_owned();
    }
    let nodes: Vec<String> = nodes.iter().map(|node| shown(node)).collect();
    format!("not yet on {}", nodes.join(", "))
}

/// Bad input.
fn usage(text: impl std::fmt::Display, hint: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Usage, text).hint(hint)
}
