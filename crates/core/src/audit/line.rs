//! A line of the audit log: one JSON object, whose BLAKE3 hash the next line of its chain names.
//!
//! The text is the record. It is made once, kept as it was made, and shown as it was kept, so that
//! whoever has the lines needs nothing of Skep's to see whether they follow one another. The
//! fields are a contract (docs/operate/audit.md): none is renamed or changes its meaning within a
//! [`VERSION`], and no text of a refusal stands in one, for texts may be improved.

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

use crate::base::Stamp;

/// The version of the fields.
pub const VERSION: u32 = 1;
/// Bytes of a line; one that would be longer says how much it leaves out.
pub const LINE_BYTES: usize = 64 * 1024;
/// Acts that one line names.
pub const NAMED: usize = 256;

/// The hash of a line, which the next one names; zeros before the first.
pub type Head = [u8; 32];

/// To which chain a line belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Chain {
    /// What the cluster applied: the same on every manager.
    Commands,
    /// What one manager answered, refused, delivered or went through.
    Acts,
}

/// Who did it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Doer {
    /// `operator`, `node`, `manager`, `local`, `token` or `stranger`.
    pub kind: String,
    /// Its id; of a local user the number.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// What it was called then.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
}

/// One thing that was done, or asked for. Names are those of that time; an id stands where there
/// was no name.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Deed {
    /// Such as `secret.create`.
    pub act: String,
    /// Which secret.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub secret: String,
    /// Which version of it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub version: u32,
    /// Which service.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub service: String,
    /// Which node.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub node: String,
    /// Which operator.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub operator: String,
    /// Which join token.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub token: String,
    /// What else is to be said.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// A line. Empty fields are left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// The version of the fields.
    pub v: u32,
    /// The chain.
    pub chain: Chain,
    /// Of acts: which manager's.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub manager: String,
    /// Of commands the revision; of acts one more than that of the line before.
    pub n: u64,
    /// RFC 3339, in UTC, with milliseconds. Of commands the cluster's time.
    pub at: String,
    /// Who.
    pub who: Doer,
    /// From where: an address, or `socket`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub from: String,
    /// What.
    pub acts: Vec<Deed>,
    /// How many more there were than are named.
    #[serde(default, skip_serializing_if = "is_none")]
    pub more: u64,
    /// How many calls like this one it stands for, where they were only counted.
    #[serde(default, skip_serializing_if = "is_none")]
    pub times: u64,
    /// `done`, `refused`, or `again` for a request that was answered before.
    pub outcome: String,
    /// Why it was refused, as one word.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// The revision at which an act found the state.
    #[serde(default, skip_serializing_if = "is_none")]
    pub revision: u64,
    /// Of commands: the hash of the whole command, in hexadecimal.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub command: String,
    /// Of commands: the hash of its answer.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub answer: String,
    /// BLAKE3 of the line before, in hexadecimal; zeros before the first.
    pub prev: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_none(number: &u64) -> bool {
    *number == 0
}

/// A line as it is kept: its text, its place and its hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Its number in its chain.
    pub number: u64,
    /// The hash of the line before.
    pub prev: Head,
    /// Its own.
    pub head: Head,
    /// The JSON object, without an end of line.
    pub text: String,
}

/// Why a text is no line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadLine {
    /// It doesn't read.
    #[error("is no line of an audit log")]
    Shape,
    /// Its fields are those of a later version.
    #[error("was written by a newer version")]
    Newer,
}

impl Deed {
    /// With nothing but what it is called.
    #[must_use]
    pub fn new(act: &str) -> Self {
        Self { act: act.to_owned(), ..Self::default() }
    }
}

impl Line {
    /// Its text and hash, after the line with this hash. What is too long is left out and counted.
    #[must_use]
    pub fn write(mut self, prev: Head) -> Written {
        self.v = VERSION;
        self.prev = HEXLOWER.encode(&prev);
        self.leave_out(NAMED);
        let mut text = self.json();
        while text.len() > LINE_BYTES && !self.acts.is_empty() {
            self.leave_out(self.acts.len() / 2);
            text = self.json();
        }
        Written { number: self.n, prev, head: head_of(text.as_bytes()), text }
    }

    fn leave_out(&mut self, most: usize) {
        let gone = self.acts.len().saturating_sub(most);
        self.acts.truncate(most);
        self.more = self.more.saturating_add(u64::try_from(gone).unwrap_or(u64::MAX));
    }

    fn json(&self) -> String {
        // Nothing in it can fail to be written as JSON.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads one.
    ///
    /// # Errors
    /// [`BadLine`].
    pub fn read(text: &[u8]) -> Result<Self, BadLine> {
        let line: Self = serde_json::from_slice(text).map_err(|_| BadLine::Shape)?;
        if line.v > VERSION { Err(BadLine::Newer) } else { Ok(line) }
    }

    /// The hash of the line before, as it says.
    ///
    /// # Errors
    /// [`BadLine::Shape`].
    pub fn prev(&self) -> Result<Head, BadLine> {
        let bytes = HEXLOWER.decode(self.prev.as_bytes()).map_err(|_| BadLine::Shape)?;
        bytes.try_into().map_err(|_| BadLine::Shape)
    }
}

/// The hash of a line.
#[must_use]
pub fn head_of(text: &[u8]) -> Head {
    *blake3::hash(text).as_bytes()
}

/// A moment as lines have it. What lies beyond the last day of the year 9999 is told as its
/// beginning.
#[must_use]
pub fn moment(at: Stamp) -> String {
    let ms = i64::try_from(at.0).unwrap_or(i64::MAX);
    let time = jiff::Timestamp::from_millisecond(ms).unwrap_or(jiff::Timestamp::MAX);
    time.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(acts: Vec<Deed>) -> Line {
        Line {
            v: 0,
            chain: Chain::Acts,
            manager: "00".repeat(16),
            n: 7,
            at: moment(Stamp(1_764_469_538_123)),
            who: Doer { kind: "operator".into(), id: "0a".into(), name: "alice".into() },
            from: "192.0.2.1".into(),
            acts,
            more: 0,
            times: 0,
            outcome: "done".into(),
            why: String::new(),
            revision: 12,
            command: String::new(),
            answer: String::new(),
            prev: String::new(),
        }
    }

    #[test]
    fn p10_the_text_of_a_line_is_a_contract() {
        let written = line(vec![Deed { secret: "db".into(), ..Deed::new("read.reads") }]);
        let written = written.write([0xab; 32]);
        let text = format!(
            concat!(
                r#"{{"v":1,"chain":"acts","manager":"{}","n":7,"at":"2025-11-30T02:25:38.123Z","#,
                r#""who":{{"kind":"operator","id":"0a","name":"alice"}},"from":"192.0.2.1","#,
                r#""acts":[{{"act":"read.reads","secret":"db"}}],"outcome":"done","#,
                r#""revision":12,"prev":"{}"}}"#
            ),
            "00".repeat(16),
            "ab".repeat(32)
        );
        assert_eq!(written.text, text);
        assert_eq!(written.head, *blake3::hash(text.as_bytes()).as_bytes());
        let read = Line::read(written.text.as_bytes()).expect("a line");
        assert_eq!(read.prev(), Ok([0xab; 32]));
        assert_eq!(read.write([0xab; 32]), written, "read and written again it is the same");
    }

    #[test]
    fn a_line_is_bounded_and_says_what_it_leaves_out() {
        let long = Deed { detail: "x".repeat(1000), ..Deed::new("secret.open") };
        let written = line(vec![long; 1000]).write([0; 32]);
        assert!(written.text.len() <= LINE_BYTES, "{}", written.text.len());
        let read = Line::read(written.text.as_bytes()).expect("a line");
        assert_eq!(u64::try_from(read.acts.len()).expect("few") + read.more, 1000);
        assert!(!read.acts.is_empty());
    }

    #[test]
    fn what_is_no_line_is_said_to_be_none() {
        assert_eq!(Line::read(b"{}"), Err(BadLine::Shape));
        assert_eq!(Line::read(b"\xff"), Err(BadLine::Shape));
        let newer = line(Vec::new()).write([0; 32]).text.replace(r#""v":1"#, r#""v":2"#);
        assert_eq!(Line::read(newer.as_bytes()), Err(BadLine::Newer));
    }

    #[test]
    fn a_moment_is_told_whatever_the_clock_says() {
        assert_eq!(moment(Stamp(0)), "1970-01-01T00:00:00.000Z");
        assert_eq!(moment(Stamp(u64::MAX)), "9999-12-30T22:00:00.999Z");
    }
}
