//! `acl check` and `acl explain` of what is in force: the same as the token server decides.

use std::process::Command;

use skep_registry::rules::hold::Hold;

use crate::client::{basic, get};
use crate::server::{BIN, Server};
use crate::site::{Site, files_of};

const RULES: &str = "version = 1
[[rule]]
match = { account = 'ann', name = 'web/**' }
actions = ['*']
[[rule]]
match = { account = 'ci' }
actions = ['pull', 'push']
";
const HOLDS: &str = r#"{"version":1,"holds":[{"repository":"web/held","digest":"sha256:0","why":"w","since":1,"by":"b"}]}"#;

/// The status, and what is said to whom.
fn acl(site: &Site, words: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(BIN);
    command.arg("acl").args(words).arg("--secrets").arg(site.path());
    let out = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (out.status.code().unwrap(), text(out.stdout), text(out.stderr))
}

#[test]
fn what_is_explained_is_what_the_server_decides() {
    let mut site = Site::new();
    site.set("acl.toml", RULES);
    site.set("holds.json", HOLDS);
    site.person("ann", "correct horse", 4);
    let robots = [
        ("ci", ""),
        ("ann+ci", r#","scopes":["repository:web/*:pull"]"#),
        ("ann+old", r#","not_after":1"#),
        ("ann+away", r#","from":["192.0.2.0/24"]"#),
        ("bob+ci", ""),
    ]
    .map(|(name, more)| site.robot(name, more));
    site.flip();
    let server = Server::start(&site, &[]);
    for robot in &robots {
        for (repository, actions) in [("web/app", "pull,push"), ("web/held", "pull"), ("x", "pull")]
        {
            let scope = format!("repository:{repository}:{actions}");
            let words = ["explain", "web", "--ip", "127.0.0.1", "--account", &robot.name, &scope];
            let (status, out, err) = acl(&site, &words);
            assert_eq!((status, err.as_str()), (0, ""), "{words:?}");
            let told = out.lines().last().unwrap().trim().trim_start_matches("given: ");
            let query = format!("service=registry&scope={scope}");
            let given = get(server.address, &query, &basic(&robot.name, &robot.password));
            let given = given.status(200).scope();
            let given = given.rsplit_once(':').map_or("nothing", |(_, actions)| actions);
            assert_eq!(told, given, "{}: {out}", robot.name);
        }
    }
    let explain = |account: &str, scope: &str, more: &[&str]| {
        let words = [&["explain", "web", "--account", account, scope], more].concat();
        acl(&site, &words).1
    };
    let loopback = ["--ip", "127.0.0.1"];
    assert_eq!(
        explain("ann+ci", "repository:web/app:pull,push", &loopback),
        "repository:web/app:pull,push\n  as its owner ann\n  rule 1 (line 2): matches, and gives \
         pull,push,delete\n  cut with its own scopes, and its owner's\n  given: pull\n"
    );
    for (account, scope, wanted) in [
        ("nobody", "repository:web/app:pull", "there is no such account"),
        ("bob+ci", "repository:web/app:pull", "its owner is gone"),
        ("ann+old", "repository:web/app:pull", "its end is past"),
        ("ann+away", "repository:web/app:pull", "--ip names none of them"),
        ("ann", "repository:web/held:pull", "view-held"),
        ("ann", "repository:x:pull", "no rule matches"),
        ("", "repository:x:pull", "no rule matches"),
    ] {
        let told = explain(account, scope, &loopback);
        assert!(told.contains(wanted) && told.ends_with("given: nothing\n"), "{account}: {told}");
    }
    // An address that isn't known is none of a network.
    let told = explain("ann+away", "repository:web/app:pull", &[]);
    assert!(told.contains("--ip names none of them"), "{told}");
    let told = explain("ann+away", "repository:web/app:pull", &["--ip", "192.0.2.7"]);
    assert!(told.ends_with("given: pull\n"), "{told}");
}

#[test]
fn what_is_in_force_is_checked_whole() {
    let mut site = Site::new();
    site.set("acl.toml", RULES);
    let robot = site.robot("ci", "");
    site.flip();
    let (status, out, err) = acl(&site, &["check", "web"]);
    assert_eq!((status, out.as_str(), err.as_str()), (0, "2 rules\naccounts: 1\n", ""));
    site.set(&files_of("ci")[1], "{");
    site.flip();
    let (status, out, err) = acl(&site, &["check", "web"]);
    assert_eq!((status, out.as_str()), (0, "2 rules\naccounts: 1\n"));
    assert!(err.starts_with("warning: rights.") && err.contains("is damaged"), "{err}");
    assert!(!err.contains(&robot.password), "{err}");
    // A hold that doesn't read could hold anything.
    let hold = Hold::new("web/app", &format!("sha256:{}", "0".repeat(64)), "why").unwrap();
    let name = format!("hold.{}", hold.slug());
    for text in ["{", &hold.text().replace("web/app", "web/other")] {
        site.set(&name, text);
        site.flip();
        let (status, _, err) = acl(&site, &["check", "web"]);
        assert!(status == 23 && err.contains(&format!("{name} is damaged")), "{err}");
    }
    site.set(&name, &hold.text());
    site.flip();
    assert_eq!(acl(&site, &["check", "web"]).0, 0);
    let words = ["explain", "web", "--account", "ci", "repository:web/app:pull,push"];
    let (_, out, _) = acl(&site, &words);
    assert!(out.contains("there is no such account"), "its rights are damaged: {out}");
    site.rights("ci", "");
    site.flip();
    let (_, out, _) = acl(&site, &words);
    assert!(out.contains("view-held") && out.ends_with("given: push\n"), "{out}");
    // Whatever keeps the server from giving tokens, and no line of the file.
    site.set("acl.toml", "version = 1\n[[rule]]\nmatch = { secret = 'x' }\nactions = []\n");
    site.flip();
    for words in
        [&["check", "web"][..], &["explain", "web", "--account", "ci", "repository:a:pull"]]
    {
        let (status, out, err) = acl(&site, words);
        assert_eq!((status, out.as_str()), (23, ""), "{err}");
        assert!(err.contains("acl.toml is damaged: line 3"), "{err}");
        assert!(err.contains("\nhint: "), "{err}");
    }
    let labels = ["explain", "web", "--account", "ci", "--label", "a=b", "repository:a:pull"];
    let (status, _, err) = acl(&site, &labels);
    assert!(status == 2 && err.contains("--label is for a file"), "{err}");
    let (status, _, err) = acl(&site, &["explain", "web", "--account", "a:b", "repository:a:pull"]);
    assert!(status == 2 && err.contains("colon"), "{err}");
}
