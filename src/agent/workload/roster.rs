//! The list of workloads as it is written down for the next start: a line for each that
//! came and each that went, behind a head that names the boot in which the numbers of
//! processes and namespaces mean something.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::enclosure::Enclosure;
use crate::agent::machine::Workload;
use crate::agent::vault::Told;
use skep_core::base::{FORMAT, OtherFormat, ServiceId};

/// What the head begins with; the format's number follows.
const MAGIC: &str = "skep-workloads";
/// In the place of how a workload wants to be told.
const NO_WISH: &str = "-";
/// Characters of a boot's name.
const BOOT: usize = 36;

/// A workload that was written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Of which service.
    pub service: ServiceId,
    /// The process that claimed.
    pub main: Workload,
    /// Of which user.
    pub uid: u32,
    /// Its private mount namespace.
    pub enclosure: Option<Enclosure>,
    /// How it wants to be told of changes.
    pub wish: Option<Told>,
}

/// Why a list is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::agent) enum NoRoster {
    /// Written by a build of another format.
    Format(OtherFormat),
    /// Not what this program writes.
    Damaged,
}

/// The head.
pub(in crate::agent) fn head(boot_id: &str) -> String {
    format!("{MAGIC} {FORMAT} {boot_id}\n")
}

/// The line of a workload that came, or of which more is known, or (`None`) that went.
pub(in crate::agent) fn line(into: &mut String, number: u64, record: Option<&Record>) {
    let Some(record) = record else {
        let _infallible = writeln!(into, "- {number}");
        return;
    };
    let Record { service, main, uid, enclosure, wish } = record;
    let Workload { pid, started } = main;
    let _infallible = write!(into, "+ {number} {service} {pid} {started} {uid} ");
    let _infallible = match wish {
        Some(wish) => write!(into, "{wish}"),
        None => write!(into, "{NO_WISH}"),
    };
    if let Some(Enclosure { namespace, device, mark, .. }) = enclosure {
        let _infallible = write!(into, " {namespace} {device}");
        if let Some(mark) = mark {
            let _infallible = write!(into, " {mark}");
        }
    }
    into.push('\n');
}

/// The records of this boot; none in the list of another one. A last line without its end
/// was being written when its writer was killed: nobody was told of it.
pub(in crate::agent) fn read(bytes: &[u8], boot_id: &str) -> Result<Vec<Record>, NoRoster> {
    let text = std::str::from_utf8(bytes).ok().ok_or(NoRoster::Damaged)?;
    let (head, lines) = text.split_once('\n').unwrap_or((text, ""));
    let head = head.strip_prefix(MAGIC).ok_or(NoRoster::Damaged)?;
    let (version, boot) = head.trim_start().split_once(' ').ok_or(NoRoster::Damaged)?;
    let version: u32 = version.parse().ok().ok_or(NoRoster::Damaged)?;
    OtherFormat::check(version).map_err(NoRoster::Format)?;
    if boot.len() != BOOT {
        return Err(NoRoster::Damaged);
    }
    let mut records = BTreeMap::new();
    if boot != boot_id {
        return Ok(Vec::new());
    }
    let whole = lines.rfind('\n').and_then(|end| lines.get(..end)).unwrap_or_default();
    for line in whole.lines() {
        let (number, record) = parse(line).ok_or(NoRoster::Damaged)?;
        match record {
            Some(record) => records.insert(number, record),
            None => records.remove(&number),
        };
    }
    Ok(records.into_values().collect())
}

fn parse(line: &str) -> Option<(u64, Option<Record>)> {
    let mut fields = line.split(' ');
    let what = fields.next()?;
    let number: u64 = fields.next()?.parse().ok()?;
    if what == "-" {
        return fields.next().is_none().then_some((number, None));
    }
    if what != "+" {
        return None;
    }
    let service: ServiceId = fields.next()?.parse().ok()?;
    let (pid, started) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    let uid = fields.next()?.parse().ok()?;
    let wish = match fields.next()? {
        NO_WISH => None,
        wish => Some(wish.parse().ok()?),
    };
    let rest: Vec<u64> = fields.map(str::parse).collect::<Result<_, _>>().ok()?;
    let mark = rest.get(2).copied();
    let enclosure = match *rest.as_slice() {
        [] => None,
        [namespace, device] | [namespace, device, _] => {
            Some(Enclosure { namespace, device, mark, service })
        }
        _ => return None,
    };
    let main = Workload { pid, started };
    Some((number, Some(Record { service, main, uid, enclosure, wish })))
}

#[cfg(test)]
mod tests {
    use super::*;

    const THIS: &str = "11111111-2222-3333-4444-555555555555";
    const OTHER: &str = "11111111-2222-3333-4444-555555555556";

    #[test]
    fn what_came_and_did_not_go_is_read() {
        let service = ServiceId::from_bytes([3; 16]);
        let record = |pid, enclosure| Record {
            service,
            main: Workload { pid, started: 5 },
            uid: 1_000,
            enclosure,
            wish: match pid {
                2 => Some(Told::Restarts),
                3 => Some("USR1".parse().expect("a signal")),
                _ => None,
            },
        };
        let plain = Enclosure { namespace: 4, device: 5, mark: None, service };
        let marked = Enclosure { mark: Some(6), ..plain };
        let mut text = head(THIS);
        line(&mut text, 1, Some(&record(1, None)));
        line(&mut text, 2, Some(&record(2, None)));
        line(&mut text, 3, Some(&record(3, Some(plain))));
        line(&mut text, 2, Some(&record(2, Some(marked))));
        line(&mut text, 1, None);
        let records = vec![record(2, Some(marked)), record(3, Some(plain))];
        assert_eq!(read(text.as_bytes(), THIS), Ok(records.clone()));
        assert_eq!(read(text.as_bytes(), OTHER), Ok(Vec::new()));
        // Killed amid a line, at each of its bytes.
        let whole = text.len();
        line(&mut text, 4, Some(&record(4, Some(marked))));
        for end in whole..text.len() {
            let torn = text.as_bytes().get(..end).expect("a part");
            assert_eq!(read(torn, THIS), Ok(records.clone()), "{end}");
        }
        assert_eq!(read(text.as_bytes(), THIS).expect("a list").len(), 3);
    }

    #[test]
    fn what_is_no_list_is_damaged_and_never_absent() {
        let head = head(THIS);
        assert_eq!(read(head.as_bytes(), THIS), Ok(Vec::new()));
        assert_eq!(read(head.trim_end().as_bytes(), THIS), Ok(Vec::new()), "the line's end alone");
        let newer = head.replace(" 11 ", " 12 ");
        assert_eq!(
            read(newer.as_bytes(), THIS),
            Err(NoRoster::Format(OtherFormat::Newer(FORMAT + 1)))
        );
        let older = head.replace(" 11 ", " 1 ");
        assert_eq!(read(older.as_bytes(), THIS), Err(NoRoster::Format(OtherFormat::Older(1))));
        for bad in ["", "skep", head.split_at(head.len() / 2).0, "\u{a5}"] {
            assert_eq!(read(bad.as_bytes(), THIS), Err(NoRoster::Damaged), "{bad}");
        }
        assert_eq!(read(&[0xff; 9], THIS), Err(NoRoster::Damaged));
        for bad in [
            "?",
            "+ 1",
            "- x",
            "- 1 2",
            "+ 1 web 2 3 4 -",
            "+ 1 aeaqcaibaeaqcaibaeaqcaibae 1 2 3 x",
            "+ 1 aeaqcaibaeaqcaibaeaqcaibae 1",
        ] {
            let text = format!("{head}{bad}\n");
            assert_eq!(read(text.as_bytes(), THIS), Err(NoRoster::Damaged), "{bad}");
        }
    }
}
