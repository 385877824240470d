//! Every example that `--help` shows, typed as it stands there, on machines where it
//! makes sense.
//!
//! Each machine has a network address, a name, and `/run`, `/var/lib`, `/etc`, `/root`,
//! `/media` and `/usr/bin` of its own, so that the default paths are the ones in use.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use cluster_tests::{Machine, Net, OTHER, binary, commands, help};

/// What stands in an example for something that nobody knows before: an id, a digest.
const IN_PLACE: &[(&str, &str)] = &[
    ("6v3qpwhcxmjtq4hs6ew2c5ubea", "$(cat token-id)"),
    ("4kq2w7mzxgcy3v5tq6bn2h4daa", "$(cat operator-id)"),
    ("5f1c...e2", "$(cat fingerprint)"),
];

/// Line by line: the machine, how, and what is typed there.
///
/// `$` runs an example, and `#` what makes it fit; both must end with 0. `&` starts an
/// example that is a daemon, `&#` one that is none; `!` ends it by TERM with status 0,
/// `.` waits for its own end with this status. `@FILE` runs an example on a terminal and
/// types the first line of the file whenever it asks.
const PLAY: &str = include_str!("t41_examples.txt");

/// When a daemon is ready.
fn ready(line: &str) -> String {
    let command = if line.starts_with("skep manager") {
        "skep status --format '{{.State}}' --timeout 1s | grep -q ."
    } else if line.starts_with("skep agent") {
        "skep agent status --format '{{.State}}' | grep -qx connected"
    } else {
        "grep -q 'all is up' \"$SHARED/$(hostname).log\""
    };
    command.to_owned()
}

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
    let mode = fs::Permissions::from_mode(0o755);
    fs::set_permissions(folder.path(), mode).expect("a mode");
    let folder = folder.path().canonicalize().expect("the folder");
    fs::create_dir(folder.join("bin")).expect("a folder");
    let skep = folder.join("bin/skep");
    if fs::hard_link(binary(), &skep).is_err() {
        let _ = fs::copy(binary(), &skep).expect("a copy");
    }
    let mut net = Net::new();
    let mut machines: BTreeMap<String, Machine> = BTreeMap::new();
    for name in ["m1", "m2", "m3", "far", "web1", "db3", "lone"] {
        machines.insert(name.to_owned(), Machine::new(&mut net, &folder, name));
    }
    let line =
        |machine: &Machine| format!("{0} {1} {1}.example.org\n", machine.address(), machine.name);
    let hosts: String = machines.values().map(line).collect();
    fs::write(folder.join("hosts"), hosts).expect("a file");
    for machine in machines.values() {
        let _ = machine.run("cat $SHARED/hosts >> /etc/hosts").ok();
    }

    let mut played = BTreeSet::new();
    let lines = PLAY.lines().filter(|line| !line.is_empty() && !line.starts_with("//"));
    for act in lines {
        let (name, rest) = act.split_once(' ').expect("a machine");
        let (how, typed) = rest.split_once(' ').unwrap_or((rest, ""));
        let machine = machines.get_mut(name).expect("a machine of this name");
        if !how.contains('#') && !matches!(how, "!" | ".") {
            assert!(wanted.contains(typed), "no example says: {typed}");
            played.insert(typed.to_owned());
        }
        perform(machine, how, typed);
    }
    let left: Vec<_> = wanted.difference(&played).collect();
    assert!(left.is_empty(), "not played: {left:#?}");
}

fn perform(machine: &mut Machine, how: &str, typed: &str) {
    let mut line = typed.to_owned();
    for (shown, real) in IN_PLACE {
        line = line.replace(shown, real);
    }
    if line.starts_with("cd ") {
        // A shell goes nowhere without complaint, too.
        line.push_str(" && test -s db-password");
    }
    let ran = match how {
        "&" | "&#" => return machine.start(&line, &ready(&line)),
        "!" => return assert_eq!(machine.stop(), 0, "{}", said(machine)),
        "." => {
            let status: i32 = typed.parse().expect("a status");
            return assert_eq!(machine.ended(), status, "{}", said(machine));
        }
        "$" | "#" => machine.run(&line),
        file => {
            let file = file.strip_prefix('@').expect("$ # & &# ! . or @FILE");
            let text = machine.run(&format!("cat {file}")).ok();
            machine.type_in(&line, &text)
        }
    };
    let (name, log) = (&machine.name, said(machine));
    assert_eq!(ran.status, 0, "{name} {how} {typed}\n{}\n{}\n\n{log}", ran.out, ran.err);
}

fn said(machine: &Machine) -> String {
    fs::read_to_string(machine.log()).unwrap_or_default()
}
