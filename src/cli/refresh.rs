//! Identity files follow the managers: what a command heard of where they are, and what it
//! renewed, is written into the file that it used.

use std::time::Duration;

use super::renewal::not_written;
use super::shell::Screen;
use super::used::Used;
use skep_client::IdentityFile;

/// Between two looks at a file that another command writes.
const LOOK: Duration = Duration::from_millis(50);
/// So many of them.
const LOOKS: usize = 10;

/// Has the identity files that were used name the managers as they are now. Where that can't
/// be, they stay as they are: they are good without, until their certificates end.
pub(super) fn all(used: Vec<Used>, screen: &mut Screen) {
    for used in used {
        if !write(&used) && used.managers.renews() {
            not_written(&used, screen);
        }
    }
}

/// Whether it was written. Another command that is at it has done soon.
fn write(used: &Used) -> bool {
    for _ in 0..LOOKS {
        match IdentityFile::refresh(&used.path, &used.identity, &used.managers) {
            Ok(true) => return true,
            Ok(false) => {}
            Err(error) => {
                tracing::debug!(event = "identity_not_refreshed", %error);
                return false;
            }
        }
        if !used.managers.renews() || used.is_renewed() || !IdentityFile::is_replaceable(&used.path)
        {
            return false;
        }
        std::thread::sleep(LOOK);
    }
    false
}
