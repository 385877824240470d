//! `skep status`: works also while the manager is locked. Its JSON is stable.

use std::time::Duration;

use serde_json::{Value, json};

use super::age;
use super::args::StatusArgs;
use super::link::link;
use super::overview;
use super::problem::Trouble;
use super::recovery;
use super::render::{self, Format};
use super::shell::Shell;
use super::words;
use skep_client::transport::KeyExchange;
use skep_client::{CallKind, Control, Link};
use skep_core::base::{Exit, Failure, Stamp};
use skep_core::wire::api::{self, StatusReply};
use skep_core::wire::api::{ManagerStanding, ManagerState};

const AGAIN: Duration = Duration::from_secs(1);

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
    let reply = link.call(CallKind::Read, api::StatusRequest {}, send).await?;
    let exchange = link.key_exchange().map(KeyExchange::name);
    let own = link.own_ends().filter(|_| exchange.is_some());
    if watch && *format == Format::Table {
        shell.screen.restart()?;
    }
    match format {
        Format::Table => text(shell, &reply, exchange, own)?,
        other => render::list(shell, other, &[], &[shown(&reply, exchange, own)])?,
    }
    match exit_of(&reply) {
        Exit::Done => Ok(()),
        exit => Err(Trouble::Told(exit)),
    }
}

/// 0, 3 without a leader, 4 locked, 8 degraded.
fn exit_of(reply: &StatusReply) -> Exit {
    match reply.state() {
        ManagerState::Locked => Exit::Locked,
        ManagerState::New | ManagerState::Joining | ManagerState::NoQuorum => Exit::Unreachable,
        ManagerState::Leader | ManagerState::Follower | ManagerState::Learner => {
            let unreachable =
                reply.voters.iter().any(|voter| voter.state() == ManagerStanding::Unreachable);
            if reply.leader_id.is_empty() {
                Exit::Unreachable
            } else if unreachable
                || !reply.warnings.is_empty()
                || !reply.pending.is_empty()
                || !reply.lagging.is_empty()
            {
                Exit::Degraded
            } else {
                Exit::Done
            }
        }
        ManagerState::Unspecified
        | ManagerState::RolledBack
        | ManagerState::Expired
        | ManagerState::Removed => Exit::Degraded,
    }
}

fn shown(reply: &StatusReply, exchange: Option<&str>, own: Option<Stamp>) -> Value {
    let voters = reply.voters.iter().map(|voter| {
        json!({
            "id": render::id(&voter.id),
            "name": voter.name,
            "address": voter.address,
            "state": words::manager_standing(voter.state()),
            "last_contact_ms": voter.last_contact_ms,
            "records_behind": voter.records_behind,
            "version": (!voter.version.is_empty()).then_some(&voter.version),
            "key_exchange": (!voter.key_exchange.is_empty()).then_some(&voter.key_exchange),
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
    let lagging = reply.lagging.iter().map(|lagging| {
        json!({
            "node": lagging.node_name,
            "node_id": render::id(&lagging.node),
            "service": lagging.service_name,
            "service_id": render::id(&lagging.service),
            "file": (!lagging.file.is_empty()).then_some(&lagging.file),
            "version": (lagging.version > 0).then_some(lagging.version),
            "wanted": (lagging.wanted > 0).then_some(lagging.wanted),
            "failed": lagging.failed,
            "hook": lagging.hook,
            "why": lagging.why,
        })
    });
    let down = reply.down.iter().map(
        |worker| json!({ "node": worker.name, "node_id": render::id(&worker.node), "why": worker.why }),
    );
    let ends = reply.certificates.iter();
    let ends = ends.map(
        |end| json!({ "what": words::certificate(end.what()), "ends": render::time(end.ends) }),
    );
    let warnings = reply
        .warnings
        .iter()
        .map(|warning| json!({ "code": words::warning(warning.code()), "text": warning.text, "hint": warning.hint }));
    let some_id = |bytes: &[u8]| (!bytes.is_empty()).then(|| render::id(bytes));
    json!({
        "version": reply.version,
        "cluster": reply.cluster_name,
        "cluster_id": some_id(&reply.cluster_id),
        "fingerprint": data_encoding::HEXLOWER.encode(&reply.fingerprint),
        "id": some_id(&reply.node_id),
        "name": reply.node_name,
        "state": words::manager_state(reply.state()),
        "key_exchange": exchange,
        "identity_ends": own.map(|ends| render::time(ends.0)),
        "leader": some_id(&reply.leader_id),
        "term": reply.term,
        "epoch": reply.epoch_counter,
        "revision": reply.revision,
        "as_of": reply.as_of.as_ref().map(age::shown),
        "recovered": reply.recovered.as_ref().map(recovery::shown),
        "level": reply.level,
        "started_at": render::time(reply.started),
        "clock_ahead_ms": reply.clock_ahead_ms,
        "voters": voters.collect::<Vec<_>>(),
        "tolerates_losses": reply.tolerates_losses,
        "key_generation": reply.key_generation,
        "cluster_key_number": reply.cluster_key_number,
        "certificates": ends.collect::<Vec<_>>(),
        "disk_free_bytes": reply.disk_free_bytes,
        "state_bytes": reply.state_bytes,
        "secrets": reply.secrets,
        "services": reply.services,
        "nodes": reply.nodes,
        "pending_pairs": reply.pending_pairs,
        "pending": pending.collect::<Vec<_>>(),
        "lagging_deliveries": reply.lagging_count,
        "lagging": lagging.collect::<Vec<_>>(),
        "workers_down": reply.down_count,
        "down": down.collect::<Vec<_>>(),
        "warnings": warnings.collect::<Vec<_>>(),
    })
}

fn text(
    shell: &mut Shell,
    reply: &StatusReply,
    exchange: Option<&str>,
    own: Option<Stamp>,
) -> Result<(), Trouble> {
    let own = own.map(|ends| ("identity", words::until(ends.0)));
    let by = exchange.map(|exchange| ("connection", format!("keys by {exchange}")));
    let by = own.into_iter().chain(by).chain(words::peers(reply));
    for (head, row) in rows(reply).into_iter().chain(by) {
        shell.screen.data(format!("{:<12} {}", format!("{head}:"), row.trim_end()).as_str())?;
    }
    overview::tables(shell, reply)?;
    if !reply.warnings.is_empty() {
        shell.screen.data("")?;
    }
    for warning in &reply.warnings {
        shell.screen.data(&format!(
            "warning {}: {}",
            words::warning(warning.code()),
            warning.text
        ))?;
        if !warning.hint.is_empty() {
            shell.screen.data(&format!("  hint: {}", warning.hint))?;
        }
    }
    if reply.state() == ManagerState::New {
        shell.screen.hint(
            "`skep init` founds a cluster here, `skep join --token-file FILE HOST:PORT` enters one",
        );
    }
    if reply.state() == ManagerState::Locked {
        shell.screen.failure(&locked());
    }
    Ok(())
}

/// What there is to say, a line each.
fn rows(reply: &StatusReply) -> Vec<(&'static str, String)> {
    let mut rows = vec![
        ("state", stand(reply)),
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
    let (generation, number) = (reply.key_generation, reply.cluster_key_number);
    if !reply.voters.is_empty() {
        let (term, revision, epoch) = (reply.term, reply.revision, reply.epoch_counter);
        rows.push(("raft", format!("term {term}, revision {revision}, epoch {epoch}")));
        rows.push(("quorum", losses(reply.tolerates_losses)));
        if let Some(as_of) = reply.as_of.as_ref().filter(|as_of| !as_of.led) {
            rows.push(("as of", format!("revision {}, {}", as_of.revision, age::age(as_of))));
        }
        if let Some(recovered) = &reply.recovered {
            rows.push(("recovered", recovery::summary(recovered)));
        }
        let [secrets, services, nodes] = [
            counted(reply.secrets, "secret"),
            counted(reply.services, "service"),
            counted(reply.nodes, "node"),
        ];
        rows.push(("content", format!("{secrets}, {services}, {nodes}")));
        rows.push(("keys", format!("key file generation {generation}, cluster key {number}")));
    } else if generation > 0 {
        rows.push(("keys", format!("key file generation {generation}")));
    }
    if let Some(ahead) = reply.clock_ahead_ms.filter(|_| reply.leader_id != reply.node_id) {
        rows.push(("clock", words::clock(ahead)));
    }
    if reply.disk_free_bytes > 0 {
        rows.push(("disk free", format!("{} MiB", reply.disk_free_bytes / (1024 * 1024))));
    }
    for end in &reply.certificates {
        let line = format!("{} {}", words::certificate(end.what()), words::until(end.ends));
        rows.push(("certificate", line));
    }
    rows
}

/// The state, and who leads where that is somebody else.
fn stand(reply: &StatusReply) -> String {
    if reply.leader_id.is_empty() || reply.leader_id == reply.node_id {
        return words::manager_state(reply.state()).to_owned();
    }
    let leader = reply.voters.iter().find(|voter| voter.id == reply.leader_id);
    let leader = leader.map_or_else(|| render::id(&reply.leader_id), |voter| voter.name.clone());
    format!("{} of {leader}", words::manager_state(reply.state()))
}

fn locked() -> Failure {
    Failure::new(Exit::Locked, "this manager is locked").hint("`skep unlock` on this machine")
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
        let mut reply =
            StatusReply { state: ManagerState::Locked.into(), ..StatusReply::default() };
        assert_eq!(exit_of(&reply), Exit::Locked);
        reply.set_state(ManagerState::Leader);
        assert_eq!(exit_of(&reply), Exit::Unreachable);
        reply.leader_id = vec![1; 16];
        assert_eq!(exit_of(&reply), Exit::Done);
        reply
            .voters
            .push(api::Voter { state: ManagerStanding::Unreachable.into(), ..Default::default() });
        assert_eq!(exit_of(&reply), Exit::Degraded);
        reply.set_state(ManagerState::NoQuorum);
        assert_eq!(exit_of(&reply), Exit::Unreachable);
        reply.set_state(ManagerState::RolledBack);
        assert_eq!(exit_of(&reply), Exit::Degraded);
    }

    /// All there is to say, once.
    fn whole() -> StatusReply {
        let id = |n: u8| vec![n; 16];
        let voter = |n: u8, state: ManagerStanding, contact: Option<u64>| api::Voter {
            id: id(n),
            name: format!("manager-{n}"),
            address: format!("10.0.0.{n}:4440"),
            state: state.into(),
            last_contact_ms: contact,
            records_behind: contact.map(|_| 2),
            version: contact.map(|_| "0.1.0".to_owned()).unwrap_or_default(),
            key_exchange: contact.map(|_| "X25519MLKEM768".to_owned()).unwrap_or_default(),
        };
        StatusReply {
            version: "0.1.0".into(),
            state: ManagerState::Follower.into(),
            cluster_id: id(7),
            cluster_name: "prod".into(),
            node_id: id(2),
            node_name: "manager-2".into(),
            leader_id: id(1),
            term: 3,
            revision: 120,
            epoch_counter: 1,
            voters: vec![
                voter(1, ManagerStanding::Leader, Some(0)),
                voter(2, ManagerStanding::Follower, Some(42)),
                voter(3, ManagerStanding::Unreachable, None),
            ],
            tolerates_losses: 0,
            key_generation: 1,
            cluster_key_number: 2,
            certificates: vec![api::CertificateEnd {
                what: api::CertificateHolder::Manager.into(),
                ends: 1_780_000_000_000,
            }],
            disk_free_bytes: 5 << 30,
            warnings: vec![api::Warning {
                code: api::WarningCode::NoLossToSpare.into(),
                text: "the loss of one more manager stops all changes".into(),
                hint: "bring managers back, or `skep join --token-file FILE HOST:PORT`".into(),
            }],
            fingerprint: vec![0xab; 32],
            pending: vec![api::PendingPair {
                node: id(9),
                node_name: "db3".into(),
                service: id(8),
                service_name: "web".into(),
                behind: 118,
                why: "down since 2026-05-28 02:11:07 UTC".into(),
            }],
            pending_pairs: 31,
            lagging: vec![api::Lagging {
                node: id(9),
                node_name: "db3".into(),
                service: id(8),
                service_name: "web".into(),
                file: "tls.key".into(),
                version: 1,
                wanted: 2,
                why: "not connected".into(),
                failed: false,
                hook: false,
            }],
            lagging_count: 1,
            down: vec![api::DownWorker {
                node: id(9),
                name: "db3".into(),
                why: "down since 2026-05-28 02:11:07 UTC".into(),
            }],
            down_count: 1,
            copied: Vec::new(),
            level: 1,
            state_bytes: 77,
            secrets: 1,
            services: 2,
            nodes: 3,
            started: 1_770_000_000_000,
            now: 1_770_000_100_000,
            clock_ahead_ms: Some(-12),
            recovered: None,
            as_of: Some(api::AsOf { revision: 120, age_ms: 42, led: true, since_start: false }),
        }
    }

    #[test]
    fn the_json_is_stable() {
        let shown = shown(&whole(), Some("X25519MLKEM768"), Some(Stamp(1_780_000_000_000)));
        let shown = serde_json::to_string_pretty(&shown).expect("JSON");
        insta::assert_snapshot!(shown);
    }

    #[test]
    fn the_text_fits_a_terminal() {
        let (mut shell, printed, _) = crate::cli::shell::tests::captured();
        text(&mut shell, &whole(), Some("X25519MLKEM768"), Some(Stamp(1_780_000_000_000)))
            .expect("printed");
        let printed = printed.text();
        for line in printed.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
        insta::assert_snapshot!(printed);
    }

    #[test]
    fn what_is_not_known_is_null() {
        let shown = shown(&StatusReply::default(), None, None);
        for name in ["id", "cluster_id", "leader", "clock_ahead_ms", "identity_ends"] {
            assert_eq!(shown.get(name), Some(&Value::Null), "{name}");
        }
    }
}
