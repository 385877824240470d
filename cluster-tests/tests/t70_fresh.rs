//! A service made with `--fresh`: beside its secrets stands when a manager last confirmed
//! that they are what is due.

use std::fs;

use cluster_tests::{Cluster, Exec, until};

/// Milliseconds since the machine's start.
fn boot_time() -> u64 {
    let uptime = fs::read_to_string("/proc/uptime").expect("the machine's age");
    let seconds: f64 = uptime.split(' ').next().and_then(|it| it.parse().ok()).expect("seconds");
    std::time::Duration::from_secs_f64(seconds).as_millis().try_into().expect("a time")
}

/// Revision, boot id and time, as they stand there; `None`: nothing does.
fn mark(shell: &mut Exec) -> Option<(u64, String, u64)> {
    let line = shell.line("cat /run/secrets/..fresh/at 2>/dev/null || echo");
    let mut words = line.split(' ');
    let mut word = || words.next().map(str::to_owned);
    let found = (word()?.parse().ok()?, word()?, word()?.parse().ok()?);
    assert_eq!(words.next(), None, "{line}");
    Some(found)
}

fn is_told(mount: &str) {
    let mut cluster = Cluster::start(1);
    cluster.secret("db", b"one");
    let words = ["service", "create", "--node", "node-1", "--mount", mount, "--fresh", "web"];
    let _ = cluster.ok(&words);
    let _ = cluster.ok(&["service", "grant", "web", "db"]);
    let shown = cluster.ok(&["service", "inspect", "web", "--format", "{{.Fresh}}"]);
    assert_eq!(shown, "true");
    let mut shell = cluster.shell(0, "web");
    assert_eq!(shell.read("db"), "one");
    until("the first mark", || mark(&mut shell).map(drop));
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("an id");
    let before = mark(&mut shell).expect("a mark");
    let folder = shell.line("stat -c %z /run/secrets");
    until("the next marks", || {
        let now = mark(&mut shell).expect("it never goes");
        assert_eq!(now.1, boot.trim());
        assert!(now.2 <= boot_time() + 10, "{now:?}");
        (now.2 > before.2 + 5_000).then_some(())
    });
    assert_eq!(shell.line("stat -c %z /run/secrets"), folder, "who watches the set is not woken");
    assert_eq!(shell.line("echo x >/run/secrets/..fresh/at; echo $?"), "2", "nobody writes there");
    let reads = cluster.ok(&["secret", "reads", "db", "--format", "{{.Executable}}"]);
    assert!(mount == "tmpfs" || reads.lines().count() == 1, "a mark is no secret: {reads}");

    // A change is confirmed as such.
    cluster.update("db", b"two");
    let view = cluster.ok(&["secret", "inspect", "db", "--format", "{{.Revision}}"]);
    let revision: u64 = view.parse().expect("a revision");
    until("a mark of the change", || {
        (mark(&mut shell).expect("it never goes").0 >= revision).then_some(())
    });
    assert_eq!(shell.read("db"), "two");

    // Who gets no answer writes down nothing.
    cluster.manager.freeze();
    let frozen = boot_time() + 10;
    until("the connection's end", || (!cluster.agents[0].is_connected()).then_some(()));
    let left = mark(&mut shell).expect("it stays");
    assert!(left.2 <= frozen, "{left:?} {frozen}");
    cluster.manager.resume();
    cluster.agents[0].connected();
    until("a mark again", || (mark(&mut shell).expect("it stays").2 > frozen).then_some(()));

    if mount == "tmpfs" {
        // Nor does an agent that is dead; the next one goes on.
        cluster.agents[0].kill();
        let left = mark(&mut shell).expect("it stays");
        assert!(left.2 <= boot_time() + 10);
        cluster.agents[0].start_again();
        cluster.agents[0].connected();
        until("the mark of the next", || {
            (mark(&mut shell).expect("it stays").2 > left.2).then_some(())
        });
    }
    let host = cluster.agents[0].file("web", "..fresh/at");
    assert!(fs::read_to_string(host).expect("a mark").contains(boot.trim()));

    let _ = cluster.ok(&["service", "update", "--fresh=false", "web"]);
    until("its end", || mark(&mut shell).is_none().then_some(()));
    assert_eq!(shell.read("db"), "two");
    let _ = cluster.ok(&["service", "update", "--fresh", "web"]);
    until("its return", || mark(&mut shell).map(drop));
    let _ = cluster.ok(&["service", "rm", "web"]);
    until("its end with the service", || mark(&mut shell).is_none().then_some(()));
    assert_eq!(shell.end(), 0);
}

#[test]
fn on_tmpfs_it_is_told_when_a_manager_last_confirmed_the_set() {
    is_told("tmpfs");
}

#[test]
fn on_fuse_it_is_told_when_a_manager_last_confirmed_the_set() {
    is_told("fuse");
}

#[test]
fn nothing_is_told_where_nobody_asked() {
    let cluster = Cluster::start(1);
    cluster.secret("db", b"one");
    cluster.service("web", "node-1", &["db"]);
    let mut shell = cluster.shell(0, "web");
    assert_eq!(shell.read("db"), "one");
    assert_eq!(shell.line("ls -a /run/secrets | grep -c fresh || true"), "0");
    assert_eq!(shell.end(), 0);
}
