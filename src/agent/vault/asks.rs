//! How systemd asks for a credential: who asks stands in the name of the asking socket.

use skep_core::base::Target;
use skep_core::domain::UnitName;

/// Digits of the random number that a name begins with.
const DIGITS: std::ops::RangeInclusive<usize> = 1..=16;
/// The word between that and the unit.
const WORD: &[u8] = b"unit";

/// What one connection asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitAsks {
    /// Which unit.
    pub unit: UnitName,
    /// The credential's name, as `LoadCredential=` says it: a target, or one behind its
    /// service's name and an underscore.
    pub id: Target,
}

impl UnitAsks {
    /// From the abstract name of the other end, without the zero byte that such names begin
    /// with. `None`: systemd makes no such name.
    #[must_use]
    pub fn read(name: &[u8]) -> Option<Self> {
        let parts: Vec<&[u8]> = name.split(|byte| *byte == b'/').collect();
        let [number, WORD, unit, id] = *parts.as_slice() else { return None };
        let digit = |byte: &u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte);
        if !DIGITS.contains(&number.len()) || !number.iter().all(digit) {
            return None;
        }
        let text = |part| std::str::from_utf8(part).ok();
        Some(Self { unit: text(unit)?.parse().ok()?, id: text(id)?.parse().ok()? })
    }

    /// The files of a service that are meant, the first one that there is: one of this name,
    /// else one whose name follows the service's and an underscore.
    #[must_use]
    pub fn targets(&self, service: &str) -> Vec<Target> {
        let behind = self.id.as_str().strip_prefix(service);
        let behind = behind.and_then(|rest| rest.strip_prefix('_')?.parse().ok());
        [Some(self.id.clone()), behind].into_iter().flatten().collect()
    }

    /// Which of these services is meant, of those that the unit is: the only one, else the one
    /// with whose name and an underscore the credential's begins; the longest such name.
    #[must_use]
    pub fn meant<'a>(&self, services: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
        let all: Vec<&str> = services.into_iter().collect();
        if let [only] = *all.as_slice() {
            return Some(only);
        }
        let named = |service: &&str| {
            let rest = self.id.as_str().strip_prefix(*service);
            rest.and_then(|rest| rest.strip_prefix('_')).is_some_and(|rest| !rest.is_empty())
        };
        all.into_iter().filter(named).max_by_key(|service| service.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asks(id: &str) -> UnitAsks {
        UnitAsks { unit: "web.service".parse().unwrap(), id: id.parse().unwrap() }
    }

    #[test]
    fn the_names_that_systemd_makes_are_read() {
        for (name, unit, id) in [
            ("7d1a00c3b2f4e596/unit/web.service/tls.key", "web.service", "tls.key"),
            ("0/unit/web@blue.service/web_tls.key", "web@blue.service", "web_tls.key"),
            ("f00/unit/dev-disk\\x2dby.swap/a", "dev-disk\\x2dby.swap", "a"),
        ] {
            let read = UnitAsks::read(name.as_bytes()).expect(name);
            assert_eq!((read.unit.as_str(), read.id.as_str()), (unit, id));
        }
        // As long as such a name can be, with the zero byte before it.
        let longest = format!("{}/unit/{}.service/i", "f".repeat(16), "u".repeat(73));
        assert!(longest.len() < 108 && UnitAsks::read(longest.as_bytes()).is_some());
    }

    #[test]
    fn other_names_are_none() {
        for name in [
            "",
            "unit",
            "/unit/web.service/a",
            "0123456789abcdef0/unit/web.service/a",
            "7D/unit/web.service/a",
            "0x7/unit/web.service/a",
            " 7/unit/web.service/a",
            "7/Unit/web.service/a",
            "7/system/web.service/a",
            "7/unit/web.service",
            "7/unit/web.service/a/b",
            "7/unit//web.service/a",
            "7/unit/web.service/",
            "7/unit/web.service/..",
            "7/unit/web.service/a\0",
            "7/unit/web.timer/a",
            "7/unit/../a",
            "\x007/unit/web.service/a",
        ] {
            assert_eq!(UnitAsks::read(name.as_bytes()), None, "{name:?}");
        }
        assert_eq!(UnitAsks::read(b"7/unit/web.service/\xff"), None);
    }

    #[test]
    fn a_credential_is_a_file_of_one_service() {
        let texts =
            |targets: Vec<Target>| targets.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(texts(asks("tls.key").targets("web")), ["tls.key"]);
        assert_eq!(texts(asks("web_tls.key").targets("web")), ["web_tls.key", "tls.key"]);
        assert_eq!(texts(asks("web_").targets("web")), ["web_"]);
        assert_eq!(asks("tls.key").meant(["web"]), Some("web"));
        assert_eq!(asks("tls.key").meant(["web", "db"]), None);
        assert_eq!(asks("tls.key").meant([]), None);
        assert_eq!(asks("db_tls.key").meant(["web", "db"]), Some("db"));
        assert_eq!(asks("a_b_c").meant(["a", "a_b"]), Some("a_b"));
        assert_eq!(asks("a_").meant(["a", "b"]), None);
    }
}
