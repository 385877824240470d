//! `sign.toml` (docs/registry/formats.md): which keys sign what, and where.

use std::collections::BTreeSet;

use ipnet::IpNet;
use serde::Deserialize;

use super::grant::GrantedScope;
use super::login::Host;
use super::settings::{BadSettings, OnFullDisk, from_toml, networks};

/// Bindings of keys, patterns of one, and annotations that may be asked for.
const BINDINGS: usize = 64;
const PATTERNS: usize = 64;
const ANNOTATIONS: usize = 64;
/// Bytes of a text.
const TEXT: usize = 255;
/// What names every key.
const EVERY: &str = "*";

/// A signer's settings.
#[derive(Clone, Debug)]
pub struct SignSettings {
    /// The registry, as references name it.
    pub registry: Host,
    /// Where it is asked: an address without a path; none where it is `https://` and its name.
    pub api: Option<String>,
    /// The token server's address.
    pub realm: String,
    /// Who tokens are from.
    pub issuer: String,
    /// What tokens are for.
    pub service: String,
    /// What may be said beside a signature.
    pub annotations: BTreeSet<String>,
    /// Whose X-Forwarded-For is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// What becomes of signatures that can't be recorded.
    pub record: OnFullDisk,
    bindings: Vec<Binding>,
}

#[derive(Clone, Debug)]
struct Binding {
    key: String,
    scopes: Vec<GrantedScope>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Shape {
    version: u32,
    registry: String,
    api: Option<String>,
    realm: String,
    issuer: String,
    service: String,
    #[serde(default)]
    annotations: BTreeSet<String>,
    #[serde(default, deserialize_with = "networks")]
    trusted_proxies: Vec<IpNet>,
    #[serde(default)]
    record: OnFullDisk,
    #[serde(default, rename = "key")]
    keys: Vec<BindingShape>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BindingShape {
    name: String,
    repositories: Vec<String>,
}

impl SignSettings {
    /// Reads the file.
    ///
    /// # Errors
    /// Where anything in it is not as documented.
    pub fn read(text: &str) -> Result<Self, BadSettings> {
        let shape: Shape = from_toml(text)?;
        if shape.version != 1 {
            return Err(BadSettings::Version);
        }
        // They are written into a header between quotes, and into payloads.
        let fits = |c: char| c.is_ascii_graphic() && c != '"' && c != '\\';
        let text = |text: &str| (1..=TEXT).contains(&text.len()) && text.chars().all(fits);
        for (field, sound) in [
            ("api", shape.api.as_deref().is_none_or(text)),
            ("realm", text(&shape.realm)),
            ("issuer", text(&shape.issuer)),
            ("service", text(&shape.service)),
            (
                "annotations",
                shape.annotations.len() <= ANNOTATIONS && shape.annotations.iter().all(|a| text(a)),
            ),
            ("key", shape.keys.len() <= BINDINGS),
        ] {
            if !sound {
                return Err(BadSettings::Field(field));
            }
        }
        let bindings = shape.keys.into_iter().map(binding);
        Ok(Self {
            registry: shape.registry.parse().map_err(|_| BadSettings::Field("registry"))?,
            api: shape.api,
            realm: shape.realm,
            issuer: shape.issuer,
            service: shape.service,
            annotations: shape.annotations,
            trusted_proxies: shape.trusted_proxies,
            record: shape.record,
            bindings: bindings.collect::<Option<_>>().ok_or(BadSettings::Field("repositories"))?,
        })
    }

    /// Whether the key of this name signs images of that repository.
    #[must_use]
    pub fn binds(&self, key: &str, repository: &str) -> bool {
        let bound = |binding: &&Binding| binding.key == EVERY || binding.key == key;
        let fits = |scope: &GrantedScope| scope.allows("repository", repository, "sign");
        self.bindings.iter().filter(bound).any(|binding| binding.scopes.iter().any(fits))
    }
}

/// Repositories are read as scopes of robots are.
fn binding(shape: BindingShape) -> Option<Binding> {
    let BindingShape { name, repositories } = shape;
    let sound = (1..=PATTERNS).contains(&repositories.len()) && (1..=TEXT).contains(&name.len());
    let scope = |text: &String| format!("repository:{text}:sign").parse().ok();
    let scopes: Option<Vec<GrantedScope>> = repositories.iter().map(scope).collect();
    scopes.filter(|_| sound).map(|scopes| Binding { key: name, scopes })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: &str = "version = 1\nregistry = \"r.example:5000\"\n\
        realm = \"https://a/auth\"\nissuer = \"i\"\nservice = \"web.sign\"\n";

    #[test]
    fn keys_are_bound_to_repositories() {
        let least = SignSettings::read(LEAST).unwrap();
        assert!(!least.binds("cosign", "a"), "a key that is bound to nothing signs nothing");
        let text = format!(
            "{LEAST}annotations = [\"commit\"]\n[[key]]\nname = \"release\"\n\
             repositories = [\"web/**\", \"app\"]\n[[key]]\nname = \"*\"\nrepositories = [\"all\"]\n"
        );
        let bound = SignSettings::read(&text).unwrap();
        for (key, repository, wanted) in [
            ("release", "web/a/b", true),
            ("release", "app", true),
            ("release", "web", false),
            ("other", "web/a", false),
            ("other", "all", true),
            ("release", "all", true),
        ] {
            assert_eq!(bound.binds(key, repository), wanted, "{key} {repository}");
        }
    }

    #[test]
    fn what_is_not_as_documented_is_refused() {
        for (from, to, said) in [
            ("version = 1", "version = 2", "has another version than 1"),
            ("r.example:5000", "r example", "`registry` is out of bounds"),
            ("https://a/auth", "a\\\"b", "`realm` is out of bounds"),
            ("\"web.sign\"", "\"\"", "`service` is out of bounds"),
            ("issuer", "issued", "line 4: unknown field `issued`"),
        ] {
            let bad = SignSettings::read(&LEAST.replace(from, to)).unwrap_err().to_string();
            assert!(bad.starts_with(said), "{to}: {bad}");
        }
        let none = format!("{LEAST}[[key]]\nname = \"a\"\nrepositories = []\n");
        let bad = SignSettings::read(&none).unwrap_err();
        assert_eq!(bad, BadSettings::Field("repositories"));
    }
}
