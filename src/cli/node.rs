//! `skep node`.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::acts::{self, Named};
use super::args::{ClientArgs, ListArgs, NodeCommand, NodeUpdateArgs, WaitArgs};
use super::confirm::Sure;
use super::filter::Filter;
use super::inspect::inspect;
use super::link::link;
use super::names::labels;
use super::problem::{Trouble, usage};
use super::readmit::{self, Which};
use super::render::{self, Cell, Column, Format};
use super::settings;
use super::shell::Shell;
use super::wait::{self, Concerned};
use super::words;
use skep_client::{CallKind, Change, Control, Link, apply, lookup};
use skep_core::base::{Exit, NodeId, Revision};
use skep_core::domain::Availability;
use skep_core::wire::api::{self, NodeRole, NodeState, NodeView};

/// How a person finds out what came of a removal.
const LOOK: &str = "skep node ls";

const COLUMNS: [Column; 8] = [
    ("ID", Cell::Field("id")),
    ("NAME", Cell::Field("name")),
    ("ROLE", Cell::Field("role")),
    ("STATE", Cell::Field("state")),
    ("MANAGER STATUS", Cell::Field("manager_status")),
    ("LAST SEEN", Cell::Ago("last_seen")),
    ("VERSION", Cell::Field("version")),
    ("ADDRESS", Cell::Field("address")),
];

/// Runs it.
pub(super) async fn run(shell: &mut Shell, command: NodeCommand) -> Result<(), Trouble> {
    match command {
        NodeCommand::Ls { list, client } => ls(shell, &list, client).await,
        NodeCommand::Inspect { nodes, show, client } => {
            inspect(shell, &nodes, &show, client, shown).await
        }
        NodeCommand::Update(args) => update(shell, args).await,
        NodeCommand::Readmit { nodes, label, all, client } => {
            readmit::run(shell, Which::of(nodes, label, all)?, client).await
        }
        NodeCommand::Rm { nodes: typed, force, yes, wait, client } => {
            rm(shell, Removal { typed, force, yes }, wait, client).await
        }
    }
}

async fn ls(shell: &mut Shell, args: &ListArgs, client: ClientArgs) -> Result<(), Trouble> {
    let format = Format::parse(args.show.format.of.as_deref())?;
    let filters = Filter::parse_all(&args.filters)?;
    let mut link = link(shell, client)?;
    let mut nodes: Vec<NodeView> = lookup::all(&mut link, args.show.stale).await?;
    nodes.retain(|node| filters.iter().all(|filter| filter.fits(node)));
    nodes.sort_by(|a, b| (words::role(a.role()), &a.name).cmp(&(words::role(b.role()), &b.name)));
    if args.quiet {
        return nodes.iter().try_for_each(|node| shell.screen.data(&render::id(&node.id)));
    }
    let things: Vec<Value> = nodes.iter().map(shown).collect();
    render::list(shell, &format, &COLUMNS, &things)
}

fn shown(node: &NodeView) -> Value {
    let pending = node.pending.iter().map(
        |pair| json!({ "service": pair.service_name, "revision": pair.behind, "why": pair.why }),
    );
    json!({
        "id": render::id(&node.id),
        "name": node.name,
        "role": words::role(node.role()),
        "state": words::node_state(node.state()),
        "manager_status": words::manager_standing(node.manager_status()),
        "last_seen": render::time(node.last_seen),
        "version": node.version,
        "key_exchange": (!node.key_exchange.is_empty()).then_some(&node.key_exchange),
        "address": node.address,
        "labels": render::labels(&node.labels),
        "availability": words::availability(node.availability()),
        "joined_at": render::time(node.joined),
        "certificate_ends": render::time(node.certificate_ends),
        "said": {
            "hostname": node.said_hostname,
            "os": node.said_os,
            "arch": node.said_arch,
        },
        "placed": node.placed,
        "running": node.running,
        "pending": pending.collect::<Vec<_>>(),
        "refused_reads": node.refused_reads,
        "copied": (!node.copied.is_empty()).then_some(&node.copied),
    })
}

async fn update(shell: &mut Shell, args: NodeUpdateArgs) -> Result<(), Trouble> {
    let put = labels(&args.label_add)?;
    let gone = args.label_rm;
    let availability = match args.availability.as_deref() {
        Some("active") => Some(Availability::Active),
        Some("pause") => Some(Availability::Pause),
        Some("drain") => Some(Availability::Drain),
        _ => None,
    };
    let changes_it = !put.is_empty() || !gone.is_empty() || availability.is_some();
    let addresses = settings::addresses(&args.addresses)?;
    if !changes_it && addresses.is_empty() {
        return Err(usage(
            "nothing to change",
            "--label-add, --label-rm, --availability or --address says what",
        ));
    }
    let mut link = link(shell, args.client)?;
    let node: NodeView = lookup::exact(&mut link, &args.node).await?;
    let id: NodeId = lookup::id(&node.id)?;
    if !addresses.is_empty() {
        moves(shell, &mut link, &node, addresses).await?;
    }
    if !changes_it {
        shell.screen.echo(&args.node);
        return Ok(());
    }
    let look = format!("skep node inspect {}", args.node);
    let changes = [Change::UpdateNode { id, put, gone, availability }];
    let reply = apply(&mut link, &mut *shell.dice, &look, &changes).await?;
    shell.screen.echo(&args.node);
    let removal = availability == Some(Availability::Drain);
    let concerned = Concerned { nodes: vec![node.id], removal, ..Concerned::default() };
    wait::delivered(shell, &mut link, args.wait, Revision(reply.revision), concerned).await
}

/// A manager is reached elsewhere.
async fn moves(
    shell: &mut Shell,
    link: &mut Link,
    node: &NodeView,
    addresses: Vec<String>,
) -> Result<(), Trouble> {
    let (name, shown) = (&node.name, addresses.join(", "));
    // What was done once may be done again.
    let kind = CallKind::Once(LOOK.to_owned());
    let request = api::MoveManagerRequest { node_id: node.id.clone(), addresses };
    let send = async |mut client: Control, request| client.move_manager(request).await;
    let reply = link.call(kind, request, send).await?;
    shell.screen.say(&format!("{name} is on record at {shown}"));
    if !reply.reached {
        shell.screen.warn(&format!("{name} does not answer there yet"));
        shell
            .screen
            .hint("start it there; one whose --advertise is the old address keeps this one");
    }
    Ok(())
}

/// Which nodes, and how.
struct Removal {
    typed: Vec<String>,
    force: bool,
    yes: bool,
}

async fn rm(
    shell: &mut Shell,
    Removal { typed, force, yes }: Removal,
    wait: WaitArgs,
    client: ClientArgs,
) -> Result<(), Trouble> {
    let sure = force.then(|| Sure::of(yes)).transpose()?;
    let mut link = link(shell, client)?;
    let (mut workers, mut managers, mut nodes) = (Vec::new(), Vec::new(), Vec::new());
    for what in &typed {
        let node: NodeView = lookup::exact(&mut link, what).await?;
        if let Some(sure) = &sure {
            sure.about(&node.name, "what it may still hold is written off")?;
        }
        let change = Change::RemoveNode { id: lookup::id(&node.id)?, force };
        let named = Named { name: what.clone(), change };
        if node.role() == NodeRole::Manager {
            // It holds nothing that services are given, and may be the one that is asked.
            managers.push(named);
        } else {
            workers.push(named);
            nodes.push(node);
        }
    }
    // Workers go as one act; each manager takes a majority of its own.
    let acts = (!workers.is_empty()).then_some(workers).into_iter();
    let acts = acts.chain(managers.into_iter().map(|manager| vec![manager]));
    for act in acts {
        let done = acts::apply_all(shell, &mut link, LOOK, &act, true).await;
        let refused =
            matches!(&done, Err(Trouble::Failed(failure)) if failure.exit == Exit::Refused);
        if refused && !force && !wait.detach && nodes.iter().any(|node| !node.pending.is_empty()) {
            // What they hold was taken from them: once they confirm that, they can go.
            given_up(shell, &mut link, wait, &nodes).await?;
            acts::apply_all(shell, &mut link, LOOK, &act, true).await?;
        } else {
            done?;
        }
    }
    for node in nodes.iter().filter(|_| force) {
        if let Some(services) = left_on(node) {
            let name = &node.name;
            shell.screen.warn(&format!(
                "{name} had not confirmed a wipe and may still hold secrets of {services}: rotate \
                 them"
            ));
        }
    }
    Ok(())
}

/// Waits until what was taken from these nodes is gone from them.
async fn given_up(
    shell: &mut Shell,
    link: &mut Link,
    wait: WaitArgs,
    nodes: &[NodeView],
) -> Result<(), Trouble> {
    let pending = || nodes.iter().filter(|node| !node.pending.is_empty());
    let ids = pending().map(|node| node.id.clone()).collect();
    let taken = Concerned { nodes: ids, removal: true, ..Concerned::default() };
    let waited = wait::delivered(shell, link, wait, Revision(0), taken).await;
    if waited.is_err() {
        let names: Vec<_> = pending().map(|node| node.name.as_str()).collect();
        let names = names.join(", ");
        shell.screen.say(&format!("not removed, for files still lie there: {names}"));
        shell.screen.hint("repeat it when they are back; --force writes off what they hold");
    }
    waited
}

/// Of which services a node that is removed by force may still hold something.
fn left_on(node: &NodeView) -> Option<String> {
    let pending = node.pending.iter().map(|pair| pair.service_name.as_str());
    let away = node.state() == NodeState::Down;
    let placed = node.placed.iter().map(String::as_str).filter(|_| away);
    let services: BTreeSet<&str> = pending.chain(placed).collect();
    let names: Vec<&str> = services.into_iter().collect();
    (!names.is_empty()).then(|| names.join(", "))
}
