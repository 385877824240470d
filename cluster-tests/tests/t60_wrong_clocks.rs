//! A wrong clock is named, whoever has it, and nothing is lost by it: a command, an agent that
//! starts or joins, a manager that starts. Once the clock is right all of them go on by
//! themselves. Clocks are libfaketime's.

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use cluster_tests::{Cluster, Manager, Ran, clocked, run, set_clock, until, with_clock};

/// How wrong a clock is, and how that is named.
const WRONG: [(&str, &str); 2] = [
    ("-400d", "clock is 400 days behind the cluster's"),
    ("+400d", "clock is 400 days ahead of the cluster's"),
];

fn log(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

#[test]
fn a_command_with_a_wrong_clock_is_told_by_how_much() {
    let cluster = Cluster::start_with(3, 0);
    let with = |words: &[&str], offset: &str| -> Ran {
        let mut command = cluster.command(words);
        with_clock(&mut command, offset);
        run(&mut command, b"v")
    };
    for (offset, named) in WRONG {
        for words in [&["secret", "ls"][..], &["secret", "create", "s", "-"], &["node", "ls"]] {
            let refused = with(words, offset).status(3);
            assert!(refused.err.contains(named), "{offset}: {}", refused.err);
            assert!(refused.err.contains("timedatectl"), "{offset}: {}", refused.err);
        }
    }
    assert_eq!(with(&["secret", "ls", "-q"], "+0").ok(), "", "nothing was done");
    // Off by less than a certificate's life in the future it is nobody's concern.
    let _ = with(&["secret", "ls"], "+20d").ok();
}

#[test]
fn an_agent_with_a_wrong_clock_names_it_and_goes_on_once_it_is_right() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut cluster = Cluster::start_by(&clocked(folder.path()), 1, 1);
    cluster.secret("s", b"one");
    let words = ["service", "create", "web", "--node", "node-1", "--activation", "placed"];
    let _ = cluster.ok(&words);
    let _ = cluster.ok(&["service", "grant", "web", "s"]);
    for (offset, named) in WRONG {
        // It has an identity.
        let data = cluster.agents[0].data();
        cluster.agents[0].kill();
        set_clock(&data, offset);
        cluster.agents[0].start_again();
        until("the clock to be named", || {
            log(&cluster.agents[0].log()).contains(named).then_some(())
        });
        until("it to be told on the node", || {
            cluster.agents[0].skep(&["agent", "status"]).out.contains(named).then_some(())
        });
        assert!(log(&cluster.agents[0].log()).contains("timedatectl"));
        set_clock(&data, "+0");
        cluster.agents[0].connected();
        let file = cluster.agents[0].file("web", "s");
        until("its secret", || (fs::read(&file).ok()? == b"one").then_some(()));
    }
    let _ = cluster.ok(&["service", "rm", "web"]);
    for (offset, named) in WRONG {
        // It joins.
        let token = cluster.ok(&["join-token", "worker", "-q"]);
        let agent = &mut cluster.agents[0];
        let _ = agent.stop();
        fs::remove_dir_all(agent.data()).expect("its identity");
        fs::DirBuilder::new().mode(0o700).create(agent.data()).expect("an empty folder");
        fs::remove_file(agent.log()).expect("its log");
        let removed = cluster.manager.skep(&["node", "rm", "--force", "--yes", "node-1"]);
        let _ = removed.ok();
        set_clock(&agent.data(), offset);
        agent.join_anew(&token);
        until("the clock to be named", || log(&agent.log()).contains(named).then_some(()));
        set_clock(&agent.data(), "+0");
        agent.connected();
    }
}

fn warned(manager: &Manager) -> String {
    let status = manager.status();
    let all = status["warnings"].as_array().cloned().unwrap_or_default();
    let told: Vec<_> = all.iter().map(|one| format!("{}; {}", one["text"], one["hint"])).collect();
    told.join("\n")
}

#[test]
fn a_manager_with_a_wrong_clock_names_it_and_takes_part_once_it_is_right() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut cluster = Cluster::start_by(&clocked(folder.path()), 3, 0);
    let key = cluster.unlock_key().display().to_string();
    for (offset, named) in WRONG {
        let manager = cluster.manager_mut(2);
        let _ = manager.stop();
        set_clock(&manager.data(), offset);
        manager.start_again();
        let _ = manager.skep(&["unlock", "--key-file", &key]).ok();
        let manager = cluster.managers().nth(2).expect("the third");
        until("a warning that names it", || warned(manager).contains(named).then_some(()));
        assert!(warned(manager).contains("timedatectl"), "{}", warned(manager));
        until("its log to name it", || log(&manager.log()).contains(named).then_some(()));
        // The others go on without it.
        let other = cluster.managers().next().expect("the first");
        let name = format!("s{}", &offset[..1].replace('+', "p").replace('-', "m"));
        let _ = other.skep_with(&["secret", "create", &name, "-"], b"v").ok();
        // Nobody starts it again.
        set_clock(&manager.data(), "+0");
        until("it takes part", || {
            let takes_part = ["leader", "follower"].contains(&manager.state().as_str());
            let listed = manager.skep(&["secret", "ls", "--stale"]);
            (takes_part && listed.out.contains(&name) && !warned(manager).contains("clock"))
                .then_some(())
        });
    }
}

#[test]
fn managers_that_run_while_all_clocks_jump_past_every_end_find_each_other() {
    let folder = tempfile::tempdir().expect("a folder");
    let cluster = Cluster::start_by(&clocked(folder.path()), 3, 0);
    for offset in ["+400d", "+0"] {
        for manager in cluster.managers() {
            set_clock(&manager.data(), offset);
        }
        let name = format!("s{}", offset.trim_start_matches('+'));
        until("a write", || {
            let words = ["secret", "create", &name, "-", "--timeout", "5s"];
            let created = cluster.managers().next()?.skep_with(&words, b"v");
            (created.status == 0 || created.err.contains("exists")).then_some(())
        });
        for manager in cluster.managers() {
            until("all take part", || {
                let listed = manager.skep(&["secret", "ls", "--stale"]);
                let takes_part = ["leader", "follower"].contains(&manager.state().as_str());
                (takes_part && listed.out.contains(&name)).then_some(())
            });
        }
    }
}
