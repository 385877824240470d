//! What is typed about a service: placement, owner, policy, grants.

use std::collections::BTreeSet;

use skep_core::base::{Name, Target, limits};
use skep_core::domain::{
    Activation, Attribute, BadUnit, Constraint, MountKind, NO_ONE, OfflinePolicy, OnChange, Owner,
    Pin, UnitName,
};

use super::problem::{Trouble, usage};

/// `node.labels.tier==db`.
pub(super) fn constraint(text: &str) -> Result<Constraint, Trouble> {
    let wrong = || {
        usage(
            "constraint: is not written ATTRIBUTE==VALUE or ATTRIBUTE!=VALUE",
            "the attributes are node.id, node.name and node.labels.KEY",
        )
    };
    let (left, equal, right) = match (text.split_once("!="), text.split_once("==")) {
        (Some((left, right)), None) => (left, false, right),
        // Both: the first one is the operator.
        (Some((left, right)), Some((other, _))) if left.len() < other.len() => (left, false, right),
        (_, Some((left, right))) => (left, true, right),
        (None, None) => return Err(wrong()),
    };
    let attribute = match left.trim() {
        "node.id" => Attribute::Id,
        "node.name" => Attribute::Name,
        other => match other.strip_prefix("node.labels.") {
            Some(key) if !key.is_empty() => Attribute::Label(key.to_owned()),
            _ => return Err(wrong()),
        },
    };
    let value = right.trim().to_owned();
    if value.is_empty() { Err(wrong()) } else { Ok(Constraint { attribute, equal, value }) }
}

/// A constraint as it is typed.
pub(super) fn constraint_text(attribute: &str, equal: bool, value: &str) -> String {
    format!("{attribute}{}{value}", if equal { "==" } else { "!=" })
}

/// Nodes by their names.
pub(super) fn nodes(typed: &[String]) -> Result<Vec<Name>, Trouble> {
    typed.iter().map(|text| super::names::name(text)).collect()
}

/// `999:999`, or `999` for both.
pub(super) fn owner(text: &str) -> Result<Owner, Trouble> {
    let wrong = || {
        usage(
            "owner: is not written UID:GID",
            "numbers, such as 999:999: users' names differ from node to node",
        )
    };
    let (uid, gid) = text.split_once(':').unwrap_or((text, text));
    let number = |text: &str| text.parse::<u32>().map_err(|_not_one| wrong());
    let owner = Owner { uid: number(uid)?, gid: number(gid)? };
    if !owner.can_own() {
        return Err(usage(
            format!("owner: {NO_ONE} is no user or group"),
            "a file can belong to the numbers below it: `id -u NAME` on the node shows them",
        ));
    }
    Ok(owner)
}

/// `keep` or `max-age=1h`.
pub(super) fn offline(text: &str) -> Result<OfflinePolicy, Trouble> {
    let wrong =
        |why: String| usage(format!("offline: {why}"), "keep, or max-age=TIME such as max-age=1h");
    if text == "keep" {
        return Ok(OfflinePolicy::Keep);
    }
    let age =
        text.strip_prefix("max-age=").ok_or_else(|| wrong("is neither of its values".into()))?;
    let age = super::args::duration(age).map_err(wrong)?;
    match age.as_secs() {
        0 => Err(wrong("an age below one second".into())),
        _ if age.subsec_nanos() > 0 => Err(wrong("an age that is no whole seconds".into())),
        seconds if seconds > limits::OFFLINE_S => {
            Err(wrong("an age of more than 10 years: keep says that".into()))
        }
        seconds => Ok(OfflinePolicy::MaxAge(seconds)),
    }
}

/// Units of systemd by their names.
pub(super) fn units(typed: &[String]) -> Result<BTreeSet<UnitName>, Trouble> {
    let unit = |text: &String| {
        text.parse().map_err(|bad: BadUnit| usage(bad, "for example nginx.service or web@.service"))
    };
    typed.iter().map(unit).collect()
}

/// `none`, `reload`, `restart`, `signal:HUP` or `exec:/usr/local/sbin/reload`.
pub(super) fn on_change(text: &str) -> Result<OnChange, Trouble> {
    text.parse().map_err(|bad| {
        usage(format!("on-change: {bad}"), "for example signal:HUP or exec:/usr/local/sbin/reload")
    })
}

/// `running` or `placed`; clap has checked it.
pub(super) fn activation(text: &str) -> Activation {
    if text == "placed" { Activation::Placed } else { Activation::Running }
}

/// `tmpfs` or `fuse`; clap has checked it.
pub(super) fn mount(text: &str) -> MountKind {
    if text == "fuse" { MountKind::Fuse } else { MountKind::Tmpfs }
}

/// `0444`: octal, and permissions alone.
pub(super) fn mode(text: &str) -> Result<u32, Trouble> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    match u32::from_str_radix(digits, 8) {
        Ok(mode) if mode <= 0o777 && !digits.starts_with('+') => Ok(mode),
        _ => Err(usage("mode: is not 0000 to 0777", "octal, such as 0400")),
    }
}

/// `3` or `current`.
pub(super) fn pin(text: &str) -> Result<Pin, Trouble> {
    if text == "current" {
        return Ok(Pin::Current);
    }
    match text.parse::<u32>() {
        Ok(number) if number > 0 => Ok(Pin::Number(number)),
        _ => Err(usage(
            "pin: is neither the number of a version nor current",
            "a version's number, such as 3, or current",
        )),
    }
}

/// `SECRET[:TARGET]`.
pub(super) fn grant(text: &str) -> Result<(&str, Option<Target>), Trouble> {
    let Some((secret, target)) = text.split_once(':') else { return Ok((text, None)) };
    let target =
        target.parse().map_err(|error| usage(error, "for example db-password:password.txt"))?;
    Ok((secret, Some(target)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constraints_are_read_and_written_alike() {
        for text in ["node.id==x", "node.name!=db1", "node.labels.tier==db", "node.labels.a!=b==c"]
        {
            let read = constraint(text).expect("good");
            let attribute = match &read.attribute {
                Attribute::Id => "node.id".to_owned(),
                Attribute::Name => "node.name".to_owned(),
                Attribute::Label(key) => format!("node.labels.{key}"),
            };
            assert_eq!(constraint_text(&attribute, read.equal, &read.value), text);
        }
        for bad in ["", "node.id", "node.id=x", "node.hostname==x", "node.labels.==x", "node.id=="]
        {
            assert!(constraint(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn owners_modes_and_policies() {
        assert_eq!(owner("999:5").expect("good"), Owner { uid: 999, gid: 5 });
        assert_eq!(owner("9").expect("good"), Owner { uid: 9, gid: 9 });
        assert!(owner("root:root").is_err() && owner("").is_err() && owner("1:2:3").is_err());
        assert_eq!(mode("0444").expect("good"), 0o444);
        assert_eq!(mode("777").expect("good"), 0o777);
        assert!(
            mode("1777").is_err() && mode("9").is_err() && mode("").is_err() && mode("+7").is_err()
        );
        assert_eq!(offline("max-age=1h").expect("good"), OfflinePolicy::MaxAge(3600));
        assert!(offline("max-age=0s").is_err() && offline("never").is_err());
        assert_eq!(offline("max-age=3650d").expect("good"), OfflinePolicy::MaxAge(315_360_000));
        assert!(offline("max-age=3651d").is_err() && offline("max-age=1500ms").is_err());
        assert!(owner("4294967295").is_err() && owner("0:4294967295").is_err());
        assert_eq!(owner("4294967294").expect("good").uid, 4_294_967_294);
    }

    #[test]
    fn a_grant_may_name_its_target() {
        assert_eq!(grant("a").expect("good"), ("a", None));
        let (secret, target) = grant("a:b:c").expect("good");
        assert_eq!((secret, target.expect("one").as_str()), ("a", "b:c"));
        assert!(grant("a:").is_err() && grant("a:../x").is_err());
    }
}
