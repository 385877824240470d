//! The house rules that the compiler does not check: which ring may import
//! which, and what no file may hold. ARCHITECTURE.md draws the rings.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "helpers of a test fail it by panicking"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Each ring may import from the rings above it in this list, not from its own.
const RINGS: &[&[&str]] = &[
    &["base"],
    &["domain", "seal", "wire", "audit"],
    &["machine", "store", "ca"],
    &["consensus", "transport"],
    &["manager", "agent"],
    &["host", "daemon"],
    &["cli"],
];

/// Imports between siblings that are allowed all the same, with the reason.
const SIBLINGS: &[(&str, &str, &str)] = &[
    ("domain", "audit", "apply chains the audit head"),
    ("wire", "domain", "shapes of what the domain knows"),
    ("wire", "seal", "shapes of what is sealed"),
    ("consensus", "transport", "peers are reached over mTLS"),
    ("daemon", "host", "the wiring brings the real machine"),
];

/// Within `agent`: each room and those that it may know.
const AGENT_ROOMS: &[(&str, &[&str])] = &[
    ("machine", &[]),
    ("member", &[]),
    ("vault", &["machine"]),
    ("mount", &["machine", "vault"]),
    ("workload", &["machine", "vault"]),
    ("session", &["vault"]),
    ("run", &["machine", "vault", "mount", "workload", "session"]),
    ("doors", &["session", "run"]),
];

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Arrow {
    from: String,
    to: String,
    file: String,
    line: usize,
}

fn ring_of(module: &str) -> Option<usize> {
    RINGS.iter().position(|ring| ring.contains(&module))
}

fn allowed(from: &str, to: &str) -> bool {
    let sibling = || SIBLINGS.iter().any(|(a, b, _)| (*a, *b) == (from, to));
    match (ring_of(from), ring_of(to)) {
        (Some(own), Some(other)) => from == to || own > other || (own == other && sibling()),
        _ => false,
    }
}

/// Whether a file holds tests only: those bring the real machine.
fn is_test(path: &Path) -> bool {
    path.iter().any(|part| {
        ["tests", "tests.rs", "testing.rs", "fixtures.rs"].iter().any(|name| part == *name)
    })
}

/// A source text without its inline tests, which stand at the end.
fn shipped(text: &str) -> &str {
    let starts = ["mod", "pub(super) mod"].map(|how| format!("#[cfg(test)]\n{how} tests {{"));
    let start = starts.iter().filter_map(|start| text.find(start)).min();
    &text[..start.unwrap_or(text.len())]
}

/// Modules that a source text names by `crate::module`, with line numbers. Comments do not count.
fn named<'a>(text: &'a str, root: &'a str) -> impl Iterator<Item = (usize, String)> + 'a {
    let code = text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//"));
    code.flat_map(move |(number, line)| {
        let mut found = Vec::new();
        for part in line.split(root).skip(1) {
            let names = part
                .strip_prefix('{')
                .map_or_else(|| vec![part], |list| list.split(',').map(str::trim_start).collect());
            for name in names {
                let end =
                    name.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(name.len());
                if end > 0 {
                    found.push((number + 1, name[..end].to_owned()));
                }
            }
        }
        found
    })
}

fn bad_arrows(files: &BTreeMap<PathBuf, String>) -> Vec<Arrow> {
    let mut bad = Vec::new();
    for (path, text) in files.iter().filter(|(path, _)| !is_test(path)) {
        let text = shipped(text);
        let parts: Vec<_> = path.iter().map(|part| part.to_string_lossy().into_owned()).collect();
        let Some(from) = parts.first().filter(|first| ring_of(first).is_some()) else { continue };
        let arrow = |to: &str, line| Arrow {
            from: from.clone(),
            to: to.to_owned(),
            file: path.display().to_string(),
            line,
        };
        let roots = ["crate::", "skep_core::", "skep_client::"];
        for (line, to) in roots.iter().flat_map(|root| named(text, root)) {
            if to.chars().next().is_some_and(char::is_lowercase) && !allowed(from, &to) {
                bad.push(arrow(&to, line));
            }
        }
        let room = parts.get(1).map(|part| part.trim_end_matches(".rs"));
        let room = AGENT_ROOMS.iter().find(|(own, _)| from == "agent" && room == Some(own));
        let Some((own, known)) = room else { continue };
        for (line, to) in named(text, "crate::agent::") {
            if to != *own && !known.contains(&to.as_str()) {
                bad.push(arrow(&format!("agent::{to}"), line));
            }
        }
    }
    bad
}

fn sources(folder: &Path) -> BTreeMap<PathBuf, String> {
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).expect("a folder of sources") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                let text = fs::read_to_string(&path).expect("a source file");
                files.insert(path.strip_prefix(folder).expect("below").to_owned(), text);
            }
        }
    }
    files
}

/// The crates whose modules are rings.
const CRATES: [&str; 3] = ["src", "crates/core/src", "crates/client/src"];

/// Their sources, by ring and file.
fn src() -> BTreeMap<PathBuf, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    CRATES.iter().flat_map(|folder| sources(&root.join(folder))).collect()
}

#[test]
fn every_arrow_points_to_a_ring_below() {
    let bad = bad_arrows(&src());
    assert!(bad.is_empty(), "arrows that the rings do not allow: {bad:#?}");
}

#[test]
fn every_module_has_a_ring() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = CRATES.iter().flat_map(|folder| fs::read_dir(root.join(folder)).expect("src"));
    let rooms = fs::read_dir(root.join("src/agent")).expect("src/agent");
    for path in rooms.map(|entry| entry.expect("an entry").path()).filter(|path| path.is_dir()) {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let known = name == "tests" || AGENT_ROOMS.iter().any(|(room, _)| *room == name);
        assert!(known, "agent/{name} is no room");
    }
    for entry in folders {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            assert!(ring_of(&name).is_some(), "{name} stands in no ring");
        }
    }
}

#[test]
fn a_bad_arrow_is_found() {
    let file = |path: &str, text: &str| BTreeMap::from([(PathBuf::from(path), text.to_owned())]);
    let bad =
        |path, text| bad_arrows(&file(path, text)).into_iter().map(|a| a.to).collect::<Vec<_>>();
    assert_eq!(bad("domain/apply.rs", "use crate::store::Log;"), ["store"]);
    assert_eq!(bad("seal/value.rs", "use skep_core::domain::State;"), ["domain"]);
    assert_eq!(bad("manager/api.rs", "let x = crate::agent::run();"), ["agent"]);
    assert_eq!(bad("agent/a.rs", "use crate::{base::Name, manager::Core};"), ["manager"]);
    assert_eq!(
        bad("agent/mount/tmpfs.rs", "use crate::agent::session::Session;"),
        ["agent::session"]
    );
    assert!(bad("agent/mount/tmpfs.rs", "use crate::agent::vault::Held;").is_empty());
    assert_eq!(bad("agent/machine/proc.rs", "use crate::agent::vault::Held;"), ["agent::vault"]);
    assert!(bad("wire/stored.rs", "use skep_core::domain::State;").is_empty());
    assert!(bad("base/ids.rs", "// as crate::cli does").is_empty());
    assert!(bad("agent/tests.rs", "use crate::host::RealDisk;").is_empty());
    let tested =
        "use skep_core::base::Name;\n#[cfg(test)]\nmod tests {\n    use crate::cli::Shell;";
    assert!(bad("store/log.rs", tested).is_empty());
}

#[test]
fn files_stay_readable() {
    for (path, text) in src() {
        let lines = text.lines().count();
        assert!(
            lines <= 800,
            "{} has {lines} lines: what second reason to change moved in?",
            path.display()
        );
    }
}

#[test]
fn nothing_is_left_undone_or_switched_off() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = ["src", "crates", "cluster-tests"].map(|folder| root.join(folder));
    let folders: Vec<_> =
        folders.iter().filter(|folder| folder.exists()).map(|folder| sources(folder)).collect();
    let marks =
        ["todo".to_owned() + "!(", "unimplemented".to_owned() + "!(", "#[".to_owned() + "ignore"];
    for (path, text) in folders.iter().flatten() {
        for mark in &marks {
            assert!(!text.contains(mark), "{} holds {mark}", path.display());
        }
    }
}

/// Lines of the log that bear no name: what is written to it, without `event` first.
fn nameless(text: &str) -> Vec<usize> {
    const WAYS: [&str; 5] = ["error!(", "warn!(", "info!(", "debug!(", "trace!("];
    let mut lines = Vec::new();
    for way in WAYS {
        for (at, _) in text.match_indices(way) {
            let before = &text[..at];
            let line = before.rsplit('\n').next().unwrap_or_default();
            // Of another macro's name it may be the end.
            let whole = !before.ends_with(|c: char| c.is_alphanumeric() || c == '_');
            let comment = line.trim_start().starts_with("//");
            let named = text[at + way.len()..].trim_start().starts_with("event =");
            if whole && !comment && !named {
                lines.push(before.lines().count());
            }
        }
    }
    lines
}

#[test]
fn every_line_of_the_log_is_a_named_event() {
    for (path, text) in src().iter().filter(|(path, _)| !is_test(path)) {
        let found = nameless(shipped(text));
        assert!(found.is_empty(), "{} logs without a name at {found:?}", path.display());
    }
    assert_eq!(nameless("a();\ntracing::warn!(%why, \"no name\");"), [2]);
    assert!(nameless("info!(\n    event = \"started\", x);\n// warn!(a)\nmy_error!(b)").is_empty());
}

/// Ways to make a gRPC status without a problem in it.
fn bare_statuses(text: &str) -> Vec<usize> {
    const WAYS: [&str; 18] = [
        "new",
        "with_details",
        "ok",
        "cancelled",
        "unknown",
        "invalid_argument",
        "deadline_exceeded",
        "not_found",
        "already_exists",
        "permission_denied",
        "resource_exhausted",
        "failed_precondition",
        "aborted",
        "out_of_range",
        "unimplemented",
        "internal",
        "unavailable",
        "unauthenticated",
    ];
    let bare = |line: &&str| WAYS.iter().any(|way| line.contains(&format!("Status::{way}(")));
    text.lines().enumerate().filter(|(_, line)| bare(line)).map(|(number, _)| number + 1).collect()
}

#[test]
fn every_status_is_built_from_a_problem() {
    let home = Path::new("transport/problem.rs");
    for (path, text) in src().iter().filter(|(path, _)| !is_test(path) && *path != home) {
        let found = bare_statuses(shipped(text));
        assert!(found.is_empty(), "{} builds a bare status at {found:?}", path.display());
    }
    assert_eq!(bare_statuses("a();\nreturn Err(Status::internal(\"x\"));"), [2]);
    assert!(bare_statuses("Status::from(problem); ExitStatus::from_raw(0)").is_empty());
}
