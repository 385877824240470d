//! A chain of lines over its files: what is there, and the one that is written.

use std::sync::Arc;

use parking_lot::Mutex;

use super::segment::{
    Base, Begins, Found, RECORD, Reading, Spot, Writing, lines, name, numbers, trim,
};
use super::types::Place;
use crate::store::error::StoreError;
use crate::store::options::Options;
use skep_core::audit::{Chain, Line, Written, head_of};
use skep_core::base::{Dice, Stamp};

/// A file of a chain.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    pub(super) number: u64,
    /// `None`: it does not open.
    pub(super) base: Option<Base>,
    pub(super) bytes: u64,
}

/// What is there, for those who read beside the writer.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    pub(super) files: Vec<Known>,
    /// The last line.
    pub(super) last: Place,
    /// How far the file goes that is being written.
    pub(super) end: Option<(u64, u64)>,
}

/// Writes one chain.
pub(super) struct Chained {
    pub(super) chain: Chain,
    options: Arc<Options>,
    index: Arc<Mutex<Index>>,
    writing: Option<Writing>,
    next_file: u64,
    /// Why the next file does not go on where the last one ended.
    begins: Begins,
}

/// The base of a file, from its first bytes.
fn base_of(options: &Options, chain: Chain, number: u64) -> Option<Base> {
    Reading::beginning(options, chain, number).ok()?.base().map(|(base, _)| base)
}

/// The last line of a file that opens, or what it goes on after.
fn last_of(options: &Options, chain: Chain, number: u64) -> Option<Place> {
    let reading = Reading::open(options, chain, number, None).ok()?;
    let (base, mut spot) = reading.base()?;
    let mut last = base.after;
    while let Found::Record(plain, next) = reading.at(spot) {
        for text in lines(&plain) {
            let number = Line::read(text).ok()?.n;
            last = Place { number, head: head_of(text) };
        }
        spot = next;
    }
    Some(last)
}

impl Chained {
    /// Looks at what is there. Nothing is written before there is a line.
    pub(super) fn open(
        options: Arc<Options>,
        chain: Chain,
        index: Arc<Mutex<Index>>,
    ) -> Result<Self, StoreError> {
        let failed = StoreError::disk(format!("cannot make {}", options.folder.display()));
        options.disk.create_folder(&options.folder).map_err(failed)?;
        let numbers = numbers(&options)?;
        let mut files = Vec::with_capacity(numbers.len());
        for number in &numbers {
            let path = options.folder.join(name(*number));
            let failed = StoreError::disk(format!("cannot read {}", name(*number)));
            let bytes = options.disk.len(&path).map_err(failed)?;
            files.push(Known { number: *number, base: base_of(&options, chain, *number), bytes });
        }
        let last = numbers.iter().rev().find_map(|number| last_of(&options, chain, *number));
        if let Some(newest) = numbers.last() {
            // One that does not open stays as it is.
            trim(&options, chain, *newest).ok();
        }
        let next_file = numbers.last().map_or(1, |number| number.saturating_add(1));
        let last = last.unwrap_or_default();
        *index.lock() = Index { files, last, end: None };
        let (writing, begins) = (None, Begins::GoesOn);
        Ok(Self { chain, options, index, writing, next_file, begins })
    }

    pub(super) fn last(&self) -> Place {
        self.index.lock().last
    }

    /// The next line stands after this one, whatever there is before: what lies between is
    /// missing here.
    pub(super) fn jump(&mut self, to: Place, begins: Begins) {
        if let Some(writing) = self.writing.take() {
            // What it did not use is given back when it can be.
            writing.close().ok();
        }
        self.begins = begins;
        let mut index = self.index.lock();
        index.last = to;
        index.end = None;
    }

    /// Writes lines that follow one another. After an error [`Self::last`] says how many of them
    /// stand.
    pub(super) fn append(
        &mut self,
        list: &[Written],
        now: Stamp,
        dice: &mut dyn Dice,
    ) -> Result<(), StoreError> {
        let mut rest = list;
        while !rest.is_empty() {
            let mut plain = Vec::new();
            let mut taken = 0;
            for line in rest {
                if !plain.is_empty() && plain.len() + line.text.len() + 1 > RECORD {
                    break;
                }
                plain.extend_from_slice(line.text.as_bytes());
                plain.push(b'\n');
                taken += 1;
            }
            let (group, after) = rest.split_at(taken);
            self.put(&plain, group, now, dice)?;
            rest = after;
        }
        Ok(())
    }

    fn put(
        &mut self,
        plain: &[u8],
        group: &[Written],
        now: Stamp,
        dice: &mut dyn Dice,
    ) -> Result<(), StoreError> {
        if self.writing.as_ref().is_none_or(|writing| !writing.has_room(plain.len())) {
            self.begin(now, dice)?;
        }
        let Some(writing) = &mut self.writing else { return Err(StoreError::Closed) };
        writing.put(plain, dice)?;
        let mut index = self.index.lock();
        index.end = Some((writing.number, writing.offset));
        if let Some(file) = index.files.last_mut() {
            file.bytes = writing.offset;
        }
        if let Some(line) = group.last() {
            index.last = Place { number: line.number, head: line.head };
        }
        Ok(())
    }

    fn begin(&mut self, now: Stamp, dice: &mut dyn Dice) -> Result<(), StoreError> {
        let base = Base { after: self.last(), begins: self.begins, at: now };
        let number = self.next_file;
        let next = Writing::begin(&self.options, self.chain, number, &base, dice)?;
        self.next_file = number.saturating_add(1);
        self.begins = Begins::GoesOn;
        let mut index = self.index.lock();
        index.files.push(Known { number, base: Some(base), bytes: next.offset });
        index.end = Some((number, next.offset));
        drop(index);
        match self.writing.replace(next) {
            Some(full) => full.close(),
            None => Ok(()),
        }
    }

    pub(super) fn sync(&mut self) -> Result<(), StoreError> {
        let Some(writing) = &mut self.writing else { return Ok(()) };
        let synced = writing.sync();
        if synced.is_err() {
            // Nothing is known of what it holds: the next line begins another one.
            self.writing = None;
            self.index.lock().end = None;
        }
        synced
    }

    pub(super) fn is_dirty(&self) -> bool {
        self.writing.as_ref().is_some_and(|writing| writing.dirty)
    }

    pub(super) fn close(&mut self) -> Result<(), StoreError> {
        self.writing.take().map_or(Ok(()), Writing::close)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.index.lock().files.iter().map(|file| file.bytes).sum()
    }

    /// Whether the oldest file ended before `at`: the next one was begun earlier.
    pub(super) fn has_older_than(&self, at: Stamp) -> bool {
        let index = self.index.lock();
        let next = index.files.get(1).and_then(|file| file.base);
        next.is_some_and(|base| base.at < at)
    }

    /// Removes the oldest file, unless it is the newest; up to which line it went.
    pub(super) fn drop_oldest(&mut self) -> Result<Option<u64>, StoreError> {
        let (oldest, through) = {
            let index = self.index.lock();
            let [oldest, next, ..] = index.files.as_slice() else { return Ok(None) };
            let through = next.base.map_or(0, |base| base.after.number);
            (oldest.number, through)
        };
        let failed = StoreError::disk(format!("cannot remove {}", name(oldest)));
        self.options.disk.remove(&self.options.folder.join(name(oldest))).map_err(failed)?;
        self.index.lock().files.remove(0);
        Ok(Some(through))
    }
}

/// Where whoever reads has come to: a file, a record in it, and where that begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The file.
    pub file: u64,
    /// The record.
    pub record: u32,
    /// Its offset.
    pub offset: u64,
}

/// What is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A file begins here.
    Base(Base),
    /// A line.
    Line(Vec<u8>),
    /// What stands here does not open, or is no line: which file and record.
    Bad(String),
}

/// From where to read.
#[derive(Clone, Copy, Debug)]
pub enum From {
    /// The oldest line that was begun at this time or later, or one a little older.
    Time(Stamp),
    /// Where a page ended.
    Cursor(Cursor),
}

/// Reads from there on, until there are so many bytes of lines or no more; and from where to
/// read on.
pub(super) fn read(
    options: &Options,
    chain: Chain,
    index: &Index,
    from: From,
    most: usize,
) -> (Vec<Item>, Cursor) {
    let mut at = match from {
        From::Cursor(cursor) => cursor,
        From::Time(since) => {
            let begun = |file: &&Known| file.base.is_some_and(|base| base.at <= since);
            let first = index.files.iter().rev().find(begun).or(index.files.first());
            let file = first.map_or(0, |file| file.number);
            Cursor { file, record: Spot::BASE.record, offset: Spot::BASE.offset }
        }
    };
    let (mut items, mut filled) = (Vec::new(), 0);
    for file in index.files.iter().filter(|file| file.number >= at.file).collect::<Vec<_>>() {
        if file.number > at.file {
            at = Cursor { file: file.number, record: Spot::BASE.record, offset: Spot::BASE.offset };
        }
        let end = index.end.filter(|(number, _)| *number == file.number).map(|(_, end)| end);
        let reading = match Reading::open(options, chain, file.number, end) {
            Ok(reading) => reading,
            Err(error) => {
                if at.record == 0 {
                    items.push(Item::Bad(error.to_string()));
                }
                at.record = at.record.max(1);
                continue;
            }
        };
        let mut spot = Spot { record: at.record, offset: at.offset };
        loop {
            let (plain, next) = match reading.at(spot) {
                Found::Record(plain, next) => (plain, next),
                Found::End => break,
                Found::Bad => {
                    let text =
                        format!("{}, record {}: it does not open", name(file.number), spot.record);
                    // Where a torn end was not acknowledged, the next file goes on before it.
                    let next = index.files.iter().find(|next| next.number > file.number);
                    if next.is_none_or(|next| {
                        next.base.is_none_or(|base| base.begins != Begins::GoesOn)
                    }) || !is_torn_end(&items, next)
                    {
                        items.push(Item::Bad(text));
                    }
                    break;
                }
            };
            if spot.record == 0 {
                match reading.base() {
                    Some((base, _)) => items.push(Item::Base(base)),
                    None => {
                        items
                            .push(Item::Bad(format!("{}: it has no beginning", name(file.number))));
                    }
                }
            } else {
                for text in lines(&plain) {
                    filled += text.len();
                    items.push(Item::Line(text.to_vec()));
                }
            }
            spot = next;
            at = Cursor { file: file.number, record: spot.record, offset: spot.offset };
            if filled >= most {
                return (items, at);
            }
        }
    }
    (items, at)
}

/// Whether the next file goes on after the last line that was read here.
fn is_torn_end(items: &[Item], next: Option<&Known>) -> bool {
    let Some(base) = next.and_then(|next| next.base) else { return false };
    let last = items.iter().rev().find_map(|item| match item {
        Item::Line(text) => Some(head_of(text)),
        Item::Base(base) => Some(base.after.head),
        Item::Bad(_) => None,
    });
    last.is_none_or(|head| head == base.after.head)
}
