//! Values that nobody has to think of: drawn here, or, of kinds that bring a library with them,
//! by the program beside this one that has it.

use std::fmt;
use std::str::FromStr;

use skep_client::{BadKind, Drawn, Generate};
use skep_core::base::{Dice, Exit, Failure, SecretBytes};
use skep_core::domain::PublicPart;

use super::beside::Beside;
use super::problem::Trouble;

/// Where the public half begins, behind the private one.
const PUBLIC: &[u8] = b"-----BEGIN PGP PUBLIC KEY BLOCK-----";
/// Bytes of both halves.
const KEY_BYTES: usize = 16 * 1024;

/// What kind of value is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Drawing {
    /// One that the client knows.
    Own(Generate),
    /// A key of `OpenPGP`, with its public half. Its user id is the secret's name.
    OpenPgp,
}

impl FromStr for Drawing {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(kind) => Ok(Self::Own(kind)),
            Err(_) if text == "openpgp" => Ok(Self::OpenPgp),
            Err(_) if text.starts_with("openpgp:") => Err(BadKind::NoLength.to_string()),
            Err(BadKind::Unknown) => {
                Err("is none of password, hex, p256, ed25519, cosign and openpgp".to_owned())
            }
            Err(bad @ (BadKind::NoLength | BadKind::Length)) => Err(bad.to_string()),
        }
    }
}

impl fmt::Display for Drawing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own(kind) => kind.fmt(f),
            Self::OpenPgp => f.write_str("openpgp"),
        }
    }
}

impl Drawing {
    /// Draws a value for the secret of this name.
    ///
    /// # Errors
    /// The program that draws it is missing, or draws none.
    pub(super) fn draw(self, dice: &mut dyn Dice, name: &str) -> Result<Drawn, Trouble> {
        match self {
            Self::Own(kind) => {
                let drawn = kind.draw(dice);
                drawn.map_err(|error| Failure::new(Exit::Bug, error).into())
            }
            Self::OpenPgp => {
                let words = ["draw-openpgp", "--", name];
                halves(&Beside::Registry.piped(&words, KEY_BYTES)?)
            }
        }
    }
}

/// The private half, then the public one.
fn halves(both: &SecretBytes) -> Result<Drawn, Trouble> {
    let bytes = both.expose();
    let at = bytes.windows(PUBLIC.len()).position(|window| window == PUBLIC);
    let (private, public) = bytes.split_at(at.unwrap_or_default());
    let public = str::from_utf8(public).ok().and_then(|text| text.parse::<PublicPart>().ok());
    let public = public.filter(|_| private.starts_with(b"-----BEGIN PGP PRIVATE KEY BLOCK-----"));
    let Some(public) = public else {
        let text = "skep-registry wrote no key of OpenPGP";
        let hint = "its package and that of `skep` are of one version: install both again";
        return Err(Failure::new(Exit::Configuration, text).hint(hint).into());
    };
    Ok(Drawn { value: SecretBytes::copy_of(private), public: Some(public) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_read_as_they_are_shown() {
        for kind in ["openpgp", "cosign", "password:12", "hex:16", "p256", "ed25519"] {
            assert_eq!(kind.parse::<Drawing>().expect("a kind").to_string(), kind);
        }
        for (text, why) in [
            ("pgp", "is none of password, hex, p256, ed25519, cosign and openpgp"),
            ("openpgp:1", "takes no length"),
            ("cosign:1", "takes no length"),
            ("hex:1", "has a length of 12 to 4096"),
        ] {
            let said = text.parse::<Drawing>().expect_err(text);
            assert!(said.starts_with(why), "{said}");
        }
    }

    #[test]
    fn both_halves_have_to_be_there() {
        let private = "-----BEGIN PGP PRIVATE KEY BLOCK-----\nx\n";
        let public = "-----BEGIN PGP PUBLIC KEY BLOCK-----\ny\n";
        let read = |text: String| halves(&SecretBytes::copy_of(text.as_bytes()));
        let drawn = read(format!("{private}{public}"));
        let Ok(Drawn { value, public: Some(half) }) = drawn else { panic!("no halves") };
        assert_eq!((value.expose(), half.as_str()), (private.as_bytes(), public));
        let long = format!("{private}{public}{}", "z".repeat(4096));
        for bad in [String::new(), private.to_owned(), public.to_owned(), long] {
            assert!(read(bad).is_err());
        }
    }
}
