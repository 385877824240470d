//! What a command under `skep exec` can count on: who may read, as whom it runs, and how it is
//! told that it doesn't.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};

use cluster_tests::{Cluster, Ran, run, until};

const KEY: &str = "/run/secrets/key";

/// A cluster of one agent with a service of this kind, granted `key`.
fn cluster(mount: &str) -> Cluster {
    let cluster = Cluster::start(1);
    cluster.secret("key", b"first");
    let _ = cluster.ok(&["service", "create", "web", "--node", "node-1", "--mount", mount]);
    let _ = cluster.ok(&["service", "grant", "web", "key"]);
    cluster
}

fn under(cluster: &Cluster, command: &[&str]) -> Ran {
    run(&mut cluster.agents[0].exec("web", command), b"")
}

/// A line for a shell that nobody ends: it goes on once this does well, and ends with the test.
fn within(cluster: &Cluster, does_well: &str) -> String {
    let folder = cluster.folder().display();
    format!("until {does_well}; do [ -d {folder} ] || exit 1; sleep 0.05; done")
}

#[test]
fn on_fuse_a_command_reads_also_from_a_namespace_that_it_made_itself() {
    let cluster = cluster("fuse");
    // What `ip netns exec` does: a copy of the namespace with another /sys.
    let netns = "mount --make-rslave / && umount -l /sys && mount -t sysfs none /sys && exec cat";
    let netns = format!("{netns} {KEY}");
    for command in [
        &["unshare", "--mount", "cat", KEY][..],
        &["unshare", "--net", "--mount", "sh", "-c", &netns],
        &["unshare", "--mount", "--user", "--map-root-user", "cat", KEY],
        &["unshare", "--mount", "unshare", "--mount", "--fork", "--pid", "cat", KEY],
        &["sh", "-c", "unshare --mount cat /run/secrets/key"],
    ] {
        assert_eq!(under(&cluster, command).ok(), "first", "{command:?}");
    }
    // One that is nobody's child any more, in a copy that a process made which has ended.
    let mut shell = cluster.shell(0, "web");
    assert_eq!(shell.read("key"), "first");
    let (go, said) = (cluster.folder().join("go"), cluster.folder().join("said"));
    let orphan = format!(
        "({}; cat {KEY} >{said} 2>&1; echo >>{said}) &",
        within(&cluster, &format!("[ -e {} ]", go.display())),
        said = said.display(),
    );
    assert_eq!(shell.line(&format!("unshare --mount sh -c '{orphan}'; echo left")), "left");
    std::fs::write(&go, "").expect("a file");
    let orphan = until("the orphan's word", || {
        std::fs::read_to_string(&said).ok().filter(|all| all.ends_with('\n'))
    });
    assert_eq!(orphan, "first\n");
    // Somebody else's namespace stays closed, also while a command runs.
    let path = cluster.agents[0].file("web", "key").display().to_string();
    for way in [&["--mount"][..], &["--mount", "--net"]] {
        let stranger = run(Command::new("unshare").args(way).args(["cat", &path]), b"");
        assert_eq!((stranger.status, &*stranger.out), (1, ""), "{}", stranger.err);
    }
}

/// The command is gone, and what it left runs in a copy of its namespace: it reads, also when
/// another agent took over, and whoever comes after it doesn't.
#[test]
fn on_fuse_what_a_command_left_in_a_copy_of_its_namespace_reads() {
    let mut cluster = cluster("fuse");
    let folder = cluster.folder().to_owned();
    let script = format!(
        "(for n in 1 2; do {}; {} >{folder}/said$n 2>&1; done) &",
        within(&cluster, &format!("[ -e {}/go$n ]", folder.display())),
        within(&cluster, &format!("cat {KEY}")),
        folder = folder.display(),
    );
    let mut left = cluster.agents[0].exec("web", &["unshare", "--mount", "sh", "-c", &script]);
    let mut left = left.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("skep");
    assert!(left.wait().expect("an end").success());
    let reads = |round: &str| {
        std::fs::write(folder.join(format!("go{round}")), "").expect("a file");
        until("the file in the copy", || {
            let all = std::fs::read_to_string(folder.join(format!("said{round}"))).ok()?;
            assert!(!all.contains("denied"), "{all}");
            all.ends_with("first").then_some(())
        });
    };
    reads("1");
    cluster.agents[0].kill();
    cluster.agents[0].start_again();
    cluster.agents[0].connected();
    reads("2");
    let path = cluster.agents[0].file("web", "key").display().to_string();
    until("the end of the last one", || {
        let shown = cluster.agents[0].skep(&["agent", "status", "--format", "json"]).out;
        let shown = serde_json::from_str::<serde_json::Value>(&shown).ok()?;
        shown["services"].as_array()?.iter().all(|one| one["workloads"] == 0).then_some(())
    });
    let stranger = run(Command::new("unshare").args(["--mount", "cat", &path]), b"");
    assert_ne!(stranger.status, 0, "{}", stranger.out);
}

/// A `skep exec` with these flags, which needs no more than the environment says.
fn exec(cluster: &Cluster, flags: &[&str], command: &[&str]) -> Command {
    let socket = cluster.agents[0].socket().display().to_string();
    let words = ["exec", "--agent-socket", &socket, "--service", "web"];
    cluster.command(&[&words[..], flags, &["--"], command].concat())
}

#[test]
fn a_command_of_another_user_has_that_users_surroundings() {
    let cluster = cluster("tmpfs");
    let script = "echo $HOME:$SHELL:${USER-none}:${LOGNAME-none}:$OTHER:$(id -u):$(id -g):$(id -G)";
    let said = |flags: &[&str]| {
        let mut command = exec(&cluster, flags, &["sh", "-c", script]);
        command.envs([("HOME", "/home/caller"), ("SHELL", "/bin/caller")]);
        command.envs([("USER", "caller"), ("LOGNAME", "caller"), ("OTHER", "stays")]);
        run(&mut command, b"").ok()
    };
    let passwd = run(Command::new("getent").args(["passwd", "daemon"]), b"").ok();
    let columns: Vec<&str> = passwd.split(':').collect();
    let (uid, gid, home, shell) = (columns[2], columns[3], columns[5], columns[6]);
    for user in ["daemon", uid] {
        let line = said(&["--user", user]);
        let whole = format!("{home}:{shell}:daemon:daemon:stays:{uid}:{gid}:");
        assert!(line.starts_with(&whole), "{line}");
    }
    let line = said(&["--user", &format!("{uid}:4343")]);
    assert_eq!(line, format!("{home}:{shell}:daemon:daemon:stays:{uid}:4343:4343"));
    // Nobody has this number.
    let bare = "/:/bin/sh:none:none:stays:424242";
    assert_eq!(said(&["--user", "424242"]), format!("{bare}:424242:424242"));
    assert_eq!(said(&["--user", "424242:7"]), format!("{bare}:7:7"));
    let caller = said(&[]);
    assert!(caller.starts_with("/home/caller:/bin/caller:caller:caller:stays:0:"), "{caller}");
    let nobody = run(&mut exec(&cluster, &["--user", "4294967295"], &["true"]), b"");
    assert!(nobody.err.contains("no such user or group: 4294967295"), "{}", nobody.err);
    assert_eq!(nobody.status, 125);
}

/// Runs it and tells in how many milliseconds it ended.
fn timed(command: &mut Command) -> (Ran, u128) {
    let begun = std::time::Instant::now();
    let ran = run(command, b"");
    (ran, begun.elapsed().as_millis())
}

#[test]
fn the_time_limit_is_all_that_is_waited_whoever_does_not_answer() {
    let mut cluster = cluster("tmpfs");
    // The machine may be busy: without the limit it is 10 s at least.
    let in_time = |(ran, took): (Ran, u128)| {
        assert_eq!(ran.status, 125, "{}", ran.err);
        assert!((1_500..6_000).contains(&took), "{took} ms: {}", ran.err);
        ran.err
    };
    let flags = ["--timeout", "2s"];
    cluster.agents[0].freeze();
    let err = in_time(timed(&mut exec(&cluster, &flags, &["true"])));
    assert!(err.contains("the agent did not answer within 2s"), "{err}");
    cluster.agents[0].resume();
    cluster.agents[0].connected();
    // The agent waits for a manager: it says why it has nothing.
    cluster.agents[0].kill();
    cluster.manager.kill();
    cluster.agents[0].start_again();
    until("an agent that looks for a manager", || {
        let state = cluster.agents[0].skep(&["agent", "status", "--format", "{{.State}}"]);
        state.out.starts_with("offline").then_some(())
    });
    let err = in_time(timed(&mut exec(&cluster, &flags, &["true"])));
    assert!(!err.contains("did not answer"), "{err}");
    // Somebody listens who never says a word.
    let silent = cluster.folder().join("silent");
    let _listener = std::os::unix::net::UnixListener::bind(&silent).expect("a socket");
    let silent = silent.display().to_string();
    let words = ["exec", "--agent-socket", &silent, "--service", "web", "--timeout", "2s", "--"];
    in_time(timed(&mut cluster.command(&[&words[..], &["true"]].concat())));
}

#[test]
fn what_is_typed_wrong_ends_with_125_wherever_it_stands() {
    let cluster = cluster("tmpfs");
    for words in [
        &["exec"][..],
        &["--nonsense", "exec"],
        &["exec", "--service"],
        &["exec", "--service", "web", "true"],
        &["exec", "--service", "web", "--timeout", "3x", "--", "true"],
        &["exec", "--service", "a b", "--", "true"],
        &["exec", "--service", "web", "--user", ":", "--", "true"],
        &["exec", "--config", "/none/cli.toml", "--service", "web", "--", "true"],
    ] {
        let socket = cluster.agents[0].socket();
        let ran = run(cluster.command(words).env("SKEP_AGENT", socket), b"").status(125);
        assert!(ran.err.starts_with("error: "), "{words:?}: {}", ran.err);
    }
    // Its own statuses are the command's.
    for status in [0, 1, 2, 3, 124] {
        let script = format!("exit {status}");
        assert_eq!(under(&cluster, &["sh", "-c", &script]).status, status);
    }
}

/// What a process sees of a file that it has mapped, before and after its line of input.
const MAPPER: &str = r"
import mmap, os, sys
fd = os.open('/run/secrets/key', os.O_RDONLY)
m = mmap.mmap(fd, 0, mmap.MAP_SHARED, mmap.PROT_READ)
print(m[:].decode(), flush=True)
sys.stdin.readline()
print(m[:].decode(), flush=True)
";

/// A kernel before 6.6 refuses them on FUSE.
fn shares_mappings() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("a kernel");
    let mut numbers = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    (numbers.next().expect("a number"), numbers.next().expect("a number")) >= (6, 6)
}

fn mapped(mount: &str) {
    let cluster = cluster(mount);
    let mut mapper = cluster.agents[0].exec("web", &["python3", "-c", MAPPER]);
    let mut mapper =
        mapper.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("skep exec");
    let mut said = BufReader::new(mapper.stdout.take().expect("its output")).lines();
    let first = said.next().expect("a line").expect("text");
    assert_eq!(first, "first");
    // A rotation leaves it what it has; a revoke takes it away.
    cluster.update("key", b"other");
    let _ = cluster.ok(&["service", "revoke", "web", "key"]);
    mapper.stdin.take().expect("its input").write_all(b"\n").expect("a line");
    assert!(said.next().is_none(), "the page is still there");
    let status = mapper.wait().expect("its end");
    assert_eq!(status.signal(), Some(7), "SIGBUS: {status:?}");
}

#[test]
fn p4_a_shared_mapping_shows_the_value_until_it_is_revoked_on_tmpfs() {
    mapped("tmpfs");
}

#[test]
fn p4_a_shared_mapping_shows_the_value_until_it_is_revoked_on_fuse() {
    if shares_mappings() {
        mapped("fuse");
    }
}

#[test]
fn where_the_agents_files_do_not_show_that_is_said() {
    for mount in ["tmpfs", "fuse"] {
        let cluster = cluster(mount);
        let _ = cluster.agents[0].skep(&["agent", "service", "up", "web"]).ok();
        // As in a container, or in a unit with mounts of its own.
        let script = format!(
            "grep -o ' {}[^ ]*' /proc/self/mounts | sort -r | xargs -r umount -l; exec \"$@\"",
            cluster.agents[0].root().display()
        );
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", &script, "sh"]);
        let exec = exec(&cluster, &[], &["true"]);
        command.arg(exec.get_program()).args(exec.get_args());
        let ran = run(&mut command, b"");
        assert_eq!(ran.status, 125, "{mount}: {}", ran.out);
        assert!(ran.err.contains("hint: the agent's files don't show here"), "{}", ran.err);
    }
}

#[test]
fn why_a_service_cannot_be_had_here_is_told_truly() {
    let cluster = cluster("tmpfs");
    let refused = |service: &str| {
        let ran = run(&mut cluster.agents[0].exec(service, &["true"]), b"");
        assert_eq!(ran.status, 125, "{service}: {}", ran.out);
        ran.err
    };
    let unknown = refused("nothing");
    assert!(unknown.contains("`skep service ls` shows whether there is one"), "{unknown}");
    let _ = cluster.ok(&["node", "update", "node-1", "--availability", "drain"]);
    let drained = until("the drained node's word", || {
        let said = refused("web");
        said.contains("the node is drained").then_some(said)
    });
    assert!(drained.contains("`skep node update NODE --availability active`"), "{drained}");
    let _ = cluster.ok(&["node", "update", "node-1", "--availability", "active"]);
    until("it to be placed again", || {
        (run(&mut cluster.agents[0].exec("web", &["true"]), b"").status == 0).then_some(())
    });
}
