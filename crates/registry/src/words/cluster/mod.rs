//! Commands that make something of a registry: clients of the managers, as `skep` is one.

mod act;
mod keys;
mod robot;
mod setup;
mod signer;
mod site;
mod texts;
mod user;
mod way;

use skep_core::base::{Exit, Failure};

pub(super) use robot::RobotCommand;
pub(super) use setup::SetupArgs;
pub(super) use signer::SignerCommand;
pub(super) use user::UserCommand;

use super::screen::Screen;

/// What is done of it.
#[derive(Debug)]
pub(super) enum Task {
    Setup(SetupArgs),
    User(UserCommand),
    Robot(RobotCommand),
    Signer(SignerCommand),
}

/// Does it.
pub(super) fn run(screen: &mut Screen, task: Task) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime
        .map_err(|error| Failure::new(Exit::MachineLimit, format!("cannot start: {error}")))?;
    super::auth::harden().map_err(|error| {
        Failure::new(Exit::MachineLimit, format!("cannot protect this process: {error}"))
    })?;
    runtime.block_on(async {
        match task {
            Task::Setup(args) => setup::run(screen, args).await,
            Task::User(command) => user::run(screen, command).await,
            Task::Robot(command) => robot::run(screen, command).await,
            Task::Signer(command) => signer::run(screen, command).await,
        }
    })
}

/// Bad input.
fn usage(text: impl std::fmt::Display, hint: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Usage, text).hint(hint)
}
