//! The lines of a record and the chain that they make (docs/registry/formats.md and keys.md, 6).

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

use super::labels;

/// What stands around a line's chain.
const BEFORE: &str = ",\"chain\":\"";
const AFTER: &str = "\"}";
/// Hexadecimal digits of a head.
const DIGITS: usize = 64;

/// Characters of what a record is called; a number has room behind it.
const NAME: usize = 60;

/// The head of a chain.
pub type Head = [u8; 32];

/// One decision, as it is put on record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// Who asked; nobody's where there was no name.
    pub account: String,
    /// From where.
    pub address: String,
    /// What the client calls itself.
    pub client: String,
    /// For which service.
    pub service: String,
    /// How the account was proved.
    pub by: String,
    /// Id and generation of the credential.
    pub cred: String,
    /// What was asked for.
    pub requested: Vec<String>,
    /// What of it was granted.
    pub granted: Vec<String>,
    /// Which rule decided each.
    pub rules: Vec<Option<String>>,
    /// `granted`, `partly` or `nothing`.
    pub outcome: String,
    /// The token's name.
    pub jti: String,
}

/// One request to sign, as it is put on record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signing {
    /// Who asked; nobody's where it was done by hand.
    pub account: String,
    /// From where.
    pub address: String,
    /// Id and generation of the credential.
    pub cred: String,
    /// The token's name.
    pub jti: String,
    /// HOST/REPOSITORY:TAG.
    pub reference: String,
    /// What the tag is at.
    pub digest: String,
    /// The names of the keys that sign.
    pub keys: Vec<String>,
}

/// What a line is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Event {
    /// A file was begun.
    Begin {
        /// The head of the file before it, in hexadecimal, or zeros.
        after: String,
    },
    /// A process took it up.
    Start {
        /// The registry's name.
        name: String,
        /// Bytes of an unfinished last line that were cut.
        torn: u64,
    },
    /// A decision.
    Decision(Box<Decision>),
    /// Something is signed.
    Signed(Box<Signing>),
    /// Decisions that could not be written.
    Lost {
        /// How many.
        count: u64,
    },
}

/// A line without its chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Its number in the file.
    pub n: u64,
    /// RFC 3339.
    pub at: String,
    /// The rest.
    #[serde(flatten)]
    pub event: Event,
}

/// Why a line is none of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadLine {
    /// It doesn't read.
    #[error("is no line of a record")]
    Shape,
    /// It reads, and was changed, or others stood before it.
    #[error("does not follow the line before it")]
    Chain,
    /// The first is another, or the first comes again.
    #[error("does not begin a record, or begins it again")]
    Begin,
}

/// Where a chain stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// The last line's head.
    pub head: Head,
    /// The next line's number.
    pub next: u64,
}

impl Chain {
    /// Begins a file after the one with this head. Its first line comes with the chain.
    #[must_use]
    pub fn begin(after: Head, at: &str) -> (Self, String) {
        let mut chain = Self { head: after, next: 0 };
        let line = chain.add(at, Event::Begin { after: HEXLOWER.encode(&after) });
        (chain, line)
    }

    /// The next line, with its end.
    pub fn add(&mut self, at: &str, event: Event) -> String {
        let line = Line { n: self.next, at: at.to_owned(), event };
        // Nothing in it can fail to be written as JSON.
        let mut text = serde_json::to_string(&line).unwrap_or_default();
        text.pop();
        self.head = follow(&self.head, text.as_bytes());
        self.next += 1;
        text.push_str(BEFORE);
        text.push_str(&HEXLOWER.encode(&self.head));
        text.push_str(AFTER);
        text.push('\n');
        text
    }

    /// Reads the next line, without its end, and follows it. The first says where the chain
    /// begins.
    ///
    /// # Errors
    /// Where it is not the next.
    pub fn follow(&mut self, text: &[u8]) -> Result<Line, BadLine> {
        let (body, head) = parts(text).ok_or(BadLine::Shape)?;
        let line = read(text)?;
        if let Event::Begin { after } = &line.event
            && self.next == 0
        {
            let after = HEXLOWER.decode(after.as_bytes()).map_err(|_| BadLine::Shape)?;
            self.head = after.try_into().map_err(|_| BadLine::Shape)?;
        } else if matches!(line.event, Event::Begin { .. }) || self.next == 0 {
            return Err(BadLine::Begin);
        }
        if line.n != self.next || follow(&self.head, body) != head {
            return Err(BadLine::Chain);
        }
        self.head = head;
        self.next += 1;
        Ok(line)
    }

    /// Where a chain stands after this line, which is believed.
    ///
    /// # Errors
    /// Where it is no line of a record.
    pub fn after(text: &[u8]) -> Result<Self, BadLine> {
        let (_, head) = parts(text).ok_or(BadLine::Shape)?;
        Ok(Self { head, next: read(text)?.n.saturating_add(1) })
    }
}

/// What the record in a file is called where the cluster is told how far it reaches: by the file's
/// name, as a name is written.
#[must_use]
pub fn called(file: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    let written: String = file.chars().map(|of| if plain(of) { of } else { '-' }).collect();
    let ends = |letter: char| !letter.is_ascii_alphanumeric();
    let short: String = written.trim_matches(ends).chars().take(NAME).collect();
    let short = short.trim_end_matches(ends);
    if short.is_empty() { "record".to_owned() } else { short.to_owned() }
}

fn follow(head: &Head, body: &[u8]) -> Head {
    let mut hasher = blake3::Hasher::new_derive_key(labels::RECORD);
    hasher.update(head).update(body);
    *hasher.finalize().as_bytes()
}

/// What the chain holds of a line, and the head that it says.
fn parts(text: &[u8]) -> Option<(&[u8], Head)> {
    let rest = text.strip_suffix(AFTER.as_bytes())?;
    let (rest, digits) = rest.split_at_checked(rest.len().checked_sub(DIGITS)?)?;
    let body = rest.strip_suffix(BEFORE.as_bytes())?;
    let head = HEXLOWER.decode(digits).ok()?;
    Some((body, head.try_into().ok()?))
}

fn read(text: &[u8]) -> Result<Line, BadLine> {
    serde_json::from_slice(text).map_err(|_| BadLine::Shape)
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: &str = "2026-11-29T00:00:00.000Z";

    fn record() -> Vec<String> {
        let (mut chain, first) = Chain::begin([0; 32], AT);
        let decision = Decision {
            account: "alice \"x\"".into(),
            address: "192.0.2.1".into(),
            client: "docker".into(),
            service: "r".into(),
            by: "password".into(),
            cred: "a.b".into(),
            requested: vec!["repository:a:pull,push".into()],
            granted: vec!["repository:a:pull".into()],
            rules: vec![Some("2".into()), None],
            outcome: "partly".into(),
            jti: "00".into(),
        };
        let start = Event::Start { name: "web".into(), torn: 3 };
        let more = [start, Event::Decision(Box::new(decision)), Event::Lost { count: 2 }];
        let more = more.map(|event| chain.add(AT, event));
        [first].into_iter().chain(more).collect()
    }

    fn verify(lines: &[String]) -> Result<u64, (usize, BadLine)> {
        let mut chain = Chain::default();
        for (number, line) in lines.iter().enumerate() {
            chain.follow(line.trim_end().as_bytes()).map_err(|bad| (number, bad))?;
        }
        Ok(chain.next)
    }

    #[test]
    fn a_whole_record_is_followed() {
        let lines = record();
        assert_eq!(verify(&lines), Ok(4));
        let mut chain = Chain::after(lines[3].trim_end().as_bytes()).unwrap();
        let next = chain.add(AT, Event::Lost { count: 1 });
        assert_eq!(verify(&[lines, vec![next]].concat()), Ok(5));
        assert!(record()[2].contains(r#""kind":"decision","account":"alice \"x\"","#));
    }

    #[test]
    fn a_record_is_called_by_its_file() {
        for (file, name) in [
            ("web", "web"),
            ("web.log", "web.log"),
            (".web audit_", "web-audit"),
            ("\u{e4}\u{f6}", "record"),
            ("", "record"),
        ] {
            assert_eq!(called(file), name, "{file}");
        }
        assert_eq!(called(&"x".repeat(300)).len(), NAME);
    }

    #[test]
    fn what_was_changed_is_found() {
        let lines = record();
        let changed = |number: usize, from: &str, to: &str| {
            let mut lines = lines.clone();
            assert!(lines[number].contains(from));
            lines[number] = lines[number].replace(from, to);
            verify(&lines)
        };
        assert_eq!(changed(2, "192.0.2.1", "192.0.2.2"), Err((2, BadLine::Chain)));
        assert_eq!(changed(0, "T00:00", "T00:01"), Err((0, BadLine::Chain)));
        assert_eq!(changed(3, "\"chain\":", "\"chaim\":"), Err((3, BadLine::Shape)));
        let without = |number: usize| {
            let mut lines = lines.clone();
            lines.remove(number);
            verify(&lines)
        };
        assert_eq!(without(0), Err((0, BadLine::Begin)));
        assert_eq!(without(1), Err((1, BadLine::Chain)));
        assert_eq!(verify(&[lines.clone(), lines].concat()), Err((4, BadLine::Begin)));
    }
}
