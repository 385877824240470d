//! `skep secret import`: many secrets at once, from a folder, a `.env` file or a JSON object.
//!
//! All of it is read and checked before anything is made. Managers can't compare values, so what
//! is there stays as it is unless new values are asked for: an import that broke off goes on
//! where it is run again.

mod dotenv;
mod found;
mod send;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::acts::sizes_of_acts;
use super::args::SecretImportArgs;
use super::granted::wait_for_services_of;
use super::link;
use super::names::all_labels;
use super::problem::{Trouble, usage};
use super::render::{self, Cell, Column, Format};
use super::shell::Shell;
use super::wait;
use found::{Found, Rules};
use send::{Act, Item, Told};
use skep_client::lookup;
use skep_core::base::{Failure, Labels, NameKey, SecretId};
use skep_core::wire::api::SecretView;

/// Acts under way at once.
const LINES: usize = 4;

const COLUMNS: [Column; 3] =
    [("NAME", Cell::Field("name")), ("BYTES", Cell::Field("bytes")), ("ACT", Cell::Field("act"))];

/// Runs it.
pub(super) async fn run(shell: &mut Shell, args: SecretImportArgs) -> Result<(), Trouble> {
    let format = Format::parse(args.format.of.as_deref())?;
    if args.format.of.is_some() && !args.dry_run {
        return Err(usage("--format: is for --dry-run", "without it there is nothing to list"));
    }
    let labels = all_labels(&args.labels)?;
    let kind = args.kind.map_or_else(|| found::kind_of(&args.from), Ok)?;
    let prefix = args.prefix.as_deref().unwrap_or_default();
    let found = found::read(&args.from, kind, &Rules { prefix, strip: args.strip_newline })?;
    let mut links = link::several(shell, args.client, LINES)?;
    let Some(first) = links.first_mut() else { return Ok(()) };
    let there: Vec<SecretView> = lookup::all(first, false).await?;
    let there = there.iter().filter_map(|secret| {
        let name = secret.name.parse::<skep_core::base::Name>().ok()?;
        Some((name.key(), lookup::id(&secret.id)))
    });
    let mut ids: BTreeMap<NameKey, SecretId> = BTreeMap::new();
    for (name, id) in there {
        ids.insert(name, id?);
    }
    if args.dry_run {
        return dry(shell, &format, &found, &ids, args.update);
    }

    let mut left = 0;
    let mut items = Vec::new();
    for Found { name, value } in found {
        match ids.get(&name.key()).copied() {
            Some(_) if !args.update => left += 1,
            known => items.push(Item { name, value, known }),
        }
    }
    let updated: Vec<SecretId> = items.iter().filter_map(|item| item.known).collect();
    let all = items.len();
    let revision = apply(shell, &mut links, items, &labels, left).await?;
    shell.screen.echo(&format!(
        "{} created, {} updated, {left} left as they are",
        all - updated.len(),
        updated.len()
    ));
    let Some(first) = links.first_mut() else { return Ok(()) };
    if updated.is_empty() {
        return Ok(());
    }
    wait_for_services_of(shell, first, args.wait, revision, &updated).await
}

/// What would be done.
fn dry(
    shell: &mut Shell,
    format: &Format,
    found: &[Found],
    ids: &BTreeMap<NameKey, SecretId>,
    update: bool,
) -> Result<(), Trouble> {
    let shown = |found: &Found| {
        let act = match ids.contains_key(&found.name.key()) {
            true if update => "update",
            true => "leave",
            false => "create",
        };
        json!({ "name": found.name.as_str(), "bytes": found.value.len(), "act": act })
    };
    let things: Vec<Value> = found.iter().map(shown).collect();
    render::list(shell, format, &COLUMNS, &things)
}

/// Applies all of it, and answers the last revision. The first line stays for the caller.
async fn apply(
    shell: &mut Shell,
    links: &mut Vec<skep_client::Link>,
    items: Vec<Item>,
    labels: &Labels,
    left: usize,
) -> Result<u64, Trouble> {
    let all = items.len();
    let sizes = sizes_of_acts(items.iter().map(|item| item.value.len()));
    let mut items = items.into_iter();
    let acts: Vec<Act> =
        sizes.into_iter().map(|size| Act(items.by_ref().take(size).collect())).collect();
    let bar = wait::bar_of(shell.screen.shows_progress(), "secrets");
    bar.0.set_length(u64::try_from(all).unwrap_or(u64::MAX));
    let lines = links.split_off(1.min(links.len()));
    let mut hear = send::start(lines, acts, labels)?;
    let (mut done, mut revision, mut failed) = (0, 0, None::<Failure>);
    while let Some(told) = hear.recv().await {
        match told {
            Told::Done(count, at) => {
                done += count;
                revision = revision.max(at);
                bar.0.set_position(u64::try_from(done).unwrap_or(u64::MAX));
            }
            Told::Failed(failure) => {
                failed.get_or_insert(*failure);
            }
        }
    }
    drop(bar);
    let Some(failure) = failed else { return Ok(revision) };
    if done > 0 || left > 0 {
        shell.screen.say(&format!(
            "done: {done} of {all} secrets, {left} left as they are; run it again for the others"
        ));
    }
    Err(failure.into())
}
