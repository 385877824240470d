//! References of images, in the form that policies compare: `busybox` is
//! `docker.io/library/busybox`.

use std::fmt;

use crate::rules::hold::is_digest;
use crate::rules::scope::is_repository;

/// Bytes of a reference.
const REFERENCE_BYTES: usize = 1024;
/// Bytes of a name: host and repository.
const NAME_BYTES: usize = 255;
/// Bytes of a tag.
const TAG_BYTES: usize = 128;
/// The host that is meant where none is said.
const HOST: &str = "docker.io";

/// A reference: a name, and a tag or a digest of it, or both, or neither.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    name: String,
    tag: Option<String>,
    digest: Option<String>,
}

impl Reference {
    /// Reads a reference as people write it.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        if text.len() > REFERENCE_BYTES || text.contains("://") {
            return None;
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.to_owned()).filter(|text| is_digest(text))?),
            None => (text, String::new()),
        };
        let slash = rest.rfind('/').map_or(0, |at| at + 1);
        let (before, last) = rest.split_at(slash);
        let (last, tag) = match last.split_once(':') {
            Some((last, tag)) => (last, Some(tag.to_owned()).filter(|text| is_tag(text))?),
            None => (last, String::new()),
        };
        let name = named(&format!("{before}{last}"))?;
        let some = |text: String| (!text.is_empty()).then_some(text);
        Some(Self { name, tag: some(tag), digest: some(digest) })
    }

    /// Host and repository.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The tag.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest.
    #[must_use]
    pub fn digest(&self) -> Option<&str> {
        self.digest.as_deref()
    }

    /// Whether it names no single image.
    #[must_use]
    pub fn is_name_only(&self) -> bool {
        self.tag.is_none() && self.digest.is_none()
    }

    /// The scopes of a policy that it is in, the nearest first: itself, its repository, what
    /// that lies in, the host, and domains that the host is below.
    #[must_use]
    pub fn scopes(&self) -> Vec<String> {
        let mut scopes = vec![self.to_string()];
        let mut name = self.name.as_str();
        loop {
            scopes.push(name.to_owned());
            match name.rsplit_once('/') {
                Some((parent, _)) => name = parent,
                None => break,
            }
        }
        let mut host = name.split_once(':').map_or(name, |(host, _)| host);
        while let Some((_, parent)) = host.split_once('.') {
            scopes.push(format!("*.{parent}"));
            host = parent;
        }
        scopes
    }

    /// The same with another beginning of its name, where it has this one.
    #[must_use]
    pub fn remapped(&self, prefix: &str, to: &str) -> Option<Self> {
        let rest = match self.name.strip_prefix(prefix) {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => rest,
            _ => return Some(self.clone()),
        };
        let name = format!("{to}{rest}");
        // What would be another name once it is written out is none of these.
        (named(&name).as_deref() == Some(name.as_str())).then(|| Self {
            name,
            tag: self.tag.clone(),
            digest: self.digest.clone(),
        })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

/// Host and repository, written out.
fn named(text: &str) -> Option<String> {
    let (host, path) = match text.split_once('/') {
        Some((host, path)) if is_said(host) => (host, path.to_owned()),
        _ => (HOST, text.to_owned()),
    };
    let host = if host == "index.docker.io" { HOST } else { host };
    let path = if host == HOST && !path.contains('/') { format!("library/{path}") } else { path };
    let sound = is_host(host) && path.split('/').all(is_repository);
    let name = format!("{host}/{path}");
    (sound && name.len() <= NAME_BYTES).then_some(name)
}

/// Whether a first part is a host: a repository has no point, colon or capital there.
fn is_said(first: &str) -> bool {
    first.contains(['.', ':']) || first == "localhost" || first.contains(|c: char| c.is_uppercase())
}

/// Whether this is HOST or HOST:PORT.
pub(super) fn is_host(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    let digits = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let label = |label: &str| {
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        !label.is_empty()
            && label.bytes().all(inner)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let sound = match bracketed {
        Some(address) => {
            !address.is_empty() && address.bytes().all(|b| b.is_ascii_hexdigit() || b == b':')
        }
        None => host.split('.').all(label),
    };
    sound && port.is_none_or(digits)
}

fn is_tag(text: &str) -> bool {
    let sound = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    (1..=TAG_BYTES).contains(&text.len())
        && text.bytes().all(sound)
        && !text.starts_with(['.', '-'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_written_out() {
        let digest = format!("sha256:{}", "0".repeat(64));
        for (text, whole) in [
            ("busybox", "docker.io/library/busybox"),
            ("busybox:1", "docker.io/library/busybox:1"),
            ("team/app", "docker.io/team/app"),
            ("index.docker.io/busybox", "docker.io/library/busybox"),
            ("localhost/app:1", "localhost/app:1"),
            ("localhost:5000/app", "localhost:5000/app"),
            ("Host/app", "Host/app"),
            ("r.example:5000/a/b_c/d--e:V.1-x_", "r.example:5000/a/b_c/d--e:V.1-x_"),
            ("[::1]:5000/app", "[::1]:5000/app"),
            (&format!("r.example/app@{digest}"), &format!("r.example/app@{digest}")),
            (&format!("r.example/app:1@{digest}"), &format!("r.example/app:1@{digest}")),
        ] {
            let read = Reference::read(text).expect(text);
            assert_eq!(read.to_string(), whole, "{text}");
            assert_eq!(Reference::read(whole), Some(read), "{text}");
        }
        for bad in [
            "",
            ":",
            "/",
            "a//b",
            "A",
            "r.example/",
            "r.example/A",
            "r.example/a:",
            "r.example/a:.x",
            "r.example/a@sha256:0",
            "r.example/a b",
            "-r.example/a",
            "r.example:x/a",
            "[::1/a",
            "https://r.example/a",
            "r.example/a:b:c",
            "r.example/../a",
            &"a/".repeat(200),
        ] {
            assert_eq!(Reference::read(bad), None, "{bad}");
        }
    }

    #[test]
    fn scopes_go_from_the_nearest_to_the_widest() {
        let reference = Reference::read("r.sub.example:5000/team/app:1").expect("a reference");
        let scopes = [
            "r.sub.example:5000/team/app:1",
            "r.sub.example:5000/team/app",
            "r.sub.example:5000/team",
            "r.sub.example:5000",
            "*.sub.example",
            "*.example",
        ];
        assert_eq!(reference.scopes(), scopes);
    }

    #[test]
    fn a_name_is_remapped_at_its_slashes() {
        let reference = Reference::read("mirror:5000/vendor/app:1").expect("a reference");
        let to = |prefix, to| reference.remapped(prefix, to).map(|other| other.to_string());
        let same = Some("mirror:5000/vendor/app:1".to_owned());
        assert_eq!(to("mirror:5000/vendor", "v.example"), Some("v.example/app:1".to_owned()));
        assert_eq!(to("mirror:5000", "v.example"), Some("v.example/vendor/app:1".to_owned()));
        assert_eq!(to("mirror:5000/vendor/app", "v.example/x"), Some("v.example/x:1".to_owned()));
        assert_eq!(to("mirror:5000/vend", "v.example"), same);
        assert_eq!(to("mirror", "v.example"), same);
        assert_eq!(to("mirror:5000", "vendor"), None, "it would be docker.io's");
    }
}
