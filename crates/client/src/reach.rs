//! From settings to a way to the managers.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::answer::harmless;
use crate::ca::{CaError, Identity};
use crate::error::CallError;
use crate::link::{BadIdentityFile, IdentityFile, Link};
use crate::passphrase::Passphrases;
use crate::settings::ClientSettings;
use crate::transport::require_post_quantum;
use skep_core::base::{Exit, Failure};

/// A way to the managers, and by whom.
#[derive(Debug)]
pub struct Reached {
    /// The way.
    pub link: Link,
    /// The identity that is shown, with its file.
    pub identity: Option<(PathBuf, Identity)>,
    /// What is to be said of the identity's file.
    pub warning: Option<String>,
}

/// A way to the managers as these settings say. Nothing is connected yet.
///
/// # Errors
/// A [`Failure`] with its hint where the identity is none, or there is no way.
pub fn reach(settings: &ClientSettings) -> Result<Reached, Failure> {
    if settings.require_pq {
        require_post_quantum();
    }
    // Only for going on to the leader: the socket needs none, and nobody is asked for a passphrase.
    let spare = settings.local && settings.hosts.is_empty();
    let wanted =
        settings.identity.as_deref().filter(|path| !spare || IdentityFile::read(path).is_ok());
    let read = wanted.map(|path| read_identity(path, &settings.passphrases)).transpose()?;
    let (identity, warning) = read.map_or((None, None), |(read, warning)| (Some(read), warning));
    let remote = !settings.hosts.is_empty() || (!settings.local && identity.is_some());
    let (hosts, socket, most) = (settings.hosts.clone(), settings.socket.clone(), settings.timeout);
    let link = match (&identity, remote) {
        (None, true) => return Err(CallError::NoIdentity.failure()),
        (Some(identity), true) => Link::to_managers(identity, hosts, most),
        (identity, false) => Link::to_socket(socket, identity.as_ref(), most),
    };
    let link = link.map_err(|error| unsound(&error))?;
    let identity = settings.identity.clone().zip(identity);
    Ok(Reached { link, identity, warning })
}

/// Reads an identity file, which nobody else should be able to: what it holds, and what is to
/// be said of it.
///
/// # Errors
/// A [`Failure`] of bad input, with its hint.
pub fn read_identity(
    path: &Path,
    passphrases: &Passphrases,
) -> Result<(Identity, Option<String>), Failure> {
    let shown = path.display();
    let bad = |error: &BadIdentityFile| {
        let text = match error {
            BadIdentityFile::Unread(error) => format!("identity {shown}: {error}"),
            BadIdentityFile::Unsound(error) => format!("{shown}: {error}"),
        };
        Failure::new(Exit::Usage, text).hint("an identity file is what `skep init` writes")
    };
    let text = IdentityFile::look(path).map_err(|error| bad(&error))?;
    let identity = passphrases.open(path, text)?;
    let open = IdentityFile::is_readable_by_others(path).map_err(|error| bad(&error.into()))?;
    let said = || format!("{shown}: others can read it; `chmod 600` it");
    Ok((identity, open.then(said)))
}

/// What is said of an identity whose certificates are not sound.
#[must_use]
pub fn unsound(error: &CaError) -> Failure {
    Failure::new(Exit::Usage, format!("the identity {error}"))
        .hint("take a copy that was not changed")
}

/// What is said when a call is repeated, for so long in all.
#[must_use]
pub fn still_trying(most: Duration, why: &CallError) -> String {
    let why = harmless(&why.to_string());
    format!(
        "still trying, for {most:?} in all: {why}\n\
         hint: commands that show things answer without a leader with --stale\n",
    )
}
