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

/// Bytes that a file, or all below a folder, takes on the disk.
pub(super) fn bytes_of(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => {
            let entries = fs::read_dir(path).into_iter().flatten().flatten();
            entries.map(|entry| bytes_of(&entry.path())).sum()
        }
        Ok(metadata) => metadata.blocks() * 512,
        // A file that has gone meanwhile.
        Err(_) => 0,
    }
}
