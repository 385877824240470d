//! An agent dies at each moment of its renewal. What it would have left is laid out in its
//! folder, and what the leader would know by then is asked of it by the test; the agent comes
//! back alone, with one key that is listed.

use std::fs;
use std::path::PathBuf;

use cluster_tests::{Agent, Cluster, rpc, until};
use skep_client::ca::{Identity, PrivateKey, read_leaf};
use skep_client::machine::SystemClock;
use skep_client::renew::{Next, ask, seen};
use skep_core::base::Clock as _;

/// An agent that was killed, and what it takes to leave its folder as at another moment.
struct Killed {
    data: PathBuf,
    /// The leader's.
    address: String,
    /// Its identity file as it was.
    before: Vec<u8>,
    next_key: PrivateKey,
}

impl Killed {
    fn at(cluster: &mut Cluster, number: usize) -> Self {
        let leader = cluster.leader();
        let address = cluster.managers().nth(leader).expect("the leader").address();
        let agent = &mut cluster.agents[number];
        agent.connected();
        agent.kill();
        let data = agent.data();
        let before = fs::read(data.join("identity")).expect("an identity");
        let next_key = PrivateKey::generate().expect("a key");
        Self { data, address, before, next_key }
    }

    fn leave(&self, name: &str, bytes: &[u8]) {
        let path = self.data.join(name);
        fs::write(&path, bytes).expect("a file");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        fs::set_permissions(path, mode).expect("a mode");
    }

    fn leave_next_key(&self) {
        self.leave("renewing", self.next_key.expose());
    }

    /// The leader signs a certificate for this key, for the one of before.
    fn ask_for(&self, key: &PrivateKey) -> Next {
        let identity = rpc::identity(&self.data.join("identity"));
        let leaf = read_leaf(&identity.chain[0]).expect("a leaf");
        rpc::runtime().block_on(async {
            let channel = rpc::channel(&self.address, &rpc::tls(&identity)).await;
            let now = SystemClock.now();
            ask(channel, &leaf, key, identity.fingerprint, now).await.expect("an answer")
        })
    }

    /// The identity that the agent would make of this answer.
    fn identity_of(&self, next: Next) -> Identity {
        let mut identity = Identity::parse(&self.before).expect("an identity");
        let key = skep_core::base::SecretBytes::copy_of(self.next_key.expose());
        identity.key = PrivateKey::from_pkcs8(key).expect("a key");
        identity.chain = next.chain;
        identity
    }

    /// The agent has put the next identity in the place of the one before.
    fn leave_swapped(&self) -> Identity {
        let identity = self.identity_of(self.ask_for(&self.next_key));
        self.leave("previous", &self.before);
        self.leave("identity", identity.to_text().expose());
        identity
    }

    fn key_now(&self) -> Vec<u8> {
        rpc::identity(&self.data.join("identity")).key.public()
    }

    /// The leader has seen the newest key: nothing is left of a renewal.
    fn settles(&self) {
        until("the last step", || {
            let left = |name| self.data.join(name).exists();
            (!left("previous") && !left("renewing")).then_some(())
        });
    }
}

/// The one before is listed no more, though it has not ended.
fn refuses_the_one_before(agent: &mut Agent, killed: &Killed) {
    agent.kill();
    killed.leave("identity", &killed.before);
    assert_eq!(agent.start_refused(), 24, "{}", agent.name);
}

/// Days after which every certificate is due, and none has ended.
const DUE: i64 = 75;

#[test]
fn killed_before_its_identity_was_replaced_it_renews_to_the_key_that_was_durable() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut cluster = Cluster::start_clocked(folder.path(), 3);
    let killed: Vec<Killed> = (0..3).map(|number| Killed::at(&mut cluster, number)).collect();
    // The next key is durable, and nobody was asked.
    killed[0].leave_next_key();
    // It is listed and its certificate signed, and the answer was not kept.
    killed[1].leave_next_key();
    let _lost = killed[1].ask_for(&killed[1].next_key);
    // The identity is kept once more, and not replaced yet.
    killed[2].leave_next_key();
    let _unused = killed[2].ask_for(&killed[2].next_key);
    killed[2].leave("previous", &killed[2].before);

    // None of them is in need of it yet: all are who they were.
    for agent in &mut cluster.agents {
        agent.start_again();
        agent.connected();
    }
    cluster.ahead(DUE);
    for (agent, killed) in cluster.agents.iter_mut().zip(&killed) {
        agent.start_again();
        agent.connected();
        until("the next key in use", || {
            (killed.key_now() == killed.next_key.public()).then_some(())
        });
        killed.settles();
        refuses_the_one_before(agent, killed);
    }
}

#[test]
fn killed_after_its_identity_was_replaced_it_has_the_leader_see_the_key() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut cluster = Cluster::start_clocked(folder.path(), 2);
    let killed: Vec<Killed> = (0..2).map(|number| Killed::at(&mut cluster, number)).collect();
    // The leader has not seen it.
    killed[0].leave_next_key();
    let _next = killed[0].leave_swapped();
    // The leader has, and of what was kept only the key is gone.
    let next = killed[1].leave_swapped();
    rpc::runtime().block_on(async {
        let channel = rpc::channel(&killed[1].address, &rpc::tls(&next)).await;
        seen(channel).await.expect("it is listed");
    });
    for (agent, killed) in cluster.agents.iter_mut().zip(&killed) {
        agent.start_again();
        agent.connected();
        killed.settles();
        assert_eq!(killed.key_now(), killed.next_key.public());
        refuses_the_one_before(agent, killed);
    }
}

#[test]
fn killed_with_a_key_that_is_listed_no_more_it_goes_back_and_renews_when_it_is_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut cluster = Cluster::start_clocked(folder.path(), 1);
    let killed = Killed::at(&mut cluster, 0);
    killed.leave_next_key();
    let signed = killed.ask_for(&killed.next_key);
    // The leader was asked for another one since: a disk that was set back.
    let _another = killed.ask_for(&PrivateKey::generate().expect("a key"));
    killed.leave("previous", &killed.before);
    killed.leave("identity", killed.identity_of(signed).to_text().expose());
    let agent = &mut cluster.agents[0];
    agent.start_again();
    agent.connected();
    let before = Identity::parse(&killed.before).expect("an identity");
    assert_eq!(killed.key_now(), before.key.public());

    cluster.ahead(DUE);
    let agent = &mut cluster.agents[0];
    agent.start_again();
    agent.connected();
    killed.settles();
    assert_ne!(killed.key_now(), before.key.public());
    refuses_the_one_before(agent, &killed);
}
