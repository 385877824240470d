//! What the documents say against what is there: labels, stored files, promises and the tests
//! that carry them, paths.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "helpers of a test fail it by panicking"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Where sources are.
const ROOTS: &[&str] = &["src", "crates"];

/// Constants that look like a file's name and are none, with what they are.
const NO_FILES: &[(&str, &str)] = &[
    ("credential-", "under which systemd keeps a connection of a unit"),
    (".internal", "the end of a server name"),
    (".pgp", "the end of a tag"),
    (".sig", "the end of a tag"),
    (".slice", "the end of a control group's name"),
    ("...", "a line that was cut"),
    ("1h", "how long a token is good"),
    ("admin", "an operator's name"),
    ("application/vnd.skep.openpgp.signature.v1", "a type of a layer"),
    ("application/vnd.skep.openpgp.signatures.v1", "a type of an artifact"),
    ("cgroup.events", "a file of the kernel's"),
    ("cgroup.procs", "a file of the kernel's"),
    ("default", "the name that stands for no context"),
    ("dev.cosignproject.cosign/signature", "an annotation of a layer"),
    ("docker-content-digest", "a header of an answer"),
    ("docker.io", "the registry that is meant where none is said"),
    ("host", "a flag"),
    ("manager.skep.internal", "a server name"),
    ("mountinfo", "a table of the kernel's"),
    ("new_password", "a field of a form"),
    ("ns/mnt", "a namespace of the kernel's"),
    ("oci-subject", "a header of an answer"),
    ("others", "a word of the log"),
    ("registry", "a type of a scope"),
    ("registry-self-service", "a label"),
    ("security.", "what names of extended attributes begin with"),
    ("skep-agent", "what a mount is listed as"),
    ("skep-as-of-bin", "a header of an answer"),
    ("skep-managers-bin", "a header of an answer"),
    ("skep-now", "a header of an answer"),
    ("skep-on-behalf-bin", "a header of a call"),
    ("skep-registry", "a user, and what the folder of its records is called"),
    ("skep-standing-bin", "a header of a call"),
    ("skr1_", "what robots' passwords begin with"),
    ("skt1_", "what refresh tokens begin with"),
    ("socket", "a flag"),
    ("x-forwarded-for", "a header of a request"),
];

/// Code in the cells of promises that names no test.
const NO_TESTS: &[&str] = &["kill -9", "memfd_secret", "call_refused"];

fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn document(path: &str) -> String {
    fs::read_to_string(repository().join(path)).expect(path)
}

/// The texts of all Rust files below a folder, by path from the repository's root.
fn sources(folder: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let text = fs::read_to_string(&path).expect("a source");
                let path = path.strip_prefix(repository()).expect("below the root").to_owned();
                found.insert(path, text);
            }
        }
    }
    found
}

/// What is built into the binary, without tests and comments.
fn shipped() -> BTreeMap<PathBuf, String> {
    let all = ROOTS.iter().flat_map(|root| sources(&repository().join(root)));
    let ships = all.filter(|(path, _)| {
        let name = |part: &str| part.trim_end_matches(".rs").to_owned();
        !path.iter().any(|part| {
            let name = name(&part.to_string_lossy());
            ["tests", "testing", "fixtures"].contains(&name.as_str()) || name.ends_with("_tests")
        })
    });
    let own = |text: &str| {
        let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        lines.collect::<Vec<_>>().join("\n")
    };
    let ships: BTreeMap<_, _> = ships.map(|(path, text)| (path, own(&text))).collect();
    assert!(ships.len() > 100, "the sources have moved: {ROOTS:?}");
    ships
}

/// What stands between two marks, everywhere in a text.
fn between<'t>(text: &'t str, start: &str, end: &str) -> Vec<&'t str> {
    let parts = text.split(start).skip(1);
    parts.filter_map(|part| part.split_once(end).map(|(inner, _)| inner)).collect()
}

/// Code in a document: every second part between back quotes.
fn code(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

// ---- labels ----------------------------------------------------------------

fn labels_in(text: &str) -> BTreeSet<String> {
    between(text, "\"skep 1 ", "\"").into_iter().map(|rest| format!("skep 1 {rest}")).collect()
}

#[test]
fn docs_keys_names_every_label_and_no_other() {
    let used: BTreeSet<_> = shipped().values().flat_map(|text| labels_in(text)).collect();
    assert!(used.len() > 25, "{used:?}");
    let keys = document("docs/keys.md") + &document("docs/registry/keys.md");
    assert_eq!(labels_in(&keys), used, "the keys.md on the left, the sources on the right");
}

#[test]
fn docs_keys_names_every_context_that_is_no_label() {
    let (sources, keys) = (shipped(), document("docs/keys.md"));
    for context in ["issuing key", "operator recovery", "root key"] {
        let quoted = format!("\"{context}\"");
        assert!(sources.values().any(|text| text.contains(&quoted)), "{context}: not in use");
        assert!(keys.contains(&quoted), "{context}: not in docs/keys.md");
    }
}

// ---- stored files ----------------------------------------------------------

fn could_be_a_file(name: &str) -> bool {
    let of_a_file = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-/".contains(c);
    name.len() > 1 && name.chars().all(of_a_file) && !name.starts_with('/')
}

/// Names in constants, and those that are put behind a folder's path.
fn file_names(text: &str) -> BTreeSet<String> {
    let constants = text.lines().filter_map(|line| {
        let (_, value) =
            line.split_once("const ").and_then(|(_, rest)| rest.split_once("&str = "))?;
        value.strip_prefix('"')?.split_once('"').map(|(name, _)| name)
    });
    let joined = between(text, ".join(\"", "\"");
    constants.chain(joined).filter(|name| could_be_a_file(name)).map(str::to_owned).collect()
}

/// Names in code, each part of a path by itself.
fn described(formats: &str) -> BTreeSet<&str> {
    code(formats).into_iter().flat_map(|code| code.split(['/', ' ', ','])).collect()
}

fn describes(described: &BTreeSet<&str>, name: &str) -> bool {
    // A name that ends in a dot has a number behind it.
    let fits = |part: &&str| *part == name || (name.ends_with('.') && part.starts_with(name));
    described.iter().any(fits)
}

#[test]
fn docs_formats_describes_every_stored_file() {
    let formats = document("docs/formats.md") + &document("docs/registry/formats.md");
    let described = described(&formats);
    let mut unknown: BTreeMap<String, PathBuf> = BTreeMap::new();
    let mut found = BTreeSet::new();
    for (path, text) in shipped() {
        for name in file_names(&text) {
            let listed = NO_FILES.iter().any(|(other, _)| *other == name);
            if !listed && !describes(&described, &name) {
                unknown.insert(name.clone(), path.clone());
            }
            found.insert(name);
        }
    }
    assert!(unknown.is_empty(), "not in docs/formats.md, nor in NO_FILES: {unknown:#?}");
    for (name, what) in NO_FILES {
        assert!(found.contains(*name), "{name} ({what}) is no constant any more");
    }
    for known in ["manager.key", "node", "stay-locked", "state.toml", "log.reached", "..data"] {
        assert!(found.contains(known), "{known}: the sources are read wrongly");
    }
}

#[test]
fn a_file_that_is_not_described_is_found() {
    let text = "const NEW: &str = \"new-file\";\nfolder.join(\"other.toml\"); words.join(\", \")";
    let names: Vec<_> = file_names(text).into_iter().collect();
    assert_eq!(names, ["new-file", "other.toml"]);
    let described = described("`new-files`, `log/manifest.NNNN`, `a b`");
    assert!(!describes(&described, "new-file") && !describes(&described, "manifest"));
    assert!(describes(&described, "manifest.") && describes(&described, "b"));
}

// ---- promises --------------------------------------------------------------

/// The promises: number, and the code in the cell that names its tests.
fn promises() -> BTreeMap<String, Vec<String>> {
    let text = document("docs/promises.md");
    let rows = text.lines().filter(|line| line.starts_with("| P"));
    let read = |row: &str| {
        let cells: Vec<_> = row.split(" | ").collect();
        assert_eq!(cells.len(), 4, "{row}");
        let tests = code(cells[2]).into_iter().filter(|code| !NO_TESTS.contains(code));
        (cells[0].trim_start_matches("| ").to_owned(), tests.flat_map(unfolded).collect())
    };
    rows.map(read).collect()
}

/// `a::{b,c}` is `a::b` and `a::c`.
fn unfolded(name: &str) -> Vec<String> {
    match name.split_once('{').and_then(|(head, rest)| Some((head, rest.split_once('}')?))) {
        Some((head, (list, tail))) => {
            list.split(',').map(|one| format!("{head}{one}{tail}")).collect()
        }
        None => vec![name.to_owned()],
    }
}

/// The tests in a text: functions below a test's mark, and those of which `on_both!` makes
/// a test for each kind of mount.
fn tests_in(text: &str) -> BTreeSet<String> {
    let on_both = between(text, "\non_both! {", "}").into_iter();
    let on_both = on_both.flat_map(|list| list.split(',').map(|name| name.trim().to_owned()));
    let mut found: BTreeSet<_> = on_both.filter(|name| !name.is_empty()).collect();
    let mut marked = false;
    for line in text.lines().map(str::trim_start) {
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            marked = true;
        } else if let Some((_, rest)) = line.split_once("fn ").filter(|_| marked) {
            found.insert(rest.split(['(', '<']).next().unwrap_or_default().to_owned());
            marked = false;
        }
    }
    found
}

/// The files of `t20`, `t34_clocks` or `agent::mount`, with their tests.
fn files_of(place: &str) -> BTreeMap<PathBuf, BTreeSet<String>> {
    let built = place.starts_with('t') && place[1..].starts_with(|c: char| c.is_ascii_digit());
    let mut found = BTreeMap::new();
    if built {
        for (path, text) in sources(&repository().join("cluster-tests/tests")) {
            let below = path.strip_prefix("cluster-tests/tests").expect("a test");
            let first = below.iter().next().expect("a name").to_string_lossy().into_owned();
            let name = first.trim_end_matches(".rs");
            if name == place || name.strip_prefix(place).is_some_and(|rest| rest.starts_with('_')) {
                found.insert(path, tests_in(&text));
            }
        }
        return found;
    }
    let inner = place.replace("::", "/");
    for (path, text) in ROOTS.iter().flat_map(|root| sources(&repository().join(root))) {
        // `a/b.rs`, `a/b_tests.rs` and all below `a/b`, whichever crate they are in.
        let shown = path.to_string_lossy().replace("locked-pages/src", "src/locked_pages");
        let Some((_, module)) = shown.rsplit_once("src/") else { continue };
        let rest = module.strip_prefix(&inner);
        if rest.is_some_and(|rest| rest.starts_with('/') || [".rs", "_tests.rs"].contains(&rest)) {
            found.insert(path, tests_in(&text));
        }
    }
    found
}

/// The tests that an entry names (`t20 p2_*`, `t29`, `agent::mount`), by file.
fn carried_by(entry: &str) -> BTreeSet<(PathBuf, String)> {
    let (place, pattern) = entry.split_once(' ').unwrap_or((entry, "*"));
    let fits = |test: &str| match pattern.strip_suffix('*') {
        Some(start) => test.starts_with(start),
        None => test == pattern,
    };
    let files = files_of(place).into_iter();
    let all = files.flat_map(|(path, tests)| tests.into_iter().map(move |t| (path.clone(), t)));
    all.filter(|(_, test)| fits(test)).collect()
}

#[test]
fn every_test_that_a_promise_names_is_there() {
    let promises = promises();
    assert!(promises.len() >= 11, "{promises:?}");
    let mut missing = Vec::new();
    for (promise, entries) in &promises {
        assert!(!entries.is_empty(), "{promise} is carried by nothing");
        for entry in entries.iter().filter(|entry| carried_by(entry).is_empty()) {
            missing.push(format!("{promise}: {entry}"));
        }
    }
    assert!(missing.is_empty(), "no such test: {missing:#?}");
    assert!(carried_by("t20 p2_nobody").is_empty() && carried_by("agent::nowhere").is_empty());
}

/// The promises in the name of a test: `p4_p7_name`.
fn promises_in(test: &str) -> Vec<String> {
    let number = |part: &&str| {
        let digits = part.strip_prefix('p').unwrap_or_default();
        !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit())
    };
    test.split('_').take_while(number).map(str::to_uppercase).collect()
}

#[test]
fn every_test_with_a_promise_in_its_name_is_named_by_it() {
    let promises = promises();
    let carried: BTreeMap<_, BTreeSet<_>> = promises
        .iter()
        .map(|(promise, entries)| {
            (promise.clone(), entries.iter().flat_map(|entry| carried_by(entry)).collect())
        })
        .collect();
    let folders = ROOTS.iter().copied().chain(["cluster-tests/tests"]);
    let mut forgotten = Vec::new();
    for (path, text) in folders.flat_map(|folder| sources(&repository().join(folder))) {
        for test in tests_in(&text) {
            for promise in promises_in(&test) {
                let named = carried.get(&promise).expect("a promise of this number");
                if !named.contains(&(path.clone(), test.clone())) {
                    forgotten.push(format!("{promise}: {} {test}", path.display()));
                }
            }
        }
    }
    assert!(forgotten.is_empty(), "docs/promises.md doesn't name: {forgotten:#?}");
}

/// The map in CONTRIBUTING.md: a file of `cluster-tests/tests`, and its promises.
#[test]
fn the_map_of_tests_says_what_the_promises_say() {
    let text = document("CONTRIBUTING.md");
    let rows = text.lines().filter(|line| line.starts_with("| `t"));
    let map: BTreeMap<String, BTreeSet<String>> = rows
        .map(|row| {
            let cells: Vec<_> = row.split('|').map(str::trim).collect();
            assert_eq!(cells.len(), 5, "{row}");
            let promises = cells[3].split(", ").filter(|cell| !cell.is_empty());
            (cells[1].trim_matches('`').to_owned(), promises.map(str::to_owned).collect())
        })
        .collect();
    let mut wanted: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for entry in fs::read_dir(repository().join("cluster-tests/tests")).expect("a folder") {
        let name = entry.expect("an entry").file_name().to_string_lossy().into_owned();
        if name.strip_suffix(".txt").is_none() {
            wanted.entry(name.trim_end_matches(".rs").to_owned()).or_default();
        }
    }
    for (promise, entries) in promises() {
        for (path, _) in entries.iter().flat_map(|entry| carried_by(entry)) {
            let Ok(below) = path.strip_prefix("cluster-tests/tests") else { continue };
            let first = below.iter().next().expect("a name").to_string_lossy().into_owned();
            let file = wanted.get_mut(first.trim_end_matches(".rs")).expect("a file of tests");
            file.insert(promise.clone());
        }
    }
    assert_eq!(map, wanted, "CONTRIBUTING.md on the left, docs/promises.md on the right");
}

// ---- paths -----------------------------------------------------------------

/// All documents but the changelog, which tells of what was.
fn documents() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in ["", "docs", "docs/design", "docs/operate", "docs/registry"] {
        for entry in fs::read_dir(repository().join(folder)).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.extension().is_some_and(|ending| ending == "md")
                && !path.ends_with("CHANGELOG.md")
            {
                found.push(path);
            }
        }
    }
    found
}

/// Paths in a text, as they stand from the repository's root, and links from its folder.
fn paths_in(text: &str) -> (Vec<&str>, Vec<&str>) {
    let of_a_path = |c: char| c.is_ascii_alphanumeric() || "/._-{".contains(c);
    let words = text.split(|c| !of_a_path(c)).map(|word| word.trim_end_matches(['.', '/']));
    let tops = ["src/", "crates/", "tests/", "cluster-tests/", "scripts/", "docs/"];
    let named = words.filter(|word| tops.iter().any(|top| word.starts_with(top)));
    // `{a,b}` stands for several, and `NN-title` for any.
    let named = named.filter(|word| !word.contains('{') && !word.contains("NN-")).collect();
    let links = between(text, "](", ")").into_iter().filter(|link| !link.contains("://"));
    (named, links.map(|link| link.split('#').next().unwrap_or_default()).collect())
}

/// A note is named by its number alone: `docs/design/02`.
fn is_a_note(path: &str) -> bool {
    let Some(number) = path.strip_prefix("docs/design/").filter(|rest| rest.len() == 2) else {
        return false;
    };
    let start = format!("{number}-");
    let mut notes = fs::read_dir(repository().join("docs/design")).expect("a folder");
    notes.any(|note| note.expect("a note").file_name().to_string_lossy().starts_with(&start))
}

#[test]
fn every_path_and_every_link_leads_somewhere() {
    let mut lost = Vec::new();
    let mut count = 0;
    for document in documents() {
        let text = fs::read_to_string(&document).expect("a document");
        let (named, links) = paths_in(&text);
        let folder = document.parent().expect("a folder");
        let root = repository();
        let named = named.into_iter().map(|path| (path, root.join(path)));
        let links = links.into_iter().map(|link| (link, folder.join(link)));
        for (shown, path) in named.chain(links) {
            count += 1;
            if !path.exists() && !is_a_note(shown) {
                lost.push(format!("{}: {shown}", document.display()));
            }
        }
    }
    assert!(lost.is_empty(), "nothing is there: {lost:#?}");
    assert!(count > 100, "only {count} were found");
}
