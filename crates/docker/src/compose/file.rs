//! A Compose file as it is written, as far as secrets are concerned. Bounded: no alias grows
//! it, no nesting deepens it.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde_saphyr::{alias_limits, budget, options};

use super::FILE_BYTES;

/// How deep it may be nested, and values in it.
const DEPTH: usize = 64;
const NODES: usize = 200_000;

/// The whole file.
#[derive(Debug, Deserialize)]
pub(super) struct File {
    #[serde(default)]
    pub(super) services: Option<BTreeMap<String, Option<Service>>>,
    #[serde(default)]
    pub(super) secrets: Option<BTreeMap<String, Option<Definition>>>,
    #[serde(default)]
    pub(super) include: Option<IgnoredAny>,
}

/// A service: what else it has is its own affair.
#[derive(Debug, Deserialize)]
pub(super) struct Service {
    #[serde(default)]
    pub(super) secrets: Option<Vec<Used>>,
    #[serde(default)]
    pub(super) extends: Option<IgnoredAny>,
}

/// A secret that a service uses.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Used {
    Short(Text),
    Long(Long),
}

/// The same in its long form.
#[derive(Debug, Deserialize)]
pub(super) struct Long {
    pub(super) source: Option<Text>,
    pub(super) target: Option<Text>,
    pub(super) uid: Option<Text>,
    pub(super) gid: Option<Text>,
    pub(super) mode: Option<Mode>,
    #[serde(flatten)]
    pub(super) rest: Others,
}

/// Where a secret's value is.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Definition {
    pub(super) file: Option<Text>,
    pub(super) environment: Option<Text>,
    pub(super) external: Option<External>,
    pub(super) name: Option<Text>,
    pub(super) labels: Option<Labelled>,
    #[serde(flatten)]
    pub(super) rest: Others,
}

/// `external: true`, or as it was written before: `external: {name: N}`.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum External {
    Is(bool),
    Named { name: Text },
}

/// Labels as a map or as a list of `key=value`.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Labelled {
    Map(BTreeMap<String, Option<Text>>),
    List(Vec<Text>),
}

/// Words that nobody here knows; what begins with `x-` is whoever's who wrote it.
#[derive(Debug, Default)]
pub(super) struct Others(pub(super) Vec<String>);

struct OfOthers;

impl<'de> Visitor<'de> for OfOthers {
    type Value = Others;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("words with values")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Others, A::Error> {
        let mut others = Vec::new();
        while let Some((word, _)) = map.next_entry::<String, IgnoredAny>()? {
            if !word.starts_with("x-") {
                others.push(word);
            }
        }
        Ok(Others(others))
    }
}

impl<'de> Deserialize<'de> for Others {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(OfOthers)
    }
}

/// A text, also one that YAML takes for a number or a truth value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Text(pub(super) String);

struct OfText;

impl Visitor<'_> for OfText {
    type Value = Text;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text or a number")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Text, E> {
        Ok(Text(text.to_owned()))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Text, E> {
        Ok(Text(number.to_string()))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Text, E> {
        Ok(Text(number.to_string()))
    }

    fn visit_bool<E: Error>(self, truth: bool) -> Result<Text, E> {
        Ok(Text(truth.to_string()))
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OfText)
    }
}

/// Permissions: `0440`, `0o440` and `"0440"` are octal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mode(pub(super) u32);

struct OfMode;

impl Visitor<'_> for OfMode {
    type Value = Mode;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("permissions such as 0440")
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Mode, E> {
        let mode = u32::try_from(number).ok().filter(|mode| *mode <= 0o777);
        mode.map(Mode).ok_or_else(|| E::custom("permissions are 0000 to 0777"))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Mode, E> {
        self.visit_u64(u64::try_from(number).unwrap_or(u64::MAX))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Mode, E> {
        let digits = text.strip_prefix("0o").unwrap_or(text);
        self.visit_u64(u64::from_str_radix(digits, 8).unwrap_or(u64::MAX))
    }
}

impl<'de> Deserialize<'de> for Mode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OfMode)
    }
}

/// Reads it; else why not, in one line.
pub(super) fn read(text: &str) -> Result<File, String> {
    if text.len() > FILE_BYTES {
        return Err(format!("it is larger than {FILE_BYTES} bytes"));
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
            max_total_scalar_bytes: 2 * FILE_BYTES,
        },
        alias_limits: alias_limits! {
            max_total_replayed_events: NODES,
            max_replay_stack_depth: 8,
        },
        legacy_octal_numbers: true,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let line = error.location().map_or(1, |location| location.line());
        let said = error.without_snippet().render();
        // What follows advises programmers.
        let said = said.lines().next().unwrap_or_default().split(", set ").next();
        format!("line {line}: {}", said.unwrap_or_default())
    })
}
