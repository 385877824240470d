//! `skep join-token`.

use std::time::Duration;

use serde_json::{Value, json};

use super::acts::{self, Named};
use super::args::{
    ClientArgs, ListArgs, ManagerTokenArgs, TokenArgs, TokenCommand, WorkerTokenArgs,
};
use super::filter::Filter;
use super::link::link;
use super::names::labels;
use super::next;
use super::outfile::OutFile;
use super::problem::{Trouble, usage};
use super::render::{self, Cell, Column, Format};
use super::shell::Shell;
use super::words;
use skep_client::{CallKind, Change, Control, Link, apply, lookup};
use skep_core::base::{Exit, Failure, Labels, SecretBytes, TokenId};
use skep_core::wire::api::{self, LabelPair, NodeRole, TokenView};
use skep_core::wire::convert;

const COLUMNS: [Column; 7] = [
    ("ID", Cell::Field("id")),
    ("ROLE", Cell::Field("role")),
    ("NAMES", Cell::Field("name_pattern")),
    ("USES LEFT", Cell::Field("uses_left")),
    ("LABELS", Cell::Field("labels")),
    ("CREATED", Cell::Ago("created_at")),
    ("ENDS", Cell::Ago("ends_at")),
];

/// What shows the tokens that there are.
const LOOK: &str = "skep join-token ls";

/// Runs it.
pub(super) async fn run(shell: &mut Shell, command: TokenCommand) -> Result<(), Trouble> {
    match command {
        TokenCommand::Worker(WorkerTokenArgs { ttl, uses, token }) => {
            create(shell, NodeRole::Worker, (ttl, uses), token).await
        }
        TokenCommand::Manager(ManagerTokenArgs { ttl, uses, token }) => {
            create(shell, NodeRole::Manager, (ttl, Some(uses)), token).await
        }
        TokenCommand::Ls { list, client } => ls(shell, &list, client).await,
        TokenCommand::Rm { tokens, client } => rm(shell, &tokens, client).await,
    }
}

async fn create(
    shell: &mut Shell,
    role: NodeRole,
    (ttl, uses): (Duration, Option<u32>),
    args: TokenArgs,
) -> Result<(), Trouble> {
    let labels = Labels::new(labels(&args.labels)?);
    let labels: Vec<LabelPair> =
        convert::write_labels(&labels.map_err(|error| usage(error, "leave some out"))?);
    let ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
    if ttl_ms == 0 {
        return Err(usage("--ttl: a token that is good for no time", "for example --ttl 24h"));
    }
    let request = api::CreateTokenRequest {
        role: role.into(),
        ttl_ms,
        uses,
        name_pattern: args.name_pattern.unwrap_or_default(),
        labels,
        rotate: args.rotate,
    };
    let mut out = args.out.as_deref().map(OutFile::create).transpose()?;
    if let Some(file) = &mut out {
        // It is written when the token exists: there must be room for it then.
        file.reserve()?;
    } else if shell.screen.leads_nowhere() {
        let text = "standard output leads nowhere: the token would be lost";
        return Err(Failure::new(Exit::Refused, text)
            .hint("--out FILE writes it to a file that only you may read; nothing was changed")
            .into());
    }
    let mut link = link(shell, args.client)?;
    let kind = CallKind::Once(LOOK.to_owned());
    let send = async |mut client: Control, request| client.create_token(request).await;
    let names = request.name_pattern.clone();
    let mut reply = link.call(kind, request, send).await?;
    let token = SecretBytes::take(std::mem::take(&mut reply.token).into_bytes());
    if !token.expose().iter().all(u8::is_ascii_graphic) {
        return Err(
            Failure::new(Exit::Refused, "the manager's answer has a malformed token").into()
        );
    }
    let arrived = match &mut out {
        Some(file) => file.write(&token).map_err(|trouble| trouble.text()),
        None => shell.screen.arrives(&token).map_err(|error| format!("standard output: {error}")),
    };
    if let Err(error) = arrived {
        return Err(unread(shell, &mut link, (&reply.id, args.rotate), &error).await);
    }
    if let Some(file) = &mut out {
        file.keep();
    }
    if !args.quiet {
        let (file, addresses) = (args.out.as_deref(), reply.addresses.as_slice());
        next::Token { role, names: &names, file, addresses }.say(&mut shell.screen);
    }
    Ok(())
}

/// A token that nobody has read is removed again.
async fn unread(
    shell: &mut Shell,
    link: &mut Link,
    (id, rotated): (&[u8], bool),
    error: &str,
) -> Trouble {
    let shown = render::id(id);
    let text = format!("{error}: the token {shown} was made, and nobody read it");
    let removed = match lookup::id(id) {
        Ok(id) => apply(link, &mut *shell.dice, LOOK, &[Change::RemoveToken { id }]).await.is_ok(),
        Err(_malformed) => false,
    };
    let failure = match (removed, rotated) {
        (true, false) => Failure::new(Exit::Refused, format!("{text}; it is removed again"))
            .hint("choose a place that can be written to; all is as before"),
        (true, true) => Failure::new(
            Exit::NotConfirmed,
            format!("{text}; it is removed again, and those before it are, as --rotate says"),
        )
        .hint("choose a place that can be written to, and make one anew"),
        (false, _) => Failure::new(Exit::NotConfirmed, format!("{text}; it could not be removed"))
            .hint(format!("remove it: `skep join-token rm {shown}`")),
    };
    failure.into()
}

async fn ls(shell: &mut Shell, args: &ListArgs, client: ClientArgs) -> Result<(), Trouble> {
    let format = Format::parse(args.show.format.of.as_deref())?;
    let filters = Filter::parse_all(&args.filters)?;
    let mut link = link(shell, client)?;
    let mut tokens: Vec<TokenView> = lookup::all(&mut link, args.show.stale).await?;
    tokens.retain(|token| filters.iter().all(|filter| filter.fits(token)));
    tokens.sort_by_key(|token| token.ends);
    if args.quiet {
        return tokens.iter().try_for_each(|token| shell.screen.data(&render::id(&token.id)));
    }
    let things: Vec<Value> = tokens.iter().map(shown).collect();
    render::list(shell, &format, &COLUMNS, &things)
}

fn shown(token: &TokenView) -> Value {
    json!({
        "id": render::id(&token.id),
        "role": words::role(token.role()),
        "name_pattern": token.name_pattern,
        "uses_left": token.uses_left,
        "labels": render::labels(&token.labels),
        "created_at": render::time(token.created),
        "ends_at": render::time(token.ends),
    })
}

async fn rm(shell: &mut Shell, typed: &[String], client: ClientArgs) -> Result<(), Trouble> {
    let mut link = link(shell, client)?;
    let mut changes = Vec::new();
    for what in typed {
        let token: TokenView = lookup::exact(&mut link, what).await?;
        let id: TokenId = lookup::id(&token.id)?;
        changes.push(Named { name: what.clone(), change: Change::RemoveToken { id } });
    }
    acts::apply_all(shell, &mut link, LOOK, &changes, true).await?;
    Ok(())
}
