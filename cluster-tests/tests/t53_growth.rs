//! What services that come and go leave in an agent.

use cluster_tests::Cluster;

/// Services that are made, used and removed.
const SERVICES: usize = 12;
/// KiB that an agent may have more than before: less than one of the buffers in which
/// its threads take the kernel's questions.
const MORE: u64 = 12 * 1024;

/// Each time the last of them goes, the kernel mount goes with it.
#[test]
fn p11_services_that_came_and_went_leave_no_memory() {
    let cluster = Cluster::start(1);
    let agent = &cluster.agents[0];
    cluster.secret("key", b"value");
    let before = agent.memory("RssAnon");
    for round in 0..SERVICES {
        let name = format!("made-{round}");
        let words = ["service", "create", &name, "--node", "node-1", "--mount", "fuse"];
        let _ = cluster.ok(&words);
        let _ = cluster.ok(&["service", "grant", &name, "key"]);
        let read = agent.exec(&name, &["cat", "/run/secrets/key"]).output().expect("skep exec");
        assert_eq!(read.stdout, b"value");
        let _ = cluster.ok(&["service", "rm", &name]);
    }
    let after = agent.memory("RssAnon");
    assert!(after < before + MORE, "{before} KiB before, {after} KiB after");
}
