//! The lines of several managers, in the order of their times; what the cluster applied once.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::source::{Source, Wanted};
use crate::cli::problem::Trouble;
use crate::cli::shell::Shell;
use skep_core::audit::{Chain, Line};
use skep_core::base::{Exit, Failure};
use skep_core::wire::api;

/// Between two looks for more.
pub(super) const AGAIN: Duration = Duration::from_millis(500);

/// One chain of one manager.
struct Stream {
    source: usize,
    chain: Chain,
    waiting: VecDeque<Result<(Line, String), String>>,
    after: Option<api::AuditCursor>,
    over: bool,
}

/// All of them.
pub(super) struct Merged {
    sources: Vec<Source>,
    streams: Vec<Stream>,
    wanted: Wanted,
    /// The newest command that was given.
    applied: u64,
    /// Managers that do not answer, and why.
    silent: BTreeMap<String, Failure>,
}

/// No manager gave anything: where one has said why, that is it.
pub(super) fn nobody<'a>(silent: impl Iterator<Item = &'a Failure>) -> Trouble {
    let refused = |why: &&Failure| why.exit == Exit::Refused;
    let all: Vec<&Failure> = silent.collect();
    match all.iter().find(|why| refused(why)).or(all.first()) {
        Some(why) => Failure::clone(why).into(),
        None => Failure::new(Exit::Unreachable, "no manager's log was read").into(),
    }
}

/// What comes next.
pub(super) enum Next {
    /// A line, and its text as it is kept.
    Line(Box<Line>, String),
    /// Something that does not read.
    Bad(String),
    /// There are no more now.
    End,
}

impl Merged {
    pub(super) fn new(sources: Vec<Source>, wanted: Wanted) -> Self {
        let chains = [Chain::Commands, Chain::Acts];
        let all = (0..sources.len()).flat_map(|source| chains.map(|chain| (source, chain)));
        let stream = |(source, chain)| Stream {
            source,
            chain,
            waiting: VecDeque::new(),
            after: None,
            over: false,
        };
        let streams = all.map(stream).collect();
        Self { sources, streams, wanted, applied: 0, silent: BTreeMap::new() }
    }

    /// What has come since.
    pub(super) fn again(&mut self) {
        for stream in &mut self.streams {
            stream.over = false;
        }
        self.silent.clear();
    }

    /// Says which managers did not answer.
    pub(super) fn told(&self, shell: &mut Shell) {
        for (name, why) in &self.silent {
            shell.screen.warn(&format!("the acts of {name} are missing: {}", why.text));
        }
    }

    /// The next line of all.
    pub(super) async fn next(&mut self) -> Result<Next, Trouble> {
        loop {
            self.fill().await?;
            let bad = self.streams.iter_mut().find(|of| matches!(of.waiting.front(), Some(Err(_))));
            if let Some(Err(text)) = bad.and_then(|stream| stream.waiting.pop_front()) {
                return Ok(Next::Bad(text));
            }
            let first = |stream: &Stream| match stream.waiting.front() {
                Some(Ok((line, _))) => Some((line.at.clone(), line.chain, line.n)),
                _ => None,
            };
            let least = self.streams.iter().enumerate();
            let least = least.filter_map(|(place, of)| Some((first(of)?, place))).min();
            let Some((_, place)) = least else { return Ok(Next::End) };
            let taken = self.streams.get_mut(place).and_then(|of| of.waiting.pop_front());
            let Some(Ok((line, text))) = taken else { return Ok(Next::End) };
            if line.chain == Chain::Commands {
                if line.n <= self.applied {
                    continue;
                }
                self.applied = line.n;
            }
            return Ok(Next::Line(Box::new(line), text));
        }
    }

    /// Has a line of each stream that has one.
    async fn fill(&mut self) -> Result<(), Trouble> {
        for stream in &mut self.streams {
            let Some(source) = self.sources.get_mut(stream.source) else { continue };
            // It is asked once: its other chain would be waited for as long.
            stream.over |= self.silent.contains_key(&source.name);
            while stream.waiting.is_empty() && !stream.over {
                let reply = source.page(stream.chain, &self.wanted, stream.after.clone()).await;
                let reply = match reply {
                    Ok(reply) => reply,
                    Err(error) => {
                        stream.over = true;
                        self.silent.insert(source.name.clone(), error.failure());
                        continue;
                    }
                };
                stream.after = reply.next;
                stream.over = !reply.more;
                let name = &source.name;
                let read = |item: api::AuditItem| match item.of? {
                    api::audit_item::Of::Line(text) => Some(
                        Line::read(text.as_bytes())
                            .map(|line| (line, text))
                            .map_err(|why| format!("{name}: a line {why}")),
                    ),
                    api::audit_item::Of::Bad(why) => Some(Err(format!("{name}: {why}"))),
                    api::audit_item::Of::Base(_) => None,
                };
                stream.waiting.extend(reply.items.into_iter().filter_map(read));
            }
        }
        if self.silent.len() == self.sources.len() {
            return Err(nobody(self.silent.values()));
        }
        Ok(())
    }
}
