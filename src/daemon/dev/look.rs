//! What can be seen of daemons from outside: their sockets, and which ports are free.

use std::fs::File;
use std::io::Read as _;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::Duration;

use tokio::time::timeout;

use skep_client::machine::os_dice;
use skep_client::transport::connect_local;
use skep_client::transport::rpc::api::control_client::ControlClient;
use skep_client::transport::rpc::local::agent_client::AgentClient;
use skep_core::base::{Exit, Failure, draw};
use skep_core::wire::{api, local};

/// One look at a socket.
const LOOK: Duration = Duration::from_secs(2);
/// Bytes of a process's command line that are looked at.
const WORDS_BYTES: u64 = 64 * 1024;
/// Ports are taken from here up to where the system's own begin: a connection of
/// somebody else never has one of them at its near end.
const FIRST_PORT: u16 = 20_000;
/// Where the system's own ports begin, if it doesn't say.
const SYSTEM_PORTS: u16 = 32_768;
/// Ports tried before we give up.
const TRIES: usize = 1_000;

/// What a manager says of itself, if it answers.
pub(super) async fn manager(socket: &Path) -> Option<api::StatusReply> {
    let look = async {
        let channel = connect_local(socket).await.ok()?;
        let reply = ControlClient::new(channel).status(api::StatusRequest {}).await.ok()?;
        Some(reply.into_inner())
    };
    timeout(LOOK, look).await.ok().flatten()
}

/// What an agent says of itself, if it answers.
pub(super) async fn agent(socket: &Path) -> Option<local::StatusReply> {
    let look = async {
        let channel = connect_local(socket).await.ok()?;
        let reply = AgentClient::new(channel).status(local::StatusRequest {}).await.ok()?;
        Some(reply.into_inner())
    };
    timeout(LOOK, look).await.ok().flatten()
}

/// Whether a process runs on these settings. It may have no socket yet, or no more.
pub(super) fn runs_on(settings: &Path) -> bool {
    let Ok(processes) = std::fs::read_dir("/proc") else { return false };
    let mut words = processes.filter_map(|process| {
        let mut words = Vec::new();
        let file = File::open(format!("{}/cmdline", process.ok()?.path().display())).ok()?;
        file.take(WORDS_BYTES).read_to_end(&mut words).ok()?;
        Some(words)
    });
    let wanted = settings.as_os_str().as_bytes();
    words.any(|words| {
        let mut words = words.split(|byte| *byte == 0);
        words.any(|word| word == b"--config") && words.next() == Some(wanted)
    })
}

/// So many ports of loopback on which nobody listened a moment ago.
///
/// # Errors
/// [`Exit::MachineLimit`] where there are not so many.
pub fn free_ports(count: usize) -> Result<Vec<u16>, Failure> {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
    let end = system_ports(&range.unwrap_or_default());
    let mut taken = Vec::new();
    for _ in 0..TRIES {
        if taken.len() == count {
            break;
        }
        let dice: [u8; 4] = draw(&mut *os_dice());
        let below = u32::from_le_bytes(dice) % u32::from(end.saturating_sub(FIRST_PORT).max(1));
        let port = FIRST_PORT.saturating_add(u16::try_from(below).unwrap_or_default());
        // Held until all are found, so that none is found twice.
        taken.extend(TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok());
    }
    if taken.len() < count {
        return Err(Failure::new(Exit::MachineLimit, "no free ports on 127.0.0.1")
            .hint("stop what listens on so many of them"));
    }
    taken
        .iter()
        .map(|listener| Ok(listener.local_addr()?.port()))
        .collect::<std::io::Result<_>>()
        .map_err(|error| Failure::new(Exit::MachineLimit, format!("ports: {error}")))
}

/// Where the range of the system's own ports begins, if that leaves any.
fn system_ports(range: &str) -> u16 {
    let first = range.split_whitespace().next().and_then(|first| first.parse().ok());
    first.filter(|first| *first > FIRST_PORT + 1_000).unwrap_or(SYSTEM_PORTS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_free_and_none_is_the_systems_own() {
        let ports = free_ports(7).expect("ports");
        let different: std::collections::BTreeSet<_> = ports.iter().collect();
        assert_eq!(different.len(), 7);
        for port in ports {
            assert!(port >= FIRST_PORT);
            drop(TcpListener::bind(("127.0.0.1", port)).expect("free"));
        }
        assert_eq!(system_ports("40000\t60999\n"), 40_000);
        assert_eq!(system_ports("1024 65535"), SYSTEM_PORTS);
        assert_eq!(system_ports(""), SYSTEM_PORTS);
    }

    #[tokio::test]
    async fn nobody_answers_on_a_socket_that_is_not_there() {
        assert_eq!(manager(Path::new("/nonexistent/s")).await, None);
        assert_eq!(agent(Path::new("/nonexistent/s")).await, None);
    }
}
