//! Who should not be there, what should not be sent, and a disk without room.

use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use tonic::{Code, Status};

use cluster_tests::rpc::{call, channel, identity, runtime, tls};
use cluster_tests::{Cluster, DEADLINE, Manager, binary, run, until};
use skep_client::machine::SystemClock;
use skep_client::transport::ClientTls;
use skep_client::transport::rpc::api::control_client::ControlClient;
use skep_client::transport::rpc::api::membership_client::MembershipClient;
use skep_core::wire::api;

/// The methods of these services, read from what both ends are generated from.
fn methods(proto: &str) -> Vec<String> {
    let (mut package, mut service, mut found) = ("", "", Vec::new());
    for line in proto.lines().map(str::trim) {
        let word = |rest: &'static str| line.strip_prefix(rest).map(str::trim_start);
        if let Some(rest) = word("package ") {
            package = rest.trim_end_matches(';');
        } else if let Some(rest) = word("service ") {
            service = rest.split_whitespace().next().unwrap_or_default();
        } else if let Some((name, _)) = word("rpc ").and_then(|rest| rest.split_once('(')) {
            found.push(format!("/{package}.{service}/{name}"));
        }
    }
    found
}

/// Who may call what over the network. `x`: allowed; `-`: denied; `!`: allowed,
/// and not called here for what it would do.
const TABLE: &[(&str, &str)] = &[
    //                            anonymous
    //                            | worker
    //                            | | admin
    ("Control/Status", "          - - x"),
    ("Control/PrepareInit", "     - - -"),
    ("Control/CommitInit", "      - - -"),
    ("Control/JoinCluster", "     - - -"),
    ("Control/LeaveCluster", "    - - -"),
    ("Control/Belonging", "       - - -"),
    ("Control/Move", "            - - -"),
    ("Control/UnlockHeader", "    - - -"),
    ("Control/Unlock", "          - - -"),
    ("Control/Lock", "            - - !"),
    ("Control/Repair", "          - - -"),
    ("Control/StepDown", "        - - !"),
    ("Control/MoveManager", "     - - x"),
    ("Control/ResetTime", "       - - x"),
    ("Control/PrepareIssuer", "   - - x"),
    ("Control/CommitIssuer", "    - - x"),
    ("Control/Intake", "          - - x"),
    ("Control/Apply", "           - - x"),
    ("Control/CreateToken", "     - - x"),
    ("Control/CreateOperator", "  - - x"),
    ("Control/PrepareRecover", "  - - -"),
    ("Control/RecoverOperator", " - - -"),
    ("Control/ListOperators", "   - - x"),
    ("Control/WatchDelivery", "   - - x"),
    ("Control/ListSecrets", "     - - x"),
    ("Control/ListServices", "    - - x"),
    ("Control/ListNodes", "       - - x"),
    ("Control/ListTokens", "      - - x"),
    ("Control/ListHolders", "     - - x"),
    ("Control/ListReads", "       - - x"),
    ("Control/Recipients", "      - - x"),
    ("Control/ReadAudit", "       - - x"),
    ("Control/Anchor", "          - - -"),
    ("Control/ShowCa", "          - - x"),
    ("Control/Resume", "          - - x"),
    ("Membership/Join", "         x - -"),
    ("Membership/Renew", "        - x x"),
    ("Membership/Renewed", "      - x x"),
    ("Delivery/Session", "        - x -"),
    ("Delivery/ReportOpened", "   - x -"),
    ("Delivery/Leave", "          - ! -"),
    ("Writing/PutIntake", "       - x -"),
    ("Writing/Put", "             - x -"),
    ("Writing/AnchorRecord", "    - x -"),
    ("Raft/Append", "             - - -"),
    ("Raft/Vote", "               - - -"),
    ("Raft/TransferLeader", "     - - -"),
    ("Raft/Snapshot", "           - - -"),
    ("Raft/Remember", "           - - -"),
    ("Raft/Release", "            - - -"),
    ("Raft/Vouch", "              - - -"),
];

#[test]
fn every_method_over_the_network_cell_by_cell_on_every_manager() {
    let cluster = Cluster::start_with(3, 1);
    let admin = identity(&cluster.identity());
    let worker = identity(&cluster.agents[0].data().join("identity"));
    let anonymous = ClientTls::anonymous(admin.fingerprint, Arc::new(SystemClock));
    let callers = [("anonymous", anonymous), ("a worker", tls(&worker)), ("an admin", tls(&admin))];
    let sources = ["api.proto", "raft.proto"].map(|name| {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/core/src/wire/proto").join(name)
    });
    let paths: Vec<String> = sources
        .iter()
        .flat_map(|path| methods(&fs::read_to_string(path).expect("proto")))
        .collect();
    assert_eq!(paths.len(), TABLE.len(), "a method without a row, or a row without a method");

    let mut wrong = Vec::new();
    for manager in cluster.managers() {
        let leads = manager.state_here() == "leader";
        for (column, (who, tls)) in callers.iter().enumerate() {
            let answers = runtime().block_on(async {
                let channel = channel(&manager.address(), tls).await;
                let mut answers = Vec::new();
                for path in &paths {
                    let row = TABLE.iter().find(|(name, _)| path.ends_with(&format!(".{name}")));
                    let (_, marks) = row.unwrap_or_else(|| panic!("{path} has no row"));
                    let mark = marks.split_whitespace().nth(column).expect("a mark");
                    if mark != "!" {
                        answers.push((path, mark, call(&channel, path).await));
                    }
                }
                answers
            });
            for (path, mark, code) in answers {
                let right = match (mark, code) {
                    ("-", code) => code == Code::PermissionDenied,
                    // A follower sends on to the leader, at once.
                    (_, Code::Unavailable) => !leads,
                    (_, code) => code != Code::PermissionDenied && code != Code::Unimplemented,
                };
                if !right {
                    wrong.push(format!("{who} {path} at {}: {code:?}", manager.address()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(cluster.ok(&["secret", "ls", "-q"]), "");
    assert!(cluster.ok(&["node", "ls"]).contains("node-1"));
}

#[test]
fn what_is_too_large_is_refused_and_the_manager_goes_on() {
    let cluster = Cluster::start(0);
    let admin = identity(&cluster.identity());
    let address = cluster.manager.address();
    let too_large = |answer: Result<(), Status>| {
        let code = answer.expect_err("refused").code();
        assert!(matches!(code, Code::OutOfRange | Code::ResourceExhausted), "{code:?}");
    };
    runtime().block_on(async {
        // An act of more than 4 MiB, and far more than that.
        for bytes in [5 << 20, 64 << 20] {
            let mut control = ControlClient::new(channel(&address, &tls(&admin)).await);
            let request =
                api::ApplyRequest { request_id: vec![0; bytes], ..api::ApplyRequest::default() };
            too_large(control.apply(request).await.map(drop));
        }
        let anonymous = ClientTls::anonymous(admin.fingerprint, Arc::new(SystemClock));
        let mut membership = MembershipClient::new(channel(&address, &anonymous).await);
        let request = api::JoinRequest { proof: vec![0; 17 * 1024], ..api::JoinRequest::default() };
        too_large(membership.join(request).await.map(drop));
    });
    cluster.secret("still-here", b"1");
}

#[test]
fn a_manager_of_another_cluster_in_the_place_of_ours_is_nobody() {
    let mut ours = Cluster::start_with(3, 0);
    let mut other = Cluster::start(0);
    ours.secret("ours", b"1");
    other.secret("other", b"1");
    // A stranger's token lets nobody in here.
    let token = other.ok(&["join-token", "manager", "-q"]);
    let mut stranger = Cluster::start(0);
    let lost = stranger.folder().join("lost");
    let new = Daemon::start(&lost, "127.0.0.1:0");
    let words = ["join", "--socket", &new.socket(), &ours.manager.address()];
    let refused = run(std::process::Command::new(binary()).args(words), token.as_bytes());
    assert_ne!(refused.status, 0, "a token of another cluster was good here");
    stranger.manager.kill();

    // The other cluster's manager takes over the address of one of ours.
    let leader = ours.leader();
    let victim = (leader + 1) % 3;
    let address = ours.manager_mut(victim).address();
    ours.manager_mut(victim).kill();
    other.manager.kill();
    let term =
        |ours: &Cluster| ours.managers().nth(leader).expect("one").status_here()["term"].clone();
    let before = term(&ours);
    let planted = Daemon::on(&other.manager, &address);
    let key = other.unlock_key().display().to_string();
    let _ = other.manager.here(&["unlock", "--key-file", &key]).ok();
    for number in 0..10 {
        ours.secret(&format!("s{number}"), b"v");
    }
    assert_eq!(ours.ok(&["secret", "ls", "-q"]).lines().count(), 11);
    let seen = other.manager.here(&["secret", "ls", "--format", "{{.Name}}"]).ok();
    assert_eq!(seen, "other", "what is ours reached another cluster");
    assert_eq!(term(&ours), before, "it caused an election");
    drop(planted);
    ours.bring_back(victim);
    until("its return", || (ours.manager_mut(victim).state_here() == "follower").then_some(()));
}

/// A manager process beside the fixtures'.
struct Daemon {
    child: std::process::Child,
    socket: PathBuf,
}

impl Daemon {
    fn start(folder: &Path, address: &str) -> Self {
        fs::create_dir_all(folder).expect("a folder");
        Self::run(&folder.join("data"), &folder.join("sock"), address)
    }

    /// On the data and the socket of one that was killed, at another address.
    fn on(manager: &Manager, address: &str) -> Self {
        Self::run(&manager.data(), &manager.socket(), address)
    }

    fn run(data: &Path, socket: &Path, address: &str) -> Self {
        let address = if address.ends_with(":0") { "127.0.0.1:24440" } else { address };
        let mut command = std::process::Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(binary());
        command.args(["manager", "run", "--listen", address, "--advertise", address]);
        command.arg("--data-dir").arg(data).arg("--socket").arg(socket);
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        let child = command.spawn().expect("a manager");
        let mut status = std::process::Command::new(binary());
        status.args(["status", "--socket"]).arg(socket);
        until("its socket", || run(&mut status, b"").out.contains("state").then_some(()));
        Self { child, socket: socket.to_owned() }
    }

    fn socket(&self) -> String {
        self.socket.display().to_string()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A small file system, taken away at the end.
struct Small(PathBuf);

impl Small {
    fn on(folder: &Path, size: &str) -> Self {
        fs::create_dir_all(folder).expect("a folder");
        let data = format!("size={size},mode=0755");
        let data = std::ffi::CString::new(data).expect("text");
        mount("tmpfs", folder, "tmpfs", MountFlags::empty(), data.as_c_str()).expect("a tmpfs");
        Self(folder.to_owned())
    }

    /// Takes what room there is.
    fn fill(&self) {
        let mut ballast = fs::File::create(self.0.join("ballast")).expect("a file");
        let block = vec![0; 64 * 1024];
        while ballast.write_all(&block).is_ok() {}
    }

    fn make_room(&self) {
        fs::remove_file(self.0.join("ballast")).expect("a file removed");
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _gone_already = unmount(&self.0, UnmountFlags::DETACH);
    }
}

#[test]
fn p3_a_manager_with_a_full_disk_ends_and_comes_back_once_there_is_room() {
    let mut cluster = Cluster::start_with(2, 0);
    let disk = Small::on(&cluster.folder().join("manager-3"), "96m");
    cluster.join_manager("manager-3");
    if cluster.leader() == 2 {
        let _ = cluster.ok(&["manager", "step-down", "--to", "manager-1"]);
    }
    disk.fill();
    // Room was made ahead for two segments of 16 MiB; this is more.
    let value = vec![7; 500_000];
    let mut client = cluster.client(DEADLINE);
    for number in 0..80 {
        let _ = client.create(&format!("large-{number}"), &value).ok();
    }
    assert_eq!(cluster.manager_mut(2).ended(), 21, "a failed write ends a manager");
    let log = fs::read_to_string(cluster.manager_mut(2).log()).unwrap_or_default();
    assert!(log.contains("No space left"), "it says why: {log}");
    for number in 0..5 {
        let _ = client.create(&format!("after-{number}"), b"v").ok();
    }

    disk.make_room();
    cluster.bring_back(2);
    until("its return", || (cluster.manager_mut(2).state_here() == "follower").then_some(()));
    let address = cluster.manager_mut(2).address();
    let mut alone = cluster_tests::Client::new(&cluster.identity(), vec![address], DEADLINE);
    until("all that was acknowledged", || (alone.secrets_there().ok().len() == 85).then_some(()));
    drop(disk);
}

/// Connects from one of many addresses of this machine.
fn knock(to: SocketAddr, number: usize) -> Option<TcpStream> {
    use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
    let from = std::net::Ipv4Addr::new(
        127,
        9,
        u8::try_from(number / 200 % 200).ok()?,
        1 + u8::try_from(number % 200).ok()?,
    );
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).ok()?;
    bind(&socket, &SocketAddr::from((from, 0))).ok()?;
    connect(&socket, &to).ok()?;
    Some(TcpStream::from(socket))
}

#[test]
fn a_flood_of_half_open_connections_costs_little_and_elects_nobody() {
    const CONNECTIONS: usize = 4_000;
    let cluster = Cluster::start_with(3, 1);
    cluster.secret("before", b"1");
    let leader = cluster.leader();
    let manager = cluster.managers().nth(leader).expect("the leader");
    let address: SocketAddr = manager.address().parse().expect("an address");
    let (term, memory) = (manager.status_here()["term"].clone(), manager.memory("VmRSS"));
    let mut client = cluster.client(DEADLINE);
    let mut open = Vec::new();
    for number in 0..CONNECTIONS {
        let Some(mut stream) = knock(address, number) else { continue };
        let _ = stream.set_write_timeout(Some(Duration::from_millis(50)));
        match number % 4 {
            // Nothing at all; a hello that does not end; a lie about its length; garbage.
            0 => {}
            1 => drop(stream.write_all(&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01])),
            2 => drop(stream.write_all(&[0x16, 0x03, 0x03, 0xff, 0xff])),
            _ => drop(stream.write_all(&[0xa5; 600])),
        }
        open.push(stream);
        if number % 400 == 0 {
            let _ = client.create(&format!("amid-{number}"), b"v").ok();
        }
    }
    assert!(open.len() > CONNECTIONS * 9 / 10, "only {} came through", open.len());
    let grown = manager.memory("VmRSS").saturating_sub(memory);
    println!("{} connections; {memory} kB before, {grown} kB more", open.len());
    // A real handshake now, and what was there goes on.
    let _ = cluster.client(DEADLINE).create("through", b"v").ok();
    assert!(cluster.agents[0].is_connected());
    assert!(grown < 64 * 1024, "{grown} kB for connections that said nothing");
    assert_eq!(manager.status_here()["term"], term, "it caused an election");
    assert_eq!(manager.state_here(), "leader");
    // Whoever says nothing is put out.
    let mut silent = open.swap_remove(0);
    let _ = silent.set_read_timeout(Some(DEADLINE));
    let end = silent.read(&mut [0; 8]).or_else(|error| match error.kind() {
        ErrorKind::ConnectionReset => Ok(0),
        _ => Err(error),
    });
    assert_eq!(end.expect("an end"), 0, "it was kept for ever");
}
