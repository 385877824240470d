//! `skep cluster recover` and `skep cluster resume`: going on with one manager after the
//! majority was lost.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use skep_client::{CallKind, Control, IdentityFile};
use skep_core::base::RequestId;
use skep_core::wire::api::{self, Recovered};

use super::args::ClientArgs;
use super::confirm::Sure;
use super::link::link;
use super::problem::{Trouble, usage};
use super::shell::Shell;
use super::{render, unlock};
use crate::daemon::recover;
use crate::manager::Dropped;

/// Names that are shown of one kind.
const SHOWN: usize = 20;

/// Makes the manager in `from` the only one of its cluster.
pub(super) async fn recover(
    shell: &mut Shell,
    from: &Path,
    key_file: Option<PathBuf>,
    kept: Option<&Path>,
    yes: bool,
) -> Result<(), Trouble> {
    let sure = Sure::of(yes)?;
    let kept = kept.map(|path| {
        IdentityFile::look(path)
            .map_err(|error| usage(format!("{}: {error}", path.display()), "name a .skepid file"))
    });
    let kept = kept.transpose()?.map(|text| text.leaf);
    let key = unlock::read_key(key_file)?;
    let opened = recover::open(from, &key, kept.as_ref()).await?;
    drop(key);
    let dropped = opened.dropped();
    tell(shell, &dropped);
    sure.about(&dropped.cluster, "everything listed above is dropped")?;
    let epoch = recover::recover(opened).await?;
    let name = &dropped.survivor;
    shell.screen.data(&format!("recovered: {name} is the only manager, epoch {epoch}"))?;
    shell.screen.say("next:");
    shell.screen.say("  start the manager again (`systemctl start skep-manager`), and");
    shell.screen.say("  `skep unlock`");
    shell.screen.say("  `skep cluster resume`          shows what may live again, then delivers");
    shell.screen.say("  `skep join-token manager`      for the managers to come");
    shell.screen.say("  on the other old managers:  `skep leave --force`, then join anew");
    Ok(())
}

fn tell(shell: &mut Shell, dropped: &Dropped) {
    let [secrets, services, workers] = dropped.kept;
    let time = render::time(dropped.stamp.0);
    shell.screen.say(&format!(
        "{} of {}: the newest that it has is revision {} of {}",
        dropped.survivor,
        dropped.cluster,
        dropped.revision,
        time.as_str().unwrap_or("an unknown time"),
    ));
    shell.screen.say("what was acknowledged after that is lost. These are dropped:");
    names(shell, "managers", &dropped.managers);
    names(shell, "join tokens", &dropped.tokens);
    names(shell, "operators, until it is resumed", &dropped.operators);
    shell
        .screen
        .say(&format!("kept: the CA, {secrets} secrets, {services} services, {workers} workers"));
}

fn names(shell: &mut Shell, what: &str, names: &[String]) {
    let more = names.len().saturating_sub(SHOWN);
    let mut shown = match names.len() {
        0 => "none".to_owned(),
        _ => names.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", "),
    };
    if more > 0 {
        shown = format!("{shown}, and {more} more");
    }
    shell.screen.say(&format!("  {what}: {shown}"));
}

/// Has what a recovery held back delivered.
pub(super) async fn resume(
    shell: &mut Shell,
    yes: bool,
    client: ClientArgs,
) -> Result<(), Trouble> {
    let sure = Sure::of(yes)?;
    let mut link = link(shell, client)?;
    let send = async |mut client: Control, request| client.status(request).await;
    let status = link.call(CallKind::Read, api::StatusRequest {}, send).await?;
    let Some(recovered) = &status.recovered else {
        shell.screen.say("nothing is held back: the cluster was not recovered, or was resumed");
        return Ok(());
    };
    review(shell, &status, recovered);
    sure.about(&status.cluster_name, "what is listed above is delivered")?;
    let request_id = RequestId::draw(&mut *shell.dice).as_bytes().to_vec();
    let kind = CallKind::Repeatable("skep status".to_owned());
    let send = async |mut client: Control, request| client.resume(request).await;
    link.call(kind, api::ResumeRequest { request_id }, send).await?;
    shell.screen.data("resumed: what is due is delivered, and operators may act again")
}

fn review(shell: &mut Shell, status: &api::StatusReply, recovered: &Recovered) {
    shell.screen.say(&format!("{}: {}", status.cluster_name, summary(recovered)));
    names(shell, "managers that were dropped", &recovered.managers);
    let tokens: Vec<_> = recovered.tokens.iter().map(|id| render::id(id)).collect();
    names(shell, "join tokens that ended", &tokens);
    names(shell, "operators that are suspended until now", &recovered.operators);
    shell.screen.say(&format!(
        "what was removed or revoked after revision {} may live again, and what was made or \
         changed after it is gone:",
        recovered.revision
    ));
    let (secrets, services, nodes) = (status.secrets, status.services, status.nodes);
    shell
        .screen
        .say(&format!("  {secrets} secrets     `skep secret ls`: an old value may be current"));
    shell
        .screen
        .say(&format!("  {services} services    `skep service ls`: grants that were revoked"));
    shell.screen.say(&format!("  {nodes} nodes       `skep node ls`: nodes that were removed"));
    shell.screen.say("remove and revoke again what must not live, before you go on");
}

/// When it was, what it kept, and that it is not over.
pub(super) fn summary(recovered: &Recovered) -> String {
    let time = render::time(recovered.at);
    format!(
        "recovered at {}, as of revision {}; nothing is delivered until `skep cluster resume`",
        time.as_str().unwrap_or("an unknown time"),
        recovered.revision
    )
}

/// The same for programs.
pub(super) fn shown(recovered: &Recovered) -> Value {
    json!({
        "at": render::time(recovered.at),
        "revision": recovered.revision,
        "managers": recovered.managers,
        "tokens": recovered.tokens.iter().map(|id| render::id(id)).collect::<Vec<_>>(),
        "operators": recovered.operators,
    })
}
