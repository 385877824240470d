//! Secret input: from a file, standard input or a hidden prompt, never from an
//! argument.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use skep_client::Drawn;
use skep_client::machine::{hidden, hidden_twice, read_file, stdin_once, without_line_end};
use skep_core::base::{Dice, Exit, Failure, SecretBytes, limits};
use skep_core::domain::{BadPublicPart, PublicPart};

use super::drawing::Drawing;
use super::problem::{Trouble, usage};

/// Docker Swarm's words.
const SIZE: &str = "secret data must be larger than 0 and less than 512000 bytes";
/// Bytes of an unlock key's text with white space around it: more than enough.
const KEY_BYTES: usize = 4096;

const NEVER: &str =
    "a value is never an argument: give a file, pipe it in with -, or give nothing to be asked";

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// This file.
    File(PathBuf),
    /// Standard input, to its end.
    Stdin,
    /// A hidden prompt, twice.
    Prompt,
    /// Nowhere: it is drawn.
    Generate(Drawing),
}

impl Source {
    /// What was typed: a file, `-`, or nothing.
    pub(super) fn of(typed: Option<PathBuf>) -> Self {
        match typed {
            Some(path) if path.as_os_str() == "-" => Self::Stdin,
            Some(path) => Self::File(path),
            None if io::stdin().is_terminal() => Self::Prompt,
            None => Self::Stdin,
        }
    }
}

/// A secret's value, of a size that is allowed, and what is public of it, where that is drawn
/// with it or stands in a file. `name` is for the prompt.
pub(super) fn value(
    dice: &mut dyn Dice,
    source: &Source,
    name: &str,
    strip: bool,
    public: Option<&Path>,
) -> Result<Drawn, Trouble> {
    let public = public.map(public_part).transpose()?;
    let drawn = match source {
        Source::Generate(kind) => kind.draw(dice, name)?,
        source => read(source, name, strip)?.into(),
    };
    Ok(Drawn { public: public.or(drawn.public), ..drawn })
}

fn public_part(path: &Path) -> Result<PublicPart, Trouble> {
    let hint = "give a file of the public half: it is shown to whoever may see the secret's name";
    let wrong = |why: String| usage(format!("{}: {why}", path.display()), hint);
    let text = read_file(path, limits::PUBLIC_BYTES + 1);
    let text = text.map_err(|error| match error.kind() {
        io::ErrorKind::FileTooLarge => wrong(BadPublicPart::Size.to_string()),
        _ => wrong(error.to_string()),
    })?;
    let text = str::from_utf8(text.expose()).map_err(|_| BadPublicPart::NoText);
    let part = text.and_then(str::parse::<PublicPart>);
    // Keys of one kind are easily taken for the other.
    match part.map_err(|error| wrong(error.to_string()))? {
        part if part.as_str().contains("PRIVATE KEY") => Err(wrong("holds a private key".into())),
        part => Ok(part),
    }
}

fn read(source: &Source, name: &str, strip: bool) -> Result<SecretBytes, Trouble> {
    // One byte more than a line end, so that a value of the greatest size has room for one.
    let most = limits::VALUE_BYTES + 2;
    let read = match source {
        Source::File(path) => read_file(path, most),
        Source::Stdin => stdin_once(most),
        Source::Prompt => hidden_twice(&format!("Value of {name}: "), most),
        Source::Generate(_) => Err(io::ErrorKind::Unsupported.into()),
    };
    let value = read.map_err(|error| no_value(source, &error))?;
    let value = if strip { without_line_end(value) } else { value };
    match value.len() {
        0 => Err(empty()),
        1..=limits::VALUE_BYTES => Ok(value),
        _ => Err(too_large()),
    }
}

/// What is odd about a value, and may be a mistake. It tells nothing of the value itself.
pub(super) fn oddities(value: &SecretBytes) -> Vec<&'static str> {
    let bytes = value.expose();
    let is_pem = bytes.trim_ascii_start().starts_with(b"-----BEGIN ");
    let mut odd = Vec::new();
    if bytes.trim_ascii().is_empty() {
        odd.push("is white space alone");
    }
    if is_pem && bytes.windows(2).any(|pair| pair == b"\r\n") {
        odd.push("is PEM with line ends of Windows, which some programs can't read");
    }
    if is_pem && !bytes.ends_with(b"\n") {
        odd.push("is PEM without an end of the last line, which some programs can't read");
    }
    odd
}

fn too_large() -> Trouble {
    usage(SIZE, "a larger thing: encrypt it, and keep its key here")
}

fn empty() -> Trouble {
    usage(SIZE, "the value is empty: look at the file, or at the command that should write it")
}

fn no_value(source: &Source, error: &io::Error) -> Trouble {
    if error.kind() == io::ErrorKind::FileTooLarge {
        return too_large();
    }
    match source {
        // What was typed could be the value itself: it is repeated only if it looks like a path.
        Source::File(path)
            if error.kind() == io::ErrorKind::NotFound && looks_like_a_path(path) =>
        {
            usage(format!("{}: there is no such file", path.display()), NEVER)
        }
        Source::File(_) if error.kind() == io::ErrorKind::NotFound => {
            usage("the file to read the value from does not exist", NEVER)
        }
        Source::File(path) => usage(
            format!("{}: {error}", path.display()),
            "give a file that can be read, or pipe the value in with -",
        ),
        Source::Stdin => usage(format!("standard input: {error}"), "pipe the value in"),
        Source::Prompt | Source::Generate(_) => {
            usage(error.to_string(), "pipe the value in with -, or give a file")
        }
    }
}

fn looks_like_a_path(path: &Path) -> bool {
    path.is_absolute() || path.starts_with(".") || path.starts_with("..")
}

/// The text of an unlock key: from a file, standard input, or a hidden prompt.
pub(super) fn unlock_key(file: Option<PathBuf>) -> Result<SecretBytes, Trouble> {
    let source = Source::of(file);
    let read = match &source {
        Source::File(path) => read_file(path, KEY_BYTES)
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display()))),
        Source::Stdin => stdin_once(KEY_BYTES),
        Source::Prompt | Source::Generate(_) => hidden("Unlock key: ", KEY_BYTES),
    };
    read.map_err(|error| match error.kind() {
        io::ErrorKind::FileTooLarge => {
            Failure::new(Exit::WrongUnlockKey, "the unlock key is not of the expected form")
                .hint("an unlock key begins with SKEPKEY-1-; `skep init` wrote it out")
                .into()
        }
        _ => usage(error, "give --key-file FILE, pipe the key in, or give nothing to be asked"),
    })
}

/// A join token from a file, or from standard input for `-`.
pub(super) fn join_token(file: PathBuf) -> Result<SecretBytes, Trouble> {
    let read = match &Source::of(Some(file)) {
        Source::File(path) => read_file(path, KEY_BYTES)
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display()))),
        Source::Stdin | Source::Prompt | Source::Generate(_) => stdin_once(KEY_BYTES),
    };
    read.map_err(|error| usage(error, "give --token-file FILE, or pipe the token in"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use skep_client::machine::OsDice;
    use std::io::Write;

    fn file_of(length: usize, end: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(&vec![b'v'; length]).expect("written");
        file.write_all(end).expect("written");
        file
    }

    fn read(file: &tempfile::NamedTempFile, strip: bool) -> Result<usize, String> {
        match value(&mut OsDice, &Source::File(file.path().into()), "a", strip, None) {
            Ok(drawn) => Ok(drawn.value.len()),
            Err(Trouble::Failed(failure)) => {
                assert_eq!(failure.exit, Exit::Usage);
                Err(failure.text)
            }
            Err(Trouble::Told(exit)) => panic!("{exit:?}"),
        }
    }

    #[test]
    fn sizes_are_swarms() {
        assert_eq!(read(&file_of(0, b""), false), Err(SIZE.into()));
        assert_eq!(read(&file_of(1, b""), false), Ok(1));
        assert_eq!(read(&file_of(511_999, b""), false), Ok(511_999));
        assert_eq!(read(&file_of(512_000, b""), false), Err(SIZE.into()));
        assert_eq!(read(&file_of(3_000_000, b""), false), Err(SIZE.into()));
    }

    #[test]
    fn one_line_end_is_left_out_if_asked_for() {
        assert_eq!(read(&file_of(3, b"\n"), false), Ok(4));
        assert_eq!(read(&file_of(3, b"\n"), true), Ok(3));
        assert_eq!(read(&file_of(3, b"\r\n"), true), Ok(3));
        assert_eq!(read(&file_of(3, b"\n\n"), true), Ok(4));
        assert_eq!(read(&file_of(511_999, b"\r\n"), true), Ok(511_999));
        assert_eq!(read(&file_of(512_000, b"\n"), true), Err(SIZE.into()));
        assert_eq!(read(&file_of(0, b"\n"), true), Err(SIZE.into()));
    }

    #[test]
    fn a_value_typed_as_a_file_is_not_repeated() {
        let source = Source::File("hunter2-is-no-file".into());
        let Err(Trouble::Failed(failure)) = value(&mut OsDice, &source, "a", false, None) else {
            panic!("read")
        };
        assert!(!failure.to_string().contains("hunter2"));
        assert!(failure.hint.is_some_and(|hint| hint.contains("never an argument")));
    }

    #[test]
    fn a_folder_is_no_value() {
        let source = Source::File(std::env::temp_dir());
        assert!(value(&mut OsDice, &source, "a", false, None).is_err());
    }

    #[test]
    fn a_public_part_is_read_beside_the_value() {
        let source = Source::Generate("hex:16".parse().expect("a kind"));
        let read = |bytes: &[u8]| {
            let file = file_of(0, bytes);
            match value(&mut OsDice, &source, "a", false, Some(file.path())) {
                Ok(drawn) => Ok(drawn.public.expect("a public part").to_string()),
                Err(Trouble::Failed(failure)) => Err(failure.to_string()),
                Err(Trouble::Told(exit)) => panic!("{exit:?}"),
            }
        };
        assert_eq!(read(b"some lines\nof text\n"), Ok("some lines\nof text\n".to_owned()));
        for (bytes, why) in [
            (&b""[..], "has 1 to 4096 bytes"),
            (&[b'x'; 4097], "has 1 to 4096 bytes"),
            (&[b'x'; 9000], "has 1 to 4096 bytes"),
            (b"\xff\xfe", "is text in lines"),
            (b"\x1b[2J", "is text in lines"),
            (b"-----BEGIN EC PRIVATE KEY-----\n", "holds a private key"),
        ] {
            let said = read(bytes).expect_err("refused");
            assert!(said.contains(why), "{said}");
        }
    }
}
