//! Units of a real systemd: `LoadCredential=` from the agent's socket, files below
//! `/run/secrets` in a unit, rotation by hooks, what counts as running, and the units that a
//! registry's setup writes.

use std::fs;
use std::path::{Path, PathBuf};

use cluster_tests::{Booted, Cluster, until};

const AGENT: &str = "[Unit]
Description=skep agent
[Service]
Type=notify
ExecStart=@PROGRAMS@/skep agent run --manager MANAGER --name node-1 --token-file /etc/token --systemd
Restart=always
RestartSec=100ms
KillMode=process
FileDescriptorStoreMax=128
";

/// It writes down what it was given, and goes on.
const WEB: &str = "[Service]
Type=exec
LoadCredential=tls.key:/run/skep/credentials.sock
BindReadOnlyPaths=/run/secrets/web:/srv/secrets
ExecStart=/bin/sh -c 'cat \"$CREDENTIALS_DIRECTORY/tls.key\" >>/root/NAME.out; echo >>/root/NAME.out; exec sleep infinity'
ExecReload=/bin/sh -c 'echo reload $(cat /srv/secrets/tls.key) >>/root/NAME.out'
";

/// A manager outside, and a machine with an agent that systemd runs.
struct Fixture {
    cluster: Cluster,
    machine: Booted,
}

impl Fixture {
    fn start() -> Self {
        let cluster = Cluster::start(0);
        let machine = Booted::start(&cluster.folder().join("machine"));
        let token = cluster.ok(&["join-token", "worker", "-q", "--name", "node-1"]);
        fs::write(machine.root().join("etc/token"), token).expect("a token");
        let agent = AGENT.replace("MANAGER", &cluster.manager.address());
        machine.unit("skep-agent.service", &agent);
        let fixture = Self { cluster, machine };
        let _ = fixture.systemctl(&["start", "skep-agent.service"]);
        fixture.connected();
        fixture.cluster.secret("tls.key", b"one");
        let unit = ["--unit", "web.service", "--unit", "more@.service"];
        let create = ["service", "create", "web", "--node", "node-1"];
        let _ = fixture.cluster.ok(&[&create[..], &unit].concat());
        let _ = fixture.cluster.ok(&["service", "grant", "web", "tls.key"]);
        fixture.machine.unit("web.service", &WEB.replace("NAME", "web"));
        fixture.machine.unit("more@.service", &WEB.replace("NAME", "%i"));
        fixture
    }

    #[track_caller]
    fn systemctl(&self, words: &[&str]) -> String {
        self.machine.run(&[&["systemctl"], words].concat()).ok()
    }

    fn connected(&self) {
        until("the agent's session", || (self.agent("{{.State}}") == "connected").then_some(()));
    }

    fn agent(&self, format: &str) -> String {
        self.machine.skep(&["agent", "status", "--format", format]).out.trim().to_owned()
    }

    /// How many workloads the agent counts.
    fn workloads(&self) -> String {
        let status: serde_json::Value =
            serde_json::from_str(&self.agent("json")).unwrap_or_default();
        let services = status["services"].as_array().into_iter().flatten();
        let each = services
            .map(|one| format!("{}={}", one["name"].as_str().unwrap_or("?"), one["workloads"]));
        each.collect::<Vec<_>>().join(" ")
    }

    /// What systemd says of a unit.
    fn is(&self, unit: &str, state: &str) {
        let show = ["show", "--property=ActiveState", "--value", unit];
        until(state, || (self.systemctl(&show) == state).then_some(()));
    }

    fn counts(&self, wanted: &str) {
        until(wanted, || (self.workloads() == wanted).then_some(()));
    }

    fn out(&self, name: &str) -> PathBuf {
        self.machine.root().join("root").join(format!("{name}.out"))
    }

    fn says(&self, name: &str, all: &str) {
        until(all, || (reads(&self.out(name)) == all).then_some(()));
    }

    /// What the unit reads now in its own mount namespace.
    fn sees(&self, unit: &str) -> String {
        let pid = self.systemctl(&["show", "--property=MainPID", "--value", unit]);
        let words = ["nsenter", "--target", &pid, "--mount", "--", "cat", "/srv/secrets/tls.key"];
        self.machine.run(&words).ok()
    }

    fn main_pid(&self, unit: &str) -> String {
        self.systemctl(&["show", "--property=MainPID", "--value", unit])
    }

    /// How many connections systemd keeps for the next agent.
    fn kept(&self) -> String {
        let show = ["show", "--property=NFileDescriptorStore", "--value", "skep-agent.service"];
        self.systemctl(&show)
    }

    fn log(&self) -> String {
        self.machine.run(&["journalctl", "--no-pager", "--unit", "skep-agent.service"]).out
    }

    fn gone(&self) {
        until("nothing is left", || {
            (self.machine.run(&["ls", "/run/secrets/web"]).status != 0).then_some(())
        });
    }
}

fn reads(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

#[test]
fn a_unit_is_given_its_secrets_while_it_runs_and_they_are_gone_with_it() {
    let fixture = Fixture::start();
    assert_eq!(fixture.machine.run(&["ls", "/run/secrets/web"]).status, 2, "nothing runs");
    let _ = fixture.systemctl(&["start", "web.service"]);
    fixture.says("web", "one\n");
    fixture.counts("web=1");
    let held = ["secret", "holders", "tls.key", "--format", "{{.Node}} {{.State}} {{.Version}}"];
    assert_eq!(fixture.cluster.ok(&held), "node-1 held 1");
    assert_eq!(fixture.sees("web.service"), "one");
    // An instance of a template is a workload of its own.
    let _ = fixture.systemctl(&["start", "more@a.service"]);
    fixture.says("a", "one\n");
    fixture.counts("web=2");

    // Files rotate in the running unit; what it was given at its start is what it was.
    fixture.cluster.update("tls.key", b"two");
    assert_eq!(fixture.sees("web.service"), "two");
    assert_eq!(reads(&fixture.out("web")), "one\n");

    // The agent is killed and comes back, and a unit that runs counts again.
    let _ = fixture.systemctl(&["kill", "--signal=KILL", "skep-agent.service"]);
    until("the agent's end", || (fixture.agent("{{.State}}") != "connected").then_some(()));
    fixture.connected();
    fixture.counts("web=2");
    fixture.cluster.update("tls.key", b"three");
    assert_eq!(fixture.sees("web.service"), "three");
    let _ = fixture.systemctl(&["stop", "more@a.service"]);
    fixture.counts("web=1");
    let _ = fixture.systemctl(&["stop", "web.service"]);
    fixture.counts("web=0");
    fixture.gone();
    // What it left in its group would count: another process of the unit goes on here.
    let lasting = "[Service]\nType=oneshot\nRemainAfterExit=yes\nKillMode=none\nLoadCredential=tls.key:/run/skep/credentials.sock\nExecStart=/bin/sh -c 'sleep infinity & exit 0'\n";
    fixture.machine.unit("more@.service", lasting);
    let _ = fixture.systemctl(&["start", "more@b.service"]);
    fixture.counts("web=1");
}

#[test]
fn hooks_reload_and_restart_the_units_of_a_service() {
    let fixture = Fixture::start();
    let _ = fixture.cluster.ok(&["service", "update", "web", "--on-change", "restart"]);
    let _ = fixture.systemctl(&["start", "web.service"]);
    fixture.says("web", "one\n");
    fixture.cluster.update("tls.key", b"two");
    fixture.says("web", "one\ntwo\n");
    assert_eq!(fixture.systemctl(&["is-active", "web.service"]), "active");
    let _ = fixture.cluster.ok(&["service", "update", "web", "--on-change", "reload"]);
    fixture.cluster.update("tls.key", b"three");
    fixture.says("web", "one\ntwo\nreload three\n");
    // A unit that can't reload is named.
    let text = WEB.replace("NAME", "web").replace("ExecReload", "#ExecReload");
    fixture.machine.unit("web.service", &text);
    fixture.cluster.update("tls.key", b"four");
    let why = ["secret", "holders", "tls.key", "--format", "{{.Why}}"];
    let why = until("the failure", || {
        let why = fixture.cluster.ok(&why);
        why.contains("its hook failed").then_some(why)
    });
    assert!(why.contains("systemctl reload web.service ended with status"), "{why}");
}

#[test]
fn a_signal_hook_reaches_the_main_process_of_a_unit_alone() {
    let fixture = Fixture::start();
    let line =
        |who: &str| format!("trap 'echo {who} $(cat /srv/secrets/tls.key) >>/root/web.out' HUP");
    let lasts = "while :; do sleep infinity & wait $!; done";
    let child = format!("( {}; {lasts} ) &", line("child"));
    let script = format!("{}\n{child}\necho up >>/root/web.out\n{lasts}\n", line("main"));
    fs::write(fixture.machine.root().join("root/main.sh"), script).expect("a script");
    let unit = "[Service]\nType=exec\nLoadCredential=tls.key:/run/skep/credentials.sock\n\
                BindReadOnlyPaths=/run/secrets/web:/srv/secrets\nExecStart=/bin/sh /root/main.sh\n";
    fixture.machine.unit("web.service", unit);
    let _ = fixture.cluster.ok(&["service", "update", "web", "--on-change", "signal:HUP"]);
    let _ = fixture.systemctl(&["start", "web.service"]);
    fixture.says("web", "up\n");
    fixture.cluster.update("tls.key", b"two");
    fixture.says("web", "up\nmain two\n");
    fixture.cluster.update("tls.key", b"three");
    fixture.says("web", "up\nmain two\nmain three\n");
    assert_eq!(fixture.systemctl(&["is-active", "web.service"]), "active");
    // A unit that is not running has nobody to be told, and that is no failure.
    let _ = fixture.systemctl(&["start", "more@a.service"]);
    fixture.says("a", "three\n");
    let _ = fixture.systemctl(&["stop", "web.service"]);
    fixture.counts("web=1");
    fixture.cluster.update("tls.key", b"four");
    // The signal ends a program that doesn't know it; the other's unit stays as it was.
    fixture.is("more@a.service", "inactive");
    assert_eq!(reads(&fixture.out("web")), "up\nmain two\nmain three\n");
}

#[test]
fn a_unit_has_several_credentials_of_one_service_and_of_two() {
    let fixture = Fixture::start();
    fixture.cluster.secret("tls.crt", b"certificate");
    let _ = fixture.cluster.ok(&["service", "grant", "web", "tls.crt", "tls.crt:deep_name"]);
    let socket = "/run/skep/credentials.sock";
    let unit = |names: &[&str]| {
        let lines = names.iter().map(|name| format!("LoadCredential={name}:{socket}\n"));
        let shows = "cd \"$CREDENTIALS_DIRECTORY\"; for f in *; do echo \"$f $(cat $f)\"; done \
                     >/root/web.out; exec sleep infinity";
        let lines = lines.collect::<String>();
        format!("[Service]\nType=exec\n{lines}ExecStart=/bin/sh -c '{shows}'\n")
    };
    // One service: by the files' names, and by these behind the service's.
    let names = ["tls.key", "tls.crt", "web_tls.crt", "deep_name", "web_deep_name"];
    fixture.machine.unit("web.service", &unit(&names));
    let _ = fixture.systemctl(&["start", "web.service"]);
    let all = "deep_name certificate\ntls.crt certificate\ntls.key one\n\
               web_deep_name certificate\nweb_tls.crt certificate\n";
    fixture.says("web", all);
    fixture.counts("web=1");
    let _ = fixture.systemctl(&["stop", "web.service"]);
    fixture.counts("web=0");

    // Two services: each by its own name, of which one begins as the other.
    fixture.cluster.secret("other", b"another key");
    let create = ["service", "create", "web_a", "--node", "node-1", "--unit", "web.service"];
    let _ = fixture.cluster.ok(&create);
    let _ = fixture.cluster.ok(&["service", "grant", "web_a", "other:tls.key"]);
    fixture.machine.unit("web.service", &unit(&["web_tls.key", "web_a_tls.key", "web_tls.crt"]));
    let _ = fixture.systemctl(&["start", "web.service"]);
    fixture.says("web", "web_a_tls.key another key\nweb_tls.crt certificate\nweb_tls.key one\n");
    fixture.counts("web=1 web_a=1");
    for (service, file) in [("web", "tls.key"), ("web_a", "tls.key")] {
        let path = format!("/run/secrets/{service}/{file}");
        assert_eq!(fixture.machine.run(&["test", "-f", &path]).status, 0, "{path}");
    }
    let _ = fixture.systemctl(&["stop", "web.service"]);
    fixture.counts("web=0 web_a=0");
    fixture.gone();
    // A file's name alone could be either's: the unit doesn't start, and gets neither.
    fs::remove_file(fixture.out("web")).expect("a file");
    fixture.machine.unit("web.service", &unit(&["web_tls.key", "tls.key"]));
    let started = fixture.machine.run(&["systemctl", "start", "web.service"]);
    assert_ne!(started.status, 0);
    let why = "credential tls.key of unit web.service";
    until(why, || fixture.log().contains(why).then_some(()));
    assert!(!fixture.out("web").exists());
    fixture.counts("web=0 web_a=0");
}

#[test]
fn the_units_of_a_registry_that_was_set_up_run() {
    let fixture = Fixture::start();
    let (machine, cluster) = (&fixture.machine, &fixture.cluster);
    let out = cluster.folder().join("out").display().to_string();
    let words = ["setup", "hub", "--realm", "https://auth.example/auth", "--out", &out];
    let more = ["--registry-service", "hub.example", "--node", "node-1"];
    let _ = cluster.skep(&[&["registry"], &words[..], &more].concat()).status(0);
    let written = |name: &str| fs::read_to_string(Path::new(&out).join(name)).expect("a file");
    // The programs are where packages put them, and the machine's user is made as packages do.
    let programs = machine.root().join("opt/bin");
    fs::create_dir(&programs).expect("a folder");
    std::os::unix::fs::symlink("/opt/skep/skep", programs.join("skep")).expect("a link");
    let over = ["-o", "lowerdir=/opt/bin:/usr/bin", "/usr/bin"];
    let _ = machine.run(&[&["mount", "-t", "overlay", "overlay"], &over[..]].concat()).ok();
    let users = machine.root().join("etc/sysusers.d");
    fs::create_dir_all(&users).expect("a folder");
    fs::write(users.join("skep-registry.conf"), written("skep-registry.sysusers")).expect("it");
    let _ = machine.run(&["systemd-sysusers"]).ok();
    let (server, signer) = ("skep-registry-hub.service", "skep-registry-hub-signer.service");
    let timer = "skep-registry-hub-signer.timer";
    for name in [server, signer, timer] {
        machine.unit(name, &written(name));
    }
    let _ = machine.run(&["systemd-analyze", "verify", server, signer, timer]).ok();

    let _ = fixture.systemctl(&["start", server]);
    let health = ["/usr/bin/skep", "registry", "auth", "hub", "--health"];
    until("a server that gives tokens", || (machine.run(&health).status == 0).then_some(()));
    let pid = fixture.systemctl(&["show", "--property=MainPID", "--value", server]);
    let own = machine.run(&["pgrep", "-u", "skep-registry", "-x", "skep-registry"]);
    assert_eq!(own.status, 0, "it runs as a user of its own, below process {pid}");
    let record = "/var/lib/skep-registry/hub/audit";
    assert_eq!(machine.run(&["stat", "--format=%U", record]).ok(), "skep-registry");

    // The timer's service runs once, by the agent alone, and has nothing to do yet.
    let _ = cluster.ok(&["service", "update", "--node-add", "node-1", "hub.ca"]);
    let _ = fixture.systemctl(&["start", signer]);
    assert_eq!(fixture.systemctl(&["show", "--property=Result", "--value", signer]), "success");
    let versions = ["secret", "inspect", "hub.signer.crt", "--format", "{{.Version}}"];
    assert_eq!(cluster.ok(&versions), "1");
    // Once it is due it draws the next key, under the same unit.
    let forced = written(signer).replace(" --if-due", "");
    machine.unit(signer, &forced);
    let _ = fixture.systemctl(&["start", signer]);
    assert_eq!(cluster.ok(&versions), "2");
    until("tokens under the next key", || (machine.run(&health).status == 0).then_some(()));
    let _ = fixture.systemctl(&["start", timer]);
    assert_eq!(fixture.systemctl(&["is-active", timer]), "active");
    // A server that ends is started again, and its files are gone with it.
    let _ = fixture.systemctl(&["kill", "--signal=KILL", server]);
    until("another server", || {
        let now = fixture.systemctl(&["show", "--property=MainPID", "--value", server]);
        (now != pid && now != "0" && machine.run(&health).status == 0).then_some(())
    });
    let _ = fixture.systemctl(&["stop", server]);
    until("nothing is left", || {
        (machine.run(&["ls", "/run/secrets/hub.auth"]).status != 0).then_some(())
    });
}

#[test]
fn a_connection_is_held_until_the_secret_is_there_and_fails_closed_where_it_cannot_be() {
    let fixture = Fixture::start();
    // Nobody answers the agent: the unit's start waits.
    fixture.cluster.manager.freeze();
    let _ = fixture.systemctl(&["start", "--no-block", "web.service"]);
    fixture.is("web.service", "activating");
    assert_eq!(reads(&fixture.out("web")), "");
    fixture.cluster.manager.resume();
    fixture.says("web", "one\n");
    let _ = fixture.systemctl(&["stop", "web.service"]);
    fixture.gone();

    // An agent that is killed meanwhile gives no empty value either: the next one answers, and
    // the one after that.
    fixture.cluster.manager.freeze();
    let _ = fixture.systemctl(&["start", "--no-block", "web.service", "more@k.service"]);
    let waiting = || {
        fixture.is("web.service", "activating");
        fixture.is("more@k.service", "activating");
        until("two connections that systemd keeps", || (fixture.kept() == "2").then_some(()));
    };
    for _ in 0..2 {
        waiting();
        let before = fixture.main_pid("skep-agent.service");
        let _ = fixture.systemctl(&["kill", "--signal=KILL", "skep-agent.service"]);
        until("the next agent", || {
            let now = fixture.main_pid("skep-agent.service");
            (now != "0" && now != before && !fixture.agent("{{.State}}").is_empty()).then_some(())
        });
    }
    waiting();
    assert_eq!(reads(&fixture.out("web")), "one\n");
    assert_eq!(reads(&fixture.out("k")), "");
    fixture.cluster.manager.resume();
    fixture.says("web", "one\none\n");
    fixture.says("k", "one\n");
    assert_eq!(fixture.kept(), "0");
    let _ = fixture.systemctl(&["stop", "web.service", "more@k.service"]);
    fixture.gone();

    // An agent that stops meanwhile refuses, and gives no empty value.
    let plain = "[Service]\nType=exec\nLoadCredential=tls.key:/run/skep/credentials.sock\nExecStart=/bin/touch /root/started\n";
    fixture.machine.unit("more@s.service", plain);
    fixture.cluster.manager.freeze();
    let _ = fixture.systemctl(&["start", "--no-block", "more@s.service"]);
    fixture.is("more@s.service", "activating");
    let _ = fixture.systemctl(&["stop", "skep-agent.service"]);
    fixture.is("more@s.service", "failed");
    assert!(!fixture.machine.root().join("root/started").exists());
    fixture.cluster.manager.resume();
    let _ = fixture.systemctl(&["start", "skep-agent.service"]);
    fixture.connected();

    // Each of these ends at once, and starts nothing.
    let refused = |name: &str, line: &str, why: &str| {
        let text = format!(
            "[Service]\nType=exec\nLoadCredential={line}\nExecStart=/bin/touch /root/started\n"
        );
        fixture.machine.unit(name, &text);
        let started = fixture.machine.run(&["systemctl", "start", name]);
        assert_ne!(started.status, 0, "{line}");
        assert!(!fixture.machine.root().join("root/started").exists(), "{line}");
        until(why, || fixture.log().contains(why).then_some(()));
    };
    let socket = "/run/skep/credentials.sock";
    let why =
        "no service that is placed on this node means credential tls.key of unit other.service";
    refused("other.service", &format!("tls.key:{socket}"), why);
    refused("more@x.service", &format!("absent:{socket}"), "it has no file absent");
    let _ =
        fixture.cluster.ok(&["service", "create", "kept", "--node", "node-1", "--mount", "fuse"]);
    let _ = fixture.cluster.ok(&["service", "update", "kept", "--unit-add", "kept.service"]);
    let _ = fixture.cluster.ok(&["service", "grant", "kept", "tls.key"]);
    refused("kept.service", &format!("tls.key:{socket}"), "it is served by FUSE");

    // Who is not of the unit, whatever it calls itself, and who is not root.
    let ask = "import socket
s = socket.socket(socket.AF_UNIX)
s.bind('\\0' + 'f00/unit/web.service/tls.key')
s.connect('/run/skep/credentials.sock')
s.shutdown(socket.SHUT_WR)
n = 0
while True:
    part = s.recv(65536)
    if not part: break
    n += len(part)
print(n)";
    assert_eq!(fixture.machine.run(&["python3", "-c", ask]).ok(), (1024 * 1024 + 1).to_string());
    until("the refusal", || fixture.log().contains("is not of unit web.service").then_some(()));
    let other = ["setpriv", "--reuid=33", "--regid=33", "--clear-groups", "python3", "-c", ask];
    let denied = fixture.machine.run(&other);
    assert!(denied.err.contains("PermissionError"), "{denied:?}");
    let mode = fixture.machine.run(&["stat", "--format=%a %u", socket]).ok();
    assert_eq!(mode, "600 0");
    let _ = fixture.machine.run(&["chmod", "0666", socket]).ok();
    assert_eq!(fixture.machine.run(&other).ok(), (1024 * 1024 + 1).to_string());
    until("the refusal", || {
        fixture.log().contains("uid=33 why=\"only root may ask\"").then_some(())
    });
}
