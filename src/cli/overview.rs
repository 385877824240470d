//! The tables of `skep status`: the managers, what is pending, what is late.

use super::problem::Trouble;
use super::render;
use super::shell::Shell;
use super::words::{self, span};
use skep_core::wire::api::{self, StatusReply};

/// Pending pairs and late deliveries shown in the text; the JSON has more.
const PENDING_SHOWN: usize = 20;

/// As many of them as have something to show.
pub(super) fn tables(shell: &mut Shell, reply: &StatusReply) -> Result<(), Trouble> {
    let heads = |all: &[&str]| all.iter().map(|head| (*head).to_owned()).collect::<Vec<_>>();
    if !reply.voters.is_empty() {
        let unknown = || "-".to_owned();
        let row = |voter: &api::Voter| {
            vec![
                voter.name.clone(),
                voter.address.clone(),
                words::manager_standing(voter.state()).to_owned(),
                voter.last_contact_ms.map_or_else(unknown, |ago| format!("{} ago", span(ago))),
                voter.records_behind.map_or_else(unknown, |behind| behind.to_string()),
                if voter.version.is_empty() { unknown() } else { voter.version.clone() },
            ]
        };
        let rows = reply.voters.iter().map(row).collect();
        shell.screen.data("")?;
        let heads = heads(&["MANAGER", "ADDRESS", "STATE", "LAST CONTACT", "BEHIND", "VERSION"]);
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
        let shown = u64::try_from(reply.pending.len().min(PENDING_SHOWN)).unwrap_or(u64::MAX);
        if let Some(more) = reply.pending_pairs.checked_sub(shown).filter(|more| *more > 0) {
            shell.screen.data(&format!("and {more} more (`skep node ls` names all nodes)"))?;
        }
    }
    late(shell, reply)
}

/// Which file is where in which version, and should be in another.
fn late(shell: &mut Shell, reply: &StatusReply) -> Result<(), Trouble> {
    if reply.lagging.is_empty() {
        return Ok(());
    }
    let number = |number: u32| if number == 0 { "-".to_owned() } else { number.to_string() };
    let row = |lagging: &api::Lagging| {
        vec![
            lagging.node_name.clone(),
            lagging.service_name.clone(),
            if lagging.file.is_empty() { "-".to_owned() } else { lagging.file.clone() },
            number(lagging.version),
            number(lagging.wanted),
            lagging.why.clone(),
        ]
    };
    let rows: Vec<_> = reply.lagging.iter().take(PENDING_SHOWN).map(row).collect();
    let shown = u64::try_from(rows.len()).unwrap_or(u64::MAX);
    let heads = ["LATE ON", "SERVICE", "FILE", "VERSION", "WANTED", "WHY"].map(str::to_owned);
    shell.screen.data("")?;
    render::table(&mut shell.screen, heads.to_vec(), rows)?;
    match reply.lagging_count.saturating_sub(shown) {
        0 => Ok(()),
        more => shell.screen.data(&format!("and {more} more (`skep secret holders NAME`)")),
    }
}
