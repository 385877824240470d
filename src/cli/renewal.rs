//! The identities that commands use are renewed in passing, once that is due and managers were
//! reached, with the key that they have: copies of a file stay good. What may not be written is
//! not renewed, and that is said once a day.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::timeout;

use super::shell::Screen;
use super::used::Used;
use super::words;
use skep_client::ca::Leaf;
use skep_client::machine::SystemClock;
use skep_client::{IdentityFile, Link, leaf_of};
use skep_core::base::{Clock as _, Stamp};

/// Milliseconds between two times that it is said that a file can't be renewed.
const TOLD_EVERY_MS: u64 = 24 * 3_600_000;
/// Bytes of the mark that says when that was.
const MARK_BYTES: u64 = 32;
/// How long a renewal in passing may take: the command is done.
const IN_PASSING: Duration = Duration::from_secs(5);

/// Renews what was used where that is due. A command that is done is done, whatever becomes of
/// this: the next one tries again.
pub(super) async fn in_passing(used: &[Used], screen: &mut Screen) {
    for used in used.iter().filter(|used| used.is_due() && !used.managers.renews()) {
        if !IdentityFile::is_replaceable(&used.path) {
            not_written(used, screen);
            continue;
        }
        // It was tried in the last day, and could not be written after all.
        if leaf_of(&used.identity).is_ok_and(|leaf| Mark::of(&leaf).is_fresh()) {
            continue;
        }
        let Ok(mut link) = Link::to_managers(&used.identity, used.hosts.clone(), IN_PASSING) else {
            continue;
        };
        link.keep_to(&used.managers);
        match timeout(IN_PASSING, link.renew_now()).await {
            Ok(Ok(())) => tracing::debug!(event = "identity_renewed"),
            failed => tracing::debug!(event = "identity_not_renewed", ?failed),
        }
    }
}

/// Says that the file stays as it is, once a day.
pub(super) fn not_written(used: &Used, screen: &mut Screen) {
    let Ok(leaf) = leaf_of(&used.identity) else { return };
    let mark = Mark::of(&leaf);
    if used.is_renewed() || mark.is_fresh() {
        return;
    }
    mark.make();
    let (shown, until) = (used.path.display(), words::until(leaf.ends.0));
    screen.warn(&format!(
        "{shown}: its certificate is to be renewed, and the file may not be written: it is good \
         {until}, and usable for 30 days after that"
    ));
    screen.hint("`skep operator renew` where it may be written, then copy it: the key is the same");
}

/// A file in the folder for temporary ones that says when this was said of an identity last.
struct Mark(PathBuf);

impl Mark {
    fn of(leaf: &Leaf) -> Self {
        let uid = rustix::process::getuid().as_raw();
        let name = data_encoding::HEXLOWER.encode(leaf.key.get(..8).unwrap_or_default());
        Self(std::env::temp_dir().join(format!(".skep-told-{uid}-{name}")))
    }

    /// Whether it was made in the last day, by this user.
    fn is_fresh(&self) -> bool {
        let now = SystemClock.now();
        self.told().is_some_and(|told| told <= now && now < told.plus_ms(TOLD_EVERY_MS))
    }

    fn told(&self) -> Option<Stamp> {
        let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
        let flags = i32::try_from(flags.bits()).ok()?;
        let file: File = OpenOptions::new().read(true).custom_flags(flags).open(&self.0).ok()?;
        let found = file.metadata().ok()?;
        if !found.is_file() || found.uid() != rustix::process::getuid().as_raw() {
            return None;
        }
        let mut text = String::new();
        file.take(MARK_BYTES).read_to_string(&mut text).ok()?;
        text.parse().ok().map(Stamp)
    }

    /// What can't be kept was not said. Whatever else has that name stays, and nothing is
    /// written through it.
    fn make(&self) {
        std::fs::remove_file(&self.0).ok();
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&self.0);
        if let Ok(mut file) = made {
            write!(file, "{}", SystemClock.now().0).ok();
        }
    }
}
