//! Records of opens, in commands and in the state.

use super::parts::id;
use super::{Bad, Read, shape};
use crate::base::Stamp;
use crate::domain::{Lapsed, Opened, Reader, Span};

pub(super) fn opened(of: shape::Opened) -> Read<Opened> {
    let reader = match of.reader {
        1 => Reader::Workload { pid: of.workload_pid, started: of.workload_started },
        2 => Reader::Host,
        3 => Reader::ByHand,
        4 => Reader::Stranger,
        number => return Err(Bad::new("reader", format_args!("{number} is not known"))),
    };
    Ok(Opened {
        at: Stamp(of.at),
        service: id("service", &of.service)?,
        secret: id("secret", &of.secret)?,
        version: id("version", &of.version)?,
        number: of.number,
        reader,
        uid: of.uid,
        pid: of.pid,
        executable: of.executable,
    })
}

pub(super) fn write_opened(of: &Opened) -> shape::Opened {
    let (reader, workload_pid, workload_started) = match of.reader {
        Reader::Workload { pid, started } => (1, pid, started),
        Reader::Host => (2, 0, 0),
        Reader::ByHand => (3, 0, 0),
        Reader::Stranger => (4, 0, 0),
    };
    shape::Opened {
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

/// A pair has a node, a grant has a secret, and neither has both.
pub(super) fn lapsed(of: &shape::KeptLapsed) -> Read<(Lapsed, Span)> {
    let service = id("lapsed", &of.service)?;
    let what = match (of.node.as_slice(), of.secret.as_slice()) {
        (node, []) => Lapsed::Pair(id("lapsed", node)?, service),
        ([], secret) => Lapsed::Grant(service, id("lapsed", secret)?),
        _ => return Err(Bad::new("lapsed", "a pair and a grant at once")),
    };
    Ok((what, Span { began: Stamp(of.began), ended: Stamp(of.ended) }))
}

pub(super) fn write_lapsed(of: Lapsed, span: Span) -> shape::KeptLapsed {
    let (node, service, secret) = match of {
        Lapsed::Pair(node, service) => (node.as_bytes().to_vec(), service, Vec::new()),
        Lapsed::Grant(service, secret) => (Vec::new(), service, secret.as_bytes().to_vec()),
    };
    let (began, ended) = (span.began.0, span.ended.0);
    shape::KeptLapsed { node, service: service.as_bytes().to_vec(), secret, began, ended }
}
