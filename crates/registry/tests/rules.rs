//! The built binary: rules checked and explained, and what comes over from `docker_auth`.

#![allow(clippy::expect_used, reason = "helpers of tests, outside of #[test] functions")]

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const RULES: &str = "version = 1

[[rule]]
match = { account = 'ann', name = 'team/**' }
actions = ['pull', 'push']
comment = 'her team'

[[rule]]
match = { labels = { team = 'web' }, ip = '10.0.0.0/8' }
actions = ['*']

[[rule]]
match = { account = '/.+/' }
actions = []
";

const HASH: &str = "$2y$05$LO.vzwpWC5LZGqThvEfznu8qhb5SGqvBSWY1J3yZ4AxtMRZ3kN5jC";

struct Ran {
    status: i32,
    out: String,
    err: String,
}

struct Here(tempfile::TempDir);

impl Here {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        File::create(&path).expect("a file").write_all(bytes.as_ref()).expect("written");
        path
    }

    fn run(&self, words: &[&str]) -> Ran {
        let mut command = Command::new(env!("CARGO_BIN_EXE_skep-registry"));
        let done = command.args(words).current_dir(self.path()).output().expect("it ran");
        Ran {
            status: done.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&done.stdout).into_owned(),
            err: String::from_utf8_lossy(&done.stderr).into_owned(),
        }
    }
}

#[test]
fn an_explanation_names_the_rule_and_why_others_missed() {
    let here = Here::new();
    here.file("acl.toml", RULES);
    assert_eq!(here.run(&["acl", "check", "acl.toml"]).out, "3 rules\n");
    let explain = |words: &[&str]| {
        let ran = here.run(&[&["acl", "explain", "acl.toml"], words].concat());
        assert_eq!((ran.status, ran.err.as_str()), (0, ""), "{words:?}");
        ran.out
    };
    assert_eq!(
        explain(&["--account", "ann", "repository:team/a/b:*"]),
        "repository:team/a/b:pull,push,delete\n  rule 1 (line 3): matches, and gives \
         pull,push\n  comment: her team\n  given: pull,push\n"
    );
    let bob = ["--account", "bob", "--label", "team=ops", "--label", "team=web"];
    assert_eq!(
        explain(&[&bob[..], &["--ip", "::ffff:10.1.2.3", "repository:a:pull"]].concat()),
        "repository:a:pull\n  rule 1 (line 3): account \"ann\" does not match \"bob\"\n  rule 2 \
         (line 8): matches, and gives pull,push,delete\n  given: pull\n"
    );
    let nowhere = explain(&[&bob[..], &["repository:a:pull"]].concat());
    assert!(
        nowhere.contains("rule 2 (line 8): ip \"10.0.0.0/8\" does not match an unknown address")
    );
    assert!(nowhere.contains("rule 3 (line 12): matches, and gives nothing\n  given: nothing\n"));
    let nobody = explain(&["--account", "", "repository:a:pull", "registry:catalog:*"]);
    assert_eq!(nobody.matches("no rule matches\n  given: nothing\n").count(), 2, "{nobody}");
}

#[test]
fn bad_words_and_bad_rules_are_refused_in_one_line_with_a_hint() {
    let here = Here::new();
    here.file("acl.toml", RULES);
    here.file("bytes.toml", b"version = 1\n\xff\n");
    here.file("huge.toml", "#".repeat(600_000));
    let explain = |words: &[&'static str]| [&["acl", "explain", "acl.toml"], words].concat();
    let ann = |words: &[&'static str]| explain(&[&["--account", "ann"], words].concat());
    let long: &'static str = Box::leak("x".repeat(5000).into_boxed_str());
    let rows: Vec<(Vec<&str>, i32, &str)> = vec![
        (vec!["nonsense"], 2, "nonsense"),
        (vec!["acl", "nonsense"], 2, "nonsense"),
        (vec!["acl", "check"], 2, "<RULES>"),
        (vec!["acl", "check", "acl.toml", "more"], 2, "more"),
        (vec!["acl", "check", "--file", "x"], 2, "--file"),
        (vec!["acl", "check", "web"], 2, "no files of web.auth"),
        (vec!["acl", "check", ""], 2, "ends in .toml"),
        (vec!["acl", "check", "a-name-that-is-too-long"], 2, "at most 16"),
        (vec!["acl", "check", "web", "--secrets"], 2, "--secrets"),
        (vec!["acl", "set"], 2, "<NAME>"),
        (vec!["acl", "set", "web"], 2, "<FILE>"),
        (vec!["acl", "set", "web", "/no/such.toml"], 2, "does not exist"),
        (vec!["acl", "set", "web", "/dev/null"], 23, "version is missing"),
        (vec!["acl", "import", "web"], 2, "<FILE>"),
        (vec!["acl", "import", "web", "/no/such.yml"], 2, "does not exist"),
        (vec!["acl", "import", "a b", "acl.toml"], 2, "NAME"),
        (vec!["status"], 2, "<NAME>"),
        (vec!["status", "web", "--format", "xml"], 2, "xml"),
        (vec!["acl", "check", "/no/such.toml"], 2, "does not exist"),
        (vec!["acl", "check", "./"], 2, "folder"),
        (vec!["acl", "check", "bytes.toml"], 2, "line 2 is not UTF-8"),
        (vec!["acl", "check", "huge.toml"], 2, "larger than 511999 bytes"),
        (vec!["acl", "check", "/dev/zero"], 2, "larger than"),
        (vec!["acl", "check", "/dev/null"], 23, "version is missing"),
        (vec!["acl", "explain"], 2, "not provided"),
        (explain(&["repository:a:pull"]), 2, "--account"),
        (ann(&[]), 2, "<SCOPE>"),
        (ann(&["a"]), 2, "kind:name:actions"),
        (ann(&[""]), 2, "no scope is given"),
        (ann(&["repository:A:pull"]), 2, "invalid repository name A"),
        (ann(&["repository:a:p\u{1b}[31mull"]), 2, "invalid action"),
        (ann(&["artifact:a:pull"]), 2, "the kinds are"),
        (ann(&["registry:other:*"]), 2, "registry:catalog"),
        (ann(&[long]), 2, "longer than 1024"),
        (ann(&["repository:a:pull"; 65]), 2, "more than 64 scopes"),
        (ann(&["--label", "team", "repository:a:pull"]), 2, "KEY=VALUE"),
        (ann(&["--label", "=web", "repository:a:pull"]), 2, "KEY=VALUE"),
        (ann(&["--label", long, "repository:a:pull"]), 2, "KEY=VALUE"),
        (ann(&["--ip", "10.0.0", "repository:a:pull"]), 2, "--ip"),
        (ann(&["--ip", "10.0.0.0/8", "repository:a:pull"]), 2, "--ip"),
        (ann(&["--service", long, "repository:a:pull"]), 2, "--service is longer"),
        (explain(&["--account", long, "repository:a:pull"]), 2, "--account is longer"),
        (vec!["import"], 2, "<FILE>"),
        (vec!["import", "/no/such.yml"], 2, "does not exist"),
        (vec!["import", "/"], 2, "folder"),
        (vec!["import", "/dev/zero"], 2, "larger than 1048576 bytes"),
        (vec!["import", "bytes.toml"], 2, "line 2 is not UTF-8"),
        (vec!["import", "acl.toml", "--out"], 2, "--out"),
        (vec!["import", "acl.toml", "--format", "x"], 2, "--format"),
    ];
    let one = |words: &[&str], status: i32, part: &str| {
        let ran = here.run(words);
        let shown: Vec<String> = words.iter().map(|word| word.chars().take(40).collect()).collect();
        assert_eq!(ran.status, status, "{shown:?}: {}", ran.err);
        assert!(ran.err.contains(part), "{shown:?}: {}", ran.err);
        let lines: Vec<_> = ran.err.lines().collect();
        let good = match lines.as_slice() {
            [error, hint] => error.starts_with("error: ") && hint.starts_with("hint: "),
            _ => false,
        };
        assert!(good && !ran.err.contains('\u{1b}'), "{shown:?}: {}", ran.err);
    };
    for (words, status, part) in &rows {
        one(words, *status, part);
    }
    let rule = |matches: &str, actions: &str| {
        format!("version = 1\n\n[[rule]]\nmatch = {matches}\nactions = {actions}\n")
    };
    let files: Vec<(String, &str)> = vec![
        (String::new(), "the key version is missing"),
        ("version = 2\n".to_owned(), "line 1: version 2 is not known"),
        ("version = '1'\n".to_owned(), "line 1:"),
        ("version = 1\nrules = []\n".to_owned(), "line 2: unknown key rules"),
        ("version = 1\n[[rule]]\nactions = []\n".to_owned(), "line 2: the key match is missing"),
        ("version = 1\n[[rule]]\nmatch = {}\n".to_owned(), "line 2: the key actions is missing"),
        ("version = 1\n[[rule]\n".to_owned(), "line 2:"),
        ("version = 1\nversion = 1\n".to_owned(), "line 2:"),
        ("version = 1\npatterns = 'perl'\n".to_owned(), "line 2: unknown kind of patterns perl"),
        (rule("{ team = 'x' }", "[]"), "line 4: unknown key team"),
        (rule("{ account = 1 }", "[]"), "line 4:"),
        (rule("{}", "['fly']"), "line 5: unknown action fly"),
        (rule("{}", "'pull'"), "line 5:"),
        (rule("{ name = '[a' }", "[]"), "line 4: name \"[a\": a [ is not closed"),
        (rule("{ name = '/(/' }", "[]"), "line 4: name \"/(/\": unclosed"),
        (rule("{ name = '{a' }", "[]"), "line 4: name \"{a\": a { is not closed"),
        (rule("{ name = '${who}/*' }", "[]"), "line 4: name \"${who}/*\": there is no placeholder"),
        (rule("{ name = '${account:1}' }", "[]"), "account has no group 1"),
        (rule("{ account = '/(a)/', name = '${account:2}' }", "[]"), "account has no group 2"),
        (rule("{ ip = '10.0.0.1/8' }", "[]"), "line 4: ip \"10.0.0.1/8\" has bits"),
        (rule("{ ip = 'web' }", "[]"), "line 4: ip \"web\" is no address"),
        (rule("{ labels = { a = '${labels:b}' } }", "[]"), "line 4: labels.a"),
        (rule("{}", "[]") + "commment = 'x'\n", "line 6: unknown key commment"),
        (
            rule("{}", "[]") + &"[[rule]]\nmatch = {}\nactions = []\n".repeat(1000),
            "more than 1000 rules",
        ),
    ];
    for (number, (text, part)) in files.iter().enumerate() {
        let name = format!("bad-{number}.toml");
        here.file(&name, text);
        one(&["acl", "check", &name], 23, part);
    }
}

#[test]
fn users_and_rules_come_over_or_nothing_does() {
    let here = Here::new();
    let good = format!(
        "server: {{addr: ':5001', certificate: c, key: k}}\ntoken: {{issuer: Acme, expiration: \
         900}}\nusers:\n  ann: {{password: \"{HASH}\", labels: {{team: [web]}}}}\n  \"\": {{}}\n\
         acl:\n- match: {{account: ann, name: 'a/**'}}\n  actions: ['*']\n"
    );
    here.file("good.yml", &good);
    let ran = here.run(&["import", "good.yml", "--out", "new"]);
    assert_eq!(ran.status, 0, "{}", ran.err);
    assert!(ran.err.contains("anonymous = true") && ran.err.contains("issuer = \"Acme\""));
    let mut names: Vec<_> = fs::read_dir(here.path().join("new"))
        .expect("the folder")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    let ann = "ann-";
    assert!(names.len() == 3 && names[0] == "acl.toml", "{names:?}");
    assert!(names[1].starts_with(&format!("rights.{ann}")), "{names:?}");
    assert!(names[2].starts_with(&format!("user.{ann}")), "{names:?}");
    for name in &names {
        let mode = fs::metadata(here.path().join("new").join(name)).expect("a file").permissions();
        assert_eq!(mode.mode() & 0o777, 0o600, "{name}");
    }
    let read = |name: &str| fs::read_to_string(here.path().join("new").join(name)).expect("text");
    let user: serde_json::Value = serde_json::from_str(&read(&names[2])).expect("JSON");
    assert_eq!((&user["kind"], &user["hash"]), (&"bcrypt".into(), &HASH.into()));
    assert!(user["id"] != user["gen"] && user["id"].as_str().is_some_and(|id| id.len() == 32));
    let rights: serde_json::Value = serde_json::from_str(&read(&names[1])).expect("JSON");
    assert_eq!(rights["labels"]["team"][0], "web");
    let words = ["acl", "explain", "new/acl.toml", "--account", "ann", "repository:a/b/c:pull"];
    assert!(here.run(&words).out.ends_with("given: nothing\n"), "** is * there");

    let again = here.run(&["import", "good.yml", "--out", "new"]);
    assert_eq!(again.status, 1, "{}", again.err);
    assert!(again.err.contains("acl.toml exists") && again.err.contains("hint: "));
    assert_eq!(here.run(&["import", "good.yml", "--out", "no/such"]).status, 2);

    let bad = format!("ldap_auth: {{}}\n{good}- match: {{team: x}}\n  actions: ['*']\n");
    here.file("bad.yml", &bad);
    let ran = here.run(&["import", "bad.yml", "--out", "other"]);
    assert_eq!(ran.status, 1, "{}", ran.err);
    assert!(ran.err.contains("bad.yml: line 1: ldap_auth: "), "{}", ran.err);
    assert!(ran.err.contains("bad.yml: line 10: acl, rule 2, match, team: "), "{}", ran.err);
    assert!(ran.err.contains("error: 2 things can't come over"), "{}", ran.err);
    assert!(!here.path().join("other").exists(), "nothing was written");
}

/// Half of an import is none: what was made is taken away again.
#[test]
fn an_import_that_fails_halfway_leaves_nothing() {
    let here = Here::new();
    here.file("good.yml", format!("users: {{ann: {{password: \"{HASH}\"}}}}\nacl: []\n"));
    assert_eq!(here.run(&["import", "good.yml", "--out", "new"]).status, 0);
    fs::remove_file(here.path().join("new/acl.toml")).expect("removed");
    let count = || fs::read_dir(here.path().join("new")).expect("the folder").count();
    let before = count();
    assert_eq!(here.run(&["import", "good.yml", "--out", "new"]).status, 1);
    assert_eq!(count(), before, "acl.toml was made first, and is gone again");
}

#[test]
fn help_has_examples_and_eighty_columns() {
    let here = Here::new();
    for words in [
        &["acl"][..],
        &["acl", "check"],
        &["acl", "explain"],
        &["acl", "set"],
        &["status"],
        &["token"],
        &["catalog"],
        &["tags"],
        &["import"],
        &["version"],
        &[],
    ] {
        let ran = here.run(&[words, &["--help"]].concat());
        assert_eq!((ran.status, ran.err.as_str()), (0, ""), "{words:?}");
        let long = ran.out.lines().find(|line| line.chars().count() > 80);
        assert_eq!(long, None, "{words:?}");
        assert!(ran.out.contains("Usage: skep registry"), "{words:?}");
        let last = words.last().is_some_and(|word| *word != "acl");
        assert_eq!(ran.out.contains("Examples:\n  skep registry "), last, "{words:?}: {}", ran.out);
    }
}
