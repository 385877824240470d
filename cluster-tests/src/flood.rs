//! A flood of connections by people who are not known: from many addresses, opened again and
//! again, that say nothing or only hello.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, sockopt};
use tokio::io::AsyncReadExt as _;

use super::DEADLINE;
use skep_client::transport::{ClientTls, Expect};

/// What a flood is.
#[derive(Clone, Debug)]
pub struct Flood {
    /// The managers' ports: each gets all of it.
    pub targets: Vec<SocketAddr>,
    /// Addresses that it comes from, each of a network (/24) of its own.
    pub sources: u16,
    /// Connections of each source that are open at a time, to each target.
    pub each: usize,
    /// Connections opened a second, in all.
    pub per_second: u32,
    /// What each says before it is silent.
    pub says: Vec<u8>,
}

/// A flood that goes on until this is dropped.
#[derive(Debug)]
pub struct Flooding {
    stop: Arc<AtomicBool>,
    opened: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

/// How often the flood goes on.
const TICK: Duration = Duration::from_millis(2);

impl Flood {
    /// 40 addresses with 64 silent connections each, 5,000 a second.
    #[must_use]
    pub fn silent(targets: Vec<SocketAddr>) -> Self {
        Self { targets, sources: 40, each: 64, per_second: 5_000, says: Vec::new() }
    }

    /// The same from clients that begin a handshake as a guest does, and never go on.
    ///
    /// # Panics
    /// Where no port is free.
    #[must_use]
    pub fn of_hellos(targets: Vec<SocketAddr>, tls: &ClientTls) -> Self {
        let runtime = super::rpc::runtime();
        let says = runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let at = listener.local_addr().expect("its address").to_string();
            let tls = tls.clone();
            tokio::spawn(async move {
                skep_client::transport::connect(&at, &tls, Expect::AnyManager, DEADLINE)
                    .await
                    .is_ok()
            });
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut head = [0; 5];
            stream.read_exact(&mut head).await.expect("a record");
            let length = usize::from(u16::from_be_bytes([head[3], head[4]]));
            let mut says = vec![0; 5 + length];
            says[..5].copy_from_slice(&head);
            stream.read_exact(&mut says[5..]).await.expect("a hello");
            says
        });
        Self { says, ..Self::silent(targets) }
    }

    /// Begins.
    #[must_use]
    pub fn start(self) -> Flooding {
        let (stop, opened) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (until, count) = (Arc::clone(&stop), Arc::clone(&opened));
        let thread = std::thread::spawn(move || self.go_on(&until, &count));
        Flooding { stop, opened, thread: Some(thread) }
    }

    fn go_on(&self, stop: &AtomicBool, opened: &AtomicU64) {
        let ways = usize::from(self.sources) * self.targets.len();
        let mut open: Vec<VecDeque<(OwnedFd, bool)>> = (0..ways).map(|_| VecDeque::new()).collect();
        let (start, mut tried) = (Instant::now(), 0_u64);
        while !stop.load(Ordering::Relaxed) {
            let due = start.elapsed().as_millis() * u128::from(self.per_second) / 1000;
            // What it was kept from is not made up for all at once.
            let due = u64::try_from(due).unwrap_or(u64::MAX);
            tried = tried.max(due.saturating_sub(u64::from(self.per_second) / 10));
            while tried < due {
                let way = usize::try_from(tried).unwrap_or(0) % ways;
                tried += 1;
                let (source, target) = (way / self.targets.len(), way % self.targets.len());
                let Some(made) = opening(source, self.targets[target]) else { continue };
                opened.fetch_add(1, Ordering::Relaxed);
                let own = &mut open[way];
                own.push_back((made, false));
                if own.len() > self.each {
                    own.pop_front();
                }
            }
            if !self.says.is_empty() {
                for (socket, said) in open.iter_mut().flatten() {
                    *said = *said || rustix::io::write(&*socket, &self.says).is_ok();
                }
            }
            std::thread::park_timeout(TICK);
        }
    }
}

/// Begins to connect, and waits for nothing. Closed by us or by them, nothing stays behind.
fn opening(source: usize, target: SocketAddr) -> Option<OwnedFd> {
    let (of, network) = (u8::try_from(source / 250).ok()?, u8::try_from(source % 250).ok()?);
    let from = Ipv4Addr::new(127, of.checked_add(9)?, network, 1);
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket =
        rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None).ok()?;
    sockopt::set_socket_linger(&socket, Some(Duration::ZERO)).ok()?;
    bind(&socket, &SocketAddrV4::new(from, 0)).ok()?;
    match connect(&socket, &target) {
        Ok(()) | Err(rustix::io::Errno::INPROGRESS) => Some(socket),
        Err(_) => None,
    }
}

impl Flooding {
    /// How many connections were opened until now.
    #[must_use]
    pub fn opened(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }
}

impl Drop for Flooding {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}
