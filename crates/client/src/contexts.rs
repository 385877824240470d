//! Contexts: which of several clusters a user's commands are about.
//!
//! They stand in one file of the user's own, `skep/contexts.toml` below the folder of settings.
//! A context names managers, an identity file and a manager's socket, as the flags do. It keeps
//! no secret: an identity stays where it is.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config::{bad, load_from, no_address};
use crate::link::read_address;
use skep_core::base::{Exit, Failure, Name};

/// The name that stands for no context: this machine, flags, environment and `cli.toml`.
pub const DEFAULT: &str = "default";
/// Contexts of a user.
const CONTEXTS: usize = 256;
/// Managers of one.
const HOSTS: usize = 32;
const FOLDER: &str = "skep";
const FILE: &str = "contexts.toml";

/// One context.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Context {
    /// Managers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub host: Vec<String>,
    /// The identity file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<PathBuf>,
    /// A manager's socket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub socket: Option<PathBuf>,
}

/// A user's contexts.
#[derive(Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Contexts {
    /// The one in use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current: Option<String>,
    /// All of them.
    #[serde(rename = "context", skip_serializing_if = "BTreeMap::is_empty")]
    pub all: BTreeMap<String, Context>,
}

/// Where they stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContextFile(PathBuf);

impl ContextFile {
    /// This user's; none where the environment names no home.
    #[must_use]
    pub fn of_user() -> Option<Self> {
        Self::below(std::env::var_os("XDG_CONFIG_HOME"), std::env::var_os("HOME"))
    }

    /// By the rules of the XDG base directories: what is not absolute is not set.
    fn below(config: Option<OsString>, home: Option<OsString>) -> Option<Self> {
        let absolute = |path: OsString| Some(PathBuf::from(path)).filter(|path| path.is_absolute());
        let folder = config.and_then(absolute);
        let folder = folder.or_else(|| Some(home.and_then(absolute)?.join(".config")))?;
        Some(Self(folder.join(FOLDER).join(FILE)))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Reads them. A file that is not there has none.
    ///
    /// # Errors
    /// A [`Failure`] of bad configuration, with its hint and the line.
    pub fn read(&self) -> Result<Contexts, Failure> {
        let read: Contexts = load_from(&self.0, true)?;
        let wrong = |why: String| {
            bad(format!("{}: {why}", self.0.display()))
                .hint("`skep context ls` reads it; a context is added by `skep context add NAME --identity FILE`")
        };
        if read.all.len() > CONTEXTS {
            return Err(wrong(format!("more than {CONTEXTS} contexts")));
        }
        for (name, context) in &read.all {
            name_of(name).map_err(|why| wrong(why.text))?;
            if context.host.len() > HOSTS {
                return Err(wrong(format!("context {name}: more than {HOSTS} managers")));
            }
            for host in &context.host {
                read_address(host).map_err(|error| wrong(format!("context {name}: {error}")))?;
            }
        }
        if let Some(current) = read.current.as_ref().filter(|name| !read.all.contains_key(*name)) {
            // It is printed as it stands only where it is a name.
            let current = name_of(current).map(|name| format!(" {name}")).unwrap_or_default();
            return Err(wrong(format!("current: there is no context{current}")));
        }
        Ok(read)
    }

    /// Changes them: one process at a time, and the file is whole at every moment.
    ///
    /// # Errors
    /// What `change` says, and a [`Failure`] where it can't be written: it is as it was.
    pub fn change<T>(
        &self,
        change: impl FnOnce(&mut Contexts) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let cannot = |error: io::Error| {
            Failure::new(Exit::Refused, format!("{}: {error}", self.0.display()))
                .hint("XDG_CONFIG_HOME names the folder in which settings are kept")
        };
        // Of a symbolic link the file that it names is replaced.
        let path = self.0.canonicalize().unwrap_or_else(|_absent| self.0.clone());
        let folder = path.parent().unwrap_or(Path::new("/"));
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(cannot)?;
        let held = File::open(folder).map_err(cannot)?;
        held.lock().map_err(cannot)?;
        let mut contexts = self.read()?;
        let done = change(&mut contexts)?;
        let text = toml::to_string(&contexts)
            .map_err(|error| Failure::new(Exit::Bug, format!("contexts: {error}")))?;
        let new = folder.join(format!(".{FILE}.new"));
        let replaced = replace(&new, &path, text.as_bytes()).and_then(|()| held.sync_all());
        if replaced.is_err() {
            // It may not be there.
            std::fs::remove_file(&new).ok();
        }
        replaced.map_err(cannot)?;
        Ok(done)
    }
}

fn replace(new: &Path, path: &Path, text: &[u8]) -> io::Result<()> {
    // Whoever left one held the lock, and does no more.
    match std::fs::remove_file(new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(new)?;
    file.write_all(text)?;
    file.sync_all()?;
    std::fs::rename(new, path)
}

/// The name of a context that was typed.
///
/// # Errors
/// A [`Failure`] of bad input: it is none, or stands for no context.
pub fn name_of(typed: &str) -> Result<Name, Failure> {
    let name: Name = typed.parse().map_err(|error| {
        Failure::new(Exit::Usage, format!("context: {error}")).hint("for example prod")
    })?;
    if name.as_str().eq_ignore_ascii_case(DEFAULT) {
        let text = format!("context: {DEFAULT} stands for no context");
        return Err(Failure::new(Exit::Usage, text).hint("choose another name, for example prod"));
    }
    Ok(name)
}

/// A context that is not there.
#[must_use]
pub fn not_found(name: &str) -> Failure {
    Failure::new(Exit::Refused, format!("context {name} not found"))
        .hint("`skep context ls` lists those that there are")
}

impl Contexts {
    /// Adds one.
    ///
    /// # Errors
    /// A [`Failure`]: there is one of that name, there are too many, or it says nothing.
    pub fn add(&mut self, name: &Name, mut context: Context) -> Result<(), Failure> {
        let usage = |text: String, hint: &str| Failure::new(Exit::Usage, text).hint(hint);
        if context == Context::default() {
            let hint = "give --identity FILE, --host HOST:PORT or --socket PATH";
            return Err(usage(format!("context {name} names nothing"), hint));
        }
        if context.host.len() > HOSTS {
            return Err(usage(format!("--host: more than {HOSTS} managers"), "name a few of them"));
        }
        for host in &mut context.host {
            *host = read_address(host).map_err(|error| no_address(Exit::Usage, &error))?;
        }
        if self.all.len() >= CONTEXTS {
            let text = format!("there are {CONTEXTS} contexts");
            return Err(
                Failure::new(Exit::Refused, text).hint("`skep context rm NAME` removes one")
            );
        }
        if self.all.contains_key(name.as_str()) {
            let text = format!("context {name} already exists");
            return Err(Failure::new(Exit::Refused, text)
                .hint(format!("`skep context rm {name}` removes it")));
        }
        self.all.insert(name.to_string(), context);
        Ok(())
    }

    /// The context of this name, or the one in use where nothing was typed; `default`, or none in
    /// use: none.
    ///
    /// # Errors
    /// A [`Failure`]: there is none of that name.
    pub fn chosen(&self, typed: Option<&str>) -> Result<Option<(&str, &Context)>, Failure> {
        let name = match typed {
            Some(DEFAULT) => return Ok(None),
            Some(typed) => name_of(typed)?.to_string(),
            None => match &self.current {
                Some(current) => current.clone(),
                None => return Ok(None),
            },
        };
        let found = self.all.get_key_value(&name).ok_or_else(|| not_found(&name))?;
        Ok(Some((found.0, found.1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> (tempfile::TempDir, ContextFile) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("skep").join(FILE);
        std::fs::create_dir(path.parent().expect("a folder")).expect("a folder");
        File::create(&path).and_then(|mut file| file.write_all(text.as_bytes())).expect("a file");
        (folder, ContextFile(path))
    }

    fn context(host: &str) -> Context {
        Context { host: vec![host.to_owned()], ..Context::default() }
    }

    #[test]
    fn the_file_stands_where_settings_do() {
        let of = |config: &str, home: &str| {
            let set = |text: &str| (!text.is_empty()).then(|| OsString::from(text));
            ContextFile::below(set(config), set(home)).map(|file| file.0.display().to_string())
        };
        let at = |path: &str| Some(path.to_owned());
        assert_eq!(of("/c", "/h"), at("/c/skep/contexts.toml"));
        assert_eq!(of("", "/h"), at("/h/.config/skep/contexts.toml"));
        assert_eq!(of("relative", "/h"), at("/h/.config/skep/contexts.toml"));
        assert_eq!(of("", "relative"), None);
        assert_eq!(of("", ""), None);
    }

    #[test]
    fn contexts_are_written_and_read_alike() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = ContextFile(folder.path().join("a/b").join(FILE));
        assert_eq!(file.read().expect("none"), Contexts::default());
        let name: Name = "prod.eu".parse().expect("a name");
        let prod = Context {
            host: vec!["m1".to_owned(), "m2:4441".to_owned()],
            identity: Some("/keys/with space.skepid".into()),
            socket: None,
        };
        file.change(|all| all.add(&name, prod)).expect("written");
        file.change(|all| {
            all.current = Some(name.to_string());
            Ok(())
        })
        .expect("written");
        let read = file.read().expect("read");
        let (found, context) = read.chosen(None).expect("sound").expect("one");
        assert_eq!(
            (found, context.host.as_slice()),
            ("prod.eu", &["m1:4440", "m2:4441"].map(String::from)[..])
        );
        assert!(read.chosen(Some(DEFAULT)).expect("sound").is_none());
        assert_eq!(read.chosen(Some("other")).expect_err("absent").exit, Exit::Refused);
        let refused = file.change(|all| all.add(&name, context_of_two())).expect_err("exists");
        assert!(refused.text.contains("already exists"), "{refused}");
        let mode = std::os::unix::fs::PermissionsExt::mode(
            &std::fs::metadata(file.path()).expect("a file").permissions(),
        );
        assert_eq!(mode & 0o777, 0o600);
    }

    fn context_of_two() -> Context {
        Context { host: vec!["a".to_owned(), "b".to_owned()], ..Context::default() }
    }

    #[test]
    fn what_nobody_knows_is_refused_with_its_line() {
        for (text, said) in [
            ("current = \"a\"\n", "there is no context a"),
            ("current = \"\\u001b[2J\"\n", "there is no context"),
            ("# x\nhosts = 1\n", "line 2: unknown field"),
            ("[context.a]\nhost = [\"m\"]\npassphrase = \"x\"\n", "line 3: unknown field"),
            ("[context.a]\nhost = 3\n", "line 2: invalid type"),
            ("[context.a]\nhost = [\"https://m\"]\n", "context a: https://m: is a URL"),
            ("[context.\"a b\"]\nhost = [\"m\"]\n", "invalid name"),
            ("[context.default]\nhost = [\"m\"]\n", "stands for no context"),
            ("[context", "line 1"),
        ] {
            let (_folder, file) = file(text);
            let refused = file.read().expect_err(text);
            assert_eq!(refused.exit, Exit::Configuration, "{text}");
            assert!(refused.text.contains(said) && refused.hint.is_some(), "{text}: {refused}");
            assert!(!refused.text.contains('\u{1b}'), "{refused}");
            // Nothing is written over it either.
            let name: Name = "b".parse().expect("a name");
            assert!(file.change(|all| all.add(&name, context("m"))).is_err());
            assert_eq!(std::fs::read_to_string(file.path()).expect("text"), text);
        }
    }

    #[test]
    fn many_at_once_lose_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = ContextFile(folder.path().join(FILE));
        std::thread::scope(|all| {
            for number in 0..16 {
                let file = &file;
                all.spawn(move || {
                    let name: Name = format!("c{number}").parse().expect("a name");
                    file.change(|all| all.add(&name, context("m"))).expect("written");
                });
            }
        });
        assert_eq!(file.read().expect("read").all.len(), 16);
    }

    #[test]
    fn a_link_is_followed() {
        let (folder, file) = file("");
        let link = ContextFile(folder.path().join("link.toml"));
        std::os::unix::fs::symlink(file.path(), link.path()).expect("a link");
        let name: Name = "c".parse().expect("a name");
        link.change(|all| all.add(&name, context("m"))).expect("written");
        assert!(std::fs::symlink_metadata(link.path()).expect("it").is_symlink());
        assert_eq!(file.read().expect("read").all.len(), 1);
    }
}
