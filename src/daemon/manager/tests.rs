//! A whole manager on a temporary folder, with real sockets.

mod fixture;

use fixture::{Fixture, Founded, exit_of, until};

use super::*;
use skep_client::ca::{CertificateRole, JoinToken, PrivateKey, key_digest, verify_chain};
use skep_client::machine::bind;
use skep_client::transport::read_problem;
use skep_core::base::{Exit, Fingerprint, Key32, NodeId, Stamp};
use skep_core::seal::KeyFileHeader;
use skep_core::wire::api;

fn clock() -> Stamp {
    use skep_core::base::Clock;
    SystemClock.now()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_manager_answers_what_it_can() {
    let fixture = Fixture::start().await;
    let mut control = fixture.control().await;
    let status = control.status(api::StatusRequest {}).await.expect("a status").into_inner();
    assert_eq!(status.state(), api::ManagerState::New);
    let refused = control.list_secrets(api::ListRequest::default()).await;
    let refused = refused.expect_err("refused");
    assert_eq!(exit_of(&refused), Exit::Refused);
    assert_eq!(read_problem(&refused).expect("a problem").hint, "skep init");
    let refused = control.unlock_header(api::UnlockHeaderRequest {}).await.expect_err("refused");
    assert_eq!(exit_of(&refused), Exit::Refused);
    let refused = control.commit_init(api::CommitInitRequest::default()).await;
    assert_eq!(exit_of(&refused.expect_err("not prepared")), Exit::Refused);
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_data_folder_and_the_socket_are_one_managers() {
    let fixture = Fixture::start().await;
    let second = Manager::open(fixture::setup(fixture.folder()));
    assert_eq!(not_opened(second.expect_err("in use")).exit, Exit::InUse);
    let socket = bind(&fixture.socket(), 0o600).expect_err("in use");
    assert_eq!(socket.exit, Exit::InUse);

    let open = tempfile::tempdir().expect("a folder");
    let loose = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(open.path(), loose).expect("chmod");
    let refused = Manager::open(fixture::setup(open.path())).expect_err("not its own alone");
    assert_eq!(not_opened(refused).exit, Exit::Configuration);
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_without_a_key_file_is_damage() {
    let folder = fixture::private_folder();
    std::fs::create_dir(folder.path().join("log")).expect("made");
    std::fs::File::create(folder.path().join("log/1")).expect("made");
    let refused = Manager::open(fixture::setup(folder.path())).expect_err("refused");
    assert_eq!(not_opened(refused).exit, Exit::Damaged);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_init_that_is_refused_leaves_nothing() {
    let fixture = Fixture::start().await;
    let mut control = fixture.control().await;
    let prepared = control.prepare_init(api::PrepareInitRequest {}).await.expect("prepared");
    let prepared = prepared.into_inner();
    let (_, good) = Founded::found(&prepared);
    let (_, other) = Founded::found(&prepared);
    let bad = api::CommitInitRequest { root: other.root, ..good.clone() };
    let refused = control.commit_init(bad).await.expect_err("another root");
    assert_eq!(exit_of(&refused), Exit::Usage);
    let again = control.commit_init(good).await.expect_err("the keys made are gone");
    assert_eq!(exit_of(&again), Exit::Refused);
    assert!(!fixture.folder().join("manager.key").exists());
    let status = control.status(api::StatusRequest {}).await.expect("a status").into_inner();
    assert_eq!(status.state(), api::ManagerState::New);
    fixture.init().await;
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn init_create_lock_unlock_list() {
    let fixture = Fixture::start().await;
    let founded = fixture.init().await;
    let mut control = fixture.control().await;
    let status = control.status(api::StatusRequest {}).await.expect("a status").into_inner();
    assert_eq!((status.state(), status.cluster_name.as_str()), (api::ManagerState::Leader, "prod"));
    assert_eq!((status.tolerates_losses, status.key_generation), (0, 1));
    assert_eq!(status.certificates.len(), 3);
    let second = control.prepare_init(api::PrepareInitRequest {}).await.expect_err("refused");
    assert_eq!(exit_of(&second), Exit::Refused);

    fixture::create_secret(&mut control, "db-password", b"correct horse").await.expect("created");
    let twice = fixture::create_secret(&mut control, "DB-Password", b"x").await;
    let twice = twice.expect_err("the name is taken");
    assert_eq!(exit_of(&twice), Exit::Refused);
    let listed = control.list_secrets(api::ListRequest::default()).await.expect("listed");
    assert_eq!(listed.into_inner().secrets.len(), 1);
    let what = api::ListRequest { what: "nothing".into(), ..api::ListRequest::default() };
    let absent = control.list_secrets(what).await.expect_err("not found");
    assert_eq!(read_problem(&absent).expect("a problem").text, "secret nothing not found");

    control.lock(api::LockRequest {}).await.expect("locks");
    assert_eq!(fixture.manager().ended().await, End::Locked);
    let fixture = fixture.restart().await;
    let mut control = fixture.control().await;
    let status = control.status(api::StatusRequest {}).await.expect("a status").into_inner();
    assert_eq!((status.state(), status.cluster_name.as_str()), (api::ManagerState::Locked, "prod"));
    let locked = control.list_secrets(api::ListRequest::default()).await.expect_err("locked");
    assert_eq!(exit_of(&locked), Exit::Locked);
    let kept = fixture.manager().unlock_with(&founded.unlock_key).await;
    assert!(kept.is_err(), "an operator locked it");

    fixture.unlock(&founded.unlock_key).await.expect("unlocks");
    let listed = control.list_secrets(api::ListRequest::default()).await.expect("listed");
    let listed = listed.into_inner().secrets;
    assert_eq!(listed.first().map(|secret| secret.name.as_str()), Some("db-password"));
    fixture::create_secret(&mut control, "second", b"x").await.expect("the cluster key is open");

    let fixture = fixture.restart().await;
    fixture.manager().unlock_with(&founded.unlock_key).await.expect("unlocks by itself");
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_unlock_key_is_told_as_such() {
    let fixture = Fixture::start().await;
    let founded = fixture.init().await;
    let fixture = fixture.restart().await;
    let mut control = fixture.control().await;
    let header = control.unlock_header(api::UnlockHeaderRequest {}).await.expect("a header");
    let header = KeyFileHeader::parse(&header.into_inner().header).expect("a header");
    let stranger = UnlockKey::draw(&mut *os_dice(), founded.unlock_key.fingerprint());
    assert!(header.open_file_key(&stranger).is_err(), "is no recipient");

    let request = |file_key: &[u8; 32], fingerprint: Fingerprint| api::UnlockRequest {
        file_key: file_key.to_vec(),
        fingerprint: fingerprint.0.to_vec(),
        generation: header.generation,
        of_header: false,
    };
    let drawn = Key32::draw(&mut *os_dice());
    let wrong = request(drawn.expose(), founded.unlock_key.fingerprint());
    assert_eq!(exit_of(&control.unlock(wrong).await.expect_err("wrong")), Exit::WrongUnlockKey);
    let right = header.open_file_key(&founded.unlock_key).expect("opens");
    let planted = request(right.0.expose(), Fingerprint([9; 32]));
    assert_eq!(
        exit_of(&control.unlock(planted).await.expect_err("another cluster")),
        Exit::WrongUnlockKey
    );
    assert_eq!(fixture.manager().phase(), Phase::Locked);
    fixture.unlock(&founded.unlock_key).await.expect("unlocks");
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_joins_by_token_and_is_refused_once_removed() {
    let fixture = Fixture::start().await;
    let founded = fixture.init().await;
    let mut control = fixture.control().await;
    let request = api::CreateTokenRequest {
        role: api::NodeRole::Worker.into(),
        uses: Some(2),
        ..api::CreateTokenRequest::default()
    };
    let made = control.create_token(request).await.expect("a token").into_inner();
    let token = JoinToken::parse(made.token.as_bytes()).expect("a token");
    assert_eq!(token.fingerprint, founded.unlock_key.fingerprint());

    let key = PrivateKey::generate().expect("a key");
    let mut guess = fixture::join_request(&token, &key, "w1");
    guess.token_secret = vec![0; 32];
    let refused = fixture.join(&founded, guess).await.expect_err("refused");
    assert_eq!(exit_of(&refused), Exit::Refused);
    let other = PrivateKey::generate().expect("a key");
    let mut stolen = fixture::join_request(&token, &key, "w1");
    stolen.public_key = other.public();
    assert_eq!(exit_of(&fixture.join(&founded, stolen).await.expect_err("refused")), Exit::Usage);

    let joined = fixture.join(&founded, fixture::join_request(&token, &key, "w1")).await;
    let joined = joined.expect("joins");
    let leaf = verify_chain(&joined.chain, token.fingerprint, clock()).expect("verifies");
    let node = NodeId::try_from(joined.node_id.as_slice()).expect("an id");
    assert_eq!(leaf.subject.role, CertificateRole::Worker(node));
    assert_eq!(leaf.key, key_digest(&key.public()));

    let mut as_worker = fixture.remote(&founded, &joined.chain, &key).await;
    let refused = as_worker.list_secrets(api::ListRequest::default()).await;
    assert_eq!(refused.expect_err("a worker").code(), tonic::Code::PermissionDenied);
    let refused = as_worker.status(api::StatusRequest {}).await.expect_err("a worker");
    assert_eq!(refused.message(), "a worker may not ask for the status");

    let mut as_admin = fixture.remote(&founded, &founded.admin_chain, &founded.admin).await;
    let nodes = as_admin.list_nodes(api::ListRequest::default()).await.expect("an admin");
    assert_eq!(nodes.into_inner().nodes.len(), 2);
    let refused = as_admin.unlock_header(api::UnlockHeaderRequest {}).await;
    assert_eq!(refused.expect_err("not over the network").code(), tonic::Code::PermissionDenied);

    fixture::remove_node(&mut as_admin, node).await.expect("removed");
    let cut = as_worker.status(api::StatusRequest {}).await.expect_err("removed");
    // The connection that was open is cut, sooner or later than this call.
    assert!(
        matches!(cut.code(), tonic::Code::Unavailable | tonic::Code::PermissionDenied),
        "{cut}"
    );
    let mut again = fixture.remote(&founded, &joined.chain, &key).await;
    let refused = again.status(api::StatusRequest {}).await.expect_err("removed");
    assert!(refused.message().contains("not (or no longer)"), "{refused}");
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_tokens_are_rated_by_the_address_they_come_from_and_good_ones_never() {
    let fixture = Fixture::start().await;
    let founded = fixture.init().await;
    let token = JoinToken::draw(&mut *os_dice(), founded.unlock_key.fingerprint());
    let key = PrivateKey::generate().expect("a key");
    let mut codes = std::collections::HashSet::new();
    for _ in 0..40 {
        let refused = fixture.join(&founded, fixture::join_request(&token, &key, "w1")).await;
        let refused = refused.expect_err("a token of nobody's");
        codes.insert((exit_of(&refused), refused.code() == tonic::Code::ResourceExhausted));
    }
    assert_eq!(
        codes,
        [(Exit::Refused, false), (Exit::Unreachable, true)].into(),
        "refused, and then too often"
    );
    let mut control = fixture.control().await;
    let request =
        api::CreateTokenRequest { role: api::NodeRole::Worker.into(), ..Default::default() };
    let made = control.create_token(request).await.expect("a token").into_inner();
    let token = JoinToken::parse(made.token.as_bytes()).expect("a token");
    for number in 0..30 {
        let key = PrivateKey::generate().expect("a key");
        let request = fixture::join_request(&token, &key, &format!("w{number}"));
        fixture.join(&founded, request).await.expect("from the same address, with a good token");
    }
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_used_up_writes_nothing_and_admits_its_own_machine_again() {
    let fixture = Fixture::start().await;
    let founded = fixture.init().await;
    let mut control = fixture.control().await;
    let request = api::CreateTokenRequest {
        role: api::NodeRole::Worker.into(),
        uses: Some(1),
        ..api::CreateTokenRequest::default()
    };
    let made = control.create_token(request).await.expect("a token").into_inner();
    let token = JoinToken::parse(made.token.as_bytes()).expect("a token");
    let [own, other] = [(); 2].map(|()| PrivateKey::generate().expect("a key"));
    let ask = |key, name| fixture.join(&founded, fixture::join_request(&token, key, name));
    let first = ask(&own, "w1").await.expect("joins");
    assert_eq!(first.hello_key.len(), 64);
    let revision = fixture.status().await.revision;
    for name in ["w1", "w2"] {
        let refused = ask(&other, name).await.expect_err("used up");
        assert_eq!(refused.message(), "the join token was not accepted");
    }
    assert_eq!(fixture.status().await.revision, revision, "nothing was written");
    let again = ask(&own, "w1").await.expect("it didn't hear the answer");
    assert_eq!((again.node_id, again.hello_key), (first.node_id, first.hello_key));
    fixture.end().await;
}

/// How long a join may take.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(20);

/// A stranger that is displaced is closed, before its handshake or amid its call.
#[tokio::test(flavor = "multi_thread")]
async fn a_manager_that_is_displaced_while_it_joins_asks_again() {
    let (first, second) = (Fixture::start().await, Fixture::start().await);
    first.init().await;
    let way = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = way.local_addr().expect("its address").to_string();
    let to = first.manager().address();
    let crossing = tokio::spawn(async move {
        for bytes in [0, 100, 1_900] {
            let (mut near, _) = way.accept().await.expect("a connection");
            let mut far = tokio::net::TcpStream::connect(to).await.expect("the manager");
            let (mut read, mut write) = near.split();
            let mut some = tokio::io::AsyncReadExt::take(&mut read, bytes);
            let (mut back, mut on) = far.split();
            tokio::select! {
                _ = tokio::io::copy(&mut some, &mut on) => {}
                _ = tokio::io::copy(&mut back, &mut write) => {}
            }
        }
        let (mut near, _) = way.accept().await.expect("a connection");
        let mut far = tokio::net::TcpStream::connect(to).await.expect("the manager");
        drop(tokio::io::copy_bidirectional(&mut near, &mut far).await);
    });
    let entering = second.enter_by(&first, "m2", address);
    tokio::time::timeout(PATIENCE, entering).await.expect("in time");
    let used = tokio::time::timeout(PATIENCE, crossing).await;
    used.expect("all four were used").expect("no panic");
    for fixture in [second, first] {
        fixture.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manager_whose_clock_is_off_leads_no_more_and_says_so() {
    let clock = std::sync::Arc::new(fixture::Shifted::default());
    let first = Fixture::start_at(clock.clone()).await;
    first.init().await;
    let (second, third) = (Fixture::start().await, Fixture::start().await);
    second.enter(&first, "m2").await;
    third.enter(&first, "m3").await;
    until(async || {
        let voters = first.status().await.voters;
        voters.len() == 3
            && voters.iter().all(|voter| voter.state() != api::ManagerStanding::Learner)
    })
    .await;
    let is_off = |status: &api::StatusReply| {
        status.warnings.iter().any(|warning| warning.code() == api::WarningCode::ClockOff)
    };
    assert_eq!(first.status().await.state(), api::ManagerState::Leader);
    // A step that the others nearly share counts once they were asked.
    clock.set_ahead(4 * 60_000);
    let mut control = first.control().await;
    until(async || fixture::create_secret(&mut control, "a", b"x").await.is_ok()).await;
    until(async || {
        first.status().await.warnings.iter().all(|one| one.code() != api::WarningCode::ClockStepped)
    })
    .await;

    clock.set_ahead(10 * 60_000);
    until(async || {
        let status = first.status().await;
        status.state() == api::ManagerState::Follower && is_off(&status)
    })
    .await;
    let status = first.status().await;
    let ahead = status.clock_ahead_ms.expect("the leader was asked");
    assert!((590_000..610_000).contains(&ahead), "{ahead}");
    assert!(status.voters.iter().all(|voter| voter.last_contact_ms.is_some()), "{status:?}");
    // The next leader's clock is behind what was written, and it goes on from there.
    let mut control = second.control().await;
    until(async || fixture::create_secret(&mut control, "b", b"x").await.is_ok()).await;

    clock.set_ahead(0);
    until(async || !is_off(&first.status().await)).await;
    third.end().await;
    second.end().await;
    first.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rotating_tokens_leaves_one() {
    let fixture = Fixture::start().await;
    fixture.init().await;
    let mut control = fixture.control().await;
    let request = |rotate| api::CreateTokenRequest {
        role: api::NodeRole::Worker.into(),
        rotate,
        ..api::CreateTokenRequest::default()
    };
    for _ in 0..3 {
        control.create_token(request(false)).await.expect("made");
    }
    let last = control.create_token(request(true)).await.expect("made").into_inner();
    let listed = control.list_tokens(api::ListRequest::default()).await.expect("listed");
    let ids: Vec<_> = listed.into_inner().tokens.into_iter().map(|token| token.id).collect();
    assert_eq!(ids, [last.id]);
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unfinished_init_is_named() {
    let fixture = Fixture::start().await;
    let founded = fixture.init().await;
    let folder = fixture.folder().to_owned();
    let fixture = fixture.stop().await;
    // As a process leaves it that died between key file and first command.
    std::fs::remove_dir_all(folder.join("log")).expect("removed");
    std::fs::remove_file(folder.join("log.reached")).expect("removed");
    std::fs::File::create(folder.join("init-unfinished")).expect("made");
    let fixture = fixture.start_again().await;
    let mut control = fixture.control().await;
    let status = control.status(api::StatusRequest {}).await.expect("a status").into_inner();
    assert!(
        status.warnings.iter().any(|warning| warning.code() == api::WarningCode::InitUnfinished)
    );
    let refused = fixture.unlock(&founded.unlock_key).await.expect_err("refused");
    assert_eq!(exit_of(&refused), Exit::Refused);
    assert!(read_problem(&refused).expect("a problem").hint.contains("`skep init` again"));
    fixture.end().await;
}

#[test]
fn an_unlock_key_file_is_for_its_owner_alone() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let key = UnlockKey::draw(&mut *os_dice(), Fingerprint([1; 32]));
    std::io::Write::write_all(&mut file.as_file(), key.text().expose()).expect("written");
    let mode = |mode| {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
        std::fs::set_permissions(file.path(), mode).expect("chmod");
    };
    mode(0o644);
    assert_eq!(read_unlock_key(file.path()).expect_err("refused").exit, Exit::Configuration);
    mode(0o600);
    let read = read_unlock_key(file.path()).expect("an unlock key");
    assert_eq!(read.recipient(), key.recipient());
}

fn config(folder: &Path, unlock_key_file: Option<std::path::PathBuf>) -> ManagerConfig {
    ManagerConfig {
        audit: crate::manager::AuditSettings::default(),
        data_dir: folder.to_owned(),
        name: None,
        listen: ([127, 0, 0, 1], 0).into(),
        advertise: vec!["127.0.0.1:4440".into()],
        socket: folder.join("control.sock"),
        unlock_key_file,
        socket_roles: Vec::new(),
        require_pq: false,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_unlocks_itself_serves_and_ends_as_it_is_told() {
    let fixture = Fixture::start().await;
    let founded = fixture.init().await;
    let folder = fixture.folder().to_owned();
    let left = fixture.stop().await;
    let file = folder.join("unlock.key");
    let mut disk = skep_core::base::Disk::create(&RealDisk, &file).expect("made, 0600");
    disk.write_at(0, founded.unlock_key.text().expose()).expect("written");

    let (terminator, shutdown) = Shutdown::by_hand();
    let process =
        tokio::spawn(live(config(&folder, Some(file.clone())), ManagerPlaces::default(), shutdown));
    let mut control = fixture::patient_control(&folder.join("control.sock")).await;
    fixture::leads(&mut control).await;
    terminator.terminate();
    let after = process.await.expect("did not panic").expect("did not fail");
    assert_eq!(after, After::Exit(Exit::Done));
    assert!(!folder.join("control.sock").exists());

    let (_terminator, shutdown) = Shutdown::by_hand();
    let process =
        tokio::spawn(live(config(&folder, Some(file)), ManagerPlaces::default(), shutdown));
    let mut control = fixture::patient_control(&folder.join("control.sock")).await;
    fixture::leads(&mut control).await;
    control.lock(api::LockRequest {}).await.expect("locks");
    let after = tokio::time::timeout(GRACE, process).await.expect("ends");
    assert_eq!(after.expect("did not panic").expect("did not fail"), After::Anew);
    drop(left);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_unlock_key_file_is_bad_configuration() {
    let fixture = Fixture::start().await;
    let founded = fixture.init().await;
    let folder = fixture.folder().to_owned();
    let left = fixture.stop().await;
    let file = folder.join("unlock.key");
    let stranger = UnlockKey::draw(&mut *os_dice(), founded.unlock_key.fingerprint());
    let mut disk = skep_core::base::Disk::create(&RealDisk, &file).expect("made, 0600");
    disk.write_at(0, stranger.text().expose()).expect("written");
    let (_terminator, shutdown) = Shutdown::by_hand();
    let failure = live(config(&folder, Some(file)), ManagerPlaces::default(), shutdown)
        .await
        .expect_err("fails");
    assert_eq!(failure.exit, Exit::Configuration);
    drop(left);
}
