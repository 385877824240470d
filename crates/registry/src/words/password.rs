//! `skep registry passwd`: somebody changes the own password, at the token server.

use std::io;

use clap::Args;
use skep_client::machine::{hidden, hidden_twice, stdin_once, without_line_end};
use skep_core::base::{Exit, Failure, SecretBytes};
use skep_program::Screen;
use zeroize::Zeroizing;

use super::cluster::{not_yet_on, runtime};
use super::remote::{RegistryAt, failure, found};
use crate::proto::change::Changed;
use crate::rules::password::{PERSON, unfit};
use crate::work::remote::{RemoteRegistry, RemoteUser};

/// Bytes of one password, with an end of line.
const MOST: usize = *PERSON.end() + 2;

/// Change your own password at the token server of a registry
///
/// The old one and the new one are asked for on the terminal, the new one twice. It
/// takes a registry that was set up with --self-service. All logins end, other
/// machines' too. It ends once every token server decides by the new password;
/// with 5 the nodes are named that had not got it yet, and will.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  skep registry passwd registry.example.com --user alice
  skep registry passwd web -u alice --stdin < old-and-new.txt")]
pub(super) struct OwnPasswordArgs {
    #[command(flatten)]
    at: RegistryAt,
    /// Whose password it is
    #[arg(short, long, value_name = "USER")]
    user: String,
    /// Read both from standard input, the old one in the first line, the new one in the second
    #[arg(long)]
    stdin: bool,
}

pub(super) fn passwd(screen: &mut Screen, args: &OwnPasswordArgs) -> Result<(), Failure> {
    runtime()?.block_on(async {
        let (roots, host) = found(screen, &args.at).await?;
        let (old, new) = if args.stdin { piped()? } else { typed()? };
        if let Some(why) = unfit(new.as_bytes()) {
            return Err(refused(why));
        }
        let asker = RemoteUser::new(&args.user, old).map_err(refused)?;
        let mut registry = RemoteRegistry::new(host, roots, Some(asker));
        match registry.change_password(&new).await.map_err(|error| failure(&error))? {
            Changed::Everywhere => {
                screen.say("changed: every token server decides by it");
                Ok(())
            }
            Changed::Waiting(nodes) => {
                let text = format!("changed, but not confirmed: {}", not_yet_on(&nodes));
                let hint =
                    "those go on with the old one until they have it; nothing has to be done";
                Err(Failure::new(Exit::NotConfirmed, text).hint(hint))
            }
        }
    })
}

fn refused(text: impl std::fmt::Display) -> Failure {
    let hint = "type both on a terminal, or pipe two lines with --stdin: they are no arguments";
    Failure::new(Exit::Usage, text).hint(hint)
}

/// One line of text.
fn text(bytes: &[u8]) -> Result<Zeroizing<String>, Failure> {
    let text = std::str::from_utf8(bytes);
    let text = text.map_err(|_| refused("a password is one line of text in UTF-8"))?;
    Ok(Zeroizing::new(text.to_owned()))
}

fn read(read: io::Result<SecretBytes>) -> Result<SecretBytes, Failure> {
    let read = read.map_err(|error| match error.kind() {
        io::ErrorKind::FileTooLarge => refused("that is too long for a password"),
        _ => refused(format!("no password: {error}")),
    });
    read.map(without_line_end)
}

fn typed() -> Result<(Zeroizing<String>, Zeroizing<String>), Failure> {
    let old = read(hidden("Old password: ", MOST))?;
    let new = read(hidden_twice("New password: ", MOST))?;
    Ok((text(old.expose())?, text(new.expose())?))
}

fn piped() -> Result<(Zeroizing<String>, Zeroizing<String>), Failure> {
    let both = read(stdin_once(MOST * 2))?;
    let mut lines = both.expose().splitn(2, |byte| *byte == b'\n');
    let (Some(old), Some(new)) = (lines.next(), lines.next()) else {
        return Err(refused("standard input has one line, and not two"));
    };
    let old = old.strip_suffix(b"\r").unwrap_or(old);
    Ok((text(old)?, text(new)?))
}
