//! What the disk takes, and what acts of an operator take.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::time::{Duration, Instant};

use cluster_tests::{Cluster, DEADLINE};
use skep_client::Operator;
use skep_core::base::{SecretBytes, SecretId};

use super::row::{Row, rate};
use super::size::{ACT, Size, VALUE};

/// Writes by which the disk is known.
const DISK_WRITES: u64 = 400;

/// The disk's own 4 KiB write + fdatasync, where the managers' data will be.
pub(super) fn disk() -> Row {
    let folder = tempfile::tempdir().expect("a folder");
    let file = fs::File::create(folder.path().join("probe")).expect("a file");
    file.set_len(DISK_WRITES * 4096).expect("room");
    file.write_all_at(&vec![1; 4096 * 400], 0).expect("room");
    file.sync_all().expect("a sync");
    let times = (0..DISK_WRITES).map(|number| {
        let start = Instant::now();
        file.write_all_at(&[2; 4096], number * 4096).expect("a write");
        file.sync_data().expect("a sync");
        start.elapsed()
    });
    Row::of("disk: 4 KiB write + fdatasync", times.collect())
}

/// Creates with so many clients: each one connection of this process, used again.
pub(super) fn rows(size: &Size, managers: usize, disk: f64) -> Vec<Row> {
    let cluster = Cluster::start_with(managers, 0);
    let s = if managers == 1 { "" } else { "s" };
    let mut rows: Vec<Row> = Vec::new();
    for clients in size.clients {
        let prefix = format!("m{managers}-c{clients}");
        let (times, took) = create_for(operators(&cluster, *clients), &prefix, size.row);
        let rate = rate(times.len(), took);
        let row = Row::of(format!("create: {managers} manager{s}, {clients} clients"), times);
        let ratio = row.at(50).unwrap_or(f64::NAN) / disk;
        rows.push(row.at_rate(rate).note(format!("p50 is {ratio:.1} disk writes")));
    }
    for clients in [1, 16] {
        let (times, took) = acts_for(operators(&cluster, clients), clients, size.row);
        let rate = rate(times.len(), took);
        let what = format!("act of {ACT} values: {managers} manager{s}, {clients} clients");
        #[allow(clippy::cast_precision_loss, reason = "a small number")]
        let note = format!("{:.0} values a second", rate * ACT as f64);
        rows.push(Row::of(what, times).at_rate(rate).note(note));
    }
    let value = cluster.file("value", &[b'x'; VALUE]);
    let start = Instant::now();
    let mut times = Vec::new();
    while start.elapsed() < size.row {
        let began = Instant::now();
        let _ = cluster.ok(&["secret", "create", &format!("process-{}", times.len()), &value]);
        times.push(began.elapsed());
    }
    let rate = rate(times.len(), start.elapsed());
    let what = format!("create: {managers} manager{s}, a process each");
    rows.push(Row::of(what, times).at_rate(rate));
    rows
}

fn operators(cluster: &Cluster, count: usize) -> Vec<Operator> {
    (0..count).map(|_| cluster.client(DEADLINE).into_operator()).collect()
}

/// What a client does again and again.
trait Again: 'static {
    async fn once(&mut self, number: usize);
}

/// Does it until the time is over, each client one after the other.
fn go_on<A: Again>(
    ready: impl AsyncFnOnce() -> Vec<A>,
    time: Duration,
) -> (Vec<Duration>, Duration) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime.expect("a runtime"), async {
        // Connections are made before the clock runs.
        let ready = ready().await;
        let start = Instant::now();
        let work = ready.into_iter().map(|mut client| {
            tokio::task::spawn_local(async move {
                let mut times = Vec::new();
                while start.elapsed() < time {
                    let began = Instant::now();
                    client.once(times.len()).await;
                    times.push(began.elapsed());
                }
                times
            })
        });
        let work: Vec<_> = work.collect();
        let mut times = Vec::new();
        for client in work {
            times.extend(client.await.expect("a client"));
        }
        (times, start.elapsed())
    })
}

struct Creating(Operator, String);

impl Again for Creating {
    async fn once(&mut self, number: usize) {
        let name = format!("{}-{number}", self.1).parse().expect("a name");
        let value = SecretBytes::copy_of(&[b'x'; VALUE]);
        self.0.create(&name, value).await.expect("a secret");
    }
}

fn create_for(operators: Vec<Operator>, prefix: &str, time: Duration) -> (Vec<Duration>, Duration) {
    let ready = async || {
        let mut ready = Vec::new();
        for (number, operator) in operators.into_iter().enumerate() {
            let mut client = Creating(operator, format!("{prefix}-{number}"));
            client.once(usize::MAX).await;
            ready.push(client);
        }
        ready
    };
    go_on(ready, time)
}

struct Updating(Operator, Vec<SecretId>);

impl Again for Updating {
    async fn once(&mut self, _number: usize) {
        let value = |id: &SecretId| (*id, SecretBytes::copy_of(&[b'x'; VALUE]));
        self.0.update(self.1.iter().map(value)).await.expect("an act");
    }
}

/// Acts that give sixteen secrets a value each.
fn acts_for(operators: Vec<Operator>, clients: usize, time: Duration) -> (Vec<Duration>, Duration) {
    let ready = async || {
        let mut ready = Vec::new();
        for (number, mut operator) in operators.into_iter().enumerate() {
            let ids = sixteen(&mut operator, &format!("act-{clients}-{number}")).await;
            ready.push(Updating(operator, ids));
        }
        ready
    };
    go_on(ready, time)
}

/// Makes the secrets of an act.
async fn sixteen(operator: &mut Operator, prefix: &str) -> Vec<SecretId> {
    let mut ids = Vec::new();
    for number in 0..ACT {
        let name = format!("{prefix}-{number}").parse().expect("a name");
        let made = operator.create(&name, SecretBytes::copy_of(b"first")).await;
        ids.push(made.expect("a secret"));
    }
    ids
}

/// One value for one secret of each client, again and again: the load that leaves a state as it
/// is.
pub(super) struct Load<'a> {
    cluster: &'a Cluster,
    ids: Vec<SecretId>,
}

impl<'a> Load<'a> {
    /// Makes the clients' secrets.
    pub(super) fn of(cluster: &'a Cluster, clients: usize) -> Self {
        let mut client = cluster.client(DEADLINE);
        let make = |number| client.create(&format!("load-{number}"), b"first").ok();
        Self { cluster, ids: (0..clients).map(make).collect() }
    }

    /// Goes on for so long.
    pub(super) fn go_on(&self, time: Duration) -> (Vec<Duration>, Duration) {
        let operators = operators(self.cluster, self.ids.len());
        let ready = async || {
            let mut ready = Vec::new();
            for (operator, id) in operators.into_iter().zip(&self.ids) {
                let mut client = Updating(operator, vec![*id]);
                client.once(0).await;
                ready.push(client);
            }
            ready
        };
        go_on(ready, time)
    }
}
