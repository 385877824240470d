//! A play: lines that are typed on machines in turn, each of which must do what it says.
//!
//! A line of it is the machine's name, how, and what is typed there. `$` runs a line that is
//! shown to people, and `#` what makes it fit; both must end with 0. `&` starts a shown line
//! that is a daemon, `&#` one that is none; `!` ends it by TERM with status 0, `.` waits for its
//! own end with this status. `@FILE` runs a shown line on a terminal and types the first line
//! of the file whenever it asks. Empty lines and those that begin with `//` are remarks.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::{Machine, Net, binary};

/// What stands in shown lines for something that nobody knows before: an id, a digest.
const IN_PLACE: &[(&str, &str)] =
    &[("6v3qpwhcxmjtq4hs6ew2c5ubea", "$(cat token-id)"), ("5f1c...e2", "$(cat fingerprint)")];

/// Plays `play` on machines of these names, whose files are below `folder`: every line of
/// `shown` is typed at least once, and nothing is called shown that is not.
///
/// Each machine has a network address, a name, and `/run`, `/var/lib`, `/etc`, `/root`,
/// `/media` and `/usr/bin` of its own, so that the default paths are the ones in use.
///
/// # Panics
/// Where a line does not do what it should, or the play and what is shown differ.
pub fn play(folder: &Path, names: &[&str], play: &str, shown: &BTreeSet<String>) {
    let mode = fs::Permissions::from_mode(0o755);
    fs::set_permissions(folder, mode).expect("a mode");
    let folder = folder.canonicalize().expect("the folder");
    install(&folder.join("bin"));
    let mut net = Net::new();
    let mut machines: BTreeMap<String, Machine> = BTreeMap::new();
    for name in names {
        machines.insert((*name).to_owned(), Machine::new(&mut net, &folder, name));
    }
    let line =
        |machine: &Machine| format!("{0} {1} {1}.example.org\n", machine.address(), machine.name);
    let hosts: String = machines.values().map(line).collect();
    fs::write(folder.join("hosts"), hosts).expect("a file");
    for machine in machines.values() {
        let _ = machine.run("cat $SHARED/hosts >> /etc/hosts").ok();
    }

    let mut played = BTreeSet::new();
    for act in play.lines().filter(|line| !line.is_empty() && !line.starts_with("//")) {
        let (name, rest) = act.split_once(' ').expect("a machine");
        let (how, typed) = rest.split_once(' ').unwrap_or((rest, ""));
        let machine = machines.get_mut(name).expect("a machine of this name");
        if !how.contains('#') && !matches!(how, "!" | ".") {
            assert!(shown.contains(typed), "it is shown nowhere: {typed}");
            played.insert(typed.to_owned());
        }
        perform(machine, how, typed);
    }
    let left: Vec<_> = shown.difference(&played).collect();
    assert!(left.is_empty(), "not played: {left:#?}");
}

/// A page of docs/operate, or one that is named with its folder.
///
/// # Panics
/// Where there is no such page.
#[must_use]
pub fn page(name: &str) -> String {
    let folder = if name.contains('/') { "../docs" } else { "../docs/operate" };
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder).join(name);
    fs::read_to_string(path).expect(name)
}

/// The lines for a shell that a page shows, in their order.
#[must_use]
pub fn lines_of(name: &str) -> Vec<String> {
    let text = page(name);
    let blocks = text.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    blocks.flat_map(str::lines).map(str::to_owned).collect()
}

/// The same, each once.
#[must_use]
pub fn shown_in(name: &str) -> BTreeSet<String> {
    lines_of(name).into_iter().collect()
}

/// Puts our programs into a folder.
fn install(bin: &Path) {
    fs::create_dir(bin).expect("a folder");
    for program in ["skep", "skep-docker", "skep-registry", "docker-credential-skep"] {
        let (from, to) = (binary().with_file_name(program), bin.join(program));
        if fs::hard_link(&from, &to).is_err() {
            let _ = fs::copy(&from, &to).expect("a copy");
        }
    }
}

/// When a daemon is ready.
fn ready(line: &str) -> String {
    let command = if line.starts_with("skep manager") {
        "skep status --format '{{.State}}' --timeout 1s | grep -q ."
    } else if line.starts_with("skep agent") {
        "skep agent status --format '{{.State}}' | grep -qx connected"
    } else if line.starts_with("skep docker-api") {
        "docker --host unix:///run/skep/docker.sock version"
    } else if line.contains(" registry ") || line.starts_with("docker-registry") {
        "grep -q listening \"$LOG\""
    } else {
        "grep -q 'all is up' \"$LOG\""
    };
    command.to_owned()
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
