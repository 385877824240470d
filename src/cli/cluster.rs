//! `skep cluster`.

use skep_client::{CallKind, Control};
use skep_core::base::RequestId;
use skep_core::wire::api;

use super::args::{ClientArgs, ClusterCommand};
use super::link::link;
use super::problem::Trouble;
use super::recovery;
use super::render;
use super::shell::Shell;

/// Runs it.
pub(super) async fn run(shell: &mut Shell, command: ClusterCommand) -> Result<(), Trouble> {
    match command {
        ClusterCommand::ResetTime { client } => reset_time(shell, client).await,
        ClusterCommand::Recover { from, key_file, identity, yes } => {
            recovery::recover(shell, &from, key_file, identity.as_deref(), yes).await
        }
        ClusterCommand::Resume { yes, client } => recovery::resume(shell, yes, client).await,
    }
}

async fn reset_time(shell: &mut Shell, client: ClientArgs) -> Result<(), Trouble> {
    let mut link = link(shell, client)?;
    let request_id = RequestId::draw(&mut *shell.dice).as_bytes().to_vec();
    let request = api::ResetTimeRequest { request_id };
    let kind = CallKind::Repeatable("skep status".to_owned());
    let send = async |mut client: Control, request| client.reset_time(request).await;
    let reply = link.call(kind, request, send).await?;
    if reply.to >= reply.from {
        let text = "the cluster's time is not ahead of the leader's clock: nothing was changed";
        shell.screen.say(text);
        return Ok(());
    }
    let to = render::time(reply.to);
    let to = to.as_str().unwrap_or("the leader's clock");
    shell.screen.say(&format!("the cluster's time was set back to {to}"));
    Ok(())
}
