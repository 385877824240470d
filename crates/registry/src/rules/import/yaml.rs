//! YAML as a tree with lines, bounded: no alias grows it, no nesting deepens it.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Spanned, alias_limits, budget, options};

use super::Cannot;

/// Bytes of the file.
pub const CONFIG_BYTES: usize = 1024 * 1024;
/// How deep it may be nested; the deepest thing that there is takes 6.
const DEPTH: usize = 24;
/// Values in it: each of 1,000 rules and 4,096 users has room for dozens.
const NODES: usize = 200_000;

/// A value, where it stands.
pub(super) type At = Spanned<Node>;

/// A value.
#[derive(Debug)]
pub(super) enum Node {
    Null,
    /// Text, quoted or not.
    Text(String),
    /// What YAML takes for a number or a truth value; its text is the source's.
    Bare,
    List(Vec<At>),
    Map(Vec<(Spanned<String>, At)>),
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OfNode)
    }
}

struct OfNode;

impl<'de> Visitor<'de> for OfNode {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Node, E> {
        Ok(Node::Bare)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Node, E> {
        Ok(Node::Bare)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Node, E> {
        Ok(Node::Bare)
    }

    fn visit_i128<E: Error>(self, _: i128) -> Result<Node, E> {
        Ok(Node::Bare)
    }

    fn visit_u128<E: Error>(self, _: u128) -> Result<Node, E> {
        Ok(Node::Bare)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Node, E> {
        Ok(Node::Bare)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Node, E> {
        Ok(Node::Text(text.to_owned()))
    }

    fn visit_unit<E: Error>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        Node::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        let mut all = Vec::new();
        while let Some(one) = list.next_element()? {
            all.push(one);
        }
        Ok(Node::List(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut all = Vec::new();
        while let Some(entry) = map.next_entry()? {
            all.push(entry);
        }
        Ok(Node::Map(all))
    }
}

/// The line of a value.
pub(super) fn line<T>(of: &Spanned<T>) -> u64 {
    of.referenced.line()
}

/// The text of a value; also of one that YAML takes for a number, as it is written.
pub(super) fn text_of(source: &str, of: &At) -> Option<String> {
    match &of.value {
        Node::Text(text) => Some(text.clone()),
        Node::Bare => {
            let span = of.defined.span();
            let start = usize::try_from(span.byte_offset()?).ok()?;
            let end = start.checked_add(usize::try_from(span.byte_len()?).ok()?)?;
            let text = source.get(start..end)?.trim();
            let plain = |c: char| c.is_ascii_alphanumeric() || "+-._:".contains(c);
            (!text.is_empty() && text.chars().all(plain)).then(|| text.to_owned())
        }
        Node::Null | Node::List(_) | Node::Map(_) => None,
    }
}

pub(super) fn read(text: &str) -> Result<At, Cannot> {
    let cannot = |line: u64, why: String| Cannot { line, place: "the file".to_owned(), why };
    if text.len() > CONFIG_BYTES {
        return Err(cannot(1, format!("it is larger than {CONFIG_BYTES} bytes")));
    }
    let options = options! {
        budget: budget! {
            max_depth: DEPTH,
            flow_nesting_limit: DEPTH,
            max_nodes: NODES,
            max_events: 2 * NODES,
            max_aliases: 10_000,
            max_anchors: 10_000,
            max_documents: 1,
            max_total_scalar_bytes: 2 * CONFIG_BYTES,
        },
        alias_limits: alias_limits! {
            max_total_replayed_events: NODES,
            max_replay_stack_depth: 8,
        },
        strict_booleans: true,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let line = error.location().map_or(1, |location| location.line());
        let said = error.without_snippet().render();
        // What follows advises programmers.
        let said = said.lines().next().unwrap_or_default().split(", set ").next();
        let said = said.unwrap_or_default();
        cannot(line, format!("it is no such YAML: {}", crate::rules::shown(said)))
    })
}
