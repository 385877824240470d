//! One generation of the service's files, read whole (docs/registry/formats.md).

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;
use skep_core::base::BootTime;

use super::folder::{Buffer, FILE_BYTES, Folder, KEY_BYTES, Unready, text, tls_pair};
use super::look::{Loaded, Reads};
use super::replaced::Replaced;
use crate::proto::refresh::RefreshKey;
use crate::proto::token::Signer;
use crate::rules::acl::Acl;
use crate::rules::credential::{BadCredential, Credential, Rights};
use crate::rules::hold::Hold;
use crate::rules::settings::Settings;
use crate::rules::slug::Account;

const SETTINGS: &str = "auth.toml";
const RULES: &str = "acl.toml";
const SIGNER_KEY: &str = "signer.key";
const SIGNER_CHAIN: &str = "signer.crt";
const REFRESH: &str = "refresh.key";
const REFRESH_OLD: &str = "refresh.old";
const HOLDS: &str = "holds.json";
/// What the files of single holds begin with.
const HOLD: &str = "hold.";
/// What the files of accounts begin with.
const USER: &str = "user.";
const RIGHTS: &str = "rights.";

const SETTINGS_BYTES: usize = 64 * 1024;
const CHAIN_BYTES: usize = 32 * 1024;
const REFRESH_BYTES: usize = 80;
const USER_BYTES: usize = 4 * 1024;
const RIGHTS_BYTES: usize = 16 * 1024;
const HOLD_BYTES: usize = 4 * 1024;
/// Why a credential is none.
const OLDER: &str = "another one took its place, and it came back";
/// Accounts of one server.
const ACCOUNTS: usize = 4_096;
/// Files of a set that are looked at.
const FILES: usize = 16_384;
/// Held digests.
const HELD: usize = 4_000;

/// What one file of an account holds. What doesn't read is absent, and why.
#[derive(Debug)]
struct Part<T> {
    hash: Option<[u8; 32]>,
    read: Option<Arc<T>>,
    bad: Option<String>,
}

// By hand: no value has to be copied for it.
impl<T> Clone for Part<T> {
    fn clone(&self) -> Self {
        Self { hash: self.hash, read: self.read.clone(), bad: self.bad.clone() }
    }
}

impl<T> Default for Part<T> {
    fn default() -> Self {
        Self { hash: None, read: None, bad: None }
    }
}

/// What one account's files hold.
#[derive(Debug)]
pub(super) struct Held {
    user: Part<Credential>,
    rights: Part<Rights>,
    /// What the credential took the place of, and until when that is taken too.
    before: Option<(Arc<Credential>, BootTime)>,
}

impl Held {
    /// The credential, if it reads.
    pub(super) fn credential(&self) -> Option<&Arc<Credential>> {
        self.user.read.as_ref()
    }

    /// The rights, if they read.
    pub(super) fn rights(&self) -> Option<&Rights> {
        self.rights.read.as_deref()
    }

    /// The credential that is taken too at this time.
    pub(super) fn before(&self, now: BootTime) -> Option<&Arc<Credential>> {
        self.before.as_ref().filter(|(_, until)| now < *until).map(|(credential, _)| credential)
    }
}

/// A set that decides.
#[derive(Debug)]
pub(super) struct Set {
    pub(super) settings: Settings,
    pub(super) acl: Acl,
    pub(super) signer: Signer,
    /// That of `refresh.key`, then that of `refresh.old`.
    pub(super) refresh: Vec<RefreshKey>,
    /// Repositories with a held digest.
    pub(super) held: HashSet<String>,
    accounts: HashMap<String, Held>,
    /// The credentials with a slow hash: one of them stands in for an account that is none.
    pub(super) slow: Vec<Arc<Credential>>,
}

impl Set {
    /// How many accounts there are.
    pub(super) fn accounts(&self) -> usize {
        self.accounts.len()
    }

    /// What is held of an account.
    pub(super) fn account(&self, account: &Account) -> Option<&Held> {
        self.accounts.get(&account.slug())
    }
}

/// Reads generations of a token server, and remembers which credentials were replaced.
#[derive(Default)]
pub(super) struct TokenFiles(Replaced);

impl Reads for TokenFiles {
    type Set = Set;

    fn read(
        &mut self,
        folder: &Path,
        before: Option<&Set>,
        now: BootTime,
    ) -> io::Result<Loaded<Set>> {
        load(folder, before, &mut self.0, now)
    }

    fn stale_limit_s(set: &Set) -> Option<u64> {
        set.settings.fresh.then_some(set.settings.stale_limit_s)
    }
}

/// Reads the generation in `folder`. `before` is the one it took the place of, `replaced` knows
/// the credentials of all before that.
///
/// # Errors
/// What the system says: then nothing is known. Damage is no error of this kind.
pub(super) fn load(
    folder: &Path,
    before: Option<&Set>,
    replaced: &mut Replaced,
    now: BootTime,
) -> io::Result<Loaded<Set>> {
    let folder = Folder::of(folder)?;
    let names = folder.names(FILES)?;
    let (tls, bad_tls) = match tls_pair(&folder)? {
        Ok(pair) => (pair, None),
        Err(bad) => (None, Some(bad)),
    };
    let mut refused = Vec::new();
    let accounts = accounts((&folder, &names), before, replaced, now, &mut refused)?;
    let set = settle((&folder, &names), accounts)?;
    let set = match bad_tls {
        Some(bad) => Err(bad),
        None => set,
    };
    Ok(Loaded { generation: String::new(), set, tls, refused })
}

/// Everything but the accounts, which are given.
fn settle(
    (folder, names): (&Folder<'_>, &[String]),
    accounts: Accounts,
) -> io::Result<Result<Set, Unready>> {
    let settings = folder.needed(SETTINGS, SETTINGS_BYTES)?;
    let rules = folder.needed(RULES, FILE_BYTES)?;
    let (key, chain) =
        (folder.needed(SIGNER_KEY, KEY_BYTES)?, folder.needed(SIGNER_CHAIN, CHAIN_BYTES)?);
    let refresh = folder.needed(REFRESH, REFRESH_BYTES)?;
    let old = folder.read(REFRESH_OLD, REFRESH_BYTES)?.transpose();
    let holds = folder.read(HOLDS, FILE_BYTES)?.transpose();
    let single = single_holds(folder, names)?;
    Ok((|| {
        let settings = settings?;
        let settings = Settings::read(text(SETTINGS, &settings)?)
            .map_err(|bad| Unready::damaged(SETTINGS, bad))?;
        let rules = rules?;
        let acl = Acl::parse(text(RULES, &rules)?).map_err(|bad| Unready::damaged(RULES, bad))?;
        let signer = Signer::read(&key?, &chain?)
            .map_err(|bad| Unready::new(bad.to_string(), "key and chain of the signer"))?;
        let read = |name: &str, bytes: &[u8]| {
            RefreshKey::read(bytes)
                .ok_or_else(|| Unready::damaged(name, "not 64 hexadecimal digits"))
        };
        let mut keys = Vec::new();
        if settings.refresh {
            keys.push(read(REFRESH, &refresh?)?);
            if let Some(old) = old? {
                keys.push(read(REFRESH_OLD, &old)?);
            }
        }
        let mut held = match holds? {
            Some(bytes) => held(&bytes)?,
            None => HashSet::new(),
        };
        held.extend(single?);
        let Accounts { by_slug, slow } = accounts;
        if by_slug.len() > ACCOUNTS {
            return Err(Unready::new("there are more than 4096 accounts", by_slug.len()));
        }
        Ok(Set { settings, acl, signer, refresh: keys, held, accounts: by_slug, slow })
    })())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HoldsFile {
    version: u32,
    holds: Vec<HoldEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HoldEntry {
    repository: String,
    #[serde(rename = "digest")]
    _digest: String,
    #[serde(rename = "why")]
    _why: String,
    #[serde(rename = "since")]
    _since: u64,
    #[serde(rename = "by")]
    _by: String,
}

fn held(bytes: &[u8]) -> Result<HashSet<String>, Unready> {
    let file: HoldsFile = serde_json::from_slice(bytes).map_err(|error| {
        Unready::damaged(HOLDS, format!("line {}, column {}", error.line(), error.column()))
    })?;
    if file.version != 1 || file.holds.len() > HELD {
        return Err(Unready::damaged(HOLDS, "another version, or more than 4000 holds"));
    }
    Ok(file.holds.into_iter().map(|hold| hold.repository).collect())
}

/// Repositories with a digest that has a file of its own. One that doesn't read could hold
/// anything, so nobody gets a token.
fn single_holds(folder: &Folder<'_>, names: &[String]) -> io::Result<Result<Vec<String>, Unready>> {
    let mut held = Vec::new();
    for name in names {
        let Some(slug) = name.strip_prefix(HOLD) else { continue };
        if held.len() == HELD {
            return Ok(Err(Unready::damaged(name, "more than 4000 holds")));
        }
        let read = folder.needed(name, HOLD_BYTES)?.and_then(|bytes| {
            let read = Hold::read(slug, text(name, &bytes)?);
            read.map_err(|bad| Unready::damaged(name, bad))
        });
        match read {
            Ok(hold) => held.push(hold.repository().to_owned()),
            Err(bad) => return Ok(Err(bad)),
        }
    }
    Ok(Ok(held))
}

struct Accounts {
    by_slug: HashMap<String, Held>,
    slow: Vec<Arc<Credential>>,
}

fn accounts(
    (folder, names): (&Folder<'_>, &[String]),
    before: Option<&Set>,
    replaced: &mut Replaced,
    now: BootTime,
    refused: &mut Vec<(String, String)>,
) -> io::Result<Accounts> {
    let mut by_slug: HashMap<String, Held> = HashMap::new();
    let mut slugs: Vec<&str> = names.iter().filter_map(|name| name.strip_prefix(USER)).collect();
    slugs.sort_unstable();
    let (mut users, mut all_rights) = (Buffer::of(USER_BYTES), Buffer::of(RIGHTS_BYTES));
    let mut slow = Vec::new();
    replaced.begin();
    // One more than there may be: the set is refused then, and nothing more is read.
    for slug in slugs.into_iter().take(ACCOUNTS + 1) {
        let old = before.and_then(|set| set.accounts.get(slug));
        let (old_user, old_rights) = (old.map(|old| &old.user), old.map(|old| &old.rights));
        let user = folder.read_into(&format!("{USER}{slug}"), &mut users)?;
        let mut user = part(user, old_user, Credential::read);
        let rights = folder.read_into(&format!("{RIGHTS}{slug}"), &mut all_rights)?;
        let rights = part(rights, old_rights, Rights::read);
        if user.read.as_ref().is_some_and(|own| replaced.is_older(slug, own)) {
            user = Part { read: None, bad: Some(OLDER.to_owned()), ..user };
        }
        for (kind, bad) in [(USER, &user.bad), (RIGHTS, &rights.bad)] {
            refused.extend(bad.iter().map(|why| (format!("{kind}{slug}"), why.clone())));
        }
        let credential = user.read.as_ref();
        let before = credential.and_then(|own| overlap(own, old?, now));
        slow.extend(credential.filter(|own| !own.verifier.is_robot()).cloned());
        by_slug.insert(slug.to_owned(), Held { user, rights, before });
    }
    Ok(Accounts { by_slug, slow })
}

/// One of an account's files. What has the same bytes as before is not parsed again: with
/// thousands of accounts that is most of what a flip costs.
fn part<T>(
    file: Option<Result<&[u8], Unready>>,
    old: Option<&Part<T>>,
    parse: impl Fn(&str) -> Result<T, BadCredential>,
) -> Part<T> {
    let bytes = match file {
        None => return Part::default(),
        Some(Err(bad)) => return Part { bad: Some(bad.why), ..Part::default() },
        Some(Ok(bytes)) => bytes,
    };
    let hash = *blake3::hash(bytes).as_bytes();
    if let Some(old) = old
        && old.hash == Some(hash)
    {
        return old.clone();
    }
    let text = std::str::from_utf8(bytes).map_err(|_| "not UTF-8".to_owned());
    let read = text.and_then(|text| parse(text).map_err(|bad| bad.to_string()));
    match read {
        Ok(read) => Part { hash: Some(hash), read: Some(Arc::new(read)), bad: None },
        Err(why) => Part { hash: Some(hash), read: None, bad: Some(why) },
    }
}

/// What a credential took the place of, if that is taken for a while yet: the one before it of
/// the same account, and no older one.
fn overlap(own: &Credential, old: &Held, now: BootTime) -> Option<(Arc<Credential>, BootTime)> {
    let last = old.user.read.as_ref().filter(|last| last.id == own.id)?;
    if last.generation == own.generation {
        return old.before.clone().filter(|(_, until)| own.overlap_s > 0 && now < *until);
    }
    let until = BootTime(now.0.saturating_add(u64::from(own.overlap_s) * 1_000));
    (own.overlap_s > 0).then(|| (Arc::clone(last), until))
}
