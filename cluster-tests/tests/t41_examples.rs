//! Every example that `--help` shows, typed as it stands there, on machines where it
//! makes sense.

use std::collections::BTreeSet;

use cluster_tests::{OTHER, commands, help, play};

/// The lines below `Examples:` in the help of every command, without the remark behind.
fn examples() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for command in commands().into_iter().filter(|command| !OTHER.contains(&command.as_str())) {
        let help = help(&command);
        let after = help.lines().skip_while(|line| *line != "Examples:").skip(1);
        let lines = after.map_while(|line| line.strip_prefix("  "));
        found.extend(lines.map(|line| line.trim().to_owned()));
    }
    found
}

#[test]
fn every_example_in_the_help_does_what_it_says() {
    let wanted = examples();
    assert!(wanted.len() > 60, "only {} examples were found", wanted.len());
    let folder = tempfile::Builder::new().prefix("skep-examples-").tempdir().expect("a folder");
    let machines = ["m1", "m2", "m3", "far", "web1", "db3", "lone"];
    play(folder.path(), &machines, include_str!("t41_examples.txt"), &wanted);
}
