//! Which secrets a list is to have: the engine's filters `id`, `label`, `name` and `names`.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::{Refused, Secret};

/// Values of one filter.
const VALUES: usize = 1_024;

/// All that are named must hold; of several values of one filter any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Filter {
    /// Beginnings of ids.
    ids: BTreeSet<String>,
    /// `key` or `key=value`, all of them.
    labels: BTreeSet<String>,
    /// Beginnings of names.
    names_begin: BTreeSet<String>,
    /// Whole names.
    names: BTreeSet<String>,
}

/// Values as clients send them now, and as they did.
#[derive(Deserialize)]
#[serde(untagged)]
enum Values {
    Set(BTreeMap<String, bool>),
    List(Vec<String>),
}

impl Filter {
    /// Reads the query of a request.
    pub(super) fn read(query: &str) -> Result<Self, Refused> {
        let mut filter = Self::default();
        let mut pairs = form_urlencoded::parse(query.as_bytes());
        let Some((_, text)) = pairs.find(|(key, _)| key == "filters") else { return Ok(filter) };
        if text.is_empty() {
            return Ok(filter);
        }
        let read: BTreeMap<String, Values> =
            serde_json::from_str(&text).map_err(|error| Refused::json(&error))?;
        for (name, values) in read {
            let kept = match name.as_str() {
                "id" => &mut filter.ids,
                "label" => &mut filter.labels,
                "name" => &mut filter.names_begin,
                "names" => &mut filter.names,
                _ => return Err(Refused::BadFilter(name.chars().take(64).collect())),
            };
            match values {
                Values::Set(set) => {
                    kept.extend(set.into_iter().filter(|(_, on)| *on).map(|it| it.0));
                }
                Values::List(list) => kept.extend(list),
            }
            if kept.len() > VALUES {
                return Err(Refused::BadFilter(name));
            }
        }
        Ok(filter)
    }

    /// Whether a secret is to be listed.
    pub(crate) fn has(&self, secret: &Secret) -> bool {
        let (id, name) = (&secret.id, &secret.spec.name);
        let begins = |set: &BTreeSet<String>, text: &str| {
            set.is_empty() || set.iter().any(|beginning| text.starts_with(beginning.as_str()))
        };
        let labelled = |wanted: &String| match wanted.split_once('=') {
            None => secret.spec.labels.contains_key(wanted),
            Some((key, value)) => secret.spec.labels.get(key).is_some_and(|it| it == value),
        };
        begins(&self.ids, id)
            && begins(&self.names_begin, name)
            && (self.names.is_empty() || self.names.contains(name))
            && self.labels.iter().all(labelled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(id: &str, name: &str, labels: &[(&str, &str)]) -> Secret {
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        Secret::of(id.to_owned(), 1, (0, 0), name.to_owned(), labels.collect())
    }

    fn filter(json: &str) -> Result<Filter, Refused> {
        let query: String =
            form_urlencoded::Serializer::new(String::new()).append_pair("filters", json).finish();
        Filter::read(&query)
    }

    #[test]
    fn the_engines_filters_choose() {
        let all = [
            secret("aaa1", "db", &[("team", "a"), ("x", "")]),
            secret("aaa2", "db-ro", &[("team", "b")]),
            secret("bbb1", "web", &[]),
        ];
        let rows: &[(&str, &[&str])] = &[
            ("{}", &["db", "db-ro", "web"]),
            (r#"{"name":["db"]}"#, &["db", "db-ro"]),
            (r#"{"name":{"db":true}}"#, &["db", "db-ro"]),
            (r#"{"name":{"db":false}}"#, &["db", "db-ro", "web"]),
            (r#"{"names":["db"]}"#, &["db"]),
            (r#"{"names":["d"]}"#, &[]),
            (r#"{"name":["db-","w"]}"#, &["db-ro", "web"]),
            (r#"{"id":["aaa"]}"#, &["db", "db-ro"]),
            (r#"{"label":["team"]}"#, &["db", "db-ro"]),
            (r#"{"label":["team=a"]}"#, &["db"]),
            (r#"{"label":["team=a","x"]}"#, &["db"]),
            (r#"{"label":["team=a","team=b"]}"#, &[]),
            (r#"{"id":["aaa"],"name":["web"]}"#, &[]),
        ];
        for (json, names) in rows {
            let filter = filter(json).expect("a filter");
            let found = all.iter().filter(|one| filter.has(one)).map(|one| one.spec.name.as_str());
            assert_eq!(found.collect::<Vec<_>>(), *names, "{json}");
        }
        assert_eq!(Filter::read(""), Ok(Filter::default()));
        assert_eq!(Filter::read("filters="), Ok(Filter::default()));
        assert_eq!(filter(r#"{"bad":["x"]}"#), Err(Refused::BadFilter("bad".to_owned())));
        for bad in ["x", "[]", r#"{"name":"db"}"#, r#"{"name":[1]}"#, r#"{"name":["#] {
            assert!(matches!(filter(bad), Err(Refused::Json(_))), "{bad}");
        }
    }
}
