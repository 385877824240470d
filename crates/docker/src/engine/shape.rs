//! What is sent and answered, in the engine's JSON.

use std::collections::BTreeMap;

use data_encoding::BASE64;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use skep_core::base::{Label, Labels, Name, SecretBytes, limits};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use zeroize::Zeroizing;

use super::{API, API_LEAST, Refused};

/// The engine's text for a name that is none.
const BAD_NAME: &str = "invalid name, only 64 [a-zA-Z0-9-_.] characters allowed, and the start \
                        and end character must be [a-zA-Z0-9]";
/// And for a value that is empty or too long.
const BAD_SIZE: &str = "secret data must be larger than 0 and less than 512000 bytes";

/// A secret to be created, as it is sent.
#[derive(Deserialize)]
struct Sent {
    #[serde(rename = "Name", default)]
    name: Option<String>,
    #[serde(rename = "Labels", default)]
    labels: Option<BTreeMap<String, String>>,
    #[serde(rename = "Data", default)]
    data: Option<String>,
    #[serde(rename = "Driver", default)]
    driver: Option<Value>,
    #[serde(rename = "Templating", default)]
    templating: Option<Value>,
}

impl Sent {
    fn read(body: &[u8]) -> Result<Self, Refused> {
        if body.is_empty() {
            return Err(Refused::NoBody);
        }
        let sent: Self = serde_json::from_slice(body).map_err(|error| Refused::json(&error))?;
        // What would be left out in silence is refused: the value would come otherwise.
        if sent.driver.as_ref().is_some_and(|it| !it.is_null()) {
            let text = "secrets are kept by Skep itself: there is no driver for them";
            return Err(Refused::Invalid(text.to_owned()));
        }
        if sent.templating.as_ref().is_some_and(|it| !it.is_null()) {
            let text = "values are delivered as they are: there are no templates";
            return Err(Refused::Invalid(text.to_owned()));
        }
        Ok(sent)
    }

    fn labels(&self) -> Result<Labels, Refused> {
        let pairs = self.labels.iter().flatten();
        let labels = pairs.map(|(key, value)| Label::new(key, value));
        let labels = labels.collect::<Result<Vec<_>, _>>().and_then(Labels::new);
        labels.map_err(|error| Refused::Invalid(error.to_string()))
    }
}

/// A secret to be created.
#[derive(Debug)]
pub(crate) struct Spec {
    pub(crate) name: Name,
    pub(crate) labels: Labels,
    pub(crate) value: SecretBytes,
}

impl Spec {
    /// Reads a request's body.
    pub(crate) fn read(body: &[u8]) -> Result<Self, Refused> {
        let sent = Sent::read(body)?;
        let invalid = |text: &str| Refused::Invalid(text.to_owned());
        let name = sent.name.as_deref().unwrap_or_default();
        if name.is_empty() {
            return Err(invalid("name must be provided"));
        }
        let name = name.parse().map_err(|_bad| invalid(BAD_NAME))?;
        let labels = sent.labels()?;
        let data = Zeroizing::new(sent.data.unwrap_or_default());
        let bytes = BASE64.decode(data.as_bytes());
        let value = SecretBytes::take(bytes.map_err(|error| Refused::Base64(error.position))?);
        if value.is_empty() || value.len() > limits::VALUE_BYTES {
            return Err(invalid(BAD_SIZE));
        }
        Ok(Self { name, labels, value })
    }
}

/// Another spec of a secret that is there: only its labels may be others.
#[derive(Debug)]
pub(crate) struct Update {
    name: Option<String>,
    pub(crate) labels: Labels,
}

impl Update {
    /// Reads a request's body.
    pub(crate) fn read(body: &[u8]) -> Result<Self, Refused> {
        let sent = Sent::read(body)?;
        // Nobody here can compare it with the one that is there.
        if sent.data.as_ref().is_some_and(|data| !data.is_empty()) {
            return Err(Self::others());
        }
        Ok(Self { labels: sent.labels()?, name: sent.name })
    }

    /// Refused where it is not the name that the secret has.
    pub(crate) fn keeps_name(&self, name: &str) -> Result<(), Refused> {
        if self.name.as_deref() == Some(name) { Ok(()) } else { Err(Self::others()) }
    }

    fn others() -> Refused {
        Refused::Invalid("only updates to Labels are allowed".to_owned())
    }
}

/// A secret that was created.
#[derive(Debug, Serialize)]
pub(crate) struct Created {
    #[serde(rename = "ID")]
    pub(crate) id: String,
}

/// A secret, without its value.
#[derive(Debug, Serialize)]
pub(crate) struct Secret {
    #[serde(rename = "ID")]
    pub(super) id: String,
    #[serde(rename = "Version")]
    version: Index,
    #[serde(rename = "CreatedAt")]
    created: String,
    #[serde(rename = "UpdatedAt")]
    updated: String,
    #[serde(rename = "Spec")]
    pub(super) spec: Shown,
}

#[derive(Debug, Serialize)]
struct Index {
    #[serde(rename = "Index")]
    index: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct Shown {
    #[serde(rename = "Name")]
    pub(super) name: String,
    #[serde(rename = "Labels")]
    pub(super) labels: BTreeMap<String, String>,
}

impl Secret {
    /// `times`: when it was created and last changed, in milliseconds since 1970.
    pub(crate) fn of(
        id: String,
        index: u64,
        times: (u64, u64),
        name: String,
        labels: BTreeMap<String, String>,
    ) -> Self {
        let (created, updated) = (time_of(times.0), time_of(times.1));
        Self { id, version: Index { index }, created, updated, spec: Shown { name, labels } }
    }
}

fn time_of(ms: u64) -> String {
    let moment = OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000);
    let moment = moment.unwrap_or(OffsetDateTime::UNIX_EPOCH);
    moment.format(&Rfc3339).unwrap_or_default()
}

/// What `docker version` shows.
pub(crate) fn version(system: &System<'_>) -> Value {
    let version = env!("CARGO_PKG_VERSION");
    let (api, least) = (API.to_string(), API_LEAST.to_string());
    json!({
        "Platform": { "Name": "Skep" },
        "Components": [{
            "Name": "Skep",
            "Version": version,
            "Details": { "ApiVersion": api, "MinAPIVersion": least, "Os": "linux" },
        }],
        "Version": version,
        "ApiVersion": api,
        "MinAPIVersion": least,
        "GitCommit": "",
        "GoVersion": "",
        "Os": "linux",
        "Arch": system.arch,
        "KernelVersion": system.kernel,
        "BuildTime": "",
    })
}

/// The machine that it runs on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct System<'s> {
    pub(crate) name: &'s str,
    pub(crate) kernel: &'s str,
    pub(crate) arch: &'s str,
}

/// What `docker info` shows: no engine, and a swarm that has secrets.
pub(crate) fn info(system: &System<'_>) -> Value {
    json!({
        "ID": "SKEP",
        "Name": system.name,
        "ServerVersion": env!("CARGO_PKG_VERSION"),
        "OperatingSystem": "Skep (secrets alone, no containers)",
        "OSType": "linux",
        "Architecture": system.arch,
        "KernelVersion": system.kernel,
        "Containers": 0,
        "ContainersRunning": 0,
        "ContainersPaused": 0,
        "ContainersStopped": 0,
        "Images": 0,
        "NCPU": 0,
        "MemTotal": 0,
        "Driver": "none",
        "DriverStatus": [],
        "Plugins": { "Volume": [], "Network": [], "Authorization": null, "Log": [] },
        "Runtimes": {},
        "SecurityOptions": [],
        "Warnings": [],
        "Swarm": {
            "NodeID": "",
            "NodeAddr": "",
            "LocalNodeState": "active",
            "ControlAvailable": true,
            "Error": "",
            "RemoteManagers": null,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(body: &str) -> String {
        Spec::read(body.as_bytes()).expect_err("refused").message()
    }

    #[test]
    fn a_secret_is_read_as_clients_send_it() {
        let spec = r#"{"Name":"db","Labels":{"k":"v","x":""},"Data":"cHc="}"#;
        let spec = Spec::read(spec.as_bytes()).expect("a secret");
        assert_eq!((spec.name.as_str(), spec.value.expose()), ("db", b"pw".as_slice()));
        // What docker-py sends, and fields that others have.
        let spec = r#"{"Data":"eA==","Name":"db","Labels":null,"Driver":null,"Other":1}"#;
        assert!(Spec::read(spec.as_bytes()).is_ok());
    }

    #[test]
    fn what_is_none_is_refused_in_the_engines_words() {
        let long = "A".repeat(682_668);
        let rows = [
            (String::new(), "got EOF while reading request body".to_owned()),
            (r#"{"Name":"a""#.to_owned(), "unexpected EOF".to_owned()),
            ("1".to_owned(), "what was sent is of another shape: line 1, column 1".to_owned()),
            ("{x".to_owned(), "what was sent is not JSON: line 1, column 2".to_owned()),
            (r#"{"Data":"eA=="}"#.to_owned(), invalid("name must be provided")),
            (r#"{"Name":"b@","Data":"eA=="}"#.to_owned(), invalid(BAD_NAME)),
            (r#"{"Name":"a"}"#.to_owned(), invalid(BAD_SIZE)),
            (format!(r#"{{"Name":"a","Data":"{long}"}}"#), invalid(BAD_SIZE)),
            (
                r#"{"Name":"a","Data":"%%"}"#.to_owned(),
                "illegal base64 data at input byte 0".to_owned(),
            ),
            (
                r#"{"Name":"a","Data":"eA==","Driver":{"Name":"x"}}"#.to_owned(),
                invalid("secrets are kept by Skep itself: there is no driver for them"),
            ),
            (
                r#"{"Name":"a","Data":"eA==","Templating":{"Name":"golang"}}"#.to_owned(),
                invalid("values are delivered as they are: there are no templates"),
            ),
        ];
        for (body, text) in rows {
            let end = body.len().min(60);
            assert_eq!(refused(&body), text, "{}", body.get(..end).unwrap_or_default());
        }
    }

    fn invalid(text: &str) -> String {
        format!("rpc error: code = InvalidArgument desc = {text}")
    }

    #[test]
    fn a_refusal_shows_nothing_of_the_value() {
        for body in [
            r#"{"Name":"a","Data":"c2VjcmV0!"}"#,
            r#"{"Name":"a","Data":["c2VjcmV0"]}"#,
            r#"{"Name":"a","Data":"c2VjcmV0"#,
            r#"{"Name":"a","Data":"c2VjcmV0","Data":1}"#,
        ] {
            let told = format!("{:?}", Spec::read(body.as_bytes()).expect_err("refused"));
            assert!(!told.contains("c2Vj"), "{told}");
        }
    }

    #[test]
    fn an_update_changes_labels_alone() {
        let read = |body: &str| Update::read(body.as_bytes());
        let update = read(r#"{"Name":"a","Labels":{"k":"v"}}"#).expect("an update");
        assert!(update.keeps_name("a").is_ok() && update.keeps_name("b").is_err());
        assert!(read(r#"{"Name":"a","Data":"eA=="}"#).is_err());
        assert!(read(r#"{"Labels":{}}"#).expect("no name").keeps_name("a").is_err());
    }

    #[test]
    fn a_secret_is_shown_as_the_engine_does() {
        let labels = BTreeMap::from([("k".to_owned(), "v".to_owned())]);
        let secret = Secret::of("id".to_owned(), 7, (1_000, 1_500), "a".to_owned(), labels);
        let shown = serde_json::to_value(&secret).expect("JSON");
        let wanted = json!({
            "ID": "id", "Version": { "Index": 7 },
            "CreatedAt": "1970-01-01T00:00:01Z", "UpdatedAt": "1970-01-01T00:00:01.5Z",
            "Spec": { "Name": "a", "Labels": { "k": "v" } },
        });
        assert_eq!(shown, wanted);
    }
}
