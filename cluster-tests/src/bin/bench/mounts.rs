//! How long open, read and close take on each mount, beside a plain tmpfs file, in one run
//! on one CPU.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags, openat};
use rustix::thread::{CpuSet, sched_setaffinity};

use super::row::Row;
use super::size::Size;
use cluster_tests::Cluster;

const SIZES: [usize; 3] = [512, 16 * 1024, 500_000];

/// A row for each size and mount.
pub(crate) fn reads(size: &Size) -> Vec<Row> {
    let rounds = size.reads;
    // A thread of its own, so that the other rows have all CPUs.
    let pinned = thread::spawn(move || {
        let mut one = CpuSet::new();
        one.set(0);
        // Everything that is started from here on runs there, too.
        sched_setaffinity(None, &one).expect("a CPU");
        measured(rounds)
    });
    pinned.join().expect("measured")
}

fn measured(rounds: usize) -> Vec<Row> {
    let cluster = Cluster::start(1);
    let plain = cluster.folder().join("plain");
    fs::create_dir(&plain).expect("a folder");
    let flags = rustix::mount::MountFlags::empty();
    rustix::mount::mount("bench", &plain, "tmpfs", flags, c"size=4m").expect("a tmpfs");
    for size in SIZES {
        let name = format!("s{size}");
        let value = cluster.file(&name, &vec![7; size]);
        let _ = cluster.ok(&["secret", "create", &name, &value]);
        File::create(plain.join(&name)).and_then(|mut f| f.write_all(&vec![7; size])).expect("it");
    }
    for mount in ["tmpfs", "fuse"] {
        let _ = cluster.ok(&["service", "create", mount, "--node", "node-1", "--mount", mount]);
        let names: Vec<String> = SIZES.iter().map(|size| format!("s{size}")).collect();
        let mut words = vec!["service", "grant", mount];
        words.extend(names.iter().map(String::as_str));
        let _ = cluster.ok(&words);
        let _ = cluster.agents[0].skep(&["agent", "service", "up", mount]).ok();
    }
    let mut rows = Vec::new();
    for size in SIZES {
        let name = format!("s{size}");
        let set = |mount: &str| folder(&cluster.agents[0].root().join(mount).join("..data"));
        let sets =
            [("plain tmpfs", folder(&plain)), ("tmpfs", set("tmpfs")), ("fuse", set("fuse"))];
        let mut times = [const { Vec::new() }; 3];
        let mut buffer = vec![0; size];
        for _ in 0..if size > 100_000 { rounds / 20 } else { rounds } {
            for ((_, set), times) in sets.iter().zip(&mut times) {
                times.push(once(set, &name, &mut buffer));
            }
        }
        let mut plain = f64::NAN;
        for ((mount, _), times) in sets.iter().zip(times) {
            let row = Row::of(format!("open + read + close, {size} bytes, {mount}"), times);
            let middle = row.at(50).unwrap_or(f64::NAN);
            rows.push(if *mount == "plain tmpfs" {
                plain = middle;
                row.note("one CPU")
            } else {
                row.note(format!("p50 is {:.2} plain ones", middle / plain))
            });
        }
    }
    rustix::mount::unmount(&plain, rustix::mount::UnmountFlags::DETACH).expect("unmounted");
    rows
}

/// A set, opened once: what is read below it costs no way there.
fn folder(path: &Path) -> OwnedFd {
    File::open(path).expect("a folder").into()
}

fn once(set: &OwnedFd, name: &str, buffer: &mut [u8]) -> Duration {
    let start = Instant::now();
    let opened = openat(set, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    let mut file = File::from(opened.expect("a file"));
    let mut length = 0;
    loop {
        let got = file.read(&mut buffer[length..]).expect("bytes");
        length += got;
        // Whoever knows how much there is asks once.
        if got == 0 || length == buffer.len() {
            break;
        }
    }
    drop(file);
    start.elapsed()
}
