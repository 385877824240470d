//! The rules: `docker_auth`'s own tables, ours beside them, and what is refused.

use std::fmt::Write;

use proptest::prelude::*;

use super::*;
use crate::rules::action::{Action, Actions};
use crate::rules::scope::Scope;

fn labels(of: &[(&str, &[&str])]) -> AccountLabels {
    let values = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect();
    of.iter().map(|(label, all)| ((*label).to_owned(), values(all))).collect()
}

/// Rules of a kind of patterns, one for each `match` table and its actions.
fn acl(patterns: &str, rules: &[(&str, &str)]) -> Result<Acl, BadAcl> {
    let mut text = format!("version = 1\npatterns = \"{patterns}\"\n");
    for (matches, actions) in rules {
        write!(text, "[[rule]]\nmatch = {matches}\nactions = {actions}\n").expect("a string");
    }
    Acl::parse(&text)
}

fn scope(text: &str) -> Scope {
    Scope::parse(text).expect(text)
}

struct Asked {
    account: &'static str,
    scope: Scope,
    labels: AccountLabels,
    address: Option<&'static str>,
    service: &'static str,
}

fn asked(account: &'static str, name: &str) -> Asked {
    let scope = scope(&format!("repository:{name}:*"));
    Asked { account, scope, labels: labels(&[]), address: None, service: "notary" }
}

impl Asked {
    fn ask(&self) -> Ask<'_> {
        Ask {
            account: self.account,
            labels: &self.labels,
            address: self.address.map(|address| address.parse().expect("an address")),
            service: self.service,
            scope: &self.scope,
        }
    }

    fn labels(mut self, of: &[(&str, &[&str])]) -> Self {
        self.labels = labels(of);
        self
    }

    fn from(mut self, address: &'static str) -> Self {
        self.address = Some(address);
        self
    }
}

/// What `docker_auth` says is valid in a `match`, and what is not.
#[test]
fn docker_auths_table_of_what_is_valid() {
    for (matches, good) in [
        ("{}", true),
        ("{ account = 'foo' }", true),
        ("{ account = 'foo?*' }", true),
        ("{ account = '/foo.*/' }", true),
        ("{ type = 'foo' }", true),
        ("{ type = 'foo?*' }", true),
        ("{ type = '/foo.*/' }", true),
        ("{ name = 'foo' }", true),
        ("{ name = 'foo?*' }", true),
        ("{ name = '/foo.*/' }", true),
        ("{ service = 'foo' }", true),
        ("{ service = 'foo?*' }", true),
        ("{ service = '/foo.*/' }", true),
        ("{ ip = '192.168.0.1' }", true),
        ("{ ip = '192.168.0.0/16' }", true),
        ("{ ip = '2001:db8::1' }", true),
        ("{ ip = '2001:db8::/48' }", true),
        ("{ labels = { foo = 'bar' } }", true),
        ("{ account = '/foo?*/' }", false),
        ("{ type = '/foo?*/' }", false),
        ("{ name = '/foo?*/' }", false),
        ("{ service = '/foo?*/' }", false),
        ("{ ip = '192.168.0.1/100' }", false),
        ("{ ip = '192.168.0.*' }", false),
        ("{ ip = 'foo' }", false),
        ("{ ip = '2001:db8::/222' }", false),
        ("{ labels = { foo = '/bar?*/' } }", false),
    ] {
        for patterns in ["skep", "docker_auth"] {
            assert_eq!(acl(patterns, &[(matches, "['*']")]).is_ok(), good, "{matches}");
        }
    }
}

/// What `docker_auth`'s table says matches. Its made-up type `bar` is `repository` here, its
/// name `baz` is the same, and a group that isn't there is refused when the rules are read.
#[test]
fn docker_auths_table_of_what_matches() {
    let group: &[(&str, &[&str])] = &[("group", &["admins", "VIP"])];
    let both: &[(&str, &[&str])] =
        &[("group", &["admins", "VIP"]), ("project", &["api", "frontend"])];
    let ai1 = || asked("foo", "baz");
    let ai2 = || asked("foo", "baz").labels(group);
    let ai3 = || asked("foo", "admins/foo").labels(group);
    let named = |name: &str| asked("foo", name).labels(both);
    let mail = r"/^(.+)@test\.com$/";
    let mails = r"/^(.+)@(.+?).test\.com$/";
    let one = format!("{{ account = '{mail}', name = '${{account:1}}/*' }}");
    let three = format!("{{ account = '{mail}', name = '${{account:3}}/*' }}");
    let two = format!("{{ account = '{mails}', name = '${{account:1}}-${{account:2}}/*' }}");
    let lower = |name: &str| named(&name.to_lowercase());
    let rows: Vec<(&str, Asked, bool)> = vec![
        ("{}", ai1(), true),
        ("{ account = 'foo' }", ai1(), true),
        ("{ account = 'foo', type = 'repository' }", ai1(), true),
        ("{ account = 'foo', type = 'baz' }", ai1(), false),
        ("{ account = 'fo?', type = 'r*', name = '/z$/' }", ai1(), true),
        ("{ account = 'fo?', type = 'r*', name = '/^z/' }", ai1(), false),
        ("{ name = '${account}' }", asked("foo", "foo"), true),
        ("{ name = '/${account}_.*/' }", asked("foo", "foo_x"), true),
        ("{ name = '/${account}_.*/' }", asked(".*", "foo_x"), false),
        (&one, asked("john.smith@test.com", "john.smith/test"), true),
        (&three, asked("john.smith@test.com", "john.smith/test"), false),
        (&two, asked("john.smith@it.test.com", "john.smith-it/test"), true),
        ("{ service = 'notary', type = 'repository' }", ai1(), true),
        ("{ service = 'notary', type = 'baz' }", ai1(), false),
        ("{ service = 'notary1', type = 'repository' }", ai1(), false),
        ("{ ip = '127.0.0.1' }", ai1(), false),
        ("{ ip = '127.0.0.1' }", ai1().from("127.0.0.1"), true),
        ("{ ip = '127.0.0.1' }", ai1().from("127.0.0.2"), false),
        ("{ ip = '127.0.0.2' }", ai1().from("127.0.0.1"), false),
        ("{ ip = '127.0.0.0/8' }", ai1().from("127.0.0.1"), true),
        ("{ ip = '127.0.0.0/8' }", ai1().from("127.0.0.2"), true),
        ("{ ip = '2001:db8::1' }", ai1(), false),
        ("{ ip = '2001:db8::1' }", ai1().from("2001:db8::1"), true),
        ("{ ip = '2001:db8::1' }", ai1().from("2001:db8::2"), false),
        ("{ ip = '2001:db8::2' }", ai1().from("2001:db8::1"), false),
        ("{ ip = '2001:db8::/48' }", ai1().from("2001:db8::1"), true),
        ("{ ip = '2001:db8::/48' }", ai1().from("2001:db8::2"), true),
        ("{ labels = { foo = 'bar' } }", ai1(), false),
        ("{ labels = { foo = 'bar' } }", ai2(), false),
        ("{ labels = { group = 'admins' } }", ai2(), true),
        ("{ labels = { foo = 'bar', group = 'admins' } }", ai2(), false),
        ("{ labels = { group = 'VIP' } }", ai2(), true),
        ("{ labels = { group = 'a*' } }", ai2(), true),
        ("{ labels = { group = '/(admins|VIP)/' } }", ai2(), true),
        ("{ name = '${labels:group}/*' }", ai1(), false),
        ("{ name = '${labels:noexist}/*' }", ai2(), false),
        ("{ name = '${labels:group}/*' }", ai3(), true),
        ("{ name = '${labels:noexist}/*' }", ai3(), false),
        ("{ name = '${labels:group}/${labels:project}' }", named("admins/api"), true),
        ("{ name = '${labels:group}/${labels:noexist}' }", named("admins/api"), false),
        ("{ name = '${labels:group}/${labels:project}' }", named("admins/frontend"), true),
        ("{ name = '${labels:group}/${labels:project}' }", named("devs/api"), false),
        // A repository is written in lower case; the label there isn't.
        ("{ name = '${labels:group}/${labels:project}' }", lower("VIP/api"), false),
    ];
    for (matches, asked, wanted) in rows {
        let found = match acl("docker_auth", &[(matches, "['*']")]) {
            Ok(acl) => !acl.decide(&asked.ask()).allowed.is_empty(),
            Err(bad) => {
                assert!(bad.text.contains("no group 3"), "{matches}: {bad}");
                false
            }
        };
        assert_eq!(found, wanted, "{matches} and {}", asked.scope);
    }
}

#[test]
fn the_first_rule_that_matches_decides() {
    let acl = acl(
        "skep",
        &[
            ("{ account = 'admin' }", "['*']"),
            ("{ account = 'test', name = 'test-*' }", "['pull', 'push']"),
            ("{ account = 'test' }", "[]"),
            ("{ account = '/.+/' }", "['pull']"),
            ("{ account = '', name = 'hello-world' }", "['pull']"),
        ],
    )
    .expect("rules");
    for (account, name, given, rule) in [
        ("admin", "any", "pull,push,delete", Some(1)),
        ("test", "test-a", "pull,push", Some(2)),
        ("test", "other", "", Some(3)),
        ("somebody", "other", "pull", Some(4)),
        ("", "hello-world", "pull", Some(5)),
        ("", "other", "", None),
    ] {
        let asked = asked(account, name);
        let verdict = acl.decide(&asked.ask());
        assert_eq!(verdict.allowed.to_string(), given, "{account} {name}");
        assert_eq!(verdict.rule.map(|at| at.number), rule, "{account} {name}");
        let explained = acl.explain(&asked.ask());
        assert_eq!(explained.verdict, verdict);
        assert_eq!(explained.missed.len(), rule.unwrap_or(6) - 1, "{account} {name}");
    }
}

#[test]
fn a_star_gives_neither_the_catalog_nor_what_is_named() {
    let given = |rules: &[(&str, &str)], asked: &str| {
        let acl = acl("docker_auth", rules).expect("rules");
        let labels = labels(&[]);
        let scope = scope(asked);
        let ask = Ask { account: "a", labels: &labels, address: None, service: "", scope: &scope };
        acl.decide(&ask).allowed.to_string()
    };
    let all = "repository:app:*,sign,promote,hold,view-held";
    assert_eq!(given(&[("{}", "['*']")], all), "pull,push,delete");
    assert_eq!(given(&[("{}", "['*', 'sign']")], all), "pull,push,delete,sign");
    assert_eq!(given(&[("{}", "['view-held']")], all), "view-held");
    assert_eq!(given(&[("{}", "['pull']")], "repository:app:*"), "pull");
    assert_eq!(given(&[("{}", "['*']")], "repository(plugin):app:pull"), "pull");
    let catalog = "registry:catalog:*";
    assert_eq!(given(&[("{}", "['*']")], catalog), "");
    assert_eq!(given(&[("{ type = 'registry' }", "['*']")], catalog), "*");
    assert_eq!(given(&[("{ type = 'registry', name = 'catalog' }", "['*']")], catalog), "*");
    assert_eq!(given(&[("{ type = 'regi*' }", "['*']")], catalog), "");
    assert_eq!(given(&[("{ type = 'registry' }", "['pull']")], catalog), "");
    assert_eq!(given(&[("{ type = 'registry' }", "['*']")], "repository:app:*"), "");
}

#[test]
fn ours_are_anchored_and_those_of_docker_auth_are_not() {
    let matches = |patterns: &str, matches: &str, name: &str| {
        let acl = acl(patterns, &[(matches, "['*']")]).expect(matches);
        acl.decide(&asked("foo", name).ask()).rule.is_some()
    };
    for (pattern, name, ours, theirs) in [
        ("{ name = '/foo/' }", "foo", true, true),
        ("{ name = '/foo/' }", "a/foo-b", false, true),
        ("{ name = '/a|b/' }", "ab", false, true),
        ("{ name = 'team/**' }", "team/a/b", true, false),
        ("{ name = 'team/{a,b}' }", "team/b", true, false),
        ("{ name = 'team/[!a]' }", "team/b", true, false),
    ] {
        assert_eq!(matches("skep", pattern, name), ours, "{pattern}");
        assert_eq!(matches("docker_auth", pattern, name), theirs, "{pattern}");
    }
    let text = "version = 1\n[[rule]]\nmatch = { name = '/foo/' }\nactions = ['*']\n\
                patterns = 'docker_auth'\n";
    let acl = Acl::parse(text).expect("a rule of its own kind");
    assert!(acl.decide(&asked("foo", "a/foo-b").ask()).rule.is_some());
}

#[test]
fn addresses_in_other_clothes_are_the_same() {
    for (network, address, inside) in [
        ("10.0.0.0/8", "::ffff:10.1.2.3", true),
        ("::ffff:10.0.0.0/104", "10.1.2.3", true),
        ("::ffff:10.1.2.3", "10.1.2.3", true),
        ("::/0", "10.1.2.3", false),
        ("0.0.0.0/0", "2001:db8::1", false),
        ("0.0.0.0/0", "10.1.2.3", true),
    ] {
        let rule = format!("{{ ip = '{network}' }}");
        let acl = acl("skep", &[(&rule, "['*']")]).expect(network);
        let found = acl.decide(&asked("a", "b").from(address).ask()).rule.is_some();
        assert_eq!(found, inside, "{network} {address}");
    }
    let loose = [("{ ip = '10.1.2.3/8' }", "['*']")];
    assert_eq!(acl("skep", &loose).expect_err("loose").hint, "the network is 10.0.0.0/8");
    assert!(acl("docker_auth", &loose).is_ok(), "docker_auth takes it");
}

/// What can't be said within the bounds gives nothing, and the rules below have no say: the
/// rule could be one that denies.
#[test]
fn what_can_not_be_decided_gives_nothing() {
    let many: Vec<String> = (0..80).map(|number| format!("t{number}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let rules = [("{ name = '${labels:a}/${labels:b}' }", "[]"), ("{}", "['*']")];
    let acl = acl("skep", &rules).expect("rules");
    let few = asked("a", "app").labels(&[("a", &["x"]), ("b", &["y"])]);
    assert_eq!(acl.decide(&few.ask()).allowed, Actions::EVERYDAY);
    let asked = asked("a", "app").labels(&[("a", &many), ("b", &many)]);
    let verdict = acl.decide(&asked.ask());
    assert_eq!((verdict.allowed, verdict.rule.map(|at| at.number)), (Actions::NONE, Some(1)));
    let explained = acl.explain(&asked.ask());
    assert_eq!(explained.verdict, verdict);
    assert!(explained.undecided.expect("why").to_string().contains("too many"));
}

#[test]
fn an_explanation_names_the_rule_and_why_the_others_missed() {
    let text = "version = 1\n\n[[rule]]\nmatch = { account = 'ann', labels = { team = 'db*' } }\n\
                actions = ['*']\n\n[[rule]]\nmatch = { name = '${labels:site}/*' }\nactions = []\n\
                \n[[rule]]\nmatch = { ip = '10.0.0.0/8' }\nactions = []\n\
                [[rule]]\nmatch = {}\nactions = ['pull']\ncomment = 'all may read'\n";
    let acl = Acl::parse(text).expect("rules");
    let said = |asked: &Asked| {
        let explained = acl.explain(&asked.ask());
        explained.missed.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let asked_now = asked("ann", "app").labels(&[("team", &["web", "ops"])]).from("192.0.2.1");
    assert_eq!(
        said(&asked_now),
        [
            "rule 1 (line 3): labels.team \"db*\" does not match \"web\" nor 1 other values",
            "rule 2 (line 7): name: ${labels:site} has no value here",
            "rule 3 (line 11): ip \"10.0.0.0/8\" does not contain 192.0.2.1",
        ]
    );
    let explained = acl.explain(&asked_now.ask());
    assert_eq!(explained.verdict.rule, Some(RuleAt { number: 4, line: 14 }));
    assert_eq!(explained.comment.as_deref(), Some("all may read"));
    assert_eq!(explained.gives, Actions::NONE.with(Action::Pull));
    assert!(said(&asked("bob", "app"))[0].contains("account \"ann\" does not match \"bob\""));
}

/// Values that would open much if they were patterns, and some that are none.
fn value() -> impl Strategy<Value = String> {
    let wide = ["*", "**", "?*", "*/*", "[a-z]*", "[^0]*", ".*", ".+", "[a-z/]+", "a|.*", "(.*)"];
    let wide = proptest::sample::select(wide.to_vec()).prop_map(str::to_owned);
    let any = "[a-z*?\\[\\]{},.|()/$^!\\\\+-]{1,10}";
    prop_oneof![wide, any, "[a-z]{1,2}"]
}

proptest! {
    #[test]
    fn no_file_panics(text in ".{0,200}") {
        drop(Acl::parse(&text));
    }

    #[test]
    fn no_pattern_in_a_file_panics(pattern in ".{0,30}", value in ".{0,10}", ours in any::<bool>()) {
        let quoted = toml::Value::String(pattern).to_string();
        let patterns = if ours { "skep" } else { "docker_auth" };
        let matches = format!("{{ account = {quoted}, name = {quoted}, labels = {{ x = {quoted} }} }}");
        if let Ok(acl) = acl(patterns, &[(&matches, "['*']")]) {
            let mut asked = asked("", "app").labels(&[("x", &[&value])]);
            asked.account = Box::leak(value.clone().into_boxed_str());
            let explained = acl.explain(&asked.ask());
            prop_assert_eq!(explained.verdict, acl.decide(&asked.ask()));
        }
    }

    /// What an account calls itself, and what its labels hold, opens nothing but its own.
    #[test]
    fn a_value_never_widens_a_rule(value in value(), name in "[a-z]{1,6}(/[a-z]{1,6})?") {
        for patterns in ["skep", "docker_auth"] {
            let rules = [
                ("{ name = '${labels:x}' }", "['*']"),
                ("{ name = '/^${labels:x}$/' }", "['*']"),
                ("{ account = '/^(.*)$/', name = '${account:1}' }", "['*']"),
                ("{ account = '/^(.*)$/', name = '/^${account:1}$/' }", "['*']"),
                ("{ name = '${account}' }", "['*']"),
                ("{ name = '/^${account}$/' }", "['*']"),
            ];
            let acl = acl(patterns, &rules).expect("rules");
            let mut asked = asked("", &name).labels(&[("x", &[&value])]);
            asked.account = Box::leak(value.clone().into_boxed_str());
            let given = !acl.decide(&asked.ask()).allowed.is_empty();
            prop_assert_eq!(given, value == name, "{:?}", patterns);
        }
    }
}
