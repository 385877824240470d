//! An agent that no manager reaches: how long what it shows stays, and what comes first when
//! it is back. Hosts are network namespaces; the wall clock is libfaketime's, and boot time that
//! went on while the machine slept is a time namespace's.

use std::fs;

use cluster_tests::{Member, Site, by_clock, turn_clock, until};

/// How the services are called, and how long what they show stays without managers.
const POLICIES: [(&str, &str); 3] =
    [("kept", "keep"), ("long", "max-age=1h"), ("short", "max-age=3s")];

fn shown(agent: &Member, service: &str) -> Option<String> {
    fs::read_to_string(agent.root().join(service).join("db")).ok()
}

fn shows(agent: &Member) -> Vec<&'static str> {
    let names = POLICIES.map(|(name, _)| name);
    names.into_iter().filter(|name| shown(agent, name).is_some()).collect()
}

/// A service of each policy on the only agent, which shows all of them.
fn site() -> Site {
    let site = Site::start(1);
    let _ = site.skep(&["secret", "create", "db", "-"], b"one").ok();
    for (name, policy) in POLICIES {
        let words = ["service", "create", name, "--node", "node-1", "--activation", "placed"];
        let _ = site.ok(&[&words[..], &["--offline", policy]].concat());
        let _ = site.ok(&["service", "grant", name, "db"]);
    }
    site
}

fn until_all_is_shown(site: &Site) {
    let agent = &site.agents[0];
    until("all of it", || (shows(agent).len() == POLICIES.len()).then_some(()));
}

#[test]
fn p7_a_node_that_is_away_shows_what_its_policies_say_and_all_of_it_when_it_is_back() {
    let site = site();
    until_all_is_shown(&site);
    site.net.cut(&site.agents[0].host);
    until("the end of its age", || (shows(&site.agents[0]) == ["kept", "long"]).then_some(()));
    site.net.heal(&site.agents[0].host);
    until_all_is_shown(&site);
}

#[test]
fn p7_no_wall_clock_shortens_or_stretches_how_long_a_node_may_be_away() {
    let mut site = site();
    let clocks = tempfile::tempdir().expect("a folder");
    let clock = clocks.path().join("clock");
    let words = by_clock(&clock);
    site.agent_again(0, &words.iter().map(String::as_str).collect::<Vec<_>>());
    until_all_is_shown(&site);
    // Two hours back, or ahead, of which one would be too long: what ends says that the time
    // was looked at since.
    for jump in ["-2h", "+2h"] {
        until("a session", || (site.agents[0].agent()["state"] == "connected").then_some(()));
        site.net.cut(&site.agents[0].host);
        until("that it is away", || (site.agents[0].agent()["state"] != "connected").then_some(()));
        turn_clock(&clock, jump);
        until("the end of its age", || (shows(&site.agents[0]) == ["kept", "long"]).then_some(()));
        turn_clock(&clock, "+0");
        site.net.heal(&site.agents[0].host);
        until_all_is_shown(&site);
    }
}

#[test]
fn p7_the_time_that_a_machine_slept_counts_also_for_an_agent_that_was_killed() {
    let mut site = site();
    until_all_is_shown(&site);
    site.net.cut(&site.agents[0].host);
    until("the end of its age", || (shows(&site.agents[0]) == ["kept", "long"]).then_some(()));
    // Half an hour later `long` may stay, and two hours later not.
    for (asleep, left) in [("1800", &["kept", "long"][..]), ("7200", &["kept"])] {
        site.agent_again(0, &["unshare", "--time", "--boottime", asleep]);
        until("an agent", || site.agents[0].agent()["state"].is_string().then_some(()));
        until("what may stay", || (shows(&site.agents[0]) == left).then_some(()));
    }
    site.net.heal(&site.agents[0].host);
    until_all_is_shown(&site);
}

#[test]
fn p4_what_was_revoked_while_a_node_was_away_goes_before_anything_new_comes() {
    let site = site();
    until_all_is_shown(&site);
    let agent = &site.agents[0];
    site.net.cut(&agent.host);
    // What was on its way when it was cut off would still come in its order.
    let state = ["node", "inspect", "node-1", "--format", "{{.State}}"];
    until("that it is missed", || (site.ok(&state).trim() == "down").then_some(()));
    let _ = site.skep(&["secret", "update", "db", "-", "--detach"], b"two").ok();
    let _ = site.ok(&["service", "revoke", "kept", "db", "--detach"]);
    let pending = site.ok(&["secret", "holders", "db"]);
    assert!(pending.contains("pending"), "{pending}");
    assert_eq!(shown(agent, "kept").as_deref(), Some("one"), "nobody reached it");
    site.net.heal(&agent.host);
    // The eye is quicker than the agent: what is gone is looked at after what is new.
    until("the new value", || (shown(agent, "long").as_deref() == Some("two")).then_some(()));
    assert_eq!(shown(agent, "kept"), None);
    until("its confirmation", || {
        (!site.ok(&["secret", "holders", "db"]).contains("pending")).then_some(())
    });
}
