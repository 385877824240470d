//! What happens to a disk, a process or a wire: named, never silent.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cluster_tests::{Cluster, until};

/// Files of a folder whose names end so, in order.
fn files(folder: &Path, end: &str) -> Vec<PathBuf> {
    let entries =
        fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let mut files: Vec<_> = entries.filter(|path| path.to_string_lossy().ends_with(end)).collect();
    files.sort();
    files
}

/// Unlocks a manager whose disk was tampered with; it must name that and end with status 20.
fn refused_as_damaged(cluster: &mut Cluster) -> String {
    cluster.manager.start_again();
    let unlock = cluster.unlock();
    assert_ne!(unlock.status, 0, "a damaged disk was accepted");
    assert_eq!(cluster.manager.ended(), 20, "{}", unlock.err);
    unlock.err
}

#[test]
fn p6_a_changed_byte_in_the_log_is_named_and_refused() {
    let mut cluster = Cluster::start(0);
    for number in 0..20 {
        cluster.secret(&format!("s{number}"), b"value");
    }
    cluster.manager.kill();
    let log = cluster.manager.data().join("log");
    let segment = files(&log, ".seg").remove(0);
    let clean = fs::read(&segment).expect("a segment");
    let mut bytes = clean.clone();
    bytes[2_000] ^= 1;
    fs::write(&segment, &bytes).expect("a changed segment");
    let said = refused_as_damaged(&mut cluster);
    assert!(said.contains("damaged") || said.contains("tampered"), "{said}");

    fs::write(&segment, &clean).expect("the segment as it was");
    cluster.manager.start_again();
    let _ = cluster.unlock().ok();
    until("everything is there", || {
        (cluster.ok(&["secret", "ls", "-q"]).lines().count() == 20).then_some(())
    });
}

#[test]
fn p6_a_segment_that_was_cut_out_is_named_and_refused() {
    let mut cluster = Cluster::start(0);
    for _ in 0..3 {
        cluster.crash_manager(); // every start opens a new segment
    }
    cluster.manager.kill();
    let segments = files(&cluster.manager.data().join("log"), ".seg");
    assert!(segments.len() >= 3, "{segments:?}");
    fs::remove_file(&segments[1]).expect("one removed");
    refused_as_damaged(&mut cluster);
}

#[test]
fn p6_two_swapped_segments_are_named_and_refused() {
    let mut cluster = Cluster::start(0);
    for _ in 0..3 {
        cluster.crash_manager();
    }
    cluster.manager.kill();
    let segments = files(&cluster.manager.data().join("log"), ".seg");
    let (one, two) = (fs::read(&segments[0]).expect("one"), fs::read(&segments[1]).expect("two"));
    fs::write(&segments[0], two).expect("swapped");
    fs::write(&segments[1], one).expect("swapped");
    refused_as_damaged(&mut cluster);
}

#[test]
fn p6_a_changed_key_file_is_refused() {
    let mut cluster = Cluster::start(0);
    cluster.manager.kill();
    let path = cluster.manager.data().join("manager.key");
    let clean = fs::read(&path).expect("the key file");
    for place in [0, 12, 60, 100, clean.len() - 1] {
        let mut bytes = clean.clone();
        bytes[place] ^= 1;
        fs::write(&path, &bytes).expect("a changed key file");
        drop(std::process::Command::new("true").status());
        let status = cluster_tests::run(cluster.manager.command().arg("--check"), b"").status;
        if status == 0 {
            cluster.manager.start_again();
            let ran = cluster.unlock();
            assert_eq!(ran.status, 20, "byte {place}: {}", ran.err);
            assert!(ran.err.contains("key file"), "byte {place}: {}", ran.err);
            cluster.manager.kill();
        } else {
            assert_eq!(status, 20, "byte {place}");
        }
    }
    fs::write(&path, clean).expect("the key file as it was");
    cluster.manager.start_again();
    let _ = cluster.unlock().ok();
}

#[test]
fn p3_everything_acknowledged_survives_kill_9_under_load() {
    const ROUNDS: usize = 5;
    let mut cluster = Cluster::start(0);
    let mut acknowledged = BTreeSet::new();
    for round in 0..ROUNDS {
        let noted = Mutex::new(Vec::new());
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for client in 0..3 {
                let (cluster, noted, stop) = (&cluster, &noted, &stop);
                scope.spawn(move || {
                    for number in 0.. {
                        if stop.load(Ordering::Relaxed) {
                            break;
                        }
                        let name = format!("s-{round}-{client}-{number}");
                        let ran = cluster.skep_with(
                            &["secret", "create", &name, "-", "--timeout", "2s"],
                            name.as_bytes(),
                        );
                        if ran.status == 0 {
                            noted.lock().expect("notes").push(name);
                        }
                    }
                });
            }
            until("some writes", || (noted.lock().expect("notes").len() >= 10).then_some(()));
            cluster.manager.kill_amid_work();
            stop.store(true, Ordering::Relaxed);
        });
        acknowledged.extend(noted.into_inner().expect("notes"));
        cluster.crash_manager();
        let listed: BTreeSet<String> = cluster
            .ok(&["secret", "ls", "--format", "{{.Name}}"])
            .lines()
            .map(str::to_owned)
            .collect();
        let lost: Vec<_> = acknowledged.difference(&listed).collect();
        assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    }
}

#[test]
fn garbage_and_half_open_connections_do_not_disturb_the_manager() {
    let cluster = Cluster::start(0);
    let address = cluster.manager.address();
    let mut open = Vec::new();
    for number in 0..300_usize {
        let Ok(mut stream) = TcpStream::connect(&address) else { continue };
        drop(stream.set_read_timeout(Some(Duration::from_millis(200))));
        drop(stream.write_all(&vec![u8::try_from(number % 256).expect("a byte"); number * 40]));
        if number % 2 == 0 {
            let mut some = [0; 16];
            drop(stream.read(&mut some));
        }
        open.push(stream);
    }
    assert!(open.len() > 250, "only {} came through", open.len());
    cluster.secret("still-here", b"1");
    assert_eq!(cluster.ok(&["secret", "ls", "--format", "{{.Name}}"]), "still-here");
    drop(open);
}

#[test]
fn a_second_manager_on_the_same_data_is_refused() {
    let cluster = Cluster::start(0);
    let ran = cluster_tests::run(&mut cluster.manager.command(), b"").status(22);
    assert!(ran.err.contains("is in use by another process"), "{}", ran.err);
}
