//! How soon a node has what it is granted, and has lost what is revoked: real agents, and so many
//! simulated ones.

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use cluster_tests::{Client, Cluster, DEADLINE, Simulated, secret_id, until};
use skep_core::base::{SecretId, ServiceId};
use skep_core::domain::{Change, Grant};

use super::row::Row;
use super::size::{Size, VALUE};

/// The service's and the secret's name, which is the file's too.
const SERVICE: &str = "web";
const SECRET: &str = "db";

/// What is granted and revoked.
struct Granted {
    service: ServiceId,
    secret: SecretId,
    grant: Grant,
}

impl Granted {
    fn of(client: &mut Client) -> Self {
        let secret = secret_id(&client.secret(SECRET).ok().id);
        let service = client.service(SERVICE).ok().id;
        let service = ServiceId::try_from(service.as_slice()).expect("an id");
        let target = SECRET.parse().expect("a target");
        let grant = Grant { secret, target, uid: 0, gid: 0, mode: 0o444, pin: None, write: false };
        Self { service, secret, grant }
    }

    fn grant(&self, client: &mut Client) {
        let grant = self.grant.clone().into();
        let _ = client.apply(&[Change::Grant { service: self.service, grant }]).ok();
    }

    fn revoke(&self, client: &mut Client) {
        let (service, secret) = (self.service, self.secret);
        let _ = client.apply(&[Change::Revoke { service, secret, target: None }]).ok();
    }

    /// Until it is confirmed, too: the next grant begins from nothing.
    fn nobody_holds(&self, client: &mut Client) {
        until("no holder", || client.holders(self.secret).ok().is_empty().then_some(()));
    }
}

/// Grant -> readable and revoke -> gone, on two nodes, from the call on.
pub(super) fn rows(size: &Size) -> Vec<Row> {
    let cluster = Cluster::start_with(3, 2);
    cluster.secret(SECRET, &[b'x'; VALUE]);
    let words = ["--node", "node-1", "--node", "node-2", "--activation", "placed"];
    let _ = cluster.ok(&[&["service", "create", SERVICE], &words[..]].concat());
    let files: Vec<PathBuf> =
        cluster.agents.iter().map(|agent| agent.file(SERVICE, SECRET)).collect();
    let mut client = cluster.client(DEADLINE);
    let granted = Granted::of(&mut client);
    let wait = |there: bool| {
        while files
            .iter()
            .any(|file| fs::read(file).is_ok_and(|bytes| bytes.len() == VALUE) != there)
        {
            std::thread::yield_now();
        }
    };
    let (mut there, mut gone) = (Vec::new(), Vec::new());
    for _ in 0..size.deliveries {
        let start = Instant::now();
        granted.grant(&mut client);
        wait(true);
        there.push(start.elapsed());
        let start = Instant::now();
        granted.revoke(&mut client);
        wait(false);
        gone.push(start.elapsed());
        granted.nobody_holds(&mut client);
    }
    let note = "3 managers, 2 nodes";
    vec![
        Row::of("grant -> readable on both nodes", there).note(note),
        Row::of("revoke -> gone on both nodes", gone).note(note),
    ]
}

/// The same with agents that this process plays: until the last of them has opened the value,
/// and until the last has taken it away.
pub(super) fn simulated(size: &Size) -> Vec<Row> {
    size.agents.iter().flat_map(|agents| simulated_by(size, *agents)).collect()
}

fn simulated_by(size: &Size, agents: usize) -> Vec<Row> {
    let cluster = Cluster::start_with(3, 0);
    cluster.secret(SECRET, &[b'x'; VALUE]);
    let words = ["service", "create", SERVICE, "--everywhere", "--activation", "placed"];
    let _ = cluster.ok(&words);
    let mut client = cluster.client(DEADLINE);
    let granted = Granted::of(&mut client);
    let simulated = Simulated::join(&cluster, agents);
    let (mut there, mut gone) = (Vec::new(), Vec::new());
    for _ in 0..size.deliveries {
        let start = Instant::now();
        granted.grant(&mut client);
        there.push(simulated.all_have(1).duration_since(start));
        let start = Instant::now();
        granted.revoke(&mut client);
        gone.push(simulated.all_have(0).duration_since(start));
        granted.nobody_holds(&mut client);
    }
    let note = "3 managers; the agents are one thread";
    vec![
        Row::of(format!("grant -> opened by {agents} simulated agents"), there).note(note),
        Row::of(format!("revoke -> gone from {agents} simulated agents"), gone).note(note),
    ]
}
