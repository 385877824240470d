//! What `user.SLUG` and `rights.SLUG` hold (docs/registry/formats.md): how an account proves
//! itself, and what bounds it. Neither says whose it is; that is the file's name.

use std::collections::BTreeMap;
use std::fmt;

use argon2::password_hash::{PasswordHash, SaltString};
use argon2::{Argon2, PasswordHasher as _, PasswordVerifier as _};
use data_encoding::HEXLOWER;
use ipnet::IpNet;
use serde::Deserialize;
use serde_json::json;
use std::net::IpAddr;
use subtle::ConstantTimeEq as _;

use super::file::{self, BadFile, VERSION};
use super::grant::GrantedScope;
use super::password::robot_verifier;

/// Seconds of the longest overlap.
const OVERLAP_S: u32 = 3_600;
/// KiB that one argon2id hash may take.
const ARGON2_KIB: u32 = 64 * 1024;
/// Passes over that memory, and lanes.
const ARGON2_PASSES: u32 = 4;
/// What a bcrypt hash may cost.
const BCRYPT_COST: std::ops::RangeInclusive<u32> = 4..=14;
/// What an account without any slow credential beside it is compared with: argon2id of 19 MiB
/// and two passes, as RFC 9106's second choice is often taken.
const DECOY: &str = "$argon2id$v=19$m=19456,t=2,p=1$c2tlcC1kZWNveS1zYWx0$kfIUVwUHc5QGVsdWNbPk22bCNH0G46QB25ZEcxhz/6k";
/// Entries of each list and keys of labels.
const ENTRIES: usize = 64;

/// Sixteen random bytes that name an account, or one of its credentials.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag([u8; 16]);

impl Tag {
    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// One of these bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Reads 32 hexadecimal digits, lower case.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let bytes = HEXLOWER.decode(text.as_bytes()).ok()?;
        bytes.try_into().ok().map(Self)
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a file of an account is not taken. It holds nothing of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadCredential {
    /// Its shape or its version.
    #[error(transparent)]
    File(#[from] BadFile),
    /// `id` or `gen`.
    #[error("`{0}` is not 32 lower-case hexadecimal digits")]
    Tag(&'static str),
    /// `kind`.
    #[error("`kind` is none of argon2id, bcrypt and sha256")]
    Kind,
    /// `hash`.
    #[error("`hash` is none of its kind, or out of bounds")]
    Hash,
    /// A number or a list.
    #[error("`{0}` is out of bounds, or doesn't read")]
    Field(&'static str),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UserFile {
    version: u32,
    id: String,
    #[serde(rename = "gen")]
    generation: String,
    kind: String,
    hash: String,
    #[serde(default)]
    overlap_s: u32,
}

/// How a password is compared. Its content is never shown.
#[derive(Clone, PartialEq, Eq)]
pub enum Verifier {
    /// A PHC text whose parameters are within bounds.
    Argon2id(String),
    /// A modular-crypt text whose cost is within bounds.
    Bcrypt(String),
    /// SHA-256 of 256 drawn bits: a robot's.
    Sha256(String),
}

impl Verifier {
    /// What stands in for an account that is none, where no other does.
    #[must_use]
    pub fn decoy() -> Self {
        Self::Argon2id(DECOY.to_owned())
    }

    /// What compares with this password of a person: argon2id as the decoy has it.
    ///
    /// # Errors
    /// [`BadCredential::Hash`] where it can't be hashed: none in practice.
    pub fn of_password(password: &[u8], salt: &[u8; 16]) -> Result<Self, BadCredential> {
        let salt = SaltString::encode_b64(salt).map_err(|_| BadCredential::Hash)?;
        let hash = Argon2::default().hash_password(password, &salt);
        let hash = hash.map_err(|_| BadCredential::Hash)?.to_string();
        Self::read("argon2id", hash)
    }

    /// Reads what stands behind `kind` and `hash`.
    ///
    /// # Errors
    /// [`BadCredential`].
    pub fn read(kind: &str, hash: String) -> Result<Self, BadCredential> {
        let (sound, made): (bool, fn(String) -> Self) = match kind {
            "argon2id" => (is_argon2id(&hash), Self::Argon2id),
            "bcrypt" => (is_bcrypt(&hash), Self::Bcrypt),
            "sha256" => (is_sha256(&hash), Self::Sha256),
            _ => return Err(BadCredential::Kind),
        };
        if sound { Ok(made(hash)) } else { Err(BadCredential::Hash) }
    }

    /// Whether it is a robot's, for which no slow hash is needed.
    #[must_use]
    pub fn is_robot(&self) -> bool {
        matches!(self, Self::Sha256(_))
    }

    /// Whether this is the password. It takes as long as the kind and its cost say.
    #[must_use]
    pub fn verify(&self, password: &[u8]) -> bool {
        match self {
            Self::Argon2id(hash) => PasswordHash::new(hash)
                .is_ok_and(|hash| Argon2::default().verify_password(password, &hash).is_ok()),
            Self::Bcrypt(hash) => bcrypt::non_truncating_verify(password, hash).unwrap_or(false),
            Self::Sha256(hash) => robot_verifier(password).as_bytes().ct_eq(hash.as_bytes()).into(),
        }
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Argon2id(_) => "argon2id",
            Self::Bcrypt(_) => "bcrypt",
            Self::Sha256(_) => "sha256",
        })
    }
}

fn is_argon2id(text: &str) -> bool {
    let Ok(hash) = PasswordHash::new(text) else { return false };
    let Ok(params) = argon2::Params::try_from(&hash) else { return false };
    let lanes = params.p_cost();
    let salt = hash.salt.is_some_and(|salt| salt.as_str().len() <= 64);
    hash.algorithm == argon2::ARGON2ID_IDENT
        && hash.version == Some(19)
        && (8 * lanes..=ARGON2_KIB).contains(&params.m_cost())
        && (1..=ARGON2_PASSES).contains(&params.t_cost())
        && (1..=ARGON2_PASSES).contains(&lanes)
        && salt
        && hash.hash.is_some_and(|out| (16..=64).contains(&out.len()))
}

fn is_bcrypt(text: &str) -> bool {
    let parts: Vec<&str> = text.split('$').collect();
    let [_, version, _, rest] = parts.as_slice() else { return false };
    let cost = text.parse::<bcrypt::HashParts>().map(|parts| parts.get_cost());
    text.len() == 60
        && ["2a", "2b", "2x", "2y"].contains(version)
        && rest.len() == 53
        && cost.is_ok_and(|cost| BCRYPT_COST.contains(&cost))
}

fn is_sha256(text: &str) -> bool {
    text.len() == 64 && HEXLOWER.decode(text.as_bytes()).is_ok()
}

/// One credential of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// The account's, from its creation to its end.
    pub id: Tag,
    /// This credential's.
    pub generation: Tag,
    /// How a password is compared.
    pub verifier: Verifier,
    /// Seconds for which the credential before this one is still taken.
    pub overlap_s: u32,
}

impl Credential {
    /// What tokens name it by: `id.gen`.
    #[must_use]
    pub fn token_id(&self) -> String {
        format!("{}.{}", self.id, self.generation)
    }

    /// Reads a `user.SLUG`.
    ///
    /// # Errors
    /// Where anything in it is not as documented.
    pub fn read(text: &str) -> Result<Self, BadCredential> {
        let file = file::read(text, |file: &UserFile| file.version)?;
        let id = Tag::read(&file.id).ok_or(BadCredential::Tag("id"))?;
        let generation = Tag::read(&file.generation).ok_or(BadCredential::Tag("gen"))?;
        let verifier = Verifier::read(&file.kind, file.hash)?;
        if file.overlap_s > OVERLAP_S {
            return Err(BadCredential::Field("overlap_s"));
        }
        Ok(Self { id, generation, verifier, overlap_s: file.overlap_s })
    }

    /// The text of a `user.SLUG`.
    #[must_use]
    pub fn text(&self) -> String {
        let (kind, hash) = match &self.verifier {
            Verifier::Argon2id(hash) => ("argon2id", hash),
            Verifier::Bcrypt(hash) => ("bcrypt", hash),
            Verifier::Sha256(hash) => ("sha256", hash),
        };
        let (id, generation) = (self.id.to_string(), self.generation.to_string());
        let overlap_s = self.overlap_s;
        let file = json!({
            "version": VERSION, "id": id, "gen": generation, "kind": kind, "hash": hash,
            "overlap_s": overlap_s,
        });
        format!("{file}\n")
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RightsFile {
    version: u32,
    labels: BTreeMap<String, Vec<String>>,
    scopes: Option<Vec<String>>,
    from: Option<Vec<String>>,
    not_after: Option<u64>,
}

/// What is to bound an account. An empty list is none.
#[derive(Clone, Debug, Default)]
pub struct RightsAsked {
    /// What rules ask for.
    pub labels: BTreeMap<String, Vec<String>>,
    /// Scopes.
    pub scopes: Vec<String>,
    /// Networks.
    pub from: Vec<String>,
    /// Seconds since 1970.
    pub not_after: Option<u64>,
}

/// What bounds an account, beside the rules.
#[derive(Clone, Debug, Default)]
pub struct Rights {
    /// What rules ask for.
    pub labels: BTreeMap<String, Vec<String>>,
    scopes: Option<Vec<GrantedScope>>,
    from: Option<Vec<IpNet>>,
    not_after: Option<u64>,
}

impl Rights {
    /// Reads a `rights.SLUG`.
    ///
    /// # Errors
    /// Where anything in it is not as documented.
    pub fn read(text: &str) -> Result<Self, BadCredential> {
        let file = file::read(text, |file: &RightsFile| file.version)?;
        let labels = file.labels;
        if labels.len() > ENTRIES || labels.values().any(|values| values.len() > ENTRIES) {
            return Err(BadCredential::Field("labels"));
        }
        let scopes = each(file.scopes, "scopes", |text| text.parse().ok())?;
        let from = each(file.from, "from", network)?;
        Ok(Self { labels, scopes, from, not_after: file.not_after })
    }

    /// The text of a `rights.SLUG` that says this.
    ///
    /// # Errors
    /// Where it would not be read.
    pub fn text(asked: &RightsAsked) -> Result<String, BadCredential> {
        let mut file = json!({ "version": VERSION, "labels": asked.labels });
        if let Some(keys) = file.as_object_mut() {
            let lists = [("scopes", &asked.scopes), ("from", &asked.from)];
            for (key, list) in lists.into_iter().filter(|(_, list)| !list.is_empty()) {
                keys.insert(key.to_owned(), json!(list));
            }
            if let Some(end) = asked.not_after {
                keys.insert("not_after".to_owned(), json!(end));
            }
        }
        let text = format!("{file}\n");
        Self::read(&text).map(|_| text)
    }

    /// Whether anything is allowed from this address at this second.
    #[must_use]
    pub fn holds(&self, address: IpAddr, now_s: u64) -> bool {
        self.is_from(Some(address)) && !self.has_ended(now_s)
    }

    /// Whether its end is past at this second.
    #[must_use]
    pub fn has_ended(&self, now_s: u64) -> bool {
        self.not_after.is_some_and(|end| now_s > end)
    }

    /// Whether anything is allowed from this address; one that isn't known is none of a network.
    #[must_use]
    pub fn is_from(&self, address: Option<IpAddr>) -> bool {
        let Some(nets) = &self.from else { return true };
        address.is_some_and(|address| nets.iter().any(|net| net.contains(&address)))
    }

    /// Whether this action on this resource is left after the cut.
    #[must_use]
    pub fn leaves(&self, kind: &str, name: &str, action: &str) -> bool {
        let allows = |scope: &GrantedScope| scope.allows(kind, name, action);
        self.scopes.as_ref().is_none_or(|scopes| scopes.iter().any(allows))
    }
}

/// A network, or one address; one of IPv4 within IPv6 is IPv4.
fn network(text: &str) -> Option<IpNet> {
    text.parse().or_else(|_| text.parse::<IpAddr>().map(|ip| IpNet::from(ip.to_canonical()))).ok()
}

fn each<T>(
    texts: Option<Vec<String>>,
    field: &'static str,
    read: impl Fn(&str) -> Option<T>,
) -> Result<Option<Vec<T>>, BadCredential> {
    let Some(texts) = texts else { return Ok(None) };
    if texts.len() > ENTRIES {
        return Err(BadCredential::Field(field));
    }
    let read: Option<Vec<T>> = texts.iter().map(|text| read(text)).collect();
    read.map(Some).ok_or(BadCredential::Field(field))
}

#[cfg(test)]
#[path = "credential_tests.rs"]
mod tests;
