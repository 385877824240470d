//! The file's text, read: every mistake has its line, and what to do about it.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::ops::Range;

use ipnet::{IpNet, Ipv4Net};
use serde::Deserialize;
use toml::Spanned;

use super::ask::RuleAt;
use super::rule::Rule;
use crate::rules::action::{Action, Actions};
use crate::rules::glob::Dialect;
use crate::rules::hole::{Field, Hole};
use crate::rules::pattern::Pattern;
use crate::rules::shown;

/// Bytes of the file: what a secret holds.
pub const ACL_BYTES: usize = 511_999;
/// Rules of one file.
pub const RULES: usize = 1000;
/// Expressions with placeholders of one file: each is compiled for each decision.
pub const OPEN_EXPRESSIONS: usize = 64;
/// Labels that one rule looks at.
pub const LABELS: usize = 16;

/// What is wrong with a file of rules: one line, and another that says what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadAcl {
    /// The line, from 1 on, where one is at fault.
    pub line: Option<usize>,
    /// What is wrong.
    pub text: String,
    /// What to do.
    pub hint: String,
}

/// `line 7: unknown key team`
impl fmt::Display for BadAcl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        f.write_str(&self.text)
    }
}

impl std::error::Error for BadAcl {}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: Spanned<i64>,
    #[serde(default)]
    patterns: Option<Spanned<String>>,
    #[serde(default)]
    rule: Vec<Spanned<RawRule>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRule {
    r#match: RawMatch,
    actions: Vec<Spanned<String>>,
    patterns: Option<Spanned<String>>,
    comment: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawMatch {
    account: Option<Spanned<String>>,
    r#type: Option<Spanned<String>>,
    name: Option<Spanned<String>>,
    service: Option<Spanned<String>>,
    ip: Option<Spanned<String>>,
    #[serde(default)]
    labels: BTreeMap<String, Spanned<String>>,
}

/// Where a text is, for lines.
struct Source<'t>(&'t str);

impl Source<'_> {
    fn line(&self, span: &Range<usize>) -> usize {
        let before = self.0.as_bytes().get(..span.start).unwrap_or_default();
        before.split(|byte| *byte == b'\n').count()
    }

    fn bad(&self, span: &Range<usize>, text: impl fmt::Display, hint: &str) -> BadAcl {
        BadAcl { line: Some(self.line(span)), text: text.to_string(), hint: hint.to_owned() }
    }
}

pub(super) fn read(text: &str) -> Result<Vec<Rule>, BadAcl> {
    let whole = |text: String, hint: &str| BadAcl { line: None, text, hint: hint.to_owned() };
    if text.len() > ACL_BYTES {
        let hint = "one rule may stand for many: see patterns and placeholders";
        return Err(whole(format!("the rules take more than {ACL_BYTES} bytes"), hint));
    }
    let source = Source(text);
    let document: Document = toml::from_str(text).map_err(|error| of_toml(&source, &error))?;
    if *document.version.get_ref() != 1 {
        let text = format!("version {} is not known", document.version.get_ref());
        return Err(source.bad(&document.version.span(), text, "write version = 1"));
    }
    if let Some(first_too_many) = document.rule.get(RULES) {
        let hint = "one rule may stand for many: see patterns and placeholders";
        let text = format!("there are more than {RULES} rules");
        return Err(source.bad(&first_too_many.span(), text, hint));
    }
    let default = dialect(&source, document.patterns.as_ref())?.unwrap_or(Dialect::Skep);
    let mut rules = Vec::with_capacity(document.rule.len());
    let mut open = 0;
    for (before, raw) in document.rule.into_iter().enumerate() {
        let span = raw.span();
        let at = RuleAt { number: before + 1, line: source.line(&span) };
        let rule = rule(&source, at, &span, raw.into_inner(), default)?;
        open += rule.patterns().filter(|pattern| pattern.is_open()).count();
        if open > OPEN_EXPRESSIONS {
            let text =
                format!("more than {OPEN_EXPRESSIONS} regular expressions have placeholders");
            let hint = "write them as globs: \"${account}/*\"";
            return Err(source.bad(&span, text, hint));
        }
        rules.push(rule);
    }
    Ok(rules)
}

/// What the TOML library says, in our words.
fn of_toml(source: &Source<'_>, error: &toml::de::Error) -> BadAcl {
    let said = error.message().lines().next().unwrap_or_default();
    let line = error.span().map(|span| source.line(&span));
    let bad = |text: String, hint: String| BadAcl { line, text, hint };
    if let Some((key, known)) =
        said.strip_prefix("unknown field `").and_then(|rest| rest.split_once('`'))
    {
        let known = known.trim_start_matches(", expected ").trim_start_matches("one of ");
        let text = format!("unknown key {}", shown(key));
        return bad(text, format!("the keys here are {}", known.replace('`', "")));
    }
    if let Some(key) = said.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`'))
    {
        let hint = match key {
            "version" => "write version = 1 as its first line",
            "match" => "every rule says what it matches; match = {} matches everything",
            _ => "every rule says what it gives; actions = [] gives nothing",
        };
        return bad(format!("the key {key} is missing"), hint.to_owned());
    }
    bad(shown(said), "docs/registry/acl.md has every key, with examples".to_owned())
}

fn dialect(source: &Source<'_>, text: Option<&Spanned<String>>) -> Result<Option<Dialect>, BadAcl> {
    let Some(text) = text else { return Ok(None) };
    match text.get_ref().as_str() {
        "skep" => Ok(Some(Dialect::Skep)),
        "docker_auth" => Ok(Some(Dialect::Go)),
        other => {
            let said = format!("unknown kind of patterns {}", shown(other));
            Err(source.bad(&text.span(), said, "patterns = \"skep\", or \"docker_auth\""))
        }
    }
}

impl Rule {
    fn patterns(&self) -> impl Iterator<Item = &Pattern> {
        let labels = self.labels.iter().map(|(_, pattern)| pattern);
        self.fields.iter().map(|(_, pattern)| pattern).chain(labels)
    }
}

fn rule(
    source: &Source<'_>,
    at: RuleAt,
    span: &Range<usize>,
    raw: RawRule,
    default: Dialect,
) -> Result<Rule, BadAcl> {
    let dialect = dialect(source, raw.patterns.as_ref())?.unwrap_or(default);
    let RawMatch { account, r#type, name, service, ip, labels } = raw.r#match;
    let of_field = [
        (Field::Account, account),
        (Field::Type, r#type),
        (Field::Name, name),
        (Field::Service, service),
    ];
    let mut fields = Vec::new();
    let mut spans = Vec::new();
    for (field, text) in of_field {
        let Some(text) = text else { continue };
        fields.push((field, pattern(source, field.text(), &text, dialect)?));
        spans.push(text.span());
    }
    if labels.len() > LABELS {
        let text = format!("the rule looks at more than {LABELS} labels");
        return Err(source.bad(span, text, "one label may have many values"));
    }
    let mut of_labels = Vec::new();
    for (label, text) in labels {
        let key = format!("labels.{}", shown(&label));
        let read = pattern(source, &key, &text, dialect)?;
        if read.holes().iter().any(|hole| matches!(hole, Hole::Label(_))) {
            let text_said = format!("{key}: a label's pattern can't take values from labels");
            let hint = "its placeholders are ${account}, ${type}, ${name} and ${service}";
            return Err(source.bad(&text.span(), text_said, hint));
        }
        spans.push(text.span());
        of_labels.push((label, read));
    }
    let networks = ip.map(|ip| network(source, &ip, dialect)).transpose()?;
    let (actions, star) = actions(source, &raw.actions)?;
    let comment = raw.comment;
    let rule = Rule { at, fields, networks, labels: of_labels, actions, star, comment };
    captures_are_there(source, &rule, &spans)?;
    Ok(rule)
}

fn pattern(
    source: &Source<'_>,
    key: &str,
    text: &Spanned<String>,
    dialect: Dialect,
) -> Result<Pattern, BadAcl> {
    Pattern::parse(text.get_ref(), dialect).map_err(|why| {
        let hint = if why.contains("placeholder $") {
            "there are ${account}, ${type}, ${name}, ${service}, ${account:1}, ${labels:team}"
        } else {
            "patterns are globs (\"team/*\") or regular expressions (\"/team-[0-9]+/\")"
        };
        let said = format!("{key} \"{}\": {why}", shown(text.get_ref()));
        source.bad(&text.span(), said, hint)
    })
}

/// Placeholders of groups name groups that there are.
fn captures_are_there(
    source: &Source<'_>,
    rule: &Rule,
    spans: &[Range<usize>],
) -> Result<(), BadAcl> {
    for (pattern, span) in rule.patterns().zip(spans) {
        for hole in pattern.holes() {
            let Hole::Captured(field, group) = hole else { continue };
            let of = rule.fields.iter().find(|(of, _)| of == field).map(|(_, pattern)| pattern);
            if of.map_or(0, Pattern::groups) >= *group {
                continue;
            }
            let text = format!("{hole}: the rule's {} has no group {group}", field.text());
            let hint =
                "groups are those of a regular expression without placeholders: \"/(.+)@x/\"";
            return Err(source.bad(span, text, hint));
        }
    }
    Ok(())
}

fn actions(source: &Source<'_>, texts: &[Spanned<String>]) -> Result<(Actions, bool), BadAcl> {
    let mut actions = Actions::NONE;
    let mut star = false;
    for text in texts {
        match Action::named(text.get_ref()) {
            Some(action) => actions = actions.with(action),
            None if text.get_ref() == "*" => star = true,
            None => {
                let said = format!("unknown action {}", shown(text.get_ref()));
                let hint = "there are pull, push, delete, * (these three), sign, promote, hold and \
                            view-held";
                return Err(source.bad(&text.span(), said, hint));
            }
        }
    }
    Ok((actions, star))
}

/// One address, or a network. IPv4 addresses in IPv6 are IPv4.
fn network(source: &Source<'_>, text: &Spanned<String>, dialect: Dialect) -> Result<IpNet, BadAcl> {
    let bad = |said: String, hint: &str| Err(source.bad(&text.span(), said, hint));
    let read = text.get_ref().parse::<IpAddr>().map(IpNet::from);
    let Ok(network) = read.or_else(|_| text.get_ref().parse::<IpNet>()) else {
        let said = format!("ip \"{}\" is no address and no network", shown(text.get_ref()));
        return bad(said, "ip = \"192.0.2.7\", \"10.0.0.0/8\" or \"2001:db8::/32\"");
    };
    if network.trunc() != network && dialect == Dialect::Skep {
        let said = format!("ip \"{network}\" has bits behind its prefix");
        let hint = format!("the network is {}", network.trunc());
        return bad(said, &hint);
    }
    Ok(canonical(network.trunc()))
}

fn canonical(network: IpNet) -> IpNet {
    if let IpNet::V6(six) = network
        && let IpAddr::V4(address) = six.addr().to_canonical()
        && let Some(prefix) = six.prefix_len().checked_sub(96)
        && let Ok(four) = Ipv4Net::new(address, prefix)
    {
        return IpNet::V4(four);
    }
    network
}
