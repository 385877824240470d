//! Agents killed amid changes, again and again: each time the next one shows what is granted by
//! then, all of it and nothing else. Agents killed while they join: each is admitted once.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::mpsc::channel;
use std::time::Duration;

use cluster_tests::{Client, Cluster, DEADLINE, Dice, until};
use skep_core::base::{SecretId, ServiceId};
use skep_core::domain::{Change, Grant};

const SERVICES: u64 = 3;
const SECRETS: u64 = 4;
const ROUNDS: u64 = 40;
/// Acts of one round.
const ACTS: u64 = 8;

/// What nodes should show: only who acts changes it, after each acknowledgement.
struct Granted {
    services: Vec<ServiceId>,
    secrets: Vec<SecretId>,
    values: Vec<String>,
    grants: BTreeSet<(usize, usize)>,
    written: u64,
}

impl Granted {
    /// Grants, revokes or gives a new value.
    fn act(&mut self, client: &mut Client, dice: &mut Dice) {
        let (service, secret) = (below(dice, SERVICES), below(dice, SECRETS));
        let (of, what) = (self.services[service], self.secrets[secret]);
        match dice.below(4) {
            0 => {
                if self.grants.remove(&(service, secret)) {
                    let revoke = Change::Revoke { service: of, secret: what, target: None };
                    let _ = client.apply(&[revoke]).ok();
                }
            }
            1 => {
                let target = format!("s{secret}").parse().expect("a target");
                let (uid, gid, mode, pin) = (0, 0, 0o400, None);
                let grant = Grant { secret: what, target, uid, gid, mode, pin, write: false };
                let _ = client.apply(&[Change::Grant { service: of, grant: grant.into() }]).ok();
                self.grants.insert((service, secret));
            }
            _ => {
                self.written += 1;
                // Of any length: also one that the next version doesn't have.
                let repeated = usize::try_from(dice.below(2_000)).expect("few");
                let value = format!("{} {}", self.written, "x".repeat(repeated));
                let _ = client.update(&[(what, value.as_bytes())]).ok();
                self.values[secret] = value;
            }
        }
    }

    /// What a service's folder should show.
    fn of(&self, service: usize) -> BTreeMap<String, String> {
        let own = self.grants.iter().filter(|(of, _)| *of == service);
        own.map(|(_, secret)| (format!("s{secret}"), self.values[*secret].clone())).collect()
    }
}

fn below(dice: &mut Dice, most: u64) -> usize {
    usize::try_from(dice.below(most)).expect("few")
}

/// The files of a folder on the host, without what holds them together.
fn shown(folder: &Path) -> BTreeMap<String, String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let files = names.filter(|name| !name.starts_with(".."));
    files
        .filter_map(|name| Some((name.clone(), fs::read_to_string(folder.join(&name)).ok()?)))
        .collect()
}

fn torture(mount: &str) {
    let mut dice = Dice::new();
    println!("{dice}");
    let mut cluster = Cluster::start(1);
    let mut client = cluster.client(DEADLINE);
    let mut granted = Granted {
        services: Vec::new(),
        secrets: Vec::new(),
        values: Vec::new(),
        grants: BTreeSet::new(),
        written: 0,
    };
    for number in 0..SECRETS {
        granted.secrets.push(client.create(&format!("s{number}"), b"first").ok());
        granted.values.push("first".to_owned());
    }
    for number in 0..SERVICES {
        let name = format!("web{number}");
        let _ = cluster.ok(&["service", "create", &name, "--node", "node-1", "--mount", mount]);
        let _ = cluster.agents[0].skep(&["agent", "service", "up", &name]).ok();
        let id = client.service(&name).ok().id;
        granted.services.push(ServiceId::try_from(id.as_slice()).expect("an id"));
    }
    for round in 0..ROUNDS {
        let (after, late) = (dice.below(ACTS), Duration::from_micros(dice.below(6_000)));
        std::thread::scope(|scope| {
            let (done, each) = channel();
            let (granted, client, dice) = (&mut granted, &mut client, &mut dice);
            scope.spawn(move || {
                for _ in 0..ACTS {
                    granted.act(client, dice);
                    done.send(()).ok();
                }
            });
            for _ in 0..=after {
                each.recv().expect("an act");
            }
            // Where this hits it differs from round to round; nothing waits for it.
            std::thread::park_timeout(late);
            cluster.agents[0].kill();
        });
        cluster.agents[0].start_again();
        cluster.agents[0].connected();
        for service in 0..granted.services.len() {
            let (folder, wanted) =
                (cluster.agents[0].root().join(format!("web{service}")), granted.of(service));
            until(&format!("what is granted, in round {round}"), || {
                (shown(&folder) == wanted).then_some(())
            });
        }
    }
    for service in 0..granted.services.len() {
        let _ = cluster.ok(&["service", "rm", &format!("web{service}")]);
        let folder = cluster.agents[0].root().join(format!("web{service}"));
        until("nothing", || shown(&folder).is_empty().then_some(()));
    }
}

#[test]
fn p4_p7_an_agent_killed_amid_changes_shows_what_is_granted_on_tmpfs() {
    torture("tmpfs");
}

#[test]
fn p4_p7_an_agent_killed_amid_changes_shows_what_is_granted_on_fuse() {
    torture("fuse");
}

#[test]
fn an_agent_killed_while_it_joins_is_admitted_once() {
    const MACHINES: u64 = 25;
    let mut dice = Dice::new();
    println!("{dice}");
    let mut cluster = Cluster::start(0);
    for number in 0..MACHINES {
        let agent = cluster.begin_join(&format!("machine-{number}"), &["--uses", "1"]);
        // Where this hits it differs; nothing waits for it.
        std::thread::park_timeout(Duration::from_micros(dice.below(40_000)));
        agent.kill();
        agent.start_again();
        agent.connected();
        assert!(!agent.data().join("joining").exists(), "the key of an answered join");
        agent.kill();
    }
    let listed = cluster.ok(&["node", "ls", "-q"]).lines().count();
    assert_eq!(u64::try_from(listed).expect("few"), MACHINES + 1, "each once, and the manager");
}
