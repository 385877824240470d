//! Users of a node against its agent: floods of its socket, claims without end, processes
//! that hide. Root gets through, the agent stays small, and gives back what it held.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::{Gid, Resource, Rlimit, Uid, setrlimit};
use rustix::thread::{set_thread_res_gid, set_thread_res_uid};

use cluster_tests::rpc::{local_channel, runtime};
use cluster_tests::{Agent, Cluster, binary, run, until};
use skep_client::transport::rpc::local::agent_client::AgentClient;
use skep_core::wire::local::ExecRequest;

/// A user that owns nothing.
const NOBODY: u32 = 65_534;
/// What a flood may add to the agent's memory.
const GROWTH_KIB: u64 = 48 * 1024;

fn pid(agent: &Agent) -> u32 {
    let file = agent.data().parent().expect("its folder").join("pid");
    fs::read_to_string(file).expect("a pid file").trim().parse().expect("a number")
}

fn descriptors(agent: &Agent) -> usize {
    fs::read_dir(format!("/proc/{}/fd", pid(agent))).expect("alive").count()
}

/// The agent's `status`, as it is for scripts.
fn status(agent: &Agent) -> serde_json::Value {
    let ran = agent.skep(&["agent", "status", "--format", "json"]).ok();
    serde_json::from_str(&ran).expect("an answer")
}

/// How many workloads of a service count.
fn workloads(agent: &Agent, service: &str) -> u64 {
    let status = status(agent);
    let services = status["services"].as_array().cloned().unwrap_or_default();
    let named = services.iter().find(|found| found["name"] == service);
    named.and_then(|found| found["workloads"].as_u64()).unwrap_or_default()
}

/// Makes the calling thread a user's: whom the kernel names where it connects.
fn become_user(uid: u32) {
    let (user, group) = (Uid::from_raw(uid), Gid::from_raw(uid));
    set_thread_res_gid(group, group, group).expect("a group");
    set_thread_res_uid(user, user, user).expect("a user");
}

fn as_user(uid: u32, mut command: Command) -> Command {
    command.uid(uid).gid(uid);
    command
}

// ---- HTTP/2 as no client of ours speaks it --------------------------------

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).expect("short").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), body].concat()
}

fn greeting() -> Vec<u8> {
    [PREFACE, &frame(4, 0, 0, &[])].concat()
}

/// Headers of a call to this path, none of them packed, with so many bytes more.
fn headers(path: &str, more: usize) -> Vec<u8> {
    let text = |text: &[u8]| [&[u8::try_from(text.len()).expect("short")], text].concat();
    let mut all = vec![0x83, 0x86, 0x04];
    all.extend(text(path.as_bytes()));
    all.extend([&[0x0f, 0x10][..], &text(b"application/grpc")].concat());
    for _ in 0..more / 100 {
        all.extend([&[0][..], &text(b"x-more"), &text(&[b'x'; 100])].concat());
    }
    all
}

/// One way to keep the agent busy: what is sent once connected, and again and again after.
type Way = (&'static str, fn(u32) -> Vec<u8>);

fn call(number: u32) -> u32 {
    number * 2 + 1
}

/// A message's head that promises much more than comes.
const PROMISE: &[u8] = &[0, 0x00, 0x3f, 0xff, 0xff];

const WAYS: &[Way] = &[
    ("says nothing", |_| Vec::new()),
    ("stops in its greeting", |_| PREFACE[..10].to_vec()),
    ("calls and sends half a body", |n| {
        let open = frame(1, END_HEADERS, call(n), &headers("/skep.local.v1.Agent/Exec", 0));
        let body = frame(0, 0, call(n), &[PROMISE, &[b'x'; 900]].concat());
        [open, body].concat()
    }),
    ("calls and sends a body without end", |n| {
        let open = frame(1, END_HEADERS, call(n), &headers("/skep.local.v1.Agent/Exec", 0));
        let body = frame(0, 0, call(n), &[0; 16_000]);
        [open, body.clone(), body].concat()
    }),
    ("calls with headers without end", |n| {
        frame(1, 0, call(n), &headers("/skep.local.v1.Agent/Exec", 8_000))
    }),
    ("goes on with headers without end", |n| match n {
        0 => frame(1, 0, 1, &headers("/skep.local.v1.Agent/Exec", 100)),
        _ => frame(9, 0, 1, &headers("/skep.local.v1.Agent/Exec", 8_000)),
    }),
    ("calls what it may not", |n| {
        let open = frame(1, END_HEADERS, call(n), &headers("/skep.local.v1.Agent/Status", 0));
        [open, frame(0, 0, call(n), &[0; 8_000])].concat()
    }),
    ("calls what there is not", |n| {
        frame(1, END_HEADERS, call(n), &headers("/skep.local.v1.Agent/Other", 0))
    }),
    ("calls and takes it back", |n| {
        let open = frame(1, END_HEADERS, call(n), &headers("/skep.local.v1.Agent/Exec", 0));
        [open, frame(3, 0, call(n), &[0, 0, 0, 8])].concat()
    }),
    ("asks whether it is alive, and reads no answer", |_| frame(6, 0, 0, &[7; 8]).repeat(50)),
];

/// As many connections as a user gets, each used in this way until the end.
fn flood(socket: &Path, uid: u32, (_, send): Way, end: &AtomicBool) {
    const WANTED: usize = 150;
    become_user(uid);
    let mut open: Vec<(UnixStream, u32)> = Vec::new();
    let mut some = [0; 4096];
    while !end.load(Ordering::Relaxed) {
        while open.len() < WANTED
            && let Ok(stream) = UnixStream::connect(socket)
        {
            stream.set_nonblocking(true).expect("a stream");
            open.push((stream, 0));
            if open.len().is_multiple_of(16) {
                break;
            }
        }
        open.retain_mut(|(stream, number)| {
            let bytes = send(*number);
            let first = if *number == 0 && !bytes.is_empty() { greeting() } else { Vec::new() };
            *number += 1;
            // What isn't taken waits: a connection that was put out says so.
            let wrote = stream.write(&[first, bytes].concat());
            let gone = |kind| !matches!(kind, std::io::ErrorKind::WouldBlock);
            let put_out = wrote.is_err_and(|error| gone(error.kind()));
            // One of them doesn't read at all.
            let read = if uid.is_multiple_of(2) { stream.read(&mut some) } else { Ok(1) };
            !put_out && !matches!(read, Ok(0))
        });
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

#[test]
fn p11_whoever_floods_the_socket_root_gets_through_and_the_agent_stays_small() {
    let cluster = Cluster::start(1);
    cluster.secret("a", b"1");
    cluster.service("web", "node-1", &["a"]);
    let agent = &cluster.agents[0];
    // Once before, so that what is made once is there.
    let _ = run(&mut agent.exec("web", &["true"]), b"").status(0);
    let (before, held) = (agent.memory("VmRSS"), descriptors(agent));
    let (socket, end) = (agent.socket(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for (number, way) in WAYS.iter().enumerate() {
            let uid = NOBODY - u32::try_from(number).expect("few");
            let (socket, end) = (&socket, &end);
            scope.spawn(move || flood(socket, uid, *way, end));
        }
        until("the flood", || (descriptors(agent) > held + 100).then_some(()));
        for round in 0..8 {
            assert_eq!(status(agent)["state"], "connected", "{round}");
            let ran = run(&mut agent.exec("web", &["cat", "/run/secrets/a"]), b"");
            assert_eq!(ran.ok(), "1", "{round}");
        }
        let mut shell = cluster.shell(0, "web");
        assert_eq!(shell.read("a"), "1");
        let revoked = cluster.skep(&["service", "revoke", "web", "a"]).status(0);
        assert!(revoked.err.contains("removed from 1/1"), "{}", revoked.err);
        assert_eq!(shell.read("a"), "gone");
        end.store(true, Ordering::Relaxed);
    });
    let most = agent.memory("VmHWM");
    println!("{before} KiB before, {most} KiB at most");
    assert!(most < before + GROWTH_KIB, "{before} KiB before, {most} KiB at most");
    until("what the flood held", || (descriptors(agent) <= held + 2).then_some(()));
}

// ---- claims ----------------------------------------------------------------

/// A cluster whose manager is away: what is claimed waits.
fn waiting(owner: &str) -> Cluster {
    let mut cluster = Cluster::start(1);
    cluster.secret("a", b"1");
    let words = ["service", "create", "web", "--node", "node-1", "--owner", owner];
    let _ = cluster.ok(&words);
    let _ = cluster.ok(&["service", "grant", "web", "a"]);
    until("the placement", || {
        let status = status(&cluster.agents[0]);
        status["services"].as_array().is_some_and(|all| !all.is_empty()).then_some(())
    });
    cluster.manager.kill();
    until("the loss", || (status(&cluster.agents[0])["state"] == "offline").then_some(()));
    cluster
}

#[test]
fn p11_a_claim_ends_with_its_call_and_a_process_is_one_workload() {
    let cluster = waiting("65534:65534");
    let agent = &cluster.agents[0];
    let (socket, held) = (agent.socket(), descriptors(agent));
    let (ready, is_ready) = std::sync::mpsc::channel();
    let (hang_up, gone) = tokio::sync::oneshot::channel::<()>();
    let (end, ends) = tokio::sync::oneshot::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            become_user(NOBODY);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                // All but the last one are told that the same process claims again.
                let mut claims: Vec<_> = (0..20).map(|_| Box::pin(claim(&socket))).collect();
                while claims.len() > 1 {
                    let (said, rest) = first_of(claims).await;
                    assert!(said.contains("claimed again"), "{said:?}");
                    claims = rest;
                }
                ready.send(()).expect("the test");
                let last = claims.remove(0);
                tokio::select! {
                    said = last => panic!("{said}"),
                    _ = gone => {}
                }
                // The process lives on.
                drop(ends.await);
            });
        });
        is_ready.recv().expect("the claims");
        assert_eq!(workloads(agent, "web"), 1);
        hang_up.send(()).expect("the claims");
        until("no claim", || (workloads(agent, "web") == 0).then_some(()));
        until("its descriptors", || (descriptors(agent) <= held).then_some(()));
        end.send(()).expect("the claims");
    });
}

/// Claims as the calling thread's user, and answers what was said to it.
async fn claim(socket: &Path) -> String {
    let mut client = AgentClient::new(local_channel(socket).await);
    let request = ExecRequest {
        service: "web".to_owned(),
        timeout_ms: 3_600_000,
        inside: false,
        on_change: String::new(),
    };
    format!("{:?}", client.exec(request).await)
}

/// The first of these that is done, and the others.
async fn first_of<F: Future + Unpin>(mut all: Vec<F>) -> (F::Output, Vec<F>) {
    let (at, done) = std::future::poll_fn(|context| {
        for (at, one) in all.iter_mut().enumerate() {
            if let std::task::Poll::Ready(done) = std::pin::Pin::new(one).poll(context) {
                return std::task::Poll::Ready((at, done));
            }
        }
        std::task::Poll::Pending
    })
    .await;
    drop(all.remove(at));
    (done, all)
}

#[test]
fn p11_a_users_claims_are_bounded_and_root_claims_beside_them() {
    const CLAIMS: usize = 140;
    const MOST: u64 = 128;
    let cluster = waiting("65534:65534");
    let agent = &cluster.agents[0];
    let claim = |uid| {
        let mut exec = as_user(uid, Command::new(binary()));
        exec.args(["exec", "--service", "web", "--timeout", "1h", "--agent-socket"]);
        exec.arg(agent.socket()).args(["--", "true"]);
        exec.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Ended(exec.spawn().expect("skep exec"))
    };
    let mut claims: Vec<Ended> = (0..CLAIMS).map(|_| claim(NOBODY)).collect();
    until("the answers", || {
        let waits = claims.iter_mut().filter_map(|one| one.0.try_wait().ok());
        let waits = waits.filter(Option::is_none).count();
        (u64::try_from(waits).ok()? <= MOST && workloads(agent, "web") == MOST).then_some(())
    });
    for one in &mut claims {
        let ended = one.0.try_wait().expect("a child");
        assert!(ended.is_none_or(|status| status.code() == Some(125)), "{ended:?}");
    }
    let root = claim(0);
    until("root's claim", || (workloads(agent, "web") == MOST + 1).then_some(()));
    drop((claims, root));
    until("no claim", || (workloads(agent, "web") == 0).then_some(()));
}

/// Killed with the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

// ---- what is held for workloads ---------------------------------------------

#[test]
fn p11_short_commands_beside_one_that_stays_leave_nothing_behind() {
    const COMMANDS: usize = 80;
    // Of this process and of all that it starts: 32 workloads fit into it.
    setrlimit(Resource::Nofile, Rlimit { current: Some(256), maximum: Some(256) }).expect("lower");
    for mount in ["tmpfs", "fuse"] {
        let cluster = Cluster::start(1);
        cluster.secret("a", b"1");
        let _ = cluster.ok(&["service", "create", "web", "--node", "node-1", "--mount", mount]);
        let _ = cluster.ok(&["service", "grant", "web", "a"]);
        let agent = &cluster.agents[0];
        let mut stays = cluster.shell(0, "web");
        // A process of it in a copy of its namespace: no other workload's.
        let nested = stays.line("unshare -m sleep 1000 >/dev/null 2>&1 & echo $!");
        until("a copy", || {
            let of = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/mnt")).ok();
            (of(&nested)? != of(&stays.pid().to_string())?).then_some(())
        });
        let _ = run(&mut agent.exec("web", &["true"]), b"").status(0);
        until("one workload", || (workloads(agent, "web") == 1).then_some(()));
        let held = descriptors(agent);
        for _ in 0..COMMANDS {
            let _ = run(&mut agent.exec("web", &["true"]), b"").status(0);
        }
        until("one workload again", || (workloads(agent, "web") == 1).then_some(()));
        until("its descriptors", || (descriptors(agent) <= held).then_some(()));
        assert_eq!(stays.read("a"), "1");
        stays.kill();
        // What it left behind counts still.
        until("the shell's end", || {
            (!Path::new(&format!("/proc/{}", stays.pid())).exists()).then_some(())
        });
        let _ = run(&mut agent.exec("web", &["true"]), b"").status(0);
        until("what is left", || (workloads(agent, "web") == 1).then_some(()));
        let _ = run(Command::new("kill").args(["-9", &nested]), b"").ok();
        until("nobody", || (workloads(agent, "web") == 0).then_some(()));
    }
}

#[test]
fn p11_no_name_of_a_process_or_a_mount_hides_a_workload() {
    let mut cluster = Cluster::start(1);
    cluster.secret("a", b"1");
    cluster.service("web", "node-1", &["a"]);
    let place = cluster.folder().join("place");
    fs::create_dir_all(&place).expect("a folder");
    let file = cluster.agents[0].file("web", "a");
    let mut shell = cluster.shell(0, "web");
    // In a copy of the namespace, with mounts whose names are no text, or look like others.
    let script = format!(
        "cd {} && for name in \"$(printf 'a\\377\\376')\" \"$(printf 'b\\nc d')\" '\\\\040'; do \
         mkdir -p \"$name\" && mount -t tmpfs none \"$name\" || exit 1; done; exec sleep 1000",
        place.display()
    );
    let path = cluster.file("nested", script.as_bytes());
    let nested = shell.line(&format!("unshare -m sh {path} >/dev/null 2>&1 & echo $!"));
    until("its mounts", || {
        let name = fs::read(format!("/proc/{nested}/comm")).ok()?;
        (name == b"sleep\n").then_some(())
    });
    assert_eq!(shell.end(), 0);
    // Long enough for looks to find it, or not: another workload comes and goes meanwhile.
    for _ in 0..3 {
        let _ = run(&mut cluster.agents[0].exec("web", &["true"]), b"").status(0);
    }
    until("it alone", || (workloads(&cluster.agents[0], "web") == 1).then_some(()));
    assert_eq!(fs::read(&file).expect("it is used"), b"1");
    // The next agent finds it too.
    cluster.agents[0].kill();
    cluster.agents[0].start_again();
    cluster.agents[0].connected();
    until("it alone again", || (workloads(&cluster.agents[0], "web") == 1).then_some(()));
    let _ = run(Command::new("kill").args(["-9", &nested]), b"").ok();
    until("the wipe", || (!file.exists()).then_some(()));

    // A program's name is what its file is called.
    let odd: PathBuf = cluster.folder().join(std::ffi::OsStr::from_bytes(b"sk\xff) R 1 (\xfe"));
    fs::copy(binary(), &odd).expect("a copy");
    let mut exec = Command::new(&odd);
    exec.args(["exec", "--service", "web", "--agent-socket"]).arg(cluster.agents[0].socket());
    let ran = run(exec.args(["--", "cat", "/run/secrets/a"]), b"");
    assert_eq!(ran.ok(), "1");
    until("nobody", || (workloads(&cluster.agents[0], "web") == 0).then_some(()));
}

#[test]
fn p11_a_process_that_has_one_services_secrets_gets_no_other_ones() {
    let cluster = Cluster::start(1);
    cluster.secret("a", b"1");
    cluster.service("web", "node-1", &["a"]);
    cluster.service("db", "node-1", &["a"]);
    let agent = &cluster.agents[0];
    let (skep, socket) = (binary(), agent.socket());
    let again = |service: &str, before: &str| {
        let line = format!(
            "{before} {} exec --agent-socket {} --service {service} -- cat /run/secrets/a",
            skep.display(),
            socket.display()
        );
        run(&mut agent.exec("web", &["sh", "-c", &line]), b"")
    };
    let refused = again("db", "exec").status(125);
    assert!(refused.err.contains("another service's secrets"), "{}", refused.err);
    // Those of the same one it may ask for again, as itself and as a child.
    for before in ["exec", "true &&"] {
        assert_eq!(again("web", before).ok(), "1", "{before}");
    }
    for service in ["web", "db"] {
        until("nobody", || (workloads(agent, service) == 0).then_some(()));
    }
    runtime().block_on(async {
        let mut client = AgentClient::new(local_channel(&socket).await);
        for service in ["", "a\u{1b}[2J", &"x".repeat(900), "web db"] {
            let request = ExecRequest {
                service: service.to_owned(),
                timeout_ms: 0,
                inside: false,
                on_change: String::new(),
            };
            let refused = client.exec(request).await.expect_err("no name");
            assert_eq!(refused.code(), tonic::Code::InvalidArgument, "{service}");
        }
        let request = ExecRequest {
            service: "x".repeat(2_000),
            timeout_ms: 0,
            inside: false,
            on_change: String::new(),
        };
        let refused = client.exec(request).await.expect_err("too long");
        assert_eq!(refused.code(), tonic::Code::OutOfRange);
    });
}
