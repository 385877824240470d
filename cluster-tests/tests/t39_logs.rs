//! P11: what daemons log while something is broken that stays so.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use cluster_tests::{Cluster, DEADLINE, until};

/// How long it is broken.
const BROKEN: Duration = Duration::from_secs(20);
/// Lines that it may cost: the troubles that there are, each told once or twice.
const MOST_LINES: usize = 16;
/// Bytes of them.
const MOST_BYTES: usize = 4 * 1024;

fn text(log: &Path) -> String {
    String::from_utf8_lossy(&fs::read(log).expect("a log")).into_owned()
}

/// What a log has grown by is little, and of Skep's own events alone.
fn is_little(who: &str, before: &str, after: &str) {
    let more = after.strip_prefix(before).expect("a log only grows");
    println!("{who}: {} lines, {} bytes in {BROKEN:?}", more.lines().count(), more.len());
    assert!(more.lines().count() <= MOST_LINES && more.len() <= MOST_BYTES, "{who}:\n{more}");
    assert!(!more.contains(" library "), "{who}:\n{more}");
    assert!(!more.contains(" DEBUG ") && !more.contains(" TRACE "), "{who}:\n{more}");
}

#[test]
fn p11_what_stays_broken_is_told_rarely_and_once_more_when_it_is_over() {
    let mut cluster = Cluster::start_with(3, 1);
    until("a first leader", || cluster.manager.state().eq("leader").then_some(()));
    cluster.secret("s", b"v");
    // One of three is gone, and the others go on: each change is sent to it in vain.
    let before = text(&cluster.manager.log());
    cluster.manager_mut(2).kill();
    let mut client = cluster.client(DEADLINE);
    let (start, mut number) = (Instant::now(), 0);
    while start.elapsed() < BROKEN {
        let _ = client.create(&format!("s{number}"), b"v").ok();
        number += 1;
    }
    assert!(number > 20, "{number}");
    let broken = text(&cluster.manager.log());
    is_little("a manager", &before, &broken);
    assert!(broken.contains("peer_unreachable"), "{broken}");
    // Then nobody leads: the node asks again and again.
    let before = text(&cluster.agents[0].log());
    let alone = text(&cluster.manager.log());
    cluster.manager_mut(1).kill();
    let start = Instant::now();
    until("a node without a leader", || {
        text(&cluster.agents[0].log()).contains("disconnected").then_some(())
    });
    while start.elapsed() < BROKEN {
        let _ = cluster.agents[0].skep(&["agent", "status"]);
        std::thread::park_timeout(Duration::from_millis(50));
    }
    is_little("a node", &before, &text(&cluster.agents[0].log()));
    is_little("a manager alone", &alone, &text(&cluster.manager.log()));
    // And it is over.
    for number in [1, 2] {
        cluster.bring_back(number);
    }
    cluster.agents[0].connected();
    // Whoever leads now.
    until("that it is over, in the log", || {
        let told = text(&cluster.manager.log()).matches("peer_back").count() >= 2;
        let node = text(&cluster.agents[0].log());
        let node = node.strip_prefix(&before)?.contains(" connected ");
        (told && node).then_some(())
    });
}
