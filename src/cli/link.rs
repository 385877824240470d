//! From settings to a way to the managers.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use super::args::{ClientArgs, LocalArgs};
use super::problem::Trouble;
use super::settings;
use super::shell::Shell;
use super::used::Used;
use skep_client::ca::{CertificateRole, Identity, Leaf};
use skep_client::settings::ClientSettings;
use skep_client::transport::require_post_quantum;
use skep_client::{
    CallError, IdentityFile, Link, Reached, lookup, reach, read_identity, still_trying, unsound,
};
use skep_core::base::{Exit, OperatorId};
use skep_core::wire::api::{NodeRole, NodeView};

/// A way to the managers for these arguments.
pub(super) fn link(shell: &mut Shell, client: ClientArgs) -> Result<Link, Trouble> {
    of(settings::client(client)?, shell)
}

/// Several ways to the managers, for calls that go on at the same time. Whatever is to be asked
/// for is asked for once.
pub(super) fn several(
    shell: &mut Shell,
    client: ClientArgs,
    more: usize,
) -> Result<Vec<Link>, Trouble> {
    let settings = settings::client(client)?;
    let mut links = vec![of(settings.clone(), shell)?];
    for _ in 0..more {
        links.push(reach(&settings)?.link);
    }
    Ok(links)
}

/// A way to this machine's manager, for commands that it alone serves.
pub(super) fn local(shell: &mut Shell, local: LocalArgs) -> Result<Link, Trouble> {
    of(settings::local(local)?, shell)
}

fn of(settings: ClientSettings, shell: &mut Shell) -> Result<Link, Trouble> {
    let Reached { mut link, identity, warning } = reach(&settings)?;
    if let Some(warning) = warning {
        shell.screen.warn(&warning);
    }
    shell.ages.push(link.ages());
    let most = settings.timeout;
    link.tell_of_tries(move |why| say(&still_trying(most, why)));
    if let Some((path, identity)) = identity {
        let hosts = settings.hosts;
        shell.used.push(Used { path, identity, hosts, managers: link.managers() });
    }
    Ok(link)
}

/// A way to one manager among several.
pub(super) struct Way {
    /// Its name.
    pub(super) name: String,
    /// Its id.
    pub(super) id: Vec<u8>,
    /// A way to it, or to this machine's manager, which asks it.
    pub(super) link: Link,
    /// Whether that one asks it.
    pub(super) relayed: bool,
}

/// A way to each manager, where whoever asks may list them, and one to whichever answers.
/// Each of several is waited for `patience` at most.
pub(super) async fn managers(
    shell: &mut Shell,
    client: ClientArgs,
    patience: Duration,
) -> Result<(Vec<Way>, Link), Trouble> {
    let settings = settings::client(client)?;
    let mut one = of(settings.clone(), shell)?;
    // Who the managers are need not be up to date.
    shell.ages.pop();
    let nodes = match lookup::all::<NodeView>(&mut one, true).await {
        Ok(nodes) => nodes,
        Err(error) if error.exit() == Exit::Refused => return Ok((Vec::new(), one)),
        Err(error) => return Err(error.into()),
    };
    let patience = patience.min(settings.timeout);
    let mut ways = Vec::new();
    for node in nodes.into_iter().filter(|node| node.role() == NodeRole::Manager) {
        let settings = ClientSettings { timeout: patience, ..settings.clone() };
        let relayed = one.is_local();
        let Reached { mut link, identity, .. } = reach(&settings)?;
        if !relayed && let Some((_, identity)) = &identity {
            let hosts = vec![node.address.clone()];
            link = Link::to_managers(identity, hosts, patience).map_err(|error| unsound(&error))?;
        }
        ways.push(Way { name: node.name, id: node.id, link, relayed });
    }
    ways.sort_by(|a, b| a.name.cmp(&b.name));
    Ok((ways, one))
}

/// A way to the managers for a command about this operator. Its own identity is of no use for
/// that once it has ended: then it is the control socket, where there is one.
pub(super) fn about(
    shell: &mut Shell,
    client: ClientArgs,
    operator: OperatorId,
) -> Result<Link, Trouble> {
    let mut settings = settings::client(client)?;
    let file = settings.identity.as_deref().map(IdentityFile::look);
    let leaf = file.and_then(Result::ok).map(|text| text.leaf);
    let own = CertificateRole::Operator(operator);
    let ended = |leaf: Leaf| leaf.subject.role == own && leaf.ends <= shell.clock.now();
    if settings.socket.exists() && leaf.is_some_and(ended) {
        (settings.local, settings.identity) = (true, None);
        settings.hosts.clear();
    }
    of(settings, shell)
}

/// An identity and its file.
pub(super) struct OwnFile {
    /// The file.
    pub(super) path: PathBuf,
    /// What it holds.
    pub(super) identity: Identity,
    settings: ClientSettings,
}

/// The identity that these arguments name.
pub(super) fn own_file(shell: &mut Shell, client: ClientArgs) -> Result<OwnFile, Trouble> {
    let settings = settings::client(client)?;
    let path = settings.identity.clone().ok_or(CallError::NoIdentity)?;
    let (identity, warning) = read_identity(&path, &settings.passphrases)?;
    if let Some(warning) = warning {
        shell.screen.warn(&warning);
    }
    Ok(OwnFile { path, identity, settings })
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
    let OwnFile { path, identity, settings } = own_file(shell, client)?;
    if settings.require_pq {
        require_post_quantum();
    }
    let link = Link::to_managers(&identity, settings.hosts, settings.timeout)
        .map_err(|error| unsound(&error))?;
    Ok(Chosen { path, identity, link })
}

/// Says that a call is repeated. It comes amid the call, when the command's own screen is not
/// at hand.
fn say(line: &str) {
    if std::io::stderr().write_all(line.as_bytes()).is_err() {
        tracing::trace!(event = "stderr_closed");
    }
}
