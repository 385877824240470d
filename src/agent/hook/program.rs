//! A program of the node's, as a hook: in a process group of its own, with nothing of the
//! agent's around it, for a bounded time.

use std::os::unix::fs::MetadataExt as _;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};

use crate::agent::machine::Process;
use crate::agent::vault::HookDue;
use skep_core::domain::UnitName;

/// How long a hook may take.
const TIME: Duration = Duration::from_secs(30);
/// Where it looks for programs: what a system's own services have.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Bytes of what it says that are logged: the rest is read and dropped.
const SAID_BYTES: usize = 4 * 1024;
/// How long is read on what somebody whom it left behind may go on to say.
const REST: Duration = Duration::from_millis(200);
/// Write permission for anybody but the owner.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// Runs a node's program to its end.
///
/// # Errors
/// Why it failed, in one line; what the program said is in the log alone.
pub(super) async fn run_hook(path: &str, due: &HookDue) -> Result<(), String> {
    let found = std::fs::metadata(path).map_err(|error| cannot(path, &error))?;
    if found.uid() != 0 || found.mode() & WRITABLE_BY_OTHERS != 0 {
        return Err(format!("{path} is not run: others than root may change it"));
    }
    let shown = due.path.as_deref().unwrap_or_else(|| std::path::Path::new(""));
    let mut command = bare(path);
    command
        .env("SKEP_SERVICE", due.name.as_str())
        .env("SKEP_GENERATION", due.generation.to_string())
        .env("SKEP_PATH", shown);
    run(path, command, due).await
}

/// Has systemd do something with a unit, and waits until it is done.
///
/// # Errors
/// The same.
pub(super) async fn run_systemctl(
    words: &[&str],
    unit: &UnitName,
    due: &HookDue,
) -> Result<(), String> {
    let mut command = bare("systemctl");
    command.arg("--no-ask-password").args(words).arg("--").arg(unit.as_str());
    let what = words.first().copied().unwrap_or_default();
    run(&format!("systemctl {what} {unit}"), command, due).await
}

fn cannot(shown: &str, error: &std::io::Error) -> String {
    format!("{shown} cannot be run: {error}")
}

/// Nothing of the agent's is around it.
fn bare(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", PATH);
    command
}

async fn run(path: &str, mut command: Command, due: &HookDue) -> Result<(), String> {
    let cannot = |error: std::io::Error| cannot(path, &error);
    let mut child = command
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(cannot)?;
    let (group, process) = followed(&child).map_err(cannot)?;
    let said = said(child.stdout.take(), child.stderr.take());
    tokio::pin!(said);
    let ended = tokio::time::timeout(TIME, until_gone(process, said.as_mut())).await;
    // What it started goes with it. Nobody has waited for it yet: its number is its own.
    drop(group);
    let text = match &ended {
        Ok((_, Some(text))) => text.clone(),
        _ => tokio::time::timeout(REST, said).await.unwrap_or_default(),
    };
    if !text.is_empty() {
        tracing::info!(event = "hook_said", service = %due.name, said = text);
    }
    let status = child.wait().await.map_err(cannot)?;
    match ended {
        Err(_late) => {
            Err(format!("{path} was killed: it did not end within {} seconds", TIME.as_secs()))
        }
        Ok(_) if status.success() => Ok(()),
        Ok(_) => Err(format!("{path} {}", ended_with(status))),
    }
}

/// Its process group, and the process.
fn followed(child: &Child) -> std::io::Result<(Group, Process)> {
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
    let pid = pid.ok_or(std::io::ErrorKind::NotFound)?;
    Ok((Group(Pid::from_raw(pid)), Process::open_ended(pid)?))
}

/// Waits until the process is gone, and meanwhile reads what it says; that, if it has closed
/// its outputs.
async fn until_gone(
    process: Process,
    mut said: std::pin::Pin<&mut impl Future<Output = String>>,
) -> (std::io::Result<()>, Option<String>) {
    let gone = process.gone();
    tokio::pin!(gone);
    tokio::select! {
        ended = &mut gone => (ended, None),
        text = &mut said => (gone.await, Some(text)),
    }
}

/// The beginning of what it says.
async fn said(out: Option<ChildStdout>, err: Option<ChildStderr>) -> String {
    let (mut said, more) = tokio::join!(beginning(out), beginning(err));
    said.extend(more);
    said.truncate(SAID_BYTES);
    String::from_utf8_lossy(&said).trim_end().to_owned()
}

fn ended_with(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt as _;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with status {code}"),
        (None, Some(signal)) => format!("ended by signal {signal}"),
        (None, None) => "ended in an unknown way".to_owned(),
    }
}

/// Reads to the end, and keeps the beginning.
async fn beginning(from: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let (mut kept, mut part) = (Vec::new(), [0; 1024]);
    let Some(mut from) = from else { return kept };
    while let Ok(count @ 1..) = from.read(&mut part).await {
        let room = SAID_BYTES.saturating_sub(kept.len());
        kept.extend(part.get(..count.min(room)).unwrap_or_default());
    }
    kept
}

/// The processes that a hook started: killed once this is dropped.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        let Some(group) = self.0 else { return };
        // One that has nobody in it is none any more.
        kill_process_group(group, Signal::KILL).ok();
    }
}
