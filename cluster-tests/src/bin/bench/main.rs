//! What it costs: one table and JSON. Run by `scripts/bench` on a release build.

mod audit;
mod connection;
mod engines;
mod floods;
mod mounts;
mod signing;
mod tokens;

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use comfy_table::{CellAlignment, Table, presets};
use serde_json::{Value, json};

use cluster_tests::{Client, Cluster, DEADLINE, Manager, processes_of, secret_id, until};
use skep_client::Operator;
use skep_core::base::{SecretBytes, ServiceId};
use skep_core::domain::{Change, Grant};

/// How much is measured.
struct Size {
    /// How long each row of creates goes on.
    row: Duration,
    clients: &'static [usize],
    deliveries: usize,
    fail_overs: usize,
    /// How long commands go on amid a flood.
    flood: Duration,
    secrets: usize,
    /// Of each file on each mount; a large one a twentieth of that.
    reads: usize,
    /// Accounts of machines that a token server has at first.
    robots: usize,
    /// And at last.
    most_robots: usize,
    /// Images that are signed.
    signed: usize,
}

const WHOLE: Size = Size {
    row: Duration::from_secs(5),
    clients: &[1, 16, 64, 256],
    deliveries: 100,
    fail_overs: 7,
    flood: Duration::from_secs(40),
    secrets: 20_000,
    reads: 20_000,
    robots: 500,
    most_robots: 2_000,
    signed: 1_000,
};
const QUICK: Size = Size {
    row: Duration::from_secs(1),
    clients: &[1, 16, 64],
    deliveries: 20,
    fail_overs: 2,
    flood: Duration::from_secs(3),
    secrets: 2_000,
    reads: 2_000,
    robots: 50,
    most_robots: 100,
    signed: 50,
};
/// Bytes of a value.
const VALUE: usize = 512;
/// Writes by which the disk is known.
const DISK_WRITES: u64 = 400;

/// One measured thing.
struct Row {
    what: String,
    rate: Option<f64>,
    times: Vec<Duration>,
    note: String,
}

impl Row {
    fn of(what: impl Into<String>, times: Vec<Duration>) -> Self {
        Self { what: what.into(), rate: None, times, note: String::new() }
    }

    fn note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }

    /// Milliseconds at this part of a hundred.
    fn at(&self, percent: usize) -> Option<f64> {
        let mut sorted = self.times.clone();
        sorted.sort();
        let last = sorted.len().checked_sub(1)?;
        Some(sorted[last * percent / 100].as_secs_f64() * 1e3)
    }

    fn json(&self) -> Value {
        json!({
            "what": self.what, "per_second": self.rate, "samples": self.times.len(),
            "p50_ms": self.at(50), "p99_ms": self.at(99), "note": self.note,
        })
    }
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let quick = words.iter().any(|word| word == "--quick");
    let into = words.iter().position(|word| word == "--json").map(|at| words[at + 1].clone());
    let floods_alone = words.iter().any(|word| word == "--floods");
    let size = if quick { QUICK } else { WHOLE };
    let tokens_alone = words.iter().any(|word| word == "--tokens");
    let engines_alone = words.iter().any(|word| word == "--docker");
    let audit_alone = words.iter().any(|word| word == "--audit");
    let mut rows = vec![disk()];
    if !audit_alone && !floods_alone && !tokens_alone && !engines_alone {
        let disk = rows[0].at(50).unwrap_or(f64::NAN);
        for managers in [1, 3] {
            rows.extend(creates(&size, managers, disk));
        }
        rows.extend(delivery(&size));
        rows.push(fail_over(&size));
        rows.extend(many_secrets(&size));
        rows.extend(mounts::reads(&size));
        rows.extend(audit::rows(&size));
    }
    if tokens_alone {
        rows.extend(tokens::rows(&size));
        rows.extend(signing::rows(&size));
    } else if engines_alone {
        rows.extend(engines::rows(&size));
    } else if audit_alone {
        rows.extend(audit::rows(&size));
    } else {
        rows.extend(floods::rows(&size));
    }
    println!("{}", table(&rows));
    if let Some(path) = into {
        let rows: Vec<Value> = rows.iter().map(Row::json).collect();
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let all =
            json!({ "quick": quick, "cores": cores, "load_after": load.trim(), "rows": rows });
        fs::write(&path, format!("{all:#}\n")).expect("the JSON written");
    }
}

fn table(rows: &[Row]) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::ASCII_MARKDOWN)
        .set_header(["", "a second", "p50 ms", "p99 ms", "samples", ""]);
    for row in rows {
        // Three digits at least, from microseconds to seconds.
        let number = |value: Option<f64>| match value {
            Some(value) if value < 0.1 => format!("{value:.4}"),
            Some(value) => format!("{value:.2}"),
            None => String::new(),
        };
        let rate = row.rate.map_or(String::new(), |rate| format!("{rate:.0}"));
        let samples =
            if row.times.is_empty() { String::new() } else { row.times.len().to_string() };
        let (middle, high) = (number(row.at(50)), number(row.at(99)));
        table.add_row([&row.what, &rate, &middle, &high, &samples, &row.note]);
    }
    for column in 1..5 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// The disk's own 4 KiB write + fdatasync, where the managers' data will be.
fn disk() -> Row {
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
fn creates(size: &Size, managers: usize, disk: f64) -> Vec<Row> {
    let cluster = Cluster::start_with(managers, 0);
    let s = if managers == 1 { "" } else { "s" };
    let mut rows: Vec<Row> = Vec::new();
    for clients in size.clients {
        let operators: Vec<Operator> =
            (0..*clients).map(|_| cluster.client(DEADLINE).into_operator()).collect();
        let prefix = format!("m{managers}-c{clients}");
        let (times, took) = create_for(operators, &prefix, size.row);
        let mut row = Row::of(format!("create: {managers} manager{s}, {clients} clients"), times);
        row.rate = Some(rate(row.times.len(), took));
        let ratio = row.at(50).unwrap_or(f64::NAN) / disk;
        rows.push(row.note(format!("p50 is {ratio:.1} disk writes")));
    }
    let value = cluster.file("value", &[b'x'; VALUE]);
    let start = Instant::now();
    let mut times = Vec::new();
    while start.elapsed() < size.row {
        let began = Instant::now();
        let _ = cluster.ok(&["secret", "create", &format!("process-{}", times.len()), &value]);
        times.push(began.elapsed());
    }
    let mut row = Row::of(format!("create: {managers} manager{s}, a process each"), times);
    row.rate = Some(rate(row.times.len(), start.elapsed()));
    rows.push(row);
    rows
}

#[allow(clippy::cast_precision_loss, reason = "a count of seconds' work")]
fn rate(acts: usize, took: Duration) -> f64 {
    acts as f64 / took.as_secs_f64()
}

/// Creates until the time is over, each client one after the other.
fn create_for(operators: Vec<Operator>, prefix: &str, time: Duration) -> (Vec<Duration>, Duration) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime.expect("a runtime"), async {
        let mut ready = Vec::new();
        // Connections are made before the clock runs.
        for (number, mut operator) in operators.into_iter().enumerate() {
            let name = format!("{prefix}-{number}-warm").parse().expect("a name");
            operator.create(&name, SecretBytes::copy_of(b"warm")).await.expect("a secret");
            ready.push(operator);
        }
        let start = Instant::now();
        let work = ready.into_iter().enumerate().map(|(client, mut operator)| {
            let prefix = prefix.to_owned();
            tokio::task::spawn_local(async move {
                let mut times = Vec::new();
                while start.elapsed() < time {
                    let name = format!("{prefix}-{client}-{}", times.len()).parse();
                    let value = SecretBytes::copy_of(&[b'x'; VALUE]);
                    let began = Instant::now();
                    operator.create(&name.expect("a name"), value).await.expect("a secret");
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

/// Grant -> readable and revoke -> gone, on two nodes, from the call on.
fn delivery(size: &Size) -> Vec<Row> {
    let cluster = Cluster::start_with(3, 2);
    cluster.secret("db", &[b'x'; VALUE]);
    let words = ["--node", "node-1", "--node", "node-2", "--activation", "placed"];
    let _ = cluster.ok(&[&["service", "create", "web"], &words[..]].concat());
    let files: Vec<PathBuf> = cluster.agents.iter().map(|agent| agent.file("web", "db")).collect();
    let mut client = cluster.client(DEADLINE);
    let secret = secret_id(&client.secret("db").ok().id);
    let service = ServiceId::try_from(client.service("web").ok().id.as_slice()).expect("an id");
    let target = "db".parse().expect("a target");
    let grant = Grant { secret, target, uid: 0, gid: 0, mode: 0o444, pin: None, write: false };
    let wait = |there: bool| {
        while files
            .iter()
            .any(|file| fs::read(file).is_ok_and(|bytes| bytes.len() == VALUE) != there)
        {
            std::thread::yield_now();
        }
    };
    let (mut granted, mut revoked) = (Vec::new(), Vec::new());
    for _ in 0..size.deliveries {
        let start = Instant::now();
        let _ = client.apply(&[Change::Grant { service, grant: grant.clone().into() }]).ok();
        wait(true);
        granted.push(start.elapsed());
        let start = Instant::now();
        let _ = client.apply(&[Change::Revoke { service, secret, target: None }]).ok();
        wait(false);
        revoked.push(start.elapsed());
        // Until it is confirmed, too: the next grant begins from nothing.
        until("no holder", || client.holders(secret).ok().is_empty().then_some(()));
    }
    let note = "3 managers, 2 nodes";
    vec![
        Row::of("grant -> readable on both nodes", granted).note(note),
        Row::of("revoke -> gone on both nodes", revoked).note(note),
    ]
}

/// How long after each death of a leader the next write is acknowledged.
fn fail_overs(cluster: &mut Cluster, client: &mut Client, count: usize) -> Vec<Duration> {
    let mut times = Vec::new();
    for number in 0..count {
        let leader = cluster.leader();
        let _ = client.create(&format!("before-{number}"), b"v").ok();
        let start = Instant::now();
        cluster.manager_mut(leader).kill();
        let _ = client.create(&format!("after-{number}"), b"v").ok();
        times.push(start.elapsed());
        cluster.bring_back(leader);
        until("its return", || {
            (cluster.manager_mut(leader).state_here() == "follower").then_some(())
        });
    }
    times
}

/// The leader killed -> the next write acknowledged to a client that was connected.
fn fail_over(size: &Size) -> Row {
    let mut cluster = Cluster::start_with(3, 0);
    let mut client = cluster.client(DEADLINE);
    let times = fail_overs(&mut cluster, &mut client, size.fail_overs);
    Row::of("leader killed -> next write acknowledged", times).note("3 managers")
}

/// A manager with many secrets: start, unlock, first list; memory; disk.
fn many_secrets(size: &Size) -> Vec<Row> {
    let mut cluster = Cluster::start(0);
    let mut made = 0;
    while made < size.secrets {
        let operators = (0..64).map(|_| cluster.client(DEADLINE).into_operator()).collect();
        let (times, _) = create_for(operators, &format!("s{made}"), size.row);
        made += times.len() + 64;
    }
    cluster.manager.kill();
    let start = Instant::now();
    cluster.manager.start_again();
    let locked = start.elapsed();
    cluster.unlock_here(&cluster.manager);
    let unlocked = start.elapsed();
    let mut client = cluster.client(DEADLINE);
    let listed = client.secrets().ok().len();
    let first = start.elapsed();
    let began = Instant::now();
    let _ = client.secrets().ok();
    let list = began.elapsed();
    let folder = cluster.manager.data();
    let note = format!(
        "{} MB of memory, {} MB on disk; start {locked:.2?}, unlocked at {unlocked:.2?}",
        memory(&cluster.manager) / 1024,
        bytes_below(&folder) / 1_000_000,
    );
    let what = format!("start + unlock + first list of {listed} secrets");
    vec![
        Row::of(what, vec![first]).note(note),
        Row::of(format!("list of {listed} secrets"), vec![list]),
    ]
}

/// Kilobytes of memory that a manager has.
fn memory(manager: &Manager) -> u64 {
    let folder = manager.data();
    let processes = processes_of(folder.parent().expect("its folder"));
    let status = processes.iter().find(|(_, words)| words.contains("manager"));
    let status = status.and_then(|(pid, _)| fs::read_to_string(format!("/proc/{pid}/status")).ok());
    let line = status.as_deref().and_then(|status| {
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")).map(str::trim)
    });
    line.and_then(|line| line.trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

/// Bytes that a folder takes on the disk.
fn bytes_below(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => bytes_below(&entry.path()),
            Ok(metadata) => metadata.blocks() * 512,
            Err(_) => 0,
        })
        .sum()
}
