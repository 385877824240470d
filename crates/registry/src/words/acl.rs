//! `skep registry acl`: rules of a file, checked and explained.

use std::path::Path;

use skep_core::base::{Exit, Failure};

use super::args::{AclCommand, ExplainArgs, RulesAt};
use super::file::read_text;
use super::screen::Screen;
use crate::rules::acl::ACL_BYTES;
use crate::rules::{AccountLabels, Acl, Ask, Explanation, Scope, parse_scopes, shown};

/// Bytes of a name that is asked about: what a request may hold.
const NAME_BYTES: usize = 1024;

pub(super) fn run(screen: &mut Screen, command: &AclCommand) -> Result<(), Failure> {
    match command {
        AclCommand::Check { rules } => check(screen, rules),
        AclCommand::Explain(args) => explain(screen, args),
    }
}

fn usage(text: impl std::fmt::Display, hint: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Usage, text).hint(hint)
}

/// The rules of a file. What is wrong with them is status 23, as with every configuration.
pub(super) fn rules_of(path: &Path) -> Result<Acl, Failure> {
    let text = read_text(path, ACL_BYTES)?;
    Acl::parse(&text).map_err(|bad| {
        let text = format!("{}: {bad}", path.display());
        Failure::new(Exit::Configuration, text).hint(&bad.hint)
    })
}

fn rules_at(text: &str) -> Result<Acl, Failure> {
    match RulesAt::of(text) {
        RulesAt::File(path) => rules_of(&path),
        RulesAt::Registry(name) => {
            let text = format!("{} is no file of rules", shown(&name));
            let hint = "name a file: its path ends in .toml or has a slash";
            Err(usage(text, hint))
        }
    }
}

fn check(screen: &mut Screen, rules: &str) -> Result<(), Failure> {
    let acl = rules_at(rules)?;
    screen.data(&match acl.len() {
        0 => "no rules: nothing is given to anybody".to_owned(),
        1 => "1 rule".to_owned(),
        many => format!("{many} rules"),
    })
}

fn explain(screen: &mut Screen, args: &ExplainArgs) -> Result<(), Failure> {
    for (flag, text) in [("--account", &args.account), ("--service", &args.service)] {
        if text.len() > NAME_BYTES {
            return Err(usage(format!("{flag} is longer than {NAME_BYTES} bytes"), "shorten it"));
        }
    }
    let labels = labels(&args.labels)?;
    let scopes = parse_scopes(args.scopes.iter().map(String::as_str)).map_err(|bad| {
        usage(bad, "for example repository:team/app:pull,push or registry:catalog:*")
    })?;
    if scopes.is_empty() {
        return Err(usage("no scope is given", "for example repository:team/app:pull,push"));
    }
    let acl = rules_at(&args.rules)?;
    for scope in &scopes {
        let ask = Ask {
            account: &args.account,
            labels: &labels,
            address: args.ip,
            service: &args.service,
            scope,
        };
        told(screen, scope, &acl.explain(&ask))?;
    }
    Ok(())
}

fn labels(texts: &[String]) -> Result<AccountLabels, Failure> {
    let mut labels = AccountLabels::new();
    for text in texts {
        let parts = text.split_once('=').filter(|(key, _)| !key.is_empty());
        let Some((key, value)) = parts.filter(|_| text.len() <= NAME_BYTES) else {
            let text = format!("--label {}: it is no KEY=VALUE", shown(text));
            return Err(usage(text, "for example --label team=web; repeat it for several values"));
        };
        labels.entry(key.to_owned()).or_default().push(value.to_owned());
    }
    Ok(labels)
}

fn told(screen: &mut Screen, scope: &Scope, explained: &Explanation) -> Result<(), Failure> {
    screen.data(&format!("{scope}"))?;
    for missed in &explained.missed {
        screen.data(&format!("  {missed}"))?;
    }
    let decided = match explained.verdict.rule {
        None => "no rule matches".to_owned(),
        Some(at) => {
            let what = match (&explained.undecided, explained.gives.is_empty()) {
                (Some(why), _) => why.to_string(),
                (None, true) => "matches, and gives nothing".to_owned(),
                (None, false) => format!("matches, and gives {}", explained.gives),
            };
            format!("rule {} (line {}): {what}", at.number, at.line)
        }
    };
    screen.data(&format!("  {decided}"))?;
    if let Some(comment) = &explained.comment {
        screen.data(&format!("  comment: {}", shown(comment)))?;
    }
    let allowed = explained.verdict.allowed;
    let given = if allowed.is_empty() { "nothing".to_owned() } else { allowed.to_string() };
    screen.data(&format!("  given: {given}"))
}
