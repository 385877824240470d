//! `skep agent status|leave|service`: what is said to this machine's agent.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::timeout;
use tonic::transport::Channel;
use tonic::{Response, Status};

use skep_client::transport::connect_local;
use skep_client::transport::rpc::local::agent_client::AgentClient;
use skep_core::base::{Exit, Failure};
use skep_core::wire::local;

use super::args::{AgentServiceCommand, AgentSocketArgs, FormatArgs};
use super::problem::Trouble;
use super::render::{self, Cell, Column, Format};
use super::settings::agent_socket;
use super::shell::Shell;
use super::words;
use skep_client::Answer;

const COLUMNS: [Column; 6] = [
    ("SERVICE", Cell::Field("name")),
    ("STATE", Cell::Field("state")),
    ("WORKLOADS", Cell::Field("workloads")),
    ("FILES", Cell::Field("files")),
    ("PATH", Cell::Field("path")),
    ("WHY", Cell::Field("why")),
];
const CONTAINERS: [Column; 3] = [
    ("CONTAINER", Cell::Field("name")),
    ("VOLUME", Cell::Field("volume")),
    ("WHY", Cell::Field("why")),
];
/// How long the agent may take to answer what needs no delivery.
const ANSWER: Duration = Duration::from_secs(10);
/// What an agent gets beyond the time it was given itself.
const GRACE: Duration = Duration::from_secs(5);

type Client = AgentClient<Channel>;

async fn connect(socket: &Path) -> Result<Client, Trouble> {
    let shown = socket.display();
    let connected = timeout(ANSWER, connect_local(socket)).await;
    let error = match connected {
        Ok(Ok(channel)) => return Ok(AgentClient::new(channel)),
        Ok(Err(error)) => error,
        Err(_elapsed) => std::io::ErrorKind::TimedOut.into(),
    };
    let failure = match error.kind() {
        std::io::ErrorKind::PermissionDenied => {
            Failure::new(Exit::Refused, format!("{shown}: permission denied"))
                .hint("run it as root, or as the service's owner")
        }
        _ => Failure::new(Exit::Unreachable, format!("no agent reached: {shown}: {error}")).hint(
            "is `skep agent run` running here? --agent-socket or SKEP_AGENT names its socket",
        ),
    };
    Err(failure.into())
}

async fn call<R>(
    within: Duration,
    sent: impl Future<Output = Result<Response<R>, Status>>,
) -> Result<R, Trouble> {
    match timeout(within, sent).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(match Answer::read(&status) {
            Answer::Refused(failure)
            | Answer::Unknown(failure)
            | Answer::NoLeader(failure)
            | Answer::Busy(failure)
            | Answer::LeaderIsAt(_, failure) => failure.into(),
            Answer::Lost(why) => {
                Failure::new(Exit::Unreachable, format!("the connection to the agent broke: {why}"))
                    .hint("`skep agent status` shows whether it is back")
                    .into()
            }
        }),
        Err(_elapsed) => {
            let text =
                format!("the agent did not answer within {}", humantime::format_duration(within));
            Err(Failure::new(Exit::Unreachable, text).hint("look at its log").into())
        }
    }
}

/// `skep agent status`.
pub(super) async fn status(
    shell: &mut Shell,
    format: &FormatArgs,
    socket: AgentSocketArgs,
) -> Result<(), Trouble> {
    let format = Format::parse(format.of.as_deref())?;
    let mut client = connect(&agent_socket(socket)?).await?;
    let reply = call(ANSWER, client.status(local::StatusRequest {})).await?;
    if format != Format::Table {
        return render::list(shell, &format, &[], &[shown(&reply)]);
    }
    let state = if reply.why.is_empty() {
        words::agent_state(reply.state()).to_owned()
    } else {
        format!("{} ({})", words::agent_state(reply.state()), reply.why)
    };
    let node = if reply.node_id.is_empty() { String::new() } else { render::id(&reply.node_id) };
    let node = if node.is_empty() {
        reply.node_name.clone()
    } else {
        format!("{} ({node})", reply.node_name)
    };
    let ends = if reply.certificate_ends == 0 {
        String::new()
    } else {
        words::until(reply.certificate_ends)
    };
    let rows = [
        ("state", state),
        ("node", node),
        ("cluster", reply.cluster_name.clone()),
        ("manager", reply.manager.clone()),
        ("revision", reply.revision.to_string()),
        ("certificate", ends),
        ("version", reply.version.clone()),
        ("docker", reply.engine.clone()),
    ];
    for (head, row) in rows.iter().filter(|(_, row)| !row.is_empty()) {
        shell.screen.data(&format!("{:<12} {row}", format!("{head}:")))?;
    }
    let services: Vec<Value> = reply.services.iter().map(shown_service).collect();
    let containers: Vec<Value> = reply.containers.iter().map(shown_container).collect();
    for (columns, things) in [(&COLUMNS[..], services), (&CONTAINERS[..], containers)] {
        if !things.is_empty() {
            shell.screen.data("")?;
            render::list(shell, &format, columns, &things)?;
        }
    }
    Ok(())
}

fn shown(reply: &local::StatusReply) -> Value {
    json!({
        "version": reply.version,
        "state": words::agent_state(reply.state()),
        "why": reply.why,
        "id": (!reply.node_id.is_empty()).then(|| render::id(&reply.node_id)),
        "name": reply.node_name,
        "cluster": reply.cluster_name,
        "manager": reply.manager,
        "revision": reply.revision,
        "certificate_ends": render::time(reply.certificate_ends),
        "offline_since": render::time(reply.offline_since),
        "engine": reply.engine,
        "containers": reply.containers.iter().map(shown_container).collect::<Vec<_>>(),
        "services": reply.services.iter().map(shown_service).collect::<Vec<_>>(),
    })
}

fn shown_container(container: &local::WaitingContainer) -> Value {
    json!({
        "id": container.id,
        "name": container.name,
        "volume": container.volume,
        "why": container.why,
    })
}

fn shown_service(service: &local::ServiceStatus) -> Value {
    // What is not in place is the graver news.
    let failed = match service.hook.as_str() {
        "" => String::new(),
        _ if !service.why.is_empty() => String::new(),
        why => format!("its hook failed: {why}"),
    };
    json!({
        "id": render::id(&service.id),
        "name": service.name,
        "placed": service.placed,
        "workloads": service.workloads,
        "state": words::service_state(service.state()),
        "generation": service.generation,
        "files": service.files,
        "path": service.path,
        "why": if failed.is_empty() { service.why.clone() } else { failed },
        "hook_failed": service.hook,
    })
}

/// `skep agent leave`.
pub(super) async fn leave(shell: &mut Shell, socket: AgentSocketArgs) -> Result<(), Trouble> {
    let mut client = connect(&agent_socket(socket)?).await?;
    call(Duration::from_mins(1), client.leave(local::LeaveRequest {})).await?;
    shell.screen.say("left the cluster; nothing is left here");
    Ok(())
}

/// `skep agent service up|down`.
pub(super) async fn service(
    shell: &mut Shell,
    command: AgentServiceCommand,
) -> Result<(), Trouble> {
    match command {
        AgentServiceCommand::Up { name, timeout, socket } => {
            let mut client = connect(&agent_socket(socket)?).await?;
            let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
            let request = local::ServiceUpRequest { name, timeout_ms };
            let within = timeout.saturating_add(GRACE);
            let reply = call(within, client.service_up(request)).await?;
            shell.screen.echo(&reply.path);
            Ok(())
        }
        AgentServiceCommand::Down { name, socket } => {
            let mut client = connect(&agent_socket(socket)?).await?;
            call(ANSWER, client.service_down(local::ServiceDownRequest { name })).await?;
            Ok(())
        }
    }
}
