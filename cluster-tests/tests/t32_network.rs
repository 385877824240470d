//! What a network does: hosts apart, one way only, and whole again.

use std::fs;

use cluster_tests::{Host, Member, Net, Site, run, until};

/// The places of the managers that are not this one.
fn others(one: usize) -> [usize; 2] {
    [(one + 1) % 3, (one + 2) % 3]
}

/// A file below an agent's root, as the host sees it.
fn shown(agent: &Member, service: &str, target: &str) -> Option<String> {
    fs::read_to_string(agent.root().join(service).join(target)).ok()
}

/// A secret `db` that runs on each of the agents as `web-1`, `web-2`, …
fn deliver(site: &Site) {
    let _ = site.skep(&["secret", "create", "db", "-"], b"one").ok();
    for (number, agent) in (1..).zip(&site.agents) {
        let service = format!("web-{number}");
        let words =
            ["service", "create", &service, "--node", &agent.name, "--activation", "placed"];
        let _ = site.ok(&words);
        let _ = site.ok(&["service", "grant", &service, "db"]);
        assert_eq!(shown(agent, &service, "db").as_deref(), Some("one"));
    }
}

fn holders(site: &Site) -> String {
    until("the holders", || {
        let ran = site.skep(&["secret", "holders", "db"], b"");
        (ran.status == 0).then_some(ran.out)
    })
}

#[test]
fn the_net_itself_cuts_and_heals() {
    let mut net = Net::new();
    let (one, two) = (net.host(), net.host());
    let reaches = |from: &Host, to: &Host| {
        // Nobody listens there: who is reached refuses at once.
        let knock = format!("exec 3<>/dev/tcp/{}/9", to.address());
        let mut bash = from.command("timeout");
        run(bash.args(["0.5", "bash", "-c", &knock]), b"").err.contains("refused")
    };
    assert!(reaches(&one, &two));
    net.cut(&two);
    assert!(!reaches(&one, &two));
    net.heal(&two);
    assert!(reaches(&one, &two));
    net.cut_way(&one, &two);
    assert!(!reaches(&one, &two));
    net.heal_way(&one, &two);
    assert!(reaches(&one, &two));
}

#[test]
fn p8_a_leader_cut_off_from_its_majority_refuses_writes_and_cuts_its_sessions() {
    let site = Site::start(2);
    deliver(&site);
    let old = site.leader_of(&[0, 1, 2]);
    // The leader and the first agent on one side, everybody else on the other.
    let (leader, near, far) = (&site.managers[old], &site.agents[0], &site.agents[1]);
    assert_eq!(near.agent()["manager"].as_str(), Some(leader.address().as_str()));
    site.net.cut(&leader.host);
    site.net.cut(&near.host);
    until("the end of a session with a leader of nobody", || {
        (near.agent()["state"] != "connected").then_some(())
    });
    let write = ["secret", "create", "lost", "-", "--timeout", "3s"];
    let refused = site.skep_on(&near.host, &[leader], &write, b"v").status(3);
    assert!(refused.err.contains("hint:"), "{}", refused.err);
    let _ =
        site.skep_on(&near.host, &[leader], &["secret", "ls", "--timeout", "3s"], b"").status(3);
    assert_ne!(leader.state(), "leader", "it says so itself");

    // The others have elected one of them, and go on.
    let next = site.leader_of(&others(old));
    let _ = site.skep(&["secret", "update", "db", "-", "-d"], b"two").ok();
    until("the far agent's new value", || {
        (shown(far, "web-2", "db").as_deref() == Some("two")).then_some(())
    });
    assert_eq!(shown(near, "web-1", "db").as_deref(), Some("one"), "nobody reached it");

    let term = site.managers[next].status()["term"].as_u64().expect("a term");
    site.net.heal(&leader.host);
    site.net.heal(&near.host);
    until("the old leader's return", || (leader.state() == "follower").then_some(()));
    until("the near agent's new value", || {
        (shown(near, "web-1", "db").as_deref() == Some("two")).then_some(())
    });
    assert_eq!(
        site.ok(&["secret", "ls", "--format", "{{.Name}}"]),
        "db",
        "nothing refused is there"
    );
    let after = site.managers[next].status()["term"].as_u64();
    assert_eq!(after, Some(term), "its return caused an election");
}

#[test]
fn p4_a_revoke_is_pending_through_a_partition_and_the_death_of_its_leader() {
    let mut site = Site::start(1);
    deliver(&site);
    let leader = site.leader_of(&[0, 1, 2]);
    site.net.cut(&site.agents[0].host);
    let late = site.skep(&["service", "revoke", "web-1", "db", "--timeout", "2s"], b"").status(5);
    assert!(late.err.contains("node-1"), "the node is named: {}", late.err);
    assert!(holders(&site).contains("pending"));

    site.managers[leader].kill();
    let next = site.leader_of(&others(leader));
    assert!(holders(&site).contains("pending"), "the next leader forgot it");
    assert_eq!(shown(&site.agents[0], "web-1", "db").as_deref(), Some("one"), "nobody reached it");

    site.net.heal(&site.agents[0].host);
    until("the wipe", || shown(&site.agents[0], "web-1", "db").is_none().then_some(()));
    until("its confirmation", || (!holders(&site).contains("pending")).then_some(()));
    assert_eq!(site.ok(&["secret", "holders", "db", "-q"]), "");
    site.bring_back(leader);
    until("the old leader's return", || {
        (site.managers[leader].state() == "follower").then_some(())
    });
    assert_eq!(site.managers[next].state(), "leader");
}

#[test]
fn p3_a_one_way_cut_between_two_managers_stops_nobody() {
    let site = Site::start(0);
    let leader = site.leader_of(&[0, 1, 2]);
    let [deaf, other] = others(leader);
    let term = |manager: usize| site.managers[manager].status()["term"].as_u64();
    let before = term(leader);

    // What the leader sends to one follower is lost; the other way is open, and so
    // is all between the two followers.
    site.net.cut_way(&site.managers[leader].host, &site.managers[deaf].host);
    until("a follower without a leader", || {
        (site.managers[deaf].state() != "follower").then_some(())
    });
    for number in 0..20 {
        let words = ["secret", "create", &format!("s{number}"), "-"];
        let _ = site.skep(&words, b"v").ok();
    }
    // It hears of nobody and would like an election; who hears the leader grants none.
    assert_eq!((term(leader), term(other)), (before, before), "the deaf one deposed the leader");
    assert_eq!(site.managers[leader].state(), "leader");

    site.net.heal_way(&site.managers[leader].host, &site.managers[deaf].host);
    until("its return", || (site.managers[deaf].state() == "follower").then_some(()));
    until("all that it missed", || {
        let words = ["secret", "ls", "-q", "--stale"];
        let ran = site.skep_on(&site.desk, &[&site.managers[deaf]], &words, b"");
        (ran.out.lines().count() == 20).then_some(())
    });
    assert_eq!(term(leader), before, "its return deposed the leader");
}

#[test]
fn p3_a_leader_that_nobody_hears_is_replaced() {
    let site = Site::start(0);
    let old = site.leader_of(&[0, 1, 2]);
    // It hears everybody; nobody hears it.
    for other in others(old) {
        site.net.cut_way(&site.managers[old].host, &site.managers[other].host);
    }
    let next = site.leader_of(&others(old));
    let _ = site.skep(&["secret", "create", "kept", "-"], b"v").ok();
    let write = ["secret", "create", "lost", "-", "--timeout", "3s"];
    let old_leader = &site.managers[old];
    // Until it knows that nobody hears it, what becomes of a write is unknown.
    until("its own notice", || (old_leader.state() != "leader").then_some(()));
    let _ = site.skep_on(&old_leader.host, &[old_leader], &write, b"v").status(3);

    for other in others(old) {
        site.net.heal_way(&old_leader.host, &site.managers[other].host);
    }
    until("its return", || (old_leader.state() == "follower").then_some(()));
    assert_eq!(site.managers[next].state(), "leader");
    assert_eq!(site.ok(&["secret", "ls", "--format", "{{.Name}}"]), "kept");
}

#[test]
fn p8_a_manager_removed_while_it_was_cut_off_comes_back_and_disturbs_nobody() {
    let site = Site::start(0);
    let leader = site.leader_of(&[0, 1, 2]);
    let gone = others(leader)[0];
    let cut = &site.managers[gone];
    site.net.cut(&cut.host);
    until("it to be alone", || (cut.state() == "no-quorum").then_some(()));
    let name = format!("manager-{}", gone + 1);
    until("its removal", || (site.skep(&["node", "rm", &name], b"").status == 0).then_some(()));
    let leader = site.leader_of(&[leader, others(leader)[1]]);
    let term = site.managers[leader].status()["term"].as_u64().expect("a term");
    site.net.heal(&cut.host);
    // It asks how it stands with them, hears it, and ends.
    until("its end", || (cut.state() != "no-quorum").then_some(()));
    let _ = site.skep(&["secret", "create", "after", "-"], b"v").ok();
    let after = site.managers[leader].status()["term"].as_u64();
    assert_eq!(after, Some(term), "its return caused an election");
    assert_eq!(site.managers[leader].state(), "leader");
}
