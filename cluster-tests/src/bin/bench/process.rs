//! What processes take: processor time, memory, room on the disk.

use std::fs;
use std::path::Path;
use std::time::Duration;

/// Fields of `/proc/PID/stat` behind the name in brackets, from the state on.
const USER: usize = 11;
const SYSTEM: usize = 12;
const CHILDREN_USER: usize = 13;
const CHILDREN_SYSTEM: usize = 14;

fn ticks(pid: &str, fields: [usize; 2]) -> Duration {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).expect("a process");
    let (_, rest) = text.rsplit_once(')').expect("a name in brackets");
    let words: Vec<&str> = rest.split_whitespace().collect();
    let each = fields.map(|field| words[field].parse::<u64>().expect("ticks"));
    let per_second = rustix::param::clock_ticks_per_second();
    Duration::from_millis(each.iter().sum::<u64>() * 1_000 / per_second)
}

/// Processor time that a process has taken, its threads included.
pub(super) fn processor(pid: u32) -> Duration {
    ticks(&pid.to_string(), [USER, SYSTEM])
}

/// Processor time of this process.
pub(super) fn own_processor() -> Duration {
    ticks("self", [USER, SYSTEM])
}

/// Processor time of this process's children that have ended.
pub(super) fn children_processor() -> Duration {
    ticks("self", [CHILDREN_USER, CHILDREN_SYSTEM])
}

/// Bytes that a folder takes on the disk.
pub(super) fn bytes_below(folder: &Path) -> u64 {
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
