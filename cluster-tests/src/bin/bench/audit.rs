//! What the audit log costs: 10,000 acts a minute, four reads to a create, by sixteen operators.
//!
//! There is no manager without it, so it is told by its parts: how long acts take at this pace,
//! the managers' processor time and that of the threads that write the log, and the bytes of a
//! line.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::row::{Row, rate};
use super::size::{Size, VALUE};
use cluster_tests::{Client, Cluster, DEADLINE, Manager, processes_of};

const OPERATORS: usize = 16;
/// Acts of all of them in a minute.
const PACE: u32 = 10_000;
/// Of so many acts one is a create.
const CREATES: u32 = 5;

/// Processor time of a process, and of its threads of this name: hundredths of a second.
fn processor(pid: u32, name: &str) -> (u64, u64) {
    let of = |path: &Path| {
        let text = fs::read_to_string(path.join("stat")).unwrap_or_default();
        // What comes after the name, which may hold anything.
        let rest = text.rsplit_once(") ").map(|(_, rest)| rest.to_owned()).unwrap_or_default();
        let number = |at: usize| rest.split(' ').nth(at).and_then(|text| text.parse().ok());
        number(11).unwrap_or(0) + number(12).unwrap_or(0)
    };
    let own = Path::new("/proc").join(pid.to_string());
    let threads = fs::read_dir(own.join("task")).into_iter().flatten().flatten();
    let named = threads.filter(|thread| {
        fs::read_to_string(thread.path().join("comm")).is_ok_and(|comm| comm.trim() == name)
    });
    (of(&own), named.map(|thread| of(&thread.path())).sum())
}

fn pid(manager: &Manager) -> u32 {
    let folder = manager.data();
    let processes = processes_of(folder.parent().expect("its folder"));
    processes.iter().find(|(_, words)| words.contains("manager")).expect("a manager").0
}

fn spent(cluster: &Cluster) -> (u64, u64) {
    let each = cluster.managers().map(|manager| processor(pid(manager), "skep-audit"));
    each.fold((0, 0), |(all, log), (process, thread)| (all + process, log + thread))
}

/// The exported log: its lines and bytes.
fn exported(cluster: &Cluster, name: &str) -> (usize, usize) {
    let path = cluster.folder().join(name);
    let _ = cluster.ok(&["audit", "export", &path.display().to_string()]);
    let text = fs::read(path).expect("exported");
    (text.split_inclusive(|byte| *byte == b'\n').count(), text.len())
}

/// One operator's acts, at its share of the pace: how long creates and reads took.
fn acts(mut client: Client, number: usize, time: Duration) -> [Vec<Duration>; 2] {
    let every = Duration::from_mins(1) * u32::try_from(OPERATORS).expect("few") / PACE;
    let (start, mut times) = (Instant::now(), [const { Vec::new() }; 2]);
    for act in 0_u32.. {
        let due = every * act;
        if due >= time {
            break;
        }
        thread::sleep(due.saturating_sub(start.elapsed()));
        let number = format!("o{number}-{act}");
        let began = Instant::now();
        if act.is_multiple_of(CREATES) {
            let _ = client.create(&number, &[b'x'; VALUE]).ok();
            times[0].push(began.elapsed());
        } else {
            let _ = client.secret("warm").ok();
            times[1].push(began.elapsed());
        }
    }
    times
}

/// The rows.
#[allow(clippy::cast_precision_loss, reason = "counts of seconds' work")]
pub(crate) fn rows(size: &Size) -> Vec<Row> {
    let mut cluster = Cluster::start_with(3, 0);
    cluster.secret("warm", b"warm");
    let hosts: Vec<String> = (0..3).map(|of| cluster.manager_mut(of).address()).collect();
    let client = |number: usize| {
        let (name, path) = (format!("o{number}"), cluster.folder().join(format!("o{number}")));
        let out = path.display().to_string();
        let _ = cluster.ok(&["operator", "create", &name, "--role", "editor", "--out", &out]);
        let mut client = Client::new(&path, hosts.clone(), DEADLINE);
        // Connections are made before the clock runs.
        let _ = client.secret("warm").ok();
        client
    };
    let clients: Vec<Client> = (0..OPERATORS).map(client).collect();
    let (lines, bytes) = exported(&cluster, "before.jsonl");
    let (before, log_before) = spent(&cluster);
    let start = Instant::now();
    let work = clients.into_iter().enumerate();
    let time = size.flood;
    let work: Vec<_> =
        work.map(|(number, client)| thread::spawn(move || acts(client, number, time))).collect();
    let mut times = [const { Vec::new() }; 2];
    for done in work {
        for (all, own) in times.iter_mut().zip(done.join().expect("acts")) {
            all.extend(own);
        }
    }
    let took = start.elapsed();
    let (after, log_after) = spent(&cluster);
    let (lines_after, bytes_after) = exported(&cluster, "after.jsonl");
    let [creates, reads] = times;
    let count = (creates.len() + reads.len()) as f64;
    let (all, log) = ((after - before) as f64, (log_after - log_before) as f64);
    let new = (lines_after - lines) as f64;
    let note = format!(
        "3 managers, {OPERATORS} operators; {:.2} ms of managers' processor time an act, {:.1} % of it \
         in the threads that write the log",
        all * 10.0 / count,
        100.0 * log / all.max(1.0),
    );
    let size_note = format!(
        "{:.2} lines an act, {:.0} bytes a line",
        new / count,
        (bytes_after - bytes) as f64 / new.max(1.0),
    );
    let acts = creates.len() + reads.len();
    let mut first = Row::of("10,000 acts a minute on record: reads", reads).note(note);
    first.rate = Some(rate(acts, took));
    vec![first, Row::of("the same: creates", creates).note(size_note)]
}
