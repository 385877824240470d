//! The engine, the agent and the leader are killed in turns, by chance, amid changes: a reader in a
//! container never meets half a set, never an older one again and never none, and what is granted
//! by then is what it has.

use std::time::Duration;

use cluster_tests::{Cluster, DEADLINE, Dice, DockerHost, Outcome, until};

const ROUNDS: u64 = 18;
/// Milliseconds of a round within which somebody is killed.
const AMID: u64 = 60;

/// Reads two files of one set as docs/readers.md says, and prints what must not be.
const READER: &str = r#"
last=0
while :; do
    test -e /run/secrets/one || echo "missing after $last"
    cd / && cd -P /run/secrets/..data || continue
    one=$(cat one 2>/tmp/why) && two=$(cat two 2>/tmp/why) || continue
    test "$one" = "$two" || echo "torn: $one and $two"
    test "$one" -ge "$last" || echo "back: $one after $last"
    last=$one
    sleep 0.01
done"#;

/// Somebody who runs, and is killed.
#[derive(Clone, Copy, Debug)]
enum Victim {
    Agent,
    Engine,
    Leader,
}

const VICTIMS: [Victim; 3] = [Victim::Agent, Victim::Engine, Victim::Leader];

#[test]
fn p4_p7_containers_read_whole_sets_whoever_is_killed() {
    let mut dice = Dice::new();
    println!("{dice}");
    let mut cluster = Cluster::start_with(3, 0);
    // Containers outlive this engine.
    let mut host = DockerHost::start(&cluster, "d-torture", &["--live-restore"]);
    let mut client = cluster.client(DEADLINE);
    let secrets = ["one", "two"].map(|name| client.create(name, b"0").ok());
    cluster.service("web", "d-torture", &["one", "two"]);
    for name in ["here", "there"] {
        let flags = ["-d", "--name", name, "--init=false"];
        let _ = host.run("web", &flags, &["sh", "-c", READER]).ok();
    }
    for round in 1..=ROUNDS {
        let victim = VICTIMS[usize::try_from(dice.below(3)).expect("few")];
        let late = Duration::from_millis(dice.below(AMID));
        let value = round.to_string();
        let leader = cluster.leader();
        std::thread::scope(|scope| {
            let (client, value) = (&mut client, value.as_bytes());
            scope.spawn(move || {
                // Done twice is done once: the value is the same.
                let both = secrets.map(|secret| (secret, value));
                until("an acknowledgement", || match client.update(&both) {
                    Outcome::Acknowledged(_) => Some(()),
                    Outcome::Refused(why) => panic!("refused: {why}"),
                    Outcome::NothingDone(_) | Outcome::Unknown(_) => None,
                });
            });
            // Where this hits it differs from round to round; nothing waits for it.
            std::thread::park_timeout(late);
            match victim {
                Victim::Agent => {
                    host.kill_agent();
                    host.start_agent();
                }
                Victim::Engine => {
                    host.kill_engine();
                    host.start_engine();
                }
                Victim::Leader => {
                    cluster.manager_mut(leader).kill();
                    cluster.bring_back(leader);
                }
            }
        });
        println!("{round}: {victim:?} after {late:?}");
        host.connected();
        for name in ["here", "there"] {
            host.reads(name, "two", &value);
            assert_eq!(host.ok(&["logs", name]), "", "in round {round}");
        }
    }
    host.counts("web", 2);
    let _ = host.ok(&["rm", "-f", "here", "there"]);
    host.counts("web", 0);
}
