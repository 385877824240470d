//! What was opened on a node, as the audit chain sees it.

use crate::audit::Digest;
use crate::domain::opened::{Opened, OpenedList, Reader};

pub(super) fn list(hash: &mut Digest, of: &OpenedList) {
    hash.bytes(of.node.as_bytes());
    hash.bytes(&of.origin);
    hash.number(of.first);
    hash.number(of.dropped);
    hash.count(of.list.len());
    for one in &of.list {
        opened(hash, one);
    }
}

fn opened(hash: &mut Digest, of: &Opened) {
    hash.number(of.at.0);
    hash.bytes(of.service.as_bytes());
    hash.bytes(of.secret.as_bytes());
    hash.bytes(of.version.as_bytes());
    hash.number(of.number.into());
    match of.reader {
        Reader::Workload { pid, started } => {
            hash.number(1);
            hash.number(pid.into());
            hash.number(started);
        }
        Reader::Host => hash.number(2),
        Reader::ByHand => hash.number(3),
        Reader::Stranger => hash.number(4),
    }
    hash.number(of.uid.into());
    hash.number(of.pid.into());
    hash.bytes(of.executable.as_bytes());
}
