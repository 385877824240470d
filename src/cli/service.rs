//! `skep service`: where it runs.

use serde_json::{Value, json};

use super::acts::{self, Named};
use super::args::{
    ClientArgs, ListArgs, ServiceCommand, ServiceCreateArgs, ServiceUpdateArgs, WaitArgs,
};
use super::filter::Filter;
use super::grant;
use super::inspect::inspect;
use super::link::link;
use super::names::{labels, name};
use super::placed::{say_placed, wait_for};
use super::problem::{Trouble, usage};
use super::render::{self, Cell, Column, Format};
use super::shell::Shell;
use super::wait::{self, Concerned};
use super::{spec, words};
use skep_client::{Change, apply, lookup};
use skep_core::base::{Exit, Failure, Labels, Revision, ServiceId};
use skep_core::domain::{Placement, ServiceSpec};
use skep_core::wire::api::{self, ServiceView};
use skep_core::wire::convert;

const COLUMNS: [Column; 7] = [
    ("ID", Cell::Field("id")),
    ("NAME", Cell::Field("name")),
    ("NODES", Cell::Field("placed")),
    ("RUNNING", Cell::Count("running_on")),
    ("SECRETS", Cell::Count("grants")),
    ("PLACEMENT", Cell::Field("placement")),
    ("UPDATED", Cell::Ago("updated_at")),
];
/// Runs it.
pub(super) async fn run(shell: &mut Shell, command: ServiceCommand) -> Result<(), Trouble> {
    match command {
        ServiceCommand::Create(args) => create(shell, args).await,
        ServiceCommand::Update(args) => update(shell, args).await,
        ServiceCommand::Ls { list, client } => ls(shell, &list, client).await,
        ServiceCommand::Inspect { services, show, client } => {
            inspect(shell, &services, &show, client, shown).await
        }
        ServiceCommand::Rm { services, wait, client } => rm(shell, &services, wait, client).await,
        ServiceCommand::Grant(args) => grant::grant(shell, args).await,
        ServiceCommand::Revoke(args) => grant::revoke(shell, args).await,
    }
}

async fn create(shell: &mut Shell, args: ServiceCreateArgs) -> Result<(), Trouble> {
    let name = name(&args.name)?;
    if args.everywhere && !args.nodes.is_empty() {
        return Err(usage("--everywhere and --node exclude each other", "leave one out"));
    }
    let labels = Labels::new(labels(&args.labels)?);
    let constraints = args.constraints.iter().map(|text| spec::constraint(text));
    let spec = ServiceSpec {
        fresh: args.fresh,
        on_change: spec::on_change(&args.on_change)?,
        units: spec::units(&args.units)?,
        placement: Placement {
            nodes: spec::nodes(&args.nodes)?,
            constraints: constraints.collect::<Result<_, _>>()?,
            everywhere: args.everywhere,
        },
        mount: spec::mount(&args.mount),
        activation: spec::activation(&args.activation),
        owner: spec::owner(&args.owner)?,
        offline: spec::offline(&args.offline)?,
        labels: labels.map_err(|error| usage(error, "leave some out"))?,
    };
    let mut link = link(shell, args.client)?;
    let id = ServiceId::draw(&mut *shell.dice);
    let look = format!("skep service inspect {name}");
    let changes = [Change::CreateService { id, name, spec }];
    apply(&mut link, &mut *shell.dice, &look, &changes).await?;
    shell.screen.echo(&id.to_string());
    say_placed(shell, &mut link, &id.to_string()).await;
    Ok(())
}

/// The whole spec after an update: what stands there, changed.
fn updated(view: &ServiceView, args: &ServiceUpdateArgs) -> Result<ServiceSpec, Trouble> {
    let sent = view.spec.clone().unwrap_or_default();
    let mut spec = convert::read_spec(&sent)
        .map_err(|error| Failure::new(Exit::Refused, format!("the manager's answer: {error}")))?;
    let gone_units = spec::units(&args.unit_rm)?;
    let gone = spec::nodes(&args.node_rm)?;
    spec.placement.nodes.retain(|node| gone.iter().all(|gone| gone.key() != node.key()));
    for node in spec::nodes(&args.node_add)? {
        if spec.placement.nodes.iter().all(|there| there.key() != node.key()) {
            spec.placement.nodes.push(node);
        }
    }
    for text in &args.constraint_rm {
        let gone = spec::constraint(text)?;
        spec.placement.constraints.retain(|constraint| *constraint != gone);
    }
    for text in &args.constraint_add {
        let new = spec::constraint(text)?;
        if !spec.placement.constraints.contains(&new) {
            spec.placement.constraints.push(new);
        }
    }
    if let Some(everywhere) = args.everywhere {
        spec.placement.everywhere = everywhere;
        if everywhere {
            spec.placement.nodes.clear();
        }
    } else if !args.node_add.is_empty() {
        spec.placement.everywhere = false;
    }
    if let Some(text) = &args.activation {
        spec.activation = spec::activation(text);
    }
    if let Some(text) = &args.owner {
        spec.owner = spec::owner(text)?;
    }
    if let Some(text) = &args.offline {
        spec.offline = spec::offline(text)?;
    }
    if let Some(fresh) = args.fresh {
        spec.fresh = fresh;
    }
    spec.units.retain(|unit| !gone_units.contains(unit));
    spec.units.extend(spec::units(&args.unit_add)?);
    if let Some(text) = &args.on_change {
        spec.on_change = spec::on_change(text)?;
    }
    let put = labels(&args.label_add)?;
    spec.labels = spec
        .labels
        .changed(&put, &args.label_rm)
        .map_err(|error| usage(error, "remove some with --label-rm"))?;
    Ok(spec)
}

async fn update(shell: &mut Shell, args: ServiceUpdateArgs) -> Result<(), Trouble> {
    if args.everywhere == Some(true) && !args.node_add.is_empty() {
        return Err(usage("--everywhere and --node-add exclude each other", "leave one out"));
    }
    let mut link = link(shell, args.client.clone())?;
    let view: ServiceView = lookup::exact(&mut link, &args.service).await?;
    let spec = updated(&view, &args)?;
    if Some(convert::write_spec(&spec)) == view.spec {
        return Err(usage("nothing to change", "`skep service update --help` lists what can be"));
    }
    let id: ServiceId = lookup::id(&view.id)?;
    let look = format!("skep service inspect {}", args.service);
    // Two who change it at once: the second is told, not the first undone.
    let expect = Some(Revision(view.revision));
    let reply =
        apply(&mut link, &mut *shell.dice, &look, &[Change::UpdateService { id, expect, spec }])
            .await?;
    shell.screen.echo(&args.service);
    say_placed(shell, &mut link, &id.to_string()).await;
    wait_for(shell, &mut link, args.wait, reply.revision, vec![view.id]).await
}

async fn ls(shell: &mut Shell, args: &ListArgs, client: ClientArgs) -> Result<(), Trouble> {
    let format = Format::parse(args.show.format.of.as_deref())?;
    let filters = Filter::parse_all(&args.filters)?;
    let mut link = link(shell, client)?;
    let mut services: Vec<ServiceView> = lookup::all(&mut link, args.show.stale).await?;
    services.retain(|service| filters.iter().all(|filter| filter.fits(service)));
    services.sort_by_cached_key(|service| service.name.to_ascii_lowercase());
    if args.quiet {
        return services.iter().try_for_each(|service| shell.screen.data(&render::id(&service.id)));
    }
    let things: Vec<Value> = services.iter().map(shown).collect();
    render::list(shell, &format, &COLUMNS, &things)
}

fn shown(service: &ServiceView) -> Value {
    let spec = service.spec.clone().unwrap_or_default();
    let constraint = |constraint: &api::Constraint| {
        spec::constraint_text(&constraint.attribute, constraint.equal, &constraint.value)
    };
    let constraints: Vec<String> = spec.constraints.iter().map(constraint).collect();
    let mut placement = spec.nodes.clone();
    if spec.everywhere {
        placement.push("everywhere".to_owned());
    }
    placement.extend(constraints.iter().cloned());
    let offline = spec.offline_max_age_s.map_or_else(
        || "keep".to_owned(),
        |s| {
            format!(
                "max-age={}",
                humantime::format_duration(std::time::Duration::from_secs(s))
                    .to_string()
                    .replace(' ', "")
            )
        },
    );
    json!({
        "id": render::id(&service.id),
        "name": service.name,
        "placement": placement.join(" "),
        "nodes": spec.nodes,
        "constraints": constraints,
        "everywhere": spec.everywhere,
        "mount": words::mount(spec.mount()),
        "activation": words::activation(spec.activation()),
        "owner": format!("{}:{}", spec.owner_uid, spec.owner_gid),
        "offline": offline,
        "fresh": spec.fresh,
        "units": spec.units,
        "on_change": if spec.on_change.is_empty() { "none" } else { &spec.on_change },
        "labels": render::labels(&spec.labels),
        "grants": service.grants.iter().map(shown_grant).collect::<Vec<_>>(),
        "grants_outside": (service.grants_outside > 0).then_some(service.grants_outside),
        "created_at": render::time(service.created),
        "updated_at": render::time(service.updated),
        "revision": service.revision,
        "placed": service.placed,
        "placed_on": service.placed_on,
        "running_on": service.running_on,
    })
}

fn shown_grant(view: &api::GrantView) -> Value {
    let grant = view.grant.clone().unwrap_or_default();
    json!({
        "secret": view.secret_name,
        "secret_id": render::id(&grant.secret),
        "target": grant.target,
        "uid": grant.uid,
        "gid": grant.gid,
        "mode": format!("{:04o}", grant.mode),
        "pin": grant.pin,
        "write": grant.write,
    })
}

async fn rm(
    shell: &mut Shell,
    typed: &[String],
    wait: WaitArgs,
    client: ClientArgs,
) -> Result<(), Trouble> {
    let mut link = link(shell, client)?;
    let (mut changes, mut services) = (Vec::new(), Vec::new());
    for what in typed {
        let service: ServiceView = lookup::exact(&mut link, what).await?;
        let change = Change::RemoveService { id: lookup::id(&service.id)? };
        changes.push(Named { name: what.clone(), change });
        services.push(service.id);
    }
    let revision = acts::apply_all(shell, &mut link, "skep service ls", &changes, true).await?;
    let taken = Concerned::taken_from(services);
    wait::delivered(shell, &mut link, wait, Revision(revision), taken).await
}
