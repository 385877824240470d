//! Managers that are moved by one command, and whoever has to find them again.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;

use cluster_tests::{Cluster, Manager, crossing, rpc, run, until};
use skep::daemon::dev;

/// The admin's command, which knows of the managers by the identity file alone.
fn by_identity(cluster: &Cluster, words: &[&str]) -> Command {
    let mut command = cluster.command(words);
    command.env_remove("SKEP_HOST");
    command
}

/// Where a manager is on record, as `node ls` shows it.
fn on_record(cluster: &Cluster, name: &str) -> String {
    let filter = format!("name={name}");
    cluster.ok(&["node", "ls", "--filter", &filter, "--format", "{{.Address}}"]).trim().to_owned()
}

fn follows(cluster: &Cluster, number: usize) {
    until("a follower", || {
        let manager = cluster.managers().nth(number).expect("so many");
        ["follower", "leader"].contains(&manager.state().as_str()).then_some(())
    });
}

fn names(path: &Path, address: &str) {
    until("an address written down", || {
        fs::read_to_string(path).ok()?.contains(address).then_some(())
    });
}

#[test]
fn a_running_manager_is_moved_by_one_command_and_stays_there() {
    let ways = rpc::runtime();
    let mut cluster = Cluster::start_with(3, 1);
    names(&cluster.others[0].data().join("advertised"), &cluster.others[0].address());
    let at: std::net::SocketAddr = cluster.others[0].address().parse().expect("an address");
    let way = ways.block_on(crossing(at, Ipv4Addr::LOCALHOST)).to_string();
    let goes = |to: &str| cluster.skep(&["node", "update", "--address", to, "manager-2"]);

    // One that answers where it is goes nowhere where it doesn't: nor where another one is.
    let closed = format!("127.0.0.1:{}", dev::free_ports(1).expect("a port")[0]);
    for nowhere in [closed, cluster.manager.address()] {
        let refused = goes(&nowhere).status(1);
        assert!(refused.err.contains("manager-2 does not answer at"), "{}", refused.err);
    }
    let _ = cluster.skep(&["node", "update", "--address", &way, "node-1"]).status(1);
    let _ = goes("0.0.0.0:4440").status(2);
    assert_eq!(on_record(&cluster, "manager-2"), at.to_string());

    let moved = goes(&way).status(0);
    assert!(!moved.err.contains("warning"), "{}", moved.err);
    assert_eq!(on_record(&cluster, "manager-2"), way);
    names(&cluster.agents[0].data().join("state.toml"), &way);
    let _ = run(&mut by_identity(&cluster, &["secret", "ls"]), b"").ok();
    assert!(fs::read_to_string(cluster.identity()).expect("an identity").contains(&way));

    // What it was started with, and told before, does not contradict that.
    cluster.manager_mut(1).kill();
    cluster.bring_back(1);
    follows(&cluster, 1);
    until("its own status without a warning", || {
        let status = cluster.others[0].skep(&["status", "--format", "json"]).out;
        (status.contains("\"state\"") && !status.contains("address-not-on-record")).then_some(())
    });
    assert_eq!(on_record(&cluster, "manager-2"), way);
}

#[test]
fn a_manager_that_is_down_is_moved_and_comes_back_there() {
    let mut cluster = Cluster::start_with(3, 0);
    let old = cluster.others[0].address();
    names(&cluster.others[0].data().join("advertised"), &old);
    let new = format!("127.0.0.1:{}", dev::free_ports(1).expect("a port")[0]);
    cluster.manager_mut(1).kill();
    let moved = cluster.skep(&["node", "update", "--address", &new, "manager-2"]).status(0);
    assert!(moved.err.contains("manager-2 does not answer there yet"), "{}", moved.err);
    // Its settings still advertise the old address.
    let listen = |address: &str| format!("listen = \"{address}\"");
    cluster.others[0].settings(|text| {
        assert!(text.contains(&listen(&old)) && text.contains("advertise"), "{text}");
        text.replace(&listen(&old), &listen(&new))
    });
    cluster.bring_back(1);
    follows(&cluster, 1);
    until("three that are reached", || {
        let ls = cluster.ok(&["node", "ls", "--format", "json"]);
        (!ls.contains("unreachable")).then_some(())
    });
    assert_eq!(on_record(&cluster, "manager-2"), new);
}

#[test]
fn an_agent_finds_the_cluster_by_the_one_address_that_is_left_of_those_it_learned() {
    let mut cluster = Cluster::start(1);
    cluster.secret("db", b"one");
    cluster.service("web", "node-1", &["db"]);
    let mut shell = cluster.shell(0, "web");
    for name in ["manager-2", "manager-3"] {
        let _ = cluster.join_manager(name);
    }
    let state = cluster.agents[0].data().join("state.toml");
    names(&state, &cluster.others[1].address());
    names(&cluster.identity(), &cluster.others[1].address());
    let old: Vec<String> = cluster.managers().map(Manager::address).collect();

    // The first two move while it is away; the third, of which it heard after it had joined,
    // is all that it finds where it knows it.
    cluster.agents[0].kill();
    for number in 0..2 {
        cluster.manager_mut(number).moves();
        cluster.bring_back(number);
        follows(&cluster, number);
        let (name, address) = (
            format!("manager-{}", number + 1),
            cluster.managers().nth(number).expect("it").address(),
        );
        until("its new address on record", || {
            (on_record(&cluster, &name) == address).then_some(())
        });
    }
    for gone in old.iter().take(2) {
        assert!(std::net::TcpStream::connect(gone).is_err(), "{gone} is gone");
    }
    cluster.agents[0].start_again();
    cluster.agents[0].connected();
    cluster.update("db", b"two");
    until("the new value", || (shell.read("db") == "two").then_some(()));

    // So does the identity, which was not used meanwhile, and knows all of them then.
    let _ = run(&mut by_identity(&cluster, &["secret", "ls"]), b"").ok();
    for address in cluster.managers().map(Manager::address) {
        names(&cluster.identity(), &address);
        names(&state, &address);
    }
    // The third moves too: everybody has heard of the others in time.
    cluster.manager_mut(2).moves();
    let _ = run(&mut by_identity(&cluster, &["secret", "ls"]), b"").ok();
    cluster.bring_back(2);
    follows(&cluster, 2);
    cluster.agents[0].kill();
    cluster.agents[0].start_again();
    cluster.agents[0].connected();
}

#[test]
fn addresses_that_swallow_everything_are_waited_for_together() {
    let cluster = Cluster::start(0);
    // Connected sockets of a full backlog: whoever comes later hears nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = silent.local_addr().expect("its address").to_string();
    let mut hosts = vec![address; 20];
    hosts.push(cluster.manager.address());
    let hosts = hosts.join(",");
    let words = ["secret", "ls", "--host", &hosts, "--timeout", "20s"];
    let _ = run(&mut by_identity(&cluster, &words), b"").ok();
}
