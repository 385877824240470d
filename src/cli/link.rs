//! From settings to a way to the managers.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use super::args::{ClientArgs, LocalArgs};
use super::problem::{Trouble, usage};
use super::refresh::Used;
use super::settings::ClientSettings;
use super::shell::{Screen, Shell};
use skep_client::ca::{CaError, Identity};
use skep_client::transport::require_post_quantum;
use skep_client::{CallError, IdentityFile, Link, harmless};

/// A way to the managers for these arguments.
pub(super) fn link(shell: &mut Shell, client: ClientArgs) -> Result<Link, Trouble> {
    of(ClientSettings::of(client)?, shell)
}

/// A way to this machine's manager, for commands that it alone serves.
pub(super) fn local(shell: &mut Shell, local: LocalArgs) -> Result<Link, Trouble> {
    of(ClientSettings::of_local(local)?, shell)
}

fn of(settings: ClientSettings, shell: &mut Shell) -> Result<Link, Trouble> {
    if settings.require_pq {
        require_post_quantum();
    }
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
    let mut link = link.map_err(unsound)?;
    shell.ages.push(link.ages());
    let most = settings.timeout;
    link.tell_of_tries(move |why| still_trying(most, why));
    if let (Some(path), Some(identity)) = (settings.identity, identity) {
        shell.used.push(Used { path, identity, managers: link.managers() });
    }
    Ok(link)
}

/// Says that a call is repeated. It comes amid the call, when the command's own screen is not
/// at hand.
fn still_trying(most: Duration, why: &CallError) {
    let why = harmless(&why.to_string());
    let line = format!(
        "still trying, for {most:?} in all: {why}\n\
         hint: commands that show things answer without a leader with --stale\n",
    );
    if std::io::stderr().write_all(line.as_bytes()).is_err() {
        tracing::trace!(event = "stderr_closed");
    }
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
