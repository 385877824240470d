//! A disk under the audit log that hangs: nobody waits for long, what was chosen is done and said,
//! and it goes on.

use cluster_tests::{Cluster, FrozenDisk, until};

/// A manager whose audit log lies on a disk of its own, with these settings too.
fn apart(cluster: &mut Cluster, number: usize, settings: &str) -> FrozenDisk {
    cluster.manager_mut(number).kill();
    let folder = cluster.managers().nth(number).expect("a manager").data().join("audit");
    let disk = FrozenDisk::below(&folder);
    cluster.manager_mut(number).settings(|text| text + settings);
    cluster.bring_back(number);
    disk
}

#[test]
fn p10_a_manager_whose_audit_disk_hangs_refuses_in_time_and_goes_on_when_it_is_back() {
    let mut cluster = Cluster::start_with(1, 0);
    cluster.secret("db", b"value");
    let disk = apart(&mut cluster, 0, "");
    let _ = cluster.ok(&["secret", "ls"]);
    disk.freeze();
    let refused = cluster.skep(&["secret", "ls", "--timeout", "10s"]).status(3);
    assert!(refused.err.contains("audit log of this manager can't be written"), "{}", refused.err);
    let refused = cluster.skep_with(&["secret", "create", "x", "-", "--timeout", "10s"], b"1");
    assert_eq!(refused.status, 3, "{}", refused.err);
    let status = cluster.skep(&["status"]).status(8);
    assert!(status.out.contains("audit-failing"), "{}", status.out);
    assert!(status.out.contains("does not answer"), "{}", status.out);
    disk.thaw();
    until("it goes on", || (cluster.skep(&["secret", "ls"]).status == 0).then_some(()));
    assert_eq!(cluster.skep_with(&["secret", "create", "x", "-"], b"1").status, 0);
    // The status was shown without a line meanwhile, and that is told.
    until("what has no line is told", || {
        cluster.ok(&["audit", "ls", "--all"]).contains("audit.lost").then_some(())
    });
    let _ = cluster.ok(&["audit", "verify"]);
    cluster.manager_mut(0).kill();
}

#[test]
fn p10_a_manager_that_was_told_to_goes_on_beside_a_disk_that_hangs_and_counts() {
    let mut cluster = Cluster::start_with(1, 0);
    let disk = apart(&mut cluster, 0, "audit-on-failure = \"continue\"\n");
    disk.freeze();
    let _ = cluster.ok(&["secret", "ls"]);
    cluster.secret("db", b"value");
    let status = cluster.skep(&["status"]).status(8);
    assert!(status.out.contains("audit-lost"), "{}", status.out);
    disk.thaw();
    let all = until("the log says what it lost", || {
        let all = cluster.ok(&["audit", "ls", "--all"]);
        all.contains("audit.lost").then_some(all)
    });
    // What was applied meanwhile is not lost.
    assert!(all.contains("secret.create db@1"), "{all}");
    let _ = cluster.ok(&["audit", "verify"]);
    cluster.manager_mut(0).kill();
}

#[test]
fn p10_a_leader_whose_audit_disk_hangs_lets_another_lead() {
    let mut cluster = Cluster::start_with(3, 0);
    let number = cluster.leader();
    let disk = apart(&mut cluster, number, "");
    // Let it lead, wherever that is now.
    let name = format!("manager-{}", number + 1);
    until("it leads", || {
        let moved = cluster.skep(&["manager", "step-down", "--to", &name]);
        (cluster.leader() == number || moved.status == 0).then_some(())
    });
    until("it is seen to", || (cluster.leader() == number).then_some(()));
    disk.freeze();
    let _ = cluster.skep(&["secret", "ls", "--timeout", "10s"]);
    until("another one leads", || (cluster.leader() != number).then_some(()));
    cluster.secret("after", b"value");
    disk.thaw();
    until("all is whole", || (cluster.skep(&["audit", "verify"]).status == 0).then_some(()));
    cluster.manager_mut(number).kill();
}
