//! `skep exec`: the words for `daemon::exec`.

use crate::daemon::exec::{ExecConfig, exec};
use skep_core::base::{Exit, Failure};

use super::args::ExecArgs;
use super::problem::Trouble;
use super::settings::agent_socket;
use super::users;

/// Runs it. It returns only where the command was not run.
pub(super) fn run(args: ExecArgs) -> Trouble {
    let user = match args.user.as_deref().map(users::resolve).transpose() {
        Ok(user) => user,
        Err(error) => {
            return Failure::new(Exit::NotRun, &error).hint(error.hint()).into();
        }
    };
    let socket = match agent_socket(args.socket) {
        Ok(socket) => socket,
        Err(failure) => return Failure { exit: Exit::NotRun, ..failure }.into(),
    };
    let (service, timeout, command) = (args.service, args.timeout, args.command);
    let failure = exec(&ExecConfig { socket, service, user, timeout, command });
    if failure.hint.is_some() {
        return failure.into();
    }
    failure.hint("`skep agent status` shows the services here, and why one is not in place").into()
}
