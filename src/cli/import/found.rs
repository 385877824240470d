//! What is to be imported: all of it is read and checked before anything is made.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{Mode, OFlags, open};
use serde::de::{Deserializer, MapAccess, Visitor};
use skep_client::machine::{read_all, without_line_end};
use skep_core::base::{Name, SecretBytes, limits};

use super::dotenv;
use crate::cli::args::ImportKind;
use crate::cli::problem::{Trouble, usage};

/// Bytes of all values of an import: they stand in memory at once.
const BYTES: u64 = 256 * 1024 * 1024;
/// Docker Swarm's words.
const SIZE: &str = "has 0 or more than 511,999 bytes";

/// A secret to be.
pub(super) struct Found {
    pub(super) name: Name,
    pub(super) value: SecretBytes,
}

/// How names and values are made of what is read.
pub(super) struct Rules<'a> {
    pub(super) prefix: &'a str,
    pub(super) strip: bool,
}

/// What could not be taken: the first, and how many there are.
#[derive(Default)]
struct Wrong {
    first: Option<String>,
    count: usize,
}

impl Wrong {
    fn add(&mut self, why: String) {
        self.first.get_or_insert(why);
        self.count += 1;
    }
}

/// What there is so far.
struct All<'a> {
    rules: &'a Rules<'a>,
    found: Vec<Found>,
    names: BTreeSet<skep_core::base::NameKey>,
    bytes: u64,
    wrong: Wrong,
}

impl All<'_> {
    /// One more: where it stands, its name there, its value.
    fn add(&mut self, place: &str, name: &str, value: SecretBytes) {
        let value = if self.rules.strip { without_line_end(value) } else { value };
        let name = format!("{}{name}", self.rules.prefix).parse::<Name>();
        let name = match name {
            Ok(name) => name,
            Err(error) => return self.wrong.add(format!("{place}: {error}")),
        };
        if value.is_empty() || value.len() > limits::VALUE_BYTES {
            return self.wrong.add(format!("{place}: the value {SIZE}"));
        }
        if !self.names.insert(name.key()) {
            return self.wrong.add(format!("{place}: there are two of the name {name}"));
        }
        self.bytes += u64::try_from(value.len()).unwrap_or(u64::MAX);
        if self.bytes > BYTES || self.found.len() >= limits::SECRETS {
            return self.wrong.add(format!("{place}: all values are too large or too many"));
        }
        self.found.push(Found { name, value });
    }
}

/// Which kind it is, by its name where nobody said so.
pub(super) fn kind_of(from: &Path) -> Result<ImportKind, Trouble> {
    let shown = from.display();
    let name =
        from.file_name().map(|name| name.as_bytes().to_ascii_lowercase()).unwrap_or_default();
    let met = std::fs::metadata(from)
        .map_err(|error| usage(format!("{shown}: {error}"), "name a folder or a file"))?;
    match name.as_slice() {
        _ if met.is_dir() => Ok(ImportKind::Folder),
        name if name.ends_with(b".json") => Ok(ImportKind::Json),
        name if name.ends_with(b".env") || name.starts_with(b".env.") => Ok(ImportKind::Env),
        _ => Err(usage(
            format!("{shown}: is neither a folder nor called .env or .json"),
            "--kind env or --kind json says what it is",
        )),
    }
}

/// Reads and checks all of it.
pub(super) fn read(from: &Path, kind: ImportKind, rules: &Rules) -> Result<Vec<Found>, Trouble> {
    let names = BTreeSet::new();
    let mut all = All { rules, found: Vec::new(), names, bytes: 0, wrong: Wrong::default() };
    match kind {
        ImportKind::Folder => folder(from, &mut all)?,
        ImportKind::Env => env(from, &mut all)?,
        ImportKind::Json => json(from, &mut all)?,
    }
    let more = match all.wrong.count {
        0 | 1 => String::new(),
        count => format!(", and {} more", count - 1),
    };
    if let Some(first) = all.wrong.first {
        let hint = "nothing was made; --prefix goes before each name";
        return Err(usage(format!("{first}{more}"), hint));
    }
    if all.found.is_empty() {
        return Err(usage(format!("{}: there is nothing to import", from.display()), "look at it"));
    }
    Ok(all.found)
}

fn folder(from: &Path, all: &mut All) -> Result<(), Trouble> {
    let cannot = |error: io::Error| {
        usage(format!("{}: {error}", from.display()), "name a folder of files that can be read")
    };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(from).map_err(cannot)? {
        paths.push(entry.map_err(cannot)?.path());
    }
    paths.sort();
    for path in paths {
        let shown = path.display().to_string();
        match file(&path, limits::VALUE_BYTES + 2) {
            Ok(value) => {
                // What is no text is no name.
                let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
                all.add(&shown, name, value);
            }
            Err(why) => all.wrong.add(format!("{shown}: {why}")),
        }
    }
    Ok(())
}

/// A plain file of at most so many bytes, which is no link to one.
fn file(path: &Path, most: usize) -> Result<SecretBytes, String> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let opened = open(path, flags, Mode::empty()).map_err(|error| match error {
        rustix::io::Errno::LOOP => "is a symbolic link, and may lead anywhere".to_owned(),
        error => io::Error::from(error).to_string(),
    })?;
    plain(&File::from(opened), most)
}

fn plain(file: &File, most: usize) -> Result<SecretBytes, String> {
    let met = file.metadata().map_err(|error| error.to_string())?;
    if !met.is_file() {
        return Err("is no plain file".to_owned());
    }
    let length = usize::try_from(met.len()).unwrap_or(usize::MAX);
    if length > most {
        return Err(format!("has more than {most} bytes"));
    }
    read_all(file, length).map_err(|error| match error.kind() {
        io::ErrorKind::FileTooLarge => "grew while it was read".to_owned(),
        _ => error.to_string(),
    })
}

/// A whole file of values, which may be named by a link.
fn text(from: &Path) -> Result<SecretBytes, Trouble> {
    let most = usize::try_from(BYTES).unwrap_or(usize::MAX);
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let opened =
        open(from, flags, Mode::empty()).map_err(|error| io::Error::from(error).to_string());
    opened
        .and_then(|opened| plain(&File::from(opened), most))
        .map_err(|why| usage(format!("{}: {why}", from.display()), "name a file that can be read"))
}

fn env(from: &Path, all: &mut All) -> Result<(), Trouble> {
    let text = text(from)?;
    let shown = from.display();
    let entries = dotenv::parse(text.expose()).map_err(|bad| {
        let why = format!("{shown}, line {}: {}", bad.line, bad.why);
        usage(why, "a line is NAME=value, NAME='value' or NAME=\"value\"; nothing was made")
    })?;
    for entry in entries {
        all.add(&format!("{shown}, line {}", entry.line), &entry.key, entry.value);
    }
    Ok(())
}

fn json(from: &Path, all: &mut All) -> Result<(), Trouble> {
    let text = text(from)?;
    let shown = from.display().to_string();
    let mut reader = serde_json::Deserializer::from_slice(text.expose());
    let read = reader.deserialize_map(Object).and_then(|entries| reader.end().map(|()| entries));
    // The library's own words would quote what it met.
    let entries = read.map_err(|error| {
        let why = if error.is_data() { "is no object of texts" } else { "is no JSON" };
        usage(format!("{shown}, line {}: {why}", error.line()), "write {\"NAME\": \"value\", …}")
    })?;
    for (number, (key, value)) in entries.into_iter().enumerate() {
        all.add(&format!("{shown}, entry {}", number + 1), &key, value);
    }
    Ok(())
}

/// An object of texts, each entry of it: two of one name are both there.
struct Object;

impl<'de> Visitor<'de> for Object {
    type Value = Vec<(String, SecretBytes)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of texts")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut all = Vec::new();
        while let Some((key, Text(value))) = map.next_entry::<String, Text>()? {
            all.push((key, value));
        }
        Ok(all)
    }
}

struct Text(SecretBytes);

impl<'de> serde::Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Of;
        impl Visitor<'_> for Of {
            type Value = Text;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Text, E> {
                Ok(Text(SecretBytes::copy_of(text.as_bytes())))
            }
        }
        from.deserialize_str(Of)
    }
}
