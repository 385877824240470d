//! Rules, rewritten: each is read by the reader of `acl.toml` before it comes over.

use std::collections::{BTreeMap, BTreeSet};

use super::ImportedUser;
use super::found::Found;
use super::yaml::{At, Node, line};
use crate::rules::acl::{Acl, RULES};
use crate::rules::shown;

const KEYS: [&str; 5] = ["account", "type", "name", "service", "ip"];
/// What makes a label's value more than itself, where `docker_auth` puts it in as it is.
const PATTERN: [char; 4] = ['*', '?', '[', '\\'];

/// A rule of `docker_auth`'s.
#[derive(Clone, Debug, Default)]
struct OldRule {
    line: u64,
    place: String,
    fields: BTreeMap<&'static str, String>,
    labels: BTreeMap<String, String>,
    actions: Vec<String>,
    comment: Option<String>,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Rules {
    old: Vec<OldRule>,
    new: Vec<String>,
}

impl Rules {
    pub(super) fn read(&mut self, found: &mut Found<'_>, value: &At) {
        for (number, entry) in found.list(value, "acl").iter().enumerate() {
            let place = format!("acl, rule {}", number + 1);
            let before = found.bad.len();
            if let Some(rule) = old_rule(found, entry, place)
                && found.bad.len() == before
            {
                self.rewrite(found, &rule);
                self.old.push(rule);
            }
        }
        if self.new.len() > RULES {
            let why = format!("they make {} rules of at most {RULES}", self.new.len());
            found.cannot(line(value), "acl", why);
        }
    }

    fn rewrite(&mut self, found: &mut Found<'_>, rule: &OldRule) {
        // There `*` alone gives whatever is asked for, the catalog too; among others it is an
        // action like them, and the catalog's is called so.
        let star = rule.actions.iter().any(|action| action == "*");
        let alone = star && rule.actions.len() == 1;
        let named = rule.fields.get("type").is_some_and(|of| of == "registry");
        let mut all = Vec::new();
        if star && !named {
            let mut catalog = rule.clone();
            let may_be = rule.fields.get("type").is_none_or(|of| matches_registry(of));
            catalog.fields.insert("type", "registry".to_owned());
            catalog.actions = vec!["*".to_owned()];
            catalog.comment = Some("the catalog, which the * of the next rule gave".to_owned());
            all.extend(may_be.then_some(catalog));
        }
        let mut same = rule.clone();
        if star && !alone && !named {
            same.actions.retain(|action| action != "*");
        }
        all.push(same);
        for one in all {
            let text = one.written();
            match Acl::parse(&format!("{HEAD}{text}")) {
                Ok(_) => self.new.push(text),
                Err(bad) => {
                    let why = format!("{}; {}", bad.text, bad.hint);
                    return found.cannot(rule.line, &rule.place, why);
                }
            }
        }
    }

    /// What depends on rules and users together.
    pub(super) fn fit(&self, found: &mut Found<'_>, users: &[(u64, ImportedUser)]) {
        let mut used = BTreeSet::new();
        for text in self.old.iter().flat_map(|rule| rule.fields.values()) {
            let parts = text.split("${labels:").skip(1);
            used.extend(parts.filter_map(|part| part.split_once('}').map(|(label, _)| label)));
        }
        for (at, user) in users {
            for (label, values) in &user.labels {
                let pattern = values.iter().find(|value| {
                    value.contains(PATTERN) || (value.starts_with('/') && value.len() > 1)
                });
                if let Some(value) = pattern.filter(|_| used.contains(label.as_str())) {
                    let place = format!("users, \"{}\", labels", shown(user.account.as_str()));
                    let why = format!(
                        "the value {} of {} is a pattern there, and stands for itself here: write \
                         it into rules",
                        shown(value),
                        shown(label)
                    );
                    found.cannot(*at, &place, why);
                }
            }
        }
    }

    /// `acl.toml`, and how many rules there are.
    pub(super) fn written(&self) -> (String, usize) {
        (format!("{HEAD}{}", self.new.concat()), self.new.len())
    }
}

const HEAD: &str = "version = 1\npatterns = \"docker_auth\"\n";

/// Whether a pattern for the type fits the word `registry`, as the reader of rules has it. With
/// placeholders in it that can't be said, and then it doesn't.
fn matches_registry(pattern: &str) -> bool {
    use crate::rules::{AccountLabels, Ask, Scope};
    let matches = BTreeMap::from([("type", pattern.to_owned())]);
    let rule = OldRule { fields: matches, ..OldRule::default() };
    let acl = Acl::parse(&format!("{HEAD}{}", rule.written()));
    let scope = Scope::parse("registry:catalog:*");
    let labels = AccountLabels::new();
    match (acl, scope) {
        (Ok(acl), Ok(scope)) => {
            let ask =
                Ask { account: "", labels: &labels, address: None, service: "", scope: &scope };
            acl.decide(&ask).rule.is_some()
        }
        _ => false,
    }
}

impl OldRule {
    fn written(&self) -> String {
        let fields = self.fields.iter().map(|(key, text)| format!("{key} = {}", quoted(text)));
        let mut fields: Vec<String> = fields.collect();
        if !self.labels.is_empty() {
            let labels = self.labels.iter();
            let labels = labels.map(|(key, text)| format!("{} = {}", quoted(key), quoted(text)));
            fields.push(format!("labels = {{ {} }}", labels.collect::<Vec<_>>().join(", ")));
        }
        let fields = match fields.as_slice() {
            [] => "{}".to_owned(),
            all => format!("{{ {} }}", all.join(", ")),
        };
        let actions: Vec<_> = self.actions.iter().map(|action| quoted(action)).collect();
        let mut text =
            format!("\n[[rule]]\nmatch = {fields}\nactions = [{}]\n", actions.join(", "));
        if let Some(comment) = &self.comment {
            text.extend(["comment = ", &quoted(comment), "\n"]);
        }
        text
    }
}

/// On one line, whatever it holds.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.extend(["\\u", &format!("{:04X}", u32::from(c))]),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn old_rule(found: &mut Found<'_>, entry: &At, place: String) -> Option<OldRule> {
    let mut rule = OldRule { line: line(entry), place, ..OldRule::default() };
    let (mut matched, mut acts) = (false, false);
    for (key, value) in found.map(entry, &rule.place) {
        let place = format!("{}, {}", rule.place, shown(&key.value));
        match key.value.as_str() {
            "match" => {
                matched = true;
                conditions(found, &mut rule, value, &place);
            }
            "actions" => {
                acts = true;
                for action in found.list(value, &place) {
                    rule.actions.extend(found.text(action, &place));
                }
            }
            "comment" if matches!(value.value, Node::Null) => {}
            "comment" => rule.comment = found.text(value, &place),
            _ => found.cannot(line(key), &place, "docker_auth has no such key, and ignores it"),
        }
    }
    for (there, key) in [(matched, "match"), (acts, "actions")] {
        if !there && matches!(entry.value, Node::Map(_)) {
            found.cannot(rule.line, &rule.place, format!("the key {key} is missing"));
        }
    }
    (matched && acts).then_some(rule)
}

fn conditions(found: &mut Found<'_>, rule: &mut OldRule, value: &At, place: &str) {
    for (key, value) in found.map(value, place) {
        let place = format!("{place}, {}", shown(&key.value));
        let known = KEYS.into_iter().find(|known| *known == key.value);
        match (known, key.value.as_str()) {
            // As good as not there.
            (Some(_), _) | (None, "labels") if matches!(value.value, Node::Null) => {}
            (Some(known), _) => {
                let text = found.text(value, &place);
                rule.fields.extend(text.map(|text| (known, network(known, text))));
            }
            (None, "labels") => {
                for (label, value) in found.map(value, &place) {
                    let place = format!("{place}, {}", shown(&label.value));
                    let text = found.text(value, &place);
                    rule.labels.extend(text.map(|text| (label.value.clone(), text)));
                }
            }
            (None, _) => {
                let why = "docker_auth ignores it, so that the rule matches more than it says: \
                           write labels: {…} if that was meant";
                found.cannot(line(key), &place, why);
            }
        }
    }
}

/// A network without the bits behind its prefix.
fn network(key: &str, text: String) -> String {
    match text.parse::<ipnet::IpNet>() {
        Ok(network) if key == "ip" => network.trunc().to_string(),
        _ => text,
    }
}
