//! Passphrases of identity files: where they come from, and which new ones are refused.
//!
//! A passphrase comes from a file or standard input, from a program, or from the terminal; it is
//! never an argument or a variable of the environment. What was opened once in a process opens
//! again without asking: a program that serves reads its identity more than once.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::ca::{Identity, IdentityError, IdentityText, RequestError, RequestKey, RequestKeyText};
use crate::machine::{
    HelperError, hidden, hidden_twice, print_of, read_file, stdin_once, without_line_end,
};
use skep_core::base::{Exit, Failure, SecretBytes};
use skep_core::seal::{PASSPHRASE_BYTES, PassphraseLock, PassphraseSpec};

/// The variable that names the program.
pub const IDENTITY_COMMAND: &str = "SKEP_IDENTITY_COMMAND";
/// The variable by which the program is told which identity file it is about.
pub const IDENTITY_FILE: &str = "SKEP_IDENTITY_FILE";
/// How long the program may take: it may ask a person.
const PROGRAM: Duration = Duration::from_mins(2);
/// Bytes that are read: room for a line end.
const READ_BYTES: usize = PASSPHRASE_BYTES + 2;
/// Characters of a new passphrase: fewer are guessed by whoever has the file.
const LEAST_CHARS: usize = 12;
/// Characters of a new one beside the name.
const LEAST_LEFT: usize = 8;
/// Different characters of a new one.
const LEAST_KINDS: usize = 5;

/// Where the passphrase of an identity file comes from. Clones know what the others opened.
#[derive(Clone, Debug, Default)]
pub struct Passphrases {
    file: Option<PathBuf>,
    command: Option<String>,
    known: Arc<Mutex<Option<Arc<PassphraseLock>>>>,
}

impl Passphrases {
    /// From this file (`-`: standard input), else from what this command prints, else from the
    /// terminal.
    #[must_use]
    pub fn new(file: Option<PathBuf>, command: Option<String>) -> Self {
        Self { file, command, known: Arc::default() }
    }

    /// The identity that a file holds; where its keys are sealed, the passphrase is fetched.
    ///
    /// # Errors
    /// A [`Failure`] with its hint: there is no passphrase, or it is the wrong one.
    pub fn open(&self, path: &Path, text: IdentityText) -> Result<Identity, Failure> {
        let shown = path.display();
        let unsound = |error: IdentityError| {
            Failure::new(Exit::Usage, format!("{shown}: {error}"))
                .hint("an identity file is what `skep init` writes")
        };
        let Some(spec) = text.sealed_under() else { return text.open().map_err(unsound) };
        let mut known = self.known.lock();
        let lock = match known.as_ref().filter(|lock| lock.spec() == spec) {
            Some(lock) => Arc::clone(lock),
            None => Arc::new(self.fetch(path, spec)?),
        };
        match text.open_with(Some(&lock)) {
            Ok(identity) => {
                *known = Some(lock);
                Ok(identity)
            }
            Err(IdentityError::WrongPassphrase) => {
                Err(Failure::new(Exit::WrongUnlockKey, format!("{shown}: wrong passphrase")).hint(
                    "`skep operator passphrase` changes it; without it nobody opens the file",
                ))
            }
            Err(error) => Err(unsound(error)),
        }
    }

    /// The key of a request that a file holds, and what opened it where it is sealed.
    ///
    /// # Errors
    /// A [`Failure`] with its hint: there is no passphrase, or it is the wrong one.
    pub fn open_key(
        &self,
        path: &Path,
        text: RequestKeyText,
    ) -> Result<(RequestKey, Option<Arc<PassphraseLock>>), Failure> {
        let shown = path.display();
        let lock = text.sealed_under().map(|spec| self.fetch(path, spec)).transpose()?;
        let lock = lock.map(Arc::new);
        let key = text.open_with(lock.as_deref()).map_err(|error| match error {
            RequestError::WrongPassphrase => {
                Failure::new(Exit::WrongUnlockKey, format!("{shown}: {error}")).hint(
                    "without its passphrase nobody opens it: make another request, `skep operator request --out FILE`",
                )
            }
            error => Failure::new(Exit::Usage, format!("{shown}: {error}"))
                .hint("`skep operator request --help` shows what is made of what"),
        })?;
        Ok((key, lock))
    }

    fn fetch(&self, path: &Path, spec: PassphraseSpec) -> Result<PassphraseLock, Failure> {
        let passphrase = match (&self.file, &self.command) {
            (Some(file), _) => of_file(file)?,
            (None, Some(command)) => of_command(command, path)?,
            (None, None) => of_terminal(path)?,
        };
        PassphraseLock::of(spec, &passphrase).map_err(|_| empty())
    }
}

/// A passphrase from a file, or from standard input for `-`.
fn of_file(file: &Path) -> Result<SecretBytes, Failure> {
    let shown = file.display();
    let read =
        if file.as_os_str() == "-" { stdin_once(READ_BYTES) } else { read_file(file, READ_BYTES) };
    let read = read.map_err(|error| match error.kind() {
        io::ErrorKind::FileTooLarge => one_line(),
        _ => Failure::new(Exit::Usage, format!("passphrase: {shown}: {error}"))
            .hint("give a file that holds the passphrase, or - for standard input"),
    })?;
    line(read)
}

/// What the program prints that the user's settings name.
fn of_command(command: &str, path: &Path) -> Result<SecretBytes, Failure> {
    let hint =
        format!("{IDENTITY_COMMAND} names a program that prints the passphrase, and its arguments");
    let bad = |why: &str| {
        Failure::new(Exit::Configuration, format!("the identity command {why}")).hint(&hint)
    };
    let words = shlex::split(command).ok_or_else(|| bad("has a quote that does not end"))?;
    let [program, arguments @ ..] = words.as_slice() else { return Err(bad("is empty")) };
    let mut command = Command::new(program);
    // A program that calls skep itself would go round in circles.
    command.args(arguments).env_remove(IDENTITY_COMMAND).env(IDENTITY_FILE, path);
    let printed = print_of(&mut command, READ_BYTES, PROGRAM).map_err(|error| match error {
        HelperError::NotStarted(_) => bad(&format!("{program}: {error}")),
        HelperError::Long(_) => one_line(),
        error => Failure::new(Exit::Refused, format!("the identity command {program} {error}"))
            .hint(
                "run it by hand: it is to print the passphrase of the identity, and nothing else",
            ),
    })?;
    line(printed)
}

fn of_terminal(path: &Path) -> Result<SecretBytes, Failure> {
    let shown = path.display();
    let typed = hidden(&format!("Passphrase of {shown}: "), PASSPHRASE_BYTES);
    let typed = typed.map_err(|error| {
        let why = no_terminal(&error);
        Failure::new(Exit::Usage, format!("{shown} is encrypted with a passphrase: {why}")).hint(
            "--passphrase-file names a file that holds it; SKEP_IDENTITY_COMMAND a program that prints it",
        )
    })?;
    line(typed)
}

fn no_terminal(error: &io::Error) -> String {
    if error.raw_os_error() == Some(rustix::io::Errno::NXIO.raw_os_error()) {
        return "there is no terminal to ask on".to_owned();
    }
    error.to_string()
}

/// One line without its end.
fn line(read: SecretBytes) -> Result<SecretBytes, Failure> {
    let read = without_line_end(read);
    if read.is_empty() {
        return Err(empty());
    }
    if read.len() > PASSPHRASE_BYTES || read.expose().iter().any(|byte| b"\n\r\0".contains(byte)) {
        return Err(one_line());
    }
    Ok(read)
}

fn empty() -> Failure {
    Failure::new(Exit::Usage, "the passphrase is empty").hint("look at where it comes from")
}

fn one_line() -> Failure {
    let text = format!("a passphrase is one line of at most {PASSPHRASE_BYTES} bytes");
    Failure::new(Exit::Usage, text).hint("look at where it comes from")
}

/// Why a new passphrase is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weak {
    Short,
    Same,
    Name,
}

impl fmt::Display for Weak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short => write!(f, "it has fewer than {LEAST_CHARS} characters"),
            Self::Same => write!(f, "it has fewer than {LEAST_KINDS} different characters"),
            Self::Name => f.write_str("it is little more than the name"),
        }
    }
}

/// Whether whoever has the file would guess it soon.
fn weak(passphrase: &SecretBytes, names: &[&str]) -> Option<Weak> {
    // Text is compared without its case; what is no text has bytes.
    let bytes = zeroize::Zeroizing::new(passphrase.expose().to_ascii_lowercase());
    let count = str::from_utf8(&bytes).map_or(bytes.len(), |text| text.chars().count());
    if count < LEAST_CHARS {
        return Some(Weak::Short);
    }
    let mut kinds = bytes.to_vec();
    kinds.sort_unstable();
    kinds.dedup();
    let kinds = zeroize::Zeroizing::new(kinds).len();
    if kinds < LEAST_KINDS {
        return Some(Weak::Same);
    }
    let named = names.iter().any(|name| {
        let name = name.to_ascii_lowercase();
        let name = name.as_bytes();
        let rest = rest_without(&bytes, name);
        !name.is_empty() && rest < bytes.len() && rest < LEAST_LEFT
    });
    named.then_some(Weak::Name)
}

/// Bytes that are left of a text without all occurrences of a name.
fn rest_without(text: &[u8], name: &[u8]) -> usize {
    let (mut at, mut rest) = (0, 0);
    while let Some(tail) = text.get(at..).filter(|tail| !tail.is_empty()) {
        if !name.is_empty() && tail.starts_with(name) {
            at += name.len();
        } else {
            at += 1;
            rest += 1;
        }
    }
    rest
}

/// A new passphrase, from a file (`-`: standard input) or asked for twice on the terminal. It is
/// no part of these names with little around them.
///
/// # Errors
/// A [`Failure`] with its hint: there is none, or it is weak.
pub fn new_passphrase(file: Option<&Path>, names: &[&str]) -> Result<SecretBytes, Failure> {
    let passphrase = if let Some(file) = file {
        of_file(file)?
    } else {
        let typed = hidden_twice("New passphrase: ", PASSPHRASE_BYTES).map_err(|error| {
            Failure::new(Exit::Usage, format!("new passphrase: {}", no_terminal(&error)))
                .hint("--new-passphrase-file names a file that holds it")
        })?;
        line(typed)?
    };
    match weak(&passphrase, names) {
        Some(weak) => Err(Failure::new(Exit::Usage, format!("the passphrase is too weak: {weak}"))
            .hint("take four or more words that have nothing to do with each other")),
        None => Ok(passphrase),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> SecretBytes {
        SecretBytes::copy_of(text.as_bytes())
    }

    #[test]
    fn weak_ones_are_refused() {
        let said = |text: &str| weak(&of(text), &["alice", "prod"]);
        for (text, why) in [
            ("", Weak::Short),
            ("elevenchars", Weak::Short),
            ("äöüäöüäöüäö", Weak::Short),
            ("aaaaaaaaaaaaaaaaaaaa", Weak::Same),
            ("abababababababab", Weak::Same),
            ("alicealicealice", Weak::Name),
            ("Alice-Alice-2026", Weak::Name),
            ("ALICEalice12345", Weak::Name),
            ("prodprodprod!a", Weak::Name),
        ] {
            assert_eq!(said(text), Some(why), "{text}");
        }
        for text in ["correct horse battery", "alice likes horses", "twelve chars"] {
            assert_eq!(said(text), None, "{text}");
        }
    }

    #[test]
    fn one_line_is_taken_without_its_end() {
        let taken = |text: &str| line(of(text)).map(|line| line.expose().to_vec());
        assert_eq!(taken("a b\n").expect("a line"), b"a b");
        assert_eq!(taken("a b\r\n").expect("a line"), b"a b");
        for bad in ["", "\n", "a\nb\n", "a\n\n", "a\0b", &"x".repeat(PASSPHRASE_BYTES + 1)] {
            assert_eq!(taken(bad).expect_err("refused").exit, Exit::Usage);
        }
    }

    #[test]
    fn a_command_prints_a_passphrase_without_a_shell() {
        let print = |command: &str| of_command(command, Path::new("/some where/a.skepid"));
        let printed = print("printf '%s' 'correct horse'").expect("printed");
        assert_eq!(printed.expose(), b"correct horse");
        let printed = print("printf '%s\\n' '$HOME; `id`'").expect("printed");
        assert_eq!(printed.expose(), b"$HOME; `id`", "nothing is expanded");
        let printed = print("sh -c 'printf \"%s\" \"$SKEP_IDENTITY_FILE\"'").expect("printed");
        assert_eq!(printed.expose(), b"/some where/a.skepid");
        for (command, exit, what) in [
            ("", Exit::Configuration, "is empty"),
            ("printf 'a", Exit::Configuration, "quote"),
            ("/nonexistent/agent -x", Exit::Configuration, "cannot be started"),
            ("false", Exit::Refused, "ended with"),
            ("true", Exit::Usage, "empty"),
            ("yes", Exit::Usage, "one line"),
            ("printf 'a\\nb'", Exit::Usage, "one line"),
        ] {
            let failure = print(command).expect_err(command);
            assert_eq!(failure.exit, exit, "{command}: {failure}");
            assert!(failure.text.contains(what) && failure.hint.is_some(), "{command}: {failure}");
        }
    }
}
