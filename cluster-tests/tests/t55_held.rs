//! A revoke that returns 0 is done, whatever resists on the node: flags, leases, what stands
//! in an agent's way (P4). And what hangs for one service holds up no other (P11).

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use cluster_tests::{Cluster, Exec, until};

/// `web` with three secrets on the one agent, and `other` with one.
fn cluster() -> Cluster {
    let cluster = Cluster::start(1);
    for name in ["one", "two", "three"] {
        cluster.secret(name, name.as_bytes());
    }
    cluster.service("web", "node-1", &["one", "two", "three"]);
    cluster.service("other", "node-1", &["three"]);
    cluster
}

fn left(open: &mut File) -> String {
    let mut rest = String::new();
    open.read_to_string(&mut rest).expect("a readable descriptor");
    rest
}

/// Where the memory of a service is mounted.
fn memory(cluster: &Cluster, service: &str) -> PathBuf {
    let id = cluster.ok(&["service", "inspect", service, "--format", "{{.Id}}"]);
    cluster.agents[0].root().join(".mounts").join(id)
}

/// The folder of the generation in place.
fn in_place(memory: &Path) -> PathBuf {
    let link = fs::read_link(memory.join("live/..data")).expect("a generation in place");
    memory.join("live").join(link)
}

fn chattr(flag: &str, path: &Path) {
    let done = Command::new("chattr").arg(flag).arg(path).status().expect("chattr");
    assert!(done.success(), "chattr {flag} {}", path.display());
}

/// Names in a folder that begin so and are longer.
fn named(folder: &Path, beginning: &str) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    let names = entries.map(|entry| entry.expect("a name").file_name().into_string());
    let names = names.map(|name| name.expect("text"));
    names.filter(|name| name.starts_with(beginning) && name != "..data").collect()
}

#[test]
fn what_a_rotation_replaced_goes_out_of_sight_by_itself() {
    let cluster = cluster();
    let _shell = cluster.shell(0, "web");
    let memory = memory(&cluster, "web");
    let mut replaced = Vec::new();
    for number in 1..=2_u8 {
        let folder = in_place(&memory);
        let name = folder.file_name().and_then(|name| name.to_str()).expect("a name");
        replaced.push(name.trim_start_matches('.').to_owned());
        cluster.update("one", &[b'0' + number; 20]);
    }
    until("what was replaced is out of sight, and kept", || {
        let mut old = named(&memory.join("old"), "");
        old.sort();
        (named(&memory.join("live"), "..").len() == 1 && old == replaced).then_some(())
    });
}

#[test]
fn p4_files_that_nobody_may_change_are_emptied_all_the_same() {
    let cluster = cluster();
    let shell = cluster.shell(0, "web");
    let folder = in_place(&memory(&cluster, "web"));
    let mut open = File::open(folder.join("one")).expect("a file");
    chattr("+i", &folder.join("one"));
    chattr("+a", &folder);
    let revoked = cluster.skep(&["service", "revoke", "web", "one"]);
    let _ = revoked.status(0);
    assert_eq!(left(&mut open), "");
    assert!(!folder.join("one").exists());
    // Nor does a rotation leave a former version that a later revoke forgets.
    let folder = in_place(&memory(&cluster, "web"));
    let mut open = File::open(folder.join("two")).expect("a file");
    chattr("+i", &folder.join("two"));
    cluster.update("two", b"second");
    let _ = cluster.skep(&["service", "revoke", "web", "two"]).status(0);
    assert_eq!(left(&mut open), "");
    assert_eq!(shell.end(), 0);
}

#[test]
fn p4_what_stands_in_the_way_of_a_starting_agent_is_held_until_it_is_gone() {
    for way in ["data.new/x", "manifest.json/x", "live-is-a-file", "mounted-over"] {
        let mut cluster = cluster();
        let mut shell = cluster.shell(0, "web");
        let memory = memory(&cluster, "web");
        let mut open = File::open(in_place(&memory).join("one")).expect("a file");
        cluster.agents[0].kill();
        match way {
            "live-is-a-file" => {
                fs::rename(memory.join("live"), memory.join("moved")).expect("moved");
                fs::write(memory.join("live"), b"").expect("written");
            }
            "mounted-over" => {
                let over = memory.to_str().expect("text");
                let done = Command::new("mount").args(["-t", "tmpfs", "theirs", over]).status();
                assert!(done.expect("mount").success());
            }
            path => {
                let path = memory.join(path);
                fs::remove_file(path.parent().expect("a folder")).ok();
                fs::create_dir_all(path).expect("made");
            }
        }
        cluster.agents[0].start_again();
        let _ = cluster.skep(&["service", "rm", "web"]).status(0);
        assert_eq!(left(&mut open), "", "{way}");
        assert_eq!(shell.read("one"), "gone", "{way}");
        until("nothing left of it", || {
            (!cluster.agents[0].root().join("web").exists()).then_some(())
        });
    }
}

/// Takes leases on the files that it finds, again and again, and doesn't let go of any.
const LEASES: &str = "\
import fcntl, os, signal, sys, time
signal.signal(signal.SIGIO, signal.SIG_IGN)
files = [os.open('/run/secrets/' + name, os.O_RDONLY) for name in ('one', 'two', 'three')]
end, said = time.time() + 300, False
while time.time() < end and os.getppid() > 1:
    got = 'none'
    for file in files:
        try:
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)
            got = 'leases'
        except OSError:
            pass
    if not said:
        print(got, flush=True)
    said = True
    time.sleep(0.01)
";

/// Has a shell take leases; whether it got any.
fn take_leases(cluster: &Cluster, shell: &mut Exec) -> String {
    let script = cluster.file("leases.py", LEASES.as_bytes());
    shell.line(&format!("python3 {script} &"))
}

#[test]
fn p4_p11_no_lease_of_a_workload_delays_a_revoke() {
    let cluster = cluster();
    let mut shell = cluster.shell(0, "web");
    assert_eq!(take_leases(&cluster, &mut shell), "none");
    let mut open = File::open(in_place(&memory(&cluster, "web")).join("one")).expect("a file");
    let _ = cluster.skep(&["service", "revoke", "web", "one", "two", "three"]).status(0);
    assert_eq!(left(&mut open), "");
}

#[test]
fn p4_p11_a_lease_taken_while_the_agent_was_away_leaves_its_own_revoke_pending_and_no_other() {
    let mut cluster = cluster();
    let mut shell = cluster.shell(0, "web");
    let other = cluster.shell(0, "other");
    let mut open = File::open(in_place(&memory(&cluster, "web")).join("one")).expect("a file");
    cluster.agents[0].kill();
    assert_eq!(take_leases(&cluster, &mut shell), "leases");
    cluster.agents[0].start_again();
    let revoke = ["service", "revoke", "web", "one", "two", "three", "--timeout", "5s"];
    let revoked = cluster.skep(&revoke);
    if revoked.status == 0 {
        assert_eq!(left(&mut open), "", "confirmed, and readable");
    } else {
        assert!(revoked.status(5).err.contains("node-1"));
    }
    // Another service's work goes on meanwhile.
    let _ = cluster.skep(&["service", "revoke", "other", "three"]).status(0);
    assert_eq!(other.end(), 0);
    // The kernel breaks a lease within 45 seconds, and the leader asks again within 30.
    let begun = Instant::now();
    while !cluster.ok(&["secret", "holders", "one", "-q"]).is_empty() {
        assert!(begun.elapsed() < Duration::from_mins(3), "it stays held");
        std::thread::park_timeout(Duration::from_millis(500));
    }
    assert_eq!(left(&mut open), "");
}
