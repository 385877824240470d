//! A set as it lies in a service's folder, looked at once by somebody who asks why: read as
//! the token server reads it, and decided as it decides.

use std::fmt;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::Path;

use skep_core::base::BootTime;

use super::folder::Unready;
use super::look::Loaded;
use super::replaced::Replaced;
use super::rights::{self, Examiner};
use super::set::{Set, load};
use crate::rules::Scope;
use crate::rules::slug::Account;

pub use super::rights::{Cut, Explained};

/// The link to the generation in place.
const DATA: &str = "..data";
/// Looks at a folder whose set is replaced meanwhile.
const LOOKS: usize = 8;

/// One generation, read whole.
pub struct ExaminedSet(Loaded<Set>);

impl fmt::Debug for ExaminedSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ExaminedSet")
    }
}

/// Who would ask, from where and when.
#[derive(Clone, Copy, Debug)]
pub struct Question<'q> {
    /// Nobody's, where it asks without a name.
    pub account: Option<&'q Account>,
    /// Where it isn't known, no rule with an address matches.
    pub address: Option<IpAddr>,
    /// The first that the server gives tokens for, where none is said.
    pub service: Option<&'q str>,
    /// Seconds since 1970.
    pub now_s: u64,
}

impl ExaminedSet {
    /// Reads what is in place in this folder.
    ///
    /// # Errors
    /// What the system says.
    pub fn read(folder: &Path) -> io::Result<Self> {
        let link = folder.join(DATA);
        let mut before = fs::read_link(&link)?;
        for _ in 0..LOOKS {
            let loaded = load(&folder.join(&before), None, &mut Replaced::default(), BootTime(0));
            let after = fs::read_link(&link)?;
            if after == before {
                return loaded.map(Self);
            }
            before = after;
        }
        Err(io::Error::other("its files are replaced all the time"))
    }

    /// How many rules there are, and accounts.
    ///
    /// # Errors
    /// Why nobody would get a token.
    pub fn counts(&self) -> Result<(usize, usize), Unready> {
        let set = self.0.set.as_ref().map_err(Clone::clone)?;
        Ok((set.acl.len(), set.accounts()))
    }

    /// Accounts' files that don't read, and why.
    pub fn refused(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.refused.iter().map(|(file, why)| (file.as_str(), why.as_str()))
    }

    /// What would be given for this scope, and why.
    ///
    /// # Errors
    /// Why nobody would get a token.
    pub fn explain(&self, asks: Question<'_>, scope: &Scope) -> Result<Explained, Unready> {
        let set = self.0.set.as_ref().map_err(Clone::clone)?;
        let Question { account, address, service, now_s } = asks;
        let first = set.settings.services.first().map(String::as_str).unwrap_or_default();
        let service = service.unwrap_or(first);
        Ok(rights::explain(set, Examiner { account, address, service, now_s }, scope))
    }
}
