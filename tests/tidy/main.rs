//! The house rules that the compiler does not check: which ring and which room may import
//! which, that no circle is left, and what no file may hold. ARCHITECTURE.md draws the rings.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    reason = "helpers of a test fail it by panicking"
)]

mod sources;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use sources::{Arrow, Module, Sources, texts};

/// The crates whose modules are rings, and where their sources are.
const CRATES: [(&str, &str); 6] = [
    ("skep", "src"),
    ("skep_core", "crates/core/src"),
    ("skep_client", "crates/client/src"),
    ("skep_registry", "crates/registry/src"),
    ("skep_program", "crates/program/src"),
    ("skep_docker", "crates/docker/src"),
];

/// Each ring may import from the rings above it in this list, not from its own.
const RINGS: &[&[&str]] = &[
    &["base"],
    &["domain", "seal", "wire", "audit"],
    // The programs beside: rules and shapes are pure, and what serves them stands above what a
    // client has.
    &["rules", "compose"],
    &["proto"],
    &["machine", "store", "ca"],
    &["consensus", "transport"],
    // What a client has of the way to the managers; managers and agents don't need it.
    &["answer", "error", "passphrase", "renew"],
    &["link"],
    &["config"],
    &["contexts"],
    &["acts", "generate", "join", "lookup", "progress", "put", "settings", "watch"],
    &["reach"],
    // What is answered to docker's own commands names what a call came to.
    &["engine", "screen", "process"],
    &["way", "usage"],
    &["pages"],
    &["manager", "agent", "operator"],
    &["work", "serve"],
    &["words"],
    &["host", "daemon"],
    // A program beside its crate's first is a page, as main.rs is.
    &["cli", "bin"],
];

/// Imports between siblings that are allowed all the same, with the reason.
const SIBLINGS: &[(&str, &str, &str)] = &[
    ("domain", "audit", "each command has a line"),
    ("wire", "domain", "shapes of what the domain knows"),
    ("wire", "seal", "shapes of what is sealed"),
    ("consensus", "transport", "peers are reached over mTLS"),
    ("daemon", "host", "the wiring brings the real machine"),
];

/// Rooms of the roles, in rows: each may import from the rows before its own. Rooms of the
/// first row may know each other.
const ROOMS: &[(&str, &[&[&str]])] = &[
    (
        "manager",
        &[
            &[
                "audit",
                "core",
                "end",
                "keys",
                "leader",
                "challenge",
                "offer",
                "own",
                "peers",
                "problem",
                "renewing",
                "reserve",
                "seen",
                "steady",
                "task",
                "unproposed",
                "word",
            ],
            &["dispatch"],
            &["running"],
            &["admit"],
            &["members"],
            &["forward"],
            &["changes"],
            &["life"],
            &["api", "upkeep"],
            &["start"],
        ],
    ),
    (
        "agent",
        &[
            &["machine", "vault"],
            &["mount", "workload", "hook", "session", "member"],
            &["run", "problem"],
            &["docker"],
            &["doors"],
        ],
    ),
];

/// What pure sources may not name: everything else of the machine comes as an argument.
const IMPURE: [&str; 5] = ["fs", "net", "time", "env", "process"];

/// The folders of pure sources, with what they may name all the same.
const PURE: [(&str, Option<&str>); 2] =
    [("crates/core/src", None), ("crates/registry/src/rules", Some("std::net::IpAddr"))];

/// Lines of a file: past this it has found a second reason to change.
const LINES: usize = 500;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The rings' sources, parsed.
fn parsed() -> Sources {
    let mut sources = Sources::default();
    for (krate, folder) in CRATES {
        sources.add(krate, &texts(&root().join(folder)));
    }
    sources
}

/// The rings' sources as they stand, by ring and file.
fn written() -> BTreeMap<PathBuf, String> {
    CRATES.iter().flat_map(|(_, folder)| texts(&root().join(folder))).collect()
}

/// Sources that a test makes up: the crate, the path and the text of each.
fn made_up(files: &[(&str, &str, &str)]) -> Sources {
    let mut sources = Sources::default();
    for krate in CRATES.map(|(krate, _)| krate) {
        let own = files.iter().filter(|(of, ..)| *of == krate);
        let own = own.map(|(_, path, text)| (PathBuf::from(path), (*text).to_owned()));
        sources.add(krate, &own.collect());
    }
    sources
}

/// The row of `list` that a name stands in.
fn row_of(list: &[&[&str]], name: &str) -> Option<usize> {
    list.iter().position(|row| row.contains(&name))
}

fn ring_allows(from: &str, to: &str) -> bool {
    let sibling = || SIBLINGS.iter().any(|(a, b, _)| (*a, *b) == (from, to));
    match (row_of(RINGS, from), row_of(RINGS, to)) {
        (Some(own), Some(other)) => from == to || own > other || (own == other && sibling()),
        _ => false,
    }
}

/// Arrows that the rings, or within a role the rooms, do not allow.
fn bad_arrows(sources: &Sources) -> Vec<String> {
    let mut bad = BTreeSet::new();
    for Arrow { from, to } in sources.arrows() {
        // A crate's own root says only which modules there are.
        let (Some(own), Some(other)) = (from.get(1), to.get(1)) else { continue };
        if own == "main" {
            continue; // The program is above all rings.
        }
        let shown = || format!("{} -> {}", from.join("::"), to.join("::"));
        if !ring_allows(own, other) {
            bad.insert(shown());
        }
        let rooms = ROOMS.iter().find(|(role, _)| own == role && other == role);
        if let (Some((_, rooms)), Some(own), Some(other)) = (rooms, from.get(2), to.get(2)) {
            let below = match (row_of(rooms, own), row_of(rooms, other)) {
                (Some(row), Some(below)) => own == other || row > below || (row, below) == (0, 0),
                _ => false,
            };
            if !below {
                bad.insert(shown());
            }
        }
    }
    bad.into_iter().collect()
}

#[test]
fn every_arrow_points_to_a_ring_below() {
    let bad = bad_arrows(&parsed());
    assert!(bad.is_empty(), "arrows that the rings and rooms do not allow: {bad:#?}");
}

#[test]
fn every_module_has_a_ring() {
    for (path, _) in written() {
        let first = path.iter().next().expect("a name").to_string_lossy().into_owned();
        let name = first.trim_end_matches(".rs");
        let known = ["lib", "main"].contains(&name) || row_of(RINGS, name).is_some();
        assert!(known, "{} stands in no ring", path.display());
    }
}

#[test]
fn a_bad_arrow_is_found() {
    let bad = |krate, path, text| {
        let state = ("skep_core", "domain/mod.rs", "pub struct State;");
        let log = ("skep", "store/mod.rs", "mod log; pub use log::Log;");
        let file = ("skep", "store/log.rs", "pub struct Log;");
        bad_arrows(&made_up(&[state, log, file, (krate, path, text)]))
    };
    let one = |from: &str, to: &str| vec![format!("{from} -> {to}")];
    assert_eq!(
        bad("skep_core", "seal/value.rs", "use crate::domain::State;"),
        one("skep_core::seal::value", "skep_core::domain")
    );
    assert_eq!(
        bad("skep_client", "ca/x.rs", "fn f() { let x = format!(\"{}\", skep::store::Log); }"),
        one("skep_client::ca::x", "skep::store::log")
    );
    let inner = "mod inner { use super::super::Log; }";
    assert!(bad("skep", "store/y.rs", inner).is_empty(), "its own ring");
    assert!(bad("skep", "consensus/a.rs", "use crate::store::{Log as L};").is_empty());
    assert!(bad("skep_core", "seal/a.rs", "// crate::domain\nfn f() {}").is_empty());
    let tested = "#[cfg(test)]\nmod tests { use crate::domain::State; }";
    assert!(bad("skep_core", "seal/a.rs", tested).is_empty());
    let admit = ("skep", "manager/admit/mod.rs", "use crate::manager::api::Control;");
    let api = ("skep", "manager/api/mod.rs", "pub struct Control;");
    let rooms = bad_arrows(&made_up(&[admit, api]));
    assert_eq!(rooms, one("skep::manager::admit", "skep::manager::api"));
}

/// Files of one folder that may name each other, with the reason.
const ONE_THING: &[(&str, &str)] = &[
    ("skep_core::domain", "the state, what it counts and where it places are one vocabulary"),
    ("skep::agent::session", "the core's claims are a chapter of its own"),
    ("skep::agent::mount", "putting, adopting and serving are chapters of the mounts"),
    ("skep::manager::dispatch", "sessions are chapters of the dispatch"),
];

#[test]
fn no_circle_is_left() {
    let sources = parsed();
    let folder = |file: &Module| sources.path(file).parent().map(Path::to_owned);
    let one_thing = |circle: &Vec<Module>| {
        let beside = circle.iter().all(|file| folder(file) == folder(&circle[0]));
        let named = |of: &str| circle.iter().all(|file| file.join("::").starts_with(of));
        beside && ONE_THING.iter().any(|(of, _)| named(of))
    };
    let mut circles = sources.circles();
    circles.retain(|circle| !one_thing(circle));
    let shown: Vec<Vec<String>> =
        circles.iter().map(|circle| circle.iter().map(|file| file.join("::")).collect()).collect();
    assert!(shown.is_empty(), "files that name each other: {shown:#?}");
}

#[test]
fn a_circle_is_found() {
    let circles = |files: &[(&str, &str)]| -> Vec<Vec<Module>> {
        let files: Vec<_> = files.iter().map(|(path, text)| ("skep", *path, *text)).collect();
        made_up(&files).circles()
    };
    let top = ("agent/mod.rs", "mod a; mod b; pub use a::one::One;");
    let round = [
        top,
        ("agent/a/one.rs", "use crate::agent::b::two::Two; pub struct One;"),
        ("agent/b/two.rs", "pub struct Two(super::super::One);"),
    ];
    assert_eq!(circles(&round).len(), 1, "through what a module hands on");
    let beside = [
        ("agent/a/one.rs", "use super::two::Two; pub struct One;"),
        ("agent/a/two.rs", "use super::one::One; pub struct Two;"),
    ];
    assert_eq!(circles(&beside).len(), 1, "of one folder");
    let down = [top, round[1], ("agent/b/two.rs", "pub struct Two;")];
    assert!(circles(&down).is_empty());
}

/// What a source names of the machine, beside what it may.
fn impurities(text: &str, but: Option<&str>) -> Vec<String> {
    let text = but.map_or_else(|| text.to_owned(), |but| text.replace(but, ""));
    let named = IMPURE.iter().map(|word| format!("std::{word}"));
    let mut found: Vec<_> = named.filter(|named| text.contains(named)).collect();
    // Written out, so that what is used can be seen.
    found.extend(text.lines().find(|line| line.contains("use std::{")).map(str::to_owned));
    found
}

#[test]
fn the_core_and_the_rules_are_pure() {
    for (folder, but) in PURE {
        for (path, text) in texts(&root().join(folder)) {
            let found = impurities(shipped(&text), but);
            assert!(is_test(&path) || found.is_empty(), "{} has {found:?}", path.display());
        }
    }
    let address = Some("std::net::IpAddr");
    assert!(impurities("use std::net::IpAddr;", address).is_empty());
    assert_eq!(impurities("use std::net::IpAddr;", None), ["std::net"]);
    assert_eq!(impurities("use std::net::{IpAddr, TcpStream};", address), ["std::net"]);
    assert_eq!(impurities("use std::{fs, fmt};", address), ["use std::{fs, fmt};"]);
}

#[test]
fn files_stay_readable() {
    for folder in ["src", "crates", "tests", "cluster-tests"] {
        for (path, text) in texts(&root().join(folder)) {
            let lines = text.lines().count();
            assert!(
                lines <= LINES,
                "{folder}/{} has {lines} lines: what second reason to change moved in?",
                path.display()
            );
        }
    }
}

/// Names that say nothing where several modules have one.
const NAMELESS: [&str; 4] = ["Shared", "Open", "Entry", "Kind"];

#[test]
fn types_have_names_of_their_own() {
    let sources = parsed();
    let found = |name: &str| NAMELESS.contains(&name);
    let bad: Vec<_> = sources.types().filter(|(name, _)| found(name)).collect();
    assert!(bad.is_empty(), "types that are called like others: {bad:?}");
}

#[test]
fn no_path_climbs_two_floors() {
    for folder in ["src", "crates", "tests", "cluster-tests"] {
        for (path, text) in texts(&root().join(folder)) {
            let own = path.ends_with("tidy/main.rs");
            let climbs = text.lines().position(|line| line.contains("super::super"));
            assert!(own || climbs.is_none(), "{folder}/{}: {climbs:?}", path.display());
        }
    }
}

/// Whether a file holds tests only: those bring the real machine.
fn is_test(path: &Path) -> bool {
    path.iter().any(|part| {
        let part = part.to_string_lossy();
        ["tests", "tests.rs", "testing.rs", "fixtures.rs"].contains(&part.as_ref())
            || part.ends_with("_tests.rs")
    })
}

/// A source text without its inline tests, which stand at the end.
fn shipped(text: &str) -> &str {
    let starts = ["mod", "pub(super) mod", "pub(crate) mod"]
        .map(|how| format!("#[cfg(test)]\n{how} tests {{"));
    let start = starts.iter().filter_map(|start| text.find(start)).min();
    &text[..start.unwrap_or(text.len())]
}

#[test]
fn nothing_is_left_undone_or_switched_off() {
    let marks =
        ["todo".to_owned() + "!(", "unimplemented".to_owned() + "!(", "#[".to_owned() + "ignore"];
    for folder in ["src", "crates", "tests", "cluster-tests"] {
        for (path, text) in texts(&root().join(folder)) {
            for mark in &marks {
                assert!(!text.contains(mark), "{folder}/{} holds {mark}", path.display());
            }
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
    for (path, text) in written().iter().filter(|(path, _)| !is_test(path)) {
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

/// Problems whose text is made where they are told.
fn loose_problems(text: &str) -> Vec<usize> {
    let loose = |line: &str| {
        line.split("Problem::").skip(1).any(|after| {
            let made = after.split(|c: char| !c.is_ascii_lowercase() && c != '_').next();
            !matches!(made, None | Some("" | "of_another" | "from" | "decode"))
        })
    };
    text.lines().enumerate().filter(|(_, line)| loose(line)).map(|(number, _)| number + 1).collect()
}

#[test]
fn what_callers_are_told_is_written_in_one_place_of_each_role() {
    let home = |path: &Path| {
        path.file_name().is_some_and(|name| name == "problem.rs")
            || path.components().any(|part| part.as_os_str() == "problem")
    };
    let role =
        |path: &Path| ["manager", "agent", "consensus"].iter().any(|role| path.starts_with(role));
    let mut seen = 0;
    for (path, text) in written().iter().filter(|(path, _)| role(path) && !is_test(path)) {
        seen += 1;
        let found = loose_problems(shipped(text));
        assert!(home(path) || found.is_empty(), "{} words a problem at {found:?}", path.display());
    }
    assert!(seen > 50, "{seen}");
    assert_eq!(loose_problems("a();\nErr(Problem::refused(\"x\"))"), [2]);
    assert!(loose_problems("problem::refused(x); fn f() -> Problem { g() }").is_empty());
}

#[test]
fn every_status_is_built_from_a_problem() {
    let home = Path::new("transport/problem.rs");
    for (path, text) in written().iter().filter(|(path, _)| !is_test(path) && *path != home) {
        let found = bare_statuses(shipped(text));
        assert!(found.is_empty(), "{} builds a bare status at {found:?}", path.display());
    }
    assert_eq!(bare_statuses("a();\nreturn Err(Status::internal(\"x\"));"), [2]);
    assert!(bare_statuses("Status::from(problem); ExitStatus::from_raw(0)").is_empty());
}

#[test]
fn managers_and_agents_gain_nothing_by_the_programs_beside() {
    let lock = std::fs::read_to_string(root().join("Cargo.lock")).expect("Cargo.lock");
    let packages = lock.split("[[package]]").filter_map(|package| {
        let name = package.lines().find_map(|line| line.strip_prefix("name = "))?;
        Some((name.trim_matches('"'), package))
    });
    let packages: Vec<(&str, &str)> = packages.collect();
    for beside in ["skep-registry", "skep-docker"] {
        let needs = format!("\n \"{beside}\"");
        let users = packages.iter().filter(|(_, package)| package.contains(&needs));
        let users: Vec<&str> = users.map(|(name, _)| *name).collect();
        assert_eq!(users, ["cluster-tests"], "these need {beside}");
    }
    // Keys that sign images, and what reads them, are the registry side's alone.
    let ours = |name: &str| name.starts_with("skep") || name.starts_with("locked-");
    for library in ["p256", "pgp", "scrypt"] {
        let needs = format!("\n \"{library}\"");
        let users =
            packages.iter().filter(|(name, package)| ours(name) && package.contains(&needs));
        let users: Vec<&str> = users.map(|(name, _)| *name).collect();
        assert_eq!(users, ["skep-registry"], "these need {library}");
    }
}
