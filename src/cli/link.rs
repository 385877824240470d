//! From settings to a way to the managers.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::args::{ClientArgs, LocalArgs};
use super::problem::{Trouble, usage};
use super::settings::ClientSettings;
use super::shell::{Screen, Shell};
use super::used::Used;
use skep_client::ca::{CaError, CertificateRole, Identity, Leaf};
use skep_client::transport::require_post_quantum;
use skep_client::{CallError, IdentityFile, Link, harmless, leaf_of};
use skep_core::base::OperatorId;

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
    let hosts = settings.hosts.clone();
    let link = match (&identity, remote) {
        (None, true) => return Err(CallError::NoIdentity.into()),
        (Some(identity), true) => Link::to_managers(identity, settings.hosts, settings.timeout),
        (identity, false) => Link::to_socket(settings.socket, identity.as_ref(), settings.timeout),
    };
    let mut link = link.map_err(|error| unsound(&error))?;
    shell.ages.push(link.ages());
    let most = settings.timeout;
    link.tell_of_tries(move |why| still_trying(most, why));
    if let (Some(path), Some(identity)) = (settings.identity, identity) {
        shell.used.push(Used { path, identity, hosts, managers: link.managers() });
    }
    Ok(link)
}

/// A way to the managers for a command about this operator. Its own identity is of no use for
/// that once it has ended: then it is the control socket, where there is one.
pub(super) fn about(
    shell: &mut Shell,
    client: ClientArgs,
    operator: OperatorId,
) -> Result<Link, Trouble> {
    let mut settings = ClientSettings::of(client)?;
    let file = settings.identity.as_deref().map(IdentityFile::read);
    let leaf = file.and_then(Result::ok).and_then(|file| leaf_of(&file.identity).ok());
    let own = CertificateRole::Operator(operator);
    let ended = |leaf: Leaf| leaf.subject.role == own && leaf.ends <= shell.clock.now();
    if settings.socket.exists() && leaf.is_some_and(ended) {
        (settings.local, settings.identity) = (true, None);
        settings.hosts.clear();
    }
    of(settings, shell)
}

/// An identity, and a way to the managers by it alone.
pub(super) struct Chosen {
    /// Its file.
    pub(super) path: PathBuf,
    /// What it holds.
    pub(super) identity: Identity,
    /// The way.
    pub(super) link: Link,
}

/// The identity that these arguments name, for a command about it.
pub(super) fn chosen(shell: &mut Shell, client: ClientArgs) -> Result<Chosen, Trouble> {
    let settings = ClientSettings::of(client)?;
    if settings.require_pq {
        require_post_quantum();
    }
    let path = settings.identity.ok_or(CallError::NoIdentity)?;
    let identity = identity(&path, &mut shell.screen)?;
    let link = Link::to_managers(&identity, settings.hosts, settings.timeout)
        .map_err(|error| unsound(&error))?;
    Ok(Chosen { path, identity, link })
}

fn unsound(error: &CaError) -> Trouble {
    usage(format!("the identity {error}"), "take a copy that was not changed")
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
