//! `auth.toml` (docs/registry/formats.md).

use ipnet::IpNet;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};

/// Services of one server, and proxies that it trusts.
const SERVICES: usize = 16;
const PROXIES: usize = 64;
/// Seconds of an access token's life.
const TOKEN_S: std::ops::RangeInclusive<u64> = 60..=900;
/// Seconds after which a set that nobody confirmed is stale.
pub const STALE_S: std::ops::RangeInclusive<u64> = 5..=86_400;

/// What becomes of decisions that can't be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnFullDisk {
    /// Nobody gets a token.
    #[default]
    Halt,
    /// They are counted.
    GoOn,
}

/// The server's settings.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    version: u32,
    /// `iss` of tokens.
    pub issuer: String,
    /// What tokens may be asked for.
    pub services: Vec<String>,
    /// Seconds of an access token's life.
    #[serde(default = "five_minutes")]
    pub token_s: u64,
    /// Whose X-Forwarded-For is believed.
    #[serde(default, deserialize_with = "networks")]
    pub trusted_proxies: Vec<IpNet>,
    /// Whether the rules are asked for those without a name.
    #[serde(default)]
    pub anonymous: bool,
    /// Whether there are refresh tokens.
    #[serde(default = "yes")]
    pub refresh: bool,
    /// Whether people may change their own passwords.
    #[serde(default)]
    pub passwords: bool,
    /// Whether the set must have been confirmed.
    #[serde(default)]
    pub fresh: bool,
    /// How long a confirmation is good.
    #[serde(default = "ten_minutes")]
    pub stale_limit_s: u64,
    /// What becomes of decisions that can't be written.
    #[serde(default)]
    pub record: OnFullDisk,
}

pub(super) fn networks<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<IpNet>, D::Error> {
    let texts = Vec::<String>::deserialize(from)?;
    let read = |text: &String| text.parse().map_err(|_| D::Error::custom("no network"));
    texts.iter().map(read).collect()
}

const fn five_minutes() -> u64 {
    300
}

const fn ten_minutes() -> u64 {
    600
}

const fn yes() -> bool {
    true
}

/// Why settings are not taken, with the line where there is one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSettings {
    /// No TOML, or another key.
    #[error("line {0}: {1}")]
    Shape(usize, String),
    /// Another version.
    #[error("has another version than 1")]
    Version,
    /// A value out of bounds.
    #[error("`{0}` is out of bounds")]
    Field(&'static str),
}

/// Reads TOML; what is wrong has its line.
pub(super) fn from_toml<T: DeserializeOwned>(text: &str) -> Result<T, BadSettings> {
    toml::from_str(text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start);
        let before = text.as_bytes().get(..start).unwrap_or_default();
        let line = before.split(|byte| *byte == b'\n').count();
        let first = error.message().lines().next().unwrap_or_default();
        BadSettings::Shape(line, first.chars().filter(|c| !c.is_control()).take(200).collect())
    })
}

impl Settings {
    /// Reads the file.
    ///
    /// # Errors
    /// Where anything in it is not as documented.
    pub fn read(text: &str) -> Result<Self, BadSettings> {
        let settings: Self = from_toml(text)?;
        let text =
            |text: &String| (1..=255).contains(&text.len()) && !text.contains(char::is_control);
        let services = &settings.services;
        for (field, sound) in [
            ("issuer", text(&settings.issuer)),
            ("services", (1..=SERVICES).contains(&services.len()) && services.iter().all(text)),
            ("token_s", TOKEN_S.contains(&settings.token_s)),
            ("trusted_proxies", settings.trusted_proxies.len() <= PROXIES),
            ("stale_limit_s", STALE_S.contains(&settings.stale_limit_s)),
        ] {
            if !sound {
                return Err(BadSettings::Field(field));
            }
        }
        if settings.version == 1 { Ok(settings) } else { Err(BadSettings::Version) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: &str = "version = 1\nissuer = \"i\"\nservices = [\"r\"]\n";

    #[test]
    fn settings_are_read() {
        let least = Settings::read(LEAST).unwrap();
        assert_eq!((least.token_s, least.stale_limit_s, least.fresh), (300, 600, false));
        assert_eq!((least.record, least.anonymous, least.refresh), (OnFullDisk::Halt, false, true));
        let more = format!("{LEAST}trusted_proxies = [\"10.0.0.0/8\"]\nrecord = \"go-on\"\n");
        assert_eq!(Settings::read(&more).unwrap().record, OnFullDisk::GoOn);
    }

    #[test]
    fn what_is_not_as_documented_is_refused_with_its_line() {
        for (text, wanted) in [
            ("", "line 1: missing field `version`"),
            ("version = 2\nissuer = \"i\"\nservices = [\"r\"]", "has another version than 1"),
            (&format!("{LEAST}tokens = 3\n"), "line 4: unknown field `tokens`"),
            (&format!("{LEAST}token_s = 59\n"), "`token_s` is out of bounds"),
            (&format!("{LEAST}token_s = 901\n"), "`token_s` is out of bounds"),
            (&format!("{LEAST}stale_limit_s = 4\n"), "`stale_limit_s` is out of bounds"),
            (&format!("{LEAST}\ntrusted_proxies = [\"10.0.0.0/33\"]\n"), "line 5: "),
            (&format!("{LEAST}record = \"maybe\"\n"), "line 4: unknown variant `maybe`"),
            ("version = 1\nissuer = \"\"\nservices = [\"r\"]", "`issuer` is out of bounds"),
            ("version = 1\nissuer = \"i\"\nservices = []", "`services` is out of bounds"),
        ] {
            let bad = Settings::read(text).unwrap_err().to_string();
            assert!(bad.starts_with(wanted) && !bad.contains('\n'), "{text}: {bad}");
        }
    }
}
