//! What comes over, and what is refused.

use std::fmt::Write;

use proptest::prelude::*;

use super::*;
use crate::rules::{Acl, Ask, Scope};

const HASH: &str = "$2y$05$LO.vzwpWC5LZGqThvEfznu8qhb5SGqvBSWY1J3yZ4AxtMRZ3kN5jC";

/// A file with one user, `ann`, and these rules.
fn with_rules(rules: &str) -> String {
    format!("users:\n  ann: {{password: \"{HASH}\", labels: {{team: [web, ops]}}}}\nacl:\n{rules}")
}

fn said(text: &str) -> Vec<String> {
    let bad = docker_auth(text).err().unwrap_or_default();
    bad.iter().map(ToString::to_string).collect()
}

fn given(acl: &Acl, account: &str, team: &[&str], asked: &str) -> String {
    let team = team.iter().map(|value| (*value).to_owned()).collect();
    let labels = AccountLabels::from([("team".to_owned(), team)]);
    let scope = Scope::parse(asked).expect(asked);
    let ask = Ask {
        account,
        labels: &labels,
        address: Some("10.1.2.3".parse().expect("an address")),
        service: "r",
        scope: &scope,
    };
    acl.decide(&ask).allowed.to_string()
}

fn rules(text: &str) -> Acl {
    let imported = docker_auth(&with_rules(text)).expect(text);
    Acl::parse(&imported.acl).expect("what the import writes is read")
}

#[test]
fn users_labels_and_rules_come_over() {
    let text = format!(
        "server: {{addr: ':5001', certificate: /c, key: /k}}\ntoken:\n  issuer: Acme\n  \
         expiration: 900\nusers:\n  ann:\n    password: {HASH}\n    labels: {{team: [web, 7]}}\n  \
         bob: {{password: \"{HASH}\"}}\n  \"\": {{}}\nacl:\n- match: {{account: ann}}\n  actions: \
         ['*']\n"
    );
    let imported = docker_auth(&text).expect("all comes over");
    let users: Vec<_> = imported.users.iter().map(|user| user.account.as_str()).collect();
    assert_eq!(users, ["ann", "bob"]);
    assert!(imported.users.iter().all(|user| user.hash == HASH));
    let team: Vec<_> = imported.users[0].labels["team"].iter().map(String::as_str).collect();
    assert_eq!(team, ["web", "7"], "what YAML takes for a number is text, as it is written");
    assert!(imported.anonymous);
    assert_eq!(imported.issuer.as_deref(), Some("Acme"));
    assert_eq!(imported.anew.len(), 5, "{:?}", imported.anew);
    assert_eq!(imported.rules, 2, "the rule, and the catalog that its star gave");
}

#[test]
fn what_a_rule_gave_it_gives() {
    let acl = rules("- match: {account: ann, name: 'web-*'}\n  actions: ['*']\n");
    assert_eq!(given(&acl, "ann", &[], "repository:web-1:*"), "pull,push,delete");
    assert_eq!(given(&acl, "ann", &[], "registry:catalog:*"), "", "the name doesn't fit");
    let acl = rules("- match: {account: ann}\n  actions: ['*']\n");
    assert_eq!(given(&acl, "ann", &[], "registry:catalog:*"), "*");
    let acl = rules("- match: {account: ann, type: repository}\n  actions: ['*']\n");
    assert_eq!(given(&acl, "ann", &[], "registry:catalog:*"), "");
    let acl = rules("- match: {type: '/^reg/'}\n  actions: ['*']\n");
    assert_eq!(given(&acl, "ann", &[], "registry:catalog:*"), "*");
    // Among others, the star is an action like them: the catalog's, and no repository's.
    let acl = rules("- match: {}\n  actions: [pull, '*']\n");
    assert_eq!(given(&acl, "ann", &[], "repository:a:*"), "pull");
    assert_eq!(given(&acl, "ann", &[], "registry:catalog:*"), "*");
    let acl = rules("- match: {ip: 10.9.9.9/8, labels: {team: w*}}\n  actions: [push]\n");
    assert_eq!(given(&acl, "ann", &["web"], "repository:a:*"), "push");
    assert_eq!(given(&acl, "ann", &["ops"], "repository:a:*"), "");
    let acl = rules(
        "- match: {name: 'a/**'}\n  actions: [pull]\n- match: {name: /b/}\n  actions: [pull]\n",
    );
    assert_eq!(given(&acl, "ann", &[], "repository:a/b/c:pull"), "pull", "by the second");
    assert_eq!(given(&acl, "ann", &[], "repository:a/c/d:pull"), "");
    let acl = rules("- match: {account: 'x\"\\y'}\n  actions: []\n  comment: \"a\\nb\\u0007\"\n");
    assert_eq!(acl.len(), 1);
    assert!(rules("  []\n").is_empty());
}

#[test]
fn what_can_not_come_over_is_named_with_its_line() {
    for (rules, line, why) in [
        ("- match: {team: x}\n  actions: ['*']\n", 4, "docker_auth ignores it"),
        ("- match: {}\n  actions: []\n  matches: {}\n", 6, "no such key"),
        ("- match: {}\n", 4, "the key actions is missing"),
        ("- actions: []\n", 4, "the key match is missing"),
        ("- match:\n  actions: []\n", 4, "no table"),
        ("- match: {}\n  actions: pull\n", 5, "no list"),
        ("- match: {}\n  actions: [[pull]]\n", 5, "no text"),
        ("- match: {}\n  actions: [fly]\n", 4, "unknown action fly"),
        ("- match: {name: '['}\n  actions: []\n", 4, "not closed"),
        ("- match: {name: '/(/'}\n  actions: []\n", 4, "unclosed"),
        ("- match: {ip: 10.0.0.*}\n  actions: []\n", 4, "no address"),
        ("- match: {name: '${account:1}'}\n  actions: []\n", 4, "no group 1"),
        ("- match: {name: '${who}'}\n  actions: []\n", 4, "no placeholder"),
        ("- match: {labels: {a: '${labels:b}'}}\n  actions: []\n", 4, "can't take values"),
        ("- match: {labels: [a]}\n  actions: []\n", 4, "no table"),
        ("- match: {account: [a]}\n  actions: []\n", 4, "no text"),
        ("- [a]\n", 4, "no table"),
        ("  a: b\n", 4, "no list"),
    ] {
        let said = said(&with_rules(rules));
        let [one] = said.as_slice() else { panic!("{rules}: {said:?}") };
        assert!(
            one.starts_with(&format!("line {line}: acl")) && one.contains(why),
            "{rules}: {one}"
        );
    }
    for (text, why) in [
        ("users: {ann: {}}", "takes any"),
        ("users: {ann: }", "knows no such user"),
        ("users: {ann: {password: hunter2}}", "no hash of bcrypt's"),
        ("users: {ann: {password: 7}}", "no hash of bcrypt's"),
        ("users: {ann: {passwort: x}}", "no such key"),
        (
            "users: {a+b: {password: $2y$05$LO.vzwpWC5LZGqThvEfznu8qhb5SGqvBSWY1J3yZ4AxtMRZ3kN5jC}}",
            "rename",
        ),
        (
            "users: {'a:b': {password: $2y$05$LO.vzwpWC5LZGqThvEfznu8qhb5SGqvBSWY1J3yZ4AxtMRZ3kN5jC}}",
            "colon",
        ),
        ("users: {'': {password: x}}", "without a name"),
        ("users: {a: {password: x, labels: [b]}}", "no table"),
        ("users: {a: {password: x, labels: {b: c}}}", "no list"),
        ("users: [a]", "no table"),
        ("ldap_auth: {addr: x}", "LDAP"),
        ("casbin_authz: {}", "under acl"),
        ("nonsense: 1", "no such key"),
        ("server: {real_ip_header: X-Forwarded-For}", "trusted_proxies"),
        ("server: {letsencrypt: {email: a}}", "certificates"),
        ("server: {tls_min_version: TLS10}", "rustls"),
        ("server: {colour: red}", "no such key"),
        ("token: {colour: red}", "no such key"),
        ("token: 5", "no table"),
        ("", "no table"),
        ("just text", "no table"),
        ("acl: []", "there are no users"),
        ("users: {}", "there are no rules"),
        ("a: {b", "no such YAML"),
        ("a: 1\na: 2", "no such YAML"),
        ("a: \"\\xff", "no such YAML"),
        ("---\na: 1\n---\nb: 1", "no such YAML"),
    ] {
        let said = said(text);
        assert!(said.iter().any(|one| one.contains(why)), "{text}: {said:?}");
        assert!(said.iter().all(|one| !one.contains('\n') && !one.contains("hunter2")));
    }
}

#[test]
fn all_of_it_is_named_at_once() {
    let text = "ldap_auth: {}\nserver: {letsencrypt: {}}\nusers: {a: {}}\nacl:\n- match: {team: x}\n  actions: []\n";
    let said = said(text);
    assert_eq!(said.len(), 4, "{said:?}");
    let lines: Vec<_> = said.iter().map(|one| one.split(':').next().unwrap_or_default()).collect();
    assert_eq!(lines, ["line 1", "line 2", "line 3", "line 5"]);
}

/// A label's value is put in as it is there, and stands for itself here.
#[test]
fn a_label_that_is_a_pattern_is_refused_where_it_is_used() {
    let file = |name: &str| {
        format!(
            "users: {{ann: {{password: \"{HASH}\", labels: {{may: ['test/*']}}}}}}\nacl:\n- match: \
             {{name: '{name}'}}\n  actions: ['*']\n"
        )
    };
    assert!(said(&file("${labels:may}")).concat().contains("is a pattern there"));
    assert!(docker_auth(&file("${labels:other}/*")).is_ok());
}

#[test]
fn hostile_yaml_is_bounded() {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for number in 1..12 {
        let before = format!("*a{}, ", number - 1).repeat(10);
        writeln!(bomb, "a{number}: &a{number} [{before}]").expect("a string");
    }
    let deep = format!("users: {}", "[".repeat(100_000));
    let deeper = format!("users: {}x{}", "{a: ".repeat(1000), "}".repeat(1000));
    let indented =
        (0..2000).fold(String::new(), |text, depth| text + &" ".repeat(depth.min(200)) + "- \n");
    let many = format!("users: [{}]", "x, ".repeat(300_000));
    let huge = "# ".to_owned() + &"x".repeat(CONFIG_BYTES);
    for text in [bomb, deep, deeper, indented, many, huge] {
        let said = said(&text);
        assert!(!said.is_empty() && said.iter().all(|one| one.len() < 400), "{said:?}");
    }
}

#[test]
fn too_many_rules_are_refused() {
    let many = "- {match: {type: repository}, actions: []}\n";
    assert!(docker_auth(&with_rules(&many.repeat(1000))).is_ok());
    assert!(said(&with_rules(&many.repeat(1001))).concat().contains("at most 1000"));
    let open = "- {match: {name: '/${account}/'}, actions: []}\n";
    assert!(said(&with_rules(&open.repeat(65))).concat().contains("more than 64"));
}

proptest! {
    #[test]
    fn no_file_panics(text in ".{0,120}") {
        drop(docker_auth(&text));
        drop(docker_auth(&with_rules(&text)));
    }

    /// Whatever a rule holds, what is written is read again, and decides the same everywhere.
    #[test]
    fn what_is_written_is_read(name in ".{0,20}", comment in ".{0,20}") {
        let json = |text: &str| serde_json::Value::String(text.to_owned()).to_string();
        let rule = format!("- {{\"match\": {{\"name\": {}}}, \"actions\": [\"*\"], \"comment\": {}}}\n", json(&name), json(&comment));
        if let Ok(imported) = docker_auth(&with_rules(&rule)) {
            prop_assert!(Acl::parse(&imported.acl).is_ok(), "{}", imported.acl);
        }
    }
}
