//! How long open, read and close take on each mount, beside a plain tmpfs file, in one run
//! on one CPU: `cargo bench -p cluster-tests --bench mounts` (as root; `SKEP_BIN` names the
//! binary that is measured).

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cluster_tests::Cluster;
use rustix::thread::{CpuSet, sched_setaffinity};

/// Rounds; in each one every file is read once.
const ROUNDS: usize = 20_000;
const SIZES: [usize; 3] = [512, 16 * 1024, 500_000];

fn once(path: &Path, buffer: &mut [u8]) -> Duration {
    let start = Instant::now();
    let mut file = File::open(path).expect("a file");
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

fn at(sorted: &[Duration], percent: usize) -> f64 {
    sorted[(sorted.len() - 1) * percent / 100].as_secs_f64() * 1e6
}

fn main() {
    let mut one = CpuSet::new();
    one.set(0);
    // Everything that is started from here on runs there, too.
    sched_setaffinity(None, &one).expect("a CPU");
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
    println!("open + read + close on one CPU, {ROUNDS} rounds, microseconds");
    println!("{:>8}  {:<12} {:>8} {:>8}", "bytes", "mount", "p50", "p99");
    for size in SIZES {
        let name = format!("s{size}");
        let live = |mount: &str| cluster.agents[0].root().join(mount).join("..live").join(&name);
        let paths: [(&str, PathBuf); 3] =
            [("plain tmpfs", plain.join(&name)), ("tmpfs", live("tmpfs")), ("fuse", live("fuse"))];
        let mut times = [const { Vec::new() }; 3];
        let mut buffer = vec![0; size];
        let rounds = if size > 100_000 { ROUNDS / 20 } else { ROUNDS };
        for _ in 0..rounds {
            for ((_, path), times) in paths.iter().zip(&mut times) {
                times.push(once(path, &mut buffer));
            }
        }
        for ((mount, _), times) in paths.iter().zip(&mut times) {
            times.sort_unstable();
            println!("{size:>8}  {mount:<12} {:>8.1} {:>8.1}", at(times, 50), at(times, 99));
        }
    }
    rustix::mount::unmount(&plain, rustix::mount::UnmountFlags::DETACH).expect("unmounted");
}
