//! `skep registry`: this process becomes `skep-registry`, the program of the registry side. It
//! is a package of its own, so that what it brings is in no manager and no agent.

use std::ffi::{OsStr, OsString};
use std::io::ErrorKind;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use super::problem::Trouble;
use skep_core::base::{Exit, Failure};

/// The word that it is typed as.
const WORD: &str = "registry";
/// The program, and the package that brings it.
const PROGRAM: &str = "skep-registry";

/// What stands behind `skep registry`, untouched, if that was typed.
pub(super) fn typed(words: &[OsString]) -> Option<&[OsString]> {
    let (head, rest) = words.split_at_checked(2)?;
    (head.last().map(OsString::as_os_str) == Some(OsStr::new(WORD))).then_some(rest)
}

/// Becomes it; comes back only where that failed. It is looked for in the folder of this
/// program's own file and nowhere else: a `PATH` is whoever's who calls.
pub(super) fn run(words: &[OsString]) -> Trouble {
    let own = match std::env::current_exe() {
        Ok(own) => own,
        Err(error) => {
            let text = format!("cannot find this program's own file: {error}");
            let hint = "is /proc mounted?";
            return Failure::new(Exit::Configuration, text).hint(hint).into();
        }
    };
    let program = own.with_file_name(PROGRAM);
    let error = Command::new(&program).args(words).exec();
    let shown = program.display();
    let (text, hint) = match error.kind() {
        ErrorKind::NotFound => (
            format!("{shown} is missing"),
            format!("the package {PROGRAM} brings it, beside `skep` itself"),
        ),
        ErrorKind::ArgumentListTooLong => {
            let hint = "give it fewer words".to_owned();
            return Failure::new(Exit::Usage, format!("{shown}: {error}")).hint(hint).into();
        }
        _ => (
            format!("{shown}: {error}"),
            format!("install the package {PROGRAM} of this machine's kind again"),
        ),
    };
    Failure::new(Exit::Configuration, text).hint(hint).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_word_says_so_and_the_rest_is_untouched() {
        let of = |line: &str| line.split(' ').map(OsString::from).collect::<Vec<_>>();
        let rest = |line: &str| typed(&of(line)).map(<[OsString]>::to_vec);
        assert_eq!(rest("skep registry -- --help -x"), Some(of("-- --help -x")));
        assert_eq!(rest("skep registry"), Some(Vec::new()));
        for line in
            ["skep", "skep exec registry", "skep registry-x", "registry x", "skep -- registry"]
        {
            assert_eq!(rest(line), None, "{line}");
        }
    }
}
