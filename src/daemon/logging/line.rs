//! One event as one line: escaped, cut, its values quoted.

use std::fmt::{Debug, Write};

use tracing::field::{Field, Visit};
use tracing::{Event, Level};

use skep_core::base::Stamp;
use skep_core::base::inert::{Escapes, Inert, inert};

/// How a line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line, with stable event names in `event`.
    Json,
}

/// Bytes of one value, escaped: an error's text and the path in it.
const VALUE_BYTES: usize = 512;
/// Bytes of a line: more than any of ours has, and what a log collector takes as one.
const LINE_BYTES: usize = 4 * 1024;
/// Fields of one event: more than any of ours has.
const FIELDS: usize = 16;
/// Bytes of an event's name; ours are constants.
const NAME_BYTES: usize = 64;
/// What says that a line was cut.
const MORE: usize = 24;

/// The fields that say whom or what an event is about: with the event's name they tell one
/// trouble from another. What varies from time to time (a reason, a count) is none of them.
const ABOUT: &[&str] = &[
    "node",
    "peer",
    "rule",
    "service",
    "unit",
    "credential",
    "uid",
    "point",
    "path",
    "state",
    "signal",
];

/// A value, escaped already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// Stands between quotes.
    Quoted(String),
    /// A number or a truth value.
    Bare(String),
}

/// An event, read: bounded, and with nothing in it that could steer a terminal.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) level: Level,
    /// The event's stable name.
    pub(super) event: String,
    /// The event whose end this one is.
    pub(super) ends: Option<String>,
    /// Whether it is told also where nothing has ended.
    pub(super) always: bool,
    pub(super) escapes: Escapes,
    pub(super) fields: Vec<(&'static str, Value)>,
}

impl Line {
    /// Reads an event. Those of libraries have no name: their target stands for it.
    pub(super) fn read(event: &Event<'_>, format: LogFormat) -> Self {
        let about = event.metadata();
        let ours = is_ours(about.target());
        let name = if ours { "unnamed" } else { "library" };
        let mut line = Self::new(*about.level(), name, format);
        if !ours {
            line.push("target", about.target());
        }
        event.record(&mut line);
        line
    }

    /// A line of the log's own.
    pub(super) fn new(level: Level, event: &str, format: LogFormat) -> Self {
        let escapes = match format {
            LogFormat::Text => Escapes::Text,
            LogFormat::Json => Escapes::Json,
        };
        let event = inert(event, NAME_BYTES, escapes);
        Self { level, event, ends: None, always: false, escapes, fields: Vec::new() }
    }

    /// Adds a number.
    pub(super) fn number(mut self, name: &'static str, number: u64) -> Self {
        self.fields.push((name, Value::Bare(number.to_string())));
        self
    }

    /// What, with its name, tells this event from others of its kind.
    pub(super) fn about(&self) -> String {
        let mut about = String::new();
        for (name, value) in self.fields.iter().filter(|(name, _)| ABOUT.contains(name)) {
            let (Value::Quoted(text) | Value::Bare(text)) = value;
            about.push_str(name);
            about.push('=');
            about.push_str(text);
            about.push(' ');
        }
        about
    }

    fn push(&mut self, name: &'static str, value: &str) {
        let value = Value::Quoted(inert(value, VALUE_BYTES, self.escapes));
        self.add(name, value);
    }

    fn bare(&mut self, field: &Field, value: &impl ToString) {
        self.add(field.name(), Value::Bare(value.to_string()));
    }

    fn add(&mut self, name: &'static str, value: Value) {
        if self.fields.len() < FIELDS {
            self.fields.push((name, value));
        }
    }

    /// The whole line with its end.
    pub(super) fn render(&self, now: Stamp) -> String {
        let time = time(now);
        let level = self.level;
        let (mut out, end) = match self.escapes {
            Escapes::Text => (format!("{time} {level:>5} {}", self.event), "\n"),
            Escapes::Json => {
                let event = &self.event;
                let head = format!(
                    "{{\"timestamp\":\"{time}\",\"level\":\"{level}\",\"event\":\"{event}\""
                );
                (head, "}\n")
            }
        };
        for (name, value) in &self.fields {
            let start = out.len();
            // Writing to a string never fails.
            let _written = match (self.escapes, value) {
                (Escapes::Text, Value::Quoted(text)) => write!(out, " {name}=\"{text}\""),
                (Escapes::Text, Value::Bare(text)) => write!(out, " {name}={text}"),
                (Escapes::Json, Value::Quoted(text)) => write!(out, ",\"{name}\":\"{text}\""),
                (Escapes::Json, Value::Bare(text)) => write!(out, ",\"{name}\":{text}"),
            };
            if out.len() + MORE > LINE_BYTES {
                out.truncate(start);
                out.push_str(match self.escapes {
                    Escapes::Text => " cut=true",
                    Escapes::Json => ",\"cut\":true",
                });
                break;
            }
        }
        out.push_str(end);
        out
    }
}

/// Whether a target is a module of Skep.
pub(super) fn is_ours(target: &str) -> bool {
    target == "skep" || target.starts_with("skep::")
}

fn time(now: Stamp) -> String {
    let moment = i64::try_from(now.0).ok().map(jiff::Timestamp::from_millisecond);
    moment.and_then(Result::ok).map_or_else(String::new, |moment| format!("{moment:.3}"))
}

impl Visit for Line {
    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON knows no infinity.
        if value.is_finite() {
            self.bare(field, &value);
        } else {
            self.push(field.name(), &value.to_string());
        }
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.bare(field, &value);
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.bare(field, &value);
    }
    fn record_i128(&mut self, field: &Field, value: i128) {
        self.push(field.name(), &value.to_string());
    }
    fn record_u128(&mut self, field: &Field, value: u128) {
        self.push(field.name(), &value.to_string());
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        if field.name() == "always" {
            self.always = value;
        } else {
            self.bare(field, &value);
        }
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "event" => self.event = inert(value, NAME_BYTES, self.escapes),
            "ends" => self.ends = Some(inert(value, NAME_BYTES, self.escapes)),
            name => self.push(name, value),
        }
    }
    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.record_debug(field, &format_args!("{value}"));
    }
    #[allow(clippy::use_debug, reason = "it is how tracing hands over what it was given")]
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let mut text = Inert::new(VALUE_BYTES, self.escapes);
        // It says no once it has enough.
        let _enough = write!(text, "{value:?}").is_err();
        self.add(field.name(), Value::Quoted(text.into_text()));
    }
}
