//! One turn of one system: so many clients, each one connection that is kept, for so long.

use std::time::{Duration, Instant};

use crate::process::{own_processor, processor};

/// What clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// A new thing of 512 bytes.
    Create,
    /// What is known of one thing.
    Read,
    /// The list of all things, without values.
    List,
    /// Sixteen values at once.
    Act,
}

/// One client's connection.
pub(super) trait Client: 'static {
    /// Creates a thing.
    async fn create(&mut self, name: &str);
    /// Asks for one.
    async fn read(&mut self, name: &str);
    /// Lists all, and answers how many they are.
    async fn list(&mut self) -> usize;
    /// Gives sixteen things of its own new values, which begin with this name.
    async fn act(&mut self, prefix: &str);
}

/// The processes of a system.
pub(super) struct Members {
    pub(super) leader: u32,
    pub(super) followers: Vec<u32>,
}

/// A system of three managers.
pub(super) trait System {
    fn name(&self) -> &'static str;
    fn members(&self) -> Members;
    /// Whether clients can be asked for it.
    fn can(&self, work: Work) -> bool;
    /// Makes so many things, to be listed and read.
    fn fill(&self, things: usize);
    /// One turn, by clients whose new names begin with this.
    fn turn(&self, work: Work, clients: usize, time: Duration, prefix: &str) -> Turn;
}

/// Processor time, by whoever took it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spent {
    pub(super) leader: Duration,
    pub(super) followers: Duration,
    pub(super) clients: Duration,
}

impl Spent {
    fn until_now(members: &Members) -> Self {
        Self {
            leader: processor(members.leader),
            followers: members.followers.iter().map(|pid| processor(*pid)).sum(),
            clients: own_processor(),
        }
    }

    fn since(self, before: Self) -> Self {
        Self {
            leader: self.leader.saturating_sub(before.leader),
            followers: self.followers.saturating_sub(before.followers),
            clients: self.clients.saturating_sub(before.clients),
        }
    }

    pub(super) fn add(&mut self, other: Self) {
        self.leader += other.leader;
        self.followers += other.followers;
        self.clients += other.clients;
    }
}

/// What a turn came to.
#[derive(Clone, Debug, Default)]
pub(super) struct Turn {
    pub(super) times: Vec<Duration>,
    pub(super) took: Duration,
    pub(super) spent: Spent,
}

/// What a file of a thing that is there is called.
pub(super) fn filled(number: usize) -> String {
    format!("filled-{number}")
}

/// Makes what is to be there.
pub(super) fn fill<C: Client>(open: impl AsyncFn(usize) -> C, things: usize) {
    wait(async || {
        let mut client = open(0).await;
        for number in 0..things {
            client.create(&filled(number)).await;
        }
    });
}

/// Waits for it in this thread.
pub(super) fn wait<T>(work: impl AsyncFnOnce() -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    tokio::task::LocalSet::new().block_on(&runtime.expect("a runtime"), work())
}

/// One turn. Connections are made, and used once, before the clock runs.
pub(super) fn turn<C: Client>(
    open: impl AsyncFn(usize) -> C,
    members: &Members,
    (work, clients, time, prefix): (Work, usize, Duration, &str),
) -> Turn {
    wait(async || {
        let mut ready = Vec::new();
        for number in 0..clients {
            let mut client = open(number).await;
            client.create(&format!("{prefix}-{number}-warm")).await;
            if work == Work::Act {
                client.act(&format!("{prefix}-{number}")).await;
            }
            ready.push(client);
        }
        let (start, before) = (Instant::now(), Spent::until_now(members));
        let each = ready.into_iter().enumerate().map(|(number, mut client)| {
            let prefix = format!("{prefix}-{number}");
            tokio::task::spawn_local(async move {
                let mut times = Vec::new();
                while start.elapsed() < time {
                    let began = Instant::now();
                    once(&mut client, work, &prefix, times.len()).await;
                    times.push(began.elapsed());
                }
                times
            })
        });
        let each: Vec<_> = each.collect();
        let mut times = Vec::new();
        for client in each {
            times.extend(client.await.expect("a client"));
        }
        let took = start.elapsed();
        Turn { times, took, spent: Spent::until_now(members).since(before) }
    })
}

async fn once(client: &mut impl Client, work: Work, prefix: &str, number: usize) {
    match work {
        Work::Create => client.create(&format!("{prefix}-{number}")).await,
        Work::Read => client.read(&filled(number % super::THINGS)).await,
        Work::List => assert!(client.list().await >= super::THINGS, "things are missing"),
        Work::Act => client.act(prefix).await,
    }
}
