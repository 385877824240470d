//! Looks at every process of the cluster, again and again.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use cluster_tests::Cluster;

use super::judge::{self, FIGURES, Look};
use super::load::{Counts, did};

/// How often a table is printed.
const PRINT: Duration = Duration::from_mins(1);

/// Who is looked at.
#[derive(Debug)]
struct Member {
    name: String,
    folder: PathBuf,
}

/// A thread that looks.
#[derive(Debug)]
pub(crate) struct Watch {
    over: Arc<AtomicBool>,
    seen: Arc<Mutex<Vec<Look>>>,
    thread: JoinHandle<()>,
}

impl Watch {
    /// Begins to look, as often as `every` says.
    pub(crate) fn start(cluster: &Cluster, every: Duration, counts: Arc<Counts>) -> Self {
        let managers = cluster.managers().map(cluster_tests::Manager::data);
        let data = managers.chain(cluster.agents.iter().map(cluster_tests::Agent::data));
        let members = data.map(|data| {
            let folder = data.parent().expect("its folder").to_owned();
            let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            Member { name, folder }
        });
        let members: Vec<Member> = members.collect();
        let over = Arc::new(AtomicBool::new(false));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (ended, into) = (Arc::clone(&over), Arc::clone(&seen));
        let thread = std::thread::spawn(move || {
            let start = Instant::now();
            let mut printed = 0;
            let mut before = counts.now();
            while !ended.load(Ordering::Relaxed) {
                let looks: Vec<Look> =
                    members.iter().flat_map(|member| look(member, counts.opens())).collect();
                let minute = u32::try_from(start.elapsed().as_secs() / 60).unwrap_or(u32::MAX);
                if minute > printed {
                    printed = minute;
                    let now = counts.now();
                    println!("\nminute {minute}\n{}", table(&looks));
                    println!("{}", did(&before, &now));
                    before = now;
                }
                into.lock().expect("what was seen").extend(looks);
                std::thread::sleep(every.min(PRINT));
            }
        });
        Self { over, seen, thread }
    }

    /// Ends it, and answers all that was seen.
    pub(crate) fn end(self) -> Vec<Look> {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().expect("the watch's end");
        std::mem::take(&mut *self.seen.lock().expect("what was seen"))
    }
}

fn table(looks: &[Look]) -> comfy_table::Table {
    let head: Vec<&str> =
        ["process", "pid", "seconds"].into_iter().chain(FIGURES.map(|of| of.name)).collect();
    let mut table = judge::table(&head);
    for look in looks {
        let first = [look.name.clone(), look.process.0.to_string(), look.age.as_secs().to_string()];
        let figures = look.figures.iter().map(u64::to_string);
        table.add_row(first.into_iter().chain(figures).collect::<Vec<_>>());
    }
    table
}

fn pid_of(folder: &Path) -> Option<u32> {
    fs::read_to_string(folder.join("pid")).ok()?.trim().parse().ok()
}

/// Whether the daemon of this folder lives.
pub(crate) fn runs(folder: &Path) -> bool {
    let line = |pid: u32| fs::read_to_string(format!("/proc/{pid}/stat")).ok();
    let state = |stat: String| stat.rsplit_once(") ")?.1.chars().next();
    pid_of(folder).and_then(line).and_then(state).is_some_and(|state| state != 'Z')
}

/// The daemon, and what it started for itself.
fn look(member: &Member, opens: u64) -> Vec<Look> {
    let Some(pid) = pid_of(&member.folder) else { return Vec::new() };
    let disk = bytes_below(&member.folder.join("data")) / 1024;
    let mut looks: Vec<Look> = Vec::new();
    looks.extend(process(&member.name, pid, disk, opens));
    for child in children(pid) {
        let words = fs::read(format!("/proc/{child}/cmdline")).unwrap_or_default();
        let words = String::from_utf8_lossy(&words).replace('\0', " ");
        if words.contains(" guard ") {
            looks.extend(process(&format!("{} guard", member.name), child, 0, opens));
        }
    }
    looks
}

fn children(pid: u32) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let of = |thread: fs::DirEntry| fs::read_to_string(thread.path().join("children")).ok();
    let all: Vec<String> = threads.filter_map(of).collect();
    all.iter().flat_map(|all| all.split_whitespace()).filter_map(|pid| pid.parse().ok()).collect()
}

/// `None`: it is just being restarted.
fn process(name: &str, pid: u32, disk: u64, opens: u64) -> Option<Look> {
    let folder = PathBuf::from(format!("/proc/{pid}"));
    let read = |file: &str| fs::read_to_string(folder.join(file)).ok();
    let stat = read("stat")?;
    // Field 22, counted behind the name, which may hold anything.
    let started: u64 = stat.rsplit_once(") ")?.1.split(' ').nth(19)?.parse().ok()?;
    let uptime: f64 = read_number(&fs::read_to_string("/proc/uptime").ok()?)?;
    #[allow(clippy::cast_precision_loss, reason = "ticks of some hours")]
    let age = uptime - started as f64 / 100.0; // ticks: USER_HZ is 100 everywhere
    let status = read("status")?;
    let rollup = read("smaps_rollup")?;
    let mounts = fs::read(folder.join("mountinfo")).ok()?;
    let of = |text: &str, name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(read_number).unwrap_or(0)
    };
    let descriptors = fs::read_dir(folder.join("fd")).ok()?.count();
    let own = of(&status, "RssAnon") + of(&status, "RssShmem");
    let lines = mounts.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count();
    let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    Some(Look {
        name: name.to_owned(),
        process: (pid, started),
        age: Duration::from_secs_f64(age.max(0.0)),
        opens,
        figures: [
            count(descriptors),
            of(&status, "Threads"),
            count(lines),
            of(&status, "VmRSS"),
            of(&rollup, "Pss"),
            own,
            disk,
        ],
    })
}

fn read_number<N: std::str::FromStr>(text: &str) -> Option<N> {
    text.split_whitespace().next()?.parse().ok()
}

/// Bytes that a folder takes on the disk.
fn bytes_below(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => bytes_below(&entry.path()),
        Ok(metadata) => metadata.blocks() * 512,
        Err(_gone_meanwhile) => 0,
    });
    sizes.sum()
}
