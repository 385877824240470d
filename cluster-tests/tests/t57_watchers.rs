//! Programs that watch: whatever path they watch, and however, they notice each rotation.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};

use cluster_tests::{Cluster, DEADLINE, until};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};

/// A cluster of one agent with a service of this kind, granted `key` and `other`.
fn cluster(mount: &str) -> Cluster {
    let cluster = Cluster::start(1);
    cluster.secret("key", b"value 0");
    cluster.secret("other", b"else");
    let _ = cluster.ok(&["service", "create", "web", "--node", "node-1", "--mount", mount]);
    let _ = cluster.ok(&["service", "grant", "web", "key", "other"]);
    let _ = cluster.agents[0].skep(&["agent", "service", "up", "web"]).ok();
    cluster
}

/// What a file's watcher asks for, as Go's fsnotify does.
const OF_FILE: WatchFlags = WatchFlags::ATTRIB
    .union(WatchFlags::MODIFY)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF);
/// What a folder's watcher asks for, as Java's `WatchService` does.
const OF_FOLDER: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MODIFY)
    .union(WatchFlags::ATTRIB);

/// One watched path of the host.
struct Watch(OwnedFd);

impl Watch {
    fn of(path: &Path, what: WatchFlags) -> Self {
        let fd = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).expect("inotify");
        let watch = Self(fd);
        watch.again(path, what);
        watch
    }

    /// Watches what the path leads to now.
    fn again(&self, path: &Path, what: WatchFlags) {
        inotify::add_watch(&self.0, path, what).expect("a watch");
    }

    /// All that was heard since the last call: which event, of which name.
    fn heard(&self) -> Vec<(ReadFlags, String)> {
        let mut buffer = [MaybeUninit::uninit(); 16 * 1024];
        let mut reader = inotify::Reader::new(&self.0, &mut buffer);
        let mut all = Vec::new();
        while let Ok(event) = reader.next() {
            let name = event.file_name().map(|name| name.to_string_lossy().into_owned());
            all.push((event.events(), name.unwrap_or_default()));
        }
        all
    }
}

fn has(heard: &[(ReadFlags, String)], event: ReadFlags, name: &str) -> bool {
    heard.iter().any(|(events, of)| events.contains(event) && of == name)
}

/// The command returned after the flip was acknowledged: what is to be heard was said by then.
fn outside(mount: &str) {
    let cluster = cluster(mount);
    let folder = cluster.agents[0].root().join("web");
    let live = folder.join("..live");
    let paths = [folder.join("key"), live.join("key")];
    let watches: Vec<_> = paths.iter().map(|path| (Watch::of(path, OF_FILE), path)).collect();
    let never_again: Vec<_> = paths.iter().map(|path| Watch::of(path, OF_FILE)).collect();
    let beside = Watch::of(&folder.join("other"), OF_FILE);
    let folders = [Watch::of(&folder, OF_FOLDER), Watch::of(&live, OF_FOLDER)];
    let data = folder.join("..data");
    let sets = Watch::of(&data, OF_FILE);
    let link = Watch::of(&data, OF_FILE | WatchFlags::DONT_FOLLOW);
    for round in 1..=4 {
        cluster.update("key", format!("value {round}").as_bytes());
        for (watch, path) in &watches {
            let heard = watch.heard();
            assert!(has(&heard, ReadFlags::ATTRIB, ""), "{round}: {heard:?}");
            assert!(has(&heard, ReadFlags::MODIFY, ""), "{round}: {heard:?}");
            watch.again(path, OF_FILE);
            assert_eq!(fs::read_to_string(path).expect("a file"), format!("value {round}"));
        }
        for watch in &never_again {
            let heard = watch.heard();
            assert!(has(&heard, ReadFlags::MODIFY, ""), "{round}: {heard:?}");
        }
        for watch in &folders {
            let heard = watch.heard();
            assert!(has(&heard, ReadFlags::MOVED_TO, "..data"), "{round}: {heard:?}");
            assert!(has(&heard, ReadFlags::MODIFY, "key"), "{round}: {heard:?}");
            assert!(has(&heard, ReadFlags::ATTRIB, "key"), "{round}: {heard:?}");
            let others = heard.iter().filter(|(_, name)| name == "other").count();
            assert_eq!(others, 0, "{round}: {heard:?}");
        }
        let heard = sets.heard();
        assert!(has(&heard, ReadFlags::ATTRIB, ""), "{round}: {heard:?}");
        sets.again(&data, OF_FILE);
        let heard = link.heard();
        assert!(has(&heard, ReadFlags::ATTRIB, ""), "{round}: {heard:?}");
        assert!(has(&heard, ReadFlags::DELETE_SELF, ""), "{round}: {heard:?}");
        link.again(&data, OF_FILE | WatchFlags::DONT_FOLLOW);
        let heard = beside.heard();
        assert!(has(&heard, ReadFlags::ATTRIB, ""), "it was replaced, too: {heard:?}");
        assert!(!has(&heard, ReadFlags::MODIFY, ""), "with the same bytes: {heard:?}");
        beside.again(&folder.join("other"), OF_FILE);
    }
    let file = Watch::of(&paths[0], OF_FILE);
    let _ = cluster.ok(&["service", "revoke", "web", "key"]);
    let heard = file.heard();
    assert!(has(&heard, ReadFlags::MODIFY, ""), "{heard:?}");
    for watch in &folders {
        let heard = watch.heard();
        assert!(has(&heard, ReadFlags::DELETE, "key"), "{heard:?}");
    }
}

#[test]
fn every_way_to_watch_notices_each_rotation_on_tmpfs() {
    outside("tmpfs");
}

#[test]
fn every_way_to_watch_notices_each_rotation_on_fuse() {
    outside("fuse");
}

/// A program that watches a path with a mask, watches it again after each event, and prints
/// each value that it then finds.
const WATCHER: &str = r"
import ctypes, os, sys
watched, mask, file = sys.argv[1].encode(), int(sys.argv[2]), sys.argv[3]
libc = ctypes.CDLL(None, use_errno=True)
fd = libc.inotify_init1(0)
shown = None
while True:
    if libc.inotify_add_watch(fd, watched, mask) < 0:
        raise OSError(ctypes.get_errno(), 'inotify_add_watch')
    value = open(file).read()
    if value != shown:
        print(value, flush=True)
        shown = value
    os.read(fd, 65536)
";

struct Watcher {
    process: Child,
    said: Receiver<String>,
    what: String,
}

impl Watcher {
    fn start(cluster: &Cluster, watched: &str, what: WatchFlags) -> Self {
        let mask = what.bits().to_string();
        let words = ["python3", "-c", WATCHER, watched, &mask, "/run/secrets/key"];
        let mut process = cluster.agents[0].exec("web", &words);
        let mut process = process.stdout(Stdio::piped()).spawn().expect("skep exec");
        let lines = BufReader::new(process.stdout.take().expect("its output")).lines();
        let (tell, said) = channel();
        // It ends with the program.
        std::thread::spawn(move || {
            lines.map_while(Result::ok).try_for_each(|line| tell.send(line))
        });
        Self { process, said, what: format!("{watched} {what:?}") }
    }

    fn says(&mut self, wanted: &str) {
        let said = self.said.recv_timeout(DEADLINE);
        assert_eq!(said.as_deref(), Ok(wanted), "{}", self.what);
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

fn inside(mount: &str) {
    let cluster = cluster(mount);
    let (key, data) = ("/run/secrets/key", "/run/secrets/..data");
    let mut watchers = [
        (key, OF_FILE),
        (key, WatchFlags::ATTRIB | WatchFlags::DELETE_SELF | WatchFlags::MOVE_SELF),
        (key, WatchFlags::MODIFY),
        (data, WatchFlags::ATTRIB | WatchFlags::DELETE_SELF | WatchFlags::MOVE_SELF),
        ("/run/secrets", WatchFlags::CREATE | WatchFlags::MOVED_TO),
        ("/run/secrets", WatchFlags::MODIFY),
        ("/run/secrets", OF_FOLDER),
    ]
    .map(|(path, what)| Watcher::start(&cluster, path, what));
    for round in 0..4 {
        let value = format!("value {round}");
        if round > 0 {
            cluster.update("key", value.as_bytes());
        }
        for watcher in &mut watchers {
            watcher.says(&value);
        }
    }
}

#[test]
fn a_program_under_exec_notices_each_rotation_on_tmpfs() {
    inside("tmpfs");
}

#[test]
fn a_program_under_exec_notices_each_rotation_on_fuse() {
    inside("fuse");
}

fn times_and_repeats(mount: &str) {
    let cluster = cluster(mount);
    let agent = &cluster.agents[0];
    let (key, other) = (agent.file("web", "key"), agent.file("web", "other"));
    let look = |path: &Path| {
        let found = fs::metadata(path).expect("a file");
        (found.ino(), (found.mtime(), found.mtime_nsec()))
    };
    let (first, beside) = (look(&key), look(&other));
    cluster.update("key", b"value 1");
    let (second, beside_then) = (look(&key), look(&other));
    assert!(second.0 != first.0 && second.1 > first.1, "{first:?} {second:?}");
    assert_ne!(beside_then.0, beside.0, "generations share no inode");
    assert_eq!(beside_then.1, beside.1, "the same value, the same time");

    // The same value again: a version, and nothing else.
    let watches = [
        Watch::of(&agent.root().join("web"), OF_FOLDER),
        Watch::of(&key, OF_FILE),
        Watch::of(&agent.root().join("web/..live"), OF_FOLDER),
    ];
    let file = cluster.file("again", b"value 1");
    let said = cluster.skep(&["secret", "update", "key", &file]);
    assert!(said.err.contains("unchanged on 1 node"), "{}", said.err);
    let _ = said.ok();
    let versions = cluster.ok(&["secret", "versions", "key", "--format", "{{.Version}}"]);
    assert_eq!(versions.lines().count(), 3, "{versions}");
    assert_eq!(look(&key), second, "nothing was written anew");
    assert_eq!(look(&other), beside_then);
    for watch in &watches {
        let mut heard = watch.heard();
        // A second after a flip the folder of the former set is put away.
        heard.retain(|(events, _)| !events.contains(ReadFlags::MOVED_FROM));
        assert!(heard.is_empty(), "{heard:?}");
    }
    let log = fs::read_to_string(agent.log()).expect("a log");
    assert!(log.contains("set_unchanged"), "{log}");

    if mount == "fuse" {
        // What is opened is the newer version.
        until("the record of an open", || {
            assert_eq!(fs::read(&key).expect("a file"), b"value 1");
            let words = ["secret", "reads", "key", "--last", "1", "--format", "{{.Version}}"];
            (cluster.ok(&words) == "3").then_some(())
        });
    }

    // What is new is delivered as ever, beside one whose value is the same.
    let file = cluster.file("next", b"value 2");
    let said = cluster.skep(&["secret", "update", "key", &file]);
    assert!(!said.err.contains("unchanged"), "{}", said.err);
    let _ = said.ok();
    assert_eq!(fs::read(&key).expect("a file"), b"value 2");
    let pair = [format!("key={file}"), format!("other={}", cluster.file("else", b"new"))];
    let said = cluster.skep(&["secret", "update", &pair[0], &pair[1]]);
    assert!(!said.err.contains("unchanged"), "{}", said.err);
    let _ = said.ok();
    let last = look(&key);
    assert_eq!(fs::read(&other).expect("a file"), b"new");
    cluster.update("key", b"value 3");
    assert!(look(&key).1 > last.1);
}

#[test]
fn the_same_value_keeps_its_time_and_a_repeated_one_changes_nothing_on_tmpfs() {
    times_and_repeats("tmpfs");
}

#[test]
fn the_same_value_keeps_its_time_and_a_repeated_one_changes_nothing_on_fuse() {
    times_and_repeats("fuse");
}

/// An agent that starts again takes a repeated value for what it is, too.
#[test]
fn a_repeated_value_is_known_by_the_next_agent() {
    let mut cluster = cluster("tmpfs");
    let file = cluster.file("again", b"value 0");
    let _ = cluster.ok(&["secret", "update", "key", &file]);
    cluster.agents[0].kill();
    cluster.agents[0].start_again();
    cluster.agents[0].connected();
    let said = cluster.skep(&["secret", "update", "key", &file]);
    assert!(said.err.contains("unchanged on 1 node"), "{}", said.err);
    let _ = said.ok();
    let key = cluster.agents[0].file("web", "key");
    assert_eq!(fs::read(&key).expect("a file"), b"value 0");
    cluster.update("key", b"value 1");
    assert_eq!(fs::read(&key).expect("a file"), b"value 1");
}
