//! Whether the lines of a chain follow one another.

use super::line::{BadLine, Chain, Head, Line, head_of};

/// What is wrong with a chain, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// A line does not read.
    #[error("the line after {after} {why}")]
    Unread {
        /// The number of the line before.
        after: u64,
        /// Why.
        why: BadLine,
    },
    /// A line that belongs to another chain.
    #[error("line {number} belongs to another chain")]
    Elsewhere {
        /// Its number.
        number: u64,
    },
    /// A line that was changed, or follows another one.
    #[error("line {number} does not follow line {after}")]
    Unlinked {
        /// Its number.
        number: u64,
        /// The number of the one before.
        after: u64,
    },
    /// Lines are missing.
    #[error("the lines between {after} and {before} are missing")]
    Gap {
        /// The last one before.
        after: u64,
        /// The first one after that is known of.
        before: u64,
    },
    /// The end is missing.
    #[error("it ends at line {ends} and is known to reach line {reaches}")]
    Cut {
        /// Where it ends.
        ends: u64,
        /// How far it is known to reach.
        reaches: u64,
    },
    /// A line stands where another one is known to have been.
    #[error("line {number} is another one than the cluster knows")]
    Replaced {
        /// Its number.
        number: u64,
    },
}

/// Follows a chain line by line.
#[derive(Clone, Debug)]
pub struct Follow {
    chain: Chain,
    at: Option<(u64, Head)>,
    /// What is known from elsewhere: the number of a line and its hash.
    known: Vec<(u64, Head)>,
    lines: u64,
}

impl Follow {
    /// Of a chain of which the hashes of some lines are known from elsewhere.
    #[must_use]
    pub fn new(chain: Chain, known: Vec<(u64, Head)>) -> Self {
        Self { chain, at: None, known, lines: 0 }
    }

    /// How many lines there were.
    #[must_use]
    pub fn lines(&self) -> u64 {
        self.lines
    }

    /// The last line, or what it goes on after.
    #[must_use]
    pub fn at(&self) -> Option<(u64, Head)> {
        self.at
    }

    /// It goes on after the line with this number and hash. The number of lines that are known
    /// to come before and were not seen, where there are any.
    ///
    /// # Errors
    /// [`Broken::Replaced`]; it is followed from there all the same.
    pub fn goes_on(&mut self, number: u64, head: Head) -> Result<Option<u64>, Broken> {
        let missing = match self.at {
            None => (number > 0).then_some(0),
            Some(at) if at == (number, head) => None,
            Some((before, _)) => Some(before),
        };
        self.at = Some((number, head));
        self.compare(number, head)?;
        Ok(missing)
    }

    /// The next line, and what it says.
    ///
    /// # Errors
    /// [`Broken`]; what comes after it is followed from there all the same.
    pub fn line(&mut self, text: &[u8]) -> Result<Line, Broken> {
        let (after, head) = self.at.unwrap_or_default();
        let line = Line::read(text).map_err(|why| Broken::Unread { after, why })?;
        let number = line.n;
        let prev = line.prev().map_err(|why| Broken::Unread { after, why })?;
        let begins = self.at.is_none();
        let own = head_of(text);
        self.at = Some((number, own));
        self.lines = self.lines.saturating_add(1);
        if line.chain != self.chain {
            return Err(Broken::Elsewhere { number });
        }
        let next = number > after && (self.chain == Chain::Commands || number == after + 1);
        if !begins && (prev != head || !next) {
            return Err(Broken::Unlinked { number, after });
        }
        self.compare(number, own)?;
        Ok(line)
    }

    fn compare(&self, number: u64, head: Head) -> Result<(), Broken> {
        let other = |(known, of): &(u64, Head)| *known == number && *of != head;
        if self.known.iter().any(other) { Err(Broken::Replaced { number }) } else { Ok(()) }
    }

    /// There are no more.
    ///
    /// # Errors
    /// [`Broken::Cut`] where it is known to reach further.
    pub fn end(&self) -> Result<(), Broken> {
        let ends = self.at.map_or(0, |(number, _)| number);
        match self.known.iter().map(|(number, _)| *number).max() {
            Some(reaches) if reaches > ends => Err(Broken::Cut { ends, reaches }),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::line::{Deed, Doer, Written, moment};
    use crate::base::Stamp;

    fn chain(count: u64) -> Vec<Written> {
        let mut head = [0; 32];
        let line = |n| Line {
            v: 0,
            chain: Chain::Acts,
            manager: String::new(),
            n,
            at: moment(Stamp(n)),
            who: Doer::default(),
            from: String::new(),
            acts: vec![Deed::new("call.status")],
            more: 0,
            times: 0,
            outcome: "done".into(),
            why: String::new(),
            revision: 0,
            command: String::new(),
            answer: String::new(),
            prev: String::new(),
        };
        let write = |n| {
            let written = line(n).write(head);
            head = written.head;
            written
        };
        (1..=count).map(write).collect()
    }

    fn follow(lines: &[Written], known: Vec<(u64, Head)>) -> Result<u64, Broken> {
        let mut follow = Follow::new(Chain::Acts, known);
        follow.goes_on(0, [0; 32])?;
        for line in lines {
            follow.line(line.text.as_bytes())?;
        }
        follow.end().map(|()| follow.lines())
    }

    #[test]
    fn p10_a_line_that_is_edited_swapped_cut_or_replayed_is_named() {
        let lines = chain(5);
        assert_eq!(follow(&lines, vec![(5, lines[4].head)]), Ok(5));
        let mut edited = lines.clone();
        edited[2].text = edited[2].text.replace("call.status", "call.stytus");
        assert_eq!(follow(&edited, Vec::new()), Err(Broken::Unlinked { number: 4, after: 3 }));
        let mut swapped = lines.clone();
        swapped.swap(1, 2);
        assert_eq!(follow(&swapped, Vec::new()), Err(Broken::Unlinked { number: 3, after: 1 }));
        let replayed: Vec<_> = lines.iter().chain(&lines[4..]).cloned().collect();
        assert_eq!(follow(&replayed, Vec::new()), Err(Broken::Unlinked { number: 5, after: 5 }));
        let cut = follow(&lines[..3], vec![(5, lines[4].head)]);
        assert_eq!(cut, Err(Broken::Cut { ends: 3, reaches: 5 }));
        let other = follow(&lines, vec![(5, [7; 32])]);
        assert_eq!(other, Err(Broken::Replaced { number: 5 }));
        let mut edited = lines;
        edited[4].text = edited[4].text.replace("call.status", "call.stytus");
        let known = vec![(5, chain(5)[4].head)];
        assert_eq!(follow(&edited, known), Err(Broken::Replaced { number: 5 }), "the last one");
    }

    #[test]
    fn what_is_missing_before_a_beginning_is_told() {
        let lines = chain(5);
        let mut follow = Follow::new(Chain::Acts, Vec::new());
        assert_eq!(follow.goes_on(2, lines[1].head), Ok(Some(0)), "it begins later");
        follow.line(lines[2].text.as_bytes()).expect("the next");
        assert_eq!(follow.goes_on(3, lines[2].head), Ok(None), "another file");
        assert_eq!(follow.goes_on(4, lines[3].head), Ok(Some(3)), "line 4 is missing");
        assert_eq!(follow.line(b"{}"), Err(Broken::Unread { after: 4, why: BadLine::Shape }));
    }
}
