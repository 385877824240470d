//! What is signed: the payload of simple signing, which says which digest stands for which
//! reference (docs/registry/formats.md). Written with sorted keys and without a space, so that
//! it has the same bytes each time; read as strictly as containers/image reads it.

use serde_json::{Map, Value, json};

use super::json::{Fields, read, write};
use crate::rules::hold::is_digest;

/// Bytes of a payload.
pub const PAYLOAD_BYTES: usize = 64 * 1024;
/// Bytes of a reference.
pub const REFERENCE_BYTES: usize = 1024;

/// For which kind of signature a payload is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PayloadKind {
    /// cosign's: the signature stands beside the payload.
    Cosign,
    /// OpenPGP's: the payload stands within the signed message.
    OpenPgp,
}

impl PayloadKind {
    /// What `critical.type` says.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Cosign => "cosign container image signature",
            Self::OpenPgp => "atomic container signature",
        }
    }
}

/// Why something is no payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPayload {
    /// Too much.
    #[error("the payload is larger than {PAYLOAD_BYTES} bytes")]
    Size,
    /// No JSON, a key that stands twice, is unknown or missing, or a value of another kind.
    #[error("the payload is none of simple signing: {0}")]
    Shape(&'static str),
    /// `critical.type`.
    #[error("the payload is that of another kind of signature")]
    Kind,
    /// `docker-manifest-digest`.
    #[error("the payload has no digest of sha256")]
    Digest,
    /// `docker-reference`.
    #[error("the payload has no reference of an image")]
    Reference,
}

/// A payload.
#[derive(Clone, Debug, PartialEq)]
pub struct Payload {
    kind: PayloadKind,
    reference: String,
    digest: String,
    optional: Map<String, Value>,
}

impl Payload {
    /// Says that the manifest with this digest (`sha256:` and 64 digits) stands for this
    /// reference (`HOST[:PORT]/REPOSITORY:TAG`).
    ///
    /// # Errors
    /// One of them is none.
    pub fn new(kind: PayloadKind, reference: &str, digest: &str) -> Result<Self, BadPayload> {
        if !digest.starts_with("sha256:") || !is_digest(digest) {
            return Err(BadPayload::Digest);
        }
        if !is_reference(reference) {
            return Err(BadPayload::Reference);
        }
        let (reference, digest) = (reference.to_owned(), digest.to_owned());
        Ok(Self { kind, reference, digest, optional: Map::new() })
    }

    /// With a text in `optional`.
    #[must_use]
    pub fn with(mut self, key: &str, value: &str) -> Self {
        self.optional.insert(key.to_owned(), Value::from(value));
        self
    }

    /// With who made it and when, in seconds since 1970.
    #[must_use]
    pub fn made(mut self, creator: &str, at_s: u64) -> Self {
        self.optional.insert("timestamp".to_owned(), Value::from(at_s));
        self.with("creator", creator)
    }

    /// The kind.
    #[must_use]
    pub fn kind(&self) -> PayloadKind {
        self.kind
    }

    /// The image.
    #[must_use]
    pub fn reference(&self) -> &str {
        &self.reference
    }

    /// Its digest.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// What else it says: whoever signed says so, and nothing is decided by it.
    #[must_use]
    pub fn optional(&self) -> &Map<String, Value> {
        &self.optional
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        write(&json!({
            "critical": {
                "identity": { "docker-reference": self.reference },
                "image": { "docker-manifest-digest": self.digest },
                "type": self.kind.text(),
            },
            "optional": self.optional,
        }))
    }

    /// Reads one of this kind.
    ///
    /// # Errors
    /// It has another key than those that are known within `critical` or beside it, or one of
    /// them is missing or says something else than it may.
    pub fn read(bytes: &[u8], kind: PayloadKind) -> Result<Self, BadPayload> {
        if bytes.len() > PAYLOAD_BYTES {
            return Err(BadPayload::Size);
        }
        let value = read(bytes).map_err(|_| BadPayload::Shape("it doesn't read"))?;
        let mut whole = Fields::of(value).ok_or(BadPayload::Shape("it is no object"))?;
        let mut critical = part(&mut whole, "critical")?;
        let optional = match whole.take("optional") {
            Some(Value::Object(map)) => map,
            // cosign writes this where there is nothing to say.
            Some(Value::Null) if kind == PayloadKind::Cosign => Map::new(),
            _ => return Err(BadPayload::Shape("`optional` is no object")),
        };
        let creator = optional.get("creator");
        let time = optional.get("timestamp");
        if !creator.is_none_or(Value::is_string) || !time.is_none_or(is_whole) {
            return Err(BadPayload::Shape("`creator` or `timestamp` is of another kind"));
        }
        let mut identity = part(&mut critical, "identity")?;
        let mut image = part(&mut critical, "image")?;
        let said = critical.text("type").ok_or(BadPayload::Shape("`type` is no text"))?;
        if said != kind.text() {
            return Err(BadPayload::Kind);
        }
        let reference = identity.text("docker-reference").ok_or(BadPayload::Reference)?;
        let digest = image.text("docker-manifest-digest").ok_or(BadPayload::Digest)?;
        if [&whole, &critical, &identity, &image].iter().any(|part| part.left().is_some()) {
            return Err(BadPayload::Shape("it has a key that is not known"));
        }
        if reference.is_empty() || reference.len() > REFERENCE_BYTES {
            return Err(BadPayload::Reference);
        }
        if !is_digest(&digest) {
            return Err(BadPayload::Digest);
        }
        Ok(Self { kind, reference, digest, optional })
    }
}

/// An object that stands within another.
fn part(of: &mut Fields, key: &str) -> Result<Fields, BadPayload> {
    let part = of.take(key).and_then(Fields::of);
    part.ok_or(BadPayload::Shape("`critical`, or a part of it, is no object"))
}

fn is_whole(value: &Value) -> bool {
    let whole = |value: &f64| value.fract() == 0.0;
    value.is_i64() || value.is_u64() || value.as_f64().as_ref().is_some_and(whole)
}

/// Whether this can be written into a payload: a host, a slash, a repository and a tag.
fn is_reference(text: &str) -> bool {
    let sound = |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '\\' | '@');
    let parts = text.split_once('/').and_then(|(host, rest)| {
        let (repository, tag) = rest.rsplit_once(':')?;
        Some([host, repository, tag])
    });
    text.len() <= REFERENCE_BYTES
        && text.chars().all(sound)
        && parts.is_some_and(|[host, repository, tag]| {
            ![host, repository, tag].contains(&"") && !tag.contains('/')
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFERENCE: &str = "registry.example:5000/web/app:1.0";

    fn digest() -> String {
        format!("sha256:{}", "0a".repeat(32))
    }

    fn cosign() -> Payload {
        Payload::new(PayloadKind::Cosign, REFERENCE, &digest()).expect("a payload")
    }

    #[test]
    fn it_has_the_same_bytes_each_time() {
        let payload = cosign().with("z", "1").with("account", "ci");
        let digest = digest();
        let text = format!(
            "{{\"critical\":{{\"identity\":{{\"docker-reference\":\"{REFERENCE}\"}},\
             \"image\":{{\"docker-manifest-digest\":\"{digest}\"}},\
             \"type\":\"cosign container image signature\"}},\
             \"optional\":{{\"account\":\"ci\",\"z\":\"1\"}}}}"
        );
        assert_eq!(String::from_utf8(payload.bytes()), Ok(text));
        assert_eq!(cosign().with("account", "ci").with("z", "1").bytes(), payload.bytes());
        assert_eq!(Payload::read(&payload.bytes(), PayloadKind::Cosign), Ok(payload));
        let atomic = Payload::new(PayloadKind::OpenPgp, REFERENCE, &digest).expect("a payload");
        let atomic = atomic.made("skep", 1_800_000_000);
        assert_eq!(Payload::read(&atomic.bytes(), PayloadKind::OpenPgp), Ok(atomic));
    }

    #[test]
    fn what_is_none_is_not_made() {
        let new = |reference: &str, digest: &str| {
            Payload::new(PayloadKind::Cosign, reference, digest).map(|_| ())
        };
        for bad in ["", "app", "app:1", "host/app", "host:5000/app", "host/app:", "host/:1"] {
            assert_eq!(new(bad, &digest()), Err(BadPayload::Reference), "{bad}");
        }
        for bad in ["h/a:1\n", "h/a:1\"", "h/a b:1", "h/a:1@sha256:0", &"x/".repeat(600)] {
            assert_eq!(new(bad, &digest()), Err(BadPayload::Reference), "{bad}");
        }
        for bad in ["", "sha256:0", &format!("sha512:{}", "0".repeat(128))] {
            assert_eq!(new(REFERENCE, bad), Err(BadPayload::Digest), "{bad}");
        }
    }

    #[test]
    fn it_is_read_as_strictly_as_others_read_it() {
        let good = String::from_utf8(cosign().bytes()).expect("text");
        let read = |text: &str| Payload::read(text.as_bytes(), PayloadKind::Cosign).map(|_| ());
        assert_eq!(read(&good), Ok(()));
        assert_eq!(read(&good.replace("\"optional\":{}", "\"optional\":null")), Ok(()));
        let atomic = Payload::read(good.as_bytes(), PayloadKind::OpenPgp);
        assert_eq!(atomic, Err(BadPayload::Kind));
        for (from, to) in [
            ("\"optional\":{}", "\"more\":1,\"optional\":{}"),
            ("\"optional\":{}", "\"optional\":[]"),
            ("\"optional\":{}", "\"optional\":{\"timestamp\":1.5}"),
            ("\"optional\":{}", "\"optional\":{\"creator\":1}"),
            (",\"optional\":{}", ""),
            ("\"image\":", "\"Image\":"),
            ("\"type\":", "\"by\":\"me\",\"type\":"),
            ("\"type\":", "\"type\":\"x\",\"type\":"),
            ("\"docker-reference\":", "\"tag\":1,\"docker-reference\":"),
            ("{\"docker-reference\":", "[{\"docker-reference\":"),
        ] {
            let text = good.replacen(from, to, 1);
            assert_ne!(text, good, "{from}");
            assert!(read(&text).is_err(), "{text}");
        }
        let digest = good.replace("sha256:0a", "sha256:0A");
        assert_eq!(read(&digest), Err(BadPayload::Digest));
        let named = good.replace(REFERENCE, "");
        assert_eq!(read(&named), Err(BadPayload::Reference));
        assert_eq!(read(&" ".repeat(PAYLOAD_BYTES + 1)), Err(BadPayload::Size));
        for end in 0..good.len() {
            assert!(read(good.get(..end).unwrap_or_default()).is_err(), "cut at {end}");
        }
    }
}
