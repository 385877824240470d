//! containers-policy.json(5): read key by key. An unknown key is refused, one that stands twice
//! too, for what is misspelt would otherwise demand nothing.

use std::collections::BTreeMap;

use data_encoding::BASE64;
use serde_json::Value;

use super::identity::Identity;
use super::reference::{Reference, is_host};
use super::{Keys, Policy, Requirement};
use crate::rules::shown;
use crate::rules::signing::json::{Fields, read};

/// Bytes of a policy.
pub const POLICY_BYTES: usize = 1024 * 1024;
/// Requirements of one scope, and scopes of one transport.
const ENTRIES: usize = 1024;

/// Why a file is no policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPolicy {
    /// Too much.
    #[error("the policy is larger than {POLICY_BYTES} bytes")]
    Size,
    /// No JSON, or a key that stands twice.
    #[error("the policy doesn't read, at line {line}, column {column}")]
    Json {
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
    },
    /// A part of another kind than it has to be.
    #[error("{0}: {1}")]
    At(String, &'static str),
    /// A key that nobody knows.
    #[error("{0}: the key `{1}` is not known")]
    Unknown(String, String),
}

impl From<serde_json::Error> for BadPolicy {
    fn from(error: serde_json::Error) -> Self {
        Self::Json { line: error.line(), column: error.column() }
    }
}

/// Where one is in the file, for whoever mends it.
#[derive(Clone, Copy)]
struct At<'a>(&'a str);

impl At<'_> {
    fn bad(self, why: &'static str) -> BadPolicy {
        BadPolicy::At(self.0.to_owned(), why)
    }

    fn object(self, value: Value) -> Result<Fields, BadPolicy> {
        Fields::of(value).ok_or_else(|| self.bad("this is no object"))
    }

    fn done(self, fields: &Fields) -> Result<(), BadPolicy> {
        match fields.left() {
            None => Ok(()),
            Some(key) => Err(BadPolicy::Unknown(self.0.to_owned(), shown(key))),
        }
    }
}

impl Policy {
    /// Reads one.
    ///
    /// # Errors
    /// [`BadPolicy`].
    pub fn read(bytes: &[u8]) -> Result<Self, BadPolicy> {
        if bytes.len() > POLICY_BYTES {
            return Err(BadPolicy::Size);
        }
        let at = At("policy");
        let mut whole = at.object(read(bytes)?)?;
        let default = whole.take("default").ok_or_else(|| at.bad("it has no `default`"))?;
        let default = requirements(At("default"), default)?;
        let mut transports = BTreeMap::new();
        if let Some(value) = whole.take("transports") {
            for (transport, scopes) in At("transports").object(value)?.rest() {
                let at = format!("transport {}", shown(&transport));
                let mut read = BTreeMap::new();
                for (scope, list) in At(&at).object(scopes)?.rest() {
                    let at = format!("{at}, scope \"{}\"", shown(&scope));
                    read.insert(scope, requirements(At(&at), list)?);
                }
                if read.len() > ENTRIES {
                    return Err(At(&at).bad("it has too many scopes"));
                }
                transports.insert(transport, read);
            }
        }
        at.done(&whole)?;
        Ok(Self { default, transports })
    }
}

fn requirements(at: At<'_>, value: Value) -> Result<Vec<Requirement>, BadPolicy> {
    let Value::Array(list) = value else { return Err(at.bad("this is no list")) };
    if list.is_empty() || list.len() > ENTRIES {
        return Err(at.bad("it demands nothing: it needs at least one entry, and few"));
    }
    list.into_iter().map(|value| requirement(at, value)).collect()
}

fn requirement(at: At<'_>, value: Value) -> Result<Requirement, BadPolicy> {
    let mut fields = at.object(value)?;
    let kind = fields.text("type").ok_or_else(|| at.bad("an entry has no `type`"))?;
    let read = match kind.as_str() {
        "insecureAcceptAnything" => Requirement::AcceptAnything,
        "reject" => Requirement::Reject,
        "signedBy" => {
            if fields.text("keyType").as_deref() != Some("GPGKeys") {
                return Err(at.bad("`keyType` is not \"GPGKeys\", the only kind there is"));
            }
            let keys = keys(at, &mut fields, false)?;
            Requirement::SignedBy(keys, identity(at, &mut fields)?)
        }
        "sigstoreSigned" => {
            let others = ["fulcio", "pki", "rekorPublicKeyPath", "rekorPublicKeyPaths"];
            let more = ["rekorPublicKeyData", "rekorPublicKeyDatas"];
            if others.iter().chain(&more).any(|key| fields.has(key)) {
                return Err(at.bad("certificates and transparency logs are not looked at here"));
            }
            let keys = keys(at, &mut fields, true)?;
            Requirement::SigstoreSigned(keys, identity(at, &mut fields)?)
        }
        _ => return Err(at.bad("an entry has a `type` that is not known")),
    };
    at.done(&fields)?;
    Ok(read)
}

/// Exactly one of the ways to give keys.
fn keys(at: At<'_>, fields: &mut Fields, several_data: bool) -> Result<Keys, BadPolicy> {
    let mut found = Vec::new();
    for key in ["keyPath", "keyPaths", "keyData", "keyDatas"] {
        if (key == "keyDatas" && !several_data) || !fields.has(key) {
            continue;
        }
        let values = match fields.take(key) {
            Some(Value::Array(list)) if key.ends_with('s') => list,
            Some(value @ Value::String(_)) if !key.ends_with('s') => vec![value],
            _ => return Err(at.bad("a path or content of keys is of another kind")),
        };
        let texts: Option<Vec<String>> =
            values.iter().map(|value| value.as_str().map(str::to_owned)).collect();
        let texts = texts.filter(|texts| {
            (1..=ENTRIES).contains(&texts.len()) && texts.iter().all(|text| !text.is_empty())
        });
        let texts = texts.ok_or_else(|| at.bad("a path or content of keys is empty"))?;
        found.push(if key.starts_with("keyPath") {
            Keys::Paths(texts)
        } else {
            let decoded = texts.iter().map(|text| BASE64.decode(text.as_bytes()));
            let decoded: Result<Vec<Vec<u8>>, _> = decoded.collect();
            Keys::Data(decoded.map_err(|_| at.bad("the content of keys is no base64"))?)
        });
    }
    let one = found.pop().filter(|_| found.is_empty());
    one.ok_or_else(|| at.bad("it needs keys given in exactly one way"))
}

fn identity(at: At<'_>, fields: &mut Fields) -> Result<Identity, BadPolicy> {
    let Some(value) = fields.take("signedIdentity") else {
        return Ok(Identity::MatchRepoDigestOrExact);
    };
    let mut fields = at.object(value)?;
    let kind = fields.text("type").ok_or_else(|| at.bad("`signedIdentity` has no `type`"))?;
    let mut reference = |key: &str| fields.text(key).and_then(|text| Reference::read(&text));
    let read = match kind.as_str() {
        "matchExact" => Identity::MatchExact,
        "matchRepoDigestOrExact" => Identity::MatchRepoDigestOrExact,
        "matchRepository" => Identity::MatchRepository,
        "exactReference" => {
            let known = reference("dockerReference").filter(|known| !known.is_name_only());
            let bad = "`dockerReference` is no reference with a tag or a digest";
            Identity::ExactReference(known.ok_or_else(|| at.bad(bad))?)
        }
        "exactRepository" => {
            let known = reference("dockerRepository");
            let bad = "`dockerRepository` is no repository";
            Identity::ExactRepository(known.ok_or_else(|| at.bad(bad))?)
        }
        "remapIdentity" => {
            let mut prefix = |key: &str| {
                let text = fields.text(key).filter(|text| is_prefix(text));
                text.ok_or_else(|| at.bad("`prefix` or `signedPrefix` is no host or repository"))
            };
            Identity::Remap { prefix: prefix("prefix")?, signed: prefix("signedPrefix")? }
        }
        _ => return Err(at.bad("`signedIdentity` has a `type` that is not known")),
    };
    at.done(&fields)?;
    Ok(read)
}

/// Whether this is a host, or one with a repository or what that lies in.
fn is_prefix(text: &str) -> bool {
    let whole = Reference::read(text).is_some_and(|reference| reference.name() == text);
    is_host(text) || whole
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(entry: &str) -> Result<Policy, BadPolicy> {
        Policy::read(format!("{{\"default\":[{entry}]}}").as_bytes())
    }

    const KEY: &str = "\"type\":\"signedBy\",\"keyType\":\"GPGKeys\",\"keyData\":\"YQ==\"";

    #[test]
    fn what_the_manual_shows_is_read() {
        let text = r#"{
            "default": [{"type": "reject"}],
            "transports": {
                "docker": {
                    "docker.io/openshift": [{"type": "insecureAcceptAnything"}],
                    "*.temporary-project.example.com": [{"type": "insecureAcceptAnything"}],
                    "hostname:5000/myns/full": [
                        {"type": "sigstoreSigned", "keyPath": "/path/to/sigstore-pubkey.pub"}
                    ],
                    "hostname:5000/vendor/product": [
                        {"type": "signedBy", "keyType": "GPGKeys", "keyPath": "/vendor.gpg",
                         "signedIdentity": {"type": "exactRepository",
                                            "dockerRepository": "vendor-hostname/product/repository"}},
                        {"type": "signedBy", "keyType": "GPGKeys", "keyPaths": ["/a.gpg", "/b.gpg"],
                         "signedIdentity": {"type": "remapIdentity",
                            "prefix": "private-mirror:5000/vendor-mirror",
                            "signedPrefix": "vendor.example.com"}}
                    ]
                },
                "dir": {"": [{"type": "insecureAcceptAnything"}]}
            }
        }"#;
        let policy = Policy::read(text.as_bytes()).expect("a policy");
        let demanded =
            |text: &str| policy.demanded(&Reference::read(text).expect("a reference")).to_vec();
        assert_eq!(demanded("openshift/hello:1"), [Requirement::AcceptAnything]);
        assert_eq!(demanded("busybox:1"), [Requirement::Reject]);
        let wild = demanded("x.temporary-project.example.com/a:1");
        assert_eq!(wild, [Requirement::AcceptAnything]);
        assert_eq!(demanded("temporary-project.example.com/a:1"), [Requirement::Reject]);
        let product = Reference::read("hostname:5000/vendor/product:1").expect("a reference");
        assert_eq!(policy.demanded(&product).len(), 2);
        assert_eq!(policy.paths(&product), ["/vendor.gpg", "/a.gpg", "/b.gpg"]);
    }

    #[test]
    fn each_way_to_say_it_is_read() {
        for entry in [
            format!("{{{KEY}}}"),
            format!("{{{KEY},\"signedIdentity\":{{\"type\":\"matchExact\"}}}}"),
            format!(
                "{{{KEY},\"signedIdentity\":{{\"type\":\"exactReference\",\
                 \"dockerReference\":\"busybox:1\"}}}}"
            ),
            "{\"type\":\"sigstoreSigned\",\"keyDatas\":[\"YQ==\",\"Yg==\"]}".to_owned(),
            "{\"type\":\"sigstoreSigned\",\"keyPaths\":[\"/a\"]}".to_owned(),
        ] {
            policy(&entry).unwrap_or_else(|error| panic!("{entry}: {error}"));
        }
    }

    #[test]
    fn what_nobody_knows_is_refused() {
        for entry in [
            "",
            "{}",
            "1",
            "{\"type\":\"signedBaseLayer\"}",
            "{\"type\":\"reject\",\"x\":1}",
            "{\"type\":\"reject\",\"type\":\"reject\"}",
            "{\"type\":\"signedBy\",\"keyPath\":\"/a\"}",
            "{\"type\":\"signedBy\",\"keyType\":\"X509Certificates\",\"keyPath\":\"/a\"}",
            "{\"type\":\"signedBy\",\"keyType\":\"GPGKeys\"}",
            "{\"type\":\"signedBy\",\"keyType\":\"GPGKeys\",\"keyPath\":\"\"}",
            "{\"type\":\"signedBy\",\"keyType\":\"GPGKeys\",\"keyPaths\":[]}",
            "{\"type\":\"signedBy\",\"keyType\":\"GPGKeys\",\"keyData\":\"?\"}",
            "{\"type\":\"signedBy\",\"keyType\":\"GPGKeys\",\"keyDatas\":[\"YQ==\"]}",
            "{\"type\":\"signedBy\",\"keyType\":\"GPGKeys\",\"keyPath\":\"/a\",\"keyData\":\"YQ==\"}",
            "{\"type\":\"sigstoreSigned\",\"keyPath\":\"/a\",\"rekorPublicKeyPath\":\"/b\"}",
            "{\"type\":\"sigstoreSigned\",\"fulcio\":{}}",
            "{\"type\":\"sigstoreSigned\",\"keyPath\":\"/a\",\"KeyData\":\"YQ==\"}",
        ] {
            assert!(policy(entry).is_err(), "{entry}");
        }
        for identity in [
            "1",
            "{}",
            "{\"type\":\"matchAnything\"}",
            "{\"type\":\"matchExact\",\"x\":1}",
            "{\"type\":\"exactReference\",\"dockerReference\":\"busybox\"}",
            "{\"type\":\"exactRepository\",\"dockerRepository\":\"A B\"}",
            "{\"type\":\"exactRepository\"}",
            "{\"type\":\"remapIdentity\",\"prefix\":\"a.example\"}",
            "{\"type\":\"remapIdentity\",\"prefix\":\"a.example/b:1\",\"signedPrefix\":\"b.example\"}",
        ] {
            let entry = format!("{{{KEY},\"signedIdentity\":{identity}}}");
            assert!(policy(&entry).is_err(), "{entry}");
        }
        for text in [
            "{}",
            "[]",
            "{\"default\":[]}",
            "{\"default\":{\"type\":\"reject\"}}",
            "{\"default\":[{\"type\":\"reject\"}],\"transport\":{}}",
            "{\"default\":[{\"type\":\"reject\"}],\"transports\":{\"docker\":[]}}",
            "{\"default\":[{\"type\":\"reject\"}],\"transports\":{\"docker\":{\"a\":[]}}}",
        ] {
            assert!(Policy::read(text.as_bytes()).is_err(), "{text}");
        }
        let error = policy("{\"type\":\"reject\",\"sgned\":1}").expect_err("an unknown key");
        assert_eq!(error.to_string(), "default: the key `sgned` is not known");
        assert_eq!(Policy::read(&vec![b' '; POLICY_BYTES + 1]), Err(BadPolicy::Size));
    }
}
