//! From settings to a way to the managers.

use std::path::Path;

use super::args::{ClientArgs, LocalArgs};
use super::problem::{Trouble, usage};
use super::refresh::Used;
use super::settings::ClientSettings;
use super::shell::{Screen, Shell};
use skep_client::ca::{CaError, Identity};
use skep_client::{CallError, IdentityFile, Link};

/// A way to the managers for these arguments.
pub(super) fn link(shell: &mut Shell, client: ClientArgs) -> Result<Link, Trouble> {
    of(ClientSettings::of(client)?, shell)
}

/// A way to this machine's manager, for commands that it alone serves.
pub(super) fn local(shell: &mut Shell, local: LocalArgs) -> Result<Link, Trouble> {
    of(ClientSettings::of_local(local)?, shell)
}

fn of(settings: ClientSettings, shell: &mut Shell) -> Result<Link, Trouble> {
    let identity = match settings.identity.as_deref().map(|path| identity(path, &mut shell.screen))
    {
        Some(Ok(identity)) => Some(identity),
        // Only for going on to the leader: the socket needs none.
        Some(Err(_unread)) if settings.local && settings.hosts.is_empty() => None,
        Some(Err(trouble)) => return Err(trouble),
        None => None,
    };
    let remote = !settings.hosts.is_empty() || (!settings.local && identity.is_some());
    let link = match (&identity, remote) {
        (None, true) => return Err(CallError::NoIdentity.into()),
        (Some(identity), true) => Link::to_managers(identity, settings.hosts, settings.timeout),
        (identity, false) => Link::to_socket(settings.socket, identity.as_ref(), settings.timeout),
    };
    let unsound =
        |error: CaError| usage(format!("the identity {error}"), "take a copy that was not changed");
    let link = link.map_err(unsound)?;
    if let (Some(path), Some(identity)) = (settings.identity, identity) {
        shell.used.push(Used { path, identity, managers: link.managers() });
    }
    Ok(link)
}

/// Reads an identity file, which nobody else should be able to.
fn identity(path: &Path, screen: &mut Screen) -> Result<Identity, Trouble> {
    use skep_client::BadIdentityFile::{Unread, Unsound};
    let shown = path.display();
    let file = IdentityFile::read(path).map_err(|error| {
        let text = match &error {
            Unread(error) => format!("identity {shown}: {error}"),
            Unsound(error) => format!("{shown}: {error}"),
        };
        usage(text, "an identity file is what `skep init` writes")
    })?;
    if file.readable_by_others {
        screen.warn(&format!("{shown}: others can read it; `chmod 600` it"));
    }
    Ok(file.identity)
}
