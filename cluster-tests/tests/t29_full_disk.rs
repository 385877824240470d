//! A manager's disk that fills up: what grows is refused in time, what takes away
//! still finds room.

use cluster_tests::{Cluster, SmallDisk, until};

const MIB: u64 = 1024 * 1024;

/// Whether what a full disk leaves for removals is there.
fn has_reserve(cluster: &Cluster) -> bool {
    cluster.manager.data().join("reserve").exists()
}

#[test]
fn a_nearly_full_disk_admits_removals_and_revokes_alone() {
    let mut cluster = Cluster::start(1);
    for name in ["one", "two", "three"] {
        cluster.secret(name, b"value");
    }
    cluster.service("web", "node-1", &["one", "two"]);
    cluster.manager.kill();
    let disk = SmallDisk::below(&cluster.manager.data(), 400);
    cluster.bring_back(0);
    until("the reserve", || has_reserve(&cluster).then_some(()));

    disk.leave(45 * MIB);
    let warned = until("a warning", || {
        let status = cluster.manager.skep(&["status"]);
        (status.status == 8 && status.out.contains("warning disk-full")).then_some(status)
    });
    assert!(warned.out.contains("hint: make room"), "{}", warned.out);
    let refused = cluster.skep_with(&["secret", "create", "four", "-"], b"v").status(1);
    assert!(refused.err.contains("the leader's disk is nearly full"), "{}", refused.err);
    let refused = cluster.skep(&["service", "grant", "web", "three"]).status(1);
    assert!(refused.err.contains("hint: make room"), "{}", refused.err);
    let _ = cluster.ok(&["service", "revoke", "web", "one"]);
    let _ = cluster.ok(&["secret", "rm", "one"]);
    let _ = cluster.ok(&["join-token", "worker", "-q"]);

    // Even less: the reserve makes room for them.
    disk.leave(20 * MIB);
    until("the reserve's room", || (!has_reserve(&cluster)).then_some(()));
    let _ = cluster.ok(&["service", "revoke", "web", "two"]);
    let _ = cluster.ok(&["secret", "rm", "two"]);
    let _ = cluster.skep_with(&["secret", "create", "four", "-"], b"v").status(1);

    disk.empty();
    until("room again", || {
        let created = cluster.skep_with(&["secret", "create", "four", "-"], b"v");
        (created.status == 0).then_some(())
    });
    until("the reserve", || has_reserve(&cluster).then_some(()));
    cluster.manager.kill();
    drop(disk);
}
