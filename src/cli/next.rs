//! What to type next: the commands that `init`, `join` and `join-token` end with, each on a
//! line of its own, as it can be typed.

use std::path::Path;

use super::shell::Screen;
use skep_core::wire::api::NodeRole;

/// A word as a shell takes it.
fn word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./,:@%+=[]".contains(c);
    if !text.is_empty() && !text.starts_with('[') && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// The control socket, where it was not the usual one.
fn by(socket: Option<&Path>) -> String {
    socket.map_or_else(String::new, |path| format!(" --socket {}", word(&path.to_string_lossy())))
}

/// The cluster is founded.
pub(super) fn after_init(screen: &mut Screen, socket: Option<&Path>) {
    let by = by(socket);
    screen.say("Next, a token for each machine that is to join:");
    screen.say(&format!("{}{by}", "  skep join-token manager --out manager.token"));
    screen.say(&format!("{}{by}", "  skep join-token worker --out worker.token"));
    after_restart(screen, socket);
}

/// This machine's manager has joined.
pub(super) fn after_join(screen: &mut Screen, socket: Option<&Path>) {
    screen.say("To see how it catches up and votes:");
    screen.say(&format!("{}{}", "  skep status", by(socket)));
    after_restart(screen, socket);
}

fn after_restart(screen: &mut Screen, socket: Option<&Path>) {
    screen.say("After a restart this manager is locked; the cluster's unlock key unlocks it:");
    screen.say(&format!("{}{}", "  skep unlock", by(socket)));
}

/// A join token and how it was asked for.
#[derive(Debug)]
pub(super) struct Token<'a> {
    /// For whom it is.
    pub(super) role: NodeRole,
    /// Names that may join by it.
    pub(super) names: &'a str,
    /// Where it was written; else it was printed.
    pub(super) file: Option<&'a Path>,
    /// Where managers are.
    pub(super) addresses: &'a [String],
}

impl Token<'_> {
    /// The command that uses it.
    pub(super) fn say(&self, screen: &mut Screen) {
        let file =
            self.file.map_or_else(|| "FILE".to_owned(), |path| word(&path.to_string_lossy()));
        let place = match self.file {
            Some(_) => format!("with {file} carried there"),
            None => "with the token above in a file there".to_owned(),
        };
        let mut managers: Vec<String> = self.addresses.iter().map(|one| word(one)).collect();
        if managers.is_empty() {
            managers.push("MANAGER:4440".to_owned());
        }
        let name = self.name();
        if self.role == NodeRole::Manager {
            let managers = managers.join(" ");
            screen.say(&format!("To join as a manager{}, {place}, run there:", self.which()));
            screen.say("  skep manager run --advertise ADDRESS:4440");
            let join = format!("  skep join --token-file {file} {managers}");
            screen.say(&format!("{join}{name}"));
        } else {
            let managers = managers.join(",");
            screen
                .say(&format!("To join as a worker{}, {place}, run there as root:", self.which()));
            let run = format!("  skep agent run --manager {managers} --token-file {file}");
            screen.say(&format!("{run}{name}"));
        }
    }

    /// The one name that it is for.
    fn name(&self) -> String {
        let one = !self.names.is_empty() && !self.names.contains('*');
        if one { format!(" --name {}", word(self.names)) } else { String::new() }
    }

    fn which(&self) -> String {
        if self.names.contains('*') {
            format!(" with a name like {}", self.names)
        } else {
            String::new()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_a_word_as_it_was() {
        for plain in ["token", "/a/b-c_d.e", "10.0.0.1:4440"] {
            assert_eq!(word(plain), plain);
        }
        assert_eq!(word("my token"), "'my token'");
        assert_eq!(word("a'b"), r"'a'\''b'");
        assert_eq!(word("[::1]:4440"), "'[::1]:4440'");
        assert_eq!(word("$(x)"), "'$(x)'");
        assert_eq!(word(""), "''");
    }
}
