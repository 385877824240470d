//! Passphrases of identity files: of new ones, and `skep operator passphrase`.

use std::path::Path;
use std::sync::Arc;

use super::args::{ClientArgs, EncryptArgs};
use super::link::{self, OwnFile};
use super::problem::{Trouble, usage};
use super::shell::Shell;
use skep_client::ca::{Identity, RequestKey, SealedRequestKey};
use skep_client::{IdentityFile, new_passphrase};
use skep_core::base::{Dice, Exit, Failure, SecretBytes};
use skep_core::seal::{PassphraseLock, SealError};

/// What a new identity is encrypted with, if it is to be. It is asked for before anything is
/// made.
pub(super) struct Encryption(Option<Arc<PassphraseLock>>);

impl Encryption {
    /// As it was typed; the passphrase is no part of these names.
    pub(super) fn of(
        shell: &mut Shell,
        args: &EncryptArgs,
        names: &[&str],
    ) -> Result<Self, Trouble> {
        if !args.passphrase && args.new_passphrase_file.is_none() {
            return Ok(Self(None));
        }
        new_lock(shell, args.new_passphrase_file.as_deref(), names).map(|lock| Self(Some(lock)))
    }

    /// Has the identity encrypted where it is written.
    pub(super) fn seal(self, dice: &mut dyn Dice, identity: &mut Identity) -> Result<(), Trouble> {
        identity.seal(dice, self.0).map_err(bug)
    }

    /// The same, or what opened the key that the identity is made of.
    pub(super) fn or(self, lock: Option<Arc<PassphraseLock>>) -> Self {
        Self(self.0.or(lock))
    }

    /// The file of a request's key.
    pub(super) fn text(
        &self,
        dice: &mut dyn Dice,
        key: &RequestKey,
    ) -> Result<SecretBytes, Trouble> {
        let Some(lock) = &self.0 else { return Ok(key.to_text()) };
        SealedRequestKey::seal(dice, lock, key).map(|sealed| sealed.to_text()).map_err(bug)
    }

    /// Whether there is a passphrase.
    pub(super) fn is_some(&self) -> bool {
        self.0.is_some()
    }
}

fn new_lock(
    shell: &mut Shell,
    file: Option<&Path>,
    names: &[&str],
) -> Result<Arc<PassphraseLock>, Trouble> {
    let passphrase = new_passphrase(file, names)?;
    PassphraseLock::draw(&mut *shell.dice, &passphrase).map(Arc::new).map_err(bug)
}

fn bug(error: SealError) -> Trouble {
    Failure::new(Exit::Bug, format!("the passphrase {error}")).into()
}

/// Encrypts the identity in use, changes its passphrase, or decrypts it.
pub(super) fn change(
    shell: &mut Shell,
    new: Option<&Path>,
    remove: bool,
    client: ClientArgs,
) -> Result<(), Trouble> {
    let OwnFile { path, mut identity, .. } = link::own_file(shell, client)?;
    let shown = path.display();
    // What can't be kept is not asked for.
    if !IdentityFile::is_replaceable(&path) {
        let text = format!("{shown} may not be written, or is not plainly one user's own");
        return Err(Failure::new(Exit::Refused, text)
            .hint("run it where the file is its owner's to write")
            .into());
    }
    if remove && identity.sealed.is_none() {
        return Err(usage(format!("{shown} is not encrypted"), "there is no passphrase to remove"));
    }
    let before = identity.to_text();
    let cluster = identity.cluster.to_string();
    let leaf = skep_client::leaf_of(&identity).ok();
    let name = leaf.map(|leaf| leaf.subject.name.to_string()).unwrap_or_default();
    let lock = if remove { None } else { Some(new_lock(shell, new, &[&name, &cluster])?) };
    identity.seal(&mut *shell.dice, lock).map_err(bug)?;
    match IdentityFile::exchange(&path, &before, identity) {
        Ok(true) => {}
        Ok(false) => {
            let text = format!("{shown} was changed meanwhile: it is as it was");
            return Err(Failure::new(Exit::Refused, text).hint("run it again").into());
        }
        Err(error) => {
            let text = format!("{shown}: {error}: it is as it was");
            return Err(Failure::new(Exit::Refused, text)
                .hint("run it where the file is its owner's to write")
                .into());
        }
    }
    shell.screen.echo(&shown.to_string());
    let said = if remove { "it is no longer encrypted" } else { "it is encrypted" };
    shell.screen.say(said);
    Ok(())
}
