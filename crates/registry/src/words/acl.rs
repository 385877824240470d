//! `skep registry acl`: rules of a file, or those in force, checked and explained.

use std::path::Path;

use skep_client::machine::SystemClock;
use skep_core::base::{Clock as _, Exit, Failure};
use skep_program::{Screen, harden};

use super::args::{CheckArgs, ExplainArgs, RulesAt};
use super::cluster::registry_name;
use super::file::read_text;
use crate::rules::acl::ACL_BYTES;
use crate::rules::slug::Account;
use crate::rules::{AccountLabels, Acl, Actions, Ask, Explanation, Scope, parse_scopes, shown};
use crate::work::Unready;
use crate::work::examine::{Cut, ExaminedSet, Question};

/// It makes no connections.
const CONNECTIONS: u64 = 16;
/// Bytes of a name that is asked about: what a request may hold.
const NAME_BYTES: usize = 1024;

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

pub(super) fn check(screen: &mut Screen, args: &CheckArgs) -> Result<(), Failure> {
    match RulesAt::of(&args.rules) {
        RulesAt::File(path) => counted(screen, rules_of(&path)?.len()),
        RulesAt::Registry(name) => in_force(screen, &set_of(&name, &args.secrets)?),
    }
}

fn counted(screen: &mut Screen, rules: usize) -> Result<(), Failure> {
    screen.data(&match rules {
        0 => "no rules: nothing is given to anybody".to_owned(),
        1 => "1 rule".to_owned(),
        many => format!("{many} rules"),
    })
}

/// What a token server makes of its files at this moment.
fn in_force(screen: &mut Screen, set: &ExaminedSet) -> Result<(), Failure> {
    let (rules, accounts) = set.counts().map_err(|bad| unready(&bad))?;
    counted(screen, rules)?;
    screen.data(&format!("accounts: {accounts}"))?;
    for (file, why) in set.refused() {
        screen.say(&format!("warning: {} is damaged: {}", shown(file), shown(why)));
    }
    Ok(())
}

/// The set of the service NAME.auth, which its workloads alone see.
fn set_of(name: &str, secrets: &Path) -> Result<ExaminedSet, Failure> {
    let name = registry_name(name).map_err(|bad| {
        usage(format!("{}: {bad}", shown(name)), "a file's path ends in .toml or has a slash")
    })?;
    harden(CONNECTIONS).map_err(|error| {
        Failure::new(Exit::MachineLimit, format!("cannot protect this process: {error}"))
    })?;
    ExaminedSet::read(secrets).map_err(|error| {
        let text = format!("{}: no files of {name}.auth: {error}", secrets.display());
        usage(text, format!("run it as a workload of the service {name}.auth: `skep exec --help`"))
    })
}

fn unready(bad: &Unready) -> Failure {
    let text = format!("no tokens are given: {}: {}", shown(&bad.what), shown(&bad.why));
    Failure::new(Exit::Configuration, text).hint("give the secret of that name another value")
}

pub(super) fn explain(screen: &mut Screen, args: &ExplainArgs) -> Result<(), Failure> {
    let service = args.service.as_deref();
    for (flag, text) in [("--account", args.account.as_str()), ("--service", service.unwrap_or(""))]
    {
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
    match RulesAt::of(&args.at.rules) {
        RulesAt::File(path) => {
            let acl = rules_of(&path)?;
            for scope in &scopes {
                let ask = Ask {
                    account: &args.account,
                    labels: &labels,
                    address: args.ip,
                    service: service.unwrap_or_default(),
                    scope,
                };
                let explained = acl.explain(&ask);
                screen.data(&format!("{scope}"))?;
                told(screen, &explained)?;
                given(screen, explained.verdict.allowed)?;
            }
            Ok(())
        }
        RulesAt::Registry(name) => decided(screen, &name, args, &scopes),
    }
}

/// What a token server would decide now.
fn decided(
    screen: &mut Screen,
    name: &str,
    args: &ExplainArgs,
    scopes: &[Scope],
) -> Result<(), Failure> {
    if !args.labels.is_empty() {
        return Err(usage(
            "--label is for a file of rules",
            "a registry's accounts have their own",
        ));
    }
    let account = match args.account.as_str() {
        "" => None,
        text => {
            Some(text.parse::<Account>().map_err(|bad| usage(bad, "for example ann, or ann+ci"))?)
        }
    };
    let set = set_of(name, &args.at.secrets)?;
    let now_s = SystemClock.now().0 / 1_000;
    let (service, address) = (args.service.as_deref(), args.ip);
    for scope in scopes {
        let asks = Question { account: account.as_ref(), address, service, now_s };
        let explained = set.explain(asks, scope).map_err(|bad| unready(&bad))?;
        screen.data(&format!("{scope}"))?;
        if explained.account != args.account {
            screen.data(&format!("  as its owner {}", shown(&explained.account)))?;
        }
        if let Some(rules) = &explained.rules {
            told(screen, rules)?;
        }
        for cut in &explained.cuts {
            screen.data(&format!("  {}", cut_text(*cut)))?;
        }
        given(screen, explained.given)?;
    }
    Ok(())
}

fn cut_text(cut: Cut) -> &'static str {
    match cut {
        Cut::NoAccount => "there is no such account, or its rights are damaged: no rule is asked",
        Cut::NoOwner => "its owner is gone, damaged or a robot: no rule is asked",
        Cut::Ended => "its end is past",
        Cut::Elsewhere => "it may ask from some addresses alone, and --ip names none of them",
        Cut::Scopes => "cut with its own scopes, and its owner's",
        Cut::Held => "a digest of it is held: pull takes view-held as well",
    }
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

fn told(screen: &mut Screen, explained: &Explanation) -> Result<(), Failure> {
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
    match &explained.comment {
        Some(comment) => screen.data(&format!("  comment: {}", shown(comment))),
        None => Ok(()),
    }
}

fn given(screen: &mut Screen, allowed: Actions) -> Result<(), Failure> {
    let given = if allowed.is_empty() { "nothing".to_owned() } else { allowed.to_string() };
    screen.data(&format!("  given: {given}"))
}
