//! What can't be undone is said twice: on a terminal by the name, elsewhere by `--yes`.

use std::process::Command;

use cluster_tests::terminal::{leading, type_in};
use cluster_tests::{Cluster, Ran, binary, run};

/// Refused without anything done, for nobody can be asked.
#[track_caller]
fn unsure(command: &mut Command) {
    // What is piped in is no answer.
    let ran = run(command, b"node-1\nmanager-1\nyes\ny\n").status(2);
    assert!(ran.err.contains("can't be undone") && ran.err.contains("--yes"), "{}", ran.err);
}

fn typed(command: &Command, text: &str) -> Ran {
    type_in(leading(command), text)
}

#[test]
fn a_node_is_written_off_by_its_name() {
    let mut cluster = Cluster::start(2);
    cluster.agents[0].kill();
    let forced = ["node", "rm", "--force", "node-1"];
    unsure(&mut cluster.command(&forced));
    for wrong in ["", "y", "yes", "node-2", "node-1x"] {
        let ran = typed(&cluster.command(&forced), wrong).status(1);
        assert!(ran.out.contains("what was typed is not node-1"), "{wrong}: {}", ran.out);
    }
    let both = ["node", "rm", "--force", "node-1", "node-2"];
    let ran = typed(&cluster.command(&both), "node-1").status(1);
    assert!(ran.out.contains("not node-2"), "each is asked for: {}", ran.out);
    assert_eq!(cluster.ok(&["node", "ls", "-q"]).lines().count(), 3, "nothing was done");
    let ran = typed(&cluster.command(&forced), "node-1").status(0);
    assert!(ran.out.contains("node-1: what it may still hold is written off"), "{}", ran.out);
    let _ = cluster.ok(&["node", "rm", "--force", "-y", "node-2"]);
    assert_eq!(cluster.ok(&["node", "ls", "-q"]).lines().count(), 1);
    let _ = cluster.skep(&["node", "rm", "node-1"]).status(1);
}

#[test]
fn a_manager_is_erased_by_its_name() {
    let mut cluster = Cluster::start(0);
    let (manager, socket) = (&cluster.manager, cluster.manager.socket());
    let command = |words: &[&str]| {
        let mut command = Command::new(binary());
        command.args(words).arg("--socket").arg(&socket);
        command
    };
    let (leave, repair) = (["leave", "--force"], ["manager", "repair"]);
    unsure(&mut command(&leave));
    unsure(&mut command(&repair));
    let ran = typed(&command(&leave), "manager").status(1);
    assert!(ran.out.contains("not manager-1"), "{}", ran.out);
    // It is asked before it is refused: this one's disk is not behind.
    let ran = typed(&command(&repair), "other").status(1);
    assert!(ran.out.contains("not manager-1"), "{}", ran.out);
    let ran = typed(&command(&repair), "manager-1").status(1);
    assert!(!ran.out.contains("what was typed"), "{}", ran.out);
    assert!(manager.data().join("manager.key").exists(), "nothing was done");
    let ran = typed(&command(&leave), "manager-1").status(0);
    assert!(ran.out.contains("erased"), "{}", ran.out);
    let manager = &mut cluster.manager;
    assert_eq!(manager.ended(), 0);
    assert!(!manager.data().join("manager.key").exists());
}
