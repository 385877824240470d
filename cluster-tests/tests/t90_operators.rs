//! Operators: what each role may, call by call as the page prints it, how they are made, and how
//! they end.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Gid, Uid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};
use tonic::Code;
use tonic::transport::Channel;

use cluster_tests::rpc::{broken_call, call, channel, identity, local_channel, runtime, tls};
use cluster_tests::{Cluster, Ran, play, run, shown_in, until};
use skep_client::machine::SystemClock;
use skep_client::transport::ClientTls;
use skep_client::transport::rpc::api::control_client::ControlClient;
use skep_core::wire::api;

const ROLES: [&str; 4] = ["viewer", "auditor", "editor", "admin"];
/// The first of four groups, one for each role.
const GROUP: u32 = 4711;
const NOBODY: u32 = 65534;

/// What would end the test's own cluster where it is allowed: it is sent with a body that no
/// message is. Whether it is allowed is decided before that is read.
const ENDING: [&str; 5] = [
    "Control/Lock",
    "Control/StepDown",
    "Control/LeaveCluster",
    "Control/Repair",
    "Delivery/Leave",
];

/// The page's table: of each call, by column, whether it is allowed.
fn printed() -> BTreeMap<String, BTreeMap<String, bool>> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operate/operators.md");
    let page = fs::read_to_string(page).expect("the page");
    let cells = |row: &str| -> Vec<String> {
        row.trim().trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    let mut lines = page.lines().skip_while(|line| !line.starts_with("| | no certificate"));
    let head = cells(lines.next().expect("the table's head"));
    let rows = lines.skip(1).take_while(|line| line.starts_with('|')).map(|line| {
        let row = cells(line);
        assert_eq!(row.len(), head.len(), "{line}");
        let marks = head.iter().zip(&row).skip(1);
        let name = row[0].trim_matches('`').to_owned();
        (name, marks.map(|(who, mark)| (who.clone(), mark == "yes")).collect())
    });
    rows.collect()
}

/// The path of a call that the page names.
fn path_of(name: &str) -> String {
    let package = if name.starts_with("Raft/") { "skep.raft.v1" } else { "skep.api.v1" };
    format!("/{package}.{name}")
}

/// How a call ends.
async fn ends(channel: &Channel, path: &str) -> Code {
    if ENDING.iter().any(|name| path_of(name) == path) {
        broken_call(channel, path).await
    } else {
        call(channel, path).await
    }
}

/// Makes an operator, and answers its identity file.
fn operator(cluster: &Cluster, name: &str, flags: &[&str]) -> PathBuf {
    let path = cluster.folder().join(format!("{name}.skepid"));
    let out = path.display().to_string();
    let words = [&["operator", "create", name, "--out", &out][..], flags].concat();
    let _ = cluster.ok(&words);
    path
}

/// The CLI as that operator, over mTLS.
fn by(cluster: &Cluster, identity: &Path, words: &[&str]) -> Ran {
    run(cluster.command(words).env("SKEP_IDENTITY", identity), b"value")
}

/// How the calls end of somebody who is in that group alone, over a manager's socket.
fn over_socket(socket: &Path, group: Option<u32>, paths: &[String]) -> Vec<Code> {
    let (socket, paths) = (socket.to_owned(), paths.to_vec());
    let caller = std::thread::spawn(move || {
        if let Some(group) = group {
            set_thread_groups(&[]).expect("no other groups");
            let (user, group) = (Uid::from_raw(NOBODY), Gid::from_raw(group));
            set_thread_res_gid(group, group, group).expect("a group");
            set_thread_res_uid(user, user, user).expect("a user");
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let channel = local_channel(&socket).await;
            let mut codes = Vec::new();
            for path in paths {
                codes.push(ends(&channel, &path).await);
            }
            codes
        })
    });
    caller.join().expect("calls")
}

/// Whether a call ended as its cell says. A follower sends on, or says who leads.
fn fits(allowed: bool, code: Code) -> bool {
    match code {
        Code::PermissionDenied => !allowed,
        Code::Unimplemented => false,
        _ => allowed,
    }
}

#[test]
fn every_call_cell_by_cell_as_the_page_prints_it_on_leader_and_followers() {
    let mut cluster = Cluster::start_with(3, 1);
    let roles: Vec<String> =
        (GROUP..).zip(ROLES).map(|(group, role)| format!("\"{group}={role}\"")).collect();
    let line = format!("socket-role = [{}]\n", roles.join(", "));
    fs::set_permissions(cluster.folder(), fs::Permissions::from_mode(0o711)).expect("a way");
    for number in 0..3 {
        let manager = cluster.manager_mut(number);
        let _ = manager.stop();
        manager.settings(|text| format!("{line}{text}"));
        let folder = manager.data().parent().expect("its folder").to_owned();
        fs::set_permissions(folder, fs::Permissions::from_mode(0o711)).expect("a way");
        cluster.bring_back(number);
        let _leads = cluster.leader();
    }
    let mut callers: Vec<(String, ClientTls)> = Vec::new();
    for role in ROLES {
        let name = format!("whole-{role}");
        let whole = operator(&cluster, &name, &["--role", role]);
        callers.push((role.to_owned(), tls(&identity(&whole))));
        let name = format!("scoped-{role}");
        let scoped = operator(&cluster, &name, &["--role", role, "--scope", "team-a."]);
        callers.push((format!("scoped {role}"), tls(&identity(&scoped))));
    }
    let admin = identity(&cluster.identity());
    let anonymous = ClientTls::anonymous(admin.fingerprint, Arc::new(SystemClock));
    callers.push(("no certificate".to_owned(), anonymous));
    let worker = identity(&cluster.agents[0].data().join("identity"));
    callers.push(("node".to_owned(), tls(&worker)));

    let table = printed();
    assert!(table.len() > 40, "only {} calls were found", table.len());
    let called: Vec<&String> = table.keys().collect();
    assert!(ENDING.iter().all(|name| table.contains_key(*name)), "a call of another name");
    let paths: Vec<String> = called.iter().map(|name| path_of(name)).collect();
    let until_all_know = || {
        cluster.managers().all(|manager| {
            manager.skep(&["operator", "ls", "--stale", "-q"]).ok().lines().count() == 9
        })
    };
    until("the operators on every manager", || until_all_know().then_some(()));
    let mut wrong = Vec::new();
    let mut compare = |how: &str, who: &str, at: &str, codes: Vec<Code>| {
        for (name, code) in called.iter().zip(codes) {
            let allowed = *table[*name].get(who).unwrap_or_else(|| panic!("no column {who}"));
            if !fits(allowed, code) {
                wrong.push(format!("{who} {name} over {how} at {at}: {code:?}"));
            }
        }
    };
    for manager in cluster.managers() {
        let at = manager.state_here();
        for (who, tls) in &callers {
            let codes = runtime().block_on(async {
                let channel = channel(&manager.address(), tls).await;
                let mut codes = Vec::new();
                for path in &paths {
                    codes.push(ends(&channel, path).await);
                }
                codes
            });
            compare("mTLS", who, &at, codes);
        }
        let only_api = |name: &str| name.starts_with("Control/");
        let on_socket: Vec<String> =
            called.iter().filter(|name| only_api(name)).map(|name| path_of(name)).collect();
        let groups = (GROUP..).zip(ROLES).map(|(group, role)| (role, Some(group)));
        for (who, group) in groups.chain([("root, the daemon's user", None)]) {
            let codes = over_socket(&manager.socket(), group, &on_socket);
            let asked = called.iter().filter(|name| only_api(name)).zip(codes);
            let all: BTreeMap<&str, Code> =
                asked.map(|(name, code)| (name.as_str(), code)).collect();
            // What the socket does not serve, the table allows nobody on it.
            let code = |name: &&String| {
                let denied = Code::PermissionDenied;
                all.get(name.as_str()).copied().unwrap_or(if table[*name][who] {
                    Code::Ok
                } else {
                    denied
                })
            };
            compare("the socket", who, &at, called.iter().map(code).collect());
        }
        let strangers = over_socket(&manager.socket(), Some(GROUP + 100), &on_socket);
        assert!(strangers.iter().all(|code| *code == Code::PermissionDenied), "{strangers:?}");
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Follows a delivery that never ends, and answers how long after `begun` it was cut.
fn cut_after(address: &str, identity_file: &Path, end: impl FnOnce() -> Instant) -> Duration {
    let tls = tls(&identity(identity_file));
    runtime().block_on(async {
        let mut control = ControlClient::new(channel(address, &tls).await);
        let request = api::WatchDeliveryRequest { revision: u64::MAX, ..Default::default() };
        let mut progress = control.watch_delivery(request).await.expect("a watch").into_inner();
        progress.message().await.expect("it goes on").expect("its first message");
        let begun = end();
        loop {
            let next = tokio::time::timeout(Duration::from_secs(30), progress.message()).await;
            match next.expect("it is cut in time") {
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => return begun.elapsed(),
            }
        }
    })
}

#[test]
fn p8_a_removed_operator_is_refused_everywhere_and_its_watches_are_cut_within_a_second() {
    let cluster = Cluster::start_with(3, 0);
    let leader = cluster.leader();
    let bea = operator(&cluster, "bea", &["--role", "editor"]);
    assert_eq!(by(&cluster, &bea, &["secret", "create", "one", "-"]).status, 0);
    let address = cluster.managers().nth(leader).expect("one").address();
    // A connection to each manager, made before.
    let tls = tls(&identity(&bea));
    let runtime = runtime();
    let open: Vec<_> = cluster
        .managers()
        .map(|manager| runtime.block_on(channel(&manager.address(), &tls)))
        .collect();
    let path = "/skep.api.v1.Control/Status";
    for channel in &open {
        assert_ne!(runtime.block_on(call(channel, path)), Code::PermissionDenied);
    }
    let took = cut_after(&address, &bea, || {
        let _ = cluster.ok(&["operator", "rm", "bea"]);
        Instant::now()
    });
    assert!(took <= Duration::from_secs(1), "{took:?}");
    let refused = by(&cluster, &bea, &["secret", "ls"]).status(1);
    assert!(refused.err.contains("not (or no longer) one of the cluster's"), "{}", refused.err);
    for manager in cluster.managers() {
        let stale = ["secret", "ls", "--stale", "--host", &manager.address()];
        let refused = |words: &[&str]| by(&cluster, &bea, words).status != 0;
        until("a refusal on every manager", || refused(&stale).then_some(()));
    }
    let listed = cluster.ok(&["operator", "ls", "--format", "{{.Name}}"]);
    assert_eq!(listed.trim(), "admin");
}

#[test]
fn an_identity_ends_at_its_time_to_live_and_is_not_renewed() {
    let cluster = Cluster::start(0);
    let begun = Instant::now();
    let ci = operator(&cluster, "ci", &["--role", "editor", "--ttl", "6s"]);
    assert_eq!(by(&cluster, &ci, &["secret", "create", "one", "-"]).status, 0);
    let ends = begun + Duration::from_secs(6);
    let took = cut_after(&cluster.manager.address(), &ci, || ends);
    // It was made a little after `begun`.
    assert!(took <= Duration::from_secs(3), "{took:?}");
    let refused = by(&cluster, &ci, &["secret", "ls"]);
    assert_eq!(refused.status, 24, "{}", refused.err);
    assert!(refused.err.contains("a time that is over"), "{}", refused.err);
    assert_eq!(by(&cluster, &ci, &["operator", "renew"]).status, 24);
    let state = || cluster.ok(&["operator", "ls", "--format", "{{.Name}} {{.State}}"]);
    assert!(state().contains("ci ended"), "{}", state());
    // Its name is free again, and the one before is not it.
    fs::remove_file(&ci).expect("its file");
    let again = operator(&cluster, "ci", &["--role", "viewer", "--ttl", "1h"]);
    assert!(state().contains("ci active"), "{}", state());
    assert_eq!(by(&cluster, &again, &["secret", "ls", "-q"]).ok().lines().count(), 1);
}

#[test]
fn a_key_stays_where_it_was_made_and_an_answer_completes_it() {
    let cluster = Cluster::start(0);
    let other = Cluster::start(0);
    let folder = cluster.folder();
    let at = |name: &str| folder.join(name).display().to_string();
    let own = cluster.ok(&["status", "--format", "{{.Fingerprint}}"]);
    let elsewhere = other.ok(&["status", "--format", "{{.Fingerprint}}"]);
    let request = |name: &str, fingerprint: &str| {
        let key = at(&format!("{name}.key"));
        let words = ["operator", "request", "--out", &key, "--fingerprint", fingerprint.trim()];
        cluster.file(&format!("{name}.request"), cluster.ok(&words).as_bytes())
    };
    let (dan, eve) = (request("dan", &own), request("eve", &elsewhere));
    let create = |name: &str, request: &str| {
        let out = at(&format!("{name}.answer"));
        let words = ["operator", "create", name, "--role", "viewer", "--request", request];
        cluster.skep(&[&words[..], &["--out", &out]].concat())
    };
    let refused = create("eve", &eve).status(1);
    assert!(refused.err.contains("for another cluster"), "{}", refused.err);
    assert!(!Path::new(&at("eve.answer")).exists(), "nothing is left of it");
    let told = create("dan", &dan).status(0);
    assert!(told.err.contains("skep operator accept"), "{}", told.err);

    let accept = |key: &str, out: &str| {
        let words = ["operator", "accept", &at("dan.answer"), "--key", &at(key), "--out", &at(out)];
        cluster.skep(&words)
    };
    let refused = accept("eve.key", "wrong.skepid").status(2);
    assert!(refused.err.contains("of another cluster"), "{}", refused.err);
    let _ = request("fay", &own);
    let refused = accept("fay.key", "wrong.skepid").status(2);
    assert!(refused.err.contains("made for another request"), "{}", refused.err);
    let done = accept("dan.key", "dan.skepid").status(0);
    assert!(done.err.contains(own.trim()), "{}", done.err);
    let mode = fs::metadata(at("dan.skepid")).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(by(&cluster, Path::new(&at("dan.skepid")), &["secret", "ls"]).status, 0);
    let twice = create("dan2", &dan).status(2);
    assert!(twice.err.contains("another operator has that key"), "{}", twice.err);

    // An edited request, an edited identity.
    let text = fs::read_to_string(&dan).expect("a request");
    let edited = cluster
        .file("edited", text.replacen("fingerprint = \"", "fingerprint = \" ", 1).as_bytes());
    let refused = create("gus", &edited).status(2);
    assert!(refused.err.contains("edited or damaged"), "{}", refused.err);
    let text = fs::read_to_string(at("dan.skepid")).expect("an identity");
    let edited =
        cluster.file("edited.skepid", text.replacen("cluster = \"", "cluster = \"x", 1).as_bytes());
    let refused = by(&cluster, Path::new(&edited), &["secret", "ls"]).status(2);
    assert!(refused.err.contains("edited or damaged"), "{}", refused.err);
}

#[test]
fn two_of_one_name_the_last_admin_and_a_lost_answer() {
    let cluster = Cluster::start(0);
    let _ = operator(&cluster, "bea", &["--role", "admin", "--scope", "team-a."]);
    let out = cluster.folder().join("again").display().to_string();
    let words = ["operator", "create", "BEA", "--role", "viewer", "--out", &out];
    let refused = cluster.skep(&words).status(1);
    assert!(refused.err.contains("operator bea already exists"), "{}", refused.err);
    assert!(refused.err.contains("`skep operator rm bea`"), "{}", refused.err);
    assert!(!Path::new(&out).exists());
    let refused = cluster.skep(&["operator", "rm", "admin"]).status(1);
    assert!(refused.err.contains("last admin"), "{}", refused.err);
    let _ = operator(&cluster, "max", &["--role", "admin"]);
    let _ = cluster.ok(&["operator", "rm", "admin"]);
    let refused = cluster.skep(&["secret", "ls"]).status(1);
    assert!(refused.err.contains("no longer"), "{}", refused.err);
    // Root on the manager's machine makes operators as well, and removes none that is the last.
    let out = cluster.folder().join("root-made.skepid").display().to_string();
    let made =
        cluster.manager.skep(&["operator", "create", "joe", "--role", "viewer", "--out", &out]);
    let _ = made.ok();
    assert_eq!(by(&cluster, Path::new(&out), &["secret", "ls"]).status, 0);
    let refused = cluster.manager.skep(&["operator", "rm", "max"]).status(1);
    assert!(refused.err.contains("last admin"), "{}", refused.err);
}

#[test]
fn an_unlock_key_makes_an_admin_and_every_status_says_so() {
    let cluster = Cluster::start_with(3, 0);
    let leader = cluster.leader();
    let follower = cluster.managers().nth((leader + 1) % 3).expect("a follower");
    let out = cluster.folder().join("eve.skepid").display().to_string();
    let recover = |key: &str, out: &str| {
        follower.skep(&["operator", "recover", "eve", "--key-file", key, "--out", out])
    };
    // A key of another cluster, and one that nobody has sealed to.
    let other = Cluster::start(0);
    let refused = recover(&other.unlock_key().display().to_string(), &out).status(7);
    assert!(refused.err.contains("is not one that unlocks every manager"), "{}", refused.err);
    let spare = cluster.folder().join("spare.key").display().to_string();
    let _ = follower.skep(&["unlock-key", "generate", "--out", &spare]).ok();
    assert_eq!(recover(&spare, &out).status, 7);
    assert!(!Path::new(&out).exists(), "nothing is left of it");

    let key = cluster.unlock_key().display().to_string();
    let made = recover(&key, &out).status(0);
    assert!(made.err.contains("for a week"), "{}", made.err);
    assert_eq!(by(&cluster, Path::new(&out), &["operator", "rm", "admin"]).status, 0);
    let warned = |manager: &cluster_tests::Manager| {
        let status = manager.skep(&["status"]);
        (status.status == 8 && status.out.contains("an unlock key made operator eve"))
            .then_some(())
            .or_else(|| status.err.contains("an unlock key made operator eve").then_some(()))
    };
    for manager in cluster.managers() {
        until("a warning", || warned(manager));
    }
    // Removed, it does nothing any more, and is told of still.
    let _ = by(
        &cluster,
        Path::new(&out),
        &[
            "operator",
            "create",
            "max",
            "--role",
            "admin",
            "--out",
            &spare.replace("spare.key", "max.skepid"),
        ],
    )
    .ok();
    let _ = follower.skep(&["operator", "rm", "eve"]).ok();
    let refused = by(&cluster, Path::new(&out), &["secret", "ls"]);
    assert_eq!(refused.status, 24, "{}", refused.err);
    let listed = follower.skep(&["operator", "ls", "--format", "{{.Name}} {{.State}}"]).ok();
    assert!(listed.contains("eve ended"), "{listed}");
    for manager in cluster.managers() {
        until("a warning", || warned(manager));
    }
}

#[test]
fn every_command_of_the_page_does_what_it_says_and_four_roles_may_what_it_says() {
    let shown = shown_in("operators.md");
    assert!(shown.len() > 12, "only {} commands were found", shown.len());
    let folder = tempfile::Builder::new().prefix("skep-operators-").tempdir().expect("a folder");
    let machines = ["m1", "web1", "web2", "desk"];
    play(folder.path(), &machines, include_str!("t90_operators.txt"), &shown);
}
