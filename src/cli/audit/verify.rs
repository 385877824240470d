//! `skep audit verify`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};

use super::merge::nobody;
use super::source::{Source, Wanted, sources};
use crate::cli::args::ClientArgs;
use crate::cli::problem::Trouble;
use crate::cli::shell::Shell;
use skep_core::audit::{Broken, Chain, Follow, Head, LINE_BYTES, Line};
use skep_core::base::{Exit, Failure};
use skep_core::wire::api;

/// What was found.
#[derive(Default)]
struct Found {
    /// What is wrong, the first of each chain of each manager.
    wrong: Vec<String>,
    silent: Vec<(String, Failure)>,
    /// The commands of each manager that was read.
    commands: Vec<Commands>,
    /// Up to where managers have removed commands that were too old or too many.
    retired: BTreeMap<String, u64>,
}

/// What one manager has of the commands.
struct Commands {
    name: String,
    /// Numbers and hashes of the last ones.
    recent: Vec<(u64, Head)>,
    /// The line after which its first one comes, and why it is not the first of all.
    begins: Option<(u64, api::AuditBegins)>,
    /// What it has without a gap: after which line, and up to which.
    spans: Vec<(u64, u64)>,
    /// What it never had, for it got the state as a snapshot.
    spared: Vec<(u64, u64)>,
}

/// Lines of which the hashes are compared between managers.
const COMPARED: usize = 10_000;

fn head(place: &api::AuditPlace) -> Option<(u64, Head)> {
    Some((place.number, place.head.as_slice().try_into().ok()?))
}

/// Follows the chains of all managers.
pub(super) async fn managers(shell: &mut Shell, client: ClientArgs) -> Result<(), Trouble> {
    let mut sources = sources(shell, client).await?;
    let wanted = Wanted { whole: true, ..Wanted::default() };
    let mut found = Found::default();
    let mut anchors: BTreeMap<Vec<u8>, Vec<(u64, Head)>> = BTreeMap::new();
    for source in &mut sources {
        commands(shell, source, &wanted, &mut found, &mut anchors).await?;
    }
    for source in &mut sources {
        let known = anchors.get(&source.id).cloned().unwrap_or_default();
        acts(shell, source, &wanted, &mut found, known).await?;
    }
    compare(&mut found);
    found.missing();
    found.told(shell, sources.len())
}

impl Found {
    /// Each command is on a manager, unless it was removed for its age or for room.
    fn missing(&mut self) {
        let floor = self.retired.values().copied().max().unwrap_or(0);
        let mut wrong = Vec::new();
        for of in &self.commands {
            let own = self.retired.get(&of.name).copied().unwrap_or(0);
            if let Some((number, begins)) = of.begins
                && begins != api::AuditBegins::Snapshot
                && own < number
            {
                let gap = Broken::Gap { after: 0, before: number };
                wrong.push(format!("commands of {}: {gap}", of.name));
            }
            for (after, before) in &of.spared {
                let has = |(from, to): &(u64, u64)| *from <= floor.max(*after) && to >= before;
                let is_somewhere = self.commands.iter().any(|other| other.spans.iter().any(has));
                if *before > floor && !is_somewhere && self.silent.is_empty() {
                    let gap = Broken::Gap { after: *after, before: *before };
                    wrong.push(format!("commands of all managers: {gap}"));
                }
            }
        }
        self.wrong.extend(wrong);
    }

    fn told(self, shell: &mut Shell, asked: usize) -> Result<(), Trouble> {
        if self.silent.len() >= asked && self.wrong.is_empty() {
            return Err(nobody(self.silent.iter().map(|(_, why)| why)));
        }
        for (name, why) in &self.silent {
            shell.screen.warn(&format!("the log of {name} was not read: {}", why.text));
        }
        for text in &self.wrong {
            shell.screen.warn(text);
        }
        if let Some(first) = self.wrong.first() {
            return Err(Failure::new(
                Exit::Damaged,
                format!("the audit log is not whole: {first}"),
            )
            .hint("what stands before that line is whole; the other managers have their own copies")
            .into());
        }
        if let Some((name, _)) = self.silent.first() {
            let text = format!("what was read is whole; the log of {name} was not read");
            return Err(Failure::new(Exit::Unreachable, text)
                .hint("repeat it once it is back")
                .into());
        }
        Ok(())
    }
}

/// Where a chain ended that is followed, and up to which line older ones were removed.
struct Walked {
    follow: Follow,
    wrong: Option<String>,
    recent: Vec<(u64, Head)>,
    /// By chain: the last line that retention removed.
    retired: BTreeMap<String, u64>,
    /// The line after which the first one that is there comes, where it is not the first of all.
    begins: Option<(u64, api::AuditBegins)>,
    /// What follows without a gap: after which line, and up to which; the last one goes on.
    spans: Vec<(u64, u64)>,
    /// What is not there for the state came as a snapshot.
    spared: Vec<(u64, u64)>,
}

impl Walked {
    fn new(chain: Chain, known: Vec<(u64, Head)>) -> Self {
        Self {
            follow: Follow::new(chain, known),
            wrong: None,
            recent: Vec::new(),
            retired: BTreeMap::new(),
            begins: None,
            spans: Vec::new(),
            spared: Vec::new(),
        }
    }

    fn is_wrong(&mut self, what: &str, why: impl std::fmt::Display) {
        if self.wrong.is_none() {
            self.wrong = Some(format!("{what}: {why}"));
        }
    }

    fn take(&mut self, what: &str, item: api::audit_item::Of) {
        match item {
            api::audit_item::Of::Bad(why) => self.is_wrong(what, why),
            api::audit_item::Of::Line(text) => match self.follow.line(text.as_bytes()) {
                Ok(line) => {
                    self.learn(&line);
                    if let Some((_, to)) = self.spans.last_mut() {
                        *to = line.n;
                    }
                    if self.recent.len() >= 2 * COMPARED {
                        self.recent.drain(..COMPARED);
                    }
                    self.recent.extend(self.follow.at());
                }
                Err(broken) => self.is_wrong(what, broken),
            },
            api::audit_item::Of::Base(base) => {
                let Some((number, hash)) = base.after.as_ref().and_then(head) else {
                    return self.is_wrong(what, "a file of it has no beginning");
                };
                let first = self.follow.at().is_none();
                match self.follow.goes_on(number, hash) {
                    Err(broken) => self.is_wrong(what, broken),
                    Ok(None) if first => self.spans.push((number, number)),
                    Ok(None) => {}
                    Ok(Some(after)) if first || base.begins() == api::AuditBegins::Snapshot => {
                        self.spans.push((number, number));
                        if first {
                            self.begins = Some((number, base.begins()));
                        }
                        if base.begins() == api::AuditBegins::Snapshot {
                            self.spared.push((after, number));
                        }
                    }
                    Ok(Some(after)) => self.is_wrong(what, Broken::Gap { after, before: number }),
                }
            }
        }
    }

    fn learn(&mut self, line: &Line) {
        for deed in line.acts.iter().filter(|deed| deed.act == "audit.retire") {
            if let Some((chain, number)) = deed.detail.split_once(" to ")
                && let Ok(number) = number.parse::<u64>()
            {
                let known = self.retired.entry(chain.to_owned()).or_default();
                *known = (*known).max(number);
            }
        }
    }
}

async fn walk(
    source: &mut Source,
    chain: Chain,
    wanted: &Wanted,
    known: Vec<(u64, Head)>,
    mut each: impl FnMut(&api::ReadAuditReply, &mut Vec<(u64, Head)>),
) -> Result<Walked, Failure> {
    let called = if chain == Chain::Commands { "commands" } else { "acts" };
    let what = format!("{called} of {}", source.name);
    let mut after = None;
    let mut walked: Option<Walked> = None;
    let mut known = known;
    loop {
        let reply = source.page(chain, wanted, after).await;
        let reply = reply.map_err(|error| error.failure())?;
        if walked.is_none() {
            each(&reply, &mut known);
        }
        let walking = walked.get_or_insert_with(|| Walked::new(chain, known.clone()));
        for item in reply.items {
            if let Some(item) = item.of {
                walking.take(&what, item);
            }
        }
        after = reply.next;
        if !reply.more {
            break;
        }
    }
    let mut walked = walked.unwrap_or_else(|| Walked::new(chain, known));
    if let Err(cut) = walked.follow.end() {
        walked.is_wrong(&what, cut);
    }
    Ok(walked)
}

async fn commands(
    shell: &mut Shell,
    source: &mut Source,
    wanted: &Wanted,
    found: &mut Found,
    anchors: &mut BTreeMap<Vec<u8>, Vec<(u64, Head)>>,
) -> Result<(), Trouble> {
    let walked = walk(source, Chain::Commands, wanted, Vec::new(), |reply, known| {
        known.extend(reply.applied.as_ref().and_then(head));
        for anchor in &reply.anchors {
            if let Some(place) = anchor.place.as_ref().and_then(head) {
                anchors.entry(anchor.manager.clone()).or_default().push(place);
            }
        }
    });
    match walked.await {
        Err(why) => found.silent.push((source.name.clone(), why)),
        Ok(walked) => {
            let lines = walked.follow.lines();
            let from = walked.begins.map(|(number, _)| format!(", those after {number}"));
            let from = from.unwrap_or_default();
            shell.screen.data(&format!("commands of {}: {lines} lines{from}", source.name))?;
            found.wrong.extend(walked.wrong);
            found.commands.push(Commands {
                name: source.name.clone(),
                recent: walked.recent,
                begins: walked.begins,
                spans: walked.spans,
                spared: walked.spared,
            });
        }
    }
    Ok(())
}

async fn acts(
    shell: &mut Shell,
    source: &mut Source,
    wanted: &Wanted,
    found: &mut Found,
    known: Vec<(u64, Head)>,
) -> Result<(), Trouble> {
    if found.silent.iter().any(|(name, _)| *name == source.name) {
        return Ok(());
    }
    match walk(source, Chain::Acts, wanted, known, |_, _| {}).await {
        Err(why) => found.silent.push((source.name.clone(), why)),
        Ok(mut walked) => {
            let lines = walked.follow.lines();
            shell.screen.data(&format!("acts of {}: {lines} lines", source.name))?;
            if let Some((number, _)) = walked.begins
                && walked.retired.get("acts").is_none_or(|retired| *retired < number)
            {
                let what = format!("acts of {}", source.name);
                walked.is_wrong(&what, Broken::Gap { after: 0, before: number });
            }
            found.wrong.extend(walked.wrong);
            let retired = walked.retired.get("commands").copied();
            found.retired.insert(source.name.clone(), retired.unwrap_or(0));
        }
    }
    Ok(())
}

/// The same command has the same line on every manager.
fn compare(found: &mut Found) {
    let mut seen: BTreeMap<u64, (Head, &str)> = BTreeMap::new();
    let mut wrong = Vec::new();
    for Commands { name, recent, .. } in &found.commands {
        for (number, head) in recent {
            match seen.get(number) {
                Some((other, of)) if other != head && wrong.is_empty() => {
                    wrong.push(format!("command {number} is another one on {name} than on {of}"));
                }
                Some(_) => {}
                None => drop(seen.insert(*number, (*head, name))),
            }
        }
    }
    found.wrong.extend(wrong);
}

/// Follows exported lines: the chains in them are told apart.
pub(super) fn files(shell: &mut Shell, files: &[PathBuf]) -> Result<(), Trouble> {
    let mut chains: BTreeMap<(Chain, String), Follow> = BTreeMap::new();
    for path in files {
        let mut lines = BufReader::new(File::open(path).map_err(|error| unread(path, &error))?);
        for number in 1_u64.. {
            let mut text = Vec::new();
            let most = u64::try_from(LINE_BYTES).unwrap_or(u64::MAX).saturating_add(2);
            let read = lines.by_ref().take(most).read_until(b'\n', &mut text);
            if read.map_err(|error| unread(path, &error))? == 0 {
                break;
            }
            while text.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
                text.pop();
            }
            let wrong = |why: &dyn std::fmt::Display| -> Trouble {
                let text = format!("line {number} of {}: {why}", path.display());
                Failure::new(Exit::Damaged, text)
                    .hint("lines that were chosen by --actor or --name do not follow one another")
                    .into()
            };
            let line = Line::read(&text).map_err(|why| wrong(&why))?;
            let chain = chains
                .entry((line.chain, line.manager))
                .or_insert_with(|| Follow::new(line.chain, Vec::new()));
            chain.line(&text).map_err(|why| wrong(&why))?;
        }
    }
    for ((chain, manager), follow) in &chains {
        let (last, head) = follow.at().unwrap_or_default();
        let called = match chain {
            Chain::Commands => "commands".to_owned(),
            Chain::Acts => format!("acts of {manager}"),
        };
        let head = data_encoding::HEXLOWER.encode(&head);
        let lines = follow.lines();
        shell.screen.data(&format!("{called}: {lines} lines, the last one {last} {head}"))?;
    }
    Ok(())
}

fn unread(path: &Path, error: &std::io::Error) -> Trouble {
    Failure::new(Exit::Usage, format!("cannot read {}: {error}", path.display()))
        .hint("`skep audit export FILE` writes lines that are verified so")
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str, begins: Option<(u64, api::AuditBegins)>, spans: &[(u64, u64)]) -> Commands {
        let spared = match begins {
            Some((number, api::AuditBegins::Snapshot)) => vec![(0, number)],
            _ => Vec::new(),
        };
        let (name, spans) = (name.to_owned(), spans.to_vec());
        Commands { name, recent: Vec::new(), begins, spans, spared }
    }

    fn wrong(commands: Vec<Commands>, retired: &[(&str, u64)]) -> Vec<String> {
        let retired = retired.iter().map(|(name, to)| ((*name).to_owned(), *to)).collect();
        let mut found = Found { commands, retired, ..Found::default() };
        found.missing();
        found.wrong
    }

    #[test]
    fn p10_commands_that_no_manager_has_are_missed_unless_they_were_too_old() {
        let (goes_on, snapshot) = (api::AuditBegins::GoesOn, api::AuditBegins::Snapshot);
        assert_eq!(wrong(vec![of("a", None, &[(0, 9)])], &[]), Vec::<String>::new());
        let cut = || vec![of("a", Some((5, goes_on)), &[(5, 9)])];
        let told = "commands of a: the lines between 0 and 5 are missing";
        assert_eq!(wrong(cut(), &[]), [told]);
        assert_eq!(wrong(cut(), &[("a", 4)]), [told]);
        assert_eq!(wrong(cut(), &[("a", 5)]), Vec::<String>::new(), "it removed them itself");

        let late = || of("late", Some((5, snapshot)), &[(5, 9)]);
        assert_eq!(wrong(vec![of("a", None, &[(0, 9)]), late()], &[]), Vec::<String>::new());
        let nobody = wrong(vec![late()], &[]);
        assert_eq!(nobody, ["commands of all managers: the lines between 0 and 5 are missing"]);
        let part = vec![of("a", Some((3, goes_on)), &[(3, 9)]), late()];
        assert_eq!(wrong(part, &[("a", 3)]), Vec::<String>::new(), "the rest was too old");
        let short = vec![of("a", None, &[(0, 4)]), late()];
        assert_eq!(wrong(short, &[]).len(), 1, "what lies between is on neither");
    }
}
