//! How things look: tables as docker's, JSON one thing a line, templates.

use comfy_table::presets::NOTHING;
use comfy_table::{ContentArrangement, Table};
use serde_json::{Map, Value, json};

use skep_core::base::{Failure, Stamp};
use skep_core::wire::api::LabelPair;

use super::problem::{Trouble, usage};
use super::shell::{Screen, Shell};
use super::template::{Template, TemplateError, plain};
use skep_client::harmless;

/// What `--format` asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// The command's own table.
    Table,
    /// One JSON object a line.
    Json,
    /// A line each.
    Template(Template),
    /// A line each, aligned under heads.
    TableOf(Template),
}

impl Format {
    pub(super) fn parse(asked: Option<&str>) -> Result<Self, Trouble> {
        match asked.map(str::trim) {
            None | Some("table") => Ok(Self::Table),
            Some("json" | "{{json .}}") => Ok(Self::Json),
            Some(text) => match text.strip_prefix("table ") {
                Some(rest) => Template::parse(rest).map(Self::TableOf).map_err(bad),
                None if text.contains("{{") => {
                    Template::parse(text).map(Self::Template).map_err(bad)
                }
                None => Err(usage(
                    "--format: is none of table, json and a template",
                    "a template has placeholders, such as '{{.Name}}'",
                )),
            },
        }
    }
}

fn bad(error: TemplateError) -> Trouble {
    usage(error, "`--format json` shows every field")
}

/// What stands in a column.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cell {
    /// A field as it is.
    Field(&'static str),
    /// A time, as long ago.
    Ago(&'static str),
    /// How many a list has.
    Count(&'static str),
}

/// Head and content of a column.
pub(super) type Column = (&'static str, Cell);

/// Prints things as asked for.
pub(super) fn list(
    shell: &mut Shell,
    format: &Format,
    columns: &[Column],
    things: &[Value],
) -> Result<(), Trouble> {
    let now = shell.clock.now();
    match format {
        Format::Json => things.iter().try_for_each(|thing| shell.screen.data(&thing.to_string())),
        Format::Template(template) => things
            .iter()
            .try_for_each(|thing| shell.screen.data(&template.fill(thing).map_err(bad)?)),
        Format::TableOf(template) => {
            let cut = |line: String| line.split('\t').map(str::to_owned).collect::<Vec<_>>();
            let rows = things.iter().map(|thing| template.fill(thing).map(cut));
            let rows = rows.collect::<Result<Vec<_>, _>>().map_err(bad)?;
            table(&mut shell.screen, cut(template.heads()), rows)
        }
        Format::Table => {
            let heads = columns.iter().map(|(head, _)| (*head).to_owned()).collect();
            let row = |thing: &Value| columns.iter().map(|(_, of)| cell(*of, thing, now)).collect();
            table(&mut shell.screen, heads, things.iter().map(row).collect())
        }
    }
}

/// Prints things for `inspect`: JSON that people read, unless a template asks otherwise.
pub(super) fn inspect(
    shell: &mut Shell,
    format: &Format,
    things: Vec<Value>,
) -> Result<(), Trouble> {
    match format {
        Format::Table => {
            let text = serde_json::to_string_pretty(&Value::Array(things));
            let text = text.map_err(|error| Failure::new(skep_core::base::Exit::Bug, error))?;
            shell.screen.data(&text)
        }
        other => list(shell, other, &[], &things),
    }
}

fn cell(of: Cell, thing: &Value, now: Stamp) -> String {
    let field = |name: &str| thing.get(name).unwrap_or(&Value::Null);
    match of {
        Cell::Field(name) => plain(field(name)),
        Cell::Ago(name) => field(name).as_str().map(|text| ago(text, now)).unwrap_or_default(),
        Cell::Count(name) => field(name).as_array().map_or(0, Vec::len).to_string(),
    }
}

/// Columns with two spaces between, no lines, nothing behind the last one.
pub(super) fn table(
    screen: &mut Screen,
    heads: Vec<String>,
    rows: Vec<Vec<String>>,
) -> Result<(), Trouble> {
    let one_line = |cell: String| harmless(&cell).replace(['\n', '\t'], " ");
    let mut table = Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.force_no_tty();
    table.set_header(heads);
    for row in rows {
        table.add_row(row.into_iter().map(one_line));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let text = table.to_string();
    text.lines().try_for_each(|line| screen.data(line.trim_end()))
}

/// A time as RFC 3339; none for 0.
pub(super) fn time(stamp: u64) -> Value {
    moment(stamp).map_or(Value::Null, |moment| json!(moment.to_string()))
}

/// The same to the millisecond, always: these texts sort as the times do.
pub(super) fn exact_time(stamp: u64) -> Value {
    moment(stamp).map_or(Value::Null, |moment| json!(format!("{moment:.3}")))
}

fn moment(stamp: u64) -> Option<jiff::Timestamp> {
    let ms = i64::try_from(stamp).ok().filter(|ms| *ms > 0)?;
    jiff::Timestamp::from_millisecond(ms).ok()
}

/// An id's text; what is no id is shown as hexadecimal.
pub(super) fn id(bytes: &[u8]) -> String {
    skep_core::base::NodeId::try_from(bytes)
        .map_or_else(|_other| data_encoding::HEXLOWER.encode(bytes), |id| id.to_string())
}

/// Labels as an object.
pub(super) fn labels(pairs: &[LabelPair]) -> Value {
    let pairs = pairs.iter().map(|pair| (pair.key.clone(), json!(pair.value)));
    Value::Object(pairs.collect::<Map<_, _>>())
}

/// `3 hours ago`, in docker's words.
fn ago(text: &str, now: Stamp) -> String {
    let Ok(then) = text.parse::<jiff::Timestamp>() else { return text.to_owned() };
    let now = i64::try_from(now.0).unwrap_or(i64::MAX);
    let seconds = (now - then.as_millisecond()) / 1000;
    if seconds < 0 {
        return format!("in {}", span(-seconds));
    }
    format!("{} ago", span(seconds))
}

fn span(seconds: i64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let many = |count: i64, unit: &str| {
        if count == 1 { format!("1 {unit}") } else { format!("{count} {unit}s") }
    };
    match () {
        () if seconds < 1 => "less than a second".to_owned(),
        () if minutes < 1 => many(seconds, "second"),
        () if hours < 1 => many(minutes, "minute"),
        () if days < 2 => many(hours, "hour"),
        () if days < 14 => many(days, "day"),
        () if days < 60 => many(days / 7, "week"),
        () if days < 730 => many(days / 30, "month"),
        () => many(days / 365, "year"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::shell::tests::captured;

    fn shown(format: &str, things: &[Value]) -> String {
        let (mut shell, out, _) = captured();
        let columns =
            [("ID", Cell::Field("id")), ("NAME", Cell::Field("name")), ("N", Cell::Count("on"))];
        let format = Format::parse(Some(format)).expect("a format");
        list(&mut shell, &format, &columns, things).expect("printed");
        out.text()
    }

    fn things() -> [Value; 2] {
        [
            json!({"id": "a1", "name": "db-password", "on": ["x", "y"]}),
            json!({"id": "b22", "name": "k\u{1b}\n", "on": []}),
        ]
    }

    #[test]
    fn tables_are_aligned_as_dockers() {
        assert_eq!(
            shown("table", &things()),
            "ID   NAME         N\na1   db-password  2\nb22  k\u{fffd}           0\n"
        );
        assert_eq!(shown("table", &[]), "ID  NAME  N\n");
        let template = "table {{.Name}}\\t{{.ID}}";
        assert_eq!(shown(template, &things()[..1]), "NAME         ID\ndb-password  a1\n");
    }

    #[test]
    fn json_is_one_thing_a_line() {
        let text = shown("json", &things());
        let lines: Vec<Value> =
            text.lines().map(|line| serde_json::from_str(line).expect("json")).collect();
        assert_eq!(lines, things());
        assert_eq!(shown("{{.ID}}:{{.On}}", &things()), "a1:x,y\nb22:\n");
    }

    #[test]
    fn other_formats_are_refused() {
        assert!(Format::parse(Some("yaml")).is_err());
        assert!(Format::parse(Some("{{.X")).is_err());
    }

    #[test]
    fn times_are_told_as_docker_does() {
        let now = Stamp(1_000_000_000_000);
        let before = |ms: u64| ago(time(now.0 - ms).as_str().expect("a time"), now);
        assert_eq!(before(500), "less than a second ago");
        assert_eq!(before(1_000), "1 second ago");
        assert_eq!(before(3_600_000), "1 hour ago");
        assert_eq!(before(10 * 86_400_000), "10 days ago");
        assert_eq!(ago(time(now.0 + 90_000).as_str().expect("a time"), now), "in 1 minute");
        assert_eq!(time(0), Value::Null);
    }
}
