//! `skep audit` and `skep secret history`.

mod export;
mod merge;
mod source;
mod verify;

use std::collections::VecDeque;

use serde_json::{Value, json};

use self::merge::{AGAIN, Merged, Next};
use self::source::{Wanted, sources};
use super::args::{AuditCommand, ClientArgs, FormatArgs};
use super::problem::Trouble;
use super::render::{self, Cell, Column, Format};
use super::shell::Shell;
use skep_core::audit::{Chain, Deed, Line};

const COLUMNS: [Column; 6] = [
    ("AT", Cell::Field("at")),
    ("WHO", Cell::Field("by")),
    ("FROM", Cell::Field("from")),
    ("WHAT", Cell::Field("what")),
    ("OUTCOME", Cell::Field("came")),
    ("REVISION", Cell::Field("revision")),
];
/// Lines that are printed together.
const TOGETHER: usize = 200;

/// Runs it.
pub(super) async fn run(shell: &mut Shell, command: AuditCommand) -> Result<(), Trouble> {
    match command {
        AuditCommand::Ls { wanted, last, follow, all, format, client } => {
            let wanted = Wanted::read(&wanted, shell.clock.now())?;
            let shows = Shows { wanted, last, follow, all, past: false };
            list(shell, shows, &format, client).await
        }
        AuditCommand::Verify { files, client } if files.is_empty() => {
            verify::managers(shell, client).await
        }
        AuditCommand::Verify { files, .. } => verify::files(shell, &files),
        AuditCommand::Export { file, syslog, wanted, follow, client } => {
            let wanted = Wanted::read(&wanted, shell.clock.now())?;
            export::run(shell, (file, syslog), wanted, follow, client).await
        }
    }
}

/// What is known of a secret's past: who made it, granted it, changed it and opened it.
pub(super) async fn history(
    shell: &mut Shell,
    secret: &str,
    last: Option<usize>,
    format: &FormatArgs,
    client: ClientArgs,
) -> Result<(), Trouble> {
    let wanted = Wanted { secret: secret.to_owned(), ..Wanted::default() };
    list(shell, Shows { wanted, last, follow: false, all: false, past: true }, format, client).await
}

struct Shows {
    wanted: Wanted,
    last: Option<usize>,
    follow: bool,
    all: bool,
    /// What was done with the thing, and not who asked for its past.
    past: bool,
}

async fn list(
    shell: &mut Shell,
    shows: Shows,
    format: &FormatArgs,
    client: ClientArgs,
) -> Result<(), Trouble> {
    let format = Format::parse(format.of.as_deref())?;
    let Shows { wanted, last, follow, all, past } = shows;
    let is_shown = |line: &Line| (all || !is_routine(line)) && !(past && is_question(line));
    let sources = sources(shell, client).await?;
    let mut merged = Merged::new(sources, wanted);
    let mut some: VecDeque<Value> = VecDeque::new();
    loop {
        match merged.next().await? {
            Next::Line(line, _) if is_shown(&line) => {
                some.push_back(shown(&line));
                match last {
                    Some(last) if some.len() > last => drop(some.pop_front()),
                    None if some.len() >= TOGETHER && format == Format::Json => {
                        print(shell, &format, &mut some)?;
                    }
                    _ => {}
                }
            }
            Next::Line(..) => {}
            Next::Bad(text) => shell.screen.warn(&text),
            Next::End => break,
        }
        if shell.screen.is_closed() {
            return Ok(());
        }
    }
    if past && some.is_empty() {
        shell.screen.say("no line of the audit log names a secret so");
    }
    print(shell, &format, &mut some)?;
    merged.told(shell);
    if !follow {
        return Ok(());
    }
    let format = if format == Format::Table { Format::Json } else { format };
    loop {
        tokio::time::sleep(AGAIN).await;
        merged.again();
        loop {
            match merged.next().await? {
                Next::Line(line, _) if is_shown(&line) => some.push_back(shown(&line)),
                Next::Line(..) => {}
                Next::Bad(text) => shell.screen.warn(&text),
                Next::End => break,
            }
        }
        if !some.is_empty() {
            print(shell, &format, &mut some)?;
        }
        if shell.screen.is_closed() {
            return Ok(());
        }
    }
}

fn print(shell: &mut Shell, format: &Format, some: &mut VecDeque<Value>) -> Result<(), Trouble> {
    let things: Vec<Value> = some.drain(..).collect();
    render::list(shell, format, &COLUMNS, &things)
}

/// Whether a line is about the keeping of the log, or what nobody asked for.
fn is_routine(line: &Line) -> bool {
    let routine = |deed: &Deed| {
        matches!(deed.act.as_str(), "audit.anchor" | "delivery.confirm" | "node.renewed")
    };
    !line.acts.is_empty() && line.acts.iter().all(routine)
}

/// Whether somebody only asked managers for something.
fn is_question(line: &Line) -> bool {
    line.acts.iter().all(|deed| deed.act.starts_with("call."))
}

/// A line's own fields, and some that are easier to read.
fn shown(line: &Line) -> Value {
    let mut value = serde_json::to_value(line).unwrap_or_default();
    let by = [&line.who.name, &line.who.id, &line.who.kind];
    let by = by.into_iter().find(|text| !text.is_empty()).cloned().unwrap_or_default();
    let came = if line.why.is_empty() {
        line.outcome.clone()
    } else {
        format!("{}: {}", line.outcome, line.why)
    };
    let more = |count: usize| if count == 0 { String::new() } else { format!(" and {count} more") };
    let rest = line.acts.len().saturating_sub(1);
    let rest = rest.saturating_add(usize::try_from(line.more).unwrap_or(usize::MAX));
    let mut what = line.acts.first().map(told).unwrap_or_default() + &more(rest);
    if line.times > 0 {
        what = format!("{what}, {} times", line.times);
    }
    let revision = if line.chain == Chain::Commands { line.n } else { line.revision };
    if let Value::Object(fields) = &mut value {
        fields.insert("by".to_owned(), json!(by));
        fields.insert("came".to_owned(), json!(came));
        fields.insert("what".to_owned(), json!(what));
        fields.insert("revision".to_owned(), json!(revision));
        fields.entry("from").or_insert_with(|| json!(""));
    }
    value
}

/// A deed in a few words.
fn told(deed: &Deed) -> String {
    let mut words = vec![deed.act.clone()];
    if !deed.secret.is_empty() {
        let version = if deed.version > 0 { format!("@{}", deed.version) } else { String::new() };
        words.push(format!("{}{version}", deed.secret));
    }
    let named = [&deed.service, &deed.node, &deed.operator, &deed.token];
    words.extend(named.into_iter().filter(|name| !name.is_empty()).cloned());
    if !deed.detail.is_empty() {
        words.push(format!("({})", deed.detail));
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deed_is_told_in_a_few_words() {
        let deed = Deed {
            secret: "db".into(),
            version: 3,
            service: "web".into(),
            detail: "as db".into(),
            ..Deed::new("service.grant")
        };
        assert_eq!(told(&deed), "service.grant db@3 web (as db)");
    }
}
