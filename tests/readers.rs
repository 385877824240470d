//! The readers of docs/readers.md, built and run as they stand there, and sets flipped between
//! the two files that each reads.

#![allow(clippy::expect_used, clippy::panic, reason = "helpers of a test fail it by panicking")]

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat, open};
use rustix::io::Errno;

/// How long a reader may take to come to a file.
const DEADLINE: Duration = Duration::from_mins(1);

/// The fenced blocks of this language.
fn blocks(language: &str) -> Vec<&'static str> {
    let text = include_str!("../docs/readers.md");
    let start = format!("```{language}\n");
    let after = text.split(start.as_str()).skip(1);
    after.map(|after| after.split_once("```").expect("an end of the block").0).collect()
}

fn only_block(language: &str) -> &'static str {
    let [block] = blocks(language)[..] else { panic!("one block of {language}") };
    block
}

fn put(path: PathBuf, text: &str) {
    fs::File::create(path).and_then(|mut file| file.write_all(text.as_bytes())).expect("a file");
}

/// Makes set `number` and puts it in place as an agent does. Its first file is a pipe: who
/// reads it waits for what is written there.
fn flip(folder: &Path, number: u32) -> PathBuf {
    let set = folder.join(format!("..{number}"));
    fs::create_dir(&set).expect("a folder");
    let first = set.join("tls.crt");
    mknodat(CWD, &first, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a pipe");
    put(set.join("tls.key"), &number.to_string());
    symlink(format!("..{number}"), folder.join("new")).expect("a link");
    fs::rename(folder.join("new"), folder.join("..data")).expect("a flip");
    first
}

fn installed<T>(command: &Command, started: io::Result<T>) -> T {
    let missing = started.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
    assert!(!missing, "{} is missing: scripts/test installs it", command.get_program().display());
    started.expect("a process")
}

fn run(command: &mut Command) -> Output {
    let output = command.output();
    installed(command, output)
}

/// The pipe's other end, as soon as the reader has opened it.
fn opened(pipe: &Path, reader: &mut Child) -> fs::File {
    let begun = Instant::now();
    loop {
        match open(pipe, OFlags::WRONLY | OFlags::NONBLOCK, Mode::empty()) {
            Ok(end) => return end.into(),
            Err(Errno::NXIO) => (), // nobody reads yet
            Err(error) => panic!("{error}"),
        }
        let ended = reader.try_wait().expect("a child");
        assert!(ended.is_none(), "it ended before it read: {ended:?}");
        assert!(begun.elapsed() < DEADLINE, "it never opened its first file");
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

/// Killed with the test, also when that fails.
struct Reader(Child);

impl Drop for Reader {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Runs a reader and flips the set while it is between its two files.
fn reads_whole_sets(reader: impl Fn() -> Command) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut pipe = flip(folder.path(), 0);
    for number in 0..5 {
        let mut command = reader();
        command.arg(folder.path()).stdout(Stdio::piped());
        let started = command.spawn();
        let mut reader = Reader(installed(&command, started));
        let mut end = opened(&pipe, &mut reader.0);
        pipe = flip(folder.path(), number + 1);
        end.write_all(number.to_string().as_bytes()).expect("written");
        drop(end);
        let mut said = String::new();
        let out = reader.0.stdout.as_mut().expect("its output");
        out.read_to_string(&mut said).expect("text");
        assert!(reader.0.wait().expect("its end").success());
        assert_eq!(said.trim(), format!("{number} {number}"), "it saw two sets");
    }
}

#[test]
fn the_shells_reader() {
    reads_whole_sets(|| {
        let mut command = Command::new("sh");
        command.args(["-c", only_block("sh"), "sh"]);
        command
    });
}

#[test]
fn pythons_reader() {
    reads_whole_sets(|| {
        let mut command = Command::new("python3");
        command.args(["-c", only_block("python")]);
        command
    });
}

/// Both variants lie in the folder; the toolchain takes the one that is its own.
#[test]
fn gos_reader() {
    let folder = tempfile::tempdir().expect("a folder");
    let [main, new, old] = blocks("go")[..] else { panic!("three files of Go") };
    assert!(new.starts_with("//go:build go1.24\n") && old.starts_with("//go:build !go1.24\n"));
    put(folder.path().join("go.mod"), "module reader\n\ngo 1.19\n");
    for (name, text) in [("main.go", main), ("set.go", new), ("set_old.go", old)] {
        put(folder.path().join(name), text);
    }
    let mut build = Command::new("go");
    build.args(["build", "-o", "reader", "."]).current_dir(folder.path());
    build.env("GOCACHE", folder.path().join("cache")).env("GOPATH", folder.path().join("path"));
    build.env("GOPROXY", "off").env("GOTOOLCHAIN", "local").env("CGO_ENABLED", "0");
    build.env_remove("GOFLAGS").env("GOENV", "off").env("GOWORK", "off");
    let built = run(&mut build);
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    reads_whole_sets(|| Command::new(folder.path().join("reader")));
}

#[test]
fn rusts_reader() {
    let folder = tempfile::tempdir().expect("a folder");
    put(folder.path().join("reader.rs"), only_block("rust"));
    let mut build = Command::new("rustc");
    build.args(["--edition", "2024", "-D", "warnings", "reader.rs"]).current_dir(folder.path());
    let built = run(&mut build);
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    reads_whole_sets(|| Command::new(folder.path().join("reader")));
}
