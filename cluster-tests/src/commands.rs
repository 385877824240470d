//! The commands there are, as the built binary lists them.

use std::collections::BTreeSet;
use std::path::Path;

use super::process::{binary, mortal, run};

/// Other programs, whose commands are their own.
pub const OTHER: [&str; 3] = ["registry", "docker-api", "compose"];

/// Every command and group of commands: `secret`, `secret create`, …
///
/// # Panics
/// Where the help lists others than there are manual pages of.
#[must_use]
pub fn commands() -> Vec<String> {
    let mut found = Vec::new();
    below("", &mut found);
    let folder = tempfile::tempdir().expect("a folder");
    let _ = run(mortal(&binary()).arg("man").arg(folder.path()), b"").ok();
    let listed = found.iter().map(|path| format!("skep-{}.1", path.replace(' ', "-")));
    let listed: BTreeSet<String> = listed.chain(["skep.1".to_owned()]).collect();
    assert_eq!(listed, names(folder.path()), "the help lists others than there are");
    found
}

/// What `--help` of a command says.
#[must_use]
pub fn help(path: &str) -> String {
    run(mortal(&binary()).args(path.split_whitespace()).arg("--help"), b"").ok()
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into()).collect()
}

fn below(path: &str, found: &mut Vec<String>) {
    for word in words(&help(path), path.is_empty()) {
        let path = format!("{path} {word}").trim_start().to_owned();
        if !found.contains(&path) {
            found.push(path.clone());
            if !OTHER.contains(&path.as_str()) {
                below(&path, found);
            }
        }
    }
}

/// The first words of the lines that list commands. The first page lists them in
/// groups of its own, all before its options.
fn words(help: &str, first_page: bool) -> Vec<String> {
    let start = if first_page { "Usage:" } else { "Commands:" };
    let after = help.lines().skip_while(|line| !line.starts_with(start)).skip(1);
    let until = |line: &&str| !line.starts_with("Options:") && (first_page || !line.is_empty());
    let lines = after.take_while(until).filter_map(|line| line.strip_prefix("  "));
    let first = |line: &str| line.split_whitespace().next().map(str::to_owned);
    lines.filter(|line| !line.starts_with(' ')).filter_map(first).collect()
}
