//! `skep exec`: this process asks the agent for a service's secrets, gives itself
//! a private mount namespace that shows them, and becomes the command.
//!
//! The order matters. The agent is asked first, so that the files stand when the
//! namespace is made. Once inside, it is told so, over the same connection:
//! from then on it knows the namespace and counts every process in it. Only
//! then does the command start: before, there is no other process to count.

use std::ffi::{OsStr, OsString};
use std::future::Future;
use std::io::ErrorKind;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tonic::Status;

use super::stay::{Ears, supervise};
use crate::agent::machine::{User, enter};
use crate::agent::vault::Told;
use crate::agent::vault::layout::SECRETS;
use skep_client::machine::SystemClock;
use skep_client::transport::rpc::local::agent_client::AgentClient;
use skep_client::transport::{connect_local, read_problem};
use skep_core::base::{BootTime, Clock as _, Exit, Failure};
use skep_core::wire::local;

/// Part of the time that is left for an answer to come, and for what follows it: the agent
/// is to say why before it is up.
const PART: u32 = 10;
/// The most that is left for that.
const LEFT: Duration = Duration::from_millis(500);

/// What `skep exec` was told.
#[derive(Clone, Debug)]
pub struct ExecConfig {
    /// The agent's socket.
    pub socket: PathBuf,
    /// The service's name.
    pub service: String,
    /// As whom the command runs; none: as the caller.
    pub user: Option<User>,
    /// Variables of the command's environment that are set, or taken out.
    pub surroundings: Vec<(&'static str, Option<OsString>)>,
    /// How the command is told that its secrets have changed.
    pub told: Option<Told>,
    /// How long all may take that comes before the command, as it was told.
    pub timeout: Duration,
    /// The end of that.
    pub until: BootTime,
    /// The command and its arguments.
    pub command: Vec<OsString>,
}

/// Becomes the command; comes back only if that failed. To be called on the
/// process's first thread, with no other thread and no runtime running.
#[must_use]
pub fn exec(config: &ExecConfig) -> Failure {
    match prepare(config) {
        Ok(None) => become_command(config),
        Ok(Some((runtime, ears))) => match command_of(config) {
            Some((program, command)) => {
                let staying = async { supervise(&mut command.into(), ears).await };
                match runtime.block_on(staying) {
                    Ok(status) => std::process::exit(status),
                    Err(error) => not_started(program, &error),
                }
            }
            None => no_command(),
        },
        Err(failure) => failure,
    }
}

/// What it takes to stay beside the command, where that is wanted.
type Beside = Option<(tokio::runtime::Runtime, Ears)>;

fn prepare(config: &ExecConfig) -> Result<Beside, Failure> {
    if config.command.is_empty() {
        return Err(no_command());
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| not_run(format!("no runtime: {error}")))?;
    let (mut agent, files) = runtime.block_on(ask(config))?;
    enter(&files, Path::new(SECRETS), config.user.as_ref()).map_err(|error| {
        let failure = not_run(&error);
        match error.hint() {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    })?;
    let ears = match config.told {
        Some(Told::Restarts) => Some(runtime.block_on(async { Ears::open() })),
        Some(Told::Signal(_)) | None => None,
    };
    let ears = ears.transpose().map_err(|error| not_run(format!("signals: {error}")))?;
    let inside = local::ExecRequest {
        service: config.service.clone(),
        timeout_ms: 0,
        inside: true,
        on_change: config.told.map(|told| told.to_string()).unwrap_or_default(),
    };
    runtime
        .block_on(in_time(config, async { agent.exec(inside).await.map_err(|s| refused(&s)) }))?;
    drop(agent);
    Ok(ears.map(|ears| (runtime, ears)))
}

/// Waits for an answer as long as there is time.
async fn in_time<T>(
    config: &ExecConfig,
    answer: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    tokio::time::timeout(left(config), answer).await.unwrap_or_else(|_| {
        let within = humantime::format_duration(config.timeout);
        let failure = not_run(format!("the agent did not answer within {within}"));
        Err(failure.hint("is it stopped, or its machine very busy? --timeout gives it longer"))
    })
}

fn left(config: &ExecConfig) -> Duration {
    Duration::from_millis(config.until.0.saturating_sub(SystemClock.boot().0))
}

async fn ask(
    config: &ExecConfig,
) -> Result<(AgentClient<tonic::transport::Channel>, PathBuf), Failure> {
    let no_agent = |error: std::io::Error| {
        not_run(format!("agent socket {}: {error}", config.socket.display()))
            .hint("is the agent running? `skep agent run`, or name its socket with --agent-socket")
    };
    let connected = async { connect_local(&config.socket).await.map_err(no_agent) };
    let channel = in_time(config, connected).await?;
    let mut agent = AgentClient::new(channel);
    let wait = left(config);
    let wait = wait.saturating_sub((wait / PART).min(LEFT));
    let request = local::ExecRequest {
        service: config.service.clone(),
        timeout_ms: u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
        inside: false,
        on_change: String::new(),
    };
    let asked = async { agent.exec(request).await.map_err(|status| refused(&status)) };
    let reply = in_time(config, asked).await?.into_inner();
    Ok((agent, PathBuf::from(reply.path)))
}

/// The command, with what is to be around it.
fn command_of(config: &ExecConfig) -> Option<(&OsStr, std::process::Command)> {
    let (program, arguments) = config.command.split_first()?;
    let mut command = std::process::Command::new(program);
    for (key, value) in &config.surroundings {
        match value {
            Some(value) => command.env(key, value),
            None => command.env_remove(key),
        };
    }
    command.args(arguments);
    Some((program, command))
}

fn become_command(config: &ExecConfig) -> Failure {
    match command_of(config) {
        Some((program, mut command)) => not_started(program, &command.exec()),
        None => no_command(),
    }
}

fn no_command() -> Failure {
    not_run("no command was given").hint("skep exec --service NAME -- CMD ARGS")
}

/// Why a command was not started.
fn not_started(program: &OsStr, error: &std::io::Error) -> Failure {
    let shown = program.to_string_lossy();
    if error.kind() == ErrorKind::NotFound {
        Failure::new(Exit::CommandNotFound, format!("{shown}: not found"))
            .hint("give its whole path, or put its folder on PATH")
    } else {
        Failure::new(Exit::NotExecutable, format!("{shown}: cannot be executed: {error}"))
    }
}

fn refused(status: &Status) -> Failure {
    match read_problem(status) {
        Some(problem) if problem.hint.is_empty() => not_run(problem.text),
        Some(problem) => not_run(problem.text).hint(problem.hint),
        None => not_run(format!("the agent: {}", status.message())),
    }
}

fn not_run(text: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::NotRun, text)
}
