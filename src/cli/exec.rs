//! `skep exec`: the words for `daemon::exec`.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use super::args::ExecArgs;
use super::problem::Trouble;
use super::settings::agent_socket;
use super::users::{self, Account};
use crate::agent::vault::Told;
use crate::daemon::exec::{ExecConfig, exec};
use skep_client::machine::SystemClock;
use skep_core::base::{BootTime, Clock as _, Exit, Failure};

/// A shell for those for whom none is named, as login(1) takes it.
const SHELL: &str = "/bin/sh";

/// Runs it. It returns only where the command was not run.
pub(super) fn run(args: ExecArgs) -> Trouble {
    let until = after(args.timeout);
    let found = match args.user.as_deref().map(|user| users::resolve(user, until)).transpose() {
        Ok(found) => found,
        Err(error) => {
            return Failure::new(Exit::NotRun, &error).hint(error.hint()).into();
        }
    };
    let socket = match agent_socket(args.socket) {
        Ok(socket) => socket,
        Err(failure) => return Failure { exit: Exit::NotRun, ..failure }.into(),
    };
    let (user, surroundings) = match found {
        Some((user, account)) => (Some(user), surroundings(account.as_ref())),
        None => (None, Vec::new()),
    };
    let (service, command, timeout) = (args.service, args.command, args.timeout);
    let restarts = args.restart_on_change.then_some(Told::Restarts);
    let told = args.signal_on_change.map(Told::Signal).or(restarts);
    let config = ExecConfig { socket, service, user, surroundings, told, timeout, until, command };
    let failure = exec(&config);
    if failure.hint.is_some() {
        return failure.into();
    }
    failure.hint("`skep agent status` shows the services here, and why one is not in place").into()
}

fn after(wait: Duration) -> BootTime {
    let wait = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
    BootTime(SystemClock.boot().0.saturating_add(wait))
}

/// What su(1) and systemd's `User=` put into a command's environment, and take out of it: the
/// caller's own would be another user's.
fn surroundings(account: Option<&Account>) -> Vec<(&'static str, Option<OsString>)> {
    let name = account.map(|account| account.name.clone().into());
    let home =
        account.map(|account| account.home.clone()).filter(|home| Path::new(home).is_absolute());
    let shell = account.map(|account| account.shell.clone()).filter(|shell| !shell.is_empty());
    vec![
        ("HOME", Some(home.unwrap_or_else(|| "/".to_owned()).into())),
        ("SHELL", Some(shell.unwrap_or_else(|| SHELL.to_owned()).into())),
        ("USER", name.clone()),
        ("LOGNAME", name),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commands_surroundings_are_its_users() {
        let account = |home: &str, shell: &str| Account {
            name: "app".to_owned(),
            home: home.to_owned(),
            shell: shell.to_owned(),
        };
        let said = |account: Option<&Account>| {
            let said = surroundings(account).into_iter();
            let text = |value: Option<OsString>| value.map_or("-".into(), |value| value);
            said.map(|(key, value)| format!("{key}={}", text(value).display())).collect::<Vec<_>>()
        };
        let app = account("/srv/app", "/bin/bash");
        let whole = ["HOME=/srv/app", "SHELL=/bin/bash", "USER=app", "LOGNAME=app"];
        assert_eq!(said(Some(&app)), whole);
        let bare = ["HOME=/", "SHELL=/bin/sh", "USER=app", "LOGNAME=app"];
        assert_eq!(said(Some(&account("", ""))), bare);
        assert_eq!(said(Some(&account("relative", ""))), bare);
        assert_eq!(said(None), ["HOME=/", "SHELL=/bin/sh", "USER=-", "LOGNAME=-"]);
    }
}
