//! The promises that can be kept or broken from outside (docs/promises.md).

use std::fs::{self, File};
use std::io::Read as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustix::fs::{Mode, OFlags};

use cluster_tests::{Cluster, DEADLINE, secret_id, until};

#[test]
fn p2_a_node_gets_nothing_while_nothing_runs() {
    let cluster = Cluster::start(1);
    cluster.secret("password", b"value");
    cluster.service("web", "node-1", &["password"]);
    assert_eq!(cluster.ok(&["secret", "holders", "password", "-q"]), "");
    assert!(!cluster.agents[0].root().join("web").exists());
    let shell = cluster.shell(0, "web");
    assert!(cluster.ok(&["secret", "holders", "password"]).contains("node-1"));
    drop(shell);
}

#[test]
fn p2_a_node_that_claims_every_service_gets_what_is_placed_there() {
    let cluster = Cluster::start(2);
    cluster.secret("mine", b"mine");
    cluster.secret("other", b"other");
    cluster.service("placed-here", "node-1", &["mine"]);
    cluster.service("placed-there", "node-2", &["other"]);
    let agent = &cluster.agents[0];
    let _ = agent.skep(&["agent", "service", "up", "placed-here"]).ok();
    let refused = agent.skep(&["agent", "service", "up", "placed-there"]).status(1);
    assert!(refused.err.contains("placed"), "{}", refused.err);
    let _ = agent.skep(&["agent", "service", "up", "no-such-service"]).status(1);
    assert_eq!(fs::read(agent.file("placed-here", "mine")).expect("a file"), b"mine");
    assert!(!agent.root().join("placed-there").exists());
    assert_eq!(cluster.ok(&["secret", "holders", "other", "-q"]), "");
}

fn content(mut file: &File) -> Vec<u8> {
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).expect("a readable descriptor");
    bytes
}

#[test]
fn p4_descriptors_read_to_the_end_after_a_rotation_and_nothing_after_a_revoke() {
    let cluster = Cluster::start(1);
    cluster.secret("password", b"first");
    cluster.service("web", "node-1", &["password"]);
    let _shell = cluster.shell(0, "web");
    let path = cluster.agents[0].file("web", "password");

    let before_rotation = File::open(&path).expect("a file");
    cluster.update("password", b"second");
    assert_eq!(content(&before_rotation), b"first", "an old descriptor reads the old version");

    let (old, new) = (File::open(&path).expect("a file"), File::open(&path).expect("a file"));
    let _ = cluster.skep(&["service", "revoke", "web", "password"]).ok();
    assert!(!path.exists());
    assert_eq!(content(&old), b"");
    assert_eq!(content(&new), b"");
    assert_eq!(cluster.ok(&["secret", "holders", "password", "-q"]), "");
}

#[test]
fn p4_a_revoke_whose_node_is_away_stays_pending_until_it_confirms() {
    let mut cluster = Cluster::start(1);
    cluster.secret("password", b"value");
    cluster.service("web", "node-1", &["password"]);
    let mut shell = cluster.shell(0, "web");
    cluster.agents[0].kill();

    let revoke =
        cluster.skep(&["service", "revoke", "web", "password", "--timeout", "2s"]).status(5);
    assert!(revoke.err.contains("node-1"), "the node is named: {}", revoke.err);
    assert!(cluster.ok(&["secret", "holders", "password"]).contains("pending"));
    cluster.crash_manager();
    assert!(
        cluster.ok(&["secret", "holders", "password"]).contains("pending"),
        "forgotten by a new start"
    );
    assert_eq!(shell.read("password"), "value", "the node is away");

    cluster.agents[0].start_again();
    until("the wipe", || (shell.read("password") == "gone").then_some(()));
    until("the confirmation", || {
        cluster.ok(&["secret", "holders", "password", "-q"]).is_empty().then_some(())
    });
}

#[test]
fn p8_a_removed_node_is_cut_off_and_holds_nothing() {
    let mut cluster = Cluster::start(1);
    cluster.secret("password", b"value");
    cluster.service("web", "node-1", &["password"]);
    let mut shell = cluster.shell(0, "web");
    let refused = cluster.skep(&["node", "rm", "node-1"]).status(1);
    assert!(refused.err.contains("node node-1 may still hold secrets of web"), "{}", refused.err);

    let _ = cluster.ok(&["node", "rm", "node-1", "--force", "--yes"]);
    assert_eq!(cluster.agents[0].ended(), 24, "the agent learns that it was removed");
    assert_eq!(shell.read("password"), "gone", "an honest agent wipes");
    assert!(!cluster.ok(&["node", "ls"]).contains("node-1"));
}

/// The documented way to read a set: open `..data` once, read below it.
fn read_set(folder: &Path, names: [&str; 2]) -> Option<[Vec<u8>; 2]> {
    let flags = OFlags::PATH | OFlags::DIRECTORY;
    let set: OwnedFd = rustix::fs::open(folder.join("..data"), flags, Mode::empty()).ok()?;
    let read = |name| {
        let file = rustix::fs::openat(set.as_fd(), name, OFlags::RDONLY, Mode::empty()).ok()?;
        Some(content(&File::from(file)))
    };
    Some([read(names[0])?, read(names[1])?])
}

#[test]
fn p9_a_certificate_and_its_key_are_never_seen_torn() {
    const READS: usize = 100_000;
    const ROTATIONS: usize = 1_000;
    let cluster = Cluster::start(1);
    cluster.secret("cert", b"0");
    cluster.secret("key", b"0");
    cluster.service("web", "node-1", &["cert", "key"]);
    let _shell = cluster.shell(0, "web");
    let folder = cluster.agents[0].root().join("web");
    let (reads, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let seen = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut generations = std::collections::BTreeSet::new();
            while !stop.load(Ordering::Relaxed) || reads.load(Ordering::Relaxed) < READS {
                let [cert, key] =
                    read_set(&folder, ["cert", "key"]).expect("a set is always there");
                assert_eq!(cert, key, "torn");
                generations.insert(cert);
                reads.fetch_add(1, Ordering::Relaxed);
            }
            generations.len()
        });
        // One client that rotates, as fast as acts are acknowledged.
        let mut client = cluster.client(DEADLINE);
        let ids = ["cert", "key"].map(|name| secret_id(&client.secret(name).ok().id));
        for rotation in 1..=ROTATIONS {
            let value = rotation.to_string().into_bytes();
            let numbers = client.update(&ids.map(|id| (id, value.as_slice()))).ok();
            assert_eq!(numbers.len(), 2);
            assert!(!reader.is_finished(), "the reader ended early");
        }
        stop.store(true, Ordering::Relaxed);
        reader.join().expect("no torn read")
    });
    println!(
        "{ROTATIONS} rotations, {} reads of {seen} generations",
        reads.load(Ordering::Relaxed)
    );
    assert!(seen > ROTATIONS / 10, "only {seen} generations were seen");
    until("the last value", || {
        (read_set(&folder, ["cert", "key"])?[0] == ROTATIONS.to_string().into_bytes()).then_some(())
    });
}

#[test]
fn p5_the_manager_holds_no_value() {
    // A value that stands nowhere else: neither in this binary nor in any argument.
    let mut canary = [0_u8; 24];
    rustix::rand::getrandom(&mut canary, rustix::rand::GetRandomFlags::empty())
        .expect("random bytes");
    let canary: String = canary.iter().map(|byte| char::from(b'a' + byte % 26)).collect();
    let cluster = Cluster::start(1);
    cluster.secret("canary", canary.as_bytes());
    cluster.service("web", "node-1", &["canary"]);
    let mut shell = cluster.shell(0, "web");
    assert_eq!(shell.read("canary"), canary);
    let needle = canary.as_bytes();
    for file in files_below(&cluster.manager.data())
        .into_iter()
        .chain([cluster.manager.log(), cluster.agents[0].log()])
    {
        let bytes = fs::read(&file).expect("a file");
        assert!(
            !bytes.windows(needle.len()).any(|window| window == needle),
            "{} holds the value",
            file.display()
        );
    }
    for file in files_below(&cluster.agents[0].data()) {
        let bytes = fs::read(&file).expect("a file");
        assert!(
            !bytes.windows(needle.len()).any(|window| window == needle),
            "{} holds the value",
            file.display()
        );
    }
}

fn files_below(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files
}
