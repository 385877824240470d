//! `skep registry status`: where token servers run, what ends soon, and what is wrong. Of what
//! managers know: no value is looked at.

use clap::Args;
use serde_json::json;
use skep_client::lookup;
use skep_core::base::{Exit, Failure, Name};
use skep_core::wire::api::{NodeView, SecretView, ServiceView};
use skep_program::{Screen, Way, WayArgs};

use super::ends::{
    KEY_DAYS, days_left, ends_label, ends_of, leaf_ends_of, left, life_of, now_s, until,
};
use super::key::{KEY, SIGN_KEY, public_of};
use super::site::{self, ACCOUNT, KIND, REGISTRY, Site, label, registry_name};
use super::usage;
use crate::rules::shown;

/// Days before its end from which an account's is warned about.
const ACCOUNT_DAYS: u64 = 7;
/// Seconds before its end from which the root's is.
const ROOT_S: u64 = 365 * 24 * 3_600;
/// Accounts that are named.
const SHOWN: usize = 20;

/// Say where a registry's token servers run, and what ends soon
///
/// The status is 8 where there is a warning. What a node's server itself says is
/// told there: `skep registry auth NAME --health`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  skep registry status web
  skep registry status web --format json")]
pub(in crate::words) struct StatusArgs {
    /// The registry
    #[arg(value_name = "NAME", value_parser = registry_name)]
    registry: Name,
    /// How it is shown
    #[arg(long, value_name = "FORMAT", value_parser = ["text", "json"], default_value = "text")]
    format: String,
    #[command(flatten)]
    way: WayArgs,
}

/// A node that is to run a token server.
#[derive(Debug, PartialEq, Eq)]
struct Replica {
    node: String,
    running: bool,
    /// Why what it has is not what is due, if it isn't.
    behind: Option<String>,
}

/// What there is of a registry.
#[derive(Debug, Default)]
struct Standing {
    replicas: Vec<Replica>,
    signer_ends: Option<u64>,
    /// Seconds of a signing certificate's life.
    signer_life: u64,
    root_ends: Option<u64>,
    users: usize,
    robots: usize,
    /// What a service is granted in one version, whatever is changed: the secret, and by whom.
    pinned: Vec<(String, String)>,
    /// Accounts with an end.
    ends: Vec<(String, u64)>,
    /// Keys that sign images.
    keys: Vec<ImageKey>,
}

/// A key that signs images, as its public half says.
#[derive(Debug, PartialEq, Eq)]
struct ImageKey {
    name: String,
    /// Whether that is one.
    reads: bool,
    ends: Option<u64>,
}

impl ImageKey {
    fn of(view: &SecretView) -> Self {
        let name = label(&view.labels, KEY).unwrap_or_default().to_owned();
        let current = view.versions.iter().find(|version| version.number == view.current);
        let public = current.and_then(public_of);
        Self { name, reads: public.is_some(), ends: public.and_then(|key| key.ends_s()) }
    }

    fn warning(&self, registry: &str, now_s: u64) -> Option<String> {
        let name = shown(&self.name);
        if !self.reads {
            return Some(format!(
                "key {name}: its public half is none that signs: no policy has it"
            ));
        }
        let end = self.ends.filter(|end| days_left(*end, now_s).unwrap_or(0) < KEY_DAYS)?;
        let anew = format!("`skep registry key rotate {registry} {name}`, and sign again");
        Some(format!("key {name}: {}: {anew}", until(end, now_s)))
    }
}

pub(super) async fn run(screen: &mut Screen, args: StatusArgs) -> Result<(), Failure> {
    let mut way = Way::open(screen, args.way)?;
    let site = Site::find(&mut way, args.registry).await?;
    let standing = look(&mut way, &site).await?;
    let now = now_s();
    let warnings = warnings(site.name.as_str(), &standing, now);
    if args.format == "json" {
        screen.data(&as_json(&site, &standing, &warnings).to_string())?;
    } else {
        as_text(screen, &site, &standing, now)?;
        for warning in &warnings {
            screen.say(&format!("warning: {warning}"));
        }
    }
    if warnings.is_empty() {
        return Ok(());
    }
    let text = format!("warnings: {}", warnings.len());
    Err(Failure::new(Exit::Degraded, text).hint("each says what is wrong"))
}

async fn look(way: &mut Way, site: &Site) -> Result<Standing, Failure> {
    let failed = |error: skep_client::CallError| error.failure();
    let auth = site::service(way, &format!("{}.auth", site.name)).await?;
    let auth = auth.ok_or_else(|| usage("the service is gone", "repeat it"))?;
    let nodes: Vec<NodeView> = lookup::all(&mut way.link, false).await.map_err(failed)?;
    let secrets: Vec<SecretView> = lookup::all(&mut way.link, false).await.map_err(failed)?;
    let mut standing = Standing { replicas: replicas(&auth, &nodes), ..Standing::default() };
    let ours = |view: &&SecretView| label(&view.labels, REGISTRY) == Some(site.name.as_str());
    for view in secrets.iter().filter(ours) {
        let by = view.versions.iter().flat_map(|version| &version.pinned_by);
        standing.pinned.extend(by.map(|by| (view.name.clone(), by.clone())));
        let ends = ends_of(&view.labels);
        match label(&view.labels, KIND) {
            Some("signer.crt") => {
                standing.signer_ends = leaf_ends_of(view);
                standing.signer_life = life_of(&view.labels);
            }
            Some("root.crt") => standing.root_ends = ends,
            Some(SIGN_KEY) => standing.keys.push(ImageKey::of(view)),
            Some(kind @ ("user" | "robot")) => {
                let count = if kind == "user" { &mut standing.users } else { &mut standing.robots };
                *count += 1;
                let name = label(&view.labels, ACCOUNT).unwrap_or_default();
                standing.ends.extend(ends.map(|end| (format!("{kind} {}", shown(name)), end)));
            }
            _ => {}
        }
    }
    standing.keys.sort_by(|one, other| one.name.cmp(&other.name));
    standing.ends.sort_by(|one, other| (one.1, &one.0).cmp(&(other.1, &other.0)));
    Ok(standing)
}

fn replicas(auth: &ServiceView, nodes: &[NodeView]) -> Vec<Replica> {
    let of = |node: &String| {
        let view = nodes.iter().find(|view| view.name == *node);
        let mut pending = view.into_iter().flat_map(|view| &view.pending);
        Replica {
            node: node.clone(),
            running: auth.running_on.contains(node),
            behind: pending.find(|pair| pair.service == auth.id).map(|pair| pair.why.clone()),
        }
    };
    auth.placed_on.iter().map(of).collect()
}

fn warnings(registry: &str, standing: &Standing, now_s: u64) -> Vec<String> {
    let mut all = Vec::new();
    if standing.replicas.is_empty() {
        all.push(
            "no node is to run a token server: `skep service update --node-add NODE NAME.auth`"
                .to_owned(),
        );
    }
    for Replica { node, running, behind } in &standing.replicas {
        if !running {
            all.push(format!("{node}: no token server runs there"));
        }
        if let Some(why) = behind {
            let why = if why.is_empty() { "not confirmed" } else { why };
            all.push(format!("{node}: what was changed last is not in place: {}", shown(why)));
        }
    }
    let certificate = |what: &str, end: Option<u64>, before_s: u64, then: &str| match end {
        None => Some(format!("{what}: its end is not known, for its label is gone")),
        Some(end) if end <= now_s => Some(format!("{what} has ended: {then}")),
        Some(end) if end - now_s < before_s => {
            Some(format!("{what} ends in {}: {then}", left(end, now_s)))
        }
        Some(_) => None,
    };
    let rotate = "`skep registry signer rotate --help`";
    all.extend(certificate(
        "the signing certificate",
        standing.signer_ends,
        standing.signer_life / 3,
        rotate,
    ));
    let anew = "set up a new registry, and bring its accounts over";
    all.extend(certificate("the token CA", standing.root_ends, ROOT_S, anew));
    // What was changed or taken back since is good there.
    all.extend(standing.pinned.iter().take(SHOWN).map(|(secret, by)| {
        let mend = format!("`skep service grant --pin current {by} {secret}:FILE`");
        format!("secret {secret}: {by} is granted one version, whatever is changed since: {mend}")
    }));
    let more = standing.pinned.len().saturating_sub(SHOWN);
    if more > 0 {
        all.push(format!("and {more} secrets more of which one version is granted"));
    }
    let keys: Vec<_> =
        standing.keys.iter().filter_map(|key| key.warning(registry, now_s)).collect();
    let more = keys.len().saturating_sub(SHOWN);
    all.extend(keys.into_iter().take(SHOWN));
    if more > 0 {
        all.push(format!("and {more} keys more"));
    }
    let soon: Vec<_> = standing
        .ends
        .iter()
        .filter_map(|(who, end)| match days_left(*end, now_s) {
            None => Some(format!("{who} has ended")),
            Some(left) if left < ACCOUNT_DAYS => Some(format!("{who} ends in {left} days")),
            Some(_) => None,
        })
        .collect();
    let more = soon.len().saturating_sub(SHOWN);
    all.extend(soon.into_iter().take(SHOWN));
    if more > 0 {
        all.push(format!("and {more} accounts more"));
    }
    all
}

fn as_text(screen: &mut Screen, site: &Site, of: &Standing, now_s: u64) -> Result<(), Failure> {
    screen.data(&format!("registry  {} at {}", site.name, shown(site.served())))?;
    for Replica { node, running, behind } in &of.replicas {
        let does = if *running { "running" } else { "not running" };
        let has = if behind.is_some() { ", behind" } else { "" };
        screen.data(&format!("replica   {node} {does}{has}"))?;
    }
    for (what, end) in [("signer", of.signer_ends), ("root", of.root_ends)] {
        let told = match end {
            None => "end not known".to_owned(),
            Some(end) if end <= now_s => format!("ended {}", ends_label(end)),
            Some(end) => format!("ends {}, in {}", ends_label(end), left(end, now_s)),
        };
        screen.data(&format!("{what:<8}  {told}"))?;
    }
    screen.data(&format!("accounts  users {}, robots {}", of.users, of.robots))?;
    for key in of.keys.iter().take(SHOWN) {
        let told = match key.ends {
            None => "no end".to_owned(),
            Some(end) if end <= now_s => format!("ended {}", ends_label(end)),
            Some(end) => format!("ends {}, in {}", ends_label(end), left(end, now_s)),
        };
        screen.data(&format!("key       {} {told}", shown(&key.name)))?;
    }
    for (who, end) in of.ends.iter().take(SHOWN) {
        screen.data(&format!("ends      {} {who}", ends_label(*end)))?;
    }
    Ok(())
}

fn as_json(site: &Site, of: &Standing, warnings: &[String]) -> serde_json::Value {
    let replicas = of.replicas.iter().map(|replica| {
        json!({ "node": replica.node, "running": replica.running, "behind": replica.behind })
    });
    let ends = of.ends.iter().map(|(who, end)| json!({ "account": who, "ends": ends_label(*end) }));
    let keys = of.keys.iter().map(
        |key| json!({ "key": key.name, "reads": key.reads, "ends": key.ends.map(ends_label) }),
    );
    json!({
        "registry": site.name.as_str(),
        "service": site.served(),
        "replicas": replicas.collect::<Vec<_>>(),
        "signer_ends": of.signer_ends.map(ends_label),
        "root_ends": of.root_ends.map(ends_label),
        "users": of.users,
        "robots": of.robots,
        "ends": ends.collect::<Vec<_>>(),
        "keys": keys.collect::<Vec<_>>(),
        "warnings": warnings,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 24 * 3_600;
    const NOW: u64 = 1_800_000_000;

    fn sound() -> Standing {
        Standing {
            replicas: vec![Replica { node: "n1".into(), running: true, behind: None }],
            signer_ends: Some(NOW + 11 * DAY),
            signer_life: 30 * DAY,
            root_ends: Some(NOW + 3_000 * DAY),
            users: 1,
            robots: 1,
            pinned: Vec::new(),
            ends: vec![("robot ci".into(), NOW + 8 * DAY)],
            keys: vec![
                ImageKey { name: "release".into(), reads: true, ends: None },
                ImageKey { name: "hosts".into(), reads: true, ends: Some(NOW + 31 * DAY) },
            ],
        }
    }

    #[test]
    fn what_is_well_is_not_warned_about() {
        assert_eq!(warnings("web", &sound(), NOW), Vec::<String>::new());
    }

    #[test]
    fn what_ends_or_is_missing_is() {
        let one = |change: fn(&mut Standing)| {
            let mut standing = sound();
            change(&mut standing);
            warnings("web", &standing, NOW).join("; ")
        };
        let told = one(|of| of.replicas.clear());
        assert!(told.starts_with("no node is to run a token server"), "{told}");
        assert_eq!(one(|of| of.replicas[0].running = false), "n1: no token server runs there");
        let told = one(|of| of.replicas[0].behind = Some("down since 3 m".into()));
        assert_eq!(told, "n1: what was changed last is not in place: down since 3 m");
        let rotate = "`skep registry signer rotate --help`";
        let told = one(|of| of.signer_ends = Some(NOW + 10 * DAY - 1));
        assert_eq!(told, format!("the signing certificate ends in 9 days: {rotate}"));
        let told = one(|of| (of.signer_life, of.signer_ends) = (DAY, Some(NOW + DAY / 3 - 1)));
        assert_eq!(told, format!("the signing certificate ends in 7 hours: {rotate}"));
        assert_eq!(one(|of| (of.signer_life, of.signer_ends) = (DAY, Some(NOW + DAY / 3))), "");
        let told = one(|of| of.signer_ends = Some(NOW));
        assert_eq!(told, format!("the signing certificate has ended: {rotate}"));
        let told = one(|of| of.signer_ends = None);
        assert!(told.contains("its end is not known"), "{told}");
        assert!(
            one(|of| of.root_ends = Some(NOW + 100 * DAY)).contains("token CA ends in 100 days")
        );
        let told = one(|of| of.pinned.push(("web.user.ann".into(), "web.auth".into())));
        assert!(told.starts_with("secret web.user.ann: web.auth is granted one version"), "{told}");
        let many = one(|of| of.pinned = vec![("s".into(), "t".into()); SHOWN + 2]);
        assert!(many.ends_with("and 2 secrets more of which one version is granted"), "{many}");
        let told = one(|of| of.keys[1].ends = Some(NOW + 29 * DAY));
        let anew = "`skep registry key rotate web hosts`, and sign again";
        assert_eq!(told, format!("key hosts: it ends in 29 days: {anew}"));
        let told = one(|of| of.keys[1].ends = Some(NOW));
        assert_eq!(told, format!("key hosts: it has ended: {anew}"));
        let told = one(|of| of.keys[0].reads = false);
        assert!(told.starts_with("key release: its public half is none that signs"), "{told}");
        assert_eq!(one(|of| of.ends[0].1 = NOW + DAY), "robot ci ends in 1 days");
        assert_eq!(one(|of| of.ends[0].1 = NOW - 1), "robot ci has ended");
        let many =
            one(|of| of.ends = (0..SHOWN + 3).map(|n| (format!("robot {n}"), NOW)).collect());
        assert!(many.ends_with("and 3 accounts more"), "{many}");
    }
}
