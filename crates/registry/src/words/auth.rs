//! `skep registry auth`: the token server as a process.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use skep_client::machine::SystemClock;
use skep_core::base::{Failure, Name};

use super::probe;
use super::serving::{self, machine};
use crate::work::{AgentAt, Anchors, Desk, Door, serve_tokens};

/// Serve tokens from the files that this service was granted
///
/// Run it under the agent, which delivers the files and takes them away:
/// everything is decided from what lies in the folder at that moment. Several of
/// them on several nodes need nothing of each other.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  skep exec --service web.auth --user skep-registry -- skep registry auth web
  skep registry auth web --health")]
pub(super) struct AuthArgs {
    /// The registry's name, as it was set up
    name: Name,
    /// The folder that the agent fills
    #[arg(long, value_name = "DIR", default_value = "/run/secrets")]
    secrets: PathBuf,
    /// Where to listen; off loopback only with tls.key and tls.crt
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:5001")]
    listen: SocketAddr,
    /// Give no tokens where no manager has confirmed the files for so long
    #[arg(long, value_name = "TIME", value_parser = serving::stale_limit)]
    stale_limit: Option<Duration>,
    /// Write each decision to this file; may be given several times
    #[arg(long, value_name = "FILE")]
    audit: Vec<PathBuf>,
    /// This machine's agent: people change their passwords by it, and managers hear of the record
    #[arg(long, value_name = "PATH", env = "SKEP_AGENT", hide_env_values = true)]
    #[arg(default_value = "/run/skep/agent.sock")]
    agent_socket: PathBuf,
    /// Ask the server at --listen whether it gives tokens, and end
    #[arg(long, conflicts_with_all = ["stale_limit", "audit"])]
    health: bool,
}

/// Serves until it is asked to end.
///
/// # Errors
/// What a process ends with.
pub(super) fn run(args: &AuthArgs) -> Result<(), Failure> {
    let (runtime, connections) = serving::prepare()?;
    if args.health {
        return runtime.block_on(probe::ask(args.listen, &args.secrets, "no tokens are given"));
    }
    runtime.block_on(auth(args, connections))
}

async fn auth(args: &AuthArgs, connections: usize) -> Result<(), Failure> {
    let ended = serving::ended()?;
    let limit = args.stale_limit.map(|limit| limit.as_secs());
    let clock = Arc::new(SystemClock);
    let record = serving::record(&args.audit, &args.name, clock.clone())?;
    let reached = record.reached();
    let desk = Desk::open(args.secrets.clone(), limit, clock, record);
    let desk = desk.map_err(|error| machine("cannot start", &error))?;
    let service = serving::service(&args.name, "auth")?;
    let agent = AgentAt { socket: args.agent_socket.clone(), service };
    let mut anchors = Anchors::new(agent.clone(), reached);
    let desk = Arc::new(desk.with_agent(agent));
    let ready = desk.ready().await.is_ok();
    let tls = desk.has_certificate();
    let listener = serving::listen(&args.name, args.listen, (tls, ready)).await?;
    let serving = serve_tokens(Door { listener, tls, connections }, Arc::clone(&desk), ended);
    let served = tokio::select! {
        served = serving => served,
        never = anchors.keep() => match never {},
    };
    desk.close().await;
    anchors.end().await;
    served.map_err(|error| machine("cannot serve", &error))?;
    tracing::info!(event = "ended");
    Ok(())
}
