//! `skep join`, `skep leave`, `skep manager step-down` and `skep manager repair`.

use super::args::{ClientArgs, JoinArgs, LeaveArgs, LocalArgs};
use super::confirm::Sure;
use super::input;
use super::link::{self, link};
use super::names::name;
use super::next;
use super::problem::Trouble;
use super::settings;
use super::shell::Shell;
use super::words;
use skep_client::{CallKind, Control, Link};
use skep_core::wire::api;

/// Lets this machine's manager join.
pub(super) async fn run(shell: &mut Shell, args: JoinArgs) -> Result<(), Trouble> {
    let given = args.name.as_deref().map(name).transpose()?;
    let addresses = settings::addresses(&args.managers)?;
    let token = input::join_token(args.token_file)?;
    let socket = args.local.socket.clone();
    let mut link = link::local(shell, args.local)?;
    let request = api::JoinClusterRequest {
        token: token.expose().to_vec(),
        addresses,
        name: given.map(|name| name.to_string()).unwrap_or_default(),
        learner: args.learner,
    };
    let send = async |mut client: Control, request| client.join_cluster(request).await;
    let kind = CallKind::Once("skep status".to_owned());
    let joined = link.call(kind, request, send).await?;
    let (cluster, node, state) =
        (&joined.cluster_name, &joined.node_name, words::manager_state(joined.state()));
    shell.screen.say(&format!("{node} joined {cluster}: {state}"));
    next::after_join(&mut shell.screen, socket.as_deref());
    Ok(())
}

/// Lets this machine's manager leave.
pub(super) async fn leave(shell: &mut Shell, args: LeaveArgs) -> Result<(), Trouble> {
    let sure = args.force.then(|| Sure::of(args.yes)).transpose()?;
    let mut link = link::local(shell, args.local)?;
    if let Some(sure) = sure {
        sure.about(&own_name(&mut link, &sure).await?, "this manager's data is erased")?;
        shell.screen.warn(
            "only this machine's data is erased: the cluster goes on listing the manager and \
             counting on it; `skep node rm NAME` on another manager",
        );
    }
    let request = api::LeaveClusterRequest { force: args.force };
    let send = async |mut client: Control, request| client.leave_cluster(request).await;
    link.call(
        CallKind::Once("`skep node ls` and `skep status` show how far it is".to_owned()),
        request,
        send,
    )
    .await?;
    let done = if args.force { "its data is erased" } else { "it left, and its data is erased" };
    shell.screen.say(&format!("{done}; the manager's process ends"));
    Ok(())
}

/// What this machine's manager is called, where somebody is to be asked for it.
async fn own_name(link: &mut Link, sure: &Sure) -> Result<String, Trouble> {
    if !sure.asks() {
        return Ok(String::new());
    }
    let request = api::StatusRequest::default();
    let send = async |mut client: Control, request| client.status(request).await;
    Ok(link.call(CallKind::Read, request, send).await?.node_name)
}

/// Hands leadership over.
pub(super) async fn step_down(
    shell: &mut Shell,
    to: Option<String>,
    client: ClientArgs,
) -> Result<(), Trouble> {
    let mut link = link(shell, client)?;
    let send = async |mut client: Control, request| client.step_down(request).await;
    let kind = CallKind::Once("skep node ls".to_owned());
    let request = api::StepDownRequest { to: to.unwrap_or_default() };
    link.call(kind, request, send).await?;
    shell.screen.say("leadership was handed over");
    Ok(())
}

/// Brings this machine's manager home, whose disk was put back to an older state.
pub(super) async fn repair(
    shell: &mut Shell,
    addresses: Vec<String>,
    yes: bool,
    local: LocalArgs,
) -> Result<(), Trouble> {
    let addresses = settings::addresses(&addresses)?;
    let sure = Sure::of(yes)?;
    let mut link = link::local(shell, local)?;
    sure.about(&own_name(&mut link, &sure).await?, "what is on this manager's disk is given up")?;
    let request = api::RepairRequest { addresses };
    let send = async |mut client: Control, request| client.repair(request).await;
    // What was done once may be done again: it is one manager's own disk.
    let reply = link.call(CallKind::Once("skep status".to_owned()), request, send).await?;
    shell.screen.say(&format!("repaired: {}", words::manager_state(reply.state())));
    Ok(())
}
