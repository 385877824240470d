//! The issuing CA, replaced: everybody renews, whoever is away comes back, and what the old key
//! signs is good for nothing.

use std::path::Path;

use cluster_tests::rpc::{channel, identity, runtime, tls};
use cluster_tests::{Cluster, KeyFileOpened, Manager, Ran, StolenIssuer, until};
use serde_json::Value;
use skep_client::ca::{CertificateRole, PrivateKey, Root};
use skep_client::transport::rpc::api::control_client::ControlClient;
use skep_client::transport::{ClientTls, read_problem, serve};
use skep_core::base::{ClusterId, ManagerPlaces, SecretBytes, Stamp};
use skep_core::seal::{SealedToRecipients, UnlockKey};
use skep_core::wire::api;
use tonic::service::Routes;
use tonic::transport::Channel;

/// What is said of an issuing CA that was replaced.
const RETIRED: &str = "an issuing CA that is in use no more";

fn shown(cluster: &Cluster) -> Value {
    let shown = cluster.ok(&["ca", "show", "--format", "json"]);
    serde_json::from_str(&shown).expect("JSON")
}

/// The names in it that have not renewed, but for operators.
fn lagging(shown: &Value) -> Vec<&str> {
    let all = shown["not_renewed"].as_array().expect("a list").iter();
    let nodes = all.filter(|one| one["role"] != "operator");
    nodes.map(|one| one["name"].as_str().expect("a name")).collect()
}

fn rotate(cluster: &Cluster, words: &[&str]) -> Ran {
    let key = cluster.unlock_key().display().to_string();
    cluster.skep(&[&["ca", "rotate", "--key-file", &key], words].concat())
}

fn says(log: &Path, what: &str) {
    until(what, || std::fs::read_to_string(log).ok()?.contains(what).then_some(()));
}

fn unlock_key(cluster: &Cluster) -> UnlockKey {
    UnlockKey::parse(&std::fs::read(cluster.unlock_key()).expect("a file")).expect("a key")
}

/// Signs what the leader made, as the command does.
fn signed(cluster: &Cluster, prepared: &api::PrepareIssuerReply) -> Vec<u8> {
    let id = ClusterId::try_from(prepared.cluster_id.as_slice()).expect("an id");
    let context = [b"root key".as_slice(), id.as_bytes()].concat();
    let key = unlock_key(cluster);
    let opened = SealedToRecipients::open(&prepared.sealed_root_key, &context, &key);
    let key = PrivateKey::from_pkcs8(opened.expect("the root's key")).expect("a key");
    let root = Root::new(prepared.root.clone(), key).expect("the root");
    let (now, after) = (Stamp(prepared.issuer + 3_600_000), Stamp(prepared.issuer));
    root.sign_issuing_after(&prepared.issuing_public, id, now, after).expect("signed")
}

async fn prepare(admin: &mut ControlClient<Channel>) -> api::PrepareIssuerReply {
    let prepared = admin.prepare_issuer(api::PrepareIssuerRequest {}).await;
    prepared.expect("a key").into_inner()
}

/// How the commit of a certificate is refused.
async fn refused(admin: &mut ControlClient<Channel>, public: &[u8], issuing: Vec<u8>) -> String {
    let (issuing_public, request_id) = (public.to_vec(), vec![7; 16]);
    let request = api::CommitIssuerRequest { issuing_public, issuing, request_id };
    let status = admin.commit_issuer(request).await.expect_err("refused");
    read_problem(&status).expect("a problem").text
}

/// How a call ends that any operator may make.
async fn asked(address: &str, tls: &ClientTls) -> Result<(), String> {
    let mut control = ControlClient::new(channel(address, tls).await);
    let asked = control.show_ca(api::ShowCaRequest { stale: true }).await;
    asked.map(drop).map_err(|status| read_problem(&status).expect("a problem").text)
}

#[test]
fn everybody_renews_and_what_the_old_key_signs_is_refused() {
    let mut cluster = Cluster::start_with(3, 2);
    cluster.secret("db", b"one");
    cluster.service("web", "node-1", &["db"]);
    let mut shell = cluster.shell(0, "web");
    assert_eq!(shell.read("db"), "one");
    let token = cluster.ok(&["join-token", "worker", "-q"]);
    let (unlock, copy) = (cluster.unlock_key(), cluster.folder().join("copied"));
    let stolen = StolenIssuer::of(&cluster.manager, &unlock, &copy);
    let before = shown(&cluster);
    assert!(before["rotating_since"].is_null() && lagging(&before).is_empty(), "{before}");
    cluster.agents[1].kill();

    let ran = rotate(&cluster, &["--timeout", "3m"]).status(0);
    assert!(ran.err.contains("renewed 4/5 nodes; passed over: node-2 (down since "), "{}", ran.err);
    let after = shown(&cluster);
    assert_eq!(lagging(&after), ["node-2"]);
    assert!(after["rotating_since"].is_null(), "{after}");
    assert_eq!(after["fingerprint"], before["fingerprint"]);
    assert_eq!(after["root"], before["root"]);
    assert_ne!(after["issuing"], before["issuing"]);
    assert_eq!(after["oldest_issuer"], after["issuing"]["begins"]);
    cluster.update("db", b"two");
    until("the new value", || (shell.read("db") == "two").then_some(()));

    // Who was away comes back, and a token from before is good.
    cluster.agents[1].start_again();
    cluster.agents[1].connected();
    until("its renewal", || lagging(&shown(&cluster)).is_empty().then_some(()));
    cluster.begin_join_by("node-3", &token).connected();
    assert!(lagging(&shown(&cluster)).is_empty());

    // Listed id and key, and the old issuing key's word.
    let admin = identity(&cluster.identity());
    let leaf = skep_client::ca::read_leaf(&admin.chain[0]).expect("a leaf");
    let key = SecretBytes::copy_of(admin.key.expose());
    let minted = stolen.tls(leaf.subject.role, "admin", Some(&key));
    let addresses: Vec<String> = cluster.managers().map(Manager::address).collect();
    for address in &addresses {
        let answer = runtime().block_on(asked(address, &minted));
        let why = answer.expect_err("refused");
        assert!(why.contains(RETIRED), "{why}");
        assert_eq!(runtime().block_on(asked(address, &tls(&admin))), Ok(()), "its own is good");
    }

    // A server that the old key made, in the place of a manager, with that manager's own key.
    let first = KeyFileOpened::of(&cluster.manager, &unlock);
    let role = CertificateRole::Manager(first.node);
    let server = stolen.server(role, "manager-1", &first.body.tls_key);
    cluster.manager.kill();
    let address = addresses[0].clone();
    let runtime = runtime();
    runtime.spawn(async move {
        let listener = tokio::net::TcpListener::bind(&address).await.expect("its port");
        let places = ManagerPlaces::default();
        serve(listener, server, Routes::default(), &places, std::future::pending()).await
    });
    until("the false manager", || std::net::TcpStream::connect(&addresses[0]).ok());
    let ran = cluster.skep(&["ca", "show", "--host", &addresses[0], "--timeout", "2s"]).status(3);
    assert!(ran.err.contains(RETIRED), "{}", ran.err);
    cluster.agents[0].kill();
    cluster.agents[0].start_again();
    says(&cluster.agents[0].log(), RETIRED);
    cluster.agents[0].connected();
    // The one of the others that leads now connects to it; who follows need not.
    until("a manager that refuses it", || {
        let said = |manager: &Manager| std::fs::read_to_string(manager.log()).ok();
        let mut logs = cluster.others.iter().filter_map(said);
        logs.any(|log| log.contains(RETIRED)).then_some(())
    });
}

#[test]
fn one_rotation_at_a_time_and_only_with_the_right_key() {
    let cluster = Cluster::start(1);
    let other = cluster.folder().join("other").display().to_string();
    let _ = cluster.ok(&["unlock-key", "generate", "--out", &other]);
    let ran = cluster.skep(&["ca", "rotate", "--key-file", &other]).status(7);
    assert!(ran.err.contains("the root's key is not sealed to this unlock key"), "{}", ran.err);
    let foreign = ["unlock-key", "generate", "--fingerprint", &"5f".repeat(32), "--out"];
    let foreign_out = cluster.folder().join("foreign").display().to_string();
    let _ = cluster.ok(&[&foreign[..], &[&foreign_out]].concat());
    let ran = cluster.skep(&["ca", "rotate", "--key-file", &foreign_out]).status(7);
    assert!(ran.err.contains("is for another cluster"), "{}", ran.err);
    assert!(shown(&cluster)["rotating_since"].is_null(), "nothing was changed");

    let (address, tls) = (cluster.manager.address(), tls(&identity(&cluster.identity())));
    runtime().block_on(async {
        let mut admin = ControlClient::new(channel(&address, &tls).await);
        // The second one's key takes the place of the first one's.
        let first = prepare(&mut admin).await;
        let second = prepare(&mut admin).await;
        let late = refused(&mut admin, &first.issuing_public, signed(&cluster, &first)).await;
        assert!(late.contains("the leader has no key for this certificate"), "{late}");
        // A certificate for another key, and what is none at all.
        let odd = refused(&mut admin, &second.issuing_public, signed(&cluster, &first)).await;
        assert!(odd.contains("the issuing certificate"), "{odd}");
        let third = prepare(&mut admin).await;
        let odd = refused(&mut admin, &third.issuing_public, vec![0x30; 900]).await;
        assert!(odd.contains("the issuing certificate"), "{odd}");
        let long = refused(&mut admin, &third.issuing_public, vec![0x30; 20_000]).await;
        assert!(long.contains("too long"), "{long}");
    });
    // An agent that hangs is in touch for a while.
    cluster.agents[0].freeze();
    let ran = rotate(&cluster, &["--detach"]).status(0);
    assert!(ran.err.contains("the issuing CA was replaced"), "{}", ran.err);
    let ran = rotate(&cluster, &[]).status(1);
    assert!(ran.err.contains("is being replaced already"), "{}", ran.err);
    cluster.agents[0].resume();
    until("its end", || {
        let shown = shown(&cluster);
        (shown["rotating_since"].is_null() && lagging(&shown).is_empty()).then_some(())
    });
    let _ = rotate(&cluster, &[]).status(0);
}

#[test]
fn a_leader_that_is_killed_between_the_steps_leaves_nothing_behind() {
    let mut cluster = Cluster::start_with(3, 0);
    let tls = tls(&identity(&cluster.identity()));
    let leader = cluster.leader();
    let runtime = runtime();
    let connect_to = async |address: &str| ControlClient::new(channel(address, &tls).await);
    let address = cluster.managers().nth(leader).expect("the leader").address();
    let prepared = runtime.block_on(async { prepare(&mut connect_to(&address).await).await });
    let issuing = signed(&cluster, &prepared);
    cluster.manager_mut(leader).kill();
    let next = until("another leader", || {
        let mut others = cluster.managers().enumerate();
        let (number, _) = others.find(|(n, of)| *n != leader && of.state() == "leader")?;
        Some(number)
    });
    let address = cluster.managers().nth(next).expect("the next leader").address();
    let late = runtime.block_on(async {
        refused(&mut connect_to(&address).await, &prepared.issuing_public, issuing).await
    });
    assert!(late.contains("the leader has no key for this certificate"), "{late}");
    let ran = rotate(&cluster, &["--timeout", "3m"]).status(0);
    let name = format!("manager-{}", leader + 1);
    assert!(ran.err.contains(&format!("passed over: {name} (not reached)")), "{}", ran.err);
    // It comes back with the certificate of before.
    cluster.bring_back(leader);
    until("its return", || {
        let state = cluster.managers().nth(leader).expect("a manager").state();
        ["leader", "follower"].contains(&state.as_str()).then_some(())
    });
    until("its renewal", || lagging(&shown(&cluster)).is_empty().then_some(()));
    let _ = cluster.ok(&["manager", "step-down", "--to", &name]);
    cluster.secret("after", b"it leads");
    // Killed amid one: the next leader brings it to its end.
    let leader = cluster.leader();
    let _ = rotate(&cluster, &["--detach"]).status(0);
    cluster.manager_mut(leader).kill();
    until("the end of it", || {
        let shown = cluster.skep(&["ca", "show", "--format", "json"]);
        let shown: Value = serde_json::from_str(&shown.out).ok()?;
        shown["rotating_since"].is_null().then_some(())
    });
    cluster.bring_back(leader);
    until("its renewal", || lagging(&shown(&cluster)).is_empty().then_some(()));
}
