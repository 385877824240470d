//! Words that another program stands behind: this process becomes it. Each is a package of its
//! own, so that what it brings is in no manager and no agent.

use std::ffi::{OsStr, OsString};
use std::io::ErrorKind;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use super::problem::Trouble;
use skep_core::base::{Exit, Failure};

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

    /// Becomes it; comes back only where that failed. It is looked for in the folder of this
    /// program's own file and nowhere else: a `PATH` is whoever's who calls.
    pub(super) fn run(self, words: &[OsString]) -> Trouble {
        let own = match std::env::current_exe() {
            Ok(own) => own,
            Err(error) => {
                let text = format!("cannot find this program's own file: {error}");
                let hint = "is /proc mounted?";
                return Failure::new(Exit::Configuration, text).hint(hint).into();
            }
        };
        let name = self.program();
        let program = own.with_file_name(name);
        let error = Command::new(&program).args(self.passed()).args(words).exec();
        let shown = program.display();
        let (text, hint) = match error.kind() {
            ErrorKind::NotFound => (
                format!("{shown} is missing"),
                format!("the package {name} brings it, beside `skep` itself"),
            ),
            ErrorKind::ArgumentListTooLong => {
                let hint = "give it fewer words".to_owned();
                return Failure::new(Exit::Usage, format!("{shown}: {error}")).hint(hint).into();
            }
            _ => (
                format!("{shown}: {error}"),
                format!("install the package {name} of this machine's kind again"),
            ),
        };
        Failure::new(Exit::Configuration, text).hint(hint).into()
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
