//! `skep secret reads`.

use serde_json::{Value, json};

use super::args::{ClientArgs, ShowArgs};
use super::link::link;
use super::problem::Trouble;
use super::render::{self, Cell, Column, Format};
use super::shell::Shell;
use super::versions::said_outside;
use super::words;
use skep_client::{CallKind, Control, Link, lookup};
use skep_core::wire::api::{DroppedReads, ListReadsRequest, ReadView, Reader, SecretView};

const COLUMNS: [Column; 8] = [
    ("AT", Cell::Field("at")),
    ("NODE", Cell::Field("node")),
    ("SERVICE", Cell::Field("service")),
    ("VERSION", Cell::Field("version")),
    ("READER", Cell::Field("reader")),
    ("UID", Cell::Field("uid")),
    ("PID", Cell::Field("pid")),
    ("EXECUTABLE", Cell::Field("executable")),
];

/// Runs it.
pub(super) async fn run(
    shell: &mut Shell,
    what: &str,
    last: Option<u32>,
    show: &ShowArgs,
    client: ClientArgs,
) -> Result<(), Trouble> {
    let format = Format::parse(show.format.of.as_deref())?;
    let mut link = link(shell, client)?;
    let secret: SecretView = lookup::one(&mut link, what, show.stale).await?;
    let (reads, dropped, outside) = all(&mut link, &secret, last, show.stale).await?;
    let things: Vec<Value> = reads.iter().map(shown).collect();
    render::list(shell, &format, &COLUMNS, &things)?;
    said_outside(shell, outside);
    for DroppedReads { node_name, count, refused, .. } in dropped {
        // Which nodes, whoever has a scope is not told.
        let node_name = if node_name.is_empty() { "nodes".to_owned() } else { node_name };
        let mut say = |what: &str| shell.screen.say(&format!("{node_name} {what}"));
        if count > 0 {
            say(&format!("had no room for {count} more records, of whatever secrets"));
        }
        if refused > 0 {
            say(&format!(
                "handed in {refused} records that were refused: of services or secrets that it \
                 has not, or with times or names that can't be"
            ));
            shell.screen.say(&format!(
                "hint: compare the clock of {node_name} with the managers'; if it is right, \
                 somebody else may control that machine"
            ));
        }
    }
    if things.is_empty() {
        shell.screen.say("no open is on record: only services with --mount fuse have them");
    }
    Ok(())
}

/// Page by page.
async fn all(
    link: &mut Link,
    secret: &SecretView,
    last: Option<u32>,
    stale: bool,
) -> Result<(Vec<ReadView>, Vec<DroppedReads>, u64), Trouble> {
    let mut request = ListReadsRequest {
        secret: secret.id.clone(),
        stale,
        last: last.unwrap_or_default(),
        ..ListReadsRequest::default()
    };
    let mut reads = Vec::new();
    loop {
        let send = async |mut client: Control, request| client.list_reads(request).await;
        let page = link.call(CallKind::Read, request.clone(), send).await?;
        reads.extend(page.reads);
        match reads.last() {
            Some(read) if page.more && read.position != request.after => {
                request.after.clone_from(&read.position);
            }
            _ => return Ok((reads, page.dropped, page.outside)),
        }
    }
}

fn shown(read: &ReadView) -> Value {
    let reader = match (read.reader(), read.workload_pid) {
        (Reader::Workload, pid) => format!("workload {pid}"),
        (other, _) => words::reader(other).to_owned(),
    };
    json!({
        "at": render::exact_time(read.at),
        "node": read.node_name,
        "node_id": render::id(&read.node),
        "service": read.service_name,
        "service_id": render::id(&read.service),
        "version": read.number,
        "reader": reader,
        "uid": read.uid,
        "pid": read.pid,
        "executable": read.executable,
    })
}
