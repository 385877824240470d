//! Names stand for one thing.

use cluster_tests::{Cluster, Ran};

/// Refused with 1, in these words and with this hint.
#[track_caller]
fn refused(ran: Ran, text: &str, hint: &str) {
    let ran = ran.status(1);
    assert!(ran.err.contains(text) && ran.err.contains(hint), "{}", ran.err);
}

#[test]
fn nothing_takes_an_id_for_its_name() {
    let cluster = Cluster::start(1);
    let create = |name: &str| cluster.skep_with(&["secret", "create", name, "-"], b"v");
    let secret = create("db").ok();
    let service = cluster.ok(&["service", "create", "web"]);
    let node = cluster.ok(&["node", "inspect", "node-1", "--format", "{{.ID}}"]);
    for id in [&secret, &service, &node, &secret.to_uppercase()] {
        refused(create(id), "reads as an id", "choose another name");
        refused(cluster.skep(&["service", "create", id]), "reads as an id", "another name");
        let token = cluster.ok(&["join-token", "worker", "-q", "--name", id]);
        assert_ne!(cluster.refused_join(id, &token), 0, "no node is called so either");
    }
    // What an id stood for stands for nothing once it is gone.
    let _ = cluster.ok(&["secret", "rm", &secret]);
    refused(create(&secret), "reads as an id", "choose another name");
    assert_eq!(cluster.ok(&["node", "ls", "-q"]).lines().count(), 2);
}

#[test]
fn a_name_that_is_taken_is_told_as_it_is_written() {
    let cluster = Cluster::start(1);
    cluster.secret("Db-Password", b"v");
    let again = cluster.skep_with(&["secret", "create", "db-password", "-"], b"v");
    refused(again, "secret Db-Password already exists", "skep secret update Db-Password");
    let _ = cluster.ok(&["service", "create", "Web"]);
    let again = cluster.skep(&["service", "create", "web"]);
    refused(again, "service Web already exists", "skep service update");
    let _ = cluster.ok(&["service", "create", "on-it", "--node", "NODE-1"]);
}

#[test]
fn a_service_is_placed_on_workers_that_are_there_or_awaited() {
    let mut cluster = Cluster::start(1);
    let hint = "skep join-token worker --name typo";
    let create = |words: &[&str]| cluster.skep(&[&["service", "create", "s"], words].concat());
    refused(create(&["--node", "typo"]), "worker typo not found", hint);
    refused(create(&["--node", "node-1", "--node", "typo"]), "worker typo not found", hint);
    refused(create(&["--constraint", "node.name==typo"]), "worker typo not found", hint);
    refused(create(&["--node", "manager-1"]), "worker manager-1 not found", "skep node ls");
    let _ = create(&["--node", "node-1", "--constraint", "node.name!=typo"]).ok();
    let update = |node: &str| cluster.skep(&["service", "update", "s", "--node-add", node]);
    refused(update("typo"), "worker typo not found", hint);

    // The way to say where a service will run: a token for that name, before the machine is there.
    cluster.secret("key", b"value");
    let _ = cluster.ok(&["join-token", "worker", "-q", "--name", "later-*"]);
    let later = ["service", "create", "web", "--node", "later-1", "--activation", "placed"];
    refused(cluster.skep(&later), "worker later-1 not found", "--name later-1");
    let token = cluster.ok(&["join-token", "worker", "-q", "--name", "later-1", "--uses", "1"]);
    let _ = cluster.ok(&later);
    let _ = cluster.ok(&["service", "grant", "web", "key"]);
    let anybody = cluster.ok(&["join-token", "worker", "-q"]);
    assert_ne!(cluster.refused_join("later-1", &anybody), 0, "another is awaited");
    cluster.begin_join_by("later-1", &token).connected();
    let _ = cluster.ok(&["service", "grant", "web", "key"]);
    let file = cluster.agents[1].file("web", "key");
    assert_eq!(std::fs::read_to_string(file).expect("delivered"), "value");
}

#[test]
fn the_name_of_a_node_that_is_gone_gives_a_newcomer_nothing() {
    let mut cluster = Cluster::start(0);
    cluster.secret("key", b"value");
    let anybody = cluster.ok(&["join-token", "worker", "-q"]);
    let everything = cluster.ok(&["join-token", "worker", "-q", "--name", "*"]);
    for name in ["db1", "db2", "db3"] {
        cluster.begin_join_by(name, &anybody).connected();
    }
    for (service, placement) in
        [("a", ["--node", "db1"]), ("b", ["--constraint", "node.name==DB2"])]
    {
        let words = [&["service", "create", service, "--activation", "placed"], &placement[..]];
        let _ = cluster.ok(&words.concat());
        let _ = cluster.ok(&["service", "grant", service, "key"]);
    }
    for agent in &mut cluster.agents {
        agent.kill();
    }
    let _ = cluster.ok(&["node", "rm", "--force", "--yes", "db1", "db2", "db3"]);
    for service in ["a", "b"] {
        let placed = cluster.ok(&["service", "inspect", service, "--format", "{{.Placed}}"]);
        assert_eq!(placed, "0", "it is nobody's name");
        // What stands in a service may stay there.
        let _ = cluster.ok(&["service", "update", service, "--label-add", "x=y"]);
    }
    for (name, token) in [("DB1", &anybody), ("db1", &everything), ("db2", &anybody)] {
        // A machine of that name, with nothing of the one before.
        assert_ne!(cluster.refused_join(&format!("again-{name}/{name}"), token), 0, "{name}");
    }
    assert_eq!(cluster.ok(&["node", "ls", "-q"]).lines().count(), 1);
    assert_eq!(cluster.ok(&["secret", "holders", "key", "-q"]), "");

    // Who is meant is said by a token for that name; a name that nothing is placed by is anybody's.
    let bound = cluster.ok(&["join-token", "worker", "-q", "--name", "db1", "--uses", "1"]);
    cluster.begin_join_by("anew/db1", &bound).connected();
    let _ = cluster.ok(&["service", "grant", "a", "key"]);
    let file = cluster.agents.last().expect("joined").file("a", "key");
    assert_eq!(std::fs::read_to_string(file).expect("delivered"), "value");
    cluster.begin_join_by("anew/db3", &anybody).connected();
}
