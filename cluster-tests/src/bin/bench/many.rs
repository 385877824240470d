//! Many secrets, and many versions of one: how long they take to bring in and to start with, what
//! they take in memory and on the disk.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use cluster_tests::{Cluster, DEADLINE};

use super::creates::Load;
use super::process::bytes_of;
use super::row::{Row, rate};
use super::size::{Size, VALUE};

/// Bytes of the value that rotates.
const LARGE: usize = 200_000;
/// Clients of what brings the next snapshot about, and how long they go on before it is looked
/// for again.
const CLIENTS: usize = 64;
const STEP: Duration = Duration::from_secs(1);
/// When memory is looked at again.
const LATER: Duration = Duration::from_secs(10);

/// `skep secret import` of a JSON object, by one process to three managers.
pub(super) fn import(size: &Size) -> Vec<Row> {
    let cluster = Cluster::start_with(3, 0);
    let took = import_into(&cluster, size.imported);
    let what = format!("skep secret import of {} secrets", size.imported);
    let row = Row::of(what, vec![took]).at_rate(rate(size.imported, took));
    vec![row.note("3 managers, one process")]
}

fn import_into(cluster: &Cluster, count: usize) -> Duration {
    let mut object = String::with_capacity(count * (VALUE + 32));
    object.push('{');
    let value = "x".repeat(VALUE);
    for number in 0..count {
        let comma = if number == 0 { "" } else { "," };
        write!(object, "{comma}\"many-{number}\":\"{value}\"").expect("a text");
    }
    object.push('}');
    let file = cluster.file("many.json", object.as_bytes());
    let start = Instant::now();
    let _ = cluster.ok(&["secret", "import", &file]);
    start.elapsed()
}

/// A manager with many secrets: start, unlock, first list; memory; disk.
pub(super) fn secrets(size: &Size) -> Vec<Row> {
    size.secrets.iter().flat_map(|count| so_many(*count)).collect()
}

fn so_many(count: usize) -> Vec<Row> {
    let mut cluster = Cluster::start(0);
    // The clients that bring a snapshot about have a secret each, and there is a limit.
    let _ = import_into(&cluster, count - CLIENTS);
    let folder = cluster.manager.data();
    let disk = on_disk(&folder);
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
    let memory = cluster.manager.memory("VmRSS") / 1024;
    let settled = settled(&cluster, &folder);
    let data = (count * VALUE) as u64;
    let note = format!(
        "start {locked:.2?}, unlocked at {unlocked:.2?}; {memory} MB of memory; on disk {disk}, \
         after a snapshot {settled}, for {} of values",
        megabytes(data),
    );
    let what = format!("start + unlock + first list of {listed} secrets");
    vec![
        Row::of(what, vec![first]).note(note),
        Row::of(format!("list of {listed} secrets"), vec![list]),
    ]
}

fn megabytes(bytes: u64) -> String {
    format!("{} MB", bytes / 1_000_000)
}

/// When the newest snapshot was made.
fn newest(folder: &Path) -> Option<std::time::SystemTime> {
    let files = fs::read_dir(folder.join("snapshots")).ok()?.flatten();
    files.filter_map(|file| file.metadata().ok()?.modified().ok()).max()
}

/// What a manager has on the disk. The log takes room before it is written, and the reserve is
/// for removals on a full disk.
fn on_disk(folder: &Path) -> String {
    let parts = ["log", "snapshots", "audit", "reserve"];
    let parts = parts.map(|part| format!("{part} {}", bytes_of(&folder.join(part)) / 1_000_000));
    format!("{} ({})", megabytes(bytes_of(folder)), parts.join(", "))
}

/// The same once another snapshot was made, and what it replaces is gone.
fn settled(cluster: &Cluster, folder: &Path) -> String {
    let before = newest(folder);
    let load = Load::of(cluster, CLIENTS);
    while newest(folder) == before {
        let _ = load.go_on(STEP);
    }
    let start = Instant::now();
    while start.elapsed() < LATER {
        std::thread::park_timeout(STEP);
    }
    on_disk(folder)
}

/// Rotations of one large value by one client, on three managers.
pub(super) fn rotations(size: &Size) -> Vec<Row> {
    let cluster = Cluster::start_with(3, 0);
    let mut client = cluster.client(DEADLINE);
    let id = client.create("large", &vec![b'x'; LARGE]).ok();
    let begun = Instant::now();
    let mut times = Vec::new();
    for _ in 0..size.rotations {
        let start = Instant::now();
        let _ = client.update(&[(id, &vec![b'y'; LARGE])]).ok();
        times.push(start.elapsed());
    }
    let took = begun.elapsed();
    let at_once = memory(&cluster);
    let start = Instant::now();
    while start.elapsed() < LATER {
        std::thread::park_timeout(STEP);
    }
    let later = memory(&cluster);
    let bytes = cluster.managers().map(|manager| bytes_of(&manager.data())).max();
    let rate = rate(times.len(), took);
    let what = format!("{} rotations of one value of {LARGE} bytes", size.rotations);
    let note = format!(
        "memory of each manager in MB: {at_once}, {LATER:?} later {later}; {} on disk",
        megabytes(bytes.unwrap_or(0))
    );
    vec![Row::of(what, times).at_rate(rate).note(note)]
}

fn memory(cluster: &Cluster) -> String {
    let each = cluster.managers().map(|manager| manager.memory("VmRSS") / 1024);
    let each: Vec<String> = each.map(|megabytes| megabytes.to_string()).collect();
    each.join(", ")
}
