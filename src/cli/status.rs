//! `skep status`: works also while the manager is locked. Its JSON is stable.

use std::time::Duration;

use serde_json::{Value, json};

use crate::daemon::{Exit, Failure};
use crate::wire::api::{self, StatusReply};

use super::args::StatusArgs;
use super::client::{Control, Kind, Link};
use super::problem::Trouble;
use super::render::{self, Format};
use super::secret::link;
use super::shell::Shell;

const AGAIN: Duration = Duration::from_secs(1);
/// Pending pairs shown in the text; the JSON has them all.
const PENDING_SHOWN: usize = 20;

/// Runs it.
pub(super) async fn run(shell: &mut Shell, args: StatusArgs) -> Result<(), Trouble> {
    let format = Format::parse(args.format.as_deref())?;
    let mut link = link(shell, args.client)?;
    loop {
        let shown = once(shell, &mut link, &format, args.watch).await;
        if !args.watch || shell.screen.is_closed() {
            return shown;
        }
        match shown {
            Ok(()) | Err(Trouble::Told(_)) => {}
            Err(Trouble::Failed(failure)) if failure.exit == Exit::Unreachable => {
                shell.screen.failure(&failure);
            }
            Err(other) => return Err(other),
        }
        tokio::time::sleep(AGAIN).await;
    }
}

async fn once(
    shell: &mut Shell,
    link: &mut Link,
    format: &Format,
    watch: bool,
) -> Result<(), Trouble> {
    let send = async |mut client: Control, request| client.status(request).await;
    let reply = link.call(Kind::Read, api::StatusRequest {}, send).await?;
    if watch && *format == Format::Table {
        shell.screen.restart()?;
    }
    match format {
        Format::Table => text(shell, &reply)?,
        other => render::list(shell, other, &[], &[shown(&reply)])?,
    }
    match exit_of(&reply) {
        Exit::Done => Ok(()),
        exit => Err(Trouble::Told(exit)),
    }
}

/// 0, 3 without a leader, 4 locked, 8 degraded.
fn exit_of(reply: &StatusReply) -> Exit {
    match reply.state.as_str() {
        "locked" => Exit::Locked,
        "new" | "joining" | "no-quorum" => Exit::Unreachable,
        "leader" | "follower" => {
            let unreachable = reply.voters.iter().any(|voter| voter.state == "unreachable");
            if reply.leader_id.is_empty() {
                Exit::Unreachable
            } else if unreachable || !reply.warnings.is_empty() || !reply.pending.is_empty() {
                Exit::Degraded
            } else {
                Exit::Done
            }
        }
        _ => Exit::Degraded,
    }
}

fn shown(reply: &StatusReply) -> Value {
    let voters = reply.voters.iter().map(|voter| {
        json!({
            "id": render::id(&voter.id),
            "name": voter.name,
            "address": voter.address,
            "state": voter.state,
            "last_contact_ms": voter.last_contact_ms,
            "records_behind": voter.records_behind,
        })
    });
    let pending = reply.pending.iter().map(|pair| {
        json!({
            "node": pair.node_name,
            "node_id": render::id(&pair.node),
            "service": pair.service_name,
            "service_id": render::id(&pair.service),
            "revision": pair.behind,
            "why": pair.why,
        })
    });
    let ends = reply.certificates.iter();
    let ends = ends.map(|end| json!({ "what": end.what, "ends": render::time(end.ends) }));
    let warnings = reply
        .warnings
        .iter()
        .map(|warning| json!({ "code": warning.code, "text": warning.text, "hint": warning.hint }));
    let some_id = |bytes: &[u8]| (!bytes.is_empty()).then(|| render::id(bytes));
    json!({
        "version": reply.version,
        "cluster": reply.cluster_name,
        "cluster_id": some_id(&reply.cluster_id),
        "fingerprint": data_encoding::HEXLOWER.encode(&reply.fingerprint),
        "id": some_id(&reply.node_id),
        "name": reply.node_name,
        "state": reply.state,
        "leader": some_id(&reply.leader_id),
        "term": reply.term,
        "epoch": reply.epoch_counter,
        "revision": reply.revision,
        "level": reply.level,
        "started_at": render::time(reply.started),
        "voters": voters.collect::<Vec<_>>(),
        "tolerates_losses": reply.tolerates_losses,
        "key_generation": reply.key_generation,
        "cluster_key_number": reply.cluster_key_number,
        "certificates": ends.collect::<Vec<_>>(),
        "disk_free_bytes": reply.disk_free_bytes,
        "secrets": reply.secrets,
        "services": reply.services,
        "nodes": reply.nodes,
        "pending": pending.collect::<Vec<_>>(),
        "warnings": warnings.collect::<Vec<_>>(),
    })
}

fn text(shell: &mut Shell, reply: &StatusReply) -> Result<(), Trouble> {
    let mut rows: Vec<(&str, String)> = vec![
        ("state", reply.state.clone()),
        ("manager", format!("{} {}", reply.node_name, hidden_if_empty(&reply.node_id))),
        ("version", reply.version.clone()),
    ];
    if !reply.cluster_name.is_empty() {
        let id = hidden_if_empty(&reply.cluster_id);
        rows.push(("cluster", format!("{} {id}", reply.cluster_name)));
    }
    if !reply.fingerprint.is_empty() {
        rows.push(("fingerprint", data_encoding::HEXLOWER.encode(&reply.fingerprint)));
    }
    if !reply.voters.is_empty() {
        rows.push((
            "raft",
            format!(
                "term {}, revision {}, epoch {}; {}",
                reply.term,
                reply.revision,
                reply.epoch_counter,
                losses(reply.tolerates_losses)
            ),
        ));
        rows.push((
            "content",
            format!(
                "{}, {}, {}",
                counted(reply.secrets, "secret"),
                counted(reply.services, "service"),
                counted(reply.nodes, "node")
            ),
        ));
        rows.push((
            "keys",
            format!(
                "key file generation {}, cluster key {}",
                reply.key_generation, reply.cluster_key_number
            ),
        ));
    }
    if reply.disk_free_bytes > 0 {
        rows.push(("disk free", format!("{} MiB", reply.disk_free_bytes / (1024 * 1024))));
    }
    for (head, row) in rows {
        shell.screen.data(format!("{:<12} {}", format!("{head}:"), row.trim_end()).as_str())?;
    }
    for end in &reply.certificates {
        let ends = render::time(end.ends);
        let line =
            format!("{:<12} {} until {}", "certificate:", end.what, ends.as_str().unwrap_or("-"));
        shell.screen.data(&line)?;
    }
    tables(shell, reply)?;
    for warning in &reply.warnings {
        shell.screen.data(&format!("warning {}: {}", warning.code, warning.text))?;
        if !warning.hint.is_empty() {
            shell.screen.data(&format!("  hint: {}", warning.hint))?;
        }
    }
    if reply.state == "new" {
        shell.screen.hint("`skep init` founds a cluster here");
    }
    if reply.state == "locked" {
        shell.screen.failure(&locked());
    }
    Ok(())
}

fn locked() -> Failure {
    Failure::new(Exit::Locked, "this manager is locked").hint("`skep unlock` on this machine")
}

fn tables(shell: &mut Shell, reply: &StatusReply) -> Result<(), Trouble> {
    let heads = |all: &[&str]| all.iter().map(|head| (*head).to_owned()).collect::<Vec<_>>();
    if !reply.voters.is_empty() {
        let row = |voter: &api::Voter| {
            vec![
                voter.name.clone(),
                voter.address.clone(),
                voter.state.clone(),
                format!("{} ms ago", voter.last_contact_ms),
                voter.records_behind.to_string(),
            ]
        };
        let rows = reply.voters.iter().map(row).collect();
        shell.screen.data("")?;
        let heads = heads(&["MANAGER", "ADDRESS", "STATE", "LAST CONTACT", "BEHIND"]);
        render::table(&mut shell.screen, heads, rows)?;
    }
    if !reply.pending.is_empty() {
        let row = |pair: &api::PendingPair| {
            vec![
                pair.node_name.clone(),
                pair.service_name.clone(),
                pair.behind.to_string(),
                pair.why.clone(),
            ]
        };
        let rows = reply.pending.iter().take(PENDING_SHOWN).map(row).collect();
        shell.screen.data("")?;
        let heads = heads(&["PENDING ON", "SERVICE", "SINCE REVISION", "WHY"]);
        render::table(&mut shell.screen, heads, rows)?;
        if let Some(more) = reply.pending.len().checked_sub(PENDING_SHOWN).filter(|more| *more > 0)
        {
            shell.screen.data(&format!("and {more} more (--format json shows all)"))?;
        }
    }
    Ok(())
}

fn hidden_if_empty(id: &[u8]) -> String {
    if id.is_empty() { String::new() } else { format!("({})", render::id(id)) }
}

fn losses(tolerates: i32) -> String {
    match tolerates {
        ..=-1 => "no quorum now".to_owned(),
        1 => "tolerates 1 more loss".to_owned(),
        0 => "tolerates no loss".to_owned(),
        more => format!("tolerates {more} more losses"),
    }
}

/// `1 node`, `2 nodes`.
fn counted(count: u64, thing: &str) -> String {
    if count == 1 { format!("1 {thing}") } else { format!("{count} {thing}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_says_how_it_stands() {
        let mut reply = StatusReply { state: "locked".into(), ..StatusReply::default() };
        assert_eq!(exit_of(&reply), Exit::Locked);
        reply.state = "leader".into();
        assert_eq!(exit_of(&reply), Exit::Unreachable);
        reply.leader_id = vec![1; 16];
        assert_eq!(exit_of(&reply), Exit::Done);
        reply.voters.push(api::Voter { state: "unreachable".into(), ..Default::default() });
        assert_eq!(exit_of(&reply), Exit::Degraded);
        reply.state = "no-quorum".into();
        assert_eq!(exit_of(&reply), Exit::Unreachable);
        reply.state = "rolled-back".into();
        assert_eq!(exit_of(&reply), Exit::Degraded);
    }

    #[test]
    fn the_json_keeps_its_names() {
        let names = shown(&StatusReply::default());
        let names: Vec<_> = names.as_object().expect("an object").keys().cloned().collect();
        assert_eq!(
            names.join(" "),
            "certificates cluster cluster_id cluster_key_number disk_free_bytes epoch fingerprint \
             id key_generation leader level name nodes pending revision secrets services \
             started_at state term tolerates_losses version voters warnings"
        );
    }
}
