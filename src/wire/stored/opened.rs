//! Records of opens, in commands and in the state.

use super::parts::id;
use super::shape;
use super::{Bad, Read};
use crate::base::Stamp;
use crate::domain::{Opened, Reader};

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
