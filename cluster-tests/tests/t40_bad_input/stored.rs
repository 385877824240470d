//! Every file that a manager or an agent keeps, damaged in every way: the daemon ends
//! and names the file, or goes on where the file is no loss; it changes nothing else, and
//! with the file put back it starts.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::table::Wrong;
use cluster_tests::{Cluster, DEADLINE, run, until};
use skep_core::base::SecretId;
use skep_core::domain::Change;

/// More than a manager keeps without a snapshot, by so many clients at a time.
const ENTRIES: usize = 10_500;
const CLIENTS: usize = 50;
/// What an agent keeps of an engine's volumes.
const VOLUMES: &str = "version = 11\nboot = \"b\"\n\n[[volume]]\nname = \"web\"\ncreated = 7\n";

/// What is done to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Damage {
    Empty,
    Cut,
    Half,
    Flipped,
    FlippedFirst,
    Garbage,
    Folder,
    Pipe,
    Gone,
}

use Damage::{Cut, Empty, Flipped, FlippedFirst, Folder, Garbage, Gone, Half, Pipe};

const ALL: [Damage; 9] = [Empty, Cut, Half, Flipped, FlippedFirst, Garbage, Folder, Pipe, Gone];
/// What makes no sealed file of it, and no text.
const LOST: [Damage; 6] = [Empty, Half, FlippedFirst, Garbage, Folder, Pipe];

impl Damage {
    fn act(self, path: &Path) {
        let bytes = fs::read(path).expect("the file");
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        fs::remove_file(path).expect("removed");
        let put = |bytes: &[u8]| fs::write(path, bytes).expect("written");
        match self {
            Self::Empty => put(b""),
            Self::Cut => put(bytes.get(..bytes.len().saturating_sub(1)).unwrap_or_default()),
            Self::Half => put(bytes.get(..used / 2).unwrap_or_default()),
            Self::Flipped | Self::FlippedFirst => {
                let at = if self == Self::Flipped { used / 2 } else { 0 };
                let mut bytes = bytes;
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1;
                }
                put(&bytes);
            }
            Self::Garbage => put(&[0xa5; 600]),
            Self::Folder => fs::create_dir(path).expect("a folder"),
            Self::Pipe => {
                mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a pipe");
            }
            Self::Gone => {}
        }
    }
}

/// What files are and when they were written.
type Look = BTreeMap<PathBuf, (u64, i64, i64, u64)>;

fn look(folder: &Path) -> Look {
    let mut found = Look::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).expect("a folder") {
            let path = entry.expect("an entry").path();
            let about = fs::symlink_metadata(&path).expect("a file");
            if about.is_dir() {
                folders.push(path.clone());
                found.insert(path, (0, 0, 0, about.ino()));
            } else {
                let at = (about.len(), about.mtime(), about.mtime_nsec(), about.ino());
                found.insert(path, at);
            }
        }
    }
    found
}

/// How a start went.
struct Start {
    /// The status with which it ended by itself; `None`: it serves.
    status: Option<i32>,
    said: String,
}

/// Starts a daemon, waits until it serves or has ended, and ends it.
fn start(mut command: Command, log: &Path, serves: impl Fn() -> bool) -> Start {
    let file = File::create(log).expect("a log");
    let again = file.try_clone().expect("the log again");
    let child = command.stdin(Stdio::null()).stdout(file).stderr(again).spawn().expect("a daemon");
    let mut child = Ended(child);
    let status = until("a daemon's end or its service", || match child.0.try_wait() {
        Ok(Some(status)) => Some(Some(status.code().unwrap_or(-1))),
        _ => serves().then_some(None),
    });
    if status.is_none() {
        let pid = child.0.id().to_string();
        let _ = run(Command::new("kill").arg(&pid), b"").ok();
        until("its end", || child.0.try_wait().expect("a child"));
    }
    Start { status, said: fs::read_to_string(log).unwrap_or_default() }
}

/// Killed with the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A file, what was done to it, the status (`None`: it serves all the same), and the
/// end of the first line printed.
type Row = (&'static str, &'static [Damage], Option<i32>, &'static str);

/// Does all of it to the files below `data`, one after the other.
fn damage(data: &Path, rows: &[Row], start: impl Fn() -> Start) {
    let mut wrong = Wrong::default();
    let spare = data.parent().expect("a folder").join("spare");
    for (name, damages, status, line) in rows {
        let path = data.join(name);
        for what in *damages {
            fs::copy(&path, &spare).unwrap_or_else(|error| panic!("{name}: {error}"));
            what.act(&path);
            let before = look(data);
            let started = start();
            let after = look(data);
            let mut lines = started.said.lines().skip_while(|line| !line.starts_with("error: "));
            let first = lines.next().unwrap_or_default();
            let hint = lines.next().unwrap_or_default();
            let told = started.status.is_none()
                || first.contains(line) && hint.starts_with("hint: ") && lines.next().is_none();
            // By then the log is open, and each start begins a new segment.
            let opened =
                |path: &Path| name.starts_with("snapshots/") && path.starts_with(data.join("log"));
            let kept = |look: &Look| -> Look {
                let kept = look.iter().filter(|(path, _)| !opened(path));
                kept.map(|(path, at)| (path.clone(), *at)).collect()
            };
            let clean = started.status.is_none() || kept(&before) == kept(&after);
            if started.status != *status || !told || !clean || started.said.contains("panicked") {
                let added: Vec<_> =
                    after.iter().filter(|(path, at)| before.get(*path) != Some(at)).collect();
                wrong.note(format!(
                    "{name} {what:?}: wanted {status:?} {line}\n{:?} {}\nchanged: {added:?}",
                    started.status, started.said
                ));
            }
            if path.is_dir() {
                fs::remove_dir(&path).expect("gone");
            } else {
                drop(fs::remove_file(&path));
            }
            fs::copy(&spare, &path).expect("put back");
        }
    }
    fs::remove_file(&spare).expect("gone");
    wrong.none();
}

/// What a stopped daemon left is what is damaged; what was to replace a file when it was
/// stopped is read by nobody.
#[track_caller]
fn every_file_has_a_row(data: &Path, rows: &[Row]) {
    let unread = |path: &PathBuf| path.extension().is_some_and(|end| end == "tmp");
    let files = look(data).into_keys().filter(|path| path.is_file() && !unread(path));
    let name = |path: PathBuf| path.strip_prefix(data).expect("below").display().to_string();
    let files: BTreeSet<String> = files.map(name).collect();
    let rows: BTreeSet<String> = rows.iter().map(|(name, ..)| (*name).to_owned()).collect();
    assert_eq!(files, rows, "a file without a row, or a row without a file");
}

/// Writes so much that the manager makes a snapshot and drops the beginning of its log.
/// What is refused stands in the log too.
fn fill(cluster: &Cluster) {
    let runtime = cluster_tests::rpc::runtime();
    runtime.block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..CLIENTS {
            let mut operator = cluster.client(DEADLINE).into_operator();
            tasks.spawn(async move {
                let nobody = [Change::RemoveSecret { id: SecretId::from_bytes([9; 16]) }];
                for _ in 0..ENTRIES / CLIENTS {
                    let refused = operator.apply(&nobody).await.expect_err("there is none");
                    assert!(refused.to_string().contains("not found"), "{refused}");
                }
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.expect("a client");
        }
    });
}

/// Damages a manager's files and lets it unlock itself each time.
fn damage_manager(cluster: &Cluster, rows: &[Row]) {
    let (key, log) = (cluster.unlock_key(), cluster.folder().join("log-of-it"));
    damage(&cluster.manager.data(), rows, || {
        let mut command = cluster.manager.command();
        command.arg("--unlock-key-file").arg(&key);
        let status = ["status", "--timeout", "1s", "--format", "{{.State}}"];
        start(command, &log, || cluster.manager.here(&status).out.trim() == "leader")
    });
}

#[test]
fn every_file_of_a_manager_damaged_in_every_way() {
    let mut cluster = Cluster::start(0);
    for number in 0..20 {
        cluster.secret(&format!("s{number}"), &[b'v'; 300]);
    }
    cluster.crash_manager();
    cluster.secret("last", b"v");
    assert_eq!(cluster.manager.stop(), 0);
    let rows: &[Row] = &[
        ("log/0000000000000001.seg", &ALL, Some(20), "0000000000000001.seg"),
        ("log/0000000000000002.seg", &ALL, Some(20), "0000000000000002.seg"),
        // Half of it is its header; what it says twice is read where one half is gone.
        (
            "log.reached",
            &[Empty, FlippedFirst, Garbage, Folder, Pipe, Gone],
            Some(20),
            "log.reached",
        ),
        ("manager.key", &ALL, Some(20), "manager.key"),
        ("lock", &[Folder], Some(23), "/data/lock: Is a directory"),
        // For display, and nothing believes it.
        ("node", &[Garbage, Folder, Gone], None, ""),
        // Then it tells the cluster once more where it is.
        ("advertised", &[Empty, Garbage, Folder, Pipe, Gone], None, ""),
        ("oldest-issuer", &[Empty, Garbage], Some(20), "oldest-issuer"),
        // What is damaged there is named by who verifies it.
        ("audit/acts/0000000000000001.aud", &ALL, None, ""),
        ("audit/acts/0000000000000002.aud", &ALL, None, ""),
        ("audit/commands/0000000000000001.aud", &ALL, None, ""),
        ("audit/commands/0000000000000002.aud", &ALL, None, ""),
        // It holds room, and is never read.
        ("reserve", &[Empty, Pipe, Folder], None, ""),
        ("lock", &[Gone], None, ""),
    ];
    every_file_has_a_row(&cluster.manager.data(), rows);
    damage_manager(&cluster, rows);
    cluster.manager.start_again();
    let _ = cluster.unlock().ok();
    assert_eq!(cluster.ok(&["secret", "ls", "-q"]).lines().count(), 21, "nothing was lost");
}

#[test]
fn a_manifest_and_a_snapshot_damaged_in_every_way() {
    let mut cluster = Cluster::start(0);
    cluster.secret("first", b"v");
    // The second time the first segment goes, and with it comes a manifest.
    for made in ["snapshots/0000000000000001.snap", "log/manifest.0000000000000001"] {
        fill(&cluster);
        let made = cluster.manager.data().join(made);
        until("a snapshot, and what it makes superfluous to go", || made.exists().then_some(()));
        cluster.crash_manager();
    }
    assert_eq!(cluster.manager.stop(), 0);
    let rows: &[Row] = &[
        ("log/manifest.0000000000000001", &LOST, Some(20), "manifest.0000000000000001"),
        ("log/manifest.0000000000000001", &[Cut, Flipped], Some(20), "manifest.0000000000000001"),
        // Without it the log would have to begin with the first segment.
        ("log/manifest.0000000000000001", &[Gone], Some(20), "0000000000000001.seg"),
        ("snapshots/0000000000000002.snap", &LOST, Some(20), "0000000000000002.snap"),
        ("snapshots/0000000000000002.snap", &[Cut, Flipped], Some(20), "0000000000000002.snap"),
        (
            "snapshots/0000000000000002.snap",
            &[Gone],
            Some(20),
            "the snapshot that it was purged for",
        ),
    ];
    damage_manager(&cluster, rows);
    cluster.manager.start_again();
    let _ = cluster.unlock().ok();
    assert_eq!(cluster.ok(&["secret", "ls", "--format", "{{.Name}}"]), "first");
}

#[test]
fn every_file_of_an_agent_damaged_in_every_way() {
    let mut cluster = Cluster::start(1);
    cluster.secret("s", b"v");
    cluster.service("web", "node-1", &["s"]);
    let mut shell = cluster.shell(0, "web");
    assert_eq!(shell.read("s"), "v");
    cluster.agents[0].kill();
    let data = cluster.agents[0].data();
    // It serves an engine, which has told it of a volume.
    let folder = data.parent().expect("a folder");
    let settings = folder.join("agent.toml");
    let text = fs::read_to_string(&settings).expect("settings");
    let docker = folder.join("skep.sock");
    fs::write(&settings, format!("docker = {docker:?}\n{text}")).expect("settings");
    fs::write(data.join("volumes.toml"), VOLUMES).expect("a file");
    let rows: &[Row] = &[
        ("identity", &LOST, Some(20), "/data/identity: "),
        ("identity", &[Flipped], Some(20), "/data/identity: "),
        // The byte cut off is the last line's end.
        ("identity", &[Cut], None, ""),
        // Without an identity it is an agent that has not joined.
        ("identity", &[Gone], Some(24), "not admitted: the join token was not accepted"),
        ("state.toml", &LOST, Some(20), "/data/state.toml"),
        // What the leader tells again.
        ("state.toml", &[Cut, Gone], None, ""),
        ("volumes.toml", &LOST, Some(20), "/data/volumes.toml"),
        // What the engine tells again.
        ("volumes.toml", &[Cut, Gone], None, ""),
        ("workloads", &[Empty, FlippedFirst, Garbage, Folder, Pipe], Some(20), "/data/workloads"),
        // A last line without its end was being written: nobody was told of it.
        ("workloads", &[Cut, Half], None, ""),
        ("lock", &[Garbage, Gone], None, ""),
        ("lock", &[Folder], Some(23), "lock"),
    ];
    every_file_has_a_row(&data, rows);
    let log = cluster.folder().join("log-of-it");
    let agent = &cluster.agents[0];
    // The key of a join that was not answered, which no agent that has joined keeps.
    let (identity, kept) = (data.join("identity"), cluster.folder().join("identity-kept"));
    fs::rename(&identity, &kept).expect("an agent that has not joined");
    fs::write(data.join("joining"), b"not a key").expect("a file");
    let joining: &[Row] = &[("joining", &LOST, Some(20), "/data/joining: ")];
    damage(&data, joining, || start(agent.command(), &log, || false));
    fs::remove_file(data.join("joining")).expect("gone");
    fs::rename(&kept, &identity).expect("put back");
    damage(&data, rows, || start(agent.command(), &log, || agent.is_connected()));
    cluster.agents[0].start_again();
    cluster.agents[0].connected();
    assert_eq!(shell.read("s"), "v", "the workload kept its secret through all of it");
}
