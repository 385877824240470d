//! The readers of docs/readers.md, run as they stand there, while sets are flipped.

#![allow(clippy::expect_used, clippy::panic, reason = "helpers of a test fail it by panicking")]

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

/// The first fenced block of this language.
fn block(text: &str, language: &str) -> String {
    let start = format!("```{language}\n");
    let after = text.split_once(&start).map(|(_, after)| after).unwrap_or_default();
    after.split_once("```").map(|(block, _)| block.to_owned()).unwrap_or_default()
}

/// Puts set `number` in place as an agent does, and leaves the two before it.
fn flip(folder: &Path, number: u32) {
    let set = folder.join(format!("..{number}"));
    fs::create_dir(&set).expect("a folder");
    for name in ["tls.crt", "tls.key"] {
        let mut file = fs::File::create(set.join(name)).expect("a file");
        write!(file, "{number}").expect("written");
    }
    symlink(format!("..{number}"), folder.join("new")).expect("a link");
    fs::rename(folder.join("new"), folder.join("..data")).expect("a flip");
}

fn reads_whole_sets(language: &str, program: &str, flag: &str) {
    let text = include_str!("../docs/readers.md");
    let script = block(text, language);
    assert!(script.contains("..data"), "{language}: {script}");
    let folder = tempfile::tempdir().expect("a folder");
    flip(folder.path(), 0);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 1..2_000 {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                flip(folder.path(), number);
            }
        });
        for _ in 0..20 {
            let mut command = Command::new(program);
            command.args([flag, &script]);
            if language == "sh" {
                command.arg("sh");
            }
            let output = command.arg(folder.path()).output().expect("an interpreter");
            assert!(output.status.success(), "{output:?}");
            let said = String::from_utf8(output.stdout).expect("text");
            let (crt, key) = said.trim().split_once(' ').expect("two values");
            assert_eq!(crt, key, "{language} saw two sets");
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn the_shells_reader() {
    reads_whole_sets("sh", "sh", "-c");
}

#[test]
fn pythons_reader() {
    reads_whole_sets("python", "python3", "-c");
}
