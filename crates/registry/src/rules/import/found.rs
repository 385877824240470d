//! What was found in a file, and what of it can't come over.

use serde_saphyr::Spanned;

use super::Cannot;
use super::yaml::{At, Node, line, text_of};

/// What was found so far, good and bad.
pub(super) struct Found<'s> {
    pub(super) source: &'s str,
    pub(super) bad: Vec<Cannot>,
}

impl<'s> Found<'s> {
    pub(super) fn new(source: &'s str) -> Self {
        Self { source, bad: Vec::new() }
    }

    pub(super) fn cannot(&mut self, line: u64, place: &str, why: impl Into<String>) {
        self.bad.push(Cannot { line, place: place.to_owned(), why: why.into() });
    }

    /// The entries of a table; nothing, and a word on it, where it is none.
    pub(super) fn map<'n>(&mut self, of: &'n At, place: &str) -> &'n [(Spanned<String>, At)] {
        if let Node::Map(entries) = &of.value {
            return entries;
        }
        self.cannot(line(of), place, "it is no table of keys and values");
        &[]
    }

    pub(super) fn list<'n>(&mut self, of: &'n At, place: &str) -> &'n [At] {
        if let Node::List(entries) = &of.value {
            return entries;
        }
        self.cannot(line(of), place, "it is no list");
        &[]
    }

    pub(super) fn text(&mut self, of: &At, place: &str) -> Option<String> {
        let text = text_of(self.source, of);
        if text.is_none() {
            self.cannot(line(of), place, "it is no text");
        }
        text
    }
}
