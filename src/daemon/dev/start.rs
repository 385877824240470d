//! Founds a cluster on this machine, or brings one back. What doesn't wait for
//! another goes on at the same time.

use std::ffi::OsString;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::{LocalBoxFuture, try_join, try_join_all};
use futures_util::stream::FuturesUnordered;
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, sleep};
use zeroize::Zeroizing;

use super::folder::{make, put};
use super::process::{Ended, last_lines};
use super::{Event, Launcher, Member, MemberKind, Plan, Process, look};
use skep_core::base::{Exit, Failure};
use skep_core::wire::{api, local};

/// How long one thing may take on a machine that has much else to do.
const WITHIN: Duration = Duration::from_mins(2);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(10);
/// How long a join token is good: it is used at once.
const TOKEN_TTL: &str = "1h";

/// A cluster that runs. Dropped, it is killed.
#[derive(Debug)]
pub struct Cluster {
    /// The managers, in the plan's order.
    pub managers: Vec<Process>,
    /// The agents, in the plan's order.
    pub agents: Vec<Process>,
}

/// Starts all of a plan's members and returns when every manager votes and every
/// agent is connected. They are spawned on the calling thread, and end with it:
/// call it in a runtime of this thread alone.
///
/// # Errors
/// The first failure, with the status of whatever failed; what was started has
/// ended then.
pub async fn start(
    plan: &Plan,
    launcher: &Launcher,
    again: bool,
    tell: &mut dyn FnMut(Event<'_>),
) -> Result<Cluster, Failure> {
    for member in plan.members() {
        make(member, plan.keep_mounts)?;
    }
    tell(Event::Starting { plan, again });
    let managers = plan.managers.iter().map(|member| launcher.start(member));
    let mut managers = managers.collect::<Result<Vec<_>, _>>()?;
    let all = plan.managers.iter().zip(&mut managers);
    try_join_all(all.map(|(member, process)| up(member, process))).await?;
    let agents = if again {
        unlock(plan, launcher).await?;
        settle(plan, &mut managers).await?;
        tell(Event::Unlocked);
        connect(plan, launcher, tell).await?
    } else {
        let tokens = found(plan, launcher).await?;
        tell(Event::Founded);
        let agents = join(plan, launcher, &tokens, tell).await?;
        settle(plan, &mut managers).await?;
        agents
    };
    Ok(Cluster { managers, agents })
}

/// Tokens for the others.
struct Tokens {
    manager: Zeroizing<Vec<u8>>,
    worker: Zeroizing<Vec<u8>>,
}

/// The first manager founds the cluster and makes tokens for as many as there are.
async fn found(plan: &Plan, launcher: &Launcher) -> Result<Tokens, Failure> {
    let Some(first) = plan.managers.first() else {
        return Err(Failure::new(Exit::Usage, "a cluster has a manager"));
    };
    let socket = first.socket();
    let words: [&Path; 9] = [
        "init".as_ref(),
        "--name".as_ref(),
        plan.cluster.as_ref(),
        "--identity-out".as_ref(),
        &plan.identity(),
        "--unlock-key-out".as_ref(),
        &plan.unlock_key(),
        "--socket".as_ref(),
        &socket,
    ];
    run(launcher, &words, b"").await?;
    let token = async |role: &str, uses: usize| {
        if uses == 0 {
            return Ok(Zeroizing::default());
        }
        let uses = uses.to_string();
        let words = ["join-token", role, "-q", "--ttl", TOKEN_TTL, "--uses", &uses, "--socket"];
        let words: Vec<&Path> = words.iter().map(Path::new).chain([socket.as_path()]).collect();
        run(launcher, &words, b"").await
    };
    let others = plan.managers.len().saturating_sub(1);
    let made = try_join(token("manager", others), token("worker", plan.agents.len()));
    let (manager, worker) = made.await?;
    Ok(Tokens { manager, worker })
}

/// A member on its way into the cluster.
type Joining<'a> = LocalBoxFuture<'a, Result<&'a Member, Failure>>;

/// All others join the first, at the same time.
async fn join(
    plan: &Plan,
    launcher: &Launcher,
    tokens: &Tokens,
    tell: &mut dyn FnMut(Event<'_>),
) -> Result<Vec<Process>, Failure> {
    let mut agents = Vec::new();
    for member in &plan.agents {
        give_token(member, &tokens.worker)?;
        agents.push(launcher.start(member)?);
    }
    let mut joining: FuturesUnordered<Joining<'_>> = FuturesUnordered::new();
    let asked = plan.managers.first().and_then(Member::address).unwrap_or_default();
    for member in plan.managers.iter().skip(1) {
        joining.push(Box::pin(async move {
            join_manager(launcher, member, &tokens.manager, asked).await?;
            Ok(member)
        }));
    }
    joining.extend(connecting(plan, &mut agents));
    told(joining, tell).await?;
    Ok(agents)
}

/// The agents of an earlier run.
async fn connect(
    plan: &Plan,
    launcher: &Launcher,
    tell: &mut dyn FnMut(Event<'_>),
) -> Result<Vec<Process>, Failure> {
    let agents = plan.agents.iter().map(|member| launcher.start(member));
    let mut agents = agents.collect::<Result<Vec<_>, _>>()?;
    told(connecting(plan, &mut agents).collect(), tell).await?;
    Ok(agents)
}

/// Each agent, until it is connected.
fn connecting<'a>(plan: &'a Plan, agents: &'a mut [Process]) -> impl Iterator<Item = Joining<'a>> {
    plan.agents.iter().zip(agents).map(|(member, process)| {
        let connected = async move {
            connected(member, process).await?;
            Ok(member)
        };
        let joining: Joining<'a> = Box::pin(connected);
        joining
    })
}

/// Waits for all of them and tells of each.
async fn told(
    mut joining: FuturesUnordered<LocalBoxFuture<'_, Result<&Member, Failure>>>,
    tell: &mut dyn FnMut(Event<'_>),
) -> Result<(), Failure> {
    while let Some(joined) = joining.next().await {
        tell(Event::Joined(joined?));
    }
    Ok(())
}

/// All managers at the same time: each opens its own box with the one key.
async fn unlock(plan: &Plan, launcher: &Launcher) -> Result<(), Failure> {
    let key = plan.unlock_key();
    try_join_all(plan.managers.iter().map(|member| unlock_manager(launcher, member, &key)))
        .await
        .map(drop)
}

/// Unlocks one manager with the key in a file.
///
/// # Errors
/// What `skep unlock` says.
pub async fn unlock_manager(
    launcher: &Launcher,
    member: &Member,
    key: &Path,
) -> Result<(), Failure> {
    let words: [&Path; 5] =
        ["unlock".as_ref(), "--key-file".as_ref(), key, "--socket".as_ref(), &member.socket()];
    run(launcher, &words, b"").await.map(drop)
}

/// Lets a manager that runs join by the manager at this address.
///
/// # Errors
/// What `skep join` says.
pub async fn join_manager(
    launcher: &Launcher,
    member: &Member,
    token: &[u8],
    address: &str,
) -> Result<(), Failure> {
    let (name, socket) = (&member.name, member.socket());
    let words: [&Path; 6] = [
        "join".as_ref(),
        "--name".as_ref(),
        name.as_ref(),
        "--socket".as_ref(),
        &socket,
        address.as_ref(),
    ];
    run(launcher, &words, token).await.map(drop)
}

/// Puts a join token where an agent's settings name it.
///
/// # Errors
/// [`Exit::WriteFailed`].
pub fn give_token(member: &Member, token: &[u8]) -> Result<(), Failure> {
    put(&member.token(), token).map_err(|error| {
        Failure::new(Exit::WriteFailed, format!("{}: {error}", member.token().display()))
    })
}

/// Waits until a member's socket answers.
///
/// # Errors
/// Why it ended, or that it took too long.
pub async fn up(member: &Member, process: &mut Process) -> Result<(), Failure> {
    let socket = member.socket();
    let answers = async || match &member.kind {
        MemberKind::Manager(_) => look::manager(&socket).await.is_some(),
        MemberKind::Agent(_) => look::agent(&socket).await.is_some(),
    };
    until(member, process, answers).await
}

/// Waits until an agent has a session with the leader.
///
/// # Errors
/// Why it ended, or that it took too long.
pub async fn connected(member: &Member, process: &mut Process) -> Result<(), Failure> {
    let socket = member.socket();
    let is = async || {
        look::agent(&socket).await.is_some_and(|seen| seen.state() == local::AgentState::Connected)
    };
    until(member, process, is).await
}

/// Waits until a leader says that all managers vote and can be reached.
async fn settle(plan: &Plan, processes: &mut [Process]) -> Result<(), Failure> {
    let all = plan.managers.len();
    for (member, process) in plan.managers.iter().zip(processes) {
        let is = async || {
            let looks = plan.managers.iter().map(|member| async {
                look::manager(&member.socket()).await.is_some_and(|seen| leads_all(&seen, all))
            });
            futures_util::future::join_all(looks).await.contains(&true)
        };
        until(member, process, is).await?;
    }
    Ok(())
}

fn leads_all(seen: &api::StatusReply, all: usize) -> bool {
    let votes = |voter: &&api::Voter| {
        matches!(voter.state(), api::ManagerStanding::Leader | api::ManagerStanding::Follower)
    };
    seen.state() == api::ManagerState::Leader && seen.voters.iter().filter(votes).count() == all
}

async fn until(
    member: &Member,
    process: &mut Process,
    is: impl AsyncFn() -> bool,
) -> Result<(), Failure> {
    let deadline = Instant::now() + WITHIN;
    loop {
        if let Some(status) = process.ended() {
            return Err(Ended::of(member, status).failure(&member.name));
        }
        if is().await {
            return Ok(());
        }
        if Instant::now() >= deadline {
            let within = WITHIN.as_secs();
            let text = format!("{} is not up after {within} seconds", member.name);
            return Err(Failure::new(Exit::Unreachable, text)
                .hint(format!("its log may say why: {}", member.log().display())));
        }
        sleep(LOOK).await;
    }
}

/// Runs a command of the same binary to its end and answers what it printed.
async fn run(
    launcher: &Launcher,
    words: &[&Path],
    input: &[u8],
) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let named = || words.first().map(|word| word.display().to_string()).unwrap_or_default();
    let failed = |error: std::io::Error| {
        Failure::new(Exit::MachineLimit, format!("skep {}: {error}", named()))
            .hint("raise the limit of processes and open files")
    };
    let words = words.iter().map(OsString::from);
    let mut command = tokio::process::Command::from(launcher.command(words));
    command.kill_on_drop(true).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let ended = async {
        let mut child = command.spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            // A command that doesn't read it closes it: that is its right.
            stdin.write_all(input).await.ok();
        }
        child.wait_with_output().await
    };
    let ended = tokio::time::timeout(WITHIN, ended).await;
    let output = ended.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()));
    let output = output.map_err(failed)?;
    let printed = Zeroizing::new(output.stdout);
    if output.status.success() {
        return Ok(printed);
    }
    let (text, hint) = last_lines(&String::from_utf8_lossy(&output.stderr));
    let code = output.status.code().and_then(|code| u32::try_from(code).ok());
    let exit = code.and_then(Exit::from_code).unwrap_or(Exit::Bug);
    let text = text.unwrap_or_else(|| format!("ended with {}", output.status));
    let failure = Failure::new(exit, format!("skep {}: {text}", named()));
    Err(match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leader_of_fewer_is_not_enough() {
        let voter =
            |state: api::ManagerStanding| api::Voter { state: state.into(), ..Default::default() };
        let mut seen =
            api::StatusReply { state: api::ManagerState::Leader.into(), ..Default::default() };
        seen.voters = vec![
            voter(api::ManagerStanding::Leader),
            voter(api::ManagerStanding::Follower),
            voter(api::ManagerStanding::Learner),
        ];
        assert!(!leads_all(&seen, 3), "one only learns");
        assert!(leads_all(&seen, 2));
        seen.set_state(api::ManagerState::Follower);
        assert!(!leads_all(&seen, 2), "a follower does not know who is in reach");
    }

    #[tokio::test]
    async fn a_command_that_fails_says_why() {
        let launcher = Launcher::strict("/bin/sh".into());
        let words = |script: &'static str| [Path::new("-c"), Path::new(script)];
        let said = run(&launcher, &words("cat"), b"hello").await.expect("it ran");
        assert_eq!(said.as_slice(), b"hello");
        let script = "echo 'error: no'; echo 'hint: yes'; exit 22";
        let failure =
            run(&launcher, &words("exec >&2; echo 'error: no'; echo 'hint: yes'; exit 22"), b"")
                .await
                .expect_err(script);
        assert_eq!(failure.exit, Exit::InUse);
        assert_eq!(failure.to_string(), "error: skep -c: no\nhint: yes");
        let absent = Launcher::strict("/nonexistent/skep".into());
        assert_eq!(run(&absent, &words(""), b"").await.expect_err("no").exit, Exit::MachineLimit);
    }
}
