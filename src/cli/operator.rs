//! `skep operator`.

use std::path::Path;

use super::args::{ClientArgs, OperatorCommand};
use super::link::{self, Chosen};
use super::problem::{Trouble, usage};
use super::shell::Shell;
use super::words;
use skep_client::ca::PrivateKey;
use skep_client::{Change, IdentityFile, apply, leaf_of};
use skep_core::base::{Exit, Failure, OperatorId, Stamp};
use skep_core::domain::Member;

/// How a person finds out what came of it.
const LOOK: &str = "skep status";

/// Runs it.
pub(super) async fn run(shell: &mut Shell, command: OperatorCommand) -> Result<(), Trouble> {
    let OperatorCommand::Renew { operator, new_key, client } = command;
    match operator {
        Some(operator) => readmit(shell, &operator, client).await,
        None => renew(shell, new_key, client).await,
    }
}

/// Lets an operator renew a certificate that ended long ago.
async fn readmit(shell: &mut Shell, operator: &str, client: ClientArgs) -> Result<(), Trouble> {
    let id: OperatorId = operator.parse().map_err(|_| {
        usage(
            format!("{operator} is no operator's id"),
            "an id has 26 characters: the operator's own commands show it when its certificate has ended",
        )
    })?;
    let mut link = link::about(shell, client, id)?;
    let changes = [Change::Readmit { member: Member::Operator(id) }];
    apply(&mut link, &mut *shell.dice, LOOK, &changes).await?;
    shell.screen.echo(operator);
    shell.screen.say("it may renew its certificate for a day: its next command does");
    Ok(())
}

/// Renews the identity in use.
async fn renew(shell: &mut Shell, new_key: bool, client: ClientArgs) -> Result<(), Trouble> {
    let Chosen { path, identity, mut link } = link::chosen(shell, client)?;
    // What can't be kept is not asked for.
    if !IdentityFile::is_replaceable(&path) {
        return Err(not_replaced(&path, "may not be written, or is not plainly one user's own"));
    }
    if new_key {
        let key = PrivateKey::generate().map_err(|error| Failure::new(Exit::Bug, error))?;
        link.renew_to(&key).await?;
    } else {
        link.renew_now().await?;
    }
    match IdentityFile::refresh(&path, &identity, &link.managers()) {
        Ok(true) => {}
        // With the key that it has nothing is lost: another command renewed it meanwhile.
        Ok(false) if !new_key && link.own_ends().is_some_and(|ends| lasts(&path, ends)) => {}
        Ok(false) => return Err(not_replaced(&path, "was changed or renewed meanwhile")),
        Err(error) => return Err(not_replaced(&path, &error.to_string())),
    }
    shell.screen.echo(&path.display().to_string());
    if let Some(ends) = link.own_ends() {
        shell.screen.say(&format!("its certificate is good {}", words::until(ends.0)));
    }
    if new_key {
        // Not heard now, they hear it with the next command.
        link.show().await?;
        shell.screen.say("copies of the file with the key before are good no more");
    }
    Ok(())
}

/// Whether the file has a certificate that ends no earlier.
fn lasts(path: &Path, ends: Stamp) -> bool {
    let now = IdentityFile::read(path).ok().and_then(|file| leaf_of(&file.identity).ok());
    now.is_some_and(|now| now.ends >= ends)
}

fn not_replaced(path: &Path, why: &str) -> Trouble {
    let text = format!("{} {why}: it is as it was, and as good", path.display());
    Failure::new(Exit::Refused, text).hint("run it where the file is its owner's to write").into()
}
