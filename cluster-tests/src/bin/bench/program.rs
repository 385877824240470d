//! What the command itself takes: processor time from start to end, and bytes of the binary.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use cluster_tests::{Cluster, binary, run};

use super::process::children_processor;
use super::row::Row;
use super::size::Size;

/// `skep secret ls`, and the binary without its symbols.
pub(super) fn rows(size: &Size) -> Vec<Row> {
    let cluster = Cluster::start(0);
    cluster.secret("one", b"value");
    let list = ["secret", "ls"];
    let _ = cluster.ok(&list);
    let before = children_processor();
    let mut times = Vec::new();
    for _ in 0..size.commands {
        let start = Instant::now();
        let _ = cluster.ok(&list);
        times.push(start.elapsed());
    }
    let each: Duration = children_processor().saturating_sub(before) / size.commands;
    let folder = tempfile::tempdir().expect("a folder");
    let stripped = folder.path().join("skep");
    let _ = run(Command::new("strip").arg("-o").arg(&stripped).arg(binary()), b"").status(0);
    let bytes = fs::metadata(&stripped).expect("a binary").len();
    #[allow(clippy::cast_precision_loss, reason = "a binary's bytes")]
    let megabytes = bytes as f64 / 1e6;
    vec![
        Row::of("skep secret ls, start to end", times)
            .note(format!("{each:.1?} of processor time, the average")),
        Row::of("the stripped binary", Vec::new()).note(format!("{megabytes:.1} MB")),
    ]
}
