//! The list of workloads as it is written down for the next start.

use serde::{Deserialize, Serialize};

use super::process::Enclosure;
use crate::agent::vault::Workload;
use crate::base::{FORMAT, ServiceId};

/// A workload that was written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Of which service.
    pub service: ServiceId,
    /// The process that claimed.
    pub main: Workload,
    /// Its private mount namespace.
    pub enclosure: Option<Enclosure>,
}

#[derive(Serialize, Deserialize)]
struct Roster {
    version: u32,
    boot_id: String,
    #[serde(default)]
    workloads: Vec<Stored>,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    service: String,
    pid: u32,
    started: u64,
    namespace: Option<u64>,
    device: Option<u64>,
}

pub(in crate::agent) fn write(boot_id: &str, records: &[Record]) -> Vec<u8> {
    let one = |record: &Record| Stored {
        service: record.service.to_string(),
        pid: record.main.pid,
        started: record.main.started,
        namespace: record.enclosure.map(|enclosure| enclosure.namespace),
        device: record.enclosure.map(|enclosure| enclosure.device),
    };
    let workloads = records.iter().map(one).collect();
    let roster = Roster { version: FORMAT, boot_id: boot_id.to_owned(), workloads };
    // Numbers and plain strings always have a text.
    toml::to_string(&roster).unwrap_or_default().into_bytes()
}

/// The records of this boot; none for text of another one or that is no list.
pub(in crate::agent) fn read(text: &str, boot_id: &str) -> Vec<Record> {
    let roster: Roster = match toml::from_str(text) {
        Ok(roster) => roster,
        Err(_) => return Vec::new(),
    };
    if roster.boot_id != boot_id {
        return Vec::new();
    }
    let one = |stored: Stored| {
        let service: ServiceId = stored.service.parse().ok()?;
        let enclosure = match (stored.namespace, stored.device) {
            (Some(namespace), Some(device)) => Some(Enclosure { namespace, device, service }),
            _ => None,
        };
        let main = Workload { pid: stored.pid, started: stored.started };
        Some(Record { service, main, enclosure })
    };
    roster.workloads.into_iter().filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_of_one_boot() {
        let service = ServiceId::from_bytes([3; 16]);
        let record =
            |pid, enclosure| Record { service, main: Workload { pid, started: 5 }, enclosure };
        let records =
            vec![record(1, None), record(2, Some(Enclosure { namespace: 4, device: 5, service }))];
        let text = String::from_utf8(write("boot", &records)).expect("text");
        assert_eq!(read(&text, "boot"), records);
        assert_eq!(read(&text, "another"), Vec::new());
        assert_eq!(read("nonsense", "boot"), Vec::new());
    }
}
