//! Records of opens: handed in by agents, shown to operators.

use super::view::{node_name, service_name};
use super::{BadMessage, read_id};
use crate::base::{NodeId, Revision, SecretId, Stamp, limits};
use crate::domain::{Opened, OpenedList, Reader, State};
use crate::wire::api;

/// What an agent hands in.
#[must_use]
pub fn write_opened(list: &OpenedList) -> api::ReportOpenedRequest {
    api::ReportOpenedRequest {
        origin: list.origin.to_vec(),
        first: list.first,
        dropped: list.dropped,
        list: list.list.iter().map(write_one).collect(),
    }
}

fn write_one(of: &Opened) -> api::Opened {
    let (reader, workload_pid, workload_started) = match of.reader {
        Reader::Workload { pid, started } => (1, pid, started),
        Reader::Host => (2, 0, 0),
        Reader::ByHand => (3, 0, 0),
        Reader::Stranger => (4, 0, 0),
    };
    api::Opened {
        at: of.at.0,
        service: of.service.as_bytes().to_vec(),
        secret: of.secret.as_bytes().to_vec(),
        version: of.version.as_bytes().to_vec(),
        number: of.number,
        reader,
        workload_pid,
        workload_started,
        uid: of.uid,
        pid: of.pid,
        executable: of.executable.clone(),
    }
}

/// What `node` hands in.
///
/// # Errors
/// [`BadMessage`]: which field.
pub fn read_opened(
    node: NodeId,
    report: api::ReportOpenedRequest,
) -> Result<OpenedList, BadMessage> {
    if report.list.len() > limits::OPENED_BATCH {
        return Err(BadMessage::new("list", "more records than are taken at once"));
    }
    let origin = report.origin.as_slice().try_into();
    Ok(OpenedList {
        node,
        origin: origin.map_err(|_| BadMessage::new("origin", "not 16 bytes"))?,
        first: report.first,
        dropped: report.dropped,
        list: report.list.into_iter().map(read_one).collect::<Result<_, _>>()?,
    })
}

fn read_one(of: api::Opened) -> Result<Opened, BadMessage> {
    let reader = match of.reader {
        1 => Reader::Workload { pid: of.workload_pid, started: of.workload_started },
        2 => Reader::Host,
        3 => Reader::ByHand,
        4 => Reader::Stranger,
        _ => return Err(BadMessage::new("reader", "not known")),
    };
    Ok(Opened {
        at: Stamp(of.at),
        service: read_id("service", &of.service)?,
        secret: read_id("secret", &of.secret)?,
        version: read_id("version", &of.version)?,
        number: of.number,
        reader,
        uid: of.uid,
        pid: of.pid,
        executable: of.executable,
    })
}

/// Where a record stands among all: by time, then by node and in the order it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    at: u64,
    node: NodeId,
    revision: u64,
    index: u32,
}

impl Position {
    /// As it is sent.
    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        let parts: [&[u8]; 4] = [
            &self.at.to_be_bytes(),
            self.node.as_bytes(),
            &self.revision.to_be_bytes(),
            &self.index.to_be_bytes(),
        ];
        parts.concat()
    }

    /// As it was sent.
    ///
    /// # Errors
    /// [`BadMessage`]: it isn't one.
    pub fn read(bytes: &[u8]) -> Result<Self, BadMessage> {
        let bad = || BadMessage::new("after", "not a position in the list");
        let (at, rest) = bytes.split_first_chunk().ok_or_else(bad)?;
        let (node, rest) = rest.split_first_chunk().ok_or_else(bad)?;
        let (revision, rest) = rest.split_first_chunk().ok_or_else(bad)?;
        Ok(Self {
            at: u64::from_be_bytes(*at),
            node: NodeId::from_bytes(*node),
            revision: u64::from_be_bytes(*revision),
            index: u32::from_be_bytes(rest.try_into().map_err(|_| bad())?),
        })
    }
}

/// A secret's opens on record, each where it stands, oldest first.
#[must_use]
pub fn opened_of(state: &State, secret: SecretId) -> Vec<(Position, &Opened)> {
    let mut found = Vec::new();
    for ((node, Revision(revision)), list) in &state.opened {
        let of = (0_u32..).zip(list.iter()).filter(|(_, one)| one.secret == secret);
        found.extend(of.map(|(index, one)| {
            (Position { at: one.at.0, node: *node, revision: *revision, index }, one)
        }));
    }
    found.sort_by_key(|(position, _)| *position);
    found
}

/// An open, for people.
#[must_use]
pub fn read_view(state: &State, position: Position, of: &Opened) -> api::ReadView {
    let (reader, workload_pid) = match of.reader {
        Reader::Workload { pid, .. } => (api::Reader::Workload, pid),
        Reader::Host => (api::Reader::Host, 0),
        Reader::ByHand => (api::Reader::ByHand, 0),
        Reader::Stranger => (api::Reader::Refused, 0),
    };
    api::ReadView {
        position: position.write(),
        at: of.at.0,
        node: position.node.as_bytes().to_vec(),
        node_name: node_name(state, position.node),
        service: of.service.as_bytes().to_vec(),
        service_name: service_name(state, of.service),
        number: of.number,
        reader: reader.into(),
        workload_pid,
        uid: of.uid,
        pid: of.pid,
        executable: of.executable.clone(),
    }
}

/// The nodes whose agents had no room for some records, or of whose some were not taken.
#[must_use]
pub fn dropped_reads(state: &State) -> Vec<api::DroppedReads> {
    let dropped = state.reporters.iter().map(|(node, of)| api::DroppedReads {
        node: node.as_bytes().to_vec(),
        node_name: node_name(state, *node),
        count: of.dropped_before.saturating_add(of.dropped),
        refused: of.refused,
    });
    dropped.filter(|dropped| dropped.count > 0 || dropped.refused > 0).collect()
}
