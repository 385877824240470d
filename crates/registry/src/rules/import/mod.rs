//! What comes over from `docker_auth`: users, labels and rules of its configuration. What
//! can't come over is named, all of it, each with its line; then nothing comes over.

mod convert;
mod found;
mod rules;
#[cfg(test)]
mod tests;
mod yaml;

use std::fmt;

use super::acl::AccountLabels;
use super::slug::Account;

pub use yaml::CONFIG_BYTES;

/// A user: a name, bcrypt's hash of the password, labels.
#[derive(Debug)]
pub struct ImportedUser {
    /// The name.
    pub account: Account,
    /// As `htpasswd -B` writes it.
    pub hash: String,
    /// What rules ask for.
    pub labels: AccountLabels,
}

/// All that comes over.
#[derive(Debug)]
pub struct Imported {
    /// The rules, as `acl.toml`.
    pub acl: String,
    /// How many there are.
    pub rules: usize,
    /// The users, in the order of the file.
    pub users: Vec<ImportedUser>,
    /// Somebody without a name may ask too.
    pub anonymous: bool,
    /// Who signs tokens, if the file says so.
    pub issuer: Option<String>,
    /// What has a counterpart that is made anew: names and lines.
    pub anew: Vec<String>,
}

/// Something that can't come over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cannot {
    /// From 1 on.
    pub line: u64,
    /// Where: `acl, rule 2, match`.
    pub place: String,
    /// Why not.
    pub why: String,
}

/// `line 7: acl, rule 2: …`
impl fmt::Display for Cannot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}: {}", self.line, self.place, self.why)
    }
}

/// Reads `docker_auth.yml`.
///
/// # Errors
///
/// What can't come over.
pub fn docker_auth(text: &str) -> Result<Imported, Vec<Cannot>> {
    let document = yaml::read(text).map_err(|bad| vec![bad])?;
    convert::convert(text, &document)
}
