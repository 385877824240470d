//! What happens on a node once a service's files there have changed, and which units of systemd
//! are the service.

use std::fmt;
use std::str::FromStr;

use crate::base::limits;

/// What a node does for a service once its set has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum OnChange {
    /// Nothing: programs look for themselves.
    #[default]
    Nothing,
    /// Sends the service's processes a signal.
    Signal(HookSignal),
    /// Runs a program of the node's, where the node allows it.
    Exec(HookPath),
    /// Has the service's units reload.
    Reload,
    /// Has the service's units start again.
    Restart,
}

/// The signals by which programs are told to look again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HookSignal {
    /// `SIGHUP`
    Hup,
    /// `SIGINT`
    Int,
    /// `SIGQUIT`
    Quit,
    /// `SIGUSR1`
    Usr1,
    /// `SIGUSR2`
    Usr2,
    /// `SIGTERM`
    Term,
    /// `SIGWINCH`
    Winch,
}

/// The absolute path of a program: nothing in it leads elsewhere than it says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HookPath(String);

/// The name of a unit of systemd that can be given credentials. A template (`web@.service`)
/// stands for all its instances.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnitName(String);

/// What is no hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadHook {
    /// None of the forms.
    #[error("a hook is none, signal:NAME, exec:PATH, reload or restart")]
    Form,
    /// A signal that ends or stops a program by itself, or none at all.
    #[error("a hook's signal is one of HUP, INT, QUIT, USR1, USR2, TERM and WINCH")]
    Signal,
    /// Not absolute, with an empty part, `.`, `..` or a control character in it, or too long.
    #[error(
        "a hook's program is an absolute path of at most {} bytes, without . and .. in it",
        limits::HOOK_PATH_BYTES
    )]
    Path,
}

/// What is no unit's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a unit is the name of a .service, .socket, .mount or .swap, of at most {} characters",
    limits::UNIT_CHARS
)]
pub struct BadUnit;

impl HookSignal {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Hup, Self::Int, Self::Quit, Self::Usr1, Self::Usr2, Self::Term, Self::Winch];

    /// As kill(1) calls it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hup => "HUP",
            Self::Int => "INT",
            Self::Quit => "QUIT",
            Self::Usr1 => "USR1",
            Self::Usr2 => "USR2",
            Self::Term => "TERM",
            Self::Winch => "WINCH",
        }
    }
}

impl fmt::Display for HookSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for HookSignal {
    type Err = BadHook;

    /// With or without the `SIG` before it.
    fn from_str(text: &str) -> Result<Self, BadHook> {
        let name = text.strip_prefix("SIG").unwrap_or(text);
        let mut all = Self::ALL.into_iter();
        all.find(|signal| signal.name() == name).ok_or(BadHook::Signal)
    }
}

impl HookPath {
    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for HookPath {
    type Err = BadHook;

    fn from_str(text: &str) -> Result<Self, BadHook> {
        let parts = text.strip_prefix('/').ok_or(BadHook::Path)?.split('/');
        let plain = |part: &str| !matches!(part, "" | "." | "..");
        let fits = text.len() <= limits::HOOK_PATH_BYTES && !text.chars().any(char::is_control);
        if fits && parts.clone().all(plain) {
            Ok(Self(text.to_owned()))
        } else {
            Err(BadHook::Path)
        }
    }
}

impl fmt::Display for OnChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("none"),
            Self::Signal(signal) => write!(f, "signal:{signal}"),
            Self::Exec(path) => write!(f, "exec:{}", path.0),
            Self::Reload => f.write_str("reload"),
            Self::Restart => f.write_str("restart"),
        }
    }
}

impl FromStr for OnChange {
    type Err = BadHook;

    fn from_str(text: &str) -> Result<Self, BadHook> {
        match text.split_once(':') {
            None if text == "none" => Ok(Self::Nothing),
            None if text == "reload" => Ok(Self::Reload),
            None if text == "restart" => Ok(Self::Restart),
            Some(("signal", name)) => name.parse().map(Self::Signal),
            Some(("exec", path)) => path.parse().map(Self::Exec),
            Some(_) | None => Err(BadHook::Form),
        }
    }
}

impl OnChange {
    /// As it is stored and sent: nothing is no text at all.
    #[must_use]
    pub fn written(&self) -> String {
        if *self == Self::Nothing { String::new() } else { self.to_string() }
    }

    /// From that text.
    ///
    /// # Errors
    /// [`BadHook`]: nobody wrote it so.
    pub fn read(text: &str) -> Result<Self, BadHook> {
        if text.is_empty() { Ok(Self::Nothing) } else { text.parse() }
    }
}

impl UnitName {
    /// What units of these kinds are called.
    const KINDS: [&'static str; 4] = [".service", ".socket", ".mount", ".swap"];

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the unit `unit` is this one, or an instance of this template.
    #[must_use]
    pub fn is(&self, unit: &Self) -> bool {
        if self == unit {
            return true;
        }
        let Some((before, after)) = self.0.split_once("@.") else { return false };
        let instance = unit.0.strip_prefix(before).and_then(|rest| rest.strip_prefix('@'));
        let instance = instance.and_then(|rest| rest.strip_suffix(after)?.strip_suffix('.'));
        instance.is_some_and(|instance| !instance.is_empty())
    }
}

impl FromStr for UnitName {
    type Err = BadUnit;

    fn from_str(text: &str) -> Result<Self, BadUnit> {
        let fits = |c: char| c.is_ascii_alphanumeric() || ":_.-\\@".contains(c);
        let stem = Self::KINDS.iter().find_map(|kind| text.strip_suffix(kind)).ok_or(BadUnit)?;
        let sound = !stem.is_empty() && !stem.starts_with('@') && text.chars().all(fits);
        if sound && text.len() <= limits::UNIT_CHARS {
            Ok(Self(text.to_owned()))
        } else {
            Err(BadUnit)
        }
    }
}

impl fmt::Display for UnitName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hooks_are_read_and_written_alike() {
        for text in [
            "none",
            "signal:HUP",
            "signal:USR1",
            "exec:/usr/local/bin/reload web",
            "reload",
            "restart",
        ] {
            let read: OnChange = text.parse().expect("good");
            assert_eq!(read.to_string(), text);
            assert_eq!(OnChange::read(&read.written()), Ok(read));
        }
        assert_eq!(OnChange::read(""), Ok(OnChange::Nothing));
        assert_eq!("signal:SIGTERM".parse(), Ok(OnChange::Signal(HookSignal::Term)));
        let long = format!("exec:/{}", "x".repeat(limits::HOOK_PATH_BYTES));
        let bad = ["", "hup", "signal", "signal:", "signal:KILL", "signal:hup", "exec:", "exec:x"];
        let paths = ["exec:/", "exec://x", "exec:/x/", "exec:/x/../y", "exec:/./x", "exec:/x\ny"];
        for text in bad.into_iter().chain(paths).chain([long.as_str()]) {
            assert!(text.parse::<OnChange>().is_err(), "{text}");
        }
    }

    #[test]
    fn units_and_templates() {
        let unit = |text: &str| text.parse::<UnitName>().expect(text);
        let longest = format!("{}.service", "u".repeat(limits::UNIT_CHARS - 8));
        for good in ["web.service", "a@b.service", "dev-x\\x2d1.swap", "a:b_c.d.socket", &longest] {
            assert_eq!(unit(good).as_str(), good);
        }
        for bad in ["", "web", ".service", "@x.service", "a/b.service", "a b.service", "web.timer"]
        {
            assert!(bad.parse::<UnitName>().is_err(), "{bad}");
        }
        assert!(format!("u{longest}").parse::<UnitName>().is_err());
        assert!(unit("web.service").is(&unit("web.service")));
        assert!(unit("web@.service").is(&unit("web@1.service")));
        for other in ["web.service", "web@1.socket", "other@1.service", "webx@1.service"] {
            assert!(!unit("web@.service").is(&unit(other)), "{other}");
        }
        assert!(!unit("web@1.service").is(&unit("web@2.service")));
    }
}
