//! `kill -9`, again and again, under writes: what was acknowledged is there, in
//! order, and nothing is there twice.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cluster_tests::{Client, Cluster, DEADLINE, Dice, Manager, Outcome, secret_id, until};
use skep_core::wire::api::SecretView;

/// Versions that one secret gets, all of which are kept.
const VERSIONS: u32 = 9;

/// What is known of one version that a client made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    /// It was acknowledged, under this number.
    There(u32),
    /// It may be there.
    Open,
    /// Nothing was done.
    Absent,
}

/// One secret's versions by their ids, in the order in which its client made them.
type History = Vec<(Vec<u8>, Known)>;

/// What one client did.
#[derive(Debug, Default)]
struct Notes {
    secrets: BTreeMap<String, History>,
    acknowledged: u64,
    looked: u64,
    refused: Vec<String>,
}

/// A client that creates secrets and gives them versions until it is told to stop.
struct Writer<'a> {
    name: String,
    client: Client,
    notes: Notes,
    /// Acts acknowledged by all writers.
    progress: &'a AtomicU64,
    stop: &'a AtomicBool,
}

impl Writer<'_> {
    fn work(mut self) -> Notes {
        for number in 0.. {
            if self.stop.load(Ordering::Relaxed) {
                break;
            }
            self.one_secret(&format!("{}-{number}", self.name));
        }
        self.notes
    }

    fn one_secret(&mut self, name: &str) {
        let created = self.client.create(name, format!("{name} 1").as_bytes());
        let created = self.note(name, created, |_| 1);
        if created == Known::Absent {
            return;
        }
        // Also where the outcome was unknown: then this looks.
        let Some(id) = self.look(name) else { return };
        for number in 2..=VERSIONS {
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            let value = format!("{name} {number}");
            let updated = self.client.update(&[(id, value.as_bytes())]);
            let known = self.note(name, updated, |numbers| numbers[0]);
            if known == Known::Open && self.look(name).is_none() {
                return;
            }
        }
    }

    /// Writes down what an act came to.
    fn note<T>(&mut self, name: &str, came: Outcome<T>, number: impl Fn(&T) -> u32) -> Known {
        let known = match came {
            Outcome::Acknowledged(done) => {
                self.notes.acknowledged += 1;
                self.progress.fetch_add(1, Ordering::Relaxed);
                Known::There(number(&done))
            }
            Outcome::Unknown(_) => Known::Open,
            Outcome::NothingDone(_) => Known::Absent,
            // Every name is new and every secret there: no act can be refused,
            // unless it was done before.
            Outcome::Refused(failure) => {
                self.notes.refused.push(format!("{name}: {failure}"));
                Known::Absent
            }
        };
        let version = self.client.sent().first().map(|id| id.as_bytes().to_vec());
        let history = self.notes.secrets.entry(name.to_owned()).or_default();
        history.extend(version.map(|version| (version, known)));
        known
    }

    /// Finds out what came of unknown outcomes; `None` where the secret is not there.
    fn look(&mut self, name: &str) -> Option<skep_core::base::SecretId> {
        let view = loop {
            match self.client.secret(name) {
                Outcome::Acknowledged(view) => break Some(view),
                Outcome::Refused(_) => break None,
                Outcome::NothingDone(_) | Outcome::Unknown(_) => {}
            }
            if self.stop.load(Ordering::Relaxed) {
                return None;
            }
        };
        for (version, known) in self.notes.secrets.get_mut(name).into_iter().flatten() {
            let there =
                view.iter().flat_map(|view| &view.versions).find(|seen| seen.id == *version);
            if *known == Known::Open {
                self.notes.looked += 1;
                *known = there.map_or(Known::Absent, |seen| Known::There(seen.number));
            }
        }
        view.map(|view| secret_id(&view.id))
    }
}

/// What contradicts the notes in what the cluster lists.
fn contradictions(notes: &[Notes], listed: &[SecretView]) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut versions = BTreeSet::new();
    let by_name: BTreeMap<&str, &SecretView> =
        listed.iter().map(|view| (view.name.as_str(), view)).collect();
    if by_name.len() != listed.len() {
        wrong.push("a secret is there twice".to_owned());
    }
    for view in listed {
        let name = &view.name;
        for (place, version) in view.versions.iter().enumerate() {
            if !versions.insert(version.id.clone()) {
                wrong.push(format!("{name}: version {} is there twice", version.number));
            }
            if usize::try_from(version.number).ok() != Some(place + 1) {
                wrong.push(format!("{name}: version {} in place {}", version.number, place + 1));
            }
        }
        if !notes.iter().any(|notes| notes.secrets.contains_key(name)) {
            wrong.push(format!("{name}: nobody made it"));
        }
    }
    for (name, history) in notes.iter().flat_map(|notes| &notes.secrets) {
        let there = by_name.get(name.as_str()).map_or(&[][..], |view| &view.versions);
        let mut last = 0;
        for (id, known) in history {
            let found =
                there.iter().find(|version| version.id == *id).map(|version| version.number);
            match (known, found) {
                (Known::There(number), found) if found != Some(*number) => {
                    wrong.push(format!("{name}: acknowledged as {number}, found as {found:?}"));
                }
                (Known::Absent, Some(number)) => {
                    wrong.push(format!("{name}: {number} is there, and nothing was done"));
                }
                _ => {}
            }
            if let Some(number) = found {
                if number <= last {
                    wrong.push(format!("{name}: {number} came after {last}"));
                }
                last = number;
            }
        }
        if let Some(stranger) =
            there.iter().find(|version| !history.iter().any(|(id, _)| *id == version.id))
        {
            wrong.push(format!("{name}: nobody made version {}", stranger.number));
        }
    }
    wrong
}

#[test]
fn p3_acknowledged_writes_outlive_kill_9_of_any_manager_in_any_order() {
    const ROUNDS: u64 = 100;
    // Four leave a machine of two cores time for other tests; scripts/torture has more.
    let writers = std::env::var("SKEP_TORTURE_WRITERS").ok();
    let writers = writers.map_or(4, |writers| writers.parse().expect("a number of writers"));
    let mut dice = Dice::new();
    println!("{dice}");
    let mut cluster = Cluster::start_with(3, 0);
    let (progress, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let clients: Vec<Client> =
        (0..writers).map(|_| cluster.client(Duration::from_secs(10))).collect();
    let slowest = Mutex::new(Duration::ZERO);
    let mut killed_leaders = 0;
    let start = Instant::now();
    let notes: Vec<Notes> = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..)
            .zip(clients)
            .map(|(number, client)| {
                let (name, notes) = (format!("w{number}"), Notes::default());
                let writer = Writer { name, client, notes, progress: &progress, stop: &stop };
                scope.spawn(|| writer.work())
            })
            .collect();
        // Writers end also where a round fails, or the scope would wait for ever.
        let _stop = StopAtEnd(&stop);
        for round in 0..ROUNDS {
            let victim = usize::try_from(dice.below(3)).expect("small");
            let began = Instant::now();
            let before = progress.load(Ordering::Relaxed);
            killed_leaders += u32::from(cluster.manager_mut(victim).state_here() == "leader");
            cluster.manager_mut(victim).kill();
            // At times the others go on first, at times it comes back before that.
            let others_first = dice.below(2) == 0;
            let goes_on = || {
                let what = format!("a write after round {round}");
                until(&what, || (progress.load(Ordering::Relaxed) > before + 4).then_some(()));
            };
            if others_first {
                goes_on();
            }
            cluster.manager_mut(victim).start_again();
            let manager = cluster.managers().nth(victim).expect("a manager");
            cluster.unlock_here(manager);
            until("its return", || {
                matches!(manager.state_here().as_str(), "leader" | "follower").then_some(())
            });
            if !others_first {
                goes_on();
            }
            let mut slowest = slowest.lock().expect("a time");
            *slowest = began.elapsed().max(*slowest);
        }
        stop.store(true, Ordering::Relaxed);
        writers.into_iter().map(|writer| writer.join().expect("a writer")).collect()
    });
    let took = start.elapsed();

    let refused: Vec<_> = notes.iter().flat_map(|notes| &notes.refused).collect();
    assert!(refused.is_empty(), "done before it was asked: {refused:?}");
    let listed = cluster.client(DEADLINE).secrets().ok();
    let wrong = contradictions(&notes, &listed);
    assert!(wrong.is_empty(), "{dice}: {wrong:#?}");
    // And each of the managers knows the same by itself.
    let versions = |views: &[SecretView]| -> BTreeMap<String, Vec<Vec<u8>>> {
        let ids = |view: &SecretView| view.versions.iter().map(|seen| seen.id.clone()).collect();
        views.iter().map(|view| (view.name.clone(), ids(view))).collect()
    };
    for manager in cluster.managers() {
        let mut client = Client::new(&cluster.identity(), vec![manager.address()], DEADLINE);
        until("the same everywhere", || {
            (versions(&client.secrets_there().ok()) == versions(&listed)).then_some(())
        });
    }
    println!(
        "{ROUNDS} rounds in {took:.1?}, the slowest {:.1?}; the leader {killed_leaders} times; {} \
         acts acknowledged, {} unknown ones looked up",
        slowest.into_inner().expect("a time"),
        notes.iter().map(|notes| notes.acknowledged).sum::<u64>(),
        notes.iter().map(|notes| notes.looked).sum::<u64>(),
    );
    assert!(killed_leaders > 0, "{dice}: no leader was ever killed");
}

#[test]
fn p3_p7_all_managers_killed_amid_writes_come_back_in_any_order() {
    const ROUNDS: u64 = 3;
    let mut dice = Dice::new();
    println!("{dice}");
    let mut cluster = Cluster::start_with(3, 1);
    cluster.secret("db", b"one");
    cluster.service("web", "node-1", &["db"]);
    let mut shell = cluster.shell(0, "web");
    let mut all: Vec<Notes> = Vec::new();
    for round in 0..ROUNDS {
        let (progress, stop) = (AtomicU64::new(0), AtomicBool::new(false));
        let name = |number| format!("r{round}-w{number}");
        let client = || cluster.client(Duration::from_secs(2));
        let clients: Vec<_> = (0..3).map(|number| (name(number), client())).collect();
        std::thread::scope(|scope| {
            let _stop = StopAtEnd(&stop);
            let writers: Vec<_> = clients
                .into_iter()
                .map(|(name, client)| {
                    let notes = Notes::default();
                    let writer = Writer { name, client, notes, progress: &progress, stop: &stop };
                    scope.spawn(|| writer.work())
                })
                .collect();
            until("writes", || (progress.load(Ordering::Relaxed) > 20).then_some(()));
            cluster.managers().for_each(Manager::kill_amid_work);
            stop.store(true, Ordering::Relaxed);
            all.extend(writers.into_iter().map(|writer| writer.join().expect("a writer")));
        });
        (0..3).for_each(|number| cluster.manager_mut(number).kill());
        assert_eq!(shell.read("db"), "one", "no manager is needed for what runs");

        let mut order = vec![0, 1, 2];
        let mut next = || {
            let place = dice.below(u64::try_from(order.len()).expect("small"));
            order.remove(usize::try_from(place).expect("small"))
        };
        // One alone is no majority: nothing is done.
        let first = next();
        cluster.bring_back(first);
        assert_eq!(cluster.manager_mut(first).state_here(), "no-quorum");
        let refused =
            cluster.skep_with(&["secret", "create", "lost", "-", "--timeout", "2s"], b"v");
        let _ = refused.status(3);
        let alone = cluster.client(Duration::from_secs(2)).create("lost", b"v");
        assert!(matches!(alone, Outcome::NothingDone(_)), "{alone:?}");
        assert_eq!(shell.read("db"), "one");

        let second = next();
        cluster.bring_back(second);
        cluster.secret(&format!("two-of-three-{round}"), b"v");
        let third = next();
        cluster.bring_back(third);
        until("three managers", || {
            let state = |manager: &Manager| manager.state_here();
            (cluster.managers().map(state).filter(|state| state == "follower").count() == 2)
                .then_some(())
        });
        let mut listed = cluster.client(DEADLINE).secrets().ok();
        assert!(!listed.iter().any(|view| view.name == "lost"), "what was refused is there");
        listed.retain(|view| view.name != "db" && !view.name.starts_with("two-of-three"));
        let wrong = contradictions(&all, &listed);
        assert!(wrong.is_empty(), "{dice}: {wrong:#?}");
    }
    let refused: Vec<_> = all.iter().flat_map(|notes| &notes.refused).collect();
    assert!(refused.is_empty(), "done before it was asked: {refused:?}");
    assert_eq!(shell.read("db"), "one");
    assert_eq!(shell.end(), 0);
}

struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
