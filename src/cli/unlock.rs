//! `skep unlock`, `lock`, `unlock-key`. The unlock key stays in this process:
//! a manager gets its own file key, and nothing with which another could be opened.

use std::time::Duration;

use serde_json::json;
use skep_client::{CallKind, Control, Link};

use skep_core::base::{Exit, Failure, Fingerprint};
use skep_core::seal::{KeyFileHeader, SealError, UnlockKey};
use skep_core::wire::api::{self, ManagerState, RecipientsReply};
use tokio::time::{Instant, sleep};

use super::args::{ClientArgs, LockArgs, ShowArgs, UnlockArgs, UnlockKeyCommand};
use super::input;
use super::link::{self, link};
use super::outfile::OutFile;
use super::problem::{Trouble, usage};
use super::render::{self, Cell, Column, Format};
use super::shell::Shell;
use super::words;

const COLUMNS: [Column; 4] = [
    ("ID", Cell::Field("id")),
    ("LABEL", Cell::Field("label")),
    ("ONLY FOR", Cell::Field("only_for")),
    ("RECIPIENT", Cell::Field("recipient")),
];

/// Between two looks at a manager that is being locked.
const LOOK: Duration = Duration::from_millis(20);

/// `skep unlock`.
pub(super) async fn unlock(shell: &mut Shell, args: UnlockArgs) -> Result<(), Trouble> {
    let key = read_key(args.key_file)?;
    let mut link = link::local(shell, args.local)?;
    let (reply, header) = header_of(&mut link).await?;
    let file_key = header.open_file_key(&key).map_err(wrong_key)?;
    let generation = header.generation;
    let node = if reply.node_name.is_empty() { header.node.to_string() } else { reply.node_name };
    let cluster = &reply.cluster_name;
    shell.screen.say(&format!("unlocking {node} of {cluster}, generation {generation}"));
    let request = api::UnlockRequest {
        file_key: file_key.0.expose().to_vec(),
        fingerprint: key.fingerprint().0.to_vec(),
        generation,
        of_header: true,
    };
    drop(key);
    let send = async |mut client: Control, request| client.unlock(request).await;
    let reply = link.call(CallKind::Once("skep status".to_owned()), request, send).await?;
    shell.screen.say(&format!("unlocked: {}", words::manager_state(reply.state())));
    Ok(())
}

/// `skep lock`.
pub(super) async fn lock(shell: &mut Shell, args: LockArgs) -> Result<(), Trouble> {
    let mut link = link::local(shell, args.local)?;
    let send = async |mut client: Control, request| client.lock(request).await;
    let kind = CallKind::Once("skep status".to_owned());
    link.call(kind, api::LockRequest {}, send).await?;
    is_locked(&mut link).await?;
    shell.screen.say("locked");
    Ok(())
}

/// Waits until the manager, which starts anew, says itself that it is locked.
async fn is_locked(link: &mut Link) -> Result<(), Trouble> {
    let until = Instant::now() + link.timeout();
    loop {
        let send = async |mut client: Control, request| client.status(request).await;
        // Whatever goes wrong is between the old process and the new one.
        if let Ok(status) = link.call(CallKind::Read, api::StatusRequest {}, send).await
            && matches!(status.state(), ManagerState::Locked | ManagerState::Expired)
        {
            return Ok(());
        }
        if Instant::now() >= until {
            let text = "the manager was told to lock, and does not say that it is locked yet";
            return Err(Failure::new(Exit::NotConfirmed, text)
                .hint("`skep status` shows what it does; where its process ended, start it again")
                .into());
        }
        sleep(LOOK).await;
    }
}

/// `skep unlock-key`.
pub(super) async fn keys(shell: &mut Shell, command: UnlockKeyCommand) -> Result<(), Trouble> {
    match command {
        UnlockKeyCommand::Check { key_file, client } => {
            let key = read_key(key_file)?;
            check(shell, &key, client).await
        }
        UnlockKeyCommand::Ls { show, client } => ls(shell, &show, client).await,
        UnlockKeyCommand::Generate { out, fingerprint, client } => {
            let mut file = OutFile::create(&out)?;
            let fingerprint = match fingerprint {
                Some(text) => text.parse::<Fingerprint>().map_err(|_bad| {
                    usage("--fingerprint: is not 64 hexadecimal digits", "`skep status` shows it")
                })?,
                None => fingerprint_of(&recipients(&mut link(shell, client)?).await?)?,
            };
            let key = UnlockKey::draw(&mut *shell.dice, fingerprint);
            file.write(&key.text())?;
            let public = data_encoding::HEXLOWER.encode(key.recipient().as_bytes());
            // Until here the file goes again, and nothing was changed.
            shell.screen.data(&public)?;
            file.keep();
            shell.screen.say(&format!("the unlock key: {}", out.display()));
            Ok(())
        }
    }
}

/// Whether the key unlocks a manager that is locked, or the cluster of one that is not.
async fn check(shell: &mut Shell, key: &UnlockKey, client: ClientArgs) -> Result<(), Trouble> {
    let mut link = link(shell, client)?;
    let reply = match recipients(&mut link).await {
        Ok(reply) => reply,
        Err(Trouble::Failed(failure)) if failure.exit == Exit::Locked => {
            let (reply, header) = header_of(&mut link).await?;
            header.open_file_key(key).map_err(wrong_key)?;
            let (node, cluster) = (&reply.node_name, &reply.cluster_name);
            return shell.screen.data(&format!("good: it unlocks {node} of {cluster}"));
        }
        Err(trouble) => return Err(trouble),
    };
    if key.fingerprint() != fingerprint_of(&reply)? {
        return Err(wrong(
            "the unlock key is for another cluster",
            &format!("it names the fingerprint {}", key.fingerprint()),
        ));
    }
    let public = key.recipient();
    let own = reply.recipients.iter().find(|recipient| recipient.public == public.as_bytes());
    let Some(own) = own else {
        return Err(wrong_key(SealError::NotARecipient));
    };
    let whom = if own.only.is_empty() {
        format!("every manager of {}", reply.cluster_name)
    } else {
        format!("the manager {} of {}", render::id(&own.only), reply.cluster_name)
    };
    shell.screen.data(&format!("good: it unlocks {whom}"))
}

async fn ls(shell: &mut Shell, show: &ShowArgs, client: ClientArgs) -> Result<(), Trouble> {
    let format = Format::parse(show.format.of.as_deref())?;
    let reply = recipients(&mut link(shell, client)?).await?;
    let shown = reply.recipients.iter().map(|recipient| {
        let only = (!recipient.only.is_empty()).then(|| render::id(&recipient.only));
        json!({
            "id": render::id(&recipient.id),
            "label": recipient.label,
            "only_for": only,
            "recipient": data_encoding::HEXLOWER.encode(&recipient.public),
        })
    });
    let things: Vec<_> = shown.collect();
    render::list(shell, &format, &COLUMNS, &things)
}

async fn recipients(link: &mut Link) -> Result<RecipientsReply, Trouble> {
    let send = async |mut client: Control, request| client.recipients(request).await;
    Ok(link.call(CallKind::Read, api::RecipientsRequest {}, send).await?)
}

fn fingerprint_of(reply: &RecipientsReply) -> Result<Fingerprint, Trouble> {
    let bytes = reply.fingerprint.as_slice().try_into().map_err(|_bad| {
        Failure::new(Exit::Refused, "the manager's answer has a malformed fingerprint")
    })?;
    Ok(Fingerprint(bytes))
}

async fn header_of(link: &mut Link) -> Result<(api::UnlockHeaderReply, KeyFileHeader), Trouble> {
    let send = async |mut client: Control, request| client.unlock_header(request).await;
    let reply = link.call(CallKind::Read, api::UnlockHeaderRequest {}, send).await?;
    let header = KeyFileHeader::parse(&reply.header).map_err(|error| {
        Failure::new(Exit::Damaged, format!("the manager's key file {error}"))
            .hint("it was changed on the disk: bring it back from where it is whole")
    })?;
    Ok((reply, header))
}

/// An unlock key, from a file, standard input or a prompt.
pub(super) fn read_key(file: Option<std::path::PathBuf>) -> Result<UnlockKey, Trouble> {
    let text = input::unlock_key(file)?;
    UnlockKey::parse(text.expose()).map_err(|error| {
        let hint = match error {
            SealError::Mistyped => "compare it with where it is written down, letter by letter",
            _ => "an unlock key begins with SKEPKEY-1-; `skep init` wrote it out",
        };
        wrong(&format!("the unlock key {error}"), hint)
    })
}

fn wrong_key(error: SealError) -> Trouble {
    if error == SealError::NotARecipient {
        return wrong(
            "the unlock key is not one of this manager's",
            "`skep unlock-key ls` on an unlocked manager lists whose keys are good",
        );
    }
    // There is a box for this very key, and it doesn't open: the key is right.
    Failure::new(Exit::Damaged, "the manager's key file is damaged or was tampered with")
        .hint("the unlock key is right: put manager.key back from a copy")
        .into()
}

/// The unlock key is not the right one.
pub(super) fn wrong(text: &str, hint: &str) -> Trouble {
    Failure::new(Exit::WrongUnlockKey, text).hint(hint).into()
}
