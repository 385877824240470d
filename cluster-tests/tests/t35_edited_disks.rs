//! P6: the disk of the only manager, edited while it stands: what is there to prove that the
//! log reached further is used. Status 20, the file named; with the disk as it was it starts.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use cluster_tests::{Cluster, run_until};
use skep_core::base::SecretId;
use skep_core::domain::Change;

const DEADLINE: std::time::Duration = std::time::Duration::from_secs(40);
/// More than a manager keeps without a snapshot, by so many clients at a time.
const ENTRIES: usize = 10_400;
const CLIENTS: usize = 40;

fn copy(from: &Path, to: &Path) {
    drop(fs::remove_dir_all(to));
    let _ = cluster_tests::run(Command::new("cp").arg("-a").arg(from).arg(to), b"").ok();
}

fn segments(data: &Path) -> Vec<PathBuf> {
    let found = fs::read_dir(data.join("log")).expect("a log");
    let mut found: Vec<PathBuf> = found.map(|entry| entry.expect("an entry").path()).collect();
    found.retain(|path| path.extension().is_some_and(|end| end == "seg"));
    found.sort();
    found
}

/// Zeros the bytes of a file that are in use, from one percentage of it to another.
fn zero(path: &Path, from: usize, upto: usize) {
    let mut bytes = fs::read(path).expect("a segment");
    let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let at = |percent: usize| used * percent / 100;
    bytes[at(from)..at(upto)].fill(0);
    fs::write(path, bytes).expect("written");
}

/// Starts the manager on the disk as it is: it must end with 20 and name one of `files`.
fn refused(cluster: &Cluster, what: &str, files: &[&str]) {
    let mut command = cluster.manager.command();
    command.arg("--unlock-key-file").arg(cluster.unlock_key());
    let ran = run_until(&mut command, b"", DEADLINE);
    assert_eq!(ran.status, 20, "{what}: {}", ran.err);
    let error = ran.err.lines().find(|line| line.starts_with("error: ")).unwrap_or_default();
    assert!(files.iter().any(|file| error.contains(file)), "{what}: {error}");
}

/// With the disk as it was everything is there.
fn starts(cluster: &mut Cluster, secrets: usize) {
    cluster.manager.start_again();
    let _ = cluster.unlock().ok();
    assert_eq!(cluster.ok(&["secret", "ls", "-q"]).lines().count(), secrets);
}

#[test]
fn p6_a_log_deleted_put_back_or_emptied_is_named_by_the_only_manager() {
    for clean in [true, false] {
        let mut cluster = Cluster::start(0);
        let data = cluster.manager.data();
        let (older, whole) = (cluster.folder().join("older"), cluster.folder().join("whole"));
        for number in 0..6 {
            cluster.secret(&format!("a{number}"), b"v");
        }
        cluster.manager.kill();
        copy(&data, &older);
        cluster.manager.start_again();
        let _ = cluster.unlock().ok();
        for number in 0..30 {
            cluster.secret(&format!("b{number}"), b"v");
        }
        if clean {
            assert_eq!(cluster.manager.stop(), 0);
        } else {
            cluster.manager.kill();
        }
        copy(&data, &whole);
        let newest = segments(&data).pop().expect("a segment");
        let newest_name = newest.file_name().expect("a name").to_string_lossy().into_owned();
        let log = data.join("log");

        fs::remove_dir_all(&log).expect("removed");
        refused(&cluster, "the log deleted", &[".seg"]);
        copy(&whole, &data);

        copy(&older.join("log"), &log);
        refused(&cluster, "an older log", &[".seg"]);
        copy(&whole, &data);

        fs::remove_file(&newest).expect("removed");
        refused(&cluster, "the newest segment deleted", &[&newest_name]);
        copy(&whole, &data);

        fs::remove_file(data.join("log.reached")).expect("removed");
        refused(&cluster, "the proof deleted", &["log.reached"]);
        copy(&whole, &data);

        for (from, upto) in [(0, 50), (50, 100), (0, 100), (30, 60), (90, 100)] {
            for segment in segments(&data) {
                let name = segment.file_name().expect("a name").to_string_lossy().into_owned();
                zero(&segment, from, upto);
                refused(&cluster, &format!("{name} zeroed from {from} to {upto} %"), &[&name]);
                copy(&whole, &data);
            }
        }
        starts(&mut cluster, 36);
    }
}

#[test]
fn p6_a_snapshot_proves_how_far_the_only_managers_log_reached() {
    let mut cluster = Cluster::start(0);
    cluster.secret("first", b"v");
    cluster.manager.kill();
    let data = cluster.manager.data();
    let (older, whole) = (cluster.folder().join("older"), cluster.folder().join("whole"));
    copy(&data, &older);
    cluster.manager.start_again();
    let _ = cluster.unlock().ok();
    fill(&cluster);
    let snapshots = data.join("snapshots");
    cluster_tests::until("a snapshot", || {
        let names = fs::read_dir(&snapshots).ok()?.flatten();
        names
            .map(|entry| entry.path())
            .any(|path| path.extension().is_some_and(|e| e == "snap"))
            .then_some(())
    });
    cluster.secret("last", b"v");
    assert_eq!(cluster.manager.stop(), 0);
    copy(&data, &whole);

    // The log and its own proof, both as of then or gone: the snapshot is left.
    let proof = "log.reached";
    copy(&older.join("log"), &data.join("log"));
    fs::copy(older.join(proof), data.join(proof)).expect("put back");
    refused(&cluster, "an older log and proof under a newer snapshot", &[".seg"]);
    fs::remove_dir_all(data.join("log")).expect("removed");
    fs::remove_file(data.join(proof)).expect("removed");
    refused(&cluster, "a snapshot alone", &[".seg"]);
    copy(&whole, &data);
    starts(&mut cluster, 2);
}

/// Writes so much that the manager makes a snapshot. What is refused stands in the log too.
fn fill(cluster: &Cluster) {
    cluster_tests::rpc::runtime().block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..CLIENTS {
            let mut operator = cluster.client(DEADLINE).into_operator();
            tasks.spawn(async move {
                let nobody = [Change::RemoveSecret { id: SecretId::from_bytes([9; 16]) }];
                for _ in 0..ENTRIES / CLIENTS {
                    drop(operator.apply(&nobody).await.expect_err("there is none"));
                }
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.expect("a client");
        }
    });
}
