//! Words that another program stands behind: this process becomes it, or reads what it writes. Each is a package of its
//! own, so that what it brings is in no manager and no agent.

use std::ffi::{OsStr, OsString};
use std::io::{Error, ErrorKind};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use skep_client::machine::read_all;

use super::problem::Trouble;
use skep_core::base::{Exit, Failure, SecretBytes};

/// Which program it is; its package has the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beside {
    /// `skep registry`
    Registry,
    /// `skep docker-api`
    DockerApi,
    /// `skep compose`
    Compose,
}

impl Beside {
    const ALL: [Self; 3] = [Self::Registry, Self::DockerApi, Self::Compose];

    fn word(self) -> &'static str {
        match self {
            Self::Registry => "registry",
            Self::DockerApi => "docker-api",
            Self::Compose => "compose",
        }
    }

    fn program(self) -> &'static str {
        match self {
            Self::Registry => "skep-registry",
            Self::DockerApi | Self::Compose => "skep-docker",
        }
    }

    /// The word that the program itself takes first.
    fn passed(self) -> Option<&'static str> {
        match self {
            Self::Registry => None,
            Self::DockerApi | Self::Compose => Some(self.word()),
        }
    }

    /// Where it is: in the folder of this program's own file and nowhere else, for a `PATH` is
    /// whoever's who calls.
    fn path(self) -> Result<PathBuf, Failure> {
        let own = std::env::current_exe().map_err(|error| {
            let text = format!("cannot find this program's own file: {error}");
            Failure::new(Exit::Configuration, text).hint("is /proc mounted?")
        })?;
        Ok(own.with_file_name(self.program()))
    }

    /// Becomes it; comes back only where that failed.
    pub(super) fn run(self, words: &[OsString]) -> Trouble {
        match self.path() {
            Ok(program) => {
                let error = Command::new(&program).args(self.passed()).args(words).exec();
                self.not_run(&program, &error).into()
            }
            Err(failure) => failure.into(),
        }
    }

    /// What it writes to its standard output, at most so many bytes. It is given nothing of the
    /// environment; what it says of a failure goes to standard error.
    pub(super) fn piped(self, words: &[&str], most: usize) -> Result<SecretBytes, Failure> {
        let program = self.path()?;
        let mut command = Command::new(&program);
        command.args(self.passed()).args(words).env_clear();
        let spawned = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        let mut child = spawned.map_err(|error| self.not_run(&program, &error))?;
        let written = match child.stdout.take() {
            Some(out) => read_all(out, most),
            None => Err(ErrorKind::BrokenPipe.into()),
        };
        // It ends where nobody reads on.
        let ended = child.wait();
        let shown = program.display();
        match (written, ended) {
            (Ok(bytes), Ok(status)) if status.success() => Ok(bytes),
            (_, Ok(status)) => {
                let text = format!("{shown} ended with {status}");
                let hint = "its package and that of `skep` are of one version: install both again";
                Err(Failure::new(Exit::Configuration, text).hint(hint))
            }
            (_, Err(error)) => Err(self.not_run(&program, &error)),
        }
    }

    fn not_run(self, program: &Path, error: &Error) -> Failure {
        let (shown, name) = (program.display(), self.program());
        let (text, hint) = match error.kind() {
            ErrorKind::NotFound => (
                format!("{shown} is missing"),
                format!("the package {name} brings it, beside `skep` itself"),
            ),
            ErrorKind::ArgumentListTooLong => {
                let text = format!("{shown}: {error}");
                return Failure::new(Exit::Usage, text).hint("give it fewer words");
            }
            _ => (
                format!("{shown}: {error}"),
                format!("install the package {name} of this machine's kind again"),
            ),
        };
        Failure::new(Exit::Configuration, text).hint(hint)
    }
}

/// What stands behind such a word, untouched, if one was typed.
pub(super) fn typed(words: &[OsString]) -> Option<(Beside, &[OsString])> {
    let (head, rest) = words.split_at_checked(2)?;
    let word = head.last().map(OsString::as_os_str)?;
    let beside = Beside::ALL.into_iter().find(|beside| word == OsStr::new(beside.word()))?;
    Some((beside, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_word_says_so_and_the_rest_is_untouched() {
        let of = |line: &str| line.split(' ').map(OsString::from).collect::<Vec<_>>();
        let rest = |line: &str| typed(&of(line)).map(|(beside, rest)| (beside, rest.to_vec()));
        let registry = |rest| Some((Beside::Registry, rest));
        assert_eq!(rest("skep registry -- --help -x"), registry(of("-- --help -x")));
        assert_eq!(rest("skep registry"), registry(Vec::new()));
        assert_eq!(rest("skep docker-api --help"), Some((Beside::DockerApi, of("--help"))));
        assert_eq!(rest("skep compose import x"), Some((Beside::Compose, of("import x"))));
        for line in
            ["skep", "skep exec registry", "skep registry-x", "registry x", "skep -- registry"]
        {
            assert_eq!(rest(line), None, "{line}");
        }
    }
}
