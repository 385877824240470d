//! `skep operator`.

use std::path::Path;

use serde_json::{Value, json};

use super::acts::{self, Named};
use super::args::{ClientArgs, EncryptArgs, ListArgs, OperatorCommand};
use super::enrol;
use super::filter::Filter;
use super::link::{self, Chosen};
use super::passphrase;
use super::problem::Trouble;
use super::render::{self, Cell, Column, Format};
use super::shell::Shell;
use super::{spec, words};
use skep_client::ca::PrivateKey;
use skep_client::{Change, IdentityFile, Passphrases, apply, lookup};
use skep_core::base::{Exit, Failure, OperatorId, Stamp};
use skep_core::domain::Member;
use skep_core::wire::api::OperatorView;

/// How a person finds out what came of it.
const LOOK: &str = "skep operator ls";

const COLUMNS: [Column; 7] = [
    ("ID", Cell::Field("id")),
    ("NAME", Cell::Field("name")),
    ("ROLE", Cell::Field("role")),
    ("SCOPE", Cell::Field("scope")),
    ("STATE", Cell::Field("state")),
    ("CREATED", Cell::Ago("created_at")),
    ("ENDS", Cell::Ago("ends_at")),
];

/// Runs it.
pub(super) async fn run(shell: &mut Shell, command: OperatorCommand) -> Result<(), Trouble> {
    match command {
        OperatorCommand::Create(args) => enrol::create(shell, args).await,
        OperatorCommand::Request { out, fingerprint, passphrase, new_passphrase_file } => {
            let encrypt = EncryptArgs { passphrase, new_passphrase_file };
            enrol::request(shell, &out, fingerprint.as_deref(), &encrypt)
        }
        OperatorCommand::Accept {
            answer,
            key,
            out,
            encrypt,
            passphrase_file,
            identity_command,
        } => {
            let passphrases = Passphrases::new(passphrase_file, identity_command);
            enrol::accept(shell, &answer, (&key, &passphrases), out, &encrypt)
        }
        OperatorCommand::Recover { name, key_file, out, encrypt, local } => {
            let file = (out, &encrypt);
            enrol::recover(shell, &name, key_file, file, local).await
        }
        OperatorCommand::Passphrase { new_passphrase_file, remove, client } => {
            passphrase::change(shell, new_passphrase_file.as_deref(), remove, client)
        }
        OperatorCommand::Ls { list, client } => ls(shell, &list, client).await,
        OperatorCommand::Rm { operators, client } => rm(shell, &operators, client).await,
        OperatorCommand::Renew { operator: Some(operator), client, .. } => {
            readmit(shell, &operator, client).await
        }
        OperatorCommand::Renew { operator: None, new_key, client } => {
            renew(shell, new_key, client).await
        }
    }
}

async fn ls(shell: &mut Shell, args: &ListArgs, client: ClientArgs) -> Result<(), Trouble> {
    let format = Format::parse(args.show.format.of.as_deref())?;
    let filters = Filter::parse_all(&args.filters)?;
    let mut link = link::link(shell, client)?;
    let mut operators: Vec<OperatorView> = lookup::all(&mut link, args.show.stale).await?;
    operators.retain(|operator| filters.iter().all(|filter| filter.fits(operator)));
    operators.sort_by(|a, b| a.name.cmp(&b.name));
    if args.quiet {
        return operators.iter().try_for_each(|of| shell.screen.data(&render::id(&of.id)));
    }
    let now = shell.clock.now();
    let things: Vec<Value> = operators.iter().map(|of| shown(of, now)).collect();
    render::list(shell, &format, &COLUMNS, &things)
}

fn shown(of: &OperatorView, now: Stamp) -> Value {
    let constraints = of.constraints.iter();
    let constraints =
        constraints.map(|one| spec::constraint_text(&one.attribute, one.equal, &one.value));
    let state = match (of.suspended, of.ends) {
        (true, _) => "suspended",
        (false, ends) if ends > 0 && ends <= now.0 => "ended",
        (false, _) => "active",
    };
    json!({
        "id": render::id(&of.id),
        "name": of.name,
        "role": words::operator_role(of.role()),
        "state": state,
        "scope": of.scope,
        "constraints": constraints.collect::<Vec<_>>(),
        "created_at": render::time(of.created),
        "certificate_ends": render::time(of.certificate_ends),
        "ends_at": render::time(of.ends),
        "recovered": of.recovered,
    })
}

async fn rm(shell: &mut Shell, typed: &[String], client: ClientArgs) -> Result<(), Trouble> {
    let mut link = link::link(shell, client)?;
    let mut changes = Vec::new();
    for what in typed {
        let found: OperatorView = lookup::exact(&mut link, what).await?;
        let id: OperatorId = lookup::id(&found.id)?;
        changes.push(Named { name: what.clone(), change: Change::RemoveOperator { id } });
    }
    acts::apply_all(shell, &mut link, LOOK, &changes, true).await?;
    Ok(())
}

/// Lets an operator renew a certificate that ended long ago.
async fn readmit(shell: &mut Shell, operator: &str, client: ClientArgs) -> Result<(), Trouble> {
    let (id, mut link) = match operator.parse::<OperatorId>() {
        Ok(id) => (id, link::about(shell, client, id)?),
        Err(_name) => {
            let mut link = link::link(shell, client)?;
            let found: OperatorView = lookup::exact(&mut link, operator).await?;
            (lookup::id(&found.id)?, link)
        }
    };
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
    IdentityFile::look(path).is_ok_and(|now| now.leaf.ends >= ends)
}

fn not_replaced(path: &Path, why: &str) -> Trouble {
    let text = format!("{} {why}: it is as it was, and as good", path.display());
    Failure::new(Exit::Refused, text).hint("run it where the file is its owner's to write").into()
}
