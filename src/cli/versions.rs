//! What is shown of a secret: its versions, and who holds it.

use serde_json::{Value, json};

use super::args::{ClientArgs, ShowArgs};
use super::link::link;
use super::problem::Trouble;
use super::render::{self, Cell, Column, Format};
use super::shell::Shell;
use super::words;
use skep_client::lookup;
use skep_core::wire::api::{self, SecretView, VersionView};

const VERSION_COLUMNS: [Column; 8] = [
    ("VERSION", Cell::Field("version")),
    ("CURRENT", Cell::Field("current")),
    ("ID", Cell::Field("id")),
    ("SIZE", Cell::Field("size")),
    ("CREATED", Cell::Ago("created_at")),
    ("REPEATS", Cell::Field("repeats")),
    ("PINNED BY", Cell::Field("pinned_by")),
    ("WRITTEN BY", Cell::Field("written_by")),
];
const HOLDER_COLUMNS: [Column; 8] = [
    ("NODE", Cell::Field("node")),
    ("SERVICE", Cell::Field("service")),
    ("FILE", Cell::Field("file")),
    ("STATE", Cell::Field("state")),
    ("VERSION", Cell::Field("version")),
    ("WANTED", Cell::Field("wanted")),
    ("WRITES", Cell::Field("writes")),
    ("WHY", Cell::Field("why")),
];
pub(super) fn shown(secret: &SecretView) -> Value {
    let current = secret.versions.iter().find(|version| version.number == secret.current);
    json!({
        "id": render::id(&secret.id),
        "name": secret.name,
        "version": secret.current,
        "size": current.map(|version| version.size),
        "labels": render::labels(&secret.labels),
        "public": current.and_then(|version| version.public.as_deref()),
        "forward_only": secret.forward_only,
        "created_at": render::time(secret.created),
        "updated_at": render::time(secret.updated),
        "revision": secret.revision,
        "services": secret.services,
        "services_outside": (secret.services_outside > 0).then_some(secret.services_outside),
        "writers": secret.writers,
        "versions": secret.versions.iter().map(|version| shown_version(secret, version)).collect::<Vec<_>>(),
    })
}

fn shown_version(secret: &SecretView, version: &VersionView) -> Value {
    json!({
        "version": version.number,
        "current": version.number == secret.current,
        "id": render::id(&version.id),
        "size": version.size,
        "created_at": render::time(version.created),
        "public": version.public,
        "repeats": version.repeats,
        "pinned_by": version.pinned_by,
        "pinned_outside": (version.pinned_outside > 0).then_some(version.pinned_outside),
        "written_by": version.writer.as_ref().map(written_by),
    })
}

/// By a workload of which service on which node.
fn written_by(of: &api::Writer) -> String {
    if of.outside {
        return "a service outside of this identity's scope".to_owned();
    }
    format!("{} on {}", of.service_name, of.node_name)
}

pub(super) async fn versions(
    shell: &mut Shell,
    what: &str,
    show: &ShowArgs,
    client: ClientArgs,
) -> Result<(), Trouble> {
    let format = Format::parse(show.format.of.as_deref())?;
    let mut link = link(shell, client)?;
    let secret: SecretView = lookup::one(&mut link, what, show.stale).await?;
    let newest_first = secret.versions.iter().rev();
    let things: Vec<_> = newest_first.map(|version| shown_version(&secret, version)).collect();
    render::list(shell, &format, &VERSION_COLUMNS, &things)
}

pub(super) async fn holders(
    shell: &mut Shell,
    what: &str,
    quiet: bool,
    show: &ShowArgs,
    client: ClientArgs,
) -> Result<(), Trouble> {
    let format = Format::parse(show.format.of.as_deref())?;
    let mut link = link(shell, client)?;
    let secret: SecretView = lookup::one(&mut link, what, show.stale).await?;
    let (holders, outside) = lookup::holders(&mut link, &secret.id, show.stale).await?;
    if quiet {
        let mut nodes: Vec<_> = holders.iter().map(|held| render::id(&held.node)).collect();
        nodes.sort();
        nodes.dedup();
        return nodes.iter().try_for_each(|node| shell.screen.data(node));
    }
    let shown = holders.iter().map(|held| {
        json!({
            "node": held.node_name,
            "node_id": render::id(&held.node),
            "service": held.service_name,
            "service_id": render::id(&held.service),
            "file": (!held.file.is_empty()).then_some(&held.file),
            "state": words::holder_state(held.state()),
            "version": (held.version > 0).then_some(held.version),
            "wanted": (held.wanted > 0).then_some(held.wanted),
            "writes": held.may_write.then_some("yes"),
            "why": held.why,
        })
    });
    let things: Vec<Value> = shown.collect();
    render::list(shell, &format, &HOLDER_COLUMNS, &things)?;
    said_outside(shell, outside);
    Ok(())
}

/// Says how many things beside those listed lie outside of the scope of whoever asks.
pub(super) fn said_outside(shell: &mut Shell, outside: u64) {
    if outside > 0 {
        shell.screen.say(&format!("{outside} more outside of this identity's scope"));
    }
}
