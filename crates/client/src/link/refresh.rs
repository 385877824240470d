//! An identity file follows the managers: what they say of where they are is written into it.
//!
//! It is a convenience, and the file is somebody's only key: where anything about it is not
//! plain, nothing is done. A file that is replaced is whole at every moment, keeps its owner
//! and mode, and one process at a time does it.

use std::fs::{File, Metadata, OpenOptions, Permissions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Managers;
use super::renewal::Next;
use crate::ca::{
    ADDRESSES, Identity, IdentityText, PrivateKey, is_address, issuer_begins, read_leaf,
};
use crate::machine::{OsDice, read_all};
use skep_core::base::SecretBytes;
use skep_core::seal::PassphraseLock;

/// Bytes of an identity file: a few certificates.
pub(super) const IDENTITY_BYTES: usize = 256 * 1024;
/// What a name of an extended attribute begins with that a new file gets by itself.
const BY_ITSELF: &str = "security.";
/// Bytes of names of extended attributes.
const ATTRIBUTES: usize = 4096;

/// What an identity's addresses become where managers are at `managers`: these first, then
/// what else was known, for one may be reached where it doesn't know of. `None`: they are
/// known.
fn merged(known: &[String], managers: &[String]) -> Option<Vec<String>> {
    let managers = || managers.iter().filter(|address| is_address(address));
    if managers().all(|address| known.contains(address)) {
        return None;
    }
    let mut all: Vec<String> = Vec::new();
    for address in managers().chain(known) {
        if all.len() < ADDRESSES && !all.contains(address) {
            all.push(address.clone());
        }
    }
    Some(all)
}

/// Whether an identity says all that was heard.
pub(super) fn says_all(identity: &Identity, heard: &Managers) -> bool {
    merged(&identity.addresses, &heard.addresses()).is_none()
        && heard.oldest_issuer() <= identity.oldest_issuer
        && heard.0.lock().renewed.as_ref().is_none_or(|next| !follows(next, &identity.chain))
}

/// Has an identity say all that was heard.
fn tell(identity: &mut Identity, heard: &Managers) -> io::Result<()> {
    if let Some(addresses) = merged(&identity.addresses, &heard.addresses()) {
        identity.addresses = addresses;
    }
    identity.oldest_issuer = identity.oldest_issuer.max(heard.oldest_issuer());
    let heard = heard.0.lock();
    if let Some(next) = heard.renewed.as_ref().filter(|next| follows(next, &identity.chain)) {
        identity.chain.clone_from(&next.chain);
        if let Some((_, key)) = &next.key {
            let key = PrivateKey::from_pkcs8(SecretBytes::copy_of(key.expose()));
            let key = key.map_err(io::Error::other)?;
            identity.take_key(&mut OsDice, key).map_err(io::Error::other)?;
        }
    }
    Ok(())
}

/// Whether that is for the same member, for another key of whoever has the key before or for
/// the same one, and then newer: a copy of the file may have been renewed meanwhile.
fn follows(next: &Next, before: &[Vec<u8>]) -> bool {
    let read = |chain: &[Vec<u8>]| {
        let [leaf, issuing, _] = chain else { return None };
        Some((read_leaf(leaf).ok()?, issuer_begins(issuing).ok()?))
    };
    let (Some((new, issuer)), Some((old, old_issuer))) = (read(&next.chain), read(before)) else {
        return false;
    };
    let same = new.subject == old.subject;
    match &next.key {
        Some((of, _)) => same && *of == old.key,
        None => same && new.key == old.key && (issuer, new.ends) > (old_issuer, old.ends),
    }
}

/// Whether a file is plainly its owner's to write, and ours, as [`refresh`] wants it: what
/// turns out to be otherwise stays as it is.
pub(super) fn is_replaceable(path: &Path) -> bool {
    let replaceable = || -> io::Result<bool> {
        let path = path.canonicalize()?;
        let found = std::fs::symlink_metadata(&path)?;
        if !is_plain(&found) {
            return Ok(false);
        }
        let file = OpenOptions::new().read(true).write(true).open(&path)?;
        let folder = path.parent().unwrap_or(Path::new("/"));
        rustix::fs::access(folder, rustix::fs::Access::WRITE_OK)?;
        Ok(!has_attributes(&file)?)
    };
    replaceable().unwrap_or(false)
}

/// What its owner may not write is not to be changed, whoever asks.
fn is_plain(found: &Metadata) -> bool {
    found.is_file() && found.nlink() == 1 && found.mode() & 0o200 != 0
}

/// Writes where managers are and which issuing CA is the oldest in use into the identity file,
/// if it doesn't say so and may be written. What is sealed in it opens with `lock`, and stays
/// sealed; under another passphrase it stays as it is.
/// Whether it was replaced.
///
/// # Errors
/// What the system says: the file is as it was.
pub(super) fn refresh(
    path: &Path,
    lock: Option<&Arc<PassphraseLock>>,
    heard: &Managers,
) -> io::Result<bool> {
    rewrite(path, |text| {
        let read = IdentityText::parse(text.expose());
        let Ok(mut identity) = read.and_then(|read| read.open_with(lock)) else { return Ok(None) };
        if says_all(&identity, heard) {
            return Ok(None);
        }
        tell(&mut identity, heard)?;
        Ok(Some(identity))
    })
}

/// Puts another identity in the place of the one that the file holds, if it holds `before`.
/// Whether it was replaced.
///
/// # Errors
/// What the system says: the file is as it was.
pub(super) fn exchange(path: &Path, before: &SecretBytes, after: Identity) -> io::Result<bool> {
    rewrite(path, |text| {
        let same = text.expose().trim_ascii() == before.expose().trim_ascii();
        Ok(same.then_some(after))
    })
}

/// Writes what comes of a file's text, if anything does, into its place.
fn rewrite(
    path: &Path,
    next: impl FnOnce(&SecretBytes) -> io::Result<Option<Identity>>,
) -> io::Result<bool> {
    // Of a symbolic link the file that it names is replaced.
    let path = path.canonicalize()?;
    let found = std::fs::symlink_metadata(&path)?;
    if !is_plain(&found) {
        return Ok(false);
    }
    let file = OpenOptions::new().read(true).write(true).open(&path)?;
    match file.try_lock() {
        Ok(()) => {}
        // Another command is at it.
        Err(TryLockError::WouldBlock) => return Ok(false),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    let held = file.metadata()?;
    if !same(&held, &path)? || has_attributes(&file)? {
        return Ok(false);
    }
    let text = read_all(&file, IDENTITY_BYTES)?;
    let Some(identity) = next(&text)? else { return Ok(false) };
    let new = beside(&path);
    let replaced = replace(&identity, &held, &new, &path);
    if replaced.is_err() {
        // It may not be there.
        std::fs::remove_file(&new).ok();
    }
    replaced.map(|()| true)
}

fn replace(identity: &Identity, held: &Metadata, new: &Path, path: &Path) -> io::Result<()> {
    // Whoever left one held the lock, and does no more.
    match std::fs::remove_file(new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(new)?;
    let made = file.metadata()?;
    if (made.uid(), made.gid()) != (held.uid(), held.gid()) {
        std::os::unix::fs::fchown(&file, Some(held.uid()), Some(held.gid()))?;
    }
    file.set_permissions(Permissions::from_mode(held.mode() & 0o777))?;
    file.write_all(identity.to_text().expose())?;
    file.sync_all()?;
    if !same(held, path)? {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    std::fs::rename(new, path)?;
    let folder = path.parent().unwrap_or(Path::new("/"));
    File::open(folder)?.sync_all()
}

/// Whether this file is still what the path names.
fn same(held: &Metadata, path: &Path) -> io::Result<bool> {
    let now = std::fs::symlink_metadata(path)?;
    Ok((now.dev(), now.ino()) == (held.dev(), held.ino()))
}

/// Whether it has access lists or the like, which a new file would not have.
fn has_attributes(file: &File) -> io::Result<bool> {
    let mut names = [0_u8; ATTRIBUTES];
    match rustix::fs::flistxattr(file, &mut names) {
        Ok(length) => {
            let names = names.get(..length).unwrap_or_default().split(|byte| *byte == 0);
            Ok(names
                .into_iter()
                .any(|name| !name.is_empty() && !name.starts_with(BY_ITSELF.as_bytes())))
        }
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.new"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(addresses: &[&str]) -> Vec<String> {
        addresses.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_chain_takes_the_place_of_an_older_one_of_the_same_key() {
        use crate::ca::fixtures::{Authority, operator};
        let authority = Authority::new(1);
        let next = authority.rotated();
        let old = authority.holder(operator(1));
        let subject = authority.subject(operator(1));
        let now = crate::ca::fixtures::NOW;
        let of = |authority: &Authority, ends| {
            let leaf = authority.issuer.sign_leaf(&old.key.public(), &subject, now, ends);
            let (issuing, root) = (authority.issuing.clone(), authority.root.certificate.clone());
            Next { chain: vec![leaf.expect("a leaf"), issuing, root], key: None }
        };
        let ends = now.plus_ms(crate::ca::fixtures::LEAF_MS);
        assert!(follows(&of(&next, ends), &old.chain), "of the issuing CA in use");
        let before = Next { chain: old.chain.clone(), key: None };
        assert!(!follows(&before, &of(&next, ends).chain));
        assert!(follows(&of(&authority, ends.plus_ms(1000)), &old.chain), "it ends later");
        assert!(!follows(&of(&authority, ends), &old.chain), "the same");
        let short = Next { chain: old.chain[..2].to_vec(), key: None };
        assert!(!follows(&short, &old.chain));

        let of_another = |before| {
            let other = authority.holder(operator(1));
            let key = PrivateKey::from_pkcs8(SecretBytes::copy_of(other.key.expose()));
            let key = key.expect("a key");
            Next { key: Some((before, key)), chain: other.chain }
        };
        let own = crate::ca::key_digest(&old.key.public());
        assert!(follows(&of_another(own), &old.chain), "another key, asked for with this one");
        assert!(!follows(&of_another([1; 32]), &old.chain), "with another one than this");
        let unasked = Next { key: None, ..of_another(own) };
        assert!(!follows(&unasked, &old.chain), "another key");
    }

    #[test]
    fn what_managers_say_comes_first_and_nothing_is_forgotten() {
        let merge = |known: &[&str], managers: &[&str]| merged(&list(known), &list(managers));
        assert_eq!(merge(&["a:1"], &["a:1", "b:1"]), Some(list(&["a:1", "b:1"])));
        assert_eq!(merge(&["nat:9"], &["a:1", "b:1"]), Some(list(&["a:1", "b:1", "nat:9"])));
        assert_eq!(merge(&["b:1", "a:1", "c:1"], &["a:1", "b:1"]), None, "all known");
        assert_eq!(merge(&["a:1"], &["\" ]\n:1"]), None, "no address");
        assert_eq!(merge(&["a:1"], &[]), None);
        let many: Vec<String> = (1..=ADDRESSES).map(|n| format!("m:{n}")).collect();
        let full = merged(&many, &list(&["new:1"])).expect("another");
        assert_eq!((full.len(), full[0].as_str()), (ADDRESSES, "new:1"));
    }
}
