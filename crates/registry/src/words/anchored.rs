//! What the cluster knows of a record: how far it had reached at which times, as the lines of its
//! audit log say, compared with the lines that are there.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read};
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use skep_core::audit::{Deed, LINE_BYTES, Line};
use skep_core::base::inert::{self, Escapes};
use skep_core::base::{Exit, Failure};

use crate::rules::record::{Event, Head, called};

/// Anchors that are read: one in ten seconds for half a year.
const ANCHORS: usize = 2_000_000;
/// Whose records are named where it isn't clear which one is meant.
const NAMED: usize = 8;

/// Which record is meant, as far as it was said.
pub(super) struct Named<'a> {
    pub(super) service: &'a Option<String>,
    pub(super) node: &'a Option<String>,
    pub(super) record: &'a Option<String>,
}

/// How far a record reached once.
struct Anchor {
    at: String,
    lines: u64,
    head: Head,
    /// In which file that line stands, and as which, once it was seen.
    seen: Option<(String, u64)>,
}

/// Of one record: its service and its node.
type Whose = (String, String);

/// What is known, and what of it was seen.
pub(super) struct Anchored {
    record: String,
    of: BTreeMap<Whose, Vec<Anchor>>,
    /// By their heads: whose, and which of its anchors.
    heads: BTreeMap<Head, Vec<(Whose, usize)>>,
    /// Whether what is given begins with the record's very first line.
    is_whole: Option<bool>,
    last: (String, u64),
}

impl Anchored {
    /// Reads the lines of the cluster's audit log that are about a record.
    ///
    /// # Errors
    /// They don't read, or there are none.
    pub(super) fn read(path: &Path, named: &Named<'_>, files: &[PathBuf]) -> Result<Self, Failure> {
        let shown = shown(path);
        let opened: Box<dyn Read> = if path.as_os_str() == "-" {
            Box::new(io::stdin().lock())
        } else {
            Box::new(File::open(path).map_err(|error| unread(&shown, &error))?)
        };
        let file = files.last().and_then(|file| file.file_name()).unwrap_or_default();
        let record = named.record.clone().unwrap_or_else(|| called(&file.to_string_lossy()));
        let mut own = Self {
            record,
            of: BTreeMap::new(),
            heads: BTreeMap::new(),
            is_whole: None,
            last: (String::new(), 0),
        };
        let mut reader = BufReader::new(opened);
        let most = u64::try_from(LINE_BYTES).unwrap_or(u64::MAX).saturating_add(2);
        let mut count = 0_usize;
        for number in 1_u64.. {
            let mut text = Vec::new();
            let read = reader.by_ref().take(most).read_until(b'\n', &mut text);
            if read.map_err(|error| unread(&shown, &error))? == 0 {
                break;
            }
            let line = Line::read(text.trim_ascii_end()).map_err(|why| {
                Failure::new(Exit::Usage, format!("line {number} of {shown}: {why}"))
                    .hint("`skep audit export FILE` writes lines that are read here")
            })?;
            for deed in line.acts.iter().filter(|deed| deed.act == "record.anchor") {
                if line.outcome == "done" && own.take(named, &line.at, deed) {
                    count += 1;
                }
                if count > ANCHORS {
                    let text = format!("more than {ANCHORS} lines of {shown} are about it");
                    return Err(Failure::new(Exit::Usage, text)
                        .hint("export fewer: `skep audit export FILE --since 90d`"));
                }
            }
        }
        if own.of.is_empty() {
            let text = format!("no line of {shown} says how far {} reached", own.record);
            return Err(Failure::new(Exit::Refused, text).hint(
                "is the server a workload of a service, under an agent? --record, --service and --node name another",
            ));
        }
        Ok(own)
    }

    fn take(&mut self, named: &Named<'_>, at: &str, deed: &Deed) -> bool {
        let is = |wanted: &Option<String>, of: &str| {
            wanted.as_ref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(of))
        };
        let mut words = deed.detail.split(' ');
        let (Some(record), Some(lines), Some(head)) = (words.next(), words.next(), words.next())
        else {
            return false;
        };
        let head = HEXLOWER.decode(head.as_bytes()).ok().and_then(|head| head.try_into().ok());
        let (Ok(lines), Some(head)) = (lines.parse(), head) else { return false };
        let meant = is(named.service, &deed.service) && is(named.node, &deed.node);
        if !meant || record != self.record {
            return false;
        }
        let whose = (deed.service.clone(), deed.node.clone());
        let list = self.of.entry(whose.clone()).or_default();
        self.heads.entry(head).or_default().push((whose, list.len()));
        list.push(Anchor { at: at.to_owned(), lines, head, seen: None });
        true
    }

    /// A line that is there, and follows the one before.
    pub(super) fn line(&mut self, path: &Path, number: u64, head: &Head, event: &Event) {
        if let Event::Begin { after } = event {
            self.is_whole.get_or_insert(after.bytes().all(|digit| digit == b'0'));
        }
        let here = || shown(path);
        for (whose, place) in self.heads.get(head).into_iter().flatten() {
            let anchor = self.of.get_mut(whose).and_then(|list| list.get_mut(*place));
            if let Some(anchor) = anchor {
                anchor.seen = Some((here(), number));
            }
        }
        if number == 1 {
            self.last.0 = here();
        }
        self.last.1 = number;
    }

    /// What came of it.
    ///
    /// # Errors
    /// What the cluster knows of is not there, or it isn't clear whose record it is.
    pub(super) fn end(self) -> Result<String, Failure> {
        let Self { record, of, is_whole, last: (file, ends), .. } = self;
        let mut all: Vec<(Whose, Vec<Anchor>)> = of.into_iter().collect();
        if all.len() > 1 {
            all.retain(|(_, list)| list.iter().any(|anchor| anchor.seen.is_some()));
        }
        let only = if all.len() == 1 { all.pop() } else { None };
        let Some(((service, node), list)) = only else {
            let names: Vec<String> =
                all.iter().take(NAMED).map(|((of, at), _)| format!("{of} on {at}")).collect();
            let text = if names.is_empty() {
                format!("no line that the cluster knows of any record {record} is in these files")
            } else {
                format!("{record} is a record of {}", names.join(" and of "))
            };
            return Err(Failure::new(Exit::Usage, text)
                .hint("say which one is meant: --service and --node"));
        };
        let whose = format!("{service} on {node}");
        let wrong = |anchor: &Anchor, text: String| {
            let Anchor { at, lines, head, .. } = anchor;
            let known = format!("the cluster knows line {lines} since {at}");
            let head = HEXLOWER.encode(head.get(..8).unwrap_or_default());
            Failure::new(Exit::Damaged, format!("{text}: {known}, with head {head}..."))
                .hint(format!("what stands before is what {whose} wrote; look for another copy"))
        };
        let first = list.iter().position(|anchor| anchor.seen.is_some());
        // Older ones are about files that were not given, or are gone as they do after a while.
        let from = if is_whole == Some(true) { 0 } else { first.unwrap_or(0) };
        let mut before: Option<&(String, u64)> = None;
        for (place, anchor) in list.iter().enumerate().skip(from) {
            if let Some(seen) = &anchor.seen {
                before = Some(seen);
                continue;
            }
            let later = list.iter().skip(place).any(|anchor| anchor.seen.is_some());
            let text = match before {
                _ if !later && anchor.lines > ends => {
                    format!("the end of {file} is missing after line {ends}")
                }
                Some((file, line)) => format!("what follows line {line} of {file} is another"),
                None => format!("{record} of {whose} is another from its first line on"),
            };
            return Err(wrong(anchor, text));
        }
        let (file, line) = before.cloned().unwrap_or((file, 0));
        let known = list.len() - from;
        let older = if from > 0 { format!("; {from} about older files") } else { String::new() };
        Ok(format!(
            "{whose}: all {known} that the cluster knows are there, the last one line {line} of {file}{older}"
        ))
    }
}

fn shown(path: &Path) -> String {
    inert::inert(&path.display().to_string(), 4096, Escapes::Text)
}

fn unread(shown: &str, error: &io::Error) -> Failure {
    Failure::new(Exit::Usage, format!("cannot read {shown}: {error}"))
        .hint("`skep audit export FILE` writes it")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::record::Chain;

    const AT: &str = "2026-11-30T00:00:00.000Z";

    /// Lines of a record, and the head after each.
    fn record(count: u64, of: &str) -> Vec<(Event, Head)> {
        let (mut chain, _) = Chain::begin([0; 32], AT);
        let begin = Event::Begin { after: "00".repeat(32) };
        let mut all = vec![(begin, chain.head)];
        for number in 1..count {
            let event = Event::Start { name: format!("{of}{number}"), torn: 0 };
            chain.add(AT, event.clone());
            all.push((event, chain.head));
        }
        all
    }

    fn after(lines: &[(Event, Head)], number: u64) -> Head {
        lines[usize::try_from(number).expect("few") - 1].1
    }

    fn anchored(anchors: &[(&str, u64, Head)]) -> Anchored {
        let mut own = Anchored {
            record: "web".into(),
            of: BTreeMap::new(),
            heads: BTreeMap::new(),
            is_whole: None,
            last: (String::new(), 0),
        };
        let named = Named { service: &None, node: &None, record: &None };
        for (node, lines, head) in anchors {
            let deed = Deed {
                service: "web.auth".into(),
                node: (*node).into(),
                detail: format!("web {lines} {}", HEXLOWER.encode(head)),
                ..Deed::new("record.anchor")
            };
            assert!(own.take(&named, AT, &deed));
        }
        own
    }

    fn see(mut own: Anchored, lines: &[(Event, Head)]) -> Result<String, String> {
        for (number, (event, head)) in (1..).zip(lines) {
            own.line(Path::new("web"), number, head, event);
        }
        own.end().map_err(|failure| failure.text)
    }

    #[test]
    fn p10_what_was_cut_or_written_anew_is_named() {
        let lines = record(9, "a");
        let of = |number: u64| ("n1", number, after(&lines, number));
        let known = || anchored(&[of(2), of(5), of(8)]);
        let told = see(known(), &lines).expect("whole");
        assert!(told.contains("all 3 that the cluster knows are there, the last one line 8"));
        let cut = see(known(), &lines[..7]).expect_err("cut");
        assert!(
            cut.starts_with("the end of web is missing after line 7: the cluster knows line 8")
        );
        let mut anew = lines[..5].to_vec();
        anew.extend(record(9, "b").split_off(5));
        let told = see(known(), &anew).expect_err("another");
        assert!(told.starts_with("what follows line 5 of web is another"), "{told}");
        let other = see(known(), &record(9, "b")).expect_err("another");
        assert!(other.contains("is another from its first line on"), "{other}");
    }

    #[test]
    fn older_files_may_be_gone_and_whose_record_it_is_must_be_clear() {
        let lines = record(9, "a");
        let of = |node, number: u64| (node, number, after(&lines, number));
        let mut later = lines[3..].to_vec();
        later.insert(0, (Event::Begin { after: "11".repeat(32) }, lines[2].1));
        let told = see(anchored(&[of("n1", 2), of("n1", 8)]), &later).expect("whole");
        assert!(told.contains("; 1 about older files"), "{told}");
        // Another replica's anchors are not about these files.
        let other = ("n2", 4, [7; 32]);
        assert!(see(anchored(&[other, of("n1", 8)]), &lines).is_ok());
        let both = see(anchored(&[of("n2", 4), of("n1", 8)]), &lines).expect_err("unclear");
        assert_eq!(both, "web is a record of web.auth on n1 and of web.auth on n2");
        assert!(see(anchored(&[other, ("n1", 4, [8; 32])]), &lines).is_err());
    }
}
