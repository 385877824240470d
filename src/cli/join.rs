//! `skep join` and `skep manager step-down`.

use super::args::{ClientArgs, JoinArgs};
use super::client::{Control, Kind, Link};
use super::input;
use super::problem::Trouble;
use super::secret::{link, name};
use super::settings::{ClientSettings, with_port};
use super::shell::Shell;
use crate::wire::api;

/// Lets this machine's manager join.
pub(super) async fn run(shell: &mut Shell, args: JoinArgs) -> Result<(), Trouble> {
    let given = args.name.as_deref().map(name).transpose()?;
    let token = input::join_token(args.token_file)?;
    let mut link = Link::new(ClientSettings::of_local(args.local)?, &mut shell.screen)?;
    let request = api::JoinClusterRequest {
        token: token.expose().to_vec(),
        addresses: args.managers.into_iter().map(with_port).collect(),
        name: given.map(|name| name.to_string()).unwrap_or_default(),
    };
    let send = async |mut client: Control, request| client.join_cluster(request).await;
    let kind = Kind::Once("skep status".to_owned());
    let joined = link.call(kind, request, send).await?;
    let (cluster, node, state) = (joined.cluster_name, joined.node_name, joined.state);
    shell.screen.say(&format!("{node} joined {cluster}: {state}"));
    shell.screen.say("after a restart it is locked; the cluster's unlock key unlocks it");
    Ok(())
}

/// Hands leadership over.
pub(super) async fn step_down(
    shell: &mut Shell,
    to: Option<String>,
    client: ClientArgs,
) -> Result<(), Trouble> {
    let mut link = link(shell, client)?;
    let send = async |mut client: Control, request| client.step_down(request).await;
    let kind = Kind::Once("skep node ls".to_owned());
    let request = api::StepDownRequest { to: to.unwrap_or_default() };
    link.call(kind, request, send).await?;
    shell.screen.say("leadership was handed over");
    Ok(())
}
