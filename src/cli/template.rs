//! Templates as docker users know them: `{{.Name}}`, `{{json .Labels}}`,
//! `{{.Label "team"}}`. Nothing else of the language is here: a template can
//! neither loop nor call.

use serde_json::Value;

/// Bytes of a template: one line of a script.
const MOST: usize = 16 * 1024;

/// A template, cut up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Field { path: Vec<String>, json: bool },
    Label(String),
}

/// What is wrong with a template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum TemplateError {
    #[error("template: longer than {MOST} bytes")]
    TooLong,
    #[error("template: {{{{ without }}}}")]
    Open,
    #[error("template: {0:?} is not a placeholder such as .Name, json .Labels or .Label \"key\"")]
    Placeholder(String),
    #[error("template: there is no field .{0}; there are {1}")]
    Field(String, String),
}

impl Template {
    pub(super) fn parse(text: &str) -> Result<Self, TemplateError> {
        if text.len() > MOST {
            return Err(TemplateError::TooLong);
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            let (inside, behind) = after.split_once("}}").ok_or(TemplateError::Open)?;
            parts.push(Part::Text(unescaped(before)));
            parts.push(placeholder(inside.trim())?);
            rest = behind;
        }
        parts.push(Part::Text(unescaped(rest)));
        Ok(Self(parts))
    }

    /// The text for one thing.
    pub(super) fn fill(&self, thing: &Value) -> Result<String, TemplateError> {
        let mut text = String::new();
        for part in &self.0 {
            match part {
                Part::Text(plain) => text += plain,
                Part::Field { path, json: true } => text += &find(thing, path)?.to_string(),
                Part::Field { path, json: false } => text += &plain(find(thing, path)?),
                Part::Label(key) => {
                    let labels = find(thing, &["Labels".to_owned()])?;
                    text += &labels.get(key).map(plain).unwrap_or_default();
                }
            }
        }
        Ok(text)
    }

    /// The heads of `table TEMPLATE`: the fields' names.
    pub(super) fn heads(&self) -> String {
        let head = |part: &Part| match part {
            Part::Text(plain) => plain.clone(),
            Part::Field { path, .. } => path.last().map_or("", String::as_str).to_uppercase(),
            Part::Label(key) => key.to_uppercase(),
        };
        self.0.iter().map(head).collect()
    }
}

/// `\t` and `\n` are what they are in docker's formats.
fn unescaped(text: &str) -> String {
    text.replace("\\t", "\t").replace("\\n", "\n")
}

fn placeholder(text: &str) -> Result<Part, TemplateError> {
    let wrong = || TemplateError::Placeholder(text.to_owned());
    if let Some(rest) = text.strip_prefix(".Label ") {
        let quoted = rest.trim().strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        return quoted.map(|key| Part::Label(key.to_owned())).ok_or_else(wrong);
    }
    let (json, path) = match text.strip_prefix("json ") {
        Some(path) => (true, path.trim()),
        None => (false, text),
    };
    let path = path.strip_prefix('.').ok_or_else(wrong)?;
    let path: Vec<String> = match path {
        "" => Vec::new(),
        path => path.split('.').map(str::to_owned).collect(),
    };
    let word =
        |word: &String| !word.is_empty() && word.chars().all(|c| c.is_alphanumeric() || c == '_');
    if path.iter().all(word) { Ok(Part::Field { path, json }) } else { Err(wrong()) }
}

/// Fields are found without case and underscores: `.CreatedAt` is `created_at`.
fn find<'a>(thing: &'a Value, path: &[String]) -> Result<&'a Value, TemplateError> {
    let alike = |name: &str| name.replace('_', "").to_ascii_lowercase();
    path.iter().try_fold(thing, |thing, word| {
        let fields = thing.as_object();
        let mut fields = fields.into_iter().flatten();
        let found = fields.find(|(name, _)| alike(name) == alike(word)).map(|(_, value)| value);
        found.ok_or_else(|| {
            let names = thing.as_object().into_iter().flatten();
            let names: Vec<String> = names.map(|(name, _)| format!(".{}", camel(name))).collect();
            TemplateError::Field(word.clone(), names.join(" "))
        })
    })
}

/// `created_at` as `CreatedAt`, `id` as `ID`.
fn camel(name: &str) -> String {
    let big = |word: &str| match word {
        "id" => "ID".to_owned(),
        word => {
            word.chars().take(1).flat_map(char::to_uppercase).chain(word.chars().skip(1)).collect()
        }
    };
    name.split('_').map(big).collect()
}

/// A value as a person reads it: lists and labels with commas.
pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::Array(all) => all.iter().map(plain).collect::<Vec<_>>().join(","),
        Value::Object(fields) => {
            let pairs = fields.iter().map(|(key, value)| format!("{key}={}", plain(value)));
            pairs.collect::<Vec<_>>().join(",")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn fill(template: &str) -> Result<String, TemplateError> {
        let thing = json!({
            "id": "x1", "name": "db", "created_at": "2026", "labels": {"team": "a", "z": "1"},
            "spec": {"mount": "tmpfs"}, "nodes": ["m1", "m2"], "pin": null,
        });
        Template::parse(template)?.fill(&thing)
    }

    #[test]
    fn placeholders_are_filled() {
        assert_eq!(fill("{{.ID}}\\t{{ .Name }}!"), Ok("x1\tdb!".into()));
        assert_eq!(fill("{{.CreatedAt}} {{.created_at}}"), Ok("2026 2026".into()));
        assert_eq!(
            fill("{{.Labels}} {{.Label \"team\"}}{{.Label \"no\"}}"),
            Ok("team=a,z=1 a".into())
        );
        assert_eq!(
            fill("{{json .Nodes}} {{.Nodes}} {{.Pin}}"),
            Ok("[\"m1\",\"m2\"] m1,m2 ".into())
        );
        assert_eq!(fill("{{.Spec.Mount}}"), Ok("tmpfs".into()));
        assert_eq!(fill("plain"), Ok("plain".into()));
        assert!(fill("{{json .}}").is_ok_and(|all| all.starts_with('{')));
    }

    #[test]
    fn what_is_no_placeholder_is_named() {
        assert_eq!(fill("{{.Name"), Err(TemplateError::Open));
        for bad in ["{{}}", "{{range .}}", "{{.Name | upper}}", "{{.a..b}}", "{{.Label x}}"] {
            assert!(matches!(fill(bad), Err(TemplateError::Placeholder(_))), "{bad}");
        }
        let error = fill("{{.Nam}}").expect_err("unknown").to_string();
        assert!(error.contains(".Nam;") && error.contains(".CreatedAt .ID"), "{error}");
        assert_eq!(fill(&"x".repeat(20_000)), Err(TemplateError::TooLong));
    }

    #[test]
    fn a_table_has_the_fields_as_heads() {
        let template = Template::parse("{{.ID}}\\t{{.CreatedAt}}").expect("good");
        assert_eq!(template.heads(), "ID\tCREATEDAT");
    }
}
